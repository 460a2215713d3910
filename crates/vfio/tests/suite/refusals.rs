//! Each reason for which a lend is refused.

use hosttune_core::testing::Memory;
use hosttune_core::{Error, Tuning};
use hosttune_pci::testing::{Bus, Function};
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Consent, Lend};

use crate::support::{
    AUDIO, GPU, NIC, assess, at, driver, gpu, lend_gpu, nic, nvme, refused, session,
};

const MOUNTS: &str = "/proc/self/mountinfo";

/// The disk of the desktop with a partition, as sysfs shows it without multipath.
fn with_disk(machine: Machine) -> Machine {
    let disk = "/sys/devices/pci0000:00/0000:00:01.2/0000:03:00.0/nvme/nvme0/nvme0n1";
    machine
        .with_link("/sys/class/block/nvme0n1", &disk.replace("/sys/", "../../"))
        .with_link(
            "/sys/class/block/nvme0n1p1",
            &format!("{}/nvme0n1p1", disk.replace("/sys/", "../../")),
        )
        .with_file(&format!("{disk}/dev"), "259:0")
        .with_file(&format!("{disk}/nvme0n1p1/dev"), "259:1")
}

fn only(lines: &[String], part: &str) {
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(part), "{lines:?}");
}

/// Nothing is planned, each reason is in the error, and nothing is changed.
#[test]
fn a_refused_lend_is_an_error_and_changes_nothing() {
    let machine = Machine::desktop();
    let before = hosttune_core::testing::World::snapshot(&machine);
    let lend = Lend::new([gpu(), at("0000:09:00.0", "8086:10d3")]);
    let error = lend.apply(&mut session(&machine)).unwrap_err();
    let Error::NotApplicable(findings) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(
        error.to_string().contains("no PCI device at 0000:09:00.0"),
        "{error}"
    );
    let hint = error.hint().unwrap();
    for part in ["--consent only-gpu", "8086:10d3@0000:02:00.0"] {
        assert!(hint.contains(part), "{hint}");
    }
    assert_eq!(hosttune_core::testing::World::snapshot(&machine), before);
    assert!(hosttune_core::testing::World::store(&machine).is_empty());
}

#[test]
fn a_mounted_disk_is_refused() {
    let lend = Lend::new([nvme()]);
    let mounted = |line: &str| {
        refused(
            &with_disk(Machine::desktop()).with_file(MOUNTS, line),
            &lend,
        )
    };
    assert_eq!(refused(&with_disk(Machine::desktop()), &lend), [""; 0]);
    let root = "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw";
    only(
        &mounted(root),
        "the running system needs it: nvme0n1p1 is mounted at /",
    );
    let data = "40 22 259:1 / /mnt/my\\040data rw - ext4 /dev/nvme0n1p1 rw";
    only(&mounted(data), "nvme0n1p1 is mounted at /mnt/my data");
    // btrfs shows a number of its own, and the name of the disk.
    let btrfs = "22 1 0:25 /root / rw - btrfs /dev/nvme0n1p1 rw";
    only(&mounted(btrfs), "mounted at /");
    // Another disk.
    assert_eq!(mounted("22 1 8:1 / / rw - ext4 /dev/sda1 rw"), [""; 0]);
    let machine = with_disk(Machine::desktop()).with_file(MOUNTS, root);
    let consented = lend.clone().consent(Consent::VitalDisk);
    assert_eq!(refused(&machine, &consented), [""; 0]);
    // No consent for what can be unmounted.
    let machine = with_disk(Machine::desktop()).with_file(MOUNTS, data);
    assert_eq!(refused(&machine, &consented).len(), 1);
}

