//! Devices that are lent from boot on, by a udev rule of their own.

use hosttune_core::file::ConfigFile;
use hosttune_core::host::{EntryKind, RootKind};
use hosttune_core::{Error, Host, HostError, Planner, Tuning, Unsupported, UnsupportedKind};
use hosttune_pci::{Address, Device};
use hosttune_udev_rules::{Key, Operator, Rule, Token, UnwritableError};

use crate::assessment::Assessment;
use crate::lend::{Lend, VFIO_PCI};
use crate::refusal::Refusal;
use crate::view::is_lent;

/// The devices of a [`Lend`] that vfio-pci binds at each boot, before the module of their own driver
/// is loaded: a file `/etc/udev/rules.d/61-hosttune-NAME.rules`.
///
/// A rule matches a device by where it is plugged in and by its ids, so that another card in the
/// slot, or the same card in another slot, keeps its own driver. It sets `driver_override` and loads
/// vfio-pci; it takes no device from a driver. A driver that is built into the kernel or in the
/// initramfs has bound its devices before udev reads the rule: with a built-in driver the file is
/// refused, and for the initramfs there is a note, because its content is not looked at.
///
/// It is refused for the same reasons as the [`Lend`], except for those that end with a reboot: programs
/// that have a device open.
///
/// A revert removes the file. After a reboot with it, the device gets its own driver back with the
/// next boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LendAtBoot {
    lend: Lend,
    name: String,
}

impl LendAtBoot {
    /// The devices of `lend`, in a file that is named after `name`: 1 to 64 of `a-z`, `0-9`, `-`
    /// and `_`.
    #[must_use]
    pub fn new(lend: Lend, name: impl Into<String>) -> Self {
        Self {
            lend,
            name: name.into(),
        }
    }

    fn path(&self) -> Result<String, Error> {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if (1..=64).contains(&self.name.len()) && self.name.bytes().all(plain) {
            return Ok(format!("/etc/udev/rules.d/61-hosttune-{}.rules", self.name));
        }
        Err(Error::tuning(
            format!("{:?} cannot be used in the name of a rules file", self.name),
            "use 1 to 64 of a-z, 0-9, '-' and '_'",
        ))
    }
}

/// The rules for one device. `devpath` is the pattern of [`devpath`].
fn rules(device: &Device, devpath: &str) -> Result<Vec<Rule>, UnwritableError> {
    let condition = |key, value: &str| Token::new(key, Operator::Equal, value);
    let attribute =
        |name: &str, id: hosttune_pci::PciId| condition(Key::Attr, &format!("0x{id}")).of(name);
    let mut conditions = vec![
        condition(Key::Action, "add"),
        condition(Key::Devpath, devpath),
        condition(Key::Subsystem, "pci"),
        attribute("vendor", device.ids.vendor),
        attribute("device", device.ids.device),
    ];
    if let Some(subsystem) = device.subsystem {
        conditions.push(attribute("subsystem_vendor", subsystem.vendor));
        conditions.push(attribute("subsystem_device", subsystem.device));
    }
    let rule = |action: Token| Rule::new(conditions.iter().cloned().chain([action]));
    let found = vec![
        rule(Token::new(Key::Attr, Operator::Assign, VFIO_PCI).of("driver_override")),
        // If vfio-pci is there already; a device with a driver keeps it.
        rule(Token::new(Key::Attr, Operator::Assign, "$kernel").of("subsystem/drivers_probe")),
        // After all rules, and before the module that the device asks for (80-drivers.rules).
        rule(Token::new(Key::Run, Operator::Add, "kmod load vfio-pci").of("builtin")),
    ];
    for rule in &found {
        rule.to_text()?;
    }
    Ok(found)
}

/// The path of a device below `/sys` as a pattern without the numbers of the buses below the first,
/// which change when another card is added. `None` if the device has vanished.
fn devpath(host: &Host, device: &Device) -> Result<Option<String>, HostError> {
    let entry = host.entry(device.address.directory())?;
    let Some(EntryKind::Link(target)) = entry.map(|entry| entry.kind) else {
        return Ok(None);
    };
    Ok(Some(pattern(&target.to_string_lossy())))
}

fn pattern(target: &str) -> String {
    let mut text = "/devices".to_owned();
    let names = target.split('/').skip_while(|name| *name != "devices");
    let mut is_first = true;
    for name in names.skip(1) {
        text.push('/');
        match name.parse::<Address>() {
            Ok(at) if !is_first => text.push_str(&format!(
                "{:04x}:??:{:02x}.{:x}",
                at.domain(),
                at.device(),
                at.function()
            )),
            at => {
                is_first &= at.is_err();
                text.push_str(name);
            }
        }
    }
    text
}

