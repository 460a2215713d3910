//! The result of a measurement, as a value that can be stored, sent and compared.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::phase::{Direction, Phase};
use super::round_trips::{RoundTripStatistics, milliseconds};
use super::verdict::{Verdict, judge};

/// Latency under load between this host and a responder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// The responder, as it was named.
    pub server: String,
    /// When the measurement began, in seconds since 1970. For display only: nothing is calculated
    /// from it.
    pub begun_unix_seconds: u64,
    /// Number of TCP connections that made the load, in each direction.
    pub flows: u8,
    /// Interval between probes.
    pub probe_interval_milliseconds: f64,
    /// The rates of the link, as far as they were given.
    pub configured: Configured,
    /// Result of each phase, the idle one first.
    pub phases: Vec<PhaseResult>,
    /// Every probe in the order of sending, including those between the phases.
    pub series: Vec<Probe>,
}

/// The rates of the link, as far as they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configured {
    /// From the responder to this host.
    pub download_bits_per_second: Option<u64>,
    /// From this host to the responder.
    pub upload_bits_per_second: Option<u64>,
}

impl Configured {
    /// The rate of a direction, in bits per second.
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
    /// When it was sent, since the beginning.
    pub sent_milliseconds: f64,
    /// Its round-trip time; `None` where there was no answer.
    pub round_trip_milliseconds: Option<f64>,
}

/// Result of one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseResult {
    /// What the path carried.
    pub phase: Phase,
    /// Where the phase begins in the series, after the warm-up.
    pub begin_milliseconds: f64,
    /// Where the phase ends in the series.
    pub end_milliseconds: f64,
    /// Number of answered probes, however late within the time limit.
    pub samples: u64,
    /// Number of unanswered probes.
    pub lost: u64,
    /// Statistics of the answered probes; `None` where there are none.
    pub round_trip: Option<RoundTripStatistics>,
    /// TCP data that arrived here; `None` where that direction was not loaded.
    pub download_bits_per_second: Option<u64>,
    /// TCP data that arrived at the responder, which counts it; `None` where that direction was not
    /// loaded or the responder did not report in time.
    pub upload_bits_per_second: Option<u64>,
    /// Increase of the round-trip time over the idle path; `None` for the idle phase itself, and
    /// where either phase has no answers.
    pub increase: Option<Increase>,
    /// The grades, or why there are none; `None` for the idle phase.
    pub verdict: Option<Verdict>,
}

impl PhaseResult {
    /// Percentage of lost probes; 100 where none was sent.
    pub fn lost_percent(&self) -> f64 {
        let sent = self.samples.saturating_add(self.lost);
        if sent == 0 {
            return 100.0;
        }
        self.lost as f64 * 100.0 / sent as f64
    }

    /// The rate at which data arrived, in bits per second.
    pub fn goodput(&self, direction: Direction) -> Option<u64> {
        match direction {
            Direction::Download => self.download_bits_per_second,
            Direction::Upload => self.upload_bits_per_second,
        }
    }
}

/// Increase of the round-trip time under load. Negative where it is lower.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Increase {
    /// The mean under load, less the mean of the idle path.
    pub mean_milliseconds: f64,
    /// The 95th percentile under load, less the median of the idle path. The idle path's own 95th
    /// percentile would make the result better the more that path jitters, down to nothing on a
    /// poor radio.
    pub p95_milliseconds: f64,
}

impl Increase {
    /// The increase from idle to loaded; `None` unless both have answers.
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
    /// The result of a phase.
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

/// A probe during the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// When it was sent, since the beginning.
    pub(super) at: Duration,
    /// Its round-trip time.
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

/// A phase during the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) phase: Phase,
    pub(super) begin: Duration,
    pub(super) end: Duration,
    pub(super) download_bits_per_second: Option<u64>,
    pub(super) upload_bits_per_second: Option<u64>,
    /// How long the run waited in vain for the queues to drain before the phase.
    pub(super) undrained: Option<Duration>,
}

/// Summarises the phases. A probe belongs to the phase in which it was sent.
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
