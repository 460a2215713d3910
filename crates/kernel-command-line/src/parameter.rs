//! What is known of single parameters: which count at each occurrence, which are read by programs
//! that do not know quotes, which find the root file system.

use super::argument::same_name;

/// Parameters of which each occurrence counts, and whose order matters. Source: `setup` functions
/// that append in the kernel's `Documentation/admin-guide/kernel-parameters.txt`, dracut.cmdline(7),
/// kernel-command-line(7).
const EACH_COUNTS: [&str; 25] = [
    "acpi_osi",
    "blacklist",
    "cgroup_disable",
    "console",
    "crashkernel",
    "earlycon",
    "hugepages",
    "hugepagesz",
    "initcall_blacklist",
    "initrd",
    "ip",
    "memmap",
    "modprobe.blacklist",
    "netconsole",
    "rd.driver.blacklist",
    "rd.driver.post",
    "rd.driver.pre",
    "rd.luks.name",
    "rd.luks.uuid",
    "rd.lvm.lv",
    "rd.lvm.vg",
    "rd.md.uuid",
    "systemd.mask",
    "systemd.wants",
    "video",
];

/// Lists of which the words of all occurrences add up; of any other list the last occurrence counts.
const LISTS_THAT_ADD_UP: [&str; 4] = [
    "cgroup_disable",
    "initcall_blacklist",
    "modprobe.blacklist",
    "rd.driver.blacklist",
];

/// Parameters that initramfs-tools reads by splitting the line at every blank, or that are needed to
/// come back from a failed boot.
const READ_WITHOUT_QUOTES: [&str; 11] = [
    "break",
    "cryptopts",
    "init",
    "ip",
    "nfsroot",
    "panic",
    "resume",
    "root",
    "rootdelay",
    "rootflags",
    "rootfstype",
];

/// Parameters without which a root file system that was found with them is not found.
const FINDS_ROOT: [&str; 7] = [
    "cryptdevice",
    "nfsroot",
    "ostree",
    "root",
    "rootflags",
    "systemd.volatile",
    "zfs",
];

/// Families of such parameters, by the start of their names.
const FINDS_ROOT_FAMILIES: [&str; 4] = ["rd.luks.", "rd.lvm.", "rd.md.", "rd.zfs"];

fn among(list: &[&str], name: &str) -> bool {
    list.iter()
        .any(|known| same_name(known.as_bytes(), name.as_bytes()))
}

/// Whether each occurrence of a parameter counts, so that it has no single value: `console`,
/// `hugepagesz`.
pub fn each_counts(name: &str) -> bool {
    among(&EACH_COUNTS, name)
}

/// Whether the words of a list parameter add up over all its occurrences, as those of
/// `modprobe.blacklist` do.
pub fn adds_up(name: &str) -> bool {
    among(&LISTS_THAT_ADD_UP, name)
}

/// Whether an initramfs reads the parameter without knowing quotes.
pub(super) fn is_read_without_quotes(name: &str) -> bool {
    among(&READ_WITHOUT_QUOTES, name)
}

/// Whether the root file system is found with this parameter.
pub(super) fn finds_root(name: &str) -> bool {
    among(&FINDS_ROOT, name)
        || FINDS_ROOT_FAMILIES
            .iter()
            .any(|family| name.starts_with(family))
}
