//! Processors that share a clock, as the kernel groups them.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind};
use serde::{Deserialize, Serialize};

use crate::attribute::{self, Attribute};
use crate::mode::DriverMode;

/// Where the kernel shows frequency scaling.
pub(crate) const CPUFREQ: &str = "/sys/devices/system/cpu/cpufreq";

/// The number of a policy: that of its first processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyNumber(pub u32);

impl PolicyNumber {
    /// All that there are, by number. A policy whose processors are offline is among them.
    ///
    /// # Errors
    /// Whatever the host answers, except that a kernel without frequency scaling has none.
    pub fn all(host: &Host) -> Result<Vec<Self>, HostError> {
        let names = match host.list(CPUFREQ) {
            Ok(names) => names,
            Err(error) if *error.kind() == HostErrorKind::Missing => Vec::new(),
            Err(error) => return Err(error),
        };
        let number = |name: &String| name.strip_prefix("policy")?.parse().ok().map(Self);
        let mut numbers: Vec<Self> = names.iter().filter_map(number).collect();
        numbers.sort();
        Ok(numbers)
    }

    /// The path of a file of the policy.
    pub(crate) fn file(self, name: &str) -> String {
        format!("{CPUFREQ}/{self}/{name}")
    }

    /// What tells the policy from another that has its number later: which processors it is of,
    /// and whose driver runs it. The two modes of one driver are one driver here, or a governor
    /// that was turned before the mode would not be known again.
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

/// What drives a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// `intel_pstate` in active mode: it has two governors of its own.
    IntelActive,
    /// `intel_cpufreq`, which is `intel_pstate` in passive mode.
    IntelPassive,
    /// `amd-pstate-epp`, which is `amd_pstate` in active mode: it has two governors of its own.
    AmdActive,
    /// `amd-pstate`, which is `amd_pstate` in passive or guided mode.
    AmdPassive,
    /// Any other, such as `acpi-cpufreq`.
    Other(String),
}

impl Driver {
    /// The driver that calls itself so in `scaling_driver`.
    pub fn named(name: &str) -> Self {
        match name {
            "intel_pstate" => Self::IntelActive,
            "intel_cpufreq" => Self::IntelPassive,
            "amd-pstate-epp" => Self::AmdActive,
            "amd-pstate" => Self::AmdPassive,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Its name in `scaling_driver`.
    pub fn name(&self) -> &str {
        match self {
            Self::IntelActive => "intel_pstate",
            Self::IntelPassive => "intel_cpufreq",
            Self::AmdActive => "amd-pstate-epp",
            Self::AmdPassive => "amd-pstate",
            Self::Other(name) => name,
        }
    }

    /// Whether it decides by itself how fast a processor runs and has none of the kernel's
    /// governors: `->setpolicy` in `drivers/cpufreq`.
    pub fn has_own_governors(&self) -> bool {
        match self {
            Self::IntelActive | Self::AmdActive => true,
            Self::IntelPassive | Self::AmdPassive => false,
            Self::Other(name) => name == "longrun",
        }
    }

    /// What its mode is switched by, where it has modes.
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

/// A policy, and what does not change while its driver runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its number.
    pub number: PolicyNumber,
    /// What drives it.
    pub driver: Driver,
    /// The processors that are of it, online or not.
    pub processors: Vec<u32>,
    /// The lowest frequency of the hardware, in kHz.
    pub lowest: u32,
    /// The highest frequency of the hardware, in kHz; with boost switched off, that without.
    pub highest: u32,
    /// The frequencies that there are in between, in kHz; empty where the driver names none.
    pub frequencies: Vec<u32>,
    /// The governors that it offers now. A governor that is a module is offered once it is loaded.
    pub governors: Vec<String>,
}

impl Policy {
    /// What a policy is; `None` where there is no such one, or all its processors are offline.
    ///
    /// # Errors
    /// Where the host would not say, or says something that is no number.
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
            Ok(words
                .map(|words| words.map(str::to_owned).collect::<Vec<_>>())
                .unwrap_or_default())
        };
        let mut frequencies = Vec::new();
        // Those above the nominal one, which are there while boost is on.
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

    /// All whose processors are not all offline, by number.
    ///
    /// # Errors
    /// As [`of`](Self::of).
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
        .map_err(|_| HostError::malformed(file, format!("'{text}' is no number")))
}
