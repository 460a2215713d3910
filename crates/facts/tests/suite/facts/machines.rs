//! Invented machines, with files in the format in which kernel, firmware and distributions write them.

use hosttune_core::host::FileContent;
use hosttune_core::testing::{Behaviour, Memory};

use super::virtual_machines;

/// Paths with their content.
pub(crate) type Files = Vec<(&'static str, &'static str)>;

/// All machines, by name.
pub(crate) fn all() -> Vec<(String, Memory)> {
    let mut all = vec![
        ("gaming desktop".to_owned(), desktop()),
        ("laptop".to_owned(), laptop()),
        ("older kernel".to_owned(), older_kernel()),
        ("image".to_owned(), image()),
    ];
    for (word, number, memory) in virtual_machines::hypervisors() {
        all.push((format!("{word} {number}"), memory));
    }
    for (word, number, memory) in virtual_machines::containers() {
        all.push((format!("{word} {number}"), memory));
    }
    all
}

pub(crate) fn files(memory: Memory, files: &[(&str, &str)]) -> Memory {
    let add = |memory: Memory, (path, value): &(&str, &str)| {
        memory.file(path, value, Behaviour::takes_all())
    };
    files.iter().fold(memory, add)
}

/// A device with its files, and the link to it from its class or bus.
fn device(memory: Memory, link: &str, target: &str, fields: &[(&str, &str)]) -> Memory {
    let directory = std::path::Path::new(link).parent().unwrap();
    let real = directory.join(target);
    let mut plain = std::path::PathBuf::new();
    for part in real.components() {
        match part {
            std::path::Component::ParentDir => assert!(plain.pop()),
            part => plain.push(part),
        }
    }
    let memory = memory.directory(&plain).link(link, target);
    let add = |memory: Memory, (name, value): &(&str, &str)| match value.strip_prefix("-> ") {
        Some(target) => memory.link(plain.join(name), target),
        None => memory.file(plain.join(name), value, Behaviour::takes_all()),
    };
    fields.iter().fold(memory, add)
}

pub(crate) const SKYLAKE_FLAGS: &str = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx lm constant_tsc pni ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand lahf_lm abm bmi1 avx2 bmi2";

pub(crate) fn cpuinfo(vendor: &str, numbers: [u32; 3], name: &str, flags: &str) -> String {
    let [family, model, stepping] = numbers;
    let processor = |number: u32| {
        format!(
            "processor\t: {number}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}\nstepping\t: {stepping}\nflags\t\t: {flags}\npower management:\n\n"
        )
    };
    (0..2).map(processor).collect()
}

/// A processor with this number of cores and two threads each; core 0 has the threads 0 and `cores`.
fn topology(memory: Memory, cores: u32, names: [&str; 2]) -> Memory {
    let cpu = "/sys/devices/system/cpu";
    let last = cores * 2 - 1;
    let memory = memory.file(
        format!("{cpu}/online"),
        &format!("0-{last}"),
        Behaviour::takes_all(),
    );
    (0..=last).fold(memory, |memory, number| {
        let core = format!("{},{}", number % cores, number % cores + cores);
        memory
            .file(
                format!("{cpu}/cpu{number}/topology/{}", names[0]),
                &core,
                Behaviour::takes_all(),
            )
            .file(
                format!("{cpu}/cpu{number}/topology/{}", names[1]),
                &format!("0-{last}"),
                Behaviour::takes_all(),
            )
    })
}

