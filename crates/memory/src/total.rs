//! How much memory there is.

use hosttune_core::{Host, HostError};

/// All memory that the kernel has, in bytes.
pub(crate) fn of_host(host: &Host) -> Result<u64, HostError> {
    of_file(host, "/proc/meminfo")
}

/// `MemTotal` of a file in the form of `/proc/meminfo`, where lines may begin with a node's name.
pub(crate) fn of_file(host: &Host, file: &str) -> Result<u64, HostError> {
    let text = host.read_text(file)?;
    let number = text.lines().find_map(|line| {
        let (_, rest) = line.split_once("MemTotal:")?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    number
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| HostError::malformed(file, "no line says MemTotal in kB"))
}

/// Bytes for a person.
pub(crate) fn shown(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in UNITS {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}
