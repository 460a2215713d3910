//! What a disk is attached by, as its place in the tree of devices shows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a disk is attached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Transport {
    /// NVM Express, by PCI or by a network.
    Nvme,
    /// Serial ATA, or parallel: a port of libata.
    Sata,
    /// SCSI by anything that is not named here: SAS, Fibre Channel, iSCSI, `virtio-scsi`. A SATA
    /// disk behind a SAS controller is one.
    Scsi,
    /// USB, whether as mass storage or by UASP.
    Usb,
    /// `virtio-blk`.
    Virtio,
    /// MMC, eMMC and SD cards.
    Mmc,
    /// Xen's block device.
    Xen,
    /// Persistent memory.
    Pmem,
    /// None: it is made by software (loop, zram, device-mapper, md, null_blk).
    Virtual,
    /// Anything else, or nothing tells.
    Unknown,
}

impl Transport {
    /// Its name, as in rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Sata => "sata",
            Self::Scsi => "scsi",
            Self::Usb => "usb",
            Self::Virtio => "virtio",
            Self::Mmc => "mmc",
            Self::Xen => "xen",
            Self::Pmem => "pmem",
            Self::Virtual => "virtual",
            Self::Unknown => "unknown",
        }
    }

    /// From where a disk stands: what `/sys/block/NAME` is a link to.
    ///
    /// The order of the questions is the order of nearness: an USB adapter shows a SCSI host, and so
    /// does an ATA port; a `virtio-scsi` controller is a virtio device with a SCSI host in it.
    pub(crate) fn of_device(path: &str) -> Self {
        let mut host = false;
        let mut ata = false;
        let mut virtio = false;
        for segment in path.split('/') {
            match segment {
                "nvme" | "nvme-subsystem" | "nvme-fabrics" => return Self::Nvme,
                "mmc_host" => return Self::Mmc,
                _ if is_numbered(segment, "usb") => return Self::Usb,
                _ if segment.starts_with("ndbus") => return Self::Pmem,
                _ if segment.starts_with("vbd-") => return Self::Xen,
                _ => {}
            }
            host |= is_numbered(segment, "host");
            ata |= is_numbered(segment, "ata");
            virtio |= is_numbered(segment, "virtio");
        }
        match (ata, host, virtio) {
            (true, ..) => Self::Sata,
            (_, true, _) => Self::Scsi,
            (.., true) => Self::Virtio,
            _ if path.split('/').any(|segment| segment == "virtual") => Self::Virtual,
            _ => Self::Unknown,
        }
    }

    /// From its name, where a tree was captured with its links followed: less than the link tells,
    /// as `sd` says nothing.
    pub(crate) fn of_name(name: &str) -> Self {
        let of = [
            ("nvme", Self::Nvme),
            ("vd", Self::Virtio),
            ("mmcblk", Self::Mmc),
            ("xvd", Self::Xen),
            ("pmem", Self::Pmem),
        ];
        let found = of.iter().find(|(driver, _)| name.starts_with(driver));
        found.map_or(Self::Unknown, |(_, transport)| *transport)
    }
}

/// `usb3` is, `usbhid` is not.
fn is_numbered(segment: &str, word: &str) -> bool {
    segment.strip_prefix(word).is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As stock kernels show them.
    #[test]
    fn where_a_disk_stands_tells_what_it_is_attached_by() {
        for (path, transport) in [
            (
                "../devices/pci0000:00/0000:00:10.2/0000:05:00.0/nvme/nvme0/nvme0c0n1",
                Transport::Nvme,
            ),
            (
                "../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
                Transport::Nvme,
            ),
            (
                "../devices/virtual/nvme-fabrics/ctl/nvme1/nvme1n1",
                Transport::Nvme,
            ),
            (
                "../devices/pci0000:00/0000:00:05.0/virtio4/host0/target0:0:1/0:0:1:0/block/sda",
                Transport::Scsi,
            ),
            (
                "../devices/pci0000:00/0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0/block/sdc",
                Transport::Sata,
            ),
            (
                "../devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdd",
                Transport::Usb,
            ),
            (
                "../devices/pseudo_0/adapter0/host7/target7:0:0/7:0:0:0/block/sdd",
                Transport::Scsi,
            ),
            (
                "../devices/pci0000:00/0000:00:06.0/virtio5/block/vda",
                Transport::Virtio,
            ),
            (
                "../devices/pci0000:00/0000:00:1a.0/mmc_host/mmc0/mmc0:0001/block/mmcblk0",
                Transport::Mmc,
            ),
            ("../devices/vbd-51712/block/xvda", Transport::Xen),
            (
                "../devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0012:00/ndbus0/region0/namespace0.0/block/pmem0",
                Transport::Pmem,
            ),
            ("../devices/virtual/block/loop0", Transport::Virtual),
            ("../devices/platform/floppy.0/block/fd0", Transport::Unknown),
        ] {
            assert_eq!(Transport::of_device(path), transport, "{path}");
        }
    }
}
