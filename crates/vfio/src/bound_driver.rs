//! The knob for the driver that is bound to a device.

use std::fmt;
use std::time::Duration;

use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use hosttune_modules::module::{self, Availability};
use hosttune_pci::{Address, is_vfio_driver};
use serde::{Deserialize, Serialize};

use crate::device_attribute::{AttributeFile, DeviceAttribute};
use crate::running;
use crate::usage;

/// The driver that is bound to a device.
///
/// From one driver to another takes two changes: to [`Unbound`](Binding::Unbound) first. A driver
/// binds a device that its ids or [`DriverOverride`](crate::DriverOverride) match, and no other.
///
/// Before it unbinds, `set` looks for processes that have files of the device open, and refuses if
/// there are any: some drivers wait for these files to be closed, for ever, and vfio-pci waits for
/// the virtual machine. A driver that does not return all the same makes the device *stuck*: the
/// write is given up after a time limit, and reading and setting fail with
/// [`Stuck`](HostErrorKind::Stuck) until the driver returns. A device that does not answer any more
/// is stuck too: no driver is bound to it, because that could hang.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoundDriver(pub Address);

/// Which driver is bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Binding {
    /// None.
    Unbound,
    /// This one.
    Driver(String),
    /// There is no device at the address.
    NoDevice,
}

impl Binding {
    /// The state with this driver bound.
    pub fn driver(name: impl Into<String>) -> Self {
        Self::Driver(name.into())
    }
}

impl BoundDriver {
    fn unbind(&self, host: &mut Host, driver: &str) -> Result<(), HostError> {
        let address = self.0;
        let holders = usage::blocking_holders(host, address)?;
        if let Some(holder) = holders.first() {
            let hint = if is_vfio_driver(driver) {
                "shut the virtual machine down, then run it again"
            } else {
                "end these programs, then run it again"
            };
            return Err(HostError::new(
                Operation::Write,
                format!("the binding of {address} to {driver}"),
                HostErrorKind::Busy,
            )
            .detail(format!(
                "{} in use by {holder}{}",
                if holders.len() == 1 {
                    "it is"
                } else {
                    "its files are"
                },
                others(holders.len())
            ))
            .with_hint(hint));
        }
        let file = format!("/sys/bus/pci/drivers/{driver}/unbind");
        running::write(host, address, &file, address.to_string().as_bytes())
    }

    /// Binds through the driver's own `bind` and not through `drivers_probe`, which asks all
    /// drivers in the order of their registration: where two know the device, such as nouveau and
    /// nvidia, another one than before would be bound.
    fn bind(&self, host: &mut Host, driver: &str) -> Result<(), HostError> {
        let address = self.0;
        if !self.answers(host)? {
            return Err(HostError::new(
                Operation::Write,
                format!("the binding of {address} to {driver}"),
                HostErrorKind::Stuck,
            )
            .detail("the device does not answer: its configuration space reads as all ones")
            .with_hint("only switching the machine off and on may bring it back"));
        }
        let file = format!("/sys/bus/pci/drivers/{driver}/bind");
        let bytes = address.to_string();
        let refused = match running::write(host, address, &file, bytes.as_bytes()) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        Err(match refused.kind() {
            HostErrorKind::Missing => refused
                .detail(format!("no driver {driver} is registered"))
                .with_hint(format!("load its module: modprobe {driver}")),
            HostErrorKind::Gone => {
                let only = hosttune_pci::driver_override(host, address)?;
                refused.detail(match only {
                    Some(only) if only != driver => {
                        format!("driver_override allows only {only}")
                    }
                    _ => format!("{driver} does not claim this device, or it has vanished"),
                })
            }
            HostErrorKind::Busy => refused
                .detail("another driver is bound, or a virtual machine uses its IOMMU group")
                .with_hint("shut the virtual machine down, then run it again"),
            HostErrorKind::Refused if is_vfio_driver(driver) => refused.detail(
                "vfio-pci refuses bridges, devices without an IOMMU group and those on its denylist",
            ),
            _ => refused,
        })
    }
}

