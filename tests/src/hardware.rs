//! The hardware of the machine: QEMU's arguments, and the paths in sysfs by which all of it is found.

use std::path::Path;

use crate::image::Share;
use crate::systemd_boot::Firmware;

/// A disk as the kernel sees it. Its name may differ from boot to boot; its serial number does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// The serial number, by which tests find the disk.
    pub serial: &'static str,
    /// QEMU's `-device` argument, without drive and serial number.
    device: &'static str,
}

/// The disks that tests tune. All are empty, have 64 MiB, and are deleted with the machine.
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

/// Size of each of [`DISKS`], in bytes.
pub(crate) const DISK_SIZE: u64 = 64 << 20;

/// Serial number of the disk with `/etc` and `/var`, for a machine whose power is cut.
pub(crate) const STATE_SERIAL: &str = "state";

/// The variable part of the hardware.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// QEMU's major version: `7` for "QEMU emulator version 7.2.9".
    pub(crate) qemu: u32,
    /// In MiB.
    pub(crate) memory: u32,
    pub(crate) start: Start<'a>,
    /// The ACPI table with the CPU frequencies.
    pub(crate) cpufreq: &'a Path,
    pub(crate) shares: &'a [Share],
    /// The directory with the image files of [`DISKS`], named by serial number; `None` for a machine without
    /// tunable hardware.
    pub(crate) disks: Option<&'a Path>,
    /// Further `-device` arguments.
    pub(crate) more_devices: &'a [String],
    pub(crate) state: Option<&'a Path>,
    /// QEMU's character device for the first serial port, without its ID.
    pub(crate) console: &'a str,
    /// Listening Unix sockets for the second and third serial port.
    pub(crate) ports: [&'a Path; 2],
}

/// What starts the kernel.
#[derive(Debug)]
pub(crate) enum Start<'a> {
    /// QEMU, with this initramfs and this kernel command line.
    Directly {
        vmlinux: &'a Path,
        initramfs: &'a Path,
        line: &'a str,
    },
    /// The boot loader on a disk, again and again: a reset does not end the machine.
    Firmware(&'a Firmware),
}

/// The serial number of the disk with the EFI system partition.
const SYSTEM_PARTITION_SERIAL: &str = "system-partition";

/// The kernel command line. CPU vulnerability mitigations and the clearing of allocated memory are disabled: they
/// would take a seventh of the time here and are irrelevant to tuning.
const LINE: &str = "console=ttyS0 panic=-1 intel_iommu=on no_timer_check random.trust_cpu=on quiet \
                    mitigations=off init_on_alloc=0";

/// Returns the kernel command line with these parameters at its end.
pub(crate) fn line(parameters: &[String]) -> String {
    let mut line = LINE.to_owned();
    for parameter in parameters {
        line.push(' ');
        line.push_str(parameter);
    }
    line
}

/// Runs the machine's two CPUs in parallel only if the build machine has enough processors for several machines,
/// because tests run on three kernels at a time. With fewer processors, a CPU would spin waiting for another one
/// that is not running: two machines with two threads each took twice as long side by side as one after the
/// other. In a single thread the CPUs take turns, and one that would spin yields.
fn accelerator() -> &'static str {
    let processors = std::thread::available_parallelism();
    if processors.is_ok_and(|number| number.get() >= 6) {
        "tcg,thread=multi"
    } else {
        "tcg,thread=single"
    }
}

/// Without ERMS and FSRM, because the emulation of these string instructions copies byte by byte, and programs
/// and the kernel prefer them if the CPU has them. Before QEMU 8, `max` has features that are emulated wrongly.
fn processor(qemu: u32) -> &'static str {
    if qemu >= 8 {
        "max,-erms,-fsrm"
    } else {
        "Skylake-Client,-erms"
    }
}

