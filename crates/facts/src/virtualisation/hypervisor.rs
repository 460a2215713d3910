//! Hypervisor detection, from files only.
//!
//! `systemd-detect-virt` uses the `cpuid` instruction, whose result a captured tree does not contain. The
//! kernel's own detection replaces it: if it has detected KVM, Xen or Hyper-V, it offers their clock
//! (`available_clocksource`). Two cases depend on the firmware tables alone: a KVM guest without the KVM
//! clock is reported as `qemu`, and a guest of VMware, bhyve, QNX or ACRN without such tables as
//! `vm-other`.

use crate::cpu::CpuInfo;
use crate::source::Source;
use crate::virtualisation::words;

/// Searched in this order: `KVM` in a product name takes precedence over `QEMU` as its vendor.
const FIRMWARE: [&str; 5] = [
    "/sys/class/dmi/id/product_name",
    "/sys/class/dmi/id/sys_vendor",
    "/sys/class/dmi/id/board_vendor",
    "/sys/class/dmi/id/bios_vendor",
    "/sys/class/dmi/id/product_version",
];
const CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
const XEN: &str = "/proc/xen";
const XEN_CAPABILITIES: &str = "/proc/xen/capabilities";
const XEN_FEATURES: &str = "/sys/hypervisor/properties/features";
const TYPE: &str = "/sys/hypervisor/type";
const TREE: &str = "/proc/device-tree";
const TREE_HYPERVISOR: &str = "/proc/device-tree/hypervisor/compatible";
const TREE_COMPATIBLE: &str = "/proc/device-tree/compatible";
const TREE_PARTITION: &str = "/proc/device-tree/ibm,partition-name";
const TREE_CONSOLE: &str = "/proc/device-tree/hmc-managed?";
const TREE_QEMU: &str = "/proc/device-tree/chosen/qemu,graphic-width";
const SYSTEM_INFORMATION: &str = "/proc/sysinfo";

pub(crate) const SOURCES: &[&str] = &[
    FIRMWARE[0],
    FIRMWARE[1],
    FIRMWARE[2],
    FIRMWARE[3],
    FIRMWARE[4],
    CLOCKS,
    XEN,
    XEN_CAPABILITIES,
    XEN_FEATURES,
    TYPE,
    TREE,
    "/proc/device-tree/*",
    TREE_HYPERVISOR,
    TREE_COMPATIBLE,
    TREE_PARTITION,
    // The question mark in it also acts as a glob for any one character.
    TREE_CONSOLE,
    TREE_QEMU,
    SYSTEM_INFORMATION,
];

words! {
    /// The hypervisor that a machine runs on.
    Hypervisor {
        /// None; the machine is hardware.
        None = "none",
        /// Amazon EC2.
        Amazon = "amazon",
        /// Apple's Virtualization framework.
        Apple = "apple",
        /// bhyve.
        Bhyve = "bhyve",
        /// Bochs.
        Bochs = "bochs",
        /// Google Compute Engine.
        Google = "google",
        /// Linux's KVM.
        Kvm = "kvm",
        /// Microsoft Hyper-V.
        Microsoft = "microsoft",
        /// Oracle VirtualBox.
        Oracle = "oracle",
        /// Parallels.
        Parallels = "parallels",
        /// IBM PowerVM.
        PowerVm = "powervm",
        /// QEMU without KVM, or with KVM hidden.
        Qemu = "qemu",
        /// User-mode Linux.
        Uml = "uml",
        /// VMware.
        Vmware = "vmware",
        /// A Xen guest. The management domain (dom0) does not count.
        Xen = "xen",
        /// IBM z/VM.
        Zvm = "zvm",
        /// Another hypervisor, or one without a name.
        Other = "vm-other",
    }
}

/// Prefixes of the texts in the firmware tables.
const FIRMWARE_TEXTS: [(&str, Hypervisor); 17] = [
    ("KVM", Hypervisor::Kvm),
    ("OpenStack", Hypervisor::Kvm),
    ("KubeVirt", Hypervisor::Kvm),
    ("Amazon EC2", Hypervisor::Amazon),
    ("QEMU", Hypervisor::Qemu),
    ("VMware", Hypervisor::Vmware),
    ("VMW", Hypervisor::Vmware),
    ("innotek GmbH", Hypervisor::Oracle),
    ("VirtualBox", Hypervisor::Oracle),
    ("Oracle Corporation", Hypervisor::Oracle),
    ("Xen", Hypervisor::Xen),
    ("Bochs", Hypervisor::Bochs),
    ("Parallels", Hypervisor::Parallels),
    ("BHYVE", Hypervisor::Bhyve),
    ("Hyper-V", Hypervisor::Microsoft),
    ("Apple Virtualization", Hypervisor::Apple),
    ("Google Compute Engine", Hypervisor::Google),
];

