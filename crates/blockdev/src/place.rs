//! Whether a disk is hardware, decided by its place in the device tree.
//!
//! A list of the names of software devices would not work: zvols, bcache, ublk, nbd and out-of-tree
//! drivers (scini) each have their own name, and the next one would be missing. A device without a
//! bus device above it is beneath `/devices/virtual`, whatever its name.

use hosttune_facts::Transport;

/// Transports that are a hardware bus, or a hypervisor's equivalent.
const BUSES: [Transport; 7] = [
    Transport::Usb,
    Transport::Nvme,
    Transport::Mmc,
    Transport::Xen,
    Transport::Sata,
    Transport::Scsi,
    Transport::Virtio,
];

/// Roots of firmware and machine buses, for disks of drivers whose transport has no name here:
/// DASD, memory sticks, old RAID controllers. Drivers without hardware have a root of their own
/// instead: `rbd`, `dcssblk`.
const ROOTS: [&str; 11] = [
    "pci", "platform", "LNXSYSTM", "css", "soc", "amba", "pnp", "isa", "vio", "channel", "ps3_",
];

/// Prefixes of directory names of memory and raw flash on such a bus: block devices, but not disks.
const NO_DISKS: [&str; 2] = ["ndbus", "mtd"];

/// Whether the target of the link `/sys/block/NAME` is hardware.
pub(crate) fn is_hardware(device: &str) -> bool {
    let mut parents: Vec<&str> = device
        .split('/')
        .skip_while(|segment| *segment != "devices")
        .skip(1)
        .collect();
    parents.pop();
    let begins =
        |segment: &str, all: &[&str]| all.iter().any(|beginning| segment.starts_with(beginning));
    if parents.iter().any(|segment| begins(segment, &NO_DISKS)) {
        return false;
    }
    BUSES.contains(&Transport::of_device(device))
        || parents.first().is_some_and(|root| begins(root, &ROOTS))
}

/// The same by name, for a tree captured with its links followed. Only names that are hardware in
/// every kernel count; a disk with any other name is not known to be hardware.
pub(crate) fn is_hardware_name(name: &str) -> bool {
    BUSES.contains(&Transport::of_name(name))
        || ["sd", "hd", "dasd"]
            .iter()
            .any(|driver| name.starts_with(driver))
}

/// Whether every disk of a transport is on a bus.
pub(crate) fn is_bus(transport: Transport) -> bool {
    BUSES.contains(&transport)
}

/// The same test as fnmatch(3) patterns for the path from `/devices` on: it has to match any of the
/// first list and none of the second.
pub(crate) fn patterns() -> (Vec<String>, Vec<String>) {
    let buses = BUSES.iter().flat_map(|bus| bus.patterns().0);
    let roots = ROOTS.iter().map(|root| format!("/devices/{root}*/*"));
    let no_disks = NO_DISKS.iter().map(|beginning| format!("*/{beginning}*/*"));
    (buses.chain(roots).collect(), no_disks.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_is_what_stands_on_a_bus() {
        for device in [
            "../devices/pci0000:00/0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0/block/sda",
            "../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
            "../devices/virtual/nvme-fabrics/ctl/nvme1/nvme1n1",
            "../devices/vbd-51712/block/xvda",
            "../devices/pseudo_0/adapter0/host7/target7:0:0/7:0:0:0/block/sdd",
            "../devices/css0/0.0.0001/0.0.1234/block/dasda",
            "../devices/pci0000:00/0000:00:05.0/cciss0/c0d0/block/cciss!c0d0",
            "../devices/platform/soc/fe340000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0",
        ] {
            assert!(is_hardware(device), "{device}");
        }
        for device in [
            "../devices/virtual/block/zd0",
            "../devices/virtual/block/bcache0",
            "../devices/virtual/block/ublkb0",
            "../devices/virtual/block/nbd0",
            "../devices/virtual/block/scinia",
            "../devices/virtual/block/etherd!e0.0",
            "../devices/virtual/block/nullb0",
            "../devices/rbd/0/block/rbd0",
            "../devices/dcssblk/ONE/block/dcssblk0",
            "../devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0012:00/ndbus0/region0/namespace0.0/block/pmem0",
            "../devices/platform/e820_pmem/ndbus0/region0/namespace0.0/block/pmem0",
            "../devices/pci0000:00/0000:00:1f.5/spi_master/spi0/spi0.0/mtd/mtd0/mtdblock0",
            "../devices/virtual/mtd/mtd1/mtdblock1",
            "zd0",
            "",
        ] {
            assert!(!is_hardware(device), "{device}");
        }
        assert!(is_hardware_name("sdaa") && is_hardware_name("nvme0n1"));
        assert!(!is_hardware_name("zd0") && !is_hardware_name("pmem0"));
        assert!(!is_hardware_name("scinia"));
    }
}
