//! Settings on the interfaces and disks of a device that a journal holds: its qdiscs, filters, I/O
//! scheduler and queue attributes.
//!
//! They are lost with the driver. The interface that comes back is another one with the same name,
//! so no revert sets them again, and the journal would name a device that no longer exists.
//!
//! Settings of the owner that lends are saved with the step that unbinds the driver, and set again
//! when that step is undone ([`kept`]). Those of another owner are reverted before a loan and
//! applied after it by the program that has set them ([`reasons`]): only that program knows its knob
//! types and its profile.

use std::collections::{BTreeMap, BTreeSet};

use hosttune_core::host::EntryKind;
use hosttune_core::{
    AnyKnob, DeviceLink, Host, HostError, OwnedChange, Unsupported, UnsupportedKind,
};
use hosttune_pci::Address;
use serde_json::Value;

/// The settings of this owner on a device, in the order in which they are made, each with the link to
/// the interface or disk that it is on.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) knobs: Vec<(AnyKnob, DeviceLink)>,
    /// The names whose links lead elsewhere, such as VLANs: they do not come back with the driver.
    pub(crate) lost: BTreeSet<String>,
}

/// Those of `knobs` that are about the interfaces and disks `names` of a device.
pub(crate) fn kept(
    host: &Host,
    address: Address,
    names: &BTreeSet<String>,
    knobs: impl IntoIterator<Item = AnyKnob>,
) -> Result<Kept, HostError> {
    let mut links: BTreeMap<&String, DeviceLink> = BTreeMap::new();
    let mut kept = Kept::default();
    for name in names {
        match link(host, address, name)? {
            Some(link) => drop(links.insert(name, link)),
            None => drop(kept.lost.insert(name.clone())),
        }
    }
    for knob in knobs {
        let mut on = links.iter();
        let is_on = |(name, _): &(&&String, &DeviceLink)| {
            is_about(&knob.id, &BTreeSet::from([(**name).clone()]))
        };
        if let Some((_, link)) = on.find(is_on)
            && !kept.knobs.iter().any(|(known, _)| *known == knob)
        {
            kept.knobs.push((knob, link.clone()));
        }
    }
    Ok(kept)
}

/// The link of an interface or a disk of a device. With multipath the disk of an NVMe controller is
/// below the subsystem that the controller belongs to, and not below the controller.
fn link(host: &Host, address: Address, name: &str) -> Result<Option<DeviceLink>, HostError> {
    for class in ["net", "block"] {
        let link = format!("/sys/class/{class}/{name}");
        let Some(EntryKind::Link(target)) = host.entry(&link)?.map(|entry| entry.kind) else {
            continue;
        };
        let target = target.to_string_lossy();
        let of_device = format!("/{address}/");
        let subsystem = target
            .split_once("/nvme-subsystem/")
            .and_then(|(_, below)| below.split('/').next());
        let through = match subsystem {
            _ if target.contains(&of_device) => of_device,
            Some(subsystem) => format!("/{subsystem}/"),
            None => continue,
        };
        return Ok(Some(DeviceLink { link, through }));
    }
    Ok(None)
}

/// How many settings of one part are named.
const NAMED: usize = 4;

/// Why a device cannot be lent while these changes are in effect: one reason for each owner and
/// part. `names` are the interfaces and disks of the device; `lost` those of them for which this
/// owner's own changes count too.
pub(crate) fn reasons(
    address: Address,
    names: &BTreeSet<String>,
    lost: &BTreeSet<String>,
    changes: &[OwnedChange],
) -> Vec<Unsupported> {
    let mut found: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for change in changes.iter().filter(|change| !change.is_intermediate) {
        if is_about(&change.knob.id, if change.is_own { lost } else { names }) {
            let of_part = found
                .entry((&change.owner, change.outermost_part()))
                .or_default();
            if !of_part.contains(&change.knob.text.as_str()) {
                of_part.push(&change.knob.text);
            }
        }
    }
    let reason = |((owner, part), settings): ((&str, &str), Vec<&str>)| {
        let more = settings.len().saturating_sub(NAMED);
        let mut named = settings[..settings.len() - more].join(", ");
        if more > 0 {
            named.push_str(&format!(" and {more} more"));
        }
        Unsupported::new(
            UnsupportedKind::Busy,
            format!("{owner} has tuned it, which is lost with the driver of {address}: {named}"),
        )
        .hint(what_to_type(owner, part))
    };
    found.into_iter().map(reason).collect()
}

/// The commands that revert a part of an owner and apply it again. An owner has the name of its
/// program; what a command has applied that runs tuned has an owner of its own.
fn what_to_type(owner: &str, part: &str) -> String {
    if let Some(program) = owner.strip_suffix(".run") {
        return format!("end the commands that {program} runs: {program} status lists them");
    }
    let only = match part {
        "" => String::new(),
        part => format!(" --only {part}"),
    };
    format!(
        "revert it before the loan: {owner} revert{only}; and apply it again after the return, with the options that it was applied with: {owner} apply{only}"
    )
}

/// Whether the JSON that names a knob contains one of these names: as a whole text, or as a
/// component of a path or a sysctl's key.
fn is_about(id: &Value, names: &BTreeSet<String>) -> bool {
    match id {
        Value::String(text) => {
            names.contains(text)
                || text.split('/').any(|part| names.contains(part))
                || text.split('.').any(|part| names.contains(part))
        }
        Value::Array(values) => values.iter().any(|value| is_about(value, names)),
        Value::Object(fields) => fields.values().any(|value| is_about(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn knobs_name_their_device_in_many_ways() {
        let names = BTreeSet::from(["eth0".to_owned(), "eth0.100".to_owned(), "sda".to_owned()]);
        for id in [
            json!("eth0"),
            json!({"device": "eth0", "to": "ifb0"}),
            json!("sda/nr_requests"),
            json!({"disk": "sda", "scheduler": "bfq", "name": "low_latency"}),
            json!("net.ipv4.conf.eth0.rp_filter"),
            json!("net/ipv4/conf/eth0.100/rp_filter"),
            json!(["x", "eth0.100"]),
        ] {
            assert!(is_about(&id, &names), "{id}");
        }
        for id in [
            json!("eth1"),
            json!("eth00"),
            json!("sdab/scheduler"),
            json!("net.ipv4.conf.all.rp_filter"),
            json!({"eth0": 1}),
            json!(null),
        ] {
            assert!(!is_about(&id, &names), "{id}");
        }
    }

    #[test]
    fn what_to_type_is_the_owners_command() {
        let typed = what_to_type("gaming", "qos");
        assert!(typed.contains("gaming revert --only qos;"), "{typed}");
        assert!(typed.ends_with("gaming apply --only qos"), "{typed}");
        let typed = what_to_type("gaming", "");
        assert!(typed.contains("gaming revert;"), "{typed}");
        assert!(what_to_type("gaming.run", "qos").contains("gaming status"));
    }
}
