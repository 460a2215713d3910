//! Which of the directories with entry files the loader reads.

use hosttune_core::{Host, HostError};

use super::entries::ENTRIES;
use super::entry::LoaderEntry;
use super::line_parameter::without_counters;
use super::start::Start;
use crate::boot_once::is_ours;

/// The type of an extended boot loader partition (Discoverable Partitions Specification). systemd-boot reads
/// the entries on it beside those on the partition that it was started from.
const EXTENDED: &str = "bc13c2ff-59e6-4262-a352-b275fd6f7172";

/// Whether the loader does not read a directory: it was started from another partition, or the directory is
/// deeper in its file system than `loader/entries`, because nothing is mounted there. False also if nothing
/// tells.
///
/// # Errors
/// Any error from the host.
pub(super) fn is_elsewhere(host: &Host, start: &Start, directory: &str) -> Result<bool, HostError> {
    let Some(of_loader) = &start.partition else {
        return Ok(false);
    };
    let partition = host.partition(directory)?;
    if partition.is_some_and(|found| found.uuid != *of_loader && found.kind != EXTENDED) {
        return Ok(true);
    }
    Ok(is_at_root(host, directory)? == Some(false))
}

/// Whether a directory is where a loader looks for it in the file system that it is on; `None` if nothing tells.
fn is_at_root(host: &Host, directory: &str) -> Result<Option<bool>, HostError> {
    let file_system = host.file_system(directory)?;
    Ok(file_system.map(|found| {
        let point = found.mount_point.trim_end_matches('/');
        directory.strip_prefix(point) == Some("/loader/entries")
    }))
}

/// The directory with the entry files from which systemd-boot has started the running kernel; `None` if there
/// is none, or if it is not known which of several it is.
///
/// # Errors
/// Any error from the host.
pub(crate) fn of_running_kernel(host: &Host) -> Result<Option<&'static str>, HostError> {
    let start = Start::read(host)?;
    let mut found = Vec::new();
    for directory in ENTRIES {
        if host.exists(directory)? && !is_elsewhere(host, &start, directory)? {
            found.push(directory);
        }
    }
    let [_, _, ..] = found[..] else {
        return Ok(found.pop());
    };
    let release = match host.read_text("/proc/sys/kernel/osrelease") {
        Ok(release) => release.trim().to_owned(),
        Err(_) => String::new(),
    };
    let mut listed = Vec::new();
    for directory in found {
        listed.push(Listed::read(host, directory, &release)?);
    }
    // What tells more comes first: a stale copy has the same files, and an empty directory none.
    let is_selected = |one: &Listed| {
        let selected = start.selected.as_deref().map(str::to_lowercase);
        selected.is_some_and(|id| one.ids.contains(&id))
    };
    for is_it in [
        &is_selected as &dyn Fn(&Listed) -> bool,
        &|one: &Listed| one.is_at_root,
        &|one: &Listed| one.has_release,
        &|one: &Listed| !one.ids.is_empty(),
    ] {
        if listed.iter().any(is_it) {
            listed.retain(is_it);
        }
    }
    Ok(match &listed[..] {
        [one] => Some(one.directory),
        _ => None,
    })
}

/// The entries of a directory.
struct Listed {
    directory: &'static str,
    /// The names of the files without counters, in small letters, as the loader has them.
    ids: Vec<String>,
    /// Whether one has the version of the running kernel.
    has_release: bool,
    is_at_root: bool,
}

impl Listed {
    fn read(host: &Host, directory: &'static str, release: &str) -> Result<Self, HostError> {
        let mut listed = Self {
            directory,
            ids: Vec::new(),
            has_release: false,
            is_at_root: is_at_root(host, directory)? == Some(true),
        };
        for name in host.list(directory)? {
            if !name.ends_with(".conf") || is_ours(&name) {
                continue;
            }
            listed.ids.push(without_counters(&name).to_lowercase());
            // What cannot be read is no entry for a loader either.
            if let Ok(bytes) = host.read(format!("{directory}/{name}")) {
                let entry = LoaderEntry::parse(&String::from_utf8_lossy(&bytes));
                listed.has_release |= entry.last("version") == Some(release);
            }
        }
        Ok(listed)
    }
}
