//! Devices that are lent from boot on by `vfio-pci.ids=` on the kernel command line.

use std::collections::BTreeSet;

use hosttune_boot::boot_loader::{BootParameters, BootSetting, configured};
use hosttune_boot::command_line::{CommandLineSetting, KernelCommandLine, RUNNING_LINE};
use hosttune_core::file::ConfigFile;
use hosttune_core::{
    Error, Host, Knob, OwnedChange, Planner, Tuning, Unsupported, UnsupportedKind,
};
use hosttune_modules::module;
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

/// The value of the parameter on a command line. The last occurrence counts.
fn value(line: &KernelCommandLine) -> Option<String> {
    let value = line.last(PARAMETER)?.value()?.into_owned();
    Some(value)
}

/// The ids in a value, in lower case.
fn words(value: &str) -> BTreeSet<String> {
    let words = value.split(',').filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// The ids that this owner has added in the file for GRUB, if that is its change: they are replaced with
/// the file.
fn own_ids(at: &Planner<'_>, name: &str) -> Result<BTreeSet<String>, Error> {
    let path = BootParameters::grub_file(name);
    let is_own = |change: &OwnedChange| {
        let knob = &change.knob;
        change.is_own && knob.kind == ConfigFile::NAME && knob.id.as_str() == Some(path.as_str())
    };
    if !at.changes_in_effect().iter().any(is_own) {
        return Ok(BTreeSet::new());
    }
    let text = at.host().read(&path);
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let blank = |letter: char| letter.is_whitespace() || letter == '"';
    let values = text
        .split(blank)
        .filter_map(|word| word.strip_prefix("vfio-pci.ids="));
    Ok(values.flat_map(words).collect())
}

/// Ids of others that a second parameter would replace: why it is refused, or `None`.
fn foreign(
    at: &Planner<'_>,
    name: &str,
    ids: &BTreeSet<String>,
    running: Option<&str>,
) -> Result<Option<Unsupported>, Error> {
    let mut own = own_ids(at, name)?;
    own.extend(ids.iter().cloned());
    let foreign = |value: &str| -> Vec<String> {
        let words = value.split(',').filter(|word| !word.is_empty());
        let foreign = words.filter(|word| !own.contains(&word.to_lowercase()));
        foreign.map(str::to_owned).collect()
    };
    let mut places = running
        .map(|value| ("the kernel was booted with".to_owned(), foreign(value)))
        .into_iter()
        .collect::<Vec<_>>();
    for found in configured(at.host(), PARAMETER, name)? {
        places.push((format!("{} has", found.file), foreign(&found.value)));
    }
    let Some((place, ids)) = places.into_iter().find(|(_, ids)| !ids.is_empty()) else {
        return Ok(None);
    };
    // In an entry of the boot loader our ids and those of others are one argument.
    let changes = at.changes_in_effect().iter();
    let own = changes
        .filter(|change| change.is_own)
        .find(|change| change.knob.text.contains(PARAMETER));
    let hint = match own {
        Some(change) => {
            let only = match change.outermost_part() {
                "" => String::new(),
                part => format!(" --only {part}"),
            };
            format!(
                "this program has set the parameter for other devices: {} revert{only}, then apply it again",
                change.owner
            )
        }
        None => {
            "remove it from the configuration of the boot loader and reboot, or add the ids there"
                .to_owned()
        }
    };
    Ok(Some(
        Unsupported::new(
            UnsupportedKind::Managed,
            format!(
                "{place} {PARAMETER}={}, which a second {PARAMETER} would replace",
                ids.join(",")
            ),
        )
        .hint(hint),
    ))
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
        let running = value(&line);
        let wanted = ids.iter().map(ToString::to_string).collect();
        if let Some(unsupported) = foreign(at, &self.name, &wanted, running.as_deref())? {
            refuse(at, PARAMETER, unsupported);
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
        // The kernel has the same ids in any order and case: what it was booted with is not pending.
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let value = running
            .filter(|running| words(running) == wanted)
            .unwrap_or_else(|| ids.join(","));
        let setting = BootSetting::new(CommandLineSetting::equals(PARAMETER, value));
        BootParameters::new(
            &*self.name,
            [setting
                .why("vfio-pci binds the devices at each boot")
                .required()],
        )
        .declare(at)
    }
}
