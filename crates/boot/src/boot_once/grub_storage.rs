//! Whether GRUB can write its environment block, which it does through the list of its blocks.

use hosttune_core::host::EntryKind;
use hosttune_core::host::unescaped_path;
use hosttune_core::{Host, HostError, HostErrorKind};

const MOUNTS: &str = "/proc/self/mountinfo";

/// File systems in which GRUB rewrites the blocks of a file in place. It refuses others, such as
/// btrfs and ZFS, whose checksums such a write would break.
const WRITABLE: [&str; 5] = ["ext2", "ext3", "ext4", "vfat", "xfs"];

/// A mount, of `/proc/self/mountinfo` (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// `MAJOR:MINOR`.
    device: String,
    point: String,
    file_system: String,
    /// Whether the file system keeps a copy of the data in its journal.
    journals_data: bool,
}

/// Why GRUB cannot write a file in this directory, or why that is not known; `None` if it can.
///
/// # Errors
/// Any error from the host.
pub(super) fn objection(host: &Host, directory: &str) -> Result<Option<String>, HostError> {
    let text = match host.read(MOUNTS) {
        Err(error) if *error.kind() == HostErrorKind::Missing => {
            return Ok(Some(format!(
                "the file system of {directory} is not known: there is no {MOUNTS}"
            )));
        }
        text => text?,
    };
    let Some(mount) = mount_of(&String::from_utf8_lossy(&text), directory) else {
        return Ok(Some(format!(
            "the file system of {directory} is not in {MOUNTS}"
        )));
    };
    if !WRITABLE.contains(&&*mount.file_system) {
        return Ok(Some(format!(
            "{directory} is on {}, in which GRUB cannot write (it can in {})",
            mount.file_system,
            WRITABLE.join(", ")
        )));
    }
    if mount.journals_data {
        // After a crash the kernel would write the choice again that GRUB has cleared.
        return Ok(Some(format!(
            "{directory} is on {} with data=journal, which can undo what GRUB writes",
            mount.file_system
        )));
    }
    let link = format!("/sys/dev/block/{}", mount.device);
    let Some(EntryKind::Link(target)) = host.entry(&link)?.map(|entry| entry.kind) else {
        return Ok(Some(format!(
            "the disk of {directory} is not known: there is no {link}"
        )));
    };
    let target = target.to_string_lossy().into_owned();
    let Some((_, device)) = target.split_once("/virtual/block/") else {
        return Ok(None);
    };
    let device = device.split('/').next().unwrap_or(device);
    let what = match device {
        name if name.starts_with("md") => "a RAID",
        name if name.starts_with("dm-") => "LVM, encryption or another device of device-mapper",
        _ => "a device without a disk of its own",
    };
    Ok(Some(format!(
        "{directory} is on {device}, {what}, on which GRUB cannot write"
    )))
}

/// The mount that a path is on: of those with the longest path, the last, which hides the others.
fn mount_of(text: &str, path: &str) -> Option<Mount> {
    text.lines()
        .filter_map(parsed)
        .filter(|mount| {
            let rest = path.strip_prefix(mount.point.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .enumerate()
        .max_by_key(|(number, mount)| (mount.point.len(), *number))
        .map(|(_, mount)| mount)
}

fn parsed(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let device = fields.nth(2)?.to_owned();
    let point = unescaped_path(fields.nth(1)?);
    let mut behind = fields.skip_while(|field| *field != "-").skip(1);
    let file_system = behind.next()?.to_owned();
    let options = behind.nth(1).unwrap_or_default();
    Some(Mount {
        device,
        point,
        file_system,
        journals_data: options.split(',').any(|option| option == "data=journal"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_and_last_mount_counts() {
        let text = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             23 22 0:40 / /boot rw shared:3 - autofs systemd-1 rw\n\
             24 22 8:2 / /boot rw shared:4 - vfat /dev/sda2 rw\n\
             25 22 8:3 / /boot/grubs rw - xfs /dev/sda3 rw\n\
             nonsense\n";
        let mount = mount_of(text, "/boot/grub").unwrap();
        assert_eq!((&*mount.device, &*mount.file_system), ("8:2", "vfat"));
        assert_eq!(mount_of(text, "/etc").unwrap().file_system, "ext4");
        assert_eq!(mount_of("", "/etc"), None);
    }
}
