//! What to do about a path that is slow under load.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::grade::Grade;
use super::measurement::{Measurement, PhaseResult};
use super::phase::{Direction, Phase};
use super::verdict::Verdict;

/// Of what the line carries upwards, how much a shaper is to let through.
const EGRESS_PERCENT: u64 = 95;

/// The same downwards: less, since the sender reacts only a round trip later.
const INGRESS_PERCENT: (u64, u64) = (85, 90);

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Advice {
    /// Shape what leaves to this, or to less where it is shaped to more.
    ShapeEgress {
        /// About 95 % of what the line carries.
        bits_per_second: u64,
    },
    /// Shape what arrives to something in between, or to less where it is shaped to more.
    ShapeIngress {
        /// 85 % of what the line carries: where the latency matters most.
        least_bits_per_second: u64,
        /// 90 % of it.
        most_bits_per_second: u64,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabits = |bits: &u64| *bits as f64 / 1e6;
        match self {
            Self::ShapeEgress { bits_per_second } => write!(
                formatter,
                "shape what leaves to {:.2} Mbit/s, {EGRESS_PERCENT} % of the line; if a shaper is on, it is set above what the line carries",
                megabits(bits_per_second)
            ),
            Self::ShapeIngress {
                least_bits_per_second,
                most_bits_per_second,
            } => write!(
                formatter,
                "shape what arrives to {:.2} to {:.2} Mbit/s, {} to {} % of the line; if a shaper is on, lower it",
                megabits(least_bits_per_second),
                megabits(most_bits_per_second),
                INGRESS_PERCENT.0,
                INGRESS_PERCENT.1
            ),
        }
    }
}

/// What the grades suggest: something for every direction that does not deserve an A. Nothing where
/// there are no grades: there would be nothing to found it on.
pub fn advice(measurement: &Measurement) -> Vec<Advice> {
    let mut advice = Vec::new();
    for (phase, direction) in [
        (Phase::Upload, Direction::Upload),
        (Phase::Download, Direction::Download),
    ] {
        let Some(result) = measurement.phase(phase).filter(|result| is_poor(result)) else {
            continue;
        };
        let Some(rate) = measurement
            .configured
            .rate(direction)
            .or(result.goodput(direction))
        else {
            continue;
        };
        let share = |percent: u64| rate / 100 * percent;
        advice.push(match direction {
            Direction::Upload => Advice::ShapeEgress {
                bits_per_second: share(EGRESS_PERCENT),
            },
            Direction::Download => Advice::ShapeIngress {
                least_bits_per_second: share(INGRESS_PERCENT.0),
                most_bits_per_second: share(INGRESS_PERCENT.1),
            },
        });
    }
    advice
}

fn is_poor(result: &PhaseResult) -> bool {
    matches!(&result.verdict, Some(Verdict::Graded(grades)) if grades.p95 > Grade::A)
}
