//! The amount of memory.

use hosttune_core::{Host, HostError};

/// Returns the total memory of the host, in bytes.
pub(crate) fn of_host(host: &Host) -> Result<u64, HostError> {
    of_file(host, "/proc/meminfo")
}

/// Returns `MemTotal` of a file in the format of `/proc/meminfo`, whose lines may begin with a node's name,
/// in bytes.
pub(crate) fn of_file(host: &Host, file: &str) -> Result<u64, HostError> {
    let text = host.read_text(file)?;
    let number = text.lines().find_map(|line| {
        let (_, rest) = line.split_once("MemTotal:")?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    number
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| HostError::malformed(file, "no MemTotal line in kB"))
}

/// Formats a number of bytes.
pub(crate) fn shown(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in UNITS {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}
