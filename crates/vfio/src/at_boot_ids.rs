//! Devices that are lent from boot on by `vfio-pci.ids=` on the kernel command line.

use std::collections::BTreeSet;

use hosttune_boot::boot_loader::{BootParameters, BootSetting};
use hosttune_boot::command_line::{CommandLineSetting, KernelCommandLine, RUNNING_LINE};
use hosttune_boot::module;
use hosttune_core::{Error, Host, Planner, Tuning, Unsupported, UnsupportedKind};
use hosttune_pci::{Device, Devices, Ids};

use crate::at_boot::{lent_at_boot, refuse};
use crate::lend::Lend;
use crate::view::is_lent;

/// The parameter, as the documentation of the kernel spells it.
const PARAMETER: &str = "vfio-pci.ids";

/// The devices of a [`Lend`] that vfio-pci binds at each boot because their ids are on the kernel
/// command line, kept in the configuration of the boot loader.
///
/// It is for a vfio-pci that is built into the kernel, which needs no udev, no initramfs and no
/// `modprobe.d`; for one that is a module, [`LendAtBoot`](crate::LendAtBoot) is refused less often
/// and matches more closely. vfio-pci takes *every* device with these ids, so it is refused if
/// another device has them: identical cards, or the audio function of a card that stays.
///
/// A driver that is a module is loaded after vfio-pci has bound the device, also from an initramfs.
/// Of two built-in drivers the kernel asks the one first that was linked first, which no file shows:
/// a note says so, and `verify` tells after the reboot.
///
/// A revert restores the file of the boot loader; the device gets its own driver with the next boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LendAtBootByIds {
    lend: Lend,
    name: String,
}

impl LendAtBootByIds {
    /// The devices of `lend`, in a file of the boot loader that is named after `name`: lower-case
    /// letters, digits, `-` and `_`.
    #[must_use]
    pub fn new(lend: Lend, name: impl Into<String>) -> Self {
        Self {
            lend,
            name: name.into(),
        }
    }
}

/// The ids of the lent devices, each once, or why they do not select these devices alone.
fn unique_ids(lent: &[Device], all: &Devices) -> Result<Vec<Ids>, Box<Unsupported>> {
    let mut ids: Vec<Ids> = Vec::new();
    for device in lent {
        let mut others = all.iter().filter(|other| {
            other.ids == device.ids && lent.iter().all(|lent| lent.address != other.address)
        });
        if let Some(other) = others.next() {
            let unsupported = Unsupported::new(
                UnsupportedKind::Other,
                format!(
                    "{} has the same ids as {}, and {PARAMETER} would take both",
                    other.describe(),
                    device.address
                ),
            );
            let hint = "use the udev rule, which matches by slot: --at-boot rule";
            return Err(Box::new(unsupported.hint(hint)));
        }
        if !ids.contains(&device.ids) {
            ids.push(device.ids);
        }
    }
    ids.sort_unstable_by_key(ToString::to_string);
    Ok(ids)
}

/// The ids on a command line that are not among these. The last occurrence counts.
fn foreign_ids(line: &KernelCommandLine, own: &[Ids]) -> Vec<String> {
    let value = line.last(PARAMETER).and_then(|argument| argument.value());
    let own: BTreeSet<String> = own.iter().map(ToString::to_string).collect();
    let words = value.iter().flat_map(|value| value.split(','));
    words
        .filter(|word| !word.is_empty() && !own.contains(&word.to_lowercase()))
        .map(str::to_owned)
        .collect()
}

/// Why the parameter would come too late, or `None`.
fn too_late(host: &Host) -> Result<Option<Unsupported>, Error> {
    if module::is_built_in(host, "vfio_pci")? {
        return Ok(None);
    }
    Ok(Some(
        Unsupported::new(
            UnsupportedKind::Other,
            "vfio-pci is a module of this kernel: its ids count when it is loaded, which is after the drivers of the devices unless something loads it first",
        )
        .hint("use the udev rule, which loads it first: --at-boot rule"),
    ))
}

/// The devices whose own driver is built in as well.
fn with_built_in_drivers(host: &Host, lent: &[Device]) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for device in lent.iter().filter(|device| !is_lent(device)) {
        if let Some(driver) = &device.driver
            && !host.exists(format!("/sys/bus/pci/drivers/{driver}/module"))?
        {
            found.push(format!("{driver} of {}", device.address));
        }
    }
    Ok(found)
}

impl Tuning for LendAtBootByIds {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        let Some(lent) = lent_at_boot(at, &self.lend, PARAMETER)? else {
            return Ok(());
        };
        if let Some(unsupported) = too_late(at.host())? {
            refuse(at, PARAMETER, unsupported);
            return Ok(());
        }
        let ids = match unique_ids(&lent, &Devices::read(at.host())?) {
            Ok(ids) => ids,
            Err(unsupported) => {
                refuse(at, PARAMETER, *unsupported);
                return Ok(());
            }
        };
        let line = KernelCommandLine::parse(at.host().read(RUNNING_LINE)?);
        let foreign = foreign_ids(&line, &ids);
        if !foreign.is_empty() {
            let unsupported = Unsupported::new(
                UnsupportedKind::Managed,
                format!(
                    "the kernel was booted with {PARAMETER}={}, which a second {PARAMETER} would replace",
                    foreign.join(",")
                ),
            );
            refuse(
                at,
                PARAMETER,
                unsupported.hint("remove it from the configuration of the boot loader and reboot, or add the ids there"),
            );
            return Ok(());
        }
        let built_in = with_built_in_drivers(at.host(), &lent)?;
        at.note(if built_in.is_empty() {
            "vfio-pci is built in and comes before all modules, also before those of the initramfs: it need not be rebuilt".to_owned()
        } else {
            format!(
                "vfio-pci and {} are built in: which of them comes first is not shown, so check with verify after the reboot",
                built_in.join(", ")
            )
        });
        let value: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let setting = BootSetting::new(CommandLineSetting::equals(PARAMETER, value.join(",")));
        BootParameters::new(
            &*self.name,
            [setting
                .why("vfio-pci binds the devices at each boot")
                .required()],
        )
        .declare(at)
    }
}
