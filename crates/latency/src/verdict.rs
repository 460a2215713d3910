//! Whether a measurement can be graded, and with which grade.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grade::Grade;
use super::measurement::{Configured, Increase, PhaseResult};
use super::phase::{Direction, Phase};

/// Largest percentage of lost probes: above it, the round trips of the others say little.
pub const MOST_LOST_PERCENT: f64 = 10.0;

/// Smallest number of answers: with fewer, fewer than five of them determine the 95th percentile.
pub const FEWEST_SAMPLES: u64 = 100;

/// A load below this percentage of the link rate may not have filled any queue.
pub const LEAST_LOAD_PERCENT: f64 = 70.0;

/// If both directions are loaded and one reaches [`LEAST_LOAD_PERCENT`], this percentage is enough
/// for the other. The acknowledgements of each direction wait in the queue of the other, and the
/// deeper that queue is, the more it starves them: beside an upload that filled a queue of 0.8 s,
/// four downloads were seen to reach 87 %, 60 % and 43 % of the link rate. A path must not escape
/// its F by being that poor.
pub const LEAST_LOAD_BESIDE_PERCENT: f64 = 25.0;

/// Verdict on a phase under load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A grade for the mean and one for the 95th percentile.
    Graded(Grades),
    /// No grade, and the reason.
    Ungraded(Ungraded),
}

/// The grades of one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grades {
    /// Grade of the increase of the mean, comparable with what other tests print.
    pub mean: Grade,
    /// Grade of the increase of the 95th percentile.
    pub p95: Grade,
}

/// Why there is no grade.
///
/// An implementation that graded every measurement once gave an A+ to a path on which nothing
/// arrived: without load there is no queue. Each variant is such a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Ungraded {
    /// More than [`MOST_LOST_PERCENT`] of the probes were lost while the path was idle.
    IdleLoss {
        /// Percentage of lost probes.
        lost_percent: f64,
    },
    /// More than [`MOST_LOST_PERCENT`] of the probes were lost under load: a dropped probe has
    /// waited forever, which a grade of the others would hide.
    Loss {
        /// Percentage of lost probes.
        lost_percent: f64,
    },
    /// There are fewer than [`FEWEST_SAMPLES`] answers.
    TooFewSamples {
        /// The phase with too few answers: this one, or [`Phase::Idle`].
        phase: Phase,
        /// Number of answers.
        samples: u64,
        /// Number of answers needed.
        needed: u64,
    },
    /// The queues still held data of the previous phase when this one began.
    NotDrained {
        /// How long the run waited for them to drain.
        waited_milliseconds: f64,
    },
    /// The rate of the link was not given, so there is no telling whether it was full.
    NoRate {
        /// Direction without a rate.
        direction: Direction,
    },
    /// The responder did not report in time how much arrived.
    LoadUnknown {
        /// Direction without a report.
        direction: Direction,
    },
    /// Less arrived than [`LEAST_LOAD_PERCENT`], or [`LEAST_LOAD_BESIDE_PERCENT`], of the rate of
    /// the link.
    LoadTooLow {
        /// Direction with too little load.
        direction: Direction,
        /// The rate that arrived.
        reached_bits_per_second: u64,
        /// The rate of the link, as it was given.
        configured_bits_per_second: u64,
        /// Percentage that would have been enough.
        needed_percent: f64,
    },
}

