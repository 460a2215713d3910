//! The phases of a measurement, and the directions that they load.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the path carries beside the probes, in the order in which it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing: the phase that all others are compared with.
    Idle,
    /// As much as possible from the responder to this host.
    Download,
    /// As much as possible from this host to the responder.
    Upload,
    /// Both at once.
    Both,
}

impl Phase {
    /// All phases, in the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Download, Self::Upload, Self::Both];

    /// The directions that are loaded.
    pub const fn loads(self) -> &'static [Direction] {
        match self {
            Self::Idle => &[],
            Self::Download => &[Direction::Download],
            Self::Upload => &[Direction::Upload],
            Self::Both => &[Direction::Download, Direction::Upload],
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Idle => "idle",
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Both => "both",
        })
    }
}

/// Direction of data, as seen from the host that measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the responder to this host.
    Download,
    /// From this host to the responder.
    Upload,
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Download => "download",
            Self::Upload => "upload",
        })
    }
}
