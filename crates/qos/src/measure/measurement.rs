//! What was measured, as a value that is stored, sent and compared.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::phase::{Direction, Phase};
use super::round_trips::{RoundTripStatistics, milliseconds};
use super::verdict::{Verdict, judge};
use crate::Rate;

/// Latency under load between here and a responder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// The responder, as it was named.
    pub server: String,
    /// When it began, in seconds since 1970. For people: nothing is calculated with it.
    pub begun_unix_seconds: u64,
    /// How many TCP connections made the load, each way.
    pub flows: u8,
    /// A probe was sent this often.
    pub probe_interval_milliseconds: f64,
    /// What the line carries, as far as it was said.
    pub configured: Configured,
    /// What came of each phase, the idle one first.
    pub phases: Vec<PhaseResult>,
    /// Every probe, in the order of sending; also those between the phases.
    pub series: Vec<Probe>,
}

/// What the line carries, as far as somebody said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configured {
    /// From the responder to here.
    pub download_bits_per_second: Option<u64>,
    /// From here to the responder.
    pub upload_bits_per_second: Option<u64>,
}

impl Configured {
    /// These rates.
    pub fn new(download: Option<Rate>, upload: Option<Rate>) -> Self {
        Self {
            download_bits_per_second: download.map(Rate::as_bits_per_second),
            upload_bits_per_second: upload.map(Rate::as_bits_per_second),
        }
    }

    /// The one of a direction, in bits per second.
    pub fn rate(self, direction: Direction) -> Option<u64> {
        match direction {
            Direction::Download => self.download_bits_per_second,
            Direction::Upload => self.upload_bits_per_second,
        }
    }
}

/// One probe.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// When it was sent, from the beginning.
    pub sent_milliseconds: f64,
    /// How long its answer took; `None` where none came.
    pub round_trip_milliseconds: Option<f64>,
}

/// What came of one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseResult {
    /// What the path carried.
    pub phase: Phase,
    /// Where it begins in the series, the warming up left out.
    pub begin_milliseconds: f64,
    /// Where it ends in the series.
    pub end_milliseconds: f64,
    /// How many probes were answered, however late within the bound for it.
    pub samples: u64,
    /// How many were not.
    pub lost: u64,
    /// What the answered ones took; `None` where there are none.
    pub round_trip: Option<RoundTripStatistics>,
    /// What arrived here, of what TCP carried; `None` where that way was not loaded.
    pub download_bits_per_second: Option<u64>,
    /// What arrived at the responder, as counted there; `None` where that way was not loaded or the
    /// responder did not say in time.
    pub upload_bits_per_second: Option<u64>,
    /// How much longer than on the idle path; `None` for that itself, and where either has no
    /// answer.
    pub increase: Option<Increase>,
    /// The grades, or why there are none; `None` for the idle phase.
    pub verdict: Option<Verdict>,
}

impl PhaseResult {
    /// How many of a hundred probes were lost; all of them where none was sent.
    pub fn lost_percent(&self) -> f64 {
        let sent = self.samples.saturating_add(self.lost);
        if sent == 0 {
            return 100.0;
        }
        self.lost as f64 * 100.0 / sent as f64
    }

    /// What arrived, in bits per second.
    pub fn goodput(&self, direction: Direction) -> Option<u64> {
        match direction {
            Direction::Download => self.download_bits_per_second,
            Direction::Upload => self.upload_bits_per_second,
        }
    }
}

/// How much longer a round trip takes under load. Below zero where it takes less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Increase {
    /// The mean under load, less the mean of the idle path.
    pub mean_milliseconds: f64,
    /// The 95th percentile under load, less the median of the idle path. Less the idle path's own
    /// 95th percentile it would be kinder the more that jitters, down to nothing on a poor radio.
    pub p95_milliseconds: f64,
}

impl Increase {
    /// From idle to loaded, where both have answers.
    pub fn between(idle: &PhaseResult, loaded: &PhaseResult) -> Option<Self> {
        let (idle, loaded) = (idle.round_trip?, loaded.round_trip?);
        let to_microseconds = |milliseconds: f64| (milliseconds * 1e3).round() / 1e3;
        Some(Self {
            mean_milliseconds: to_microseconds(loaded.mean_milliseconds - idle.mean_milliseconds),
            p95_milliseconds: to_microseconds(loaded.p95_milliseconds - idle.median_milliseconds),
        })
    }
}

impl Measurement {
    /// What came of a phase.
    pub fn phase(&self, phase: Phase) -> Option<&PhaseResult> {
        self.phases.iter().find(|result| result.phase == phase)
    }

    /// Whether every phase under load has its grades.
    pub fn is_graded(&self) -> bool {
        let mut loaded = self
            .phases
            .iter()
            .filter(|result| result.phase != Phase::Idle)
            .peekable();
        loaded.peek().is_some()
            && loaded.all(|result| matches!(result.verdict, Some(Verdict::Graded(_))))
    }
}

/// A probe as it is kept while measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// When, from the beginning.
    pub(super) at: Duration,
    /// How long the answer took.
    pub(super) took: Option<Duration>,
}

impl From<Sent> for Probe {
    fn from(sent: Sent) -> Self {
        Self {
            sent_milliseconds: milliseconds(sent.at),
            round_trip_milliseconds: sent.took.map(milliseconds),
        }
    }
}

/// A phase as it is kept while measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) phase: Phase,
    pub(super) begin: Duration,
    pub(super) end: Duration,
    pub(super) download_bits_per_second: Option<u64>,
    pub(super) upload_bits_per_second: Option<u64>,
    /// For how long the queues were waited for in vain before it.
    pub(super) undrained: Option<Duration>,
}

/// What the phases come to. A probe belongs to the phase in which it was sent.
pub(super) fn summarise(
    sent: &[Sent],
    windows: &[Window],
    configured: Configured,
) -> Vec<PhaseResult> {
    let mut results: Vec<PhaseResult> = windows
        .iter()
        .map(|window| {
            let probes = sent
                .iter()
                .filter(|probe| (window.begin..window.end).contains(&probe.at));
            let answered: Vec<Duration> = probes.clone().filter_map(|probe| probe.took).collect();
            PhaseResult {
                phase: window.phase,
                begin_milliseconds: milliseconds(window.begin),
                end_milliseconds: milliseconds(window.end),
                samples: answered.len() as u64,
                lost: (probes.count() - answered.len()) as u64,
                round_trip: RoundTripStatistics::of(&answered),
                download_bits_per_second: window.download_bits_per_second,
                upload_bits_per_second: window.upload_bits_per_second,
                increase: None,
                verdict: None,
            }
        })
        .collect();
    let Some(idle) = results
        .iter()
        .find(|result| result.phase == Phase::Idle)
        .cloned()
    else {
        return results;
    };
    for (result, window) in results.iter_mut().zip(windows) {
        if result.phase != Phase::Idle {
            result.increase = Increase::between(&idle, result);
            result.verdict = Some(judge(&idle, result, configured, window.undrained));
        }
    }
    results
}
