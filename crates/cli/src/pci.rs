//! `pci`: the PCI devices by IOMMU group. It changes nothing, wakes no sleeping device, and needs
//! root only to see which programs of other users hold a device, and which device is stuck.

use std::collections::BTreeMap;
use std::path::Path;

use hosttune_core::{Error, Host, HostError, LinuxHost};
use hosttune_pci::{
    Address, Device, Devices, Groups, Iommu, Names, ResetMethod, Sriov, ViabilityRule,
    reserved_regions,
};
use hosttune_vfio::DeviceUse;

use super::exit::Exit;
use super::failure::Failure;
use super::streams::Streams;
use super::{json, text};

/// A running kernel with PCI has this directory, also without a device.
const DEVICES: &str = "/sys/bus/pci/devices";

/// Everything that the text and the document show.
#[derive(Debug)]
pub(super) struct Bus {
    pub(super) devices: Devices,
    pub(super) groups: Vec<Group>,
    pub(super) iommu: Iommu,
    pub(super) names: Names,
    pub(super) details: BTreeMap<Address, Details>,
    pub(super) stuck: StuckDevices,
}

/// Whether it is known which devices are stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StuckDevices {
    Known,
    /// Only root can open the file that is locked while a change hangs.
    NeedRoot,
    /// Nothing hangs in a tree of files.
    NotRunning,
}

/// One IOMMU group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) number: u32,
    pub(super) members: Vec<Address>,
    /// The members with a driver that keeps a virtual machine from getting the others.
    pub(super) used_by_host: Vec<Address>,
    /// Whether firmware uses memory with a member, so that no virtual machine gets the group.
    pub(super) is_reserved: bool,
}

/// What is read of one device alone.
#[derive(Debug)]
pub(super) struct Details {
    /// `None` where the kernel does not say.
    pub(super) resets: Option<Vec<ResetMethod>>,
    pub(super) sriov: Sriov,
    /// `None` for a bridge.
    pub(super) used: Option<DeviceUse>,
}

impl Bus {
    /// Reads the bus of a host.
    pub(super) fn read(host: &Host, stuck: StuckDevices) -> Result<Self, HostError> {
        let devices = Devices::read(host)?;
        let rule = ViabilityRule::of_host(host)?;
        let mut groups = Vec::new();
        for (number, members) in Groups::of(&devices).iter() {
            let keeps = |address: &&Address| {
                devices
                    .get(**address)
                    .is_some_and(|member| !rule.admits(member))
            };
            groups.push(Group {
                number,
                members: members.to_vec(),
                used_by_host: members.iter().filter(keeps).copied().collect(),
                is_reserved: reserved_regions(host, number)?
                    .iter()
                    .any(hosttune_pci::ReservedRegion::blocks),
            });
        }
        let mut used = hosttune_vfio::survey(host, &devices)?;
        let mut details = BTreeMap::new();
        for device in &devices {
            let address = device.address;
            let of_device = Details {
                resets: ResetMethod::of(host, address)?,
                sriov: Sriov::read(host, address)?,
                used: used.remove(&address),
            };
            details.insert(address, of_device);
        }
        Ok(Self {
            names: Names::read(host, devices.iter().map(|device| device.ids))?,
            iommu: Iommu::of_host(host)?,
            groups,
            details,
            devices,
            stuck,
        })
    }

    /// The devices that are in no IOMMU group.
    pub(super) fn ungrouped(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.group.is_none())
    }

    /// Whether there may be processes that this user may not see.
    pub(super) fn is_partial(&self) -> bool {
        let mut used = self.details.values().filter_map(|one| one.used.as_ref());
        used.any(|used| used.holders_are_partial)
    }
}

/// Prints the bus of the running host or of the tree beneath a directory.
pub(super) fn pci(
    root: Option<&Path>,
    as_json: bool,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let host = LinuxHost::at(root.unwrap_or(Path::new("/"))).map_err(Error::from)?;
    let stuck = match root {
        Some(_) => StuckDevices::NotRunning,
        None if rustix::process::geteuid().is_root() => StuckDevices::Known,
        None => StuckDevices::NeedRoot,
    };
    let host = Host::new(host);
    if let Some(root) = root
        && !host.exists(DEVICES).map_err(Error::from)?
    {
        // What was not captured is not the same as no device.
        return Err(Failure::from(Error::tuning(
            format!(
                "{} has no {DEVICES}: its PCI devices were not captured",
                root.display()
            ),
            "give a directory with a copy of the machine's /sys and /proc",
        )));
    }
    let bus = Bus::read(&host, stuck).map_err(Error::from)?;
    if as_json {
        streams.document(&json::bus(&bus))?;
    } else {
        let text = text::bus(streams.look, &bus);
        streams.print(&text);
    }
    Ok(Exit::Done)
}
