//! The knob for `driver_override`.

use std::fmt;

use hosttune_core::{Host, HostError, Knob, Operation, Unsupported};
use hosttune_pci::Address;
use serde::{Deserialize, Serialize};

use crate::running;

/// The only driver that may bind a device: `driver_override` (Linux 3.16).
///
/// It takes effect at the next probe: a bound driver stays bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DriverOverride(pub Address);

/// Which driver may bind a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Override {
    /// Any driver that knows the device; the kernel shows `(null)`.
    Any,
    /// Only this one. A name that no driver has, such as `none`, keeps the device unbound.
    Only(String),
    /// There is no device at the address.
    NoDevice,
}

const FILE: &str = "driver_override";

impl fmt::Display for DriverOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {FILE}", self.0)
    }
}

impl Knob for DriverOverride {
    const NAME: &'static str = "pci-driver-override";
    type State = Override;

    fn read(&self, host: &Host) -> Result<Override, HostError> {
        if !host.exists(self.0.directory())? {
            return Ok(Override::NoDevice);
        }
        running::refuse_stuck(host, self.0, Operation::Read)?;
        let only = hosttune_pci::driver_override(host, self.0)?;
        Ok(only.map_or(Override::Any, Override::Only))
    }

    fn set(&self, host: &mut Host, to: &Override) -> Result<(), HostError> {
        let value = match to {
            // An empty write would not reach the kernel.
            Override::Any => "\n".to_owned(),
            Override::Only(name) => format!("{name}\n"),
            Override::NoDevice => return Err(running::no_device(self.0)),
        };
        running::write(host, self.0, &self.0.file(FILE), value.as_bytes())
    }

    fn unsupported(&self, host: &Host, to: &Override) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = running::unsupported(host, self.0)? {
            return Ok(Some(unsupported));
        }
        Ok(match to {
            Override::Any => None,
            Override::Only(name) => running::not_a_driver(name),
            Override::NoDevice => Some(running::missing(self.0)),
        })
    }

    fn is_gone(&self, seen: &Override) -> bool {
        *seen == Override::NoDevice
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        running::identity(host, self.0)
    }

    fn show(&self, state: &Override) -> String {
        match state {
            Override::Any => "any driver".to_owned(),
            Override::Only(name) => format!("only {name}"),
            Override::NoDevice => "no device".to_owned(),
        }
    }
}
