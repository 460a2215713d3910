//! Host-managed zoned disks (SMR hard disks, ZNS), which require writes in order.
//!
//! Before zone write plugging (Linux 6.10) only mq-deadline preserves that order. With any other
//! scheduler two writes to one zone can be reordered, and the disk fails the second: the file
//! system gets an I/O error. The kernel's `scheduler` file gives no warning of this.

use hosttune_core::{Host, HostError, HostErrorKind, Unsupported, UnsupportedKind};

use crate::name::DiskName;
use crate::scheduler::{SchedulerName, is_absent};

/// The contents of `queue/zoned` for such a disk.
pub(crate) const HOST_MANAGED: &str = "host-managed";

/// The first kernel that preserves the order with any scheduler.
const ZONE_WRITE_PLUGGING: (u32, u32) = (6, 10);

/// Why a scheduler cannot be set on a disk because of its zones.
pub(crate) fn unsupported(
    host: &Host,
    disk: &DiskName,
    name: &SchedulerName,
) -> Result<Option<Unsupported>, HostError> {
    if *name == SchedulerName::mq_deadline() {
        return Ok(None);
    }
    if !is_host_managed(host, disk)? {
        return Ok(None);
    }
    let release = match host.read_text("/proc/sys/kernel/osrelease") {
        Ok(release) => Some(release.trim().to_owned()),
        Err(error) if *error.kind() == HostErrorKind::Missing => None,
        Err(error) => return Err(error),
    };
    Ok(refusal(disk, name, release.as_deref()))
}

/// Whether a disk requires writes in order.
pub(crate) fn is_host_managed(host: &Host, disk: &DiskName) -> Result<bool, HostError> {
    match host.read_text(disk.queue("zoned")) {
        Ok(zoned) => Ok(zoned.trim() == HOST_MANAGED),
        // A kernel without zone support has no such file.
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The decision for a host-managed disk.
fn refusal(disk: &DiskName, name: &SchedulerName, release: Option<&str>) -> Option<Unsupported> {
    let kernel = match release.map(|release| (release, version(release))) {
        Some((_, Some(version))) if version >= ZONE_WRITE_PLUGGING => return None,
        Some((release, Some(_))) => format!("Linux {release} preserves the order only with mq-deadline"),
        Some((_, None)) | None => {
            "Linux before 6.10 preserves the order only with mq-deadline, and the release of this kernel is unknown"
                .to_owned()
        }
    };
    let why = format!(
        "{disk} is a host-managed zoned disk, which fails writes that arrive out of order: {kernel}, so {name} is not set"
    );
    Some(
        Unsupported::new(UnsupportedKind::Other, why)
            .hint("set mq-deadline, or boot Linux 6.10 or newer"),
    )
}

/// The major and minor number of a release such as `6.1.0-40-amd64`.
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
            let unsupported = refusal(&disk, &SchedulerName::none(), release);
            assert_eq!(unsupported.is_some(), refused, "{release:?}");
            assert!(
                unsupported.is_none_or(|unsupported| unsupported.hint.is_some()),
                "{release:?}"
            );
        }
    }
}
