//! The names of CAKE's tins.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A tin by `tc`'s name for it, which depends on the number of tins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TinName {
    /// With three or four tins: traffic that may wait.
    Bulk,
    /// With three or four tins: all other traffic.
    BestEffort,
    /// With four tins: streamed video.
    Video,
    /// With three or four tins: traffic that must not wait.
    Voice,
    /// With any other number of tins: the position, starting at 0 with the lowest precedence.
    Number(u8),
}

impl TinName {
    /// The tin at this position, starting at 0, out of `count`.
    pub fn of(place: usize, count: usize) -> Self {
        match (count, place) {
            (3 | 4, 0) => Self::Bulk,
            (3 | 4, 1) => Self::BestEffort,
            (4, 2) => Self::Video,
            (3, 2) | (4, 3) => Self::Voice,
            // The kernel has at most eight.
            _ => Self::Number(u8::try_from(place).unwrap_or(u8::MAX)),
        }
    }
}

impl fmt::Display for TinName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bulk => formatter.pad("Bulk"),
            Self::BestEffort => formatter.pad("Best Effort"),
            Self::Video => formatter.pad("Video"),
            Self::Voice => formatter.pad("Voice"),
            Self::Number(number) => formatter.pad(&format!("Tin {number}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_has_its_names() {
        let names = |count| -> Vec<String> {
            let all = 0..count;
            all.map(|place| TinName::of(place, count).to_string())
                .collect()
        };
        assert_eq!(names(1), ["Tin 0"]);
        assert_eq!(names(3), ["Bulk", "Best Effort", "Voice"]);
        assert_eq!(names(4), ["Bulk", "Best Effort", "Video", "Voice"]);
        assert_eq!(names(8)[..2], ["Tin 0", "Tin 1"]);
        assert_eq!(TinName::of(7, 4), TinName::Number(7));
    }
}
