//! Whether what was measured deserves a grade, and which.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grade::Grade;
use super::measurement::{Configured, Increase, PhaseResult};
use super::phase::{Direction, Phase};

/// More of a hundred probes lost than this, and what the others took says little.
pub const MOST_LOST_PERCENT: f64 = 10.0;

/// With fewer answers than this a 95th percentile rests on fewer than five of them.
pub const FEWEST_SAMPLES: u64 = 100;

/// A load below this share of what the line carries need not have filled any queue.
pub const LEAST_LOAD_PERCENT: f64 = 70.0;

/// Where both ways are loaded, this is enough of one if the other reaches [`LEAST_LOAD_PERCENT`].
/// The acknowledgements of each wait in the queue of the other, and the deeper that is, the more it
/// starves: beside an upload that filled a queue of 0.8 s, four downloads were seen to reach 87 %, 60 %
/// and 43 % of the line. Such a path must not be spared its F for being so poor.
pub const LEAST_LOAD_BESIDE_PERCENT: f64 = 25.0;

/// What a phase under load has earned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A grade of the mean and one of the 95th percentile.
    Graded(Grades),
    /// None, and why.
    Ungraded(Ungraded),
}

/// The grades of one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grades {
    /// Of how much the mean increased: comparable with what other tests print.
    pub mean: Grade,
    /// Of how much the 95th percentile increased.
    pub p95: Grade,
}

/// Why there is no grade.
///
/// A measurement that graded whatever it saw once gave a path on which nothing arrived an A+: no
/// load means no queue. Each of these is such a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Ungraded {
    /// More than [`MOST_LOST_PERCENT`] were lost while the path was idle.
    IdleLoss {
        /// How many of a hundred probes.
        lost_percent: f64,
    },
    /// More than [`MOST_LOST_PERCENT`] were lost under load: what was dropped waited for ever, and
    /// a grade of the others would hide it.
    Loss {
        /// How many of a hundred probes.
        lost_percent: f64,
    },
    /// Fewer than [`FEWEST_SAMPLES`] answers.
    TooFewSamples {
        /// The phase that they are missing in: this one, or [`Phase::Idle`].
        phase: Phase,
        /// How many there are.
        samples: u64,
        /// How many are needed.
        needed: u64,
    },
    /// What the phase before had left in the queues was still there when this one began.
    NotDrained {
        /// For how long it was waited for.
        waited_milliseconds: f64,
    },
    /// Nobody said what the line carries, so nobody can say that it was full.
    NoRate {
        /// Which way.
        direction: Direction,
    },
    /// How much arrived could not be learnt from the responder in time.
    LoadUnknown {
        /// Which way.
        direction: Direction,
    },
    /// Less arrived than [`LEAST_LOAD_PERCENT`], or [`LEAST_LOAD_BESIDE_PERCENT`], of what the line
    /// is said to carry.
    LoadTooLow {
        /// Which way.
        direction: Direction,
        /// What arrived.
        reached_bits_per_second: u64,
        /// What was said to be carried.
        configured_bits_per_second: u64,
        /// How much of a hundred would have been enough.
        needed_percent: f64,
    },
}

impl fmt::Display for Ungraded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdleLoss { lost_percent } => write!(
                formatter,
                "{lost_percent:.0} % of the probes were lost while the path was idle, and {MOST_LOST_PERCENT:.0} % is the most"
            ),
            Self::Loss { lost_percent } => write!(
                formatter,
                "{lost_percent:.0} % of the probes were lost, and {MOST_LOST_PERCENT:.0} % is the most"
            ),
            Self::TooFewSamples {
                phase,
                samples,
                needed,
            } => write!(
                formatter,
                "only {samples} probes were answered in the phase {phase}, and {needed} are needed: measure for longer"
            ),
            Self::NotDrained {
                waited_milliseconds,
            } => write!(
                formatter,
                "the queues had not drained {:.1} s after the phase before",
                waited_milliseconds / 1e3
            ),
            Self::NoRate { direction } => write!(
                formatter,
                "not checked against a rate: say what the line carries ({direction}), or nobody knows whether it was full"
            ),
            Self::LoadUnknown { direction } => write!(
                formatter,
                "the responder did not say in time how much {direction} arrived"
            ),
            Self::LoadTooLow {
                direction,
                reached_bits_per_second,
                configured_bits_per_second,
                needed_percent,
            } => write!(
                formatter,
                "the {direction} reached {:.2} of {:.2} Mbit/s, and less than {needed_percent:.0} % need not fill a queue",
                *reached_bits_per_second as f64 / 1e6,
                *configured_bits_per_second as f64 / 1e6
            ),
        }
    }
}

/// Judges a phase under load beside the idle one. What disqualifies most is named.
///
/// `undrained` is for how long the queues were waited for in vain, if they were.
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