#[test]
fn swap_device_mapper_and_multipath_are_followed() {
    let lend = Lend::new([nvme()]);
    let swap = "Filename\tType\tSize\n/dev/nvme0n1p1 partition 1000";
    let machine = with_disk(Machine::desktop()).with_file("/proc/swaps", swap);
    only(&refused(&machine, &lend), "nvme0n1p1 is swap");
    // LUKS on the partition holds root.
    let disk = "/sys/devices/pci0000:00/0000:00:01.2/0000:03:00.0/nvme/nvme0/nvme0n1";
    let mapped = with_disk(Machine::desktop())
        .with_link(
            &format!("{disk}/nvme0n1p1/holders/dm-0"),
            "/sys/devices/virtual/block/dm-0",
        )
        .with_link("/sys/class/block/dm-0", "../../devices/virtual/block/dm-0")
        .with_file("/sys/devices/virtual/block/dm-0/dev", "254:0")
        .with_file("/sys/devices/virtual/block/dm-0/dm/name", "root")
        .with_file(MOUNTS, "22 1 254:0 / / rw - ext4 /dev/mapper/root rw");
    let lines = refused(&mapped, &lend);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("nvme0n1p1 is part of dm-0")),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("dm-0 is mounted at /")),
        "{lines:?}"
    );
    // The disk is below its subsystem and not below the controller.
    let head = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1";
    let multipath = Machine::desktop()
        .with_link(
            "/sys/class/nvme-subsystem/nvme-subsys0",
            "../../devices/virtual/nvme-subsystem/nvme-subsys0",
        )
        .with_link(
            "/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0",
            "../../../pci0000:00/0000:00:01.2/0000:03:00.0/nvme/nvme0",
        )
        .with_link("/sys/class/block/nvme0n1", &head.replace("/sys/", "../../"))
        .with_file(&format!("{head}/dev"), "259:0")
        .with_file(MOUNTS, "22 1 259:0 / /usr rw - ext4 /dev/nvme0n1 rw");
    only(&refused(&multipath, &lend), "nvme0n1 is mounted at /usr");
    // A second disk of a file system that shows only the first.
    let btrfs = with_disk(Machine::desktop())
        .with_link(
            "/sys/fs/btrfs/0b1c/devices/sda1",
            "../../../../devices/sda1",
        )
        .with_link(
            "/sys/fs/btrfs/0b1c/devices/nvme0n1p1",
            "../../../../devices/nvme0n1p1",
        )
        .with_file(MOUNTS, "22 1 0:25 / /home rw - btrfs /dev/sda1 rw");
    let lines = refused(&btrfs, &lend);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("sda1 is mounted at /home")),
        "{lines:?}"
    );
    let zfs = with_disk(Machine::desktop()).with_file("/proc/spl/kstat/zfs/tank/state", "ONLINE");
    let lines = refused(&zfs, &lend);
    assert!(
        lines
            .iter()
            .all(|line| line.contains("may be part of a ZFS pool")),
        "{lines:?}"
    );
    assert_eq!(refused(&zfs, &lend.consent(Consent::VitalDisk)), [""; 0]);
}

