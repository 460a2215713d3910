//! Uses of a device that no link between the two shows.

use hosttune_core::host::FileContent;
use hosttune_pci::Devices;
use hosttune_pci::testing::Function;
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Consent, Lend, Role, survey};

use crate::support::{AUDIO, GPU, NIC, assess, at, gpu, host, lend_gpu, nic, nvme, refused, role};

const CONTROLLER: &str = "/sys/devices/pci0000:00/0000:00:01.2/0000:03:00.0/nvme/nvme0";
const MOUNTS: &str = "/proc/self/mountinfo";

/// A disk with one partition below a directory of sysfs, with the number of the partition.
fn disk(machine: Machine, above: &str, name: &str, number: &str) -> Machine {
    let disk = format!("{above}/{name}");
    let link = disk.replace("/sys/", "../../");
    machine
        .with_link(&format!("/sys/class/block/{name}"), &link)
        .with_link(
            &format!("/sys/class/block/{name}p1"),
            &format!("{link}/{name}p1"),
        )
        .with_file(&format!("{disk}/uevent"), &format!("DEVNAME={name}"))
        .with_file(&format!("{disk}/{name}p1/dev"), number)
}

fn desktop() -> Machine {
    disk(Machine::desktop(), CONTROLLER, "nvme0n1", "259:1")
}

fn lines(machine: &Machine) -> Vec<String> {
    refused(machine, &Lend::new([nvme()]))
}

#[track_caller]
fn says(machine: &Machine, part: &str) {
    let lines = lines(machine);
    assert!(
        lines.iter().any(|line| line.contains(part)),
        "{part:?} is not in {lines:#?}"
    );
}

#[test]
fn disks_that_a_file_system_has_beside_its_first_are_in_use() {
    assert_eq!(lines(&desktop()), [""; 0]);
    for (mount, said) in [
        (
            "25 1 0:33 / / rw shared:1 - bcachefs /dev/sda1:/dev/nvme0n1p1 rw",
            "the running system needs it: nvme0n1p1 belongs to the file system that is mounted at /",
        ),
        (
            "26 25 8:17 / /srv rw - xfs /dev/sdb1 rw,logdev=/dev/nvme0n1p1,noquota",
            "nvme0n1p1 belongs to the file system that is mounted at /srv",
        ),
        (
            "26 25 8:17 / /srv rw - xfs /dev/sdb1 rw,rtdev=/dev/disk/by-id/nvme-x-part1",
            "nvme0n1p1 belongs to the file system that is mounted at /srv",
        ),
    ] {
        let machine = desktop()
            .with_link("/dev/disk/by-id/nvme-x-part1", "../../nvme0n1p1")
            .with_file(MOUNTS, mount);
        says(&machine, said);
    }
    let journal = desktop().with_file("/proc/fs/jbd2/nvme0n1p1/info", "3 transactions");
    says(&journal, "nvme0n1p1 holds the journal of a file system");
    let inside = desktop().with_file("/proc/fs/jbd2/nvme0n1p1-8/info", "3 transactions");
    assert_eq!(lines(&inside), [""; 0]);
}

#[test]
fn loop_devices_and_zram_keep_a_disk_in_use() {
    let above = |name: &str| format!("../../devices/virtual/block/{name}");
    let zram = desktop()
        .with_link("/sys/class/block/zram0", &above("zram0"))
        .with_file(
            "/sys/devices/virtual/block/zram0/backing_dev",
            "/dev/nvme0n1p1\n",
        )
        .with_file(
            "/proc/swaps",
            "Filename\tType\tSize\n/dev/zram0 partition 1000",
        );
    says(&zram, "nvme0n1p1 is part of zram0");
    says(&zram, "the running system needs it: zram0 is swap");
    let none = zram.with_file("/sys/devices/virtual/block/zram0/backing_dev", "none\n");
    assert_eq!(lines(&none), [""; 0]);
    let backed = desktop()
        .with_link("/sys/class/block/loop0", &above("loop0"))
        .with_file("/sys/devices/virtual/block/loop0/dev", "7:0")
        .with_file(
            "/sys/devices/virtual/block/loop0/loop/backing_file",
            "/dev/nvme0n1p1\n",
        );
    let assessment = assess(&backed, &Lend::new([nvme()]));
    let hint = assessment.refusals[0].unsupported.hint.as_deref();
    assert_eq!(
        hint,
        Some("take it out of use first: losetup --detach /dev/loop0")
    );
    let mounted = backed.with_file(MOUNTS, "27 25 7:0 / /data rw - ext4 /dev/loop0 rw");
    says(&mounted, "loop0 is mounted at /data");
}

