//! Whether processors may run faster than their nominal frequency.

use std::fmt;

use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Unsupported, UnsupportedKind, attribute,
};
use serde::{Deserialize, Serialize};

use crate::frequency::{Bound, FrequencyLimit, come_to_rest};
use crate::policy::{CPUFREQ, PolicyNumber};

const NO_TURBO: &str = "/sys/devices/system/cpu/intel_pstate/no_turbo";

/// The control that switches boost.
///
/// Switching it changes the highest frequency of the hardware, and Linux 6.1 (not 7.2) overwrites the
/// requested maximum. The side effects on the limits are recorded and reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boost {
    /// For all policies, in `cpufreq/boost`. If policies have their own control, this one changes them all,
    /// and while it is off theirs cannot be switched on.
    All,
    /// For one policy, in its `boost`.
    Policy(PolicyNumber),
    /// For all policies under `intel_pstate`, with the inverted `no_turbo`.
    IntelPstate,
}

/// Whether boost is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoostState {
    /// The host has no boost control.
    Missing,
    /// Frequencies above the nominal one are disabled.
    Off,
    /// Processors run as fast as temperature and current allow.
    On,
}

impl Boost {
    /// Returns the boost controls of this host, or none.
    ///
    /// # Errors
    /// Returns the error of the host if a path cannot be checked.
    pub fn all(host: &Host) -> Result<Vec<Self>, HostError> {
        for one in [Self::IntelPstate, Self::All] {
            if host.exists(one.path())? {
                return Ok(vec![one]);
            }
        }
        let mut found = Vec::new();
        for policy in PolicyNumber::all(host)? {
            let one = Self::Policy(policy);
            if host.exists(one.path())? {
                found.push(one);
            }
        }
        Ok(found)
    }

    fn path(self) -> String {
        match self {
            Self::All => format!("{CPUFREQ}/boost"),
            Self::Policy(policy) => policy.file("boost"),
            Self::IntelPstate => NO_TURBO.to_owned(),
        }
    }

    fn is_inverted(self) -> bool {
        self == Self::IntelPstate
    }
}

impl fmt::Display for Boost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("cpufreq boost"),
            Self::Policy(policy) => write!(f, "{policy} boost"),
            Self::IntelPstate => f.write_str("intel_pstate boost (no_turbo)"),
        }
    }
}

impl Knob for Boost {
    const NAME: &'static str = "cpu-boost";
    type State = BoostState;

    fn read(&self, host: &Host) -> Result<BoostState, HostError> {
        let text = match host.read_text(self.path()) {
            Ok(text) => text,
            // EAGAIN: intel_pstate controls no processor at present. EBUSY: the processors are offline.
            Err(error)
                if *error.kind() == HostErrorKind::Missing
                    || *error.kind() == HostErrorKind::Busy
                    || error.errno() == Some(EAGAIN) =>
            {
                return Ok(BoostState::Missing);
            }
            Err(error) => return Err(error),
        };
        match (text.trim(), self.is_inverted()) {
            ("0", false) | ("1", true) => Ok(BoostState::Off),
            ("1", false) | ("0", true) => Ok(BoostState::On),
            (other, _) => Err(HostError::malformed(
                self.path(),
                format!("'{other}' is neither 0 nor 1"),
            )),
        }
    }

    fn set(&self, host: &mut Host, to: &BoostState) -> Result<(), HostError> {
        let on = match to {
            BoostState::Missing => {
                return Err(attribute::no_value(
                    self.path(),
                    "a boost control cannot be removed",
                ));
            }
            BoostState::Off => false,
            BoostState::On => true,
        };
        let digit = u8::from(on != self.is_inverted());
        let written = host.write_value(self.path(), format!("{digit}\n").as_bytes());
        come_to_rest(host)?;
        written.map_err(|error| match (self, error.kind()) {
            (Self::IntelPstate, HostErrorKind::Denied) if on => error
                .detail("the firmware has disabled boost, or the processor does not have it")
                .with_hint("enable it in the firmware setup"),
            (Self::Policy(_), HostErrorKind::Refused) => {
                error.detail("boost is off for all policies, or this processor does not have it")
            }
            _ => error,
        })
    }

    fn unsupported(&self, host: &Host, to: &BoostState) -> Result<Option<Unsupported>, HostError> {
        if *to == BoostState::Missing {
            return Ok(None);
        }
        Ok(match self.read(host)? {
            BoostState::Missing => Some(nothing_switches_it()),
            _ => attribute::unwritable(
                host,
                self.path(),
                "this processor or its firmware does not allow boost to be switched",
            )?,
        })
    }

    fn side_effects(&self, host: &Host, _: &BoostState) -> Result<Vec<AnyKnob>, HostError> {
        let mut knobs = Vec::new();
        let all = PolicyNumber::all(host)?;
        let policies = match self {
            Self::Policy(policy) => vec![*policy],
            Self::All | Self::IntelPstate => all,
        };
        for policy in policies {
            // Limits come after the control, so that they are reverted once the highest frequency is the
            // original.
            let own = Self::Policy(policy);
            if *self == Self::All && host.exists(own.path())? {
                knobs.push(AnyKnob::of(&own));
            }
            for bound in [Bound::Maximum, Bound::Minimum] {
                knobs.push(AnyKnob::of(&FrequencyLimit { policy, bound }));
            }
        }
        Ok(knobs)
    }

    fn is_gone(&self, seen: &BoostState) -> bool {
        *seen == BoostState::Missing
    }

    fn show(&self, state: &BoostState) -> String {
        match state {
            BoostState::Missing => "missing",
            BoostState::Off => "off",
            BoostState::On => "on",
        }
        .to_owned()
    }
}

/// The reason for a machine without a boost control.
pub(crate) fn nothing_switches_it() -> Unsupported {
    Unsupported::new(UnsupportedKind::Missing, "this host has no boost control").hint(
        "the processor has no boost, its driver does not control it, or this is a virtual machine; check the firmware setup",
    )
}

const EAGAIN: i32 = 11;