/// Four bytes of attributes, then the value.
fn efi_variable(memory: Memory, name: &str, value: &[u8]) -> Memory {
    let bytes = [&[6, 0, 0, 0], value].concat();
    memory.content(
        format!("/sys/firmware/efi/efivars/{name}"),
        FileContent::new(bytes),
    )
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

const LOADER_INFO: &str = "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const SECURE_BOOT: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

pub(crate) fn desktop() -> Memory {
    let info = cpuinfo(
        "GenuineIntel",
        [6, 94, 3],
        "Intel(R) Core(TM) i7-6700K CPU @ 4.00GHz",
        SKYLAKE_FLAGS,
    );
    let memory = files(
        Memory::new(),
        &[
            ("/proc/cpuinfo", &info),
            (
                "/proc/meminfo",
                "MemTotal:       16301444 kB\nMemFree:  1 kB\nSwapTotal:      12582908 kB\nHugepagesize:       2048 kB",
            ),
            (
                "/proc/cmdline",
                "initrd=\\initramfs-linux.img root=UUID=0a1b2c3d-1234-5678-9abc-0123456789ab rw quiet mitigations=off",
            ),
            (
                "/proc/version",
                "Linux version 6.18.2-arch1-1 (linux@archlinux) (gcc (GCC) 15.2.1 20251112, GNU ld (GNU Binutils) 2.45.1) #1 SMP PREEMPT_DYNAMIC Thu, 18 Dec 2025 18:00:18 +0000",
            ),
            ("/proc/sys/kernel/osrelease", "6.18.2-arch1-1"),
            (
                "/proc/sys/kernel/version",
                "#1 SMP PREEMPT_DYNAMIC Thu, 18 Dec 2025 18:00:18 +0000",
            ),
            ("/proc/sys/kernel/arch", "x86_64"),
            ("/sys/devices/system/node/online", "0"),
            ("/sys/devices/system/cpu/smt/active", "1"),
            ("/sys/devices/system/cpu/smt/control", "on"),
            (
                "/sys/devices/system/cpu/cpufreq/policy0/scaling_driver",
                "intel_pstate",
            ),
            (
                "/sys/devices/system/cpu/cpufreq/policy10/scaling_driver",
                "intel_pstate",
            ),
            (
                "/sys/devices/system/clocksource/clocksource0/available_clocksource",
                "tsc hpet acpi_pm ",
            ),
            ("/sys/class/dmi/id/sys_vendor", "System manufacturer"),
            ("/sys/class/dmi/id/product_name", "System Product Name"),
            ("/sys/class/dmi/id/product_version", "System Version"),
            ("/sys/class/dmi/id/product_family", "To be filled by O.E.M."),
            ("/sys/class/dmi/id/board_vendor", "ASUSTeK COMPUTER INC."),
            ("/sys/class/dmi/id/board_name", "Z170 PRO GAMING"),
            ("/sys/class/dmi/id/board_serial", "160000000000000"),
            ("/sys/class/dmi/id/bios_vendor", "American Megatrends Inc."),
            ("/sys/class/dmi/id/bios_version", "3805"),
            ("/sys/class/dmi/id/bios_date", "05/16/2018"),
            ("/sys/class/dmi/id/chassis_type", "3"),
            ("/sys/module/nvidia/version", "580.105.08"),
            ("/boot/loader/loader.conf", "default arch.conf"),
            (
                "/etc/os-release",
                "NAME=\"Arch Linux\"\nPRETTY_NAME=\"Arch Linux\"\nID=arch\nBUILD_ID=rolling\nANSI_COLOR=\"38;2;23;147;209\"",
            ),
            ("/sys/class/net/bonding_masters", ""),
        ],
    );
    let memory = ["hugepages-2048kB", "hugepages-1048576kB"]
        .into_iter()
        .fold(memory, |memory, name| {
            memory.directory(format!("/sys/kernel/mm/hugepages/{name}"))
        })
        .directory("/sys/class/power_supply");
    let memory = efi_variable(memory, LOADER_INFO, &utf16("systemd-boot 259-2-arch"));
    let memory = efi_variable(memory, SECURE_BOOT, &[0]);
    let memory = topology(memory, 4, ["core_cpus_list", "package_cpus_list"]);

    let disk = |memory, name: &str, path: &str, fields: &[(&str, &str)]| {
        device(
            memory,
            &format!("/sys/block/{name}"),
            &format!("../devices/{path}/{name}"),
            fields,
        )
    };
    let fixed = ("removable", "0");
    let memory = disk(
        memory,
        "nvme0n1",
        "pci0000:00/0000:00:1b.0/0000:03:00.0/nvme/nvme0",
        &[
            ("hidden", "0"),
            ("size", "976773168"),
            ("queue/rotational", "0"),
            fixed,
            ("device", "-> ../../nvme0"),
        ],
    );
    let memory = files(
        memory,
        &[(
            "/sys/devices/pci0000:00/0000:00:1b.0/0000:03:00.0/nvme/nvme0/model",
            "Samsung SSD 960 EVO 500GB               ",
        )],
    );
    let ata = "pci0000:00/0000:00:17.0/ata2/host1/target1:0:0/1:0:0:0/block";
    let memory = disk(
        memory,
        "sda",
        ata,
        &[
            ("hidden", "0"),
            ("size", "7814037168"),
            ("queue/rotational", "1"),
            fixed,
            ("device/model", "WDC WD40EZRZ-00G"),
            ("device/type", "0"),
        ],
    );
    let usb = "pci0000:00/0000:00:14.0/usb1/1-7/1-7:1.0/host6/target6:0:0/6:0:0:0/block";
    let memory = disk(
        memory,
        "sdb",
        usb,
        &[
            ("size", "60062500"),
            ("queue/rotational", "1"),
            ("removable", "1"),
            ("device/model", "Ultra Fit"),
            ("device/type", "0"),
        ],
    );
    // A card reader without a card, a Blu-ray drive with a disc, and virtual disks.
    let memory = disk(
        memory,
        "sdc",
        usb,
        &[("size", "0"), ("removable", "1"), ("device/type", "0")],
    );
    let memory = disk(
        memory,
        "sr0",
        ata,
        &[
            ("size", "48234496"),
            ("removable", "1"),
            ("device/type", "5"),
        ],
    );
    let memory = disk(memory, "zram0", "virtual/block", &[("size", "25165824")]);
    let memory = disk(memory, "dm-0", "virtual/block", &[("size", "976769024")]);

    let nic = |memory, name: &str, path: &str, fields: &[(&str, &str)]| {
        device(
            memory,
            &format!("/sys/class/net/{name}"),
            &format!("../../devices/{path}/net/{name}"),
            fields,
        )
    };
    let memory = nic(
        memory,
        "enp0s31f6",
        "pci0000:00/0000:00:1f.6",
        &[
            ("address", "52:54:00:aa:bb:01"),
            ("operstate", "up"),
            ("speed", "1000"),
            ("device", "-> ../../../0000:00:1f.6"),
        ],
    );
    let memory = memory.link(
        "/sys/devices/pci0000:00/0000:00:1f.6/driver",
        "../../../bus/pci/drivers/e1000e",
    );
    let memory = nic(
        memory,
        "wlp2s0",
        "pci0000:00/0000:00:1c.0/0000:02:00.0",
        &[
            ("address", "52:54:00:aa:bb:02"),
            ("operstate", "down"),
            ("phy80211", "-> ../../ieee80211/phy0"),
        ],
    );
    let memory = nic(
        memory,
        "enp0s20u9",
        "pci0000:00/0000:00:14.0/usb1/1-9/1-9:1.0",
        &[
            ("address", "52:54:00:aa:bb:03"),
            ("operstate", "up"),
            ("speed", "-1"),
        ],
    );
    let memory = nic(
        memory,
        "lo",
        "virtual",
        &[("address", "00:00:00:00:00:00"), ("operstate", "unknown")],
    );

    let pci = |memory, address: &str, fields: &[(&str, &str)]| {
        device(
            memory,
            &format!("/sys/bus/pci/devices/{address}"),
            &format!("../../../devices/pci0000:00/{address}"),
            fields,
        )
    };
    let memory = pci(
        memory,
        "0000:00:02.0",
        &[
            ("class", "0x038000"),
            ("vendor", "0x8086"),
            ("device", "0x1912"),
        ],
    );
    let memory = pci(
        memory,
        "0000:01:00.0",
        &[
            ("class", "0x030000"),
            ("vendor", "0x10de"),
            ("device", "0x1b80"),
            ("boot_vga", "1"),
            ("driver", "-> ../../../bus/pci/drivers/nvidia"),
        ],
    );
    pci(
        memory,
        "0000:01:00.1",
        &[
            ("class", "0x040300"),
            ("vendor", "0x10de"),
            ("device", "0x10f0"),
        ],
    )
}

pub(crate) fn laptop() -> Memory {
    let flags = format!("{SKYLAKE_FLAGS} avx512f avx512dq avx512cd avx512bw avx512vl");
    let info = cpuinfo(
        "AuthenticAMD",
        [25, 116, 1],
        "AMD Ryzen 7 7840U w/ Radeon 780M Graphics",
        &flags,
    );
    let memory = files(
        Memory::new(),
        &[
            ("/proc/cpuinfo", &info),
            ("/proc/meminfo", "MemTotal: 31000000 kB\nSwapTotal: 0 kB"),
            (
                "/proc/cmdline",
                "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.17.8-300.fc43.x86_64 root=UUID=0a1b2c3d-1234-5678-9abc-0123456789ab ro rhgb",
            ),
            ("/proc/sys/kernel/osrelease", "6.17.8-300.fc43.x86_64"),
            ("/sys/class/dmi/id/sys_vendor", "LENOVO"),
            ("/sys/class/dmi/id/product_name", "21K5CTO1WW"),
            ("/sys/class/dmi/id/product_version", "ThinkPad P14s Gen 4"),
            ("/sys/class/dmi/id/chassis_type", "10"),
            ("/sys/class/power_supply/AC/type", "Mains"),
            ("/sys/class/power_supply/BAT0/type", "Battery"),
            ("/sys/class/power_supply/hidpp_battery_0/type", "Battery"),
            ("/sys/class/power_supply/hidpp_battery_0/scope", "Device"),
            ("/boot/grub2/grub.cfg", ""),
            ("/boot/loader/entries/fedora.conf", ""),
            (
                "/usr/lib/os-release",
                "NAME='Fedora Linux'\nID=fedora\nVERSION_ID=43\nVARIANT_ID=workstation\nPRETTY_NAME=\"Fedora Linux 43 (Workstation Edition)\"",
            ),
            ("/sys/devices/system/cpu/smt/control", "forceoff"),
            (
                "/proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root@)\nGCC version: 15",
            ),
        ],
    );
    let memory = memory.link("/etc/os-release", "../usr/lib/os-release");
    let memory = efi_variable(memory, SECURE_BOOT, &[1]);
    let memory = topology(memory, 8, ["core_cpus_list", "package_cpus_list"]);
    let memory = device(
        memory,
        "/sys/block/nvme0n1",
        "../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
        &[
            ("hidden", "0"),
            ("size", "2000409264"),
            ("queue/rotational", "0"),
            ("removable", "0"),
        ],
    );
    let memory = device(
        memory,
        "/sys/block/nvme0c0n1",
        "../devices/pci0000:00/0000:00:02.4/0000:03:00.0/nvme/nvme0/nvme0c0n1",
        &[
            ("hidden", "1"),
            ("size", "2000409264"),
            ("queue/rotational", "0"),
        ],
    );
    let memory = device(
        memory,
        "/sys/block/mmcblk0",
        "../devices/pci0000:00/0000:00:02.2/0000:02:00.0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0",
        &[
            ("size", "124735488"),
            ("removable", "0"),
            ("device/name", "SN128"),
            ("device/model", "no"),
        ],
    );
    let memory = device(
        memory,
        "/sys/bus/pci/devices/0000:c4:00.0",
        "../../../devices/pci0000:00/0000:00:08.1/0000:c4:00.0",
        &[
            ("class", "0x030000"),
            ("vendor", "0x1002"),
            ("device", "0x15bf"),
            ("boot_vga", "1"),
            ("driver", "-> ../../../../bus/pci/drivers/amdgpu"),
        ],
    );
    device(
        memory,
        "/sys/bus/pci/devices/0000:c5:00.0",
        "../../../devices/pci0000:00/0000:00:08.2/0000:c5:00.0",
        &[
            ("class", "0x030200"),
            ("vendor", "0x10de"),
            ("device", "0x25b9"),
            ("driver", "-> ../../../../bus/pci/drivers/nvidia"),
        ],
    )
}

/// Linux 5.2, whose topology files have other names and which has no `kernel.arch`.
pub(crate) fn older_kernel() -> Memory {
    let info = cpuinfo(
        "GenuineIntel",
        [6, 23, 10],
        "Intel(R) Core(TM)2 Quad CPU Q9650 @ 3.00GHz",
        "fpu lm cmov cx8 fxsr mmx syscall sse sse2",
    );
    let memory = files(
        Memory::new(),
        &[
            ("/proc/cpuinfo", &info),
            ("/proc/sys/kernel/osrelease", "5.2.0"),
            (
                "/proc/sys/kernel/version",
                "#1 SMP Mon Jul 8 00:00:00 UTC 2019",
            ),
            (
                "/proc/cmdline",
                "BOOT_IMAGE=/boot/vmlinuz-5.2.0 root=/dev/sda1 BOOTIF=01-52-54-00-12-34-56",
            ),
            ("/boot/grub/grub.cfg", ""),
            ("/sys/class/dmi/id/chassis_type", "7"),
        ],
    );
    topology(memory, 2, ["thread_siblings_list", "core_siblings_list"])
}

/// A system that is not running, so what /proc and /sys would show is unknown.
pub(crate) fn image() -> Memory {
    files(
        Memory::new(),
        &[
            (
                "/usr/lib/os-release",
                "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_CODENAME=trixie",
            ),
            ("/efi/loader/entries/debian.conf", ""),
            ("/.dockerenv", ""),
        ],
    )
}
