//! Host-managed zoned disks (SMR hard disks, ZNS): on them the order of writes is part of the
//! interface.
//!
//! Before zone write plugging (Linux 6.10) only mq-deadline keeps that order. With any other
//! scheduler two writes to one zone can arrive the wrong way round, and the disk fails the second:
//! an I/O error to the file system, which the kernel's `scheduler` file does not warn of.

use hosttune_core::{Host, HostError, HostErrorKind, Lack, LackKind};

use crate::name::DiskName;
use crate::scheduler::{SchedulerName, is_absent};

/// What `queue/zoned` says of such a disk.
pub(crate) const HOST_MANAGED: &str = "host-managed";

/// The first kernel that keeps the order by itself.
const ZONE_WRITE_PLUGGING: (u32, u32) = (6, 10);

/// Why a scheduler cannot be set on a disk because of its zones.
pub(crate) fn lack(
    host: &Host,
    disk: &DiskName,
    name: &SchedulerName,
) -> Result<Option<Lack>, HostError> {
    if *name == SchedulerName::mq_deadline() {
        return Ok(None);
    }
    match host.read_text(disk.queue("zoned")) {
        Ok(zoned) if zoned.trim() == HOST_MANAGED => {}
        Ok(_) => return Ok(None),
        // A kernel without zones has no such file.
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let release = match host.read_text("/proc/sys/kernel/osrelease") {
        Ok(release) => Some(release.trim().to_owned()),
        Err(error) if *error.kind() == HostErrorKind::Missing => None,
        Err(error) => return Err(error),
    };
    Ok(refusal(disk, name, release.as_deref()))
}

/// The decision, for a host-managed disk.
fn refusal(disk: &DiskName, name: &SchedulerName, release: Option<&str>) -> Option<Lack> {
    let kernel = match release.map(|release| (release, version(release))) {
        Some((_, Some(version))) if version >= ZONE_WRITE_PLUGGING => return None,
        Some((release, Some(_))) => format!("Linux {release} keeps it with mq-deadline only"),
        Some((_, None)) | None => {
            "a kernel before 6.10 keeps it with mq-deadline only, and the release of this one is not known"
                .to_owned()
        }
    };
    let why = format!(
        "{disk} is a host-managed zoned disk, which fails writes that arrive out of order: {kernel}, so {name} is not set"
    );
    Some(Lack::new(LackKind::Other, why).hint("set mq-deadline, or boot Linux 6.10 or newer"))
}

/// Major and minor of `6.1.0-40-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|one: char| !one.is_ascii_digit())
        .map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_writes_needs_mq_deadline_before_zone_write_plugging() {
        let disk: DiskName = "sdz".parse().unwrap();
        for (release, refused) in [
            (Some("6.1.0-40-amd64"), true),
            (Some("5.14.0-503.el9"), true),
            (Some("6.9.12"), true),
            (Some("6.10.0"), false),
            (Some("6.10-rc1"), false),
            (Some("7.2.0"), false),
            (Some("unknown"), true),
            (Some(""), true),
            (None, true),
        ] {
            let lack = refusal(&disk, &SchedulerName::none(), release);
            assert_eq!(lack.is_some(), refused, "{release:?}");
            assert!(lack.is_none_or(|lack| lack.hint.is_some()), "{release:?}");
        }
    }
}
