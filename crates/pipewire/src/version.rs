//! Versions of PipeWire.

use std::fmt;
use std::str::FromStr;

use hosttune_spa_json::Dialect;
use serde::{Deserialize, Serialize};

/// A version of PipeWire, such as 1.4.2. Many rules depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number. An odd one is a development version.
    pub minor: u32,
    /// The third number.
    pub micro: u32,
}

impl Version {
    /// A version.
    pub const fn new(major: u32, minor: u32, micro: u32) -> Self {
        Self {
            major,
            minor,
            micro,
        }
    }

    /// The parser with which this version reads its configuration.
    pub fn dialect(self) -> Dialect {
        Dialect::of_pipewire(self.major, self.minor, self.micro)
    }

    /// The version that a shipped configuration file names in its first line: `# Daemon config file
    /// for PipeWire version "1.4.2" #`.
    ///
    /// It is the version of the files, which is the daemon's unless an administrator has put an
    /// older copy in their place.
    pub fn of_config_file(text: &[u8]) -> Option<Self> {
        let first = text.split(|byte| *byte == b'\n').next()?;
        let first = std::str::from_utf8(first).ok()?;
        let (_, rest) = first.split_once("PipeWire version \"")?;
        rest.split_once('"')?.0.parse().ok()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// A text that is no version of PipeWire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a version of PipeWire: write it like 1.4.2")]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let wrong = || VersionError(text.to_owned());
        let mut numbers = text.split('.').map(|number| {
            if number.bytes().all(|byte| byte.is_ascii_digit()) {
                number.parse().map_err(|_| wrong())
            } else {
                Err(wrong())
            }
        });
        let mut next = || numbers.next().unwrap_or_else(|| Err(wrong()));
        let version = Self::new(next()?, next()?, next()?);
        match numbers.next() {
            None => Ok(version),
            Some(_) => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}
