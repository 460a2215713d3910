//! The text output of `pci`.

use hosttune_pci::{Device, ResetMethod, Sriov};

use super::super::colour::{Look, Role, visible};
use super::super::pci::{Bus, Details, Group, StuckDevices};
use super::{count, rows};

/// The text of a bus: the groups by number, and the devices without one at the end.
pub(crate) fn bus(look: Look, bus: &Bus) -> String {
    let devices = bus.devices.iter().count();
    let says = match (devices, bus.groups.len()) {
        (0, _) => "no PCI devices".to_owned(),
        (_, 0) => format!(
            "{}, no IOMMU groups",
            count(devices, "PCI device", "PCI devices")
        ),
        (_, groups) => format!(
            "{} in {}",
            count(devices, "PCI device", "PCI devices"),
            count(groups, "IOMMU group", "IOMMU groups")
        ),
    };
    let mut text = format!("{}\n", look.paint(Role::Title, &says));
    if let Some(hint) = bus.iommu.hint().filter(|_| devices > 0) {
        attention(look, &mut text, &format!("{}: {hint}", bus.iommu));
    }
    for group in &bus.groups {
        text.push_str(&format!(
            "\n{}\n",
            look.paint(Role::Title, &format!("group {}", group.number))
        ));
        let members = group.members.iter();
        for device in members.filter_map(|address| bus.devices.get(*address)) {
            one(look, &mut text, bus, device);
        }
        if let Some(says) = why_not(group) {
            attention(look, &mut text, &says);
        }
    }
    let mut ungrouped = bus.ungrouped().peekable();
    if ungrouped.peek().is_some() {
        text.push_str(&format!(
            "\n{}\n",
            look.paint(Role::Title, "in no IOMMU group")
        ));
        for device in ungrouped {
            one(look, &mut text, bus, device);
        }
    }
    if bus.is_partial() {
        text.push('\n');
        let says = "programs of other users are not shown: run it as root to see all of them";
        attention(look, &mut text, says);
    }
    if bus.stuck == StuckDevices::NeedRoot && devices > 0 {
        text.push('\n');
        let says = "devices whose driver hangs in the kernel are not shown as stuck: only root can see them";
        attention(look, &mut text, says);
    }
    text
}

/// Why no virtual machine gets a device of this group as it is now.
fn why_not(group: &Group) -> Option<String> {
    if group.is_reserved {
        let says = "firmware uses memory with this group (a direct reserved region): no virtual machine gets it";
        return Some(says.to_owned());
    }
    // A single device is lent by unbinding it, which is nothing to point out.
    if group.used_by_host.is_empty() || group.members.len() == 1 {
        return None;
    }
    let names: Vec<String> = group.used_by_host.iter().map(ToString::to_string).collect();
    let leave = match names.len() {
        1 => "has left its driver",
        _ => "have left their drivers",
    };
    Some(format!(
        "a virtual machine gets this group only after {} {leave}",
        names.join(", ")
    ))
}

fn one(look: Look, text: &mut String, bus: &Bus, device: &Device) {
    let kind = match device.class.name() {
        Some(name) => name.to_owned(),
        None => format!("class {}", device.class),
    };
    let named = [
        bus.names.vendor(device.ids.vendor),
        bus.names.device(device.ids),
    ];
    let named: Vec<&str> = named.into_iter().flatten().collect();
    let title = format!(
        "{} {kind} [{}] {}",
        device.address,
        device.ids,
        named.join(" ")
    );
    lines(look, text, 2, title.trim_end(), None);
    lines(
        look,
        text,
        6,
        &facts(device, bus.details.get(&device.address)),
        Some(Role::Aside),
    );
    for used in bus
        .details
        .get(&device.address)
        .map(uses)
        .unwrap_or_default()
    {
        lines(look, text, 6, &used, None);
    }
}

/// Driver, power, resets and place of a device.
fn facts(device: &Device, details: Option<&Details>) -> String {
    let mut facts = vec![match &device.driver {
        _ if device.is_stuck => "stuck: a change of its driver hangs in the kernel".to_owned(),
        Some(driver) => format!("driver {driver}"),
        None => "no driver".to_owned(),
    }];
    if let Some(only) = &device.driver_override {
        facts.push(format!("driver_override {only}"));
    }
    if let Some(parent) = device.parents.first() {
        facts.push(format!("behind {parent}"));
    }
    if !device.power.is_awake() {
        facts.push(match device.power {
            hosttune_pci::PowerState::Unknown => "power state unknown".to_owned(),
            power => format!("asleep ({power})"),
        });
    }
    if let Some(details) = details.filter(|_| !device.has_bus_below) {
        facts.push(match &details.resets {
            None => "resets unknown".to_owned(),
            Some(methods) if methods.is_empty() => "no reset of its own".to_owned(),
            Some(methods) => {
                let words: Vec<&str> = methods.iter().map(ResetMethod::as_str).collect();
                format!("reset {}", words.join(" "))
            }
        });
        match &details.sriov {
            Sriov::None => {}
            Sriov::Physical { total, provided } => facts.push(format!(
                "{provided} of {}",
                count(
                    usize::try_from(*total).unwrap_or(usize::MAX),
                    "virtual function",
                    "virtual functions"
                )
            )),
            Sriov::Virtual { of } => facts.push(format!("virtual function of {of}")),
        }
    }
    facts.join(", ")
}

/// What uses a device, a line for each use.
fn uses(details: &Details) -> Vec<String> {
    let Some(used) = &details.used else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    match used.monitors {
        0 => {}
        monitors => lines.push(format!(
            "{} connected",
            count(monitors, "monitor is", "monitors are")
        )),
    }
    for interface in &used.interfaces {
        let route = match interface.has_default_route {
            true => " and has the default route",
            false => "",
        };
        lines.push(format!("interface {interface} is up{route}"));
    }
    if used.has_hidden_interface {
        lines.push("its interface is in another network namespace".to_owned());
    }
    lines.extend(used.disks.iter().map(ToString::to_string));
    lines.extend(
        used.holders
            .iter()
            .map(|holder| format!("open in {holder}")),
    );
    lines
}

fn attention(look: Look, text: &mut String, says: &str) {
    lines(look, text, 2, says, Some(Role::Attention));
}

/// Adds a text, wrapped and indented.
fn lines(look: Look, text: &mut String, indent: usize, says: &str, role: Option<Role>) {
    for line in rows::wrap(&visible(says), look.width - indent) {
        let line = match role {
            Some(role) => look.paint(role, &line),
            None => line,
        };
        text.push_str(&format!("{:indent$}{line}\n", ""));
    }
}