impl fmt::Display for Ungraded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdleLoss { lost_percent } => write!(
                formatter,
                "{lost_percent:.0} % of the probes were lost while the path was idle; the maximum is {MOST_LOST_PERCENT:.0} %"
            ),
            Self::Loss { lost_percent } => write!(
                formatter,
                "{lost_percent:.0} % of the probes were lost; the maximum is {MOST_LOST_PERCENT:.0} %"
            ),
            Self::TooFewSamples {
                phase,
                samples,
                needed,
            } => write!(
                formatter,
                "only {samples} probes were answered in phase {phase}, but {needed} are needed: measure for longer"
            ),
            Self::NotDrained {
                waited_milliseconds,
            } => write!(
                formatter,
                "the queues had not drained {:.1} s after the previous phase",
                waited_milliseconds / 1e3
            ),
            Self::NoRate { direction } => write!(
                formatter,
                "not checked against a rate: give the {direction} rate of the link (--down, --up), which tells whether it was full"
            ),
            Self::LoadUnknown { direction } => write!(
                formatter,
                "the responder did not report in time how much {direction} data arrived"
            ),
            Self::LoadTooLow {
                direction,
                reached_bits_per_second,
                configured_bits_per_second,
                needed_percent,
            } => write!(
                formatter,
                "the {direction} reached {:.2} of {:.2} Mbit/s; less than {needed_percent:.0} % may not fill a queue",
                *reached_bits_per_second as f64 / 1e6,
                *configured_bits_per_second as f64 / 1e6
            ),
        }
    }
}

/// Judges a phase under load by comparison with the idle one. Of several reasons against a grade,
/// the most important one is returned.
///
/// `undrained` is how long the run waited in vain for the queues to drain, if it did.
pub fn judge(
    idle: &PhaseResult,
    loaded: &PhaseResult,
    configured: Configured,
    undrained: Option<Duration>,
) -> Verdict {
    match obstacle(idle, loaded, configured, undrained) {
        Some(reason) => Verdict::Ungraded(reason),
        None => match Increase::between(idle, loaded) {
            Some(increase) => Verdict::Graded(Grades {
                mean: grade(increase.mean_milliseconds),
                p95: grade(increase.p95_milliseconds),
            }),
            None => too_few(loaded),
        },
    }
}

fn too_few(phase: &PhaseResult) -> Verdict {
    Verdict::Ungraded(Ungraded::TooFewSamples {
        phase: phase.phase,
        samples: phase.samples,
        needed: FEWEST_SAMPLES,
    })
}

fn grade(milliseconds: f64) -> Grade {
    let increase = Duration::try_from_secs_f64(milliseconds.max(0.0) / 1e3);
    Grade::of(increase.unwrap_or(Duration::MAX))
}

fn obstacle(
    idle: &PhaseResult,
    loaded: &PhaseResult,
    configured: Configured,
    undrained: Option<Duration>,
) -> Option<Ungraded> {
    let lost_percent = idle.lost_percent();
    if lost_percent > MOST_LOST_PERCENT {
        return Some(Ungraded::IdleLoss { lost_percent });
    }
    let lost_percent = loaded.lost_percent();
    if lost_percent > MOST_LOST_PERCENT {
        return Some(Ungraded::Loss { lost_percent });
    }
    for phase in [idle, loaded] {
        if phase.samples < FEWEST_SAMPLES
            && let Verdict::Ungraded(reason) = too_few(phase)
        {
            return Some(reason);
        }
    }
    if let Some(waited) = undrained {
        return Some(Ungraded::NotDrained {
            waited_milliseconds: super::round_trips::milliseconds(waited),
        });
    }
    load_obstacle(loaded, configured)
}

/// What is wrong with the load.
fn load_obstacle(loaded: &PhaseResult, configured: Configured) -> Option<Ungraded> {
    let mut reached = Vec::new();
    for direction in loaded.phase.loads().iter().copied() {
        let Some(rate) = configured.rate(direction) else {
            return Some(Ungraded::NoRate { direction });
        };
        let Some(goodput) = loaded.goodput(direction) else {
            return Some(Ungraded::LoadUnknown { direction });
        };
        let percent = goodput as f64 * 100.0 / rate.max(1) as f64;
        reached.push((percent, direction, goodput, rate));
    }
    reached.sort_by(|one, other| other.0.total_cmp(&one.0));
    let needed = [LEAST_LOAD_PERCENT, LEAST_LOAD_BESIDE_PERCENT];
    reached
        .into_iter()
        .zip(needed)
        .find(|((percent, ..), needed)| percent < needed)
        .map(
            |((_, direction, goodput, rate), needed_percent)| Ungraded::LoadTooLow {
                direction,
                reached_bits_per_second: goodput,
                configured_bits_per_second: rate,
                needed_percent,
            },
        )
}
