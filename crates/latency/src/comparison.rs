//! Comparison of two measurements of one path.

use serde::{Deserialize, Serialize};

use super::measurement::{Increase, Measurement, PhaseResult};
use super::phase::Phase;
use super::verdict::Verdict;

/// Increases below this are not distinguished: scheduling alone causes as much.
const RESOLUTION_MILLISECONDS: f64 = 1.0;

/// How the latency under load has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Comparison {
    /// The phases under load that both measurements contain.
    pub phases: Vec<ComparedPhase>,
}

/// A phase of two measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ComparedPhase {
    /// The load of the path.
    pub phase: Phase,
    /// Increase of the round-trip time in the first measurement.
    pub before: Option<Increase>,
    /// Increase of the round-trip time in the second measurement.
    pub after: Option<Increase>,
    /// Factor by which the increase of the mean became lower; below 1 where it grew. `None` unless
    /// both phases have grades: a ratio of invalid results is not valid either.
    pub mean_times_lower: Option<f64>,
    /// The same factor for the 95th percentile.
    pub p95_times_lower: Option<f64>,
}

impl Comparison {
    /// Compares a path before and after a change.
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

/// How many times lower an increase became. An increase below the resolution counts as the
/// resolution, so that there is always an answer, and never one that is too good.
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