impl BoundDriver {
    /// Whether the device answers. The kernel's state of a device without a driver is unknown, so
    /// it is asked in any state: the driver is about to wake it.
    fn answers(&self, host: &Host) -> Result<bool, HostError> {
        let all_ones = |bytes: &[u8]| bytes.len() >= 4 && bytes[..4] == [0xff; 4];
        match host.read(self.0.file("config")) {
            Ok(bytes) => Ok(!all_ones(&bytes)),
            Err(error) if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone) => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

fn others(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        2 => " and one other".to_owned(),
        count => format!(" and {} others", count - 1),
    }
}

impl fmt::Display for BoundDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} driver", self.0)
    }
}

impl Knob for BoundDriver {
    const NAME: &'static str = "pci-bound-driver";
    /// A driver that is not ready defers its probe: the write fails with EAGAIN, and the driver is
    /// bound a moment later.
    const SETTLE: Duration = Duration::from_secs(1);
    type State = Binding;

    fn read(&self, host: &Host) -> Result<Binding, HostError> {
        if !host.exists(self.0.directory())? {
            return Ok(Binding::NoDevice);
        }
        running::refuse_stuck(host, self.0, Operation::Read)?;
        let driver = hosttune_pci::driver(host, self.0)?;
        Ok(driver.map_or(Binding::Unbound, Binding::Driver))
    }

    fn set(&self, host: &mut Host, to: &Binding) -> Result<(), HostError> {
        match (self.read(host)?, to) {
            (_, Binding::NoDevice) | (Binding::NoDevice, _) => Err(running::no_device(self.0)),
            (Binding::Unbound, Binding::Unbound) => Ok(()),
            (Binding::Driver(bound), Binding::Unbound) => self.unbind(host, &bound),
            (Binding::Driver(bound), Binding::Driver(driver)) if bound == *driver => Ok(()),
            (Binding::Unbound, Binding::Driver(driver)) => self.bind(host, driver),
            (Binding::Driver(bound), Binding::Driver(driver)) => Err(HostError::new(
                Operation::Write,
                format!("the binding of {} to {driver}", self.0),
                HostErrorKind::Busy,
            )
            .detail(format!("{bound} is bound"))
            .with_hint(format!("unbind {bound} first"))),
        }
    }

    fn unsupported(&self, host: &Host, to: &Binding) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = running::unsupported(host, self.0)? {
            return Ok(Some(unsupported));
        }
        let driver = match to {
            Binding::Unbound => return Ok(None),
            Binding::NoDevice => return Ok(Some(running::missing(self.0))),
            Binding::Driver(driver) => driver,
        };
        if let Some(unsupported) = running::not_a_driver(driver) {
            return Ok(Some(unsupported));
        }
        let registered = host.exists(format!("/sys/bus/pci/drivers/{driver}"))?;
        if registered || module::find(host, driver)? != Availability::Absent {
            return Ok(None);
        }
        Ok(Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!("this kernel has no driver {driver}"),
            )
            .hint(format!("install a kernel that has {driver}"))
            .module(driver.replace('-', "_")),
        ))
    }

    /// vfio-pci sets `power/control` to `auto` when it is bound and to `on` when it is unbound, and
    /// other drivers set it in their probe.
    fn side_effects(&self, host: &Host, _: &Binding) -> Result<Vec<AnyKnob>, HostError> {
        let control = DeviceAttribute::new(self.0, AttributeFile::PowerControl);
        let exists = host.exists(control.path())?;
        Ok(exists.then(|| AnyKnob::of(&control)).into_iter().collect())
    }

    fn is_gone(&self, seen: &Binding) -> bool {
        *seen == Binding::NoDevice
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        running::identity(host, self.0)
    }

    fn show(&self, state: &Binding) -> String {
        match state {
            Binding::Unbound => "no driver".to_owned(),
            Binding::Driver(name) => name.clone(),
            Binding::NoDevice => "no device".to_owned(),
        }
    }
}
