//! The disks, by what `/sys/block` shows of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::amount::Bytes;
use crate::device_path::DevicePath;
use crate::source::Source;

const DIRECTORY: &str = "/sys/block";

/// What is read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[
    DIRECTORY,
    "/sys/block/*",
    "/sys/block/*/hidden",
    "/sys/block/*/size",
    "/sys/block/*/removable",
    "/sys/block/*/queue/rotational",
    "/sys/block/*/device/model",
    "/sys/block/*/device/name",
    "/sys/block/*/device/type",
];

/// The size of what `size` counts, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// The SCSI peripheral device type of CD, DVD and Blu-ray drives (SPC-4, table 147).
const TYPE_ROM: u32 = 5;

/// A disk: of hardware, or of what a hypervisor shows as hardware.
///
/// What is made of other disks, of memory or of files (dm, md, zram, loop) is none, nor is a drive
/// of optical media, one without a medium, and one path of several to a disk that NVMe multipath
/// hides behind the disk itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The kernel's name, as in `nvme0n1`. It may be another disk's after the next boot.
    pub name: String,
    /// How it is attached.
    pub transport: Transport,
    /// Whether it says that it rotates. A virtio disk says so where the hypervisor does not know
    /// better.
    pub rotational: Option<bool>,
    /// Whether its medium can be taken out of it.
    pub removable: Option<bool>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The model, as it says itself; a virtio disk says none.
    pub model: Option<String>,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Transport {
    /// NVMe, over PCI Express or a network.
    Nvme,
    /// ATA by the kernel's libata: serial ATA, and the parallel one before it.
    Sata,
    /// SCSI that is neither ATA nor USB: SAS, Fibre Channel, iSCSI, a hypervisor's.
    Scsi,
    /// USB storage.
    Usb,
    /// virtio-blk.
    Virtio,
    /// An SD card or eMMC.
    Mmc,
    /// A Xen guest's block device.
    Xen,
    /// Anything else.
    Other,
}

impl Disk {
    /// All of them, by name; nothing where the kernel does not show them.
    pub(crate) fn all(source: Source<'_>) -> Option<Vec<Self>> {
        let names = source.names(DIRECTORY)?;
        Some(
            names
                .iter()
                .filter_map(|name| Self::named(source, name))
                .collect(),
        )
    }

    fn named(source: Source<'_>, name: &str) -> Option<Self> {
        let directory = format!("{DIRECTORY}/{name}");
        let target = source.link(&directory)?;
        let transport = transport(&DevicePath::new(&target))?;
        let size_bytes = source
            .number::<u64>(format!("{directory}/size"))
            .and_then(|sectors| sectors.checked_mul(SECTOR))
            .filter(|bytes| *bytes > 0)?;
        // `nvme0c1n1`: the disk `nvme0n1` by the controller 1. The kernel gives it no device node.
        if source.flag(format!("{directory}/hidden")) == Some(true) {
            return None;
        }
        let is_scsi = matches!(
            transport,
            Transport::Scsi | Transport::Sata | Transport::Usb
        );
        if is_scsi && source.number(format!("{directory}/device/type")) == Some(TYPE_ROM) {
            return None;
        }
        let model = match transport {
            // Its `device` says neither.
            Transport::Virtio | Transport::Xen => None,
            Transport::Mmc => source.value(format!("{directory}/device/name")),
            _ => source.value(format!("{directory}/device/model")),
        };
        Some(Self {
            name: crate::source::plain(name)?,
            transport,
            rotational: source.flag(format!("{directory}/queue/rotational")),
            removable: source.flag(format!("{directory}/removable")),
            size_bytes,
            model,
        })
    }
}

/// How a disk is attached, by the path of its device; nothing for what is no hardware.
///
/// The order counts: a USB disk is a SCSI disk behind a PCI controller, and one of virtio-scsi hangs
/// on a virtio device.
fn transport(path: &DevicePath<'_>) -> Option<Transport> {
    // The head of a multipath disk is beneath its subsystem, which is software.
    if path.has_numbered("nvme-subsys") || path.has("nvme") || path.has("nvme-fabrics") {
        return Some(Transport::Nvme);
    }
    if path.is_virtual() {
        return None;
    }
    Some(if path.has_numbered("usb") {
        Transport::Usb
    } else if path.has("mmc_host") {
        Transport::Mmc
    } else if path.has_numbered("ata") {
        Transport::Sata
    } else if path.has_numbered("host") {
        Transport::Scsi
    } else if path.has_numbered("virtio") {
        Transport::Virtio
    } else if path.has_beginning("vbd-") {
        Transport::Xen
    } else {
        Transport::Other
    })
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvme => "NVMe",
            Self::Sata => "SATA",
            Self::Scsi => "SCSI",
            Self::Usb => "USB",
            Self::Virtio => "virtio",
            Self::Mmc => "MMC",
            Self::Xen => "Xen",
            Self::Other => "other",
        })
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, {}",
            self.name,
            Bytes(self.size_bytes),
            self.transport
        )?;
        if let Some(model) = &self.model {
            write!(f, ", {model}")?;
        }
        match self.rotational {
            Some(true) => f.write_str(", rotational")?,
            Some(false) => f.write_str(", not rotational")?,
            None => {}
        }
        if self.removable == Some(true) {
            f.write_str(", removable")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_transport() {
        let pci = "../devices/pci0000:00";
        for (path, expected) in [
            (
                "0000:00:10.2/0000:05:00.0/nvme/nvme0/nvme0c0n1",
                Some(Transport::Nvme),
            ),
            ("0000:00:06.0/nvme/nvme0/nvme0n1", Some(Transport::Nvme)),
            (
                "0000:00:05.0/virtio4/host0/target0:0:0/0:0:0:0/block/sda",
                Some(Transport::Scsi),
            ),
            (
                "0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0/block/sdb",
                Some(Transport::Sata),
            ),
            (
                "0000:00:14.0/usb2/2-1/2-1:1.0/host2/target2:0:0/2:0:0:0/block/sdc",
                Some(Transport::Usb),
            ),
            ("0000:00:06.0/virtio5/block/vda", Some(Transport::Virtio)),
            (
                "0000:00:1c.0/0000:01:00.0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0",
                Some(Transport::Mmc),
            ),
            ("0000:00:01.0/strange/block/xyz", Some(Transport::Other)),
        ] {
            let path = format!("{pci}/{path}");
            assert_eq!(transport(&DevicePath::new(&path)), expected, "{path}");
        }
        for (path, expected) in [
            ("../devices/vbd-51712/block/xvda", Some(Transport::Xen)),
            (
                "../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
                Some(Transport::Nvme),
            ),
            ("../devices/virtual/block/zram0", None),
            ("../devices/virtual/block/dm-0", None),
        ] {
            assert_eq!(transport(&DevicePath::new(path)), expected, "{path}");
        }
    }
}
