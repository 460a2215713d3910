//! What the tins of CAKE are called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A tin by the name that `tc` has for it, which follows from how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TinName {
    /// Of three or four: what may wait.
    Bulk,
    /// Of three or four: what is nothing else.
    BestEffort,
    /// Of four: what is watched.
    Video,
    /// Of three or four: what is waited for.
    Voice,
    /// Of another count: its number, from 0 on, that of least precedence first.
    Number(u8),
}

impl TinName {
    /// That of the tin at this place, from 0 on, of so many.
    pub fn of(place: usize, count: usize) -> Self {
        match (count, place) {
            (3 | 4, 0) => Self::Bulk,
            (3 | 4, 1) => Self::BestEffort,
            (4, 2) => Self::Video,
            (3, 2) | (4, 3) => Self::Voice,
            // The kernel has eight at most.
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
