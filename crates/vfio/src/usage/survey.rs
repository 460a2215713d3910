//! What uses the devices of a host, for people and programs that choose one.

use std::collections::BTreeMap;

use hosttune_core::{Host, HostError};
use hosttune_pci::{Address, Device, Devices};

use super::{
    DiskUse, Holder, InterfaceUse, connectors, disk_uses, has_hidden_interface, holders_of_all,
    interface_uses,
};

/// What uses a device now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceUse {
    /// The processes that have files of it open.
    pub holders: Vec<Holder>,
    /// Whether there may be more of them, which this user may not see.
    pub holders_are_partial: bool,
    /// Its network interfaces that are up.
    pub interfaces: Vec<InterfaceUse>,
    /// Whether it has interfaces in other network namespaces alone, such as one of a container.
    pub has_hidden_interface: bool,
    /// What its disks are used for.
    pub disks: Vec<DiskUse>,
    /// How many monitors are connected to it.
    pub monitors: usize,
}

impl DeviceUse {
    /// Whether nothing is known to use it.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.holders.is_empty()
            && self.interfaces.is_empty()
            && !self.has_hidden_interface
            && self.disks.is_empty()
            && self.monitors == 0
    }
}

/// What uses each of these devices. A bridge is used by what is behind it, so it has no entry, and
/// of a device that [is stuck](hosttune_pci::is_stuck) it cannot be read.
///
/// It wakes no sleeping device: all of it is kept by the kernel.
///
/// # Errors
/// If a file exists and cannot be read or understood.
pub fn survey(host: &Host, devices: &Devices) -> Result<BTreeMap<Address, DeviceUse>, HostError> {
    let is_shown = |device: &&Device| !device.has_bus_below && !device.is_stuck;
    let ends = devices.iter().filter(is_shown);
    let mut holders = holders_of_all(host, ends.clone().map(|device| device.address))?;
    let mut found = BTreeMap::new();
    for device in ends {
        let address = device.address;
        let holders = holders.remove(&address).unwrap_or_default();
        let monitors = match device.class.is_display() {
            true => connectors(host, address)?.connected,
            false => 0,
        };
        let used = DeviceUse {
            holders: holders.found,
            holders_are_partial: holders.is_partial,
            interfaces: interface_uses(host, address)?,
            has_hidden_interface: has_hidden_interface(host, address)?,
            disks: disk_uses(host, address)?,
            monitors,
        };
        found.insert(address, used);
    }
    Ok(found)
}
