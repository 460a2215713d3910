//! A zram device: present or absent.

use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use hosttune_modules::module::{self, Availability};
use hosttune_modules::{KernelModule, Modules};
use serde::{Deserialize, Serialize};

use super::backend::{Zram, file, node, unsupported};
use super::configuration::{Configuration, ConfigurationState};
use super::header::Header;

pub(super) const CONTROL: &str = "/sys/class/zram-control";

/// Exists only if zram is a loaded module; built-in code has no such file.
pub(super) const LOADED: &str = "/sys/module/zram/initstate";

/// A device, by its number.
///
/// The kernel assigns the lowest free number. A device is removed only if it has no size, so it is never in
/// use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Device(pub u32);

/// Whether a device exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
}

/// Returns the module with the parameter that makes it create no device on its own.
pub(super) fn module() -> KernelModule {
    KernelModule::new("zram").parameter("num_devices=0")
}

/// Returns why a host cannot have the device, or `None` if it has it or can create it.
///
/// A module that is not loaded is not a reason, because a request for the device also requests the module.
pub(super) fn no_device(host: &Host, number: u32) -> Result<Option<Unsupported>, HostError> {
    if host.root_kind() == RootKind::Image {
        return Ok(Some(
            Unsupported::new(
                UnsupportedKind::NotRunning,
                "an image has no running kernel",
            )
            .hint("run this on the live system instead"),
        ));
    }
    if let Some(unsupported) = unsupported(host) {
        return Ok(Some(unsupported));
    }
    if host.exists(file(number, "disksize"))? {
        return host.unwritable_here(file(number, "disksize"));
    }
    if host.exists(CONTROL)? {
        // A read of one file creates a device, a write to another removes it, and writes to those of the device,
        // which are on the same mount, configure it.
        return host.unwritable_here(format!("{CONTROL}/hot_remove"));
    }
    let module = module();
    Ok(match module::find(host, module.name())? {
        Availability::Absent => Some(
            Unsupported::new(UnsupportedKind::Missing, "this kernel has no zram")
                .hint("install a kernel that has the module zram")
                .module("zram"),
        ),
        Availability::Present | Availability::Loadable | Availability::Unknown
            if host.backend::<Modules>().is_ok() =>
        {
            None
        }
        _ => Some(
            Unsupported::new(
                UnsupportedKind::Missing,
                "zram is not loaded, and this program has no backend that loads modules",
            )
            .hint("add the backend Modules::live(), or run: modprobe zram num_devices=0")
            .module("zram"),
        ),
    })
}

impl Device {
    fn remove(host: &mut Host, number: u32) -> Result<(), HostError> {
        let remove = format!("{CONTROL}/hot_remove");
        host.write_value(remove, format!("{number}\n").as_bytes())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zram{}", self.0)
    }
}

impl Knob for Device {
    const NAME: &'static str = "zram-device";
    type State = DeviceState;

    fn read(&self, host: &Host) -> Result<DeviceState, HostError> {
        // Checks a file and not the directory, because all other operations begin with that file.
        Ok(if host.exists(file(self.0, "disksize"))? {
            DeviceState::Present
        } else {
            DeviceState::Absent
        })
    }

    fn set(&self, host: &mut Host, to: &DeviceState) -> Result<(), HostError> {
        if *to == DeviceState::Absent {
            if let ConfigurationState::Is { size: 1.., .. } = Configuration(self.0).read(host)? {
                return Err(
                    HostError::new(Operation::Remove, node(self.0), HostErrorKind::Busy)
                        .detail("another process has configured it"),
                );
            }
            return Self::remove(host, self.0);
        }
        let number = host.change::<Zram, u32>(|zram| zram.devices_mut().add())?;
        if number == self.0 {
            return Ok(());
        }
        Self::remove(host, number)?;
        Err(
            HostError::new(Operation::Create, node(self.0), HostErrorKind::Busy)
                .detail(format!(
                    "another process created devices at the same time, and the kernel assigned number {number}"
                ))
                .with_hint("try again"),
        )
    }

    fn unsupported(&self, host: &Host, to: &DeviceState) -> Result<Option<Unsupported>, HostError> {
        if *to == DeviceState::Absent {
            return Ok(None);
        }
        no_device(host, self.0)
    }

    /// The other parts of a device are created and removed with it.
    fn side_effects(&self, _: &Host, _: &DeviceState) -> Result<Vec<AnyKnob>, HostError> {
        Ok(vec![
            AnyKnob::of(&Configuration(self.0)),
            AnyKnob::of(&Header(self.0)),
        ])
    }

    fn destroys(&self, _: &Host, to: &DeviceState) -> Result<Vec<AnyKnob>, HostError> {
        Ok(match to {
            DeviceState::Absent => vec![
                AnyKnob::of(&Header(self.0)),
                AnyKnob::of(&Configuration(self.0)),
            ],
            DeviceState::Present => Vec::new(),
        })
    }

    fn show(&self, state: &DeviceState) -> String {
        match state {
            DeviceState::Absent => "absent",
            DeviceState::Present => "present",
        }
        .to_owned()
    }
}