#[test]
fn a_disk_that_only_a_container_has_mounted_is_in_use() {
    let container = |namespace: &str| {
        desktop()
            .with_link("/proc/self/ns/mnt", "mnt:[4026531841]")
            .with_link("/proc/77/ns/mnt", namespace)
            .with_file("/proc/77/comm", "postgres\n")
            .with_file(
                "/proc/77/mountinfo",
                "25 1 259:1 / /var/lib/my\\040data rw - ext4 /dev/nvme0n1p1 rw\n",
            )
    };
    let machine = container("mnt:[4026532841]");
    says(
        &machine,
        "nvme0n1p1 is mounted at /var/lib/my data in the mount namespace of postgres (process 77)",
    );
    let assessment = assess(&machine, &Lend::new([nvme()]));
    let hint = assessment.refusals[0].unsupported.hint.clone().unwrap();
    assert!(
        hint.ends_with("nsenter --mount --target 77 umount '/var/lib/my data'"),
        "{hint}"
    );
    // The same namespace: its mounts are those of this process, which has none of the disk.
    assert_eq!(lines(&container("mnt:[4026531841]")), [""; 0]);
    // A service with mounts of its own sees the disk where this process does: it is said once.
    let both = container("mnt:[4026532841]").with_file(
        MOUNTS,
        "25 1 259:1 / /var/lib/data rw - ext4 /dev/nvme0n1p1 rw",
    );
    let said = lines(&both);
    assert!(
        said.len() == 1 && said[0].ends_with("nvme0n1p1 is mounted at /var/lib/data"),
        "{said:?}"
    );
    // umount --lazy, with a file that is open still.
    for open in [
        "/sys/fs/ext4/nvme0n1p1/mb_stats",
        "/sys/fs/xfs/nvme0n1p1/log/x",
    ] {
        says(
            &desktop().with_file(open, "0"),
            "nvme0n1p1 has an open file system",
        );
    }
}

/// An NVMe disk with multipath: the disk is below its subsystem, which links to its controllers.
fn multipath(machine: Machine, controller: &str) -> Machine {
    let subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0";
    let machine = machine
        .with_link(
            "/sys/class/nvme-subsystem/nvme-subsys0",
            &subsystem.replace("/sys/", "../../"),
        )
        .with_link(
            &format!("{subsystem}/nvme0"),
            &controller.replace("/sys/devices/", "../../../"),
        )
        .with_file(&format!("{subsystem}/ng0n1/uevent"), "DEVNAME=ng0n1");
    disk(machine, subsystem, "nvme0n1", "259:1")
}

#[test]
fn an_nvme_disk_with_multipath_that_a_program_has_open_is_in_use() {
    for file in ["/dev/nvme0n1", "/dev/ng0n1"] {
        let machine = multipath(Machine::desktop(), CONTROLLER);
        assert_eq!(lines(&machine), [""; 0]);
        machine
            .bus()
            .start_process(4242, "qemu-system-x86", &[file]);
        says(&machine, "it is in use by qemu-system-x86 (process 4242");
    }
}

/// Intel's VMD has the NVMe controller in a domain of its own.
#[test]
fn a_disk_with_multipath_behind_vmd_is_seen() {
    let vmd = "/sys/devices/pci0000:00/0000:00:0e.0";
    let controller = format!("{vmd}/pci10000:e0/10000:e0:06.0/10000:e1:00.0/nvme/nvme0");
    let machine =
        Machine::desktop().with(Function::new("0000:00:0e.0", "8086:a77f", "010400").group(9));
    let machine = multipath(machine, &controller)
        .with_file(MOUNTS, "25 1 259:1 / / rw - ext4 /dev/nvme0n1p1 rw");
    let lines = refused(&machine, &Lend::new([at("0000:00:0e.0", "8086:a77f")]));
    assert_eq!(
        lines,
        ["0000:00:0e.0: the running system needs it: nvme0n1p1 is mounted at /"]
    );
}

/// usbhid cuts maker and product at 127 bytes, in the middle of a character.
#[test]
fn a_name_that_is_not_utf8_hides_nothing() {
    let machine = Machine::desktop();
    let uevent =
        format!("/sys/devices/pci0000:00/0000:00:01.0/{GPU}/usb9/9-1/9-1:1.0/input/input9/uevent");
    let name = [
        b"NAME=\"\xe9\x94".to_vec(),
        b"\"\nDEVNAME=input/event9\n".to_vec(),
    ]
    .concat();
    let _ = machine
        .bus()
        .memory()
        .clone()
        .content(&uevent, FileContent::new(name));
    assert_eq!(refused(&machine, &lend_gpu()), [""; 0]);
    machine
        .bus()
        .start_process(4242, "evtest", &["/dev/input/event9"]);
    let lines = refused(&machine, &lend_gpu());
    assert!(lines.len() == 1 && lines[0].contains("evtest"), "{lines:?}");
    let devices = Devices::read(&host(&machine)).unwrap();
    let used = survey(&host(&machine), &devices).unwrap();
    assert_eq!(used[&GPU.parse().unwrap()].holders.len(), 1);
}

