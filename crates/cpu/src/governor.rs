//! What decides how fast the processors of a policy run.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use hosttune_boot::KernelModule;
use hosttune_boot::module::{self, Availability};
use hosttune_core::{AnyKnob, Host, HostError, Knob, Lack, LackKind};
use serde::{Deserialize, Serialize};

use crate::attribute::{self, Attribute};
use crate::mode::{Mode, ModeState};
use crate::policy::{Driver, PolicyNumber};
use crate::preference::PolicyPreference;
use crate::tunable::GovernorTunable;

const FILE: &str = "scaling_governor";

/// `CPUFREQ_NAME_LEN` without the end mark; what is longer the kernel cuts off in silence.
const LONGEST_NAME: usize = 15;

/// What decides how fast the processors of a policy run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum Governor {
    /// As fast as the limits allow.
    Performance,
    /// As slow as the limits allow; for a driver with governors of its own, as the load wants it.
    Powersave,
    /// As a program says in `scaling_setspeed`.
    Userspace,
    /// As the load of the last milliseconds wants it, up at once and down slowly.
    Ondemand,
    /// As the load wants it, in steps.
    Conservative,
    /// As the scheduler's own measure of the load wants it.
    Schedutil,
    /// Any other, in the kernel's word.
    Other(String),
}

impl Governor {
    /// The kernel's word for it.
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

    /// The module that brings it where it is not part of the kernel.
    pub fn module(&self) -> KernelModule {
        KernelModule::new(format!("cpufreq_{}", self.word()))
    }

    fn is_word(&self) -> bool {
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
/// Switching it drops every tunable of the governor that was there, and under a driver with
/// governors of its own moves the energy-performance preference: both are kept and put back.
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

    fn turn(&self, host: &mut Host, to: &Self::State) -> Result<(), HostError> {
        let Attribute::Value(governor) = to else {
            return Err(attribute::no_value(self.0, FILE));
        };
        host.write_value(self.0.file(FILE), format!("{governor}\n").as_bytes())
    }

    fn lacks(&self, host: &Host, to: &Self::State) -> Result<Option<Lack>, HostError> {
        let Attribute::Value(governor) = to else {
            return Ok(None);
        };
        if let Some(lack) = attribute::lacks(host, self.0, FILE, || no_scaling(self.0))? {
            return Ok(Some(lack));
        }
        offers(host, self.0, governor)
    }

    fn disturbs(&self, host: &Host, _: &Self::State) -> Result<Vec<AnyKnob>, HostError> {
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

    fn gone(&self, seen: &Self::State) -> bool {
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

/// There is no such policy.
pub(crate) fn no_scaling(policy: PolicyNumber) -> Lack {
    Lack::new(LackKind::Missing, format!("there is no {policy}: no driver scales the frequency of these processors"))
        .hint("in a guest the host scales them; elsewhere load the driver of this processor, such as acpi-cpufreq")
}

/// Whether a policy has a governor, or a module brings it.
fn offers(
    host: &Host,
    policy: PolicyNumber,
    governor: &Governor,
) -> Result<Option<Lack>, HostError> {
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
            Lack::new(
                LackKind::ValueUnavailable,
                format!("'{}' names no governor", governor.word().escape_debug()),
            )
            .hint(format!("this policy offers {offered}")),
        ));
    }
    let driver = attribute::read(host, policy, "scaling_driver")?;
    let driver = Driver::named(driver.value().map_or("", String::as_str));
    let name = driver.name();
    if driver.has_own_governors() {
        let lack = Lack::new(
            LackKind::ValueUnavailable,
            format!("{name} has governors of its own and offers {offered}, not {governor}"),
        );
        return Ok(Some(match driver.mode() {
            Some(mode) => lack
                .hint(format!(
                    "the kernel's governors are there in passive mode: {mode}"
                ))
                .cured_by(&mode, &ModeState::Is(Mode::Passive)),
            None => lack,
        }));
    }
    let module = governor.module();
    match module::find(host, module.name())? {
        // The kernel loads the module when it is asked for (`cpufreq_parse_governor`); where no list
        // tells of it only trying does.
        Availability::Loadable | Availability::Unknown => Ok(None),
        Availability::Present | Availability::Absent => Ok(Some(
            Lack::new(
                LackKind::ValueUnavailable,
                format!(
                    "{policy} offers {offered}, and this kernel has no other governor {governor}"
                ),
            )
            .hint(format!(
                "take one of {offered}, or install a kernel that has {}",
                module.name()
            ))
            .module(module.name()),
        )),
    }
}
