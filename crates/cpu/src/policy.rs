//! Cpufreq policies: groups of processors that share a clock.

use std::fmt;

use hosttune_core::{Host, HostError};
use serde::{Deserialize, Serialize};

use crate::attribute::{self, Attribute};
use crate::mode::DriverMode;

/// Directory of frequency scaling in sysfs.
pub(crate) const CPUFREQ: &str = "/sys/devices/system/cpu/cpufreq";

/// The number of a policy, which is that of its first processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyNumber(pub u32);

impl PolicyNumber {
    /// Returns all policies in numerical order, including those whose processors are offline.
    ///
    /// # Errors
    /// Returns the error of the host if they cannot be listed. A kernel without frequency scaling has none.
    pub fn all(host: &Host) -> Result<Vec<Self>, HostError> {
        let names = host.list_if_there(CPUFREQ)?;
        let number = |name: &String| name.strip_prefix("policy")?.parse().ok().map(Self);
        let mut numbers: Vec<Self> = names.iter().filter_map(number).collect();
        numbers.sort();
        Ok(numbers)
    }

    /// Returns the path of a file of the policy.
    pub(crate) fn file(self, name: &str) -> String {
        format!("{CPUFREQ}/{self}/{name}")
    }

    /// Identity of the policy behind this number: its processors and its driver.
    ///
    /// Both modes of a driver count as the same driver. Otherwise a governor that was changed before the
    /// mode would no longer be recognised.
    pub(crate) fn identity(self, host: &Host) -> Result<Option<String>, HostError> {
        let driver = attribute::read(host, self, "scaling_driver")?;
        let related = attribute::read(host, self, "related_cpus")?;
        Ok(match (driver, related) {
            (Attribute::Value(driver), Attribute::Value(related)) => {
                let driver = Driver::named(&driver);
                Some(format!("{} {related}", driver.family()))
            }
            _ => None,
        })
    }
}

impl fmt::Display for PolicyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy{}", self.0)
    }
}

/// The driver of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// `intel_pstate` in active mode, with two governors of its own.
    IntelActive,
    /// `intel_cpufreq`, which is `intel_pstate` in passive mode.
    IntelPassive,
    /// `amd-pstate-epp`, which is `amd_pstate` in active mode, with two governors of its own.
    AmdActive,
    /// `amd-pstate`, which is `amd_pstate` in passive or guided mode.
    AmdPassive,
    /// Any other driver, such as `acpi-cpufreq`.
    Other(String),
}

impl Driver {
    /// Returns the driver with this name in `scaling_driver`.
    pub fn named(name: &str) -> Self {
        match name {
            "intel_pstate" => Self::IntelActive,
            "intel_cpufreq" => Self::IntelPassive,
            "amd-pstate-epp" => Self::AmdActive,
            "amd-pstate" => Self::AmdPassive,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Returns its name in `scaling_driver`.
    pub fn name(&self) -> &str {
        match self {
            Self::IntelActive => "intel_pstate",
            Self::IntelPassive => "intel_cpufreq",
            Self::AmdActive => "amd-pstate-epp",
            Self::AmdPassive => "amd-pstate",
            Self::Other(name) => name,
        }
    }

    /// Whether it chooses the frequency itself and has none of the kernel's governors: `->setpolicy` in
    /// `drivers/cpufreq`.
    pub fn has_own_governors(&self) -> bool {
        match self {
            Self::IntelActive | Self::AmdActive => true,
            Self::IntelPassive | Self::AmdPassive => false,
            Self::Other(name) => name == "longrun",
        }
    }

    /// Returns the knob that switches its mode, if it has modes.
    pub fn mode(&self) -> Option<DriverMode> {
        match self {
            Self::IntelActive | Self::IntelPassive => Some(DriverMode::IntelPstate),
            Self::AmdActive | Self::AmdPassive => Some(DriverMode::AmdPstate),
            Self::Other(_) => None,
        }
    }

    fn family(&self) -> &str {
        match self {
            Self::IntelActive | Self::IntelPassive => "intel_pstate",
            Self::AmdActive | Self::AmdPassive => "amd_pstate",
            Self::Other(name) => name,
        }
    }
}

/// A policy and the properties that stay the same while its driver runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// Its number.
    pub number: PolicyNumber,
    /// Its driver.
    pub driver: Driver,
    /// Its processors, online or not.
    pub processors: Vec<u32>,
    /// The lowest frequency of the hardware, in kHz.
    pub lowest: u32,
    /// The highest frequency of the hardware, in kHz; without boost if boost is off.
    pub highest: u32,
    /// The frequencies that the driver lists, in kHz; empty if it lists none.
    pub frequencies: Vec<u32>,
    /// The governors that it offers now. A governor that is a module is listed once it is loaded.
    pub governors: Vec<String>,
}

impl Policy {
    /// Reads a policy. Returns `None` if it does not exist or all its processors are offline.
    ///
    /// # Errors
    /// Fails if a file cannot be read or does not hold a number.
    pub fn of(host: &Host, number: PolicyNumber) -> Result<Option<Self>, HostError> {
        let text = |name| attribute::read(host, number, name);
        let (Attribute::Value(driver), Attribute::Value(related)) =
            (text("scaling_driver")?, text("related_cpus")?)
        else {
            return Ok(None);
        };
        let frequency = |name| match text(name)? {
            Attribute::Value(text) => parse(&number.file(name), &text),
            Attribute::Missing | Attribute::Offline => Ok(0),
        };
        let list = |name| {
            let text = text(name)?;
            let words = text.value().map(|text| text.split_whitespace());
            Ok::<_, HostError>(
                words
                    .map(|words| words.map(str::to_owned).collect::<Vec<_>>())
                    .unwrap_or_default(),
            )
        };
        let mut frequencies = Vec::new();
        // The second file lists the frequencies above the nominal one, which exist while boost is on.
        for name in ["scaling_available_frequencies", "scaling_boost_frequencies"] {
            for word in list(name)? {
                frequencies.push(parse(&number.file(name), &word)?);
            }
        }
        frequencies.sort_unstable();
        let processors = related
            .split_whitespace()
            .map(|word| parse(&number.file("related_cpus"), word))
            .collect::<Result<_, _>>()?;
        Ok(Some(Self {
            number,
            driver: Driver::named(&driver),
            processors,
            lowest: frequency("cpuinfo_min_freq")?,
            highest: frequency("cpuinfo_max_freq")?,
            frequencies,
            governors: list("scaling_available_governors")?,
        }))
    }

    /// Reads all policies that have an online processor, in numerical order.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn all(host: &Host) -> Result<Vec<Self>, HostError> {
        let mut all = Vec::new();
        for number in PolicyNumber::all(host)? {
            all.extend(Self::of(host, number)?);
        }
        Ok(all)
    }
}

fn parse(file: &str, text: &str) -> Result<u32, HostError> {
    text.parse()
        .map_err(|_| HostError::malformed(file, format!("'{text}' is not a number")))
}
