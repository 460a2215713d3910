//! Grades for the latency of a path under load.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A grade for the increase of the round-trip time under load, compared with the idle path.
///
/// The limits are those of the DSLReports speed test, which applies them to the mean. The same
/// limits on the 95th percentile are stricter, and closer to what a player or a caller notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grade {
    /// Less than 5 ms.
    #[serde(rename = "A+")]
    APlus,
    /// Less than 30 ms.
    A,
    /// Less than 60 ms.
    B,
    /// Less than 200 ms.
    C,
    /// Less than 400 ms.
    D,
    /// 400 ms and more.
    F,
}

impl Grade {
    /// All grades but the worst, the best first, each with the increase in milliseconds from which
    /// it no longer applies.
    const BELOW: [(Self, u64); 5] = [
        (Self::APlus, 5),
        (Self::A, 30),
        (Self::B, 60),
        (Self::C, 200),
        (Self::D, 400),
    ];

    /// The grade of an increase. A path that is faster under load has an increase of zero.
    pub fn of(increase: Duration) -> Self {
        Self::BELOW
            .into_iter()
            .find(|(_, limit)| increase < Duration::from_millis(*limit))
            .map_or(Self::F, |(grade, _)| grade)
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::APlus => "A+",
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::F => "F",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_limit_belongs_to_the_worse_grade() {
        for (microseconds, grade) in [
            (0, Grade::APlus),
            (4_999, Grade::APlus),
            (5_000, Grade::A),
            (29_999, Grade::A),
            (30_000, Grade::B),
            (59_999, Grade::B),
            (60_000, Grade::C),
            (199_999, Grade::C),
            (200_000, Grade::D),
            (399_999, Grade::D),
            (400_000, Grade::F),
        ] {
            assert_eq!(Grade::of(Duration::from_micros(microseconds)), grade);
        }
        assert_eq!(Grade::of(Duration::MAX), Grade::F);
    }

    proptest! {
        #[test]
        fn a_longer_wait_never_gets_a_better_grade(one: u32, more: u32) {
            let one = Duration::from_micros(one.into());
            prop_assert!(Grade::of(one) <= Grade::of(one + Duration::from_micros(more.into())));
        }

        #[test]
        fn a_grade_is_read_back_from_its_name(microseconds in 0..600_000_u64) {
            let grade = Grade::of(Duration::from_micros(microseconds));
            let name = serde_json::to_string(&grade)?;
            prop_assert_eq!(&name, &format!("\"{grade}\""));
            prop_assert_eq!(serde_json::from_str::<Grade>(&name)?, grade);
        }
    }
}
