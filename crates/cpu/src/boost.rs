//! Whether processors may run faster than their nominal frequency.

use std::fmt;

use hosttune_core::{AnyKnob, Host, HostError, HostErrorKind, Knob, Lack, LackKind, Operation};
use serde::{Deserialize, Serialize};

use crate::frequency::{Bound, FrequencyLimit, come_to_rest};
use crate::policy::{CPUFREQ, PolicyNumber};

const NO_TURBO: &str = "/sys/devices/system/cpu/intel_pstate/no_turbo";

/// Where boost is switched.
///
/// Switching it moves the highest frequency of the hardware, and Linux 6.1 (not 7.2) overwrites what
/// was asked for as the maximum: limits are kept and put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boost {
    /// For all policies, in `cpufreq/boost`. Where policies have a switch of their own this one
    /// switches them all along, and what is off here cannot be switched on there.
    All,
    /// For one, in its `boost`.
    Policy(PolicyNumber),
    /// For all, under `intel_pstate`, whose `no_turbo` says the opposite.
    IntelPstate,
}

/// Whether boost is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoostState {
    /// Nothing switches it.
    Missing,
    /// Not above the nominal frequency.
    Off,
    /// As fast as heat and current allow.
    On,
}

impl Boost {
    /// What switches it on this host; empty where nothing does.
    ///
    /// # Errors
    /// Whatever the host answers.
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
            // EAGAIN: intel_pstate drives nothing at the moment. EBUSY: the processors are offline.
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

    fn turn(&self, host: &mut Host, to: &BoostState) -> Result<(), HostError> {
        let on = match to {
            BoostState::Missing => {
                return Err(
                    HostError::new(Operation::Remove, self.path(), HostErrorKind::Refused)
                        .detail("a switch cannot be taken away"),
                );
            }
            BoostState::Off => false,
            BoostState::On => true,
        };
        let digit = u8::from(on != self.is_inverted());
        let written = host.write_value(self.path(), format!("{digit}\n").as_bytes());
        come_to_rest(host)?;
        written.map_err(|error| match (self, error.kind()) {
            (Self::IntelPstate, HostErrorKind::Denied) if on => error
                .detail("the firmware has switched it off, or the processor has none")
                .with_hint("switch it on in the firmware's setup"),
            (Self::Policy(_), HostErrorKind::Refused) => {
                error.detail("it is off for all, or this processor has none")
            }
            _ => error,
        })
    }

    fn lacks(&self, host: &Host, to: &BoostState) -> Result<Option<Lack>, HostError> {
        if *to == BoostState::Missing {
            return Ok(None);
        }
        let path = self.path();
        Ok(match self.read(host)? {
            BoostState::Missing => Some(nothing_switches_it()),
            _ => match host.entry(&path)? {
                Some(entry) if !entry.owner_may_write() => Some(Lack::new(
                    LackKind::ReadOnly,
                    "this processor or its firmware has no boost to switch",
                )),
                _ => host.read_only_mount(&path)?,
            },
        })
    }

    fn disturbs(&self, host: &Host, _: &BoostState) -> Result<Vec<AnyKnob>, HostError> {
        let mut knobs = Vec::new();
        let all = PolicyNumber::all(host)?;
        let policies = match self {
            Self::Policy(policy) => vec![*policy],
            Self::All | Self::IntelPstate => all,
        };
        for policy in policies {
            // Limits behind the switch, so that they are put back where the end is again where it was.
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

    fn gone(&self, seen: &BoostState) -> bool {
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

/// Nothing on this machine switches boost.
pub(crate) fn nothing_switches_it() -> Lack {
    Lack::new(LackKind::Missing, "nothing here switches boost").hint(
        "the processor has none, its driver does not switch it, or this is a guest: look into the firmware's setup",
    )
}

const EAGAIN: i32 = 11;
