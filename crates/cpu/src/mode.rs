//! The operation mode of `intel_pstate` and `amd_pstate`: the driver decides, or the kernel's governors do.

use std::fmt;

use hosttune_core::{AnyKnob, Host, HostError, Knob, Unsupported, UnsupportedKind, attribute};
use serde::{Deserialize, Serialize};

use crate::attribute::Attribute;
use crate::frequency::{Bound, FrequencyLimit, come_to_rest};
use crate::governor::PolicyGovernor;
use crate::policy::PolicyNumber;
use crate::preference::PolicyPreference;
use crate::tunable::GovernorTunable;

/// A driver that has operation modes.
///
/// A mode switch removes all policies and creates them again with the kernel's default governor and no
/// limits. The side effects on the other knobs are recorded and reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriverMode {
    /// `intel_pstate`.
    IntelPstate,
    /// `amd_pstate`.
    AmdPstate,
}

/// The operation mode of such a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// The driver or the processor decides.
    Active,
    /// One of the kernel's governors decides.
    Passive,
    /// A governor sets the limits and the processor decides within them. Only `amd_pstate` has it.
    Guided,
}

/// State of a driver's mode.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeState {
    /// The driver is missing, or its mode is fixed.
    Missing,
    /// The driver controls no processor; holds the kernel's word, `off` or `disable`.
    Idle(String),
    /// The driver is in this mode.
    Is(Mode),
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Guided => "guided",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl DriverMode {
    /// Returns the driver of this machine that has modes, if any.
    ///
    /// # Errors
    /// Returns the error of the host if a path cannot be checked.
    pub fn of(host: &Host) -> Result<Option<Self>, HostError> {
        for one in [Self::IntelPstate, Self::AmdPstate] {
            if host.exists(one.path())? {
                return Ok(Some(one));
            }
        }
        Ok(None)
    }

    fn path(self) -> String {
        let driver = match self {
            Self::IntelPstate => "intel_pstate",
            Self::AmdPstate => "amd_pstate",
        };
        format!("/sys/devices/system/cpu/{driver}/status")
    }
}

impl fmt::Display for DriverMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IntelPstate => "intel_pstate status",
            Self::AmdPstate => "amd_pstate status",
        })
    }
}

impl Knob for DriverMode {
    const NAME: &'static str = "cpu-driver-mode";
    type State = ModeState;

    fn read(&self, host: &Host) -> Result<ModeState, HostError> {
        let Some(text) = attribute::read(host, self.path())? else {
            return Ok(ModeState::Missing);
        };
        Ok(match text.as_str() {
            "active" => ModeState::Is(Mode::Active),
            "passive" => ModeState::Is(Mode::Passive),
            "guided" => ModeState::Is(Mode::Guided),
            other => ModeState::Idle(other.to_owned()),
        })
    }

    fn set(&self, host: &mut Host, to: &ModeState) -> Result<(), HostError> {
        match to {
            ModeState::Is(mode) => {
                host.write_value(self.path(), format!("{mode}\n").as_bytes())?;
                come_to_rest(host)
            }
            ModeState::Missing | ModeState::Idle(_) => Err(attribute::no_value(
                self.path(),
                "a driver cannot be set to a mode in which it controls no processor",
            )),
        }
    }

    fn unsupported(&self, host: &Host, to: &ModeState) -> Result<Option<Unsupported>, HostError> {
        let mode = match to {
            ModeState::Is(mode) => *mode,
            ModeState::Missing => return Ok(None),
            ModeState::Idle(word) => {
                return Ok(Some(
                    Unsupported::new(
                        UnsupportedKind::ValueUnavailable,
                        format!("'{word}' would leave the processors without a driver"),
                    )
                    .hint("use active or passive"),
                ));
            }
        };
        if mode == Mode::Guided && *self == Self::IntelPstate {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    "intel_pstate supports only active and passive",
                )
                .hint("use one of these"),
            ));
        }
        Ok(match self.read(host)? {
            ModeState::Missing => Some(no_modes()),
            ModeState::Idle(word) => Some(
                Unsupported::new(
                    UnsupportedKind::Managed,
                    format!(
                        "the driver is off ({word}): another driver, or none, controls the processors"
                    ),
                )
                .hint("enable it by hand or on the kernel command line"),
            ),
            ModeState::Is(_) => host.unwritable_here(self.path())?,
        })
    }

    fn side_effects(&self, host: &Host, _: &ModeState) -> Result<Vec<AnyKnob>, HostError> {
        let mut knobs = Vec::new();
        for policy in PolicyNumber::all(host)? {
            let governor = PolicyGovernor(policy);
            knobs.push(AnyKnob::of(&governor));
            if let Attribute::Value(governor) = governor.read(host)? {
                let tunables = GovernorTunable::all_of(host, policy, &governor)?;
                let tunables = tunables.iter().map(AnyKnob::of);
                knobs.extend(
                    tunables
                        .filter(|one| !knobs.contains(one))
                        .collect::<Vec<_>>(),
                );
            }
            let preference = PolicyPreference(policy);
            if preference.read(host)?.value().is_some() {
                knobs.push(AnyKnob::of(&preference));
            }
            for bound in [Bound::Maximum, Bound::Minimum] {
                knobs.push(AnyKnob::of(&FrequencyLimit { policy, bound }));
            }
        }
        Ok(knobs)
    }

    fn is_gone(&self, seen: &ModeState) -> bool {
        *seen == ModeState::Missing
    }

    fn show(&self, state: &ModeState) -> String {
        match state {
            ModeState::Missing => "missing".to_owned(),
            ModeState::Idle(word) => word.clone(),
            ModeState::Is(mode) => mode.to_string(),
        }
    }
}

/// The reason for a host whose driver has no modes.
pub(crate) fn no_modes() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::Missing,
        "this host's driver has no modes; only intel_pstate and amd_pstate do",
    )
}
