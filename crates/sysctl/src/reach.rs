//! Existing devices to which a default value does not apply.
//!
//! `net.core.default_qdisc` is read when a device is brought up for the first time (`dev_activate`
//! in net/sched/sch_generic.c), and `conf.default.*` when a device is created. So both can have the
//! requested value while every device in use has a different one, and a device that was added in
//! the meantime keeps the value after a revert.

use hosttune_core::{Host, HostError};

use crate::key::Key;
use crate::plain::read;
use crate::value::Value;

const DEVICES: &str = "/sys/class/net";

/// `IFF_UP` of netdevice(7).
const UP: u32 = 1;

/// The largest number of devices that a note names; the others are counted.
const NAMED: usize = 8;

/// A note about a key that is a default for devices, with the existing devices that keep their own
/// value.
pub(crate) fn note(host: &Host, key: &Key, value: &Value) -> Result<Option<String>, HostError> {
    let segments: Vec<&str> = key.segments().collect();
    match segments[..] {
        // The key does not exist in other network namespaces, where it has no effect.
        ["net", "core", "default_qdisc"] if read(host, key)?.is_some() => {
            let devices = up(host)?;
            Ok((!devices.is_empty()).then(|| {
                format!(
                    "{key} = {value} applies to devices that are brought up for the first time from now on, which keep it after a revert; these devices are up and keep their qdisc (tc qdisc replace dev NAME root replaces it): {}",
                    listed(&devices)
                )
            }))
        }
        [
            "net",
            family,
            table @ ("conf" | "neigh"),
            "default",
            variable,
        ] => {
            if read(host, key)?.is_none() {
                return Ok(None);
            }
            let devices = with_another(host, value, &[family, table], variable)?;
            Ok((!devices.is_empty()).then(|| {
                format!(
                    "{key} = {value} applies to devices that are added later; these devices exist already and may keep their value: {}",
                    listed(&devices)
                )
            }))
        }
        _ => Ok(None),
    }
}

/// The devices that are up, except the loopback device, which never has a qdisc. If a note cannot
/// name all of them, hardware devices come first.
///
/// A device that is down but was up before keeps its qdisc too; it cannot be distinguished from one
/// that was never up.
fn up(host: &Host) -> Result<Vec<String>, HostError> {
    let mut names = host.list_if_there(DEVICES)?;
    names.retain(|name| name != "lo" && is_up(host, name));
    if names.len() <= NAMED {
        return Ok(names);
    }
    let is_hardware = |name: &String| host.exists(format!("{DEVICES}/{name}/device"));
    let (mut hardware, mut others) = (Vec::new(), Vec::new());
    for name in names {
        if is_hardware(&name)? {
            hardware.push(name);
        } else {
            others.push(name);
        }
    }
    hardware.append(&mut others);
    Ok(hardware)
}

/// Whether a device is up. One that has been removed in the meantime is not.
fn is_up(host: &Host, name: &str) -> bool {
    let flags = host.read_text(format!("{DEVICES}/{name}/flags"));
    let flags = flags.ok().and_then(|flags| {
        let digits = flags.trim().strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok()
    });
    flags.is_some_and(|flags| flags & UP != 0)
}

/// The existing devices whose value differs from the new `default`, each with its value.
///
/// IPv4's `conf` and the `neigh` of both families copy a new default to the devices that have no
/// address and whose value has not been set; adding an address to a device marks all its values as
/// set. IPv6's `conf` and IPv4's `forwarding` are not copied to any device. The marks cannot be
/// read, so a listed device may take the new default after all; it is no longer listed once the
/// default is set.
fn with_another(
    host: &Host,
    value: &Value,
    directory: &[&str],
    variable: &str,
) -> Result<Vec<String>, HostError> {
    let mut devices = Vec::new();
    for name in host.list_if_there(format!("/proc/sys/net/{}", directory.join("/")))? {
        if ["all", "default", "lo"].contains(&name.as_str()) {
            continue;
        }
        let segments = ["net", directory[0], directory[1], &name, variable];
        let Ok(own) = Key::new(segments) else {
            continue;
        };
        match read(host, &own)? {
            Some(seen) if seen != *value => devices.push(format!("{name} ({seen})")),
            _ => {}
        }
    }
    Ok(devices)
}

fn listed(devices: &[String]) -> String {
    let named = &devices[..devices.len().min(NAMED)];
    match devices.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
