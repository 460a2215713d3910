//! The power state of a function, which decides what may be read of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The power state in `power_state` (Linux 5.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PowerState {
    /// Fully on.
    D0,
    /// Light sleep.
    D1,
    /// Deeper sleep.
    D2,
    /// Asleep, but its configuration space answers.
    D3hot,
    /// Without power. Reading the configuration space would wake it.
    D3cold,
    /// The kernel does not say, or this kernel has no such file.
    Unknown,
}

impl PowerState {
    /// Parses the kernel's word; any other word is [`Unknown`](Self::Unknown).
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word.trim() {
            "D0" => Self::D0,
            "D1" => Self::D1,
            "D2" => Self::D2,
            "D3hot" => Self::D3hot,
            "D3cold" => Self::D3cold,
            _ => Self::Unknown,
        }
    }

    /// Whether the configuration space can be read without waking the device.
    ///
    /// In D3hot and an unknown state the kernel resumes the bridge above for the time of the read,
    /// so only D0 to D2 count.
    #[must_use]
    pub fn is_awake(self) -> bool {
        matches!(self, Self::D0 | Self::D1 | Self::D2)
    }
}

impl fmt::Display for PowerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::D0 => "D0",
            Self::D1 => "D1",
            Self::D2 => "D2",
            Self::D3hot => "D3hot",
            Self::D3cold => "D3cold",
            Self::Unknown => "unknown",
        })
    }
}
