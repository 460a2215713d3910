//! Versions of the driver, and the two kinds of its kernel module.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A version of the driver: `595.45.04`. Library and kernel module must be equal in all parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DriverVersion(String);

impl DriverVersion {
    /// Reads a version of two or three numbers; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        let number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_version = (2..=3).contains(&parts.len()) && parts.iter().all(number);
        (is_version && parts[0].parse::<u16>().is_ok()).then(|| Self(text.to_owned()))
    }

    /// The branch, which is the first number: parameters and supported cards change between branches.
    pub fn branch(&self) -> u16 {
        let first = self.0.split('.').next();
        first.and_then(|part| part.parse().ok()).unwrap_or(0)
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kind of the kernel module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleKind {
    /// NVIDIA's open kernel module, licensed under MIT and GPL.
    Open,
    /// The proprietary kernel module.
    Proprietary,
}

impl fmt::Display for ModuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Proprietary => "proprietary",
        })
    }
}

/// The driver that is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LoadedDriver {
    /// Its version.
    pub version: DriverVersion,
    /// The kind of its module.
    pub kind: ModuleKind,
}

/// The file in which the loaded driver names itself.
pub const VERSION_FILE: &str = "/proc/driver/nvidia/version";

impl LoadedDriver {
    /// Reads the text of [`VERSION_FILE`]; `None` if it names no version.
    ///
    /// The platform stands before the name in the proprietary module and behind it in the open one,
    /// so the version is the first word that is one.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.contains("NVRM version:"))?;
        let version = line.split_whitespace().find_map(DriverVersion::parse)?;
        let kind = if line.contains("Open Kernel Module") {
            ModuleKind::Open
        } else {
            ModuleKind::Proprietary
        };
        Some(Self { version, kind })
    }
}
