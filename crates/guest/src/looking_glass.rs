//! Looking Glass: how much memory the guest and the host share to show the guest's screen.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Width and height of a screen in pixels, each 1 to 16384.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Resolution {
    width: u32,
    height: u32,
}

/// The largest width or height, that of a texture in Direct3D 12.
const LARGEST: u32 = 16_384;

/// The error for a text that is not a resolution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a resolution: write width x height in pixels, each 1 to 16384, such as 3840x2160"
)]
pub struct NotAResolution(String);

impl Resolution {
    /// A resolution; `None` if a side is 0 or above 16384.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let sides = [width, height];
        let fits = sides.iter().all(|side| (1..=LARGEST).contains(side));
        fits.then_some(Self { width, height })
    }
}

impl FromStr for Resolution {
    type Err = NotAResolution;

    fn from_str(text: &str) -> Result<Self, NotAResolution> {
        let side = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse::<u32>().ok()).flatten()
        };
        let parsed = text
            .split_once('x')
            .and_then(|(width, height)| Self::new(side(width)?, side(height)?));
        parsed.ok_or_else(|| {
            let shown = text.chars().take(64).flat_map(char::escape_debug);
            NotAResolution(shown.collect())
        })
    }
}

impl TryFrom<String> for Resolution {
    type Error = NotAResolution;

    fn try_from(text: String) -> Result<Self, NotAResolution> {
        text.parse()
    }
}

impl From<Resolution> for String {
    fn from(resolution: Resolution) -> Self {
        resolution.to_string()
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Which Looking Glass the guest runs. The two share memory in different layouts, so the choice is
/// the user's: what is installed in the guest cannot be seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Version {
    /// Release B7 and before: the host application captures a screen.
    B7 {
        /// Whether the screen has a high dynamic range, with 8 bytes for each pixel instead of 4.
        hdr: bool,
    },
    /// The indirect display driver, which is a screen of its own. A high dynamic range needs no
    /// more memory.
    Idd,
}

/// Looking Glass at a resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LookingGlass {
    resolution: Resolution,
    version: Version,
}

const MEBIBYTE: u64 = 1 << 20;

impl LookingGlass {
    /// This version at the largest resolution that the guest will use.
    #[must_use]
    pub fn new(resolution: Resolution, version: Version) -> Self {
        Self {
            resolution,
            version,
        }
    }

    /// The size of the shared memory in MiB, always a power of two: the device in the guest is a
    /// PCI memory region.
    ///
    /// The formulas are those of the project's documentation. B7: two frames and 10 MiB. Indirect
    /// display driver: three frames, whose rows are padded to 256 bytes, and 4 MiB.
    #[must_use]
    pub fn mebibytes(&self) -> u64 {
        let (width, height) = (
            u64::from(self.resolution.width),
            u64::from(self.resolution.height),
        );
        let bytes = match self.version {
            Version::B7 { hdr } => width * height * if hdr { 8 } else { 4 } * 2 + 10 * MEBIBYTE,
            Version::Idd => (width * 4).next_multiple_of(256) * height * 3 + 4 * MEBIBYTE,
        };
        bytes.div_ceil(MEBIBYTE).next_power_of_two()
    }
}

impl fmt::Display for LookingGlass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version {
            Version::B7 { hdr: false } => "B7",
            Version::B7 { hdr: true } => "B7 with HDR",
            Version::Idd => "with the indirect display driver",
        };
        write!(f, "Looking Glass {version} at {}", self.resolution)
    }
}