/// Why a rule would come too late for a device, or `None`.
fn too_late(host: &Host, device: &Device) -> Result<Option<Unsupported>, HostError> {
    let Some(driver) = device.driver.as_deref().filter(|_| !is_lent(device)) else {
        return Ok(None);
    };
    // A built-in driver has no link to a module.
    if host.exists(format!("/sys/bus/pci/drivers/{driver}/module"))? {
        return Ok(None);
    }
    Ok(Some(
        Unsupported::new(
            UnsupportedKind::Other,
            format!("{driver} is built into the kernel and binds {} before udev reads rules", device.address),
        )
        .hint(format!(
            "if no other device has these ids, add vfio-pci.ids={} to the kernel command line; vfio-pci must be built in as well",
            device.ids
        )),
    ))
}

/// The devices to lend from boot on; `None` if they cannot be lent: each reason is then in the plan.
///
/// What ends with a reboot does not count: that a program has a device open now is why it is bound at
/// the next boot instead.
pub(crate) fn lent_at_boot(
    at: &mut Planner<'_>,
    lend: &Lend,
    what: &str,
) -> Result<Option<Vec<Device>>, Error> {
    if at.host().root_kind() == RootKind::Image {
        let unsupported = Unsupported::new(
            UnsupportedKind::NotRunning,
            "which devices there are is known only on the machine itself",
        );
        refuse(at, what, unsupported.hint("run it on the running system"));
        return Ok(None);
    }
    let assessment = Assessment::of(at.host(), lend)?;
    for verdict in &assessment.verdicts {
        at.note(verdict.to_string());
    }
    let refusals = assessment.refusals.into_iter();
    let refusals: Vec<Refusal> = refusals
        .filter(|refusal| !refusal.is_of_this_boot)
        .collect();
    if refusals.is_empty() {
        return Ok(Some(assessment.lent));
    }
    for refusal in refusals {
        refuse(at, &refusal.subject, refusal.unsupported);
    }
    Ok(None)
}

/// Puts into the plan why devices cannot be lent from boot on.
pub(crate) fn refuse(at: &mut Planner<'_>, what: &str, unsupported: Unsupported) {
    at.skip(what, unsupported)
        .required()
        .why("lends the devices from boot on");
}

impl Tuning for LendAtBoot {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        let path = self.path()?;
        let Some(lent) = lent_at_boot(at, &self.lend, &path)? else {
            return Ok(());
        };
        let mut text = format!(
            "# Written by hosttune for {}: binds devices to vfio-pci at boot. Reverted by the same program.\n",
            self.name
        );
        for device in &lent {
            if let Some(unsupported) = too_late(at.host(), device)? {
                refuse(at, &path, unsupported);
                return Ok(());
            }
            let Some(devpath) = devpath(at.host(), device)? else {
                continue;
            };
            text.push_str(&format!("# {}\n", device.describe()));
            let unwritable =
                |error: UnwritableError| Error::tuning(error.to_string(), "report this as a bug");
            for rule in rules(device, &devpath).map_err(unwritable)? {
                text.push_str(&rule.to_text().map_err(unwritable)?);
                text.push('\n');
            }
        }
        at.note(match hosttune_modules::initramfs::rebuild_command(at.host())? {
            Some(command) => format!(
                "if the initramfs loads the driver of a lent device, it binds before the rule: check with verify after the reboot, and if need be exclude the driver from the initramfs and run {command}"
            ),
            None => "if the initramfs loads the driver of a lent device, it binds before the rule: check with verify after the reboot".to_owned(),
        });
        let file = ConfigFile::new(&path)?;
        at.want_file(&file, text.into_bytes(), "required by the rules file")?
            .required()
            .why("binds the devices to vfio-pci at each boot");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_no_numbers_of_buses_that_change() {
        let root = "../../../devices/pci0000:00/0000:00:01.0";
        assert_eq!(pattern(root), "/devices/pci0000:00/0000:00:01.0");
        let card = format!("{root}/0000:0d:00.1");
        let wanted = "/devices/pci0000:00/0000:00:01.0/0000:??:00.1";
        assert_eq!(pattern(&card), wanted);
        let vmd =
            "../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0";
        let wanted = "/devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:??:06.0/10000:??:00.0";
        assert_eq!(pattern(vmd), wanted);
    }
}