/// Returns QEMU's arguments.
///
/// The machine is emulated even if `/dev/kvm` exists: on some build machines it can be opened but then hangs
/// forever. `qboot` instead of SeaBIOS, and no option ROMs, together save five seconds.
pub(crate) fn arguments(wanted: &Wanted<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| all.extend([option.to_owned(), value]);

    for (option, value) in [
        ("-accel", accelerator()),
        ("-machine", "q35"),
        ("-cpu", processor(wanted.qemu)),
        ("-smp", "2"),
        ("-display", "none"),
        ("-nic", "none"),
        ("-monitor", "none"),
    ] {
        add(option, value.to_owned());
    }
    add("-m", wanted.memory.to_string());
    match wanted.start {
        Start::Directly {
            vmlinux,
            initramfs,
            line,
        } => {
            add("-bios", "qboot.rom".to_owned());
            add("-kernel", path(vmlinux));
            add("-initrd", path(initramfs));
            add("-append", line.to_owned());
        }
        Start::Firmware(firmware) => {
            let drive = format!(
                "if=pflash,unit=0,format=raw,readonly=on,file={}",
                path(&firmware.code)
            );
            add("-drive", drive);
            let drive = format!(
                "if=pflash,unit=1,format=raw,file={}",
                path(&firmware.variables)
            );
            add("-drive", drive);
        }
    }
    add("-acpitable", format!("file={}", path(wanted.cpufreq)));

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
    for device in wanted.more_devices {
        add("-device", device.clone());
    }
    // Like a real disk: what the guest has flushed survives a power cut.
    let state = wanted.state.map(|file| (STATE_SERIAL, file));
    let system_partition = match wanted.start {
        Start::Directly { .. } => None,
        Start::Firmware(firmware) => Some((SYSTEM_PARTITION_SERIAL, &*firmware.disk)),
    };
    for (serial, file) in state.into_iter().chain(system_partition) {
        let drive = format!(
            "if=none,id={serial},format=raw,cache=writeback,file={}",
            path(file)
        );
        add("-drive", drive);
        add(
            "-device",
            format!("virtio-blk-pci,drive={serial},serial={serial}"),
        );
    }
    for alone in ["-nodefaults", "-no-user-config"] {
        all.push(alone.to_owned());
    }
    if matches!(wanted.start, Start::Directly { .. }) {
        all.push("-no-reboot".to_owned());
    }
    all
}

/// Adds the tunable hardware.
fn add_devices(add: &mut impl FnMut(&str, String), disks: &Path) {
    let device = |text: &str| ("-device", text.to_owned());
    // Root ports. Each forms an IOMMU group with the devices behind it.
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
    // Like a graphics card for passthrough: display and audio are in one IOMMU group.
    let fixed = [
        device("bochs-display,bus=port-display,addr=0.0,multifunction=on"),
        device("ich9-intel-hda,id=sound,bus=port-display,addr=0.1"),
        device("hda-output,bus=sound.0,audiodev=silence"),
        ("-audiodev", "none,id=silence".to_owned()),
        // Two isolated networks with two cards each.
        ("-netdev", "hubport,id=net0,hubid=0".to_owned()),
        ("-netdev", "hubport,id=net1,hubid=0".to_owned()),
        ("-netdev", "hubport,id=net2,hubid=1".to_owned()),
        ("-netdev", "hubport,id=net3,hubid=1".to_owned()),
        device("e1000e,netdev=net0,bus=port-e1000e,mac=52:54:00:00:00:01,romfile="),
        device("virtio-net-pci,netdev=net1,bus=port-virtio-net,mac=52:54:00:00:00:02,romfile="),
        // Behind a bridge without ACS, both cards are in one IOMMU group.
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
        // Never flushed, because the file is not read after the machine ends.
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

/// Returns the paths that exist when every driver is bound to its device.
pub(crate) fn paths(devices: bool, state: bool) -> Vec<String> {
    // virtio disks are named in order.
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

/// Escapes a path for a QEMU option: a comma ends the value, and `,,` is a literal comma.
fn path(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
