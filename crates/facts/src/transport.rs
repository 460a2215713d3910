//! How a disk is attached, derived from its position in the device tree.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a disk is attached.
///
/// It is displayed as its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Transport {
    /// NVM Express, over PCI or a network.
    Nvme,
    /// Serial or parallel ATA: a port of libata.
    Sata,
    /// SCSI over any other transport: SAS, Fibre Channel, iSCSI, `virtio-scsi`. This includes a SATA disk
    /// behind a SAS controller.
    Scsi,
    /// USB, as mass storage or UASP.
    Usb,
    /// `virtio-blk`.
    Virtio,
    /// MMC, eMMC and SD cards.
    Mmc,
    /// Xen's block device.
    Xen,
    /// Persistent memory.
    Pmem,
    /// A software device (loop, zram, device-mapper, md, null_blk).
    Virtual,
    /// Another transport, or one that cannot be determined.
    Unknown,
}

impl Transport {
    /// All transports.
    pub const ALL: [Self; 10] = [
        Self::Nvme,
        Self::Sata,
        Self::Scsi,
        Self::Usb,
        Self::Virtio,
        Self::Mmc,
        Self::Xen,
        Self::Pmem,
        Self::Virtual,
        Self::Unknown,
    ];

    /// Returns the name used in rules and in JSON.
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

    /// Returns the transport of a disk from its device path, which is the target of the link
    /// `/sys/block/NAME`.
    ///
    /// ```
    /// use hosttune_facts::Transport;
    ///
    /// let link = "../devices/pci0000:00/0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0/block/sdc";
    /// assert_eq!(Transport::of_device(link), Transport::Sata);
    /// ```
    pub fn of_device(path: &str) -> Self {
        let parents = path.rsplit_once('/').map_or("", |(parents, _)| parents);
        let mut nearest = NEAREST.len();
        for segment in parents.split('/') {
            // A match that ranks lower than the present one is ignored.
            let found = NEAREST[..nearest].iter().position(|(_, parents)| {
                let mut parents = parents.iter();
                parents.any(|parent| parent.is(segment))
            });
            nearest = found.unwrap_or(nearest);
        }
        NEAREST
            .get(nearest)
            .map_or(Self::Unknown, |(transport, _)| *transport)
    }

    /// Returns patterns for a disk's device path, in the syntax of fnmatch(3): it must match any of the
    /// first list and none of the second. An empty first list matches everything.
    pub fn patterns(self) -> (Vec<String>, Vec<String>) {
        let all = |places: &[(Self, &[Parent])]| -> Vec<String> {
            let parents = places.iter().flat_map(|(_, parents)| *parents);
            parents.map(Parent::pattern).collect()
        };
        match NEAREST.iter().position(|(transport, _)| *transport == self) {
            Some(place) => (all(&NEAREST[place..=place]), all(&NEAREST[..place])),
            None => (Vec::new(), all(&NEAREST)),
        }
    }

    /// Returns the transport from a disk's name, for a tree that was captured with its links followed. This
    /// is less exact than the link, since `sd` says nothing.
    pub fn of_name(name: &str) -> Self {
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

/// Name pattern of a directory above a disk.
#[derive(Debug, Clone, Copy)]
enum Parent {
    Is(&'static str),
    Begins(&'static str),
    /// Matches `usb3` but not `usbhid`. One digit is enough, and is what a shell pattern can check.
    Numbered(&'static str),
}

impl Parent {
    fn is(&self, segment: &str) -> bool {
        match self {
            Self::Is(name) => segment == *name,
            Self::Begins(name) => segment.starts_with(name),
            Self::Numbered(name) => segment
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(|one: char| one.is_ascii_digit())),
        }
    }

    fn pattern(&self) -> String {
        match self {
            Self::Is(name) => format!("*/{name}/*"),
            Self::Begins(name) => format!("*/{name}*/*"),
            Self::Numbered(name) => format!("*/{name}[0-9]*/*"),
        }
    }
}

/// Directories that identify a transport; the first match counts. A USB adapter contains a SCSI host, and a
/// USB card reader an MMC host. Likewise an ATA port contains a SCSI host, and a `virtio-scsi` controller
/// is a virtio device with a SCSI host in it.
///
/// They are ordered by kind and not by position in the path, so that a udev rule can test the same.
const NEAREST: [(Transport, &[Parent]); 9] = [
    (Transport::Usb, &[Parent::Numbered("usb")]),
    (
        Transport::Nvme,
        &[
            Parent::Is("nvme"),
            Parent::Is("nvme-subsystem"),
            Parent::Is("nvme-fabrics"),
        ],
    ),
    (Transport::Mmc, &[Parent::Is("mmc_host")]),
    (Transport::Pmem, &[Parent::Begins("ndbus")]),
    (Transport::Xen, &[Parent::Begins("vbd-")]),
    (Transport::Sata, &[Parent::Numbered("ata")]),
    (Transport::Scsi, &[Parent::Numbered("host")]),
    (Transport::Virtio, &[Parent::Numbered("virtio")]),
    (Transport::Virtual, &[Parent::Is("virtual")]),
];

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths as stock kernels show them.
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
