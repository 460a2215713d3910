//! What a value for later devices leaves as it is: devices that are there already.
//!
//! `net.core.default_qdisc` is looked at when a device is raised for the first time (`dev_activate` in
//! net/sched/sch_generic.c), and `conf.default.*` when one is made. So both can be as wanted while every device that is in use has something else, and a
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
        ["net", "core", "default_qdisc"] if read(host, key)?.is_some() => {
            let devices = up(host)?;
            Ok((!devices.is_empty()).then(|| {
                format!(
                    "{key} = {value} is for devices that are raised for the first time from now on, which keep it after a revert; these are up and keep the qdisc that they have (tc qdisc replace dev NAME root gives one another): {}",
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
                    "{key} = {value} is for devices that come later; these are there already and can keep what they have: {}",
                    listed(&devices)
                )
            }))
        }
        _ => Ok(None),
    }
}

/// The devices that are up, hardware first where not all are named, without the loopback, which never has a qdisc.
///
/// One that was up once and is down now keeps its qdisc too, and cannot be told from one that never was.
fn up(host: &Host) -> Result<Vec<String>, HostError> {
    let mut names = names(host, DEVICES)?;
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

/// One that goes meanwhile is not up.
fn is_up(host: &Host, name: &str) -> bool {
    let flags = host.read_text(format!("{DEVICES}/{name}/flags"));
    let flags = flags.ok().and_then(|flags| {
        let digits = flags.trim().strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok()
    });
    flags.is_some_and(|flags| flags & UP != 0)
}

/// The devices that are there and show something else than `default` is to be, with what they show.
///
/// IPv4's `conf` and the `neigh` of both families copy a new default to the devices that have no address
/// and of which nobody has set that value; an address that is given to one marks all its values as set.
/// IPv6's `conf` and IPv4's `forwarding` are copied to none. Which values are marked cannot be read, so a
/// device that is listed may follow: once the default is set, it is listed no more.
fn with_another(
    host: &Host,
    value: &Value,
    directory: &[&str],
    variable: &str,
) -> Result<Vec<String>, HostError> {
    let mut devices = Vec::new();
    for name in names(host, &format!("/proc/sys/net/{}", directory.join("/")))? {
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