impl Hypervisor {
    pub(crate) fn of(source: Source<'_>, cpu: &CpuInfo) -> Option<Self> {
        let firmware = by_firmware(source);
        // These may run on KVM or offer Hyper-V's clock, but are still reported by their own name.
        if let Some(
            found @ (Self::Oracle | Self::Xen | Self::Amazon | Self::Parallels | Self::Google),
        ) = firmware
        {
            return Some(found);
        }
        if cpu
            .value("vendor_id")
            .is_some_and(|vendor| vendor.starts_with("User Mode Linux"))
        {
            return Some(Self::Uml);
        }
        let manages_xen = source.exists(XEN) && is_xen_management(source);
        if source.exists(XEN) && !manages_xen {
            return Some(Self::Xen);
        }
        let in_vm = cpu
            .flags()
            .is_some_and(|flags| flags.contains("hypervisor"));
        let clocks = source.value(CLOCKS).unwrap_or_default();
        let has_clock = |beginning: &str| {
            clocks
                .split_whitespace()
                .any(|clock| clock.starts_with(beginning))
        };
        if has_clock("kvm-clock") {
            return Some(Self::Kvm);
        }
        if manages_xen {
            return Some(Self::None);
        }
        firmware
            .or_else(|| by_type(source))
            .or_else(|| by_device_tree(source))
            .or_else(|| by_system_information(source))
            // QEMU can offer Hyper-V's clock, so more specific evidence is checked before.
            .or_else(|| has_clock("hyperv").then_some(Self::Microsoft))
            .or_else(|| in_vm.then_some(Self::Other))
            // No evidence of virtualisation; an image cannot have any.
            .or_else(|| cpu.is_known().then_some(Self::None))
    }
}

fn by_firmware(source: Source<'_>) -> Option<Hypervisor> {
    let texts: Vec<Option<String>> = FIRMWARE.iter().map(|file| source.value(file)).collect();
    let found = texts.iter().flatten().find_map(|text| {
        let mut known = FIRMWARE_TEXTS.iter();
        known.find_map(|(beginning, found)| text.starts_with(beginning).then_some(*found))
    })?;
    // Amazon also rents hardware with the same vendor: `c5.metal`, `m7i.metal-24xl`.
    let product = texts[0].as_deref().unwrap_or_default();
    let is_metal = product
        .split_once(".metal")
        .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('-'));
    match found {
        Hypervisor::Amazon if is_metal => Some(Hypervisor::None),
        found => Some(found),
    }
}

/// Whether this is Xen's management domain (`XENFEAT_dom0`, bit 11), which runs on the hardware.
fn is_xen_management(source: Source<'_>) -> bool {
    let features = source.value(XEN_FEATURES);
    if let Some(features) = features.and_then(|text| u64::from_str_radix(&text, 16).ok()) {
        return features & (1 << 11) != 0;
    }
    let capabilities = source.value(XEN_CAPABILITIES).unwrap_or_default();
    capabilities.split(',').any(|one| one.trim() == "control_d")
}

fn by_type(source: Source<'_>) -> Option<Hypervisor> {
    source.value(TYPE).map(|name| match name.as_str() {
        "xen" => Hypervisor::Xen,
        _ => Hypervisor::Other,
    })
}

fn by_device_tree(source: Source<'_>) -> Option<Hypervisor> {
    if let Some(compatible) = source.value(TREE_HYPERVISOR) {
        return Some(match compatible.as_str() {
            "linux,kvm" => Hypervisor::Kvm,
            name if name.contains("xen") => Hypervisor::Xen,
            name if name.contains("vmware") => Hypervisor::Vmware,
            _ => Hypervisor::Other,
        });
    }
    let names = source.names(TREE)?;
    if source.exists(TREE_PARTITION) && source.exists(TREE_CONSOLE) && !source.exists(TREE_QEMU) {
        return Some(Hypervisor::PowerVm);
    }
    let is_qemu = names.iter().any(|name| name.contains("fw-cfg"))
        || source.value(TREE_COMPATIBLE).as_deref() == Some("qemu,pseries");
    is_qemu.then_some(Hypervisor::Qemu)
}

/// Detection on IBM Z, where a line names the control program of the guest.
fn by_system_information(source: Source<'_>) -> Option<Hypervisor> {
    let text = source.lines(SYSTEM_INFORMATION)?;
    let mut lines = text.lines();
    let program = lines.find_map(|line| line.strip_prefix("VM00 Control Program:"))?;
    Some(match program.split_whitespace().next() {
        Some("z/VM") => Hypervisor::Zvm,
        _ => Hypervisor::Kvm,
    })
}
