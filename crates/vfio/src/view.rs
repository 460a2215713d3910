//! Everything that is read of the host before it is decided what is lent.

use std::collections::{BTreeMap, BTreeSet};

use hosttune_core::{Host, HostError};
use hosttune_modules::module::{self, Availability};
use hosttune_pci::{
    Address, ConfigReading, Device, Devices, Groups, Iommu, ReservedRegion, Sriov, ViabilityRule,
    is_vfio_driver, reserved_regions,
};

use crate::lend::Lend;
use crate::usage::{self, Connectors, Consoles, DiskUse, Holders, InterfaceUse, Nvidia};

/// What is known of one selected device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    pub(crate) does_not_answer: bool,
    pub(crate) holders: Holders,
    pub(crate) interfaces: Vec<InterfaceUse>,
    pub(crate) has_hidden_interface: bool,
    pub(crate) disks: Vec<DiskUse>,
}

/// Everything that the decision needs.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) devices: Devices,
    pub(crate) groups: Groups,
    pub(crate) rule: ViabilityRule,
    pub(crate) iommu: Iommu,
    pub(crate) driver: Availability,
    /// Of the devices in the slots of selected ones.
    pub(crate) sriov: BTreeMap<Address, Sriov>,
    /// Of the same devices. Those that a VFIO driver has already are not used by the host.
    pub(crate) used: BTreeMap<Address, Used>,
    /// What has those of them open that a VFIO driver has already.
    pub(crate) guests: BTreeMap<Address, Holders>,
    /// The groups of the same devices that have a region which blocks them.
    pub(crate) blocked: BTreeSet<u32>,
    /// Of all display controllers.
    pub(crate) connectors: BTreeMap<Address, Connectors>,
    pub(crate) consoles: Consoles,
    pub(crate) nvidia: Nvidia,
    /// What the running system needs over the network.
    pub(crate) over_network: Option<String>,
}

impl View {
    pub(crate) fn read(host: &Host, lend: &Lend) -> Result<Self, HostError> {
        let devices = Devices::read(host)?;
        let mut near: BTreeSet<Address> = BTreeSet::new();
        for selector in lend.selectors() {
            if let Ok(address) = selector.select(&devices) {
                if lend.takes_companions() {
                    near.extend(devices.in_slot_of(address).map(|device| device.address));
                } else {
                    near.insert(address);
                }
            }
        }
        let mut view = Self {
            groups: Groups::of(&devices),
            rule: ViabilityRule::of_host(host)?,
            iommu: Iommu::of_host(host)?,
            driver: driver(host)?,
            sriov: BTreeMap::new(),
            used: BTreeMap::new(),
            guests: BTreeMap::new(),
            blocked: BTreeSet::new(),
            connectors: BTreeMap::new(),
            consoles: Consoles::default(),
            nvidia: Nvidia::read(host)?,
            over_network: usage::needed_over_network(host)?,
            devices,
        };
        for address in near {
            let Some(device) = view.devices.get(address) else {
                continue;
            };
            if device.is_stuck {
                // It is refused whatever else is known, and more of it could not be read.
                continue;
            }
            view.sriov.insert(address, Sriov::read(host, address)?);
            if let Some(group) = device.group
                && reserved_regions(host, group)?
                    .iter()
                    .any(ReservedRegion::blocks)
            {
                view.blocked.insert(group);
            }
            if is_lent(device) {
                let guests = usage::holders(host, address)?;
                view.guests.insert(address, guests);
                // A guest may have left it dead, and it would be as wanted for ever.
                let used = Used {
                    does_not_answer: device.config_space(host)? == ConfigReading::NoAnswer,
                    ..Used::default()
                };
                view.used.insert(address, used);
            } else {
                view.used.insert(address, used(host, device)?);
            }
        }
        let all = view.devices.iter();
        let displays = all.filter(|device| device.class.is_display() && !device.is_stuck);
        view.consoles = Consoles::read(host, displays.clone())?;
        for device in displays {
            let connectors = usage::connectors(host, device.address)?;
            view.connectors.insert(device.address, connectors);
        }
        Ok(view)
    }
}

/// Whether a VFIO driver is bound.
pub(crate) fn is_lent(device: &Device) -> bool {
    device.driver.as_deref().is_some_and(is_vfio_driver)
}

/// Whether the kernel has vfio-pci.
fn driver(host: &Host) -> Result<Availability, HostError> {
    if host.exists("/sys/bus/pci/drivers/vfio-pci")? {
        return Ok(Availability::Present);
    }
    module::find(host, "vfio_pci")
}

fn used(host: &Host, device: &Device) -> Result<Used, HostError> {
    let address = device.address;
    let does_not_answer = device.config_space(host)? == ConfigReading::NoAnswer;
    if device.has_bus_below {
        // It is refused whatever uses it.
        return Ok(Used {
            does_not_answer,
            ..Used::default()
        });
    }
    Ok(Used {
        does_not_answer,
        holders: usage::holders(host, address)?,
        interfaces: usage::interface_uses(host, address)?,
        has_hidden_interface: usage::has_hidden_interface(host, address)?,
        disks: usage::disk_uses(host, address)?,
    })
}
