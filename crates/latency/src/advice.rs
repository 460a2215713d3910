//! Advice for a path that is slow under load.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::grade::Grade;
use super::measurement::{Measurement, PhaseResult};
use super::phase::{Direction, Phase};
use super::verdict::Verdict;

/// Share of the upload rate that a shaper should let through.
const EGRESS_PERCENT: u64 = 95;

/// The same for the download rate: less, because the sender reacts only a round trip later.
const INGRESS_PERCENT: (u64, u64) = (85, 90);

/// A recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Advice {
    /// Shape egress to this rate, or lower where it is shaped to a higher one.
    ShapeEgress {
        /// About 95 % of the link rate.
        bits_per_second: u64,
    },
    /// Shape ingress to a rate in this range, or lower where it is shaped to a higher one.
    ShapeIngress {
        /// 85 % of the link rate, for where latency matters most.
        least_bits_per_second: u64,
        /// 90 % of the link rate.
        most_bits_per_second: u64,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabits = |bits: &u64| *bits as f64 / 1e6;
        match self {
            Self::ShapeEgress { bits_per_second } => write!(
                formatter,
                "shape egress to {:.2} Mbit/s, {EGRESS_PERCENT} % of the link rate; if a shaper is active, its rate is above the link rate",
                megabits(bits_per_second)
            ),
            Self::ShapeIngress {
                least_bits_per_second,
                most_bits_per_second,
            } => write!(
                formatter,
                "shape ingress to {:.2} to {:.2} Mbit/s, {} to {} % of the link rate; if a shaper is active, lower its rate",
                megabits(least_bits_per_second),
                megabits(most_bits_per_second),
                INGRESS_PERCENT.0,
                INGRESS_PERCENT.1
            ),
        }
    }
}

/// Recommendations that follow from the grades: one for every direction with a grade below A. Empty
/// without grades, because there would be nothing to base them on.
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
