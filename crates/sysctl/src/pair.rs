//! Two variables that exclude each other, as a single knob.
//!
//! Writing one of `vm.dirty_bytes` and `vm.dirty_ratio` sets the other to 0, and 0 cannot be
//! written to `dirty_bytes`. A tool that saves and restores the two keys separately leaves the
//! wrong one in force. So the pair is one knob, and its state is which of the two is in force, and
//! its value.

use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, Knob, Unsupported, attribute};
use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::key::Key;
use crate::plain::{NOT_REMOVED, is_of_network_namespace, read, unsupported, write};
use crate::value::Value;

/// Two keys that exclude each other: a relative one, and an absolute one that is in force whenever
/// it is not 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SysctlPair {
    relative: Key,
    absolute: Key,
}

/// Which key of a pair is in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairState {
    /// The kernel has neither key.
    Missing,
    /// The relative key is in force, with this value.
    Relative(Value),
    /// The absolute key is in force, with this value.
    Absolute(Value),
}

impl SysctlPair {
    /// The pair that a key belongs to; `None` for a key that excludes no other.
    pub fn of(key: &Key) -> Option<Self> {
        let entry = catalogue::find(key)?;
        let partner: Key = entry.excludes?.parse().ok()?;
        let is_relative = entry.key.ends_with("_ratio");
        Some(if is_relative {
            Self {
                relative: key.clone(),
                absolute: partner,
            }
        } else {
            Self {
                relative: partner,
                absolute: key.clone(),
            }
        })
    }

    /// The state in which `key`, one of the two, is in force with `value`.
    pub fn state(&self, key: &Key, value: Value) -> PairState {
        if *key == self.relative {
            PairState::Relative(value)
        } else {
            PairState::Absolute(value)
        }
    }

    fn in_force<'s>(&'s self, state: &'s PairState) -> Option<(&'s Key, &'s Value)> {
        match state {
            PairState::Missing => None,
            PairState::Relative(value) => Some((&self.relative, value)),
            PairState::Absolute(value) => Some((&self.absolute, value)),
        }
    }
}

impl fmt::Display for SysctlPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.relative.fmt(f)
    }
}

/// The value that is written to a relative key before a 0, so that the kernel sees a change.
const DETOUR: i128 = 1;

impl Knob for SysctlPair {
    const NAME: &'static str = "sysctl-pair";
    type State = PairState;

    fn read(&self, host: &Host) -> Result<PairState, HostError> {
        if let Some(absolute) = read(host, &self.absolute)?
            && absolute.as_integer() != Some(0)
        {
            return Ok(PairState::Absolute(absolute));
        }
        Ok(read(host, &self.relative)?.map_or(PairState::Missing, PairState::Relative))
    }

    fn set(&self, host: &mut Host, to: &PairState) -> Result<(), HostError> {
        let Some((key, value)) = self.in_force(to) else {
            return Err(attribute::no_value(self.relative.path(), NOT_REMOVED));
        };
        if *key == self.relative && value.as_integer() == Some(0) {
            // While the absolute key is in force the relative one reads 0 already, and the kernel
            // ignores a write of an equal value: the absolute key would stay in force.
            write(host, key, &Value::integer(DETOUR))?;
        }
        write(host, key, value)?;
        if host.root_kind() == RootKind::Captured {
            // A captured tree has no kernel that resets the other key. If the process dies between
            // the two writes, the absolute key is in force, as it is before or after the change.
            let other = if *key == self.relative {
                &self.absolute
            } else {
                &self.relative
            };
            if read(host, other)?.is_some_and(|value| value.as_integer() != Some(0)) {
                write(host, other, &Value::integer(0))?;
            }
        }
        Ok(())
    }

    fn unsupported(&self, host: &Host, to: &PairState) -> Result<Option<Unsupported>, HostError> {
        match self.in_force(to) {
            Some((key, value)) => unsupported(host, key, value),
            None => Ok(None),
        }
    }

    fn is_partial_write(&self, seen: &PairState, from: &PairState, to: &PairState) -> bool {
        let zero = PairState::Relative(Value::integer(0));
        let empty = |value: &Value| value.text().is_empty();
        (*from == zero || *to == zero) && *seen == PairState::Relative(Value::integer(DETOUR))
            || self.in_force(seen).is_some_and(|(_, value)| empty(value))
    }

    fn is_of_network_namespace(&self) -> bool {
        is_of_network_namespace(&self.relative)
    }

    fn is_gone(&self, seen: &PairState) -> bool {
        *seen == PairState::Missing
    }

    fn show(&self, state: &PairState) -> String {
        match state {
            PairState::Missing => "missing".to_owned(),
            PairState::Relative(value) => value.text().to_owned(),
            PairState::Absolute(value) => {
                let last = self.absolute.segments().next_back().unwrap_or_default();
                format!("{value} ({last})")
            }
        }
    }
}
