//! The knob for the attributes of a device that a change of its driver resets, or that decide
//! whether it comes back.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, Unsupported, UnsupportedKind};
use hosttune_pci::Address;
use serde::{Deserialize, Serialize};

use crate::running;

/// An attribute of a device in sysfs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceAttribute {
    address: Address,
    file: AttributeFile,
}

/// Which attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AttributeFile {
    /// `power/control`: `auto` if the kernel may suspend the device while it is idle, else `on`.
    PowerControl,
    /// `d3cold_allowed`: `1` if the device may lose its power while it is suspended, else `0`.
    D3coldAllowed,
}

impl AttributeFile {
    /// The path below the device.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerControl => "power/control",
            Self::D3coldAllowed => "d3cold_allowed",
        }
    }

    /// The values that the kernel accepts.
    #[must_use]
    pub fn values(self) -> [&'static str; 2] {
        match self {
            Self::PowerControl => ["on", "auto"],
            Self::D3coldAllowed => ["0", "1"],
        }
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AttributeState {
    /// The value.
    Value(String),
    /// The device, or this attribute of it, does not exist.
    Missing,
}

impl DeviceAttribute {
    /// An attribute of a device.
    #[must_use]
    pub fn new(address: Address, file: AttributeFile) -> Self {
        Self { address, file }
    }

    pub(crate) fn path(&self) -> String {
        self.address.file(self.file.name())
    }
}

impl fmt::Display for DeviceAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.file.name())
    }
}

impl Knob for DeviceAttribute {
    const NAME: &'static str = "pci-device-attribute";
    type State = AttributeState;

    fn read(&self, host: &Host) -> Result<AttributeState, HostError> {
        match host.read_text(self.path()) {
            Ok(text) => Ok(AttributeState::Value(text.trim_end().to_owned())),
            Err(error) if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone) => {
                Ok(AttributeState::Missing)
            }
            Err(error) => Err(error),
        }
    }

    fn set(&self, host: &mut Host, to: &AttributeState) -> Result<(), HostError> {
        match to {
            AttributeState::Value(value) => {
                let bytes = format!("{value}\n");
                running::write(host, self.address, &self.path(), bytes.as_bytes())
            }
            AttributeState::Missing => Err(running::no_device(self.address)),
        }
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &AttributeState,
    ) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = running::unsupported(host, self.address)? {
            return Ok(Some(unsupported));
        }
        if !host.exists(self.path())? {
            return Ok(Some(Unsupported::new(
                UnsupportedKind::Missing,
                format!("this kernel has no {self}"),
            )));
        }
        let [first, second] = self.file.values();
        Ok(match to {
            AttributeState::Value(value) if value == first || value == second => None,
            AttributeState::Value(value) => Some(
                Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    format!("'{}' is not a value of {self}", value.escape_debug()),
                )
                .hint(format!("use {first} or {second}")),
            ),
            AttributeState::Missing => Some(running::missing(self.address)),
        })
    }

    fn is_gone(&self, seen: &AttributeState) -> bool {
        *seen == AttributeState::Missing
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        running::identity(host, self.address)
    }

    fn show(&self, state: &AttributeState) -> String {
        match state {
            AttributeState::Value(value) => value.clone(),
            AttributeState::Missing => "missing".to_owned(),
        }
    }
}
