//! Statistics of round trips.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The smallest value that at least `percent` of all values do not exceed (nearest rank). It is
/// always a measured value, never one between two of them.
///
/// `sorted` is in ascending order; a `percent` above 100 counts as 100. `None` if there is no
/// value.
pub fn percentile(sorted: &[Duration], percent: u8) -> Option<Duration> {
    let rank = (sorted.len() * usize::from(percent.min(100))).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Statistics of the answered probes of a phase.
///
/// They are calculated from whole nanoseconds, so that none of them is ever NaN.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundTripStatistics {
    /// The shortest round trip.
    pub minimum_milliseconds: f64,
    /// The arithmetic mean.
    pub mean_milliseconds: f64,
    /// Half of the round trips took no longer.
    pub median_milliseconds: f64,
    /// 95 % of the round trips took no longer.
    pub p95_milliseconds: f64,
    /// 99 % of the round trips took no longer.
    pub p99_milliseconds: f64,
    /// The longest round trip.
    pub maximum_milliseconds: f64,
}

impl RoundTripStatistics {
    /// Statistics of round trips in any order; `None` if there are none.
    pub fn of(round_trips: &[Duration]) -> Option<Self> {
        let mut sorted = round_trips.to_vec();
        sorted.sort_unstable();
        let at = |percent| percentile(&sorted, percent).map(milliseconds);
        let sum: u128 = sorted.iter().map(Duration::as_nanos).sum();
        let mean = sum.checked_div(sorted.len() as u128)?;
        Some(Self {
            minimum_milliseconds: at(0)?,
            mean_milliseconds: milliseconds(Duration::from_nanos(
                u64::try_from(mean).unwrap_or(u64::MAX),
            )),
            median_milliseconds: at(50)?,
            p95_milliseconds: at(95)?,
            p99_milliseconds: at(99)?,
            maximum_milliseconds: at(100)?,
        })
    }
}

/// Milliseconds, rounded to the microsecond: more digits would only be noise in a file.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_nanos() as f64 / 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn of(milliseconds: &[u64]) -> Vec<Duration> {
        milliseconds
            .iter()
            .copied()
            .map(Duration::from_millis)
            .collect()
    }

    #[test]
    fn without_a_sample_there_is_nothing_to_say() {
        assert_eq!(percentile(&[], 95), None);
        assert_eq!(RoundTripStatistics::of(&[]), None);
    }

    #[test]
    fn one_sample_is_everything() {
        let one = RoundTripStatistics::of(&of(&[20])).unwrap();
        assert_eq!(one.minimum_milliseconds, 20.0);
        assert_eq!(one.mean_milliseconds, 20.0);
        assert_eq!(one.median_milliseconds, 20.0);
        assert_eq!(one.p95_milliseconds, 20.0);
        assert_eq!(one.p99_milliseconds, 20.0);
        assert_eq!(one.maximum_milliseconds, 20.0);
    }

    /// The worked example of the nearest-rank method.
    #[test]
    fn ranks_are_the_nearest() {
        let values = of(&[15, 20, 35, 40, 50]);
        for (percent, expected) in [
            (0, 15),
            (5, 15),
            (30, 20),
            (40, 20),
            (50, 35),
            (100, 50),
            (255, 50),
        ] {
            assert_eq!(
                percentile(&values, percent),
                Some(Duration::from_millis(expected)),
                "{percent}"
            );
        }
        let hundred = of(&(1..=100).collect::<Vec<_>>());
        assert_eq!(percentile(&hundred, 95), Some(Duration::from_millis(95)));
        assert_eq!(percentile(&hundred, 99), Some(Duration::from_millis(99)));
    }

    fn any_round_trips() -> impl Strategy<Value = Vec<Duration>> {
        let nanoseconds = prop_oneof![0..2_000_000_000_u64, Just(0), Just(u64::MAX)];
        vec(nanoseconds.prop_map(Duration::from_nanos), 1..60)
    }

    proptest! {
        #[test]
        fn a_percentile_is_a_sample_with_enough_of_them_below(mut values in any_round_trips(), percent in 0..=100_u8) {
            values.sort_unstable();
            let found = percentile(&values, percent).unwrap();
            prop_assert!(values.contains(&found));
            let below = values.iter().filter(|value| **value <= found).count();
            prop_assert!(below * 100 >= values.len() * usize::from(percent));
            let strictly = values.iter().filter(|value| **value < found).count();
            prop_assert!(strictly * 100 < values.len() * usize::from(percent.max(1)));
        }

        #[test]
        fn percentiles_never_fall(mut values in any_round_trips(), one in 0..=100_u8, other in 0..=100_u8) {
            values.sort_unstable();
            prop_assert!(percentile(&values, one.min(other)) <= percentile(&values, one.max(other)));
        }

        #[test]
        fn the_order_of_arrival_changes_nothing(values in any_round_trips(), seed: u64) {
            let mut other = values.clone();
            let length = other.len();
            for (number, place) in (0..length).rev().enumerate() {
                other.swap(place, (seed as usize).wrapping_mul(number + 7) % length);
            }
            prop_assert_eq!(RoundTripStatistics::of(&values), RoundTripStatistics::of(&other));
        }

        #[test]
        fn every_figure_is_a_number_between_the_extremes(values in any_round_trips()) {
            let all = RoundTripStatistics::of(&values).unwrap();
            let rising = [
                all.minimum_milliseconds,
                all.median_milliseconds,
                all.p95_milliseconds,
                all.p99_milliseconds,
                all.maximum_milliseconds,
            ];
            prop_assert!(rising.iter().all(|figure| figure.is_finite()));
            prop_assert!(rising.is_sorted());
            prop_assert!(all.mean_milliseconds >= all.minimum_milliseconds);
            prop_assert!(all.mean_milliseconds <= all.maximum_milliseconds);
        }

        #[test]
        fn longer_round_trips_never_come_to_less(values in any_round_trips(), more in 0..1_000_000_u64) {
            let longer: Vec<Duration> =
                values.iter().map(|value| value.saturating_add(Duration::from_micros(more))).collect();
            let (before, after) = (RoundTripStatistics::of(&values).unwrap(), RoundTripStatistics::of(&longer).unwrap());
            prop_assert!(after.mean_milliseconds >= before.mean_milliseconds);
            prop_assert!(after.p95_milliseconds >= before.p95_milliseconds);
        }
    }
}
