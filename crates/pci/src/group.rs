//! IOMMU groups: what the hardware keeps apart, and whether a group can be given to a user.

use std::collections::BTreeMap;
use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::attribute::is_absent;
use crate::device::Device;
use crate::devices::Devices;

const GROUPS: &str = "/sys/kernel/iommu_groups";
const IOMMUS: &str = "/sys/class/iommu";
const ACPI_TABLES: &str = "/sys/firmware/acpi/tables";

/// The IOMMU groups of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Groups(BTreeMap<u32, Vec<Address>>);

impl Groups {
    /// The groups of these devices.
    #[must_use]
    pub fn of(devices: &Devices) -> Self {
        let mut groups: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
        for device in devices {
            if let Some(number) = device.group {
                groups.entry(number).or_default().push(device.address);
            }
        }
        Self(groups)
    }

    /// The members of a group by address; empty if there is no such group.
    #[must_use]
    pub fn members(&self, number: u32) -> &[Address] {
        self.0.get(&number).map_or(&[], Vec::as_slice)
    }

    /// All groups by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[Address])> {
        self.0
            .iter()
            .map(|(number, members)| (*number, members.as_slice()))
    }
}

/// The kernel's rule for the drivers that the members of a group may have while a user owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ViabilityRule {
    /// Since Linux 5.19: drivers with `driver_managed_dma` (vfio drivers, pci-stub, pcieport).
    ManagedDma,
    /// Before Linux 5.19: vfio drivers and pci-stub, and every bridge whatever its driver is.
    Bridges,
}

impl ViabilityRule {
    /// The rule of a kernel, from the text in `/proc/sys/kernel/osrelease`. `None` if the text does
    /// not begin with two numbers.
    #[must_use]
    pub fn of_release(release: &str) -> Option<Self> {
        let mut numbers = release.trim().split(['.', '-', '+', '~']);
        let mut next = || numbers.next()?.parse::<u32>().ok();
        let version = (next()?, next()?);
        Some(if version >= (5, 19) {
            Self::ManagedDma
        } else {
            Self::Bridges
        })
    }

    /// The rule of the running kernel; the newer one if the release is unknown.
    ///
    /// # Errors
    /// If the release exists and cannot be read.
    pub fn of_host(host: &Host) -> Result<Self, HostError> {
        let release = match host.read_text("/proc/sys/kernel/osrelease") {
            Ok(release) => release,
            Err(error) if is_absent(&error) => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Self::of_release(&release).unwrap_or(Self::ManagedDma))
    }

    /// Whether a member of the group is no obstacle for a user of the group.
    #[must_use]
    pub fn admits(self, member: &Device) -> bool {
        let Some(driver) = &member.driver else {
            return true;
        };
        let managed = is_vfio_driver(driver) || driver == "pci-stub";
        managed
            || match self {
                Self::ManagedDma => driver == "pcieport",
                Self::Bridges => member.has_bus_below,
            }
    }
}

/// Whether a driver gives its devices to user space through VFIO: `vfio-pci` and the drivers of
/// single vendors, which are named like `mlx5_vfio_pci` and `nvgrace-gpu-vfio-pci`.
#[must_use]
pub fn is_vfio_driver(name: &str) -> bool {
    let name = name.replace('_', "-");
    name == "vfio-pci" || name.ends_with("-vfio-pci") || name.starts_with("vfio-pci-")
}

/// A range of addresses that the IOMMU must map in a group, from `reserved_regions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReservedRegion {
    /// The first address.
    pub start: u64,
    /// The last address.
    pub end: u64,
    /// `direct`, `direct-relaxable`, `reserved`, `msi`.
    pub kind: String,
}

impl ReservedRegion {
    /// Parses the lines of `reserved_regions`, such as
    /// `0x00000000fee00000 0x00000000feefffff msi`. Other lines are left out.
    #[must_use]
    pub fn parse(text: &str) -> Vec<Self> {
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
            let (start, end) = (number()?, number()?);
            Some(Self {
                start,
                end,
                kind: words.next()?.to_owned(),
            })
        };
        text.lines().filter_map(line).collect()
    }

    /// Whether firmware uses this range with the device, so that the kernel gives the device to no
    /// user. A `direct-relaxable` range may be given up.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.kind == "direct"
    }
}

/// The reserved regions of a group; empty if the kernel does not show them.
///
/// # Errors
/// If the file exists and cannot be read.
pub fn reserved_regions(host: &Host, group: u32) -> Result<Vec<ReservedRegion>, HostError> {
    match host.read_text(format!("{GROUPS}/{group}/reserved_regions")) {
        Ok(text) => Ok(ReservedRegion::parse(&text)),
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether the kernel uses an IOMMU, and if not, the likely reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Iommu {
    /// It does.
    Active,
    /// The firmware describes an Intel IOMMU, but the kernel does not use it.
    IntelOff,
    /// The firmware describes an AMD IOMMU, but the kernel does not use it.
    AmdOff,
    /// The firmware describes none: it is switched off there, or the machine has none.
    NotInFirmware,
    /// The tables of the firmware cannot be seen.
    Unknown,
}

impl Iommu {
    /// Looks for active IOMMUs, and else for the firmware's description of one.
    ///
    /// # Errors
    /// If a directory exists and cannot be listed.
    pub fn of_host(host: &Host) -> Result<Self, HostError> {
        let list = |path: &str| match host.list(path) {
            Ok(names) => Ok(Some(names)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        };
        let is_active = match list(IOMMUS)? {
            Some(names) => !names.is_empty(),
            // The kernel always has the directory; a tree may be captured without it. There are no groups
            // without an IOMMU.
            None => list(GROUPS)?.is_some_and(|groups| !groups.is_empty()),
        };
        if is_active {
            return Ok(Self::Active);
        }
        let Some(tables) = list(ACPI_TABLES)? else {
            return Ok(Self::Unknown);
        };
        let has = |name: &str| tables.iter().any(|table| table == name);
        Ok(if has("DMAR") {
            Self::IntelOff
        } else if has("IVRS") {
            Self::AmdOff
        } else if host.root_kind() == RootKind::Image || tables.is_empty() {
            Self::Unknown
        } else {
            Self::NotInFirmware
        })
    }

    /// What to do about it; `None` if it is active.
    #[must_use]
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::Active => None,
            Self::IntelOff => Some(
                "the firmware has VT-d switched on: add intel_iommu=on to the kernel command line and reboot",
            ),
            Self::AmdOff => Some(
                "the firmware has the IOMMU switched on: remove amd_iommu=off or iommu=off from the kernel command line and reboot",
            ),
            Self::NotInFirmware => Some(
                "switch VT-d (Intel), AMD-Vi or IOMMU (AMD) on in the firmware's setup, which often is a different switch than the one for virtualization; a virtual machine has one only if it is given one, by QEMU with -device intel-iommu",
            ),
            Self::Unknown => Some(
                "switch the IOMMU on in the firmware's setup; on Intel add intel_iommu=on to the kernel command line",
            ),
        }
    }
}

impl fmt::Display for Iommu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "the kernel uses an IOMMU",
            Self::IntelOff => "the kernel does not use the Intel IOMMU that the firmware describes",
            Self::AmdOff => "the kernel does not use the AMD IOMMU that the firmware describes",
            Self::NotInFirmware => "the firmware describes no IOMMU",
            Self::Unknown => "the kernel uses no IOMMU",
        })
    }
}
