//! What the path carries while it is measured.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the path carries beside the probes. In the order in which it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing: what all others are compared with.
    Idle,
    /// As much as it takes, from the responder to here.
    Download,
    /// As much as it takes, from here to the responder.
    Upload,
    /// Both at once.
    Both,
}

impl Phase {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Download, Self::Upload, Self::Both];

    /// Which ways are loaded.
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

/// Which way data goes, as seen from who measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the responder to here.
    Download,
    /// From here to the responder.
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
