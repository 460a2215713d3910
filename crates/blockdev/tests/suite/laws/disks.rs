//! Reading disks.

use hosttune_blockdev::device::{DeviceError, find};
use hosttune_blockdev::testing::Linux;
use hosttune_blockdev::{Disk, DiskKind, Facts, Transport};
use hosttune_core::testing::Memory;

use super::support::{host, memory};

#[test]
fn a_disk_is_read_with_all_that_the_kernel_shows() {
    let disks = Disk::all(&host(&memory(Linux::V7_2))).unwrap();
    let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "dm-0",
            "loop0",
            "nvme0n1",
            "nvme1c0n1",
            "nvme1n1",
            "sda",
            "sdb"
        ]
    );
    let sda = &disks[5];
    assert_eq!(sda.kind, DiskKind::Disk);
    assert_eq!(sda.transport, Transport::Sata);
    assert_eq!(sda.rotational, Some(true));
    assert_eq!(sda.size, Some(64 << 20));
    assert_eq!(sda.model.as_deref(), Some("QEMU HARDDISK"));
    assert_eq!(sda.wwid.as_deref(), Some("t10.ATA     QEMU HARDDISK 2"));
    assert_eq!(sda.diskseq, Some(2));
    assert_eq!(sda.by_id, ["ata-ROTATING"]);
    assert_eq!(sda.bio_based, Some(false));
    assert_eq!(disks[0].bio_based, Some(true));
    assert_eq!(disks[0].model, None);
    let head = &disks[4];
    assert_eq!(head.paths, [disks[3].name.clone()]);
    assert_eq!(head.transport, Transport::Nvme);
    assert_eq!(disks[3].kind, DiskKind::Path);
    let again: Vec<Disk> = serde_json::from_str(&serde_json::to_string(&disks).unwrap()).unwrap();
    assert_eq!(again, disks);
}

/// A fact is unknown if its file is missing or malformed.
#[test]
fn what_is_missing_is_not_known() {
    let memory = memory(Linux::V6_1);
    memory.change(|tree| {
        let queue = "/sys/devices/pci0000:00/0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0/block/sda";
        for file in ["queue/rotational", "size", "device/model", "wwid", "uevent"] {
            tree.remove(format!("{queue}/{file}"));
        }
        tree.set(format!("{queue}/size"), "nonsense");
    });
    let disks = Disk::all(&host(&memory)).unwrap();
    let sda = disks
        .iter()
        .find(|disk| disk.name.as_str() == "sda")
        .unwrap();
    assert_eq!(
        (sda.rotational, sda.size, &sda.model, &sda.wwid, sda.diskseq),
        (None, None, &None, &None, None)
    );
    assert!(Disk::all(&host(&Memory::new())).unwrap().is_empty());
    // Facts that are not requested are not read.
    let disks = Disk::survey(&host(&memory), Facts::default()).unwrap();
    assert!(
        disks
            .iter()
            .all(|disk| disk.size.is_none() && disk.by_id.is_empty())
    );
}

#[test]
fn a_device_is_found_by_any_of_its_names() {
    let host = host(&memory(Linux::V7_2));
    for device in [
        "/dev/sda",
        "sda",
        "/dev/disk/by-id/ata-ROTATING",
        "/dev/./disk/../sda",
    ] {
        assert_eq!(find(&host, device).unwrap().as_str(), "sda", "{device}");
    }
}

#[test]
fn a_partition_names_its_disk_and_what_is_no_block_device_is_an_error() {
    let host = host(&memory(Linux::V7_2));
    for device in ["/dev/sda1", "/dev/disk/by-id/ata-ROTATING-part1"] {
        let error = find(&host, device).unwrap_err();
        assert!(
            matches!(&error, DeviceError::Partition { disk, .. } if disk.as_str() == "sda"),
            "{error:?}"
        );
        assert!(error.to_string().contains(device));
        assert_eq!(error.hint().as_deref(), Some("use /dev/sda"));
    }
    for device in [
        "/dev/null",
        "/etc/passwd",
        "/dev",
        "/",
        "",
        "..",
        "/dev/sdz",
        "/dev/sda/x",
        "../../etc",
    ] {
        let error = find(&host, device).unwrap_err();
        assert!(
            matches!(error, DeviceError::NoBlockDevice { .. }),
            "{device}: {error:?}"
        );
        assert!(error.hint().is_some());
    }
}