#[test]
fn a_network_card_in_use_is_refused() {
    let machine = || {
        Machine::desktop().with_link(
            "/sys/class/net/eth0",
            "/sys/bus/pci/devices/0000:02:00.0/net/eth0",
        )
    };
    let up = || {
        let machine = machine();
        machine
            .bus()
            .write("/sys/bus/pci/devices/0000:02:00.0/net/eth0/flags", "0x1003")
            .unwrap();
        machine
    };
    let lend = Lend::new([nic()]);
    assert_eq!(refused(&machine(), &lend), [""; 0]);
    only(&refused(&up(), &lend), "its interface eth0 is up");
    let configuration = lend.clone().consent(Consent::NetworkConfiguration);
    assert_eq!(refused(&up(), &configuration), [""; 0]);
    // The root of a machine without disks.
    for (mount, link) in [
        ("22 1 0:30 / / rw - nfs4 10.0.0.1:/srv/root rw", "x"),
        ("22 1 43:1 / / rw - ext4 /dev/nbd0p1 rw", "x"),
        (
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw",
            "../../devices/platform/host6/session1/target6:0:0/6:0:0:1/block/sda/sda1",
        ),
    ] {
        let machine = || {
            up().with_link("/sys/class/block/sda1", link)
                .with_file(MOUNTS, mount)
        };
        only(
            &refused(&machine(), &configuration),
            "over the network, perhaps through its interface eth0",
        );
        let consented = configuration.clone().consent(Consent::VitalDisk);
        assert_eq!(refused(&machine(), &consented), [""; 0]);
    }
    let local = up().with_file(MOUNTS, "40 22 0:30 / /media rw - nfs4 10.0.0.1:/srv rw");
    assert_eq!(refused(&local, &configuration), [""; 0]);
    let header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT";
    let route = |name: &str| {
        format!("{header}\n{name}\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0")
    };
    let routed = up().with_file("/proc/net/route", &route("eth0"));
    only(
        &refused(&routed, &configuration),
        "the default route leads through its interface eth0",
    );
    // Through a bridge on top of it.
    let bridged = up().with_file("/proc/net/route", &route("br0")).with_link(
        "/sys/devices/pci0000:00/0000:00:01.1/0000:02:00.0/net/eth0/upper_br0",
        "../br0",
    );
    only(&refused(&bridged, &configuration), "eth0 (below br0)");
    assert_eq!(
        refused(&bridged, &lend.consent(Consent::DefaultRoute)),
        [""; 0]
    );
}

#[test]
fn the_only_display_is_refused() {
    only(
        &refused(&Machine::desktop(), &Lend::new([gpu()])),
        "the only monitor is connected to it",
    );
    // The other one has a monitor too.
    let machine = Machine::desktop();
    machine
        .bus()
        .write(
            "/sys/bus/pci/devices/0000:00:02.0/drm/card1/card1-DP-1/status",
            "connected",
        )
        .unwrap();
    assert_eq!(refused(&machine, &Lend::new([gpu()])), [""; 0]);
    // The other one has no driver. It is not of class 0300, and counts as a display all the same.
    let machine = Machine::desktop();
    machine
        .bus()
        .write(
            "/sys/bus/pci/devices/0000:00:02.0/driver/unbind",
            "0000:00:02.0",
        )
        .unwrap();
    only(
        &refused(&machine, &Lend::new([gpu()])),
        "the only display controller with a driver",
    );
    let machine = Machine::desktop();
    machine
        .bus()
        .write("/sys/bus/pci/devices/0000:01:00.0/driver/unbind", GPU)
        .unwrap();
    only(
        &refused(&machine, &Lend::new([at("0000:00:02.0", "8086:4680")])),
        "the only display controller",
    );
    // Without a driver it shows nothing now.
    assert_eq!(refused(&machine, &Lend::new([gpu()])), [""; 0]);
}

#[test]
fn programs_that_have_it_open_are_named_and_not_killed() {
    let machine = Machine::desktop();
    machine.bus().start_process(
        812,
        "Xorg",
        &["/dev/dri/card0", "/dev/null", "/dev/dri/card0"],
    );
    only(
        &refused(&machine, &lend_gpu()),
        "it is in use by Xorg (process 812, /dev/dri/card0)",
    );
    machine.bus().end_process(812);
    assert_eq!(refused(&machine, &lend_gpu()), [""; 0]);
    // Another card's file.
    machine
        .bus()
        .start_process(813, "game", &["/dev/dri/card1"]);
    assert_eq!(refused(&machine, &lend_gpu()), [""; 0]);
    // A sound server lets the control node go, and a player not what it plays on.
    machine
        .bus()
        .start_process(900, "wireplumber", &["/dev/snd/controlC0"]);
    assert_eq!(refused(&machine, &lend_gpu()), [""; 0]);
    let notes = assess(&machine, &lend_gpu()).notes.join("\n");
    assert!(
        notes.contains("wireplumber (process 900, /dev/snd/controlC0) has 0000:01:00.1 open"),
        "{notes}"
    );
    machine
        .bus()
        .start_process(901, "mpv", &["/dev/snd/pcmC0D3p", "/dev/snd/controlC0"]);
    let lines = refused(&machine, &lend_gpu());
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with(AUDIO) && line.contains("mpv")),
        "{lines:?}"
    );
}

