//! Virtual machines and containers, one for each way to recognise them.

use hosttune_core::testing::Memory;

use super::machines::{Files, SKYLAKE_FLAGS, cpuinfo, files};

/// A machine for each way to recognise a hypervisor, with the expected word and a number.
pub(crate) fn hypervisors() -> Vec<(&'static str, usize, Memory)> {
    let hardware = cpuinfo("GenuineIntel", [6, 143, 8], "Xeon", SKYLAKE_FLAGS);
    let guest = cpuinfo(
        "GenuineIntel",
        [6, 143, 8],
        "Xeon",
        &format!("{SKYLAKE_FLAGS} hypervisor"),
    );
    let uml = cpuinfo("User Mode Linux", [6, 0, 0], "UML", "");
    let none = String::new();
    const CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    const PRODUCT: &str = "/sys/class/dmi/id/product_name";
    const MAKER: &str = "/sys/class/dmi/id/sys_vendor";
    let machines: Vec<(&str, &str, Files)> = vec![
        (
            "none",
            &hardware,
            vec![(MAKER, "Dell Inc."), (PRODUCT, "PowerEdge R760")],
        ),
        (
            "kvm",
            &guest,
            vec![(CLOCKS, "kvm-clock tsc acpi_pm "), (MAKER, "QEMU")],
        ),
        ("kvm", &guest, vec![(PRODUCT, "KVM"), (MAKER, "QEMU")]),
        (
            "kvm",
            &none,
            vec![("/proc/device-tree/hypervisor/compatible", "linux,kvm\0")],
        ),
        (
            "qemu",
            &guest,
            vec![(MAKER, "QEMU"), (CLOCKS, "hyperv_clocksource_tsc_page tsc")],
        ),
        (
            "qemu",
            &none,
            vec![("/proc/device-tree/fw-cfg@9020000/reg", "1")],
        ),
        (
            "qemu",
            &none,
            vec![("/proc/device-tree/compatible", "qemu,pseries\0")],
        ),
        (
            "microsoft",
            &guest,
            vec![
                (PRODUCT, "Virtual Machine"),
                (
                    "/sys/class/dmi/id/product_version",
                    "Hyper-V UEFI Release v4.0",
                ),
            ],
        ),
        (
            "microsoft",
            &guest,
            vec![(CLOCKS, "hyperv_clocksource_tsc_page acpi_pm")],
        ),
        (
            "vmware",
            &guest,
            vec![(PRODUCT, "VMware20,1"), (MAKER, "VMware, Inc.")],
        ),
        (
            "vmware",
            &none,
            vec![("/proc/device-tree/hypervisor/compatible", "vmware\0")],
        ),
        (
            "oracle",
            &guest,
            vec![
                (CLOCKS, "kvm-clock"),
                (PRODUCT, "VirtualBox"),
                (MAKER, "innotek GmbH"),
            ],
        ),
        (
            "amazon",
            &guest,
            vec![
                (CLOCKS, "kvm-clock"),
                (MAKER, "Amazon EC2"),
                (PRODUCT, "m7i.large"),
            ],
        ),
        (
            "none",
            &hardware,
            vec![(MAKER, "Amazon EC2"), (PRODUCT, "m7i.metal-24xl")],
        ),
        (
            "google",
            &guest,
            vec![(CLOCKS, "kvm-clock"), (PRODUCT, "Google Compute Engine")],
        ),
        (
            "xen",
            &guest,
            vec![
                ("/proc/xen/privcmd", ""),
                ("/sys/hypervisor/properties/features", "00000705"),
            ],
        ),
        ("xen", &none, vec![("/sys/hypervisor/type", "xen")]),
        (
            "xen",
            &none,
            vec![(
                "/proc/device-tree/hypervisor/compatible",
                "xen,xen-4.17\0xen,xen\0",
            )],
        ),
        // Xen's dom0, recognised by its features and by its capabilities.
        (
            "none",
            &hardware,
            vec![
                ("/proc/xen/privcmd", ""),
                ("/sys/hypervisor/type", "xen"),
                ("/sys/hypervisor/properties/features", "00000fbd"),
            ],
        ),
        (
            "none",
            &hardware,
            vec![("/proc/xen/capabilities", "control_d")],
        ),
        ("uml", &uml, vec![]),
        (
            "powervm",
            &none,
            vec![
                ("/proc/device-tree/ibm,partition-name", "lpar1"),
                ("/proc/device-tree/hmc-managed?", "1"),
            ],
        ),
        (
            "zvm",
            &none,
            vec![(
                "/proc/sysinfo",
                "Manufacturer: IBM\nVM00 Control Program: z/VM    7.3.0",
            )],
        ),
        (
            "kvm",
            &none,
            vec![("/proc/sysinfo", "VM00 Control Program: KVM/Linux")],
        ),
        ("vm-other", &guest, vec![]),
        ("vm-other", &guest, vec![("/sys/hypervisor/type", "other")]),
    ];
    let make = |(number, (word, info, more)): (usize, (&'static str, &str, Files))| {
        let memory = files(Memory::new(), &[("/proc/cpuinfo", info)]);
        (word, number, files(memory, &more))
    };
    machines.into_iter().enumerate().map(make).collect()
}

/// A system for each way to recognise a container, with the expected word and a number.
pub(crate) fn containers() -> Vec<(&'static str, usize, Memory)> {
    const RELEASE: (&str, &str) = ("/proc/sys/kernel/osrelease", "6.12.0");
    let systems: Vec<(&str, Files)> = vec![
        (
            "none",
            vec![
                RELEASE,
                ("/proc/1/environ", "HOME=/\0container=\0TERM=linux"),
            ],
        ),
        // The root cgroup has no `cgroup.type`.
        (
            "none",
            vec![RELEASE, ("/sys/fs/cgroup/cgroup.events", "populated 1")],
        ),
        ("docker", vec![RELEASE, ("/.dockerenv", "")]),
        (
            "podman",
            vec![RELEASE, ("/.dockerenv", ""), ("/run/.containerenv", "")],
        ),
        (
            "podman",
            vec![RELEASE, ("/run/systemd/container", "podman")],
        ),
        (
            "podman",
            vec![
                RELEASE,
                ("/run/host/container-manager", "oci"),
                ("/run/.containerenv", ""),
            ],
        ),
        (
            "container-other",
            vec![RELEASE, ("/proc/1/environ", "container=oci\0")],
        ),
        (
            "systemd-nspawn",
            vec![
                RELEASE,
                ("/run/host/container-manager", "systemd-nspawn"),
                ("/.dockerenv", ""),
            ],
        ),
        (
            "lxc",
            vec![
                RELEASE,
                ("/proc/1/environ", "HOME=/\0container=lxc\0TERM=linux"),
            ],
        ),
        (
            "container-other",
            vec![RELEASE, ("/run/systemd/container", "none")],
        ),
        (
            "container-other",
            vec![
                RELEASE,
                ("/sys/fs/cgroup/cgroup.events", ""),
                ("/sys/fs/cgroup/cgroup.type", "domain"),
            ],
        ),
        ("openvz", vec![RELEASE, ("/proc/vz/version", "")]),
        (
            "none",
            vec![RELEASE, ("/proc/vz/version", ""), ("/proc/bc/0", "")],
        ),
        (
            "wsl",
            vec![(
                "/proc/sys/kernel/osrelease",
                "6.6.87.2-microsoft-standard-WSL2",
            )],
        ),
    ];
    let make = |(number, (word, more)): (usize, (&'static str, Files))| {
        (word, number, files(Memory::new(), &more))
    };
    systems.into_iter().enumerate().map(make).collect()
}
