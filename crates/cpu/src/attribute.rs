//! An attribute of a policy, which may be missing or temporarily unavailable.

use hosttune_core::{Host, HostError, HostErrorKind, Unsupported, UnsupportedKind, attribute};
use serde::{Deserialize, Serialize};

use crate::policy::PolicyNumber;

/// State of an attribute of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute<T> {
    /// The policy does not exist, or its driver does not have the attribute.
    Missing,
    /// All processors of the policy are offline. The kernel keeps the value until one is online again, but
    /// reads fail with EBUSY.
    Offline,
    /// The attribute's value.
    Value(T),
}

impl<T> Attribute<T> {
    /// Returns the value if it can be read.
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

/// Reads a file of a policy and strips its newline.
///
/// An empty file is what a capture makes of a read that the kernel refused (EBUSY): no attribute of a
/// policy is empty.
pub(crate) fn read(
    host: &Host,
    policy: PolicyNumber,
    name: &str,
) -> Result<Attribute<String>, HostError> {
    match attribute::read(host, policy.file(name)) {
        Ok(Some(text)) if text.is_empty() => Ok(Attribute::Offline),
        Ok(Some(text)) => Ok(Attribute::Value(text)),
        Ok(None) => Ok(Attribute::Missing),
        Err(error) if *error.kind() == HostErrorKind::Busy => Ok(Attribute::Offline),
        Err(error) => Err(error),
    }
}

/// Returns why an attribute cannot be set, or `None` if it can.
pub(crate) fn unsupported(
    host: &Host,
    policy: PolicyNumber,
    name: &str,
    missing: impl FnOnce() -> Unsupported,
) -> Result<Option<Unsupported>, HostError> {
    Ok(match read(host, policy, name)? {
        Attribute::Missing => Some(missing()),
        Attribute::Offline => Some(offline(policy)),
        Attribute::Value(_) => attribute::unwritable(
            host,
            policy.file(name),
            "this driver makes the attribute read-only",
        )?,
    })
}

/// The reason why no attribute of a policy can be set while all its processors are offline.
pub(crate) fn offline(policy: PolicyNumber) -> Unsupported {
    Unsupported::new(
        UnsupportedKind::Other,
        format!("all processors of {policy} are offline"),
    )
    .hint("write 1 to /sys/devices/system/cpu/cpuN/online for one of them")
}

/// The error for a write of a state that is not a value.
pub(crate) fn no_value(policy: PolicyNumber, name: &str) -> HostError {
    attribute::no_value(
        policy.file(name),
        "a write can neither remove an attribute nor take its processors offline",
    )
}
