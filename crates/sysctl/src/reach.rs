//! What a value for later devices leaves as it is: devices that are there already.
//!
//! `net.core.default_qdisc` is looked at when a device is raised, and `conf.default.*` when one is
//! made. So both can be as wanted while every device that is in use has something else, and a
//! device that came meanwhile keeps the value after a revert.

use hosttune_core::{Host, HostError, HostErrorKind};

use crate::key::Key;
use crate::plain::read;
use crate::value::Value;

const DEVICES: &str = "/sys/class/net";

/// `IFF_UP` of netdevice(7).
const UP: u32 = 1;

/// So many devices are named in a note; of the others there is the number.
const NAMED: usize = 8;

/// What a person should know about a key that devices take their value from, and the devices that
/// have theirs already.
pub(crate) fn note(host: &Host, key: &Key, value: &Value) -> Result<Option<String>, HostError> {
    let segments: Vec<&str> = key.segments().collect();
    match segments[..] {
        // In another network namespace it is not there, and reaches nothing.
        ["net", "core", "default_qdisc"] if host.exists(key.path())? => {
            let devices = up(host)?;
            Ok((!devices.is_empty()).then(|| {
                format!(
                    "{key} = {value} is for devices that are raised from now on, which keep it after a revert; up already, with the qdisc that they have: {}",
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
            let devices = with_their_own(host, key, value, &[family, table], variable)?;
            Ok((!devices.is_empty()).then(|| {
                format!(
                    "{key} = {value} is for devices that come later; there already, with a value of their own: {}",
                    listed(&devices)
                )
            }))
        }
        _ => Ok(None),
    }
}

/// The devices that are up, without the loopback, which never has a qdisc.
fn up(host: &Host) -> Result<Vec<String>, HostError> {
    let mut names = names(host, DEVICES)?;
    names.retain(|name| name != "lo" && is_up(host, name));
    Ok(names)
}

/// One that goes meanwhile is not up.
fn is_up(host: &Host, name: &str) -> bool {
    let flags = host.read_text(format!("{DEVICES}/{name}/flags"));
    let flags = flags.ok().and_then(|flags| {
        let digits = flags.trim().strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok()
    });
    flags.is_some_and(|flags| flags & UP != 0)
}

/// The devices that `default` does not reach, with what they have.
///
/// IPv4's `conf` and both families' `neigh` copy a new default to every device whose value nobody has
/// set, so what differs from the default now was set. IPv6's `conf` and IPv4's `forwarding` are copied
/// to none.
fn with_their_own(
    host: &Host,
    key: &Key,
    value: &Value,
    directory: &[&str],
    variable: &str,
) -> Result<Vec<String>, HostError> {
    let Some(default) = read(host, key)? else {
        return Ok(Vec::new());
    };
    let is_copied = match directory {
        ["ipv4", "conf"] => variable != "forwarding",
        [_, table] => *table == "neigh",
        _ => false,
    };
    let mut devices = Vec::new();
    for name in names(host, &format!("/proc/sys/net/{}", directory.join("/")))? {
        if ["all", "default", "lo"].contains(&name.as_str()) {
            continue;
        }
        let segments = ["net", directory[0], directory[1], &name, variable];
        let Ok(own) = Key::new(segments) else {
            continue;
        };
        let Some(seen) = read(host, &own)? else {
            continue;
        };
        if seen != *value && !(is_copied && seen == default) {
            devices.push(format!("{name} ({seen})"));
        }
    }
    Ok(devices)
}

fn names(host: &Host, directory: &str) -> Result<Vec<String>, HostError> {
    match host.list(directory) {
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(Vec::new()),
        other => other,
    }
}

fn listed(devices: &[String]) -> String {
    let named = &devices[..devices.len().min(NAMED)];
    match devices.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
