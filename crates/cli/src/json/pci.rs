//! The document of `pci`.

use std::fmt::Display;

use hosttune_pci::{Address, Device, Iommu, PowerState, ResetMethod, Sriov};
use hosttune_vfio::DeviceUse;
use serde::Serialize;

use super::super::pci::{Bus, Details, Group, StuckDevices};

/// `pci.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct BusDocument<'a> {
    iommu: Iommu,
    iommu_hint: Option<&'static str>,
    groups: Vec<GroupView<'a>>,
    devices: Vec<DeviceView<'a>>,
    holders_are_partial: bool,
}

#[derive(Debug, Serialize)]
struct GroupView<'a> {
    number: u32,
    devices: &'a [Address],
    used_by_host: &'a [Address],
    reserved: bool,
}

#[derive(Debug, Serialize)]
struct DeviceView<'a> {
    address: Address,
    ids: String,
    subsystem: Option<String>,
    class: String,
    kind: Option<&'static str>,
    vendor: Option<&'a str>,
    name: Option<&'a str>,
    driver: Option<&'a str>,
    driver_override: Option<&'a str>,
    is_stuck: Option<bool>,
    group: Option<u32>,
    slot: &'a str,
    behind: &'a [Address],
    power: Option<String>,
    reset_methods: Option<Vec<&'a str>>,
    virtual_functions: Option<VirtualFunctions>,
    physical_function: Option<Address>,
    uses: Vec<UseView>,
}

#[derive(Debug, Serialize)]
struct VirtualFunctions {
    total: u32,
    provided: u32,
}

/// A use of a device.
#[derive(Debug, Serialize)]
struct UseView {
    kind: &'static str,
    text: String,
    process: Option<u32>,
}

impl UseView {
    fn new(kind: &'static str, text: &dyn Display) -> Self {
        Self {
            kind,
            text: text.to_string(),
            process: None,
        }
    }

    fn all_of(used: &DeviceUse) -> Vec<Self> {
        let mut uses = Vec::new();
        if used.monitors > 0 {
            uses.push(Self::new("monitor", &used.monitors));
        }
        for interface in &used.interfaces {
            let kind = match interface.has_default_route {
                true => "default-route",
                false => "interface",
            };
            uses.push(Self::new(kind, interface));
        }
        if used.has_hidden_interface {
            uses.push(Self::new("interface", &"in another network namespace"));
        }
        uses.extend(used.disks.iter().map(|disk| Self::new("disk", disk)));
        for holder in &used.holders {
            uses.push(Self {
                process: Some(holder.process),
                ..Self::new("process", holder)
            });
        }
        uses
    }
}

impl<'a> DeviceView<'a> {
    fn of(bus: &'a Bus, device: &'a Device) -> Self {
        let details: Option<&Details> = bus.details.get(&device.address);
        let sriov = details.map(|details| &details.sriov);
        let resets = details.and_then(|details| details.resets.as_ref());
        let used = details.and_then(|details| details.used.as_ref());
        Self {
            address: device.address,
            ids: device.ids.to_string(),
            subsystem: device.subsystem.map(|ids| ids.to_string()),
            class: device.class.to_string(),
            kind: device.class.name(),
            vendor: bus.names.vendor(device.ids.vendor),
            name: bus.names.device(device.ids),
            driver: device.driver.as_deref(),
            driver_override: device.driver_override.as_deref(),
            is_stuck: (bus.stuck == StuckDevices::Known).then_some(device.is_stuck),
            group: device.group,
            slot: device.slot.as_str(),
            behind: &device.parents,
            power: (device.power != PowerState::Unknown).then(|| device.power.to_string()),
            reset_methods: resets.map(|methods| methods.iter().map(ResetMethod::as_str).collect()),
            virtual_functions: match sriov {
                Some(Sriov::Physical { total, provided }) => Some(VirtualFunctions {
                    total: *total,
                    provided: *provided,
                }),
                _ => None,
            },
            physical_function: match sriov {
                Some(Sriov::Virtual { of }) => Some(*of),
                _ => None,
            },
            uses: used.map(UseView::all_of).unwrap_or_default(),
        }
    }
}

/// The document of a bus.
pub(crate) fn bus(bus: &Bus) -> BusDocument<'_> {
    BusDocument {
        iommu: bus.iommu,
        iommu_hint: bus.iommu.hint(),
        groups: bus.groups.iter().map(GroupView::of).collect(),
        devices: bus
            .devices
            .iter()
            .map(|device| DeviceView::of(bus, device))
            .collect(),
        holders_are_partial: bus.is_partial(),
    }
}

impl<'a> GroupView<'a> {
    fn of(group: &'a Group) -> Self {
        Self {
            number: group.number,
            devices: &group.members,
            used_by_host: &group.used_by_host,
            reserved: group.is_reserved,
        }
    }
}
