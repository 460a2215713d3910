//! Two measurements of one path beside each other.

use serde::{Deserialize, Serialize};

use super::measurement::{Increase, Measurement, PhaseResult};
use super::phase::Phase;
use super::verdict::Verdict;

/// Increases below this are not told apart: a scheduler's whim is as large.
const RESOLUTION_MILLISECONDS: f64 = 1.0;

/// What became of the latency under load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The phases under load that both measurements have.
    pub phases: Vec<ComparedPhase>,
}

/// One phase of two measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparedPhase {
    /// What the path carried.
    pub phase: Phase,
    /// How much longer a round trip took, before.
    pub before: Option<Increase>,
    /// And after.
    pub after: Option<Increase>,
    /// How often the increase of the mean after fits into that before; below 1 where it grew.
    /// `None` unless both phases have grades: what is not valid once is not valid in a ratio.
    pub mean_times_lower: Option<f64>,
    /// The same of the 95th percentile.
    pub p95_times_lower: Option<f64>,
}

impl Comparison {
    /// Of a path before and after something was done to it.
    pub fn between(before: &Measurement, after: &Measurement) -> Self {
        let loaded = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Idle);
        Self {
            phases: loaded
                .filter_map(|phase| compare(before.phase(phase)?, after.phase(phase)?))
                .collect(),
        }
    }
}

fn compare(before: &PhaseResult, after: &PhaseResult) -> Option<ComparedPhase> {
    let graded = |result: &PhaseResult| {
        matches!(result.verdict, Some(Verdict::Graded(_)))
            .then_some(result.increase)
            .flatten()
    };
    let both = graded(before).zip(graded(after));
    let ratio =
        |of: fn(&Increase) -> f64| both.map(|(before, after)| times_lower(of(&before), of(&after)));
    Some(ComparedPhase {
        phase: before.phase,
        before: before.increase,
        after: after.increase,
        mean_times_lower: ratio(|increase| increase.mean_milliseconds),
        p95_times_lower: ratio(|increase| increase.p95_milliseconds),
    })
}

/// How many times lower an increase became. What is below the resolution counts as just that, so
/// there is always an answer, and it is never too good.
fn times_lower(before: f64, after: f64) -> f64 {
    let ratio = before.max(RESOLUTION_MILLISECONDS) / after.max(RESOLUTION_MILLISECONDS);
    (ratio * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ratios_are_never_too_good() {
        assert_eq!(times_lower(521.0, 7.0), 74.43);
        assert_eq!(times_lower(521.0, -0.4), 521.0);
        assert_eq!(times_lower(0.2, 0.0), 1.0);
        assert_eq!(times_lower(5.0, 50.0), 0.1);
    }

    proptest! {
        #[test]
        fn there_is_always_a_ratio(before in -1e6..1e6_f64, after in -1e6..1e6_f64) {
            let ratio = times_lower(before, after);
            prop_assert!(ratio.is_finite() && ratio >= 0.0);
            prop_assert!(times_lower(before + 1.0, after) >= ratio);
            prop_assert!(times_lower(before, after + 1.0) <= ratio);
        }
    }
}
