//! What the machine is made of: QEMU's arguments, and the paths that show that all of it is there.

use std::path::Path;

use crate::image::Share;

/// What a disk looks like to the kernel. The name that it gets differs from boot to boot;
/// its serial number does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Serial number, by which a test finds it.
    pub serial: &'static str,
    /// QEMU's device, without drive and serial number.
    device: &'static str,
}

/// The disks that are there to be tuned. All are empty, 64 MiB, and gone with the machine.
pub const DISKS: [Disk; 6] = [
    Disk {
        serial: "nvme-a",
        device: "nvme,bus=port-nvme-a",
    },
    Disk {
        serial: "nvme-b",
        device: "nvme,bus=port-nvme-b",
    },
    Disk {
        serial: "scsi-rotational",
        device: "scsi-hd,bus=scsi.0,rotation_rate=7200",
    },
    Disk {
        serial: "scsi-solid",
        device: "scsi-hd,bus=scsi.0,rotation_rate=1",
    },
    Disk {
        serial: "virtio",
        device: "virtio-blk-pci",
    },
    Disk {
        serial: "ata",
        device: "ide-hd,bus=ide.0,rotation_rate=1",
    },
];

/// How large each of [`DISKS`] is, in bytes.
pub(crate) const DISK_SIZE: u64 = 64 << 20;

/// The serial number of the disk that holds `/etc` and `/var` for a machine whose power is cut.
pub(crate) const STATE_SERIAL: &str = "state";

/// What differs from one machine to the next.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// `7` from "QEMU emulator version 7.2.9".
    pub(crate) qemu: u32,
    /// MiB.
    pub(crate) memory: u32,
    pub(crate) vmlinux: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// An ACPI table that gives the processors frequencies.
    pub(crate) cpufreq: &'a Path,
    /// Added to the kernel's command line.
    pub(crate) parameters: &'a [String],
    pub(crate) shares: &'a [Share],
    /// Where the files behind [`DISKS`] lie, each named by its serial number; nothing for a machine
    /// without any of the devices that are there to be tuned.
    pub(crate) disks: Option<&'a Path>,
    pub(crate) state: Option<&'a Path>,
    /// QEMU's character device for the first serial port, without its id.
    pub(crate) console: &'a str,
    /// Unix sockets that are listened at, for the second and third.
    pub(crate) ports: [&'a Path; 2],
}

/// The kernel's command line. What guards against other programs on a real processor, and clears
/// what nobody has asked to be cleared, is a seventh of the time here and says nothing about tuning.
const LINE: &str = "console=ttyS0 panic=-1 intel_iommu=on no_timer_check random.trust_cpu=on quiet \
                    mitigations=off init_on_alloc=0";

/// The machine's two processors run at once only where several machines have room to, as tests run on three
/// kernels at a time. On less, each of them spins for another that is not running: two machines with two
/// threads each took twice as long beside each other as one after the other. In one thread they take
/// turns, and the one that would spin gives its turn away.
fn accelerator() -> &'static str {
    let processors = std::thread::available_parallelism();
    if processors.is_ok_and(|number| number.get() >= 6) {
        "tcg,thread=multi"
    } else {
        "tcg,thread=single"
    }
}

/// Without the instructions that copy byte by byte where they are emulated, and that programs and the
/// kernel prefer where they are there. Before version 8 `max` has features that its emulation
/// gets wrong.
fn processor(qemu: u32) -> &'static str {
    if qemu >= 8 {
        "max,-erms,-fsrm"
    } else {
        "Skylake-Client,-erms"
    }
}

/// QEMU's arguments.
///
/// Emulated even where there is /dev/kvm: on some build machines it opens and then stands still
/// forever. `qboot` instead of SeaBIOS, and no option ROMs: together they are five seconds faster.
pub(crate) fn arguments(wanted: &Wanted<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| all.extend([option.to_owned(), value]);

    for (option, value) in [
        ("-accel", accelerator()),
        ("-machine", "q35"),
        ("-cpu", processor(wanted.qemu)),
        ("-smp", "2"),
        ("-bios", "qboot.rom"),
        ("-display", "none"),
        ("-nic", "none"),
        ("-monitor", "none"),
    ] {
        add(option, value.to_owned());
    }
    add("-m", wanted.memory.to_string());
    add("-kernel", path(wanted.vmlinux));
    add("-initrd", path(wanted.initramfs));
    add("-acpitable", format!("file={}", path(wanted.cpufreq)));
    let mut line = LINE.to_owned();
    for parameter in wanted.parameters {
        line.push(' ');
        line.push_str(parameter);
    }
    add("-append", line);

    add("-chardev", format!("{},id=console", wanted.console));
    add("-serial", "chardev:console".to_owned());
    for (number, socket) in wanted.ports.iter().enumerate() {
        add(
            "-chardev",
            format!("socket,id=port{number},path={}", path(socket)),
        );
        add("-serial", format!("chardev:port{number}"));
    }

    add("-device", "intel-iommu,intremap=on".to_owned());
    for share in wanted.shares {
        add(
            "-fsdev",
            format!(
                "local,id={},path={},security_model=none,readonly=on,multidevs=remap",
                share.tag,
                path(&share.from)
            ),
        );
        let tag = &share.tag;
        add(
            "-device",
            format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
        );
    }

    if let Some(disks) = wanted.disks {
        add_devices(&mut add, disks);
    }
    // As a real disk is: what the guest has flushed is there after a power cut.
    let state = wanted.state.map(|file| {
        let drive = format!(
            "if=none,id={STATE_SERIAL},format=raw,cache=writeback,file={}",
            path(file)
        );
        (drive, "virtio-blk-pci", STATE_SERIAL)
    });
    if let Some((drive, device, serial)) = state {
        add("-drive", drive);
        add(
            "-device",
            format!("{device},drive={serial},serial={serial}"),
        );
    }
    for alone in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        all.push(alone.to_owned());
    }
    all
}

