//! The frequency scaling governor of a policy.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use hosttune_core::{AnyKnob, Host, HostError, Knob, Unsupported, UnsupportedKind};
use hosttune_modules::KernelModule;
use hosttune_modules::module::{self, Availability};
use serde::{Deserialize, Serialize};

use crate::attribute::{self, Attribute};
use crate::mode::{Mode, ModeState};
use crate::policy::{Driver, PolicyNumber};
use crate::preference::PolicyPreference;
use crate::tunable::GovernorTunable;

const FILE: &str = "scaling_governor";

/// `CPUFREQ_NAME_LEN` without the terminating NUL. The kernel silently truncates longer names.
const LONGEST_NAME: usize = 15;

/// A frequency scaling governor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum Governor {
    /// The highest frequency within the limits.
    Performance,
    /// The lowest frequency within the limits; for a driver with its own governors, it follows the load.
    Powersave,
    /// The frequency that a program writes to `scaling_setspeed`.
    Userspace,
    /// Follows the load of the last milliseconds; raises the frequency at once and lowers it slowly.
    Ondemand,
    /// Follows the load in steps.
    Conservative,
    /// Follows the scheduler's own measure of the load.
    Schedutil,
    /// Any other governor, by its kernel name.
    Other(String),
}

impl Governor {
    /// Returns the kernel's name of the governor.
    pub fn word(&self) -> &str {
        match self {
            Self::Performance => "performance",
            Self::Powersave => "powersave",
            Self::Userspace => "userspace",
            Self::Ondemand => "ondemand",
            Self::Conservative => "conservative",
            Self::Schedutil => "schedutil",
            Self::Other(word) => word,
        }
    }

    /// Returns the module that provides it if it is not built in.
    pub fn module(&self) -> KernelModule {
        KernelModule::new(format!("cpufreq_{}", self.word()))
    }

    /// Whether the kernel can have a governor of this name.
    pub(crate) fn is_word(&self) -> bool {
        let word = self.word();
        (1..=LONGEST_NAME).contains(&word.len())
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    }
}

impl From<&str> for Governor {
    fn from(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "performance" => Self::Performance,
            "powersave" => Self::Powersave,
            "userspace" => Self::Userspace,
            "ondemand" => Self::Ondemand,
            "conservative" => Self::Conservative,
            "schedutil" => Self::Schedutil,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl From<String> for Governor {
    fn from(word: String) -> Self {
        Self::from(word.as_str())
    }
}

impl From<Governor> for String {
    fn from(governor: Governor) -> Self {
        governor.word().to_owned()
    }
}

impl FromStr for Governor {
    type Err = Infallible;

    fn from_str(word: &str) -> Result<Self, Infallible> {
        Ok(Self::from(word))
    }
}

impl fmt::Display for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The governor of one policy.
///
/// A change frees all tunables of the old governor and, under a driver with its own governors, changes the
/// energy-performance preference. Both side effects are recorded and reverted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyGovernor(pub PolicyNumber);

impl fmt::Display for PolicyGovernor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {FILE}", self.0)
    }
}

impl Knob for PolicyGovernor {
    const NAME: &'static str = "cpu-governor";
    type State = Attribute<Governor>;

    fn read(&self, host: &Host) -> Result<Self::State, HostError> {
        Ok(attribute::read(host, self.0, FILE)?.map(Governor::from))
    }

    fn set(&self, host: &mut Host, to: &Self::State) -> Result<(), HostError> {
        let Attribute::Value(governor) = to else {
            return Err(attribute::no_value(self.0, FILE));
        };
        host.write_value(self.0.file(FILE), format!("{governor}\n").as_bytes())
    }

    fn unsupported(&self, host: &Host, to: &Self::State) -> Result<Option<Unsupported>, HostError> {
        let Attribute::Value(governor) = to else {
            return Ok(None);
        };
        if let Some(unsupported) =
            attribute::unsupported(host, self.0, FILE, || no_scaling(self.0))?
        {
            return Ok(Some(unsupported));
        }
        offers(host, self.0, governor)
    }

    fn side_effects(&self, host: &Host, _: &Self::State) -> Result<Vec<AnyKnob>, HostError> {
        let mut knobs = Vec::new();
        if let Attribute::Value(governor) = self.read(host)? {
            let tunables = GovernorTunable::all_of(host, self.0, &governor)?;
            knobs.extend(tunables.iter().map(AnyKnob::of));
        }
        let preference = PolicyPreference(self.0);
        if preference.read(host)?.value().is_some() {
            knobs.push(AnyKnob::of(&preference));
        }
        Ok(knobs)
    }

    fn is_gone(&self, seen: &Self::State) -> bool {
        *seen == Attribute::Missing
    }

    fn hidden(&self, seen: &Self::State) -> Option<String> {
        (*seen == Attribute::Offline).then(|| attribute::offline(self.0).why)
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        self.0.identity(host)
    }

    fn show(&self, state: &Self::State) -> String {
        state.show(ToString::to_string)
    }
}

/// The reason for a policy that does not exist.
pub(crate) fn no_scaling(policy: PolicyNumber) -> Unsupported {
    Unsupported::new(UnsupportedKind::Missing, format!("{policy} does not exist: no driver scales the frequency of these processors"))
        .hint("in a virtual machine the host does this; otherwise load the processor's driver, such as acpi-cpufreq")
}

/// Returns why a governor is unavailable, or `None` if the policy has it or a module provides it.
fn offers(
    host: &Host,
    policy: PolicyNumber,
    governor: &Governor,
) -> Result<Option<Unsupported>, HostError> {
    let offered = attribute::read(host, policy, "scaling_available_governors")?;
    let offered = offered.value().map_or("", String::as_str);
    if offered
        .split_whitespace()
        .any(|word| word == governor.word())
    {
        return Ok(None);
    }
    let offered = offered.split_whitespace().collect::<Vec<_>>().join(", ");
    if !governor.is_word() {
        return Ok(Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!(
                    "'{}' is not a governor name",
                    governor.word().escape_debug()
                ),
            )
            .hint(format!("use one of {offered}")),
        ));
    }
    let driver = attribute::read(host, policy, "scaling_driver")?;
    let driver = Driver::named(driver.value().map_or("", String::as_str));
    let name = driver.name();
    if driver.has_own_governors() {
        let unsupported = Unsupported::new(
            UnsupportedKind::ValueUnavailable,
            format!("{name} has its own governors ({offered}) and does not support {governor}"),
        );
        return Ok(Some(match driver.mode() {
            Some(mode) => unsupported
                .hint(format!(
                    "set {mode} to passive to use the kernel's governors"
                ))
                .cured_by(&mode, &ModeState::Is(Mode::Passive)),
            None => unsupported,
        }));
    }
    let module = governor.module();
    match module::find(host, module.name())? {
        // `cpufreq_parse_governor` loads the module on demand. Without a list of modules, support cannot be
        // determined before apply.
        Availability::Loadable | Availability::Unknown => Ok(None),
        Availability::Present | Availability::Absent => Ok(Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!("{policy} offers {offered}, and this kernel does not provide {governor}"),
            )
            .hint(format!(
                "use one of {offered}, or install a kernel that has {}",
                module.name()
            ))
            .module(module.name()),
        )),
    }
}
