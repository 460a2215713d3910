//! A zram device: there or not.

use std::fmt;

use hosttune_boot::module::{self, Availability};
use hosttune_boot::{KernelModule, Modules};
use hosttune_core::host::RootKind;
use hosttune_core::{AnyKnob, Host, HostError, HostErrorKind, Knob, Lack, LackKind, Operation};
use serde::{Deserialize, Serialize};

use super::configuration::{Configuration, ConfigurationState};
use super::header::Header;
use super::wire::{Zram, file, lacks, node};

pub(super) const CONTROL: &str = "/sys/class/zram-control";

/// Only of a module that was loaded; what is built in has no state.
pub(super) const LOADED: &str = "/sys/module/zram/initstate";

/// A device, by its number.
///
/// The kernel makes one with the lowest number that is free. It is taken away only where it has no
/// size any more, so never from under anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Device(pub u32);

/// Whether a device is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// It is not.
    Absent,
    /// It is.
    Present,
}

/// The module, told to make no device by itself.
pub(super) fn module() -> KernelModule {
    KernelModule::new("zram").parameter("num_devices=0")
}

/// Why there can be no device on a host; `None` where there is one, or can be.
///
/// A module that is not loaded is nothing that lacks: whoever wants a device wants the module first.
pub(super) fn no_device(host: &Host, number: u32) -> Result<Option<Lack>, HostError> {
    if host.root_kind() == RootKind::Image {
        return Ok(Some(
            Lack::new(LackKind::NotRunning, "no kernel runs on this image")
                .hint("make swap on the running system"),
        ));
    }
    if let Some(lack) = lacks(host) {
        return Ok(Some(lack));
    }
    if host.exists(file(number, "disksize"))? || host.exists(CONTROL)? {
        // A device is made by reading a file, and configured by writing others.
        return host.read_only_mount(file(number, "disksize"));
    }
    let module = module();
    Ok(match module::find(host, module.name())? {
        Availability::Absent => Some(
            Lack::new(LackKind::Missing, "this kernel has no zram")
                .hint("install a kernel that has the module zram")
                .module("zram"),
        ),
        Availability::Present | Availability::Loadable | Availability::Unknown
            if host.wire::<Modules>().is_ok() =>
        {
            None
        }
        _ => Some(
            Lack::new(
                LackKind::Missing,
                "zram is not loaded, and nothing here loads modules",
            )
            .hint("plug in what does, Modules::live(), or load it: modprobe zram num_devices=0")
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
        // A file of it, and not its directory: that is what everything else begins with.
        Ok(if host.exists(file(self.0, "disksize"))? {
            DeviceState::Present
        } else {
            DeviceState::Absent
        })
    }

    fn turn(&self, host: &mut Host, to: &DeviceState) -> Result<(), HostError> {
        if *to == DeviceState::Absent {
            if let ConfigurationState::Is { size: 1.., .. } = Configuration(self.0).read(host)? {
                return Err(
                    HostError::new(Operation::Remove, node(self.0), HostErrorKind::Busy)
                        .detail("somebody has configured it"),
                );
            }
            return Self::remove(host, self.0);
        }
        let number = host.turn::<Zram, u32>(|zram| zram.devices_mut().add())?;
        if number == self.0 {
            return Ok(());
        }
        Self::remove(host, number)?;
        Err(
            HostError::new(Operation::Create, node(self.0), HostErrorKind::Busy)
                .detail(format!(
                    "somebody else was making devices at the same time, and the kernel gave number {number}"
                ))
                .with_hint("try again"),
        )
    }

    fn lacks(&self, host: &Host, to: &DeviceState) -> Result<Option<Lack>, HostError> {
        if *to == DeviceState::Absent {
            return Ok(None);
        }
        no_device(host, self.0)
    }

    /// Everything of a device comes and goes with it.
    fn disturbs(&self, _: &Host, _: &DeviceState) -> Result<Vec<AnyKnob>, HostError> {
        Ok(vec![
            AnyKnob::of(&Configuration(self.0)),
            AnyKnob::of(&Header(self.0)),
        ])
    }

    fn show(&self, state: &DeviceState) -> String {
        match state {
            DeviceState::Absent => "absent",
            DeviceState::Present => "present",
        }
        .to_owned()
    }
}