/// What is there to be tuned.
fn add_devices(add: &mut impl FnMut(&str, String), disks: &Path) {
    let device = |text: &str| ("-device", text.to_owned());
    // Root ports, each an IOMMU group of its own with what is behind it.
    for (function, port) in ["display", "e1000e", "nvme-a", "nvme-b", "virtio-net", "usb"]
        .into_iter()
        .enumerate()
    {
        let multi = if function == 0 {
            ",multifunction=on"
        } else {
            ""
        };
        add(
            "-device",
            format!(
                "pcie-root-port,id=port-{port},chassis={0},slot={0},addr=0x10.{function}{multi}",
                function + 1
            ),
        );
    }
    // A graphics card as people pass it to a guest: display and audio are one group.
    let fixed = [
        device("bochs-display,bus=port-display,addr=0.0,multifunction=on"),
        device("ich9-intel-hda,id=sound,bus=port-display,addr=0.1"),
        device("hda-output,bus=sound.0,audiodev=silence"),
        ("-audiodev", "none,id=silence".to_owned()),
        // Two networks, each with two cards on it and nothing else.
        ("-netdev", "hubport,id=net0,hubid=0".to_owned()),
        ("-netdev", "hubport,id=net1,hubid=0".to_owned()),
        ("-netdev", "hubport,id=net2,hubid=1".to_owned()),
        ("-netdev", "hubport,id=net3,hubid=1".to_owned()),
        device("e1000e,netdev=net0,bus=port-e1000e,mac=52:54:00:00:00:01,romfile="),
        device("virtio-net-pci,netdev=net1,bus=port-virtio-net,mac=52:54:00:00:00:02,romfile="),
        // Behind a bridge without ACS two cards share a group.
        device("pcie-pci-bridge,id=bridge,addr=0x11.0"),
        device("e1000,netdev=net2,bus=bridge,addr=1.0,mac=52:54:00:00:00:03,romfile="),
        device("e1000,netdev=net3,bus=bridge,addr=2.0,mac=52:54:00:00:00:04,romfile="),
        device("qemu-xhci,id=usb,bus=port-usb"),
        device("usb-mouse,bus=usb.0"),
        device("virtio-scsi-pci,id=scsi"),
    ];
    for (option, value) in fixed {
        add(option, value);
    }
    let drives = DISKS.iter().map(|disk| {
        let file = path(&disks.join(disk.serial));
        // Never flushed: nobody reads it once the machine is gone.
        let drive = format!(
            "if=none,id={},format=raw,cache=unsafe,file={file}",
            disk.serial
        );
        (drive, disk.device, disk.serial)
    });
    for (drive, device, serial) in drives {
        add("-drive", drive);
        add(
            "-device",
            format!("{device},drive={serial},serial={serial}"),
        );
    }
}

/// What exists once every driver has found its device.
pub(crate) fn paths(devices: bool, state: bool) -> Vec<String> {
    // The names of virtio disks are given in order.
    let of_state = state.then_some(if devices { "vdb" } else { "vda" });
    let of_state = of_state.map(|name| format!("/sys/block/{name}"));
    if !devices {
        return of_state.into_iter().collect();
    }
    let block = ["sda", "sdb", "sdc", "vda"].map(|name| format!("/sys/block/{name}"));
    let class = [
        "nvme/nvme0",
        "nvme/nvme1",
        "net/eth0",
        "net/eth1",
        "net/eth2",
        "net/eth3",
        "sound/card0",
        "drm/card0",
    ];
    let class = class.map(|name| format!("/sys/class/{name}"));
    let mouse = ["/sys/bus/usb/devices/1-1".to_owned()];
    let frequency = [0, 1].map(|number| format!("/sys/devices/system/cpu/cpufreq/policy{number}"));
    let all = block.into_iter().chain(of_state).chain(class);
    all.chain(mouse).chain(frequency).collect()
}

/// As QEMU's options take it: a comma ends a value, two are one.
fn path(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
