//! A value of a policy that may not be there, or not now.

use hosttune_core::{Host, HostError, HostErrorKind, Lack, LackKind, Operation};
use serde::{Deserialize, Serialize};

use crate::policy::PolicyNumber;

/// What an attribute of a policy is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute<T> {
    /// There is no such policy, or its driver has no such attribute.
    Missing,
    /// All processors of the policy are offline: the kernel keeps the value for when they come
    /// back, and shows it to nobody (EBUSY).
    Offline,
    /// It holds this.
    Value(T),
}

impl<T> Attribute<T> {
    /// The value, where it is shown.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Missing | Self::Offline => None,
        }
    }

    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U) -> Attribute<U> {
        match self {
            Self::Missing => Attribute::Missing,
            Self::Offline => Attribute::Offline,
            Self::Value(value) => Attribute::Value(map(value)),
        }
    }

    pub(crate) fn show(&self, value: impl FnOnce(&T) -> String) -> String {
        match self {
            Self::Missing => "missing".to_owned(),
            Self::Offline => "offline".to_owned(),
            Self::Value(seen) => value(seen),
        }
    }
}

/// What a file of a policy holds, without its newline.
pub(crate) fn read(
    host: &Host,
    policy: PolicyNumber,
    name: &str,
) -> Result<Attribute<String>, HostError> {
    match host.read_text(policy.file(name)) {
        Ok(text) => Ok(Attribute::Value(text.trim().to_owned())),
        Err(error) => match error.kind() {
            // ENODEV: it was taken away while it was being looked for.
            HostErrorKind::Missing | HostErrorKind::Gone => Ok(Attribute::Missing),
            HostErrorKind::Busy => Ok(Attribute::Offline),
            _ => Err(error),
        },
    }
}

/// Why an attribute cannot be turned at all; `None` where it can be.
pub(crate) fn lacks(
    host: &Host,
    policy: PolicyNumber,
    name: &str,
    missing: impl FnOnce() -> Lack,
) -> Result<Option<Lack>, HostError> {
    Ok(match read(host, policy, name)? {
        Attribute::Missing => Some(missing()),
        Attribute::Offline => Some(offline(policy)),
        Attribute::Value(_) => match host.entry(policy.file(name))? {
            Some(entry) if !entry.owner_may_write() => Some(Lack::new(
                LackKind::ReadOnly,
                "this driver lets it be read and not written",
            )),
            _ => host.read_only_mount(policy.file(name))?,
        },
    })
}

/// Nothing of a policy can be turned while nothing of it runs.
pub(crate) fn offline(policy: PolicyNumber) -> Lack {
    Lack::new(
        LackKind::Other,
        format!("all processors of {policy} are offline"),
    )
    .hint("bring one online first: /sys/devices/system/cpu/cpuN/online")
}

/// Turning to what is no value.
pub(crate) fn no_value(policy: PolicyNumber, name: &str) -> HostError {
    HostError::new(Operation::Write, policy.file(name), HostErrorKind::Refused).detail(
        "an attribute cannot be taken away, nor its processors be put offline, by writing it",
    )
}