#[test]
fn without_an_iommu_the_reason_and_the_remedy_are_said() {
    let bus = Bus::new(Memory::new().directory("/proc/sys")).with(Function::new(
        NIC,
        "8086:10d3",
        "020000",
    ));
    let machine = Machine::over(bus).with_file("/sys/firmware/acpi/tables/DMAR", "");
    let assessment = assess(&machine, &Lend::new([nic()]));
    let refusal = &assessment.refusals[0];
    assert_eq!(refusal.subject, "IOMMU");
    let hint = refusal.unsupported.hint.as_deref().unwrap();
    assert!(hint.contains("intel_iommu=on"), "{hint}");
    // The device alone is in no group.
    let bus = Bus::new(Memory::new().directory("/proc/sys"))
        .with_iommu()
        .with(Function::new(NIC, "8086:10d3", "020000"));
    only(
        &refused(&Machine::over(bus), &Lend::new([nic()])),
        "it is in no IOMMU group",
    );
}

#[test]
fn a_kernel_without_vfio_pci_is_found_out() {
    let machine = Machine::desktop();
    machine.bus().memory().change(|tree| {
        tree.set(
            format!(
                "/lib/modules/{}/modules.dep",
                hosttune_modules::testing::RELEASE
            ),
            "kernel/irqbypass.ko.xz:",
        );
    });
    only(
        &refused(&machine, &lend_gpu()),
        "this kernel has no driver vfio-pci",
    );
}

#[test]
fn bridges_dead_devices_and_reserved_regions_are_refused() {
    let machine = Machine::desktop();
    let bridge = refused(&machine, &Lend::new([at("0000:00:01.0", "8086:1901")]));
    assert!(bridge[0].contains("is a bridge"), "{bridge:?}");
    let region = "0x000000007b000000 0x000000007fffffff direct";
    let blocked =
        Machine::desktop().with_file("/sys/kernel/iommu_groups/2/reserved_regions", region);
    only(
        &refused(&blocked, &Lend::new([nic()])),
        "a direct reserved region",
    );
    let consented = Lend::new([nic()]).consent(Consent::ReservedRegion);
    assert_eq!(refused(&blocked, &consented), [""; 0]);
    let relaxable = Machine::desktop().with_file(
        "/sys/kernel/iommu_groups/2/reserved_regions",
        &format!("{region}-relaxable"),
    );
    assert_eq!(refused(&relaxable, &Lend::new([nic()])), [""; 0]);
    let dead = Machine::desktop();
    let config = "/sys/devices/pci0000:00/0000:00:01.1/0000:02:00.0/config";
    let ones = hosttune_core::host::FileContent::new(vec![0xff; 64]);
    let _ = dead.bus().memory().clone().content(config, ones);
    only(&refused(&dead, &Lend::new([nic()])), "it does not answer");
}

/// A device that sleeps is lent without waking it.
#[test]
fn a_sleeping_device_is_lent() {
    let machine = Machine::new().with(
        Function::new(NIC, "8086:10d3", "020000")
            .group(2)
            .file("power_state", "D3cold"),
    );
    let _ = Lend::new([nic()]).apply(&mut session(&machine)).unwrap();
    assert_eq!(driver(&machine, NIC).as_deref(), Some("vfio-pci"));
}

/// An image has no kernel that binds anything.
#[test]
fn on_an_image_nothing_is_bound() {
    let machine = Machine::over(
        Bus::new(Memory::new())
            .with_iommu()
            .with(Function::new(NIC, "8086:10d3", "020000").group(2)),
    );
    let error = Lend::new([nic()]).plan(&session(&machine)).unwrap_err();
    assert!(error.to_string().contains("a tree of files"), "{error}");
}