/// A vGPU is a mediated device below the card, with an IOMMU group of its own.
#[test]
fn a_mediated_device_that_a_guest_has_is_seen() {
    let machine = Machine::desktop().with_link(
        &format!(
            "/sys/devices/pci0000:00/0000:00:01.0/{GPU}/4b20d080-1b54-4048-85b3-a6a62d165c01/iommu_group"
        ),
        "../../../../../kernel/iommu_groups/33",
    );
    assert_eq!(refused(&machine, &lend_gpu()), [""; 0]);
    machine
        .bus()
        .start_process(4242, "qemu-system-x86", &["/dev/vfio/33"]);
    let lines = refused(&machine, &lend_gpu());
    assert!(
        lines.len() == 1 && lines[0].contains("process 4242, /dev/vfio/33"),
        "{lines:?}"
    );
}

/// A group can be opened once: another guest that has a member of it has the group.
#[test]
fn a_group_that_another_guest_has_is_not_lent() {
    let machine = Machine::new()
        .with(Function::new(GPU, "10de:2684", "030000").group(2))
        .with(Function::new(AUDIO, "10de:22ba", "040300").group(2))
        .with(Function::new(NIC, "8086:10d3", "020000").group(2));
    machine.bus().register("vfio-pci", Vec::new());
    let nic = format!("/sys/bus/pci/devices/{NIC}");
    machine
        .bus()
        .write(&format!("{nic}/driver_override"), "vfio-pci")
        .unwrap();
    machine
        .bus()
        .write("/sys/bus/pci/drivers_probe", NIC)
        .unwrap();
    let lend = Lend::new([gpu()]);
    assert_eq!(refused(&machine, &lend), [""; 0]);
    let (is, why) = role(&assess(&machine, &lend), NIC).unwrap();
    assert_eq!(is, Role::WithVfio);
    assert!(why.contains("one virtual machine"), "{why}");
    machine
        .bus()
        .start_process(4242, "qemu-system-x86", &["/dev/vfio/2"]);
    let lines = refused(&machine, &lend);
    assert!(
        lines.len() == 1 && lines[0].contains("process 4242, /dev/vfio/2"),
        "{lines:?}"
    );
}

/// A container has the interface: its directory is there and shows no name.
#[test]
fn an_interface_in_another_network_namespace_is_in_use() {
    let interfaces = format!("/sys/devices/pci0000:00/0000:00:01.1/{NIC}/net");
    let machine = Machine::desktop();
    let lend = Lend::new([nic()]);
    assert_eq!(refused(&machine, &lend), [""; 0]);
    machine.bus().memory().change(|tree| {
        tree.remove(format!("{interfaces}/eth0/flags"));
        tree.remove(format!("{interfaces}/eth0"));
    });
    let _ = machine.bus().memory().clone().directory(&interfaces);
    let lines = refused(&machine, &lend);
    assert!(
        lines.len() == 1 && lines[0].contains("in another network namespace"),
        "{lines:?}"
    );
    let devices = Devices::read(&host(&machine)).unwrap();
    let used = survey(&host(&machine), &devices).unwrap();
    assert!(!used[&NIC.parse().unwrap()].is_unused());
    let lend = lend.consent(Consent::NetworkConfiguration);
    assert_eq!(refused(&machine, &lend), [""; 0]);
}

/// nvidia_drm has no process, and the driver waits for it: the write to `unbind` would never return.
#[test]
fn a_card_that_nvidia_drm_has_open_is_refused() {
    let with_module = |version: &str, modeset: &str| {
        let machine = Machine::new()
            .with(Function::new(GPU, "10de:2684", "030000").group(2))
            .with_file("/sys/module/nvidia/version", version)
            .with_file("/sys/module/nvidia_drm/parameters/modeset", modeset);
        let ids = vec!["10de:2684".parse().unwrap()];
        machine.bus().register("nvidia", ids);
        refused(&machine, &lend_gpu())
    };
    let lines = with_module("550.90.07", "Y");
    assert!(
        lines.len() == 1 && lines[0].contains("driver 550.90.07 waits"),
        "{lines:?}"
    );
    assert_eq!(with_module("550.90.07", "N"), [""; 0]);
    assert_eq!(with_module("580.105.08", "Y"), [""; 0]);
}
