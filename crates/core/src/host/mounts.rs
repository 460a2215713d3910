//! The mount that a path is on, and whether it is read-only.
//!
//! Containers mount `/proc/sys` read-only and parts of it (`/proc/sys/net`) writable. The files
//! keep their mode, and root's write fails only when it is attempted, after other steps of the
//! plan.

use crate::unsupported::{Unsupported, UnsupportedKind};

/// Where the kernel lists the mounts that this process sees.
pub(super) const LIST: &str = "/proc/self/mountinfo";

/// The mounts that a process sees.
#[derive(Debug, Clone, Default)]
pub(super) struct Mounts(Vec<Mount>);

#[derive(Debug, Clone)]
struct Mount {
    id: String,
    parent: String,
    point: String,
    /// `MAJOR:MINOR`; the major number is 0 for a file system that is not on one block device.
    device: String,
    source: String,
    is_read_only: bool,
}

impl Mounts {
    /// Parses `/proc/self/mountinfo`, see proc(5). Lines that cannot be parsed are ignored.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Mount::parse).collect())
    }

    /// The mount that a path is on. The list alone does not tell, because a mount may be hidden by
    /// a later one on a parent directory. The path is therefore followed from each mount to the
    /// next below it.
    ///
    /// In a chroot(2) to a plain directory no mount at `/` is listed; the list begins with those
    /// below it.
    fn of(&self, path: &str) -> Option<&Mount> {
        let is_listed = |id: &str| self.0.iter().any(|mount| mount.id == id);
        let first = |mount: &&Mount| mount.parent == mount.id || !is_listed(&mount.parent);
        let mut current = self
            .0
            .iter()
            .filter(first)
            .filter(|mount| is_beneath(path, &mount.point))
            .min_by_key(|mount| mount.point.len())?;
        for _ in &self.0 {
            let next = self
                .0
                .iter()
                .filter(|mount| mount.parent == current.id && mount.id != current.id)
                .filter(|mount| is_beneath(path, &mount.point))
                .min_by_key(|mount| mount.point.len());
            match next {
                Some(next) => current = next,
                None => break,
            }
        }
        Some(current)
    }

    /// Where the file system of a path is mounted, its device as `MAJOR:MINOR`, and its source.
    pub(super) fn mount(&self, path: &str) -> Option<(&str, &str, &str)> {
        let mount = self.of(path)?;
        Some((&mount.point, &mount.device, &mount.source))
    }

    /// Why a path cannot be written, if its mount is read-only.
    pub(super) fn unsupported(&self, path: &str) -> Option<Unsupported> {
        let mount = self.of(path).filter(|mount| mount.is_read_only)?;
        let why = format!("{} is mounted read-only", mount.point);
        let unsupported = Unsupported::new(UnsupportedKind::ReadOnly, why);
        Some(unsupported.hint("remount it read-write; in a container, change it on the host"))
    }
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let id = fields.next()?.to_owned();
        let parent = fields.next()?.to_owned();
        let device = fields.next()?.to_owned();
        let point = unescaped_path(fields.nth(1)?);
        let options = fields.next()?;
        // Optional fields end with a dash; the type, the source and the file system's own options
        // follow.
        let mut fields = fields.skip_while(|field| *field != "-");
        let source = unescaped_path(fields.nth(2)?);
        let of_file_system = fields.next()?;
        let is_read_only = [options, of_file_system]
            .iter()
            .any(|options| options.split(',').any(|option| option == "ro"));
        Some(Self {
            id,
            parent,
            point,
            device,
            source,
            is_read_only,
        })
    }
}

fn is_beneath(path: &str, point: &str) -> bool {
    let rest = path.strip_prefix(point.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Unescapes a path from `/proc/self/mountinfo` or `/proc/swaps`, in which blanks, tabs, newlines
/// and backslashes are in octal (`seq_path` in fs/seq_file.c).
pub fn unescaped_path(path: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(path.to_owned(), |path, (escaped, plain)| {
        path.replace(escaped, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_only(text: &str, path: &str) -> Option<String> {
        let unsupported = Mounts::parse(text).unsupported(path)?;
        unsupported.why.split(' ').next().map(str::to_owned)
    }

    /// As in Docker and systemd-nspawn.
    const CONTAINER: &str = "\
700 600 0:50 / / rw,relatime - overlay overlay rw
701 700 0:53 / /proc rw,nosuid - proc proc rw
702 701 0:53 /sys /proc/sys ro,nosuid master:1 shared:2 - proc proc rw
703 702 0:53 /sys/net /proc/sys/net rw,nosuid - proc proc rw
704 700 0:54 / /sys rw,nosuid - sysfs sysfs ro
705 700 0:55 / /my\\040disk ro - ext4 /dev/sda rw";

    #[test]
    fn the_mount_that_a_path_is_on_counts() {
        for (path, mount) in [
            ("/proc/sys/vm/swappiness", Some("/proc/sys")),
            ("/proc/sys/net/core/somaxconn", None),
            ("/proc/sys/network", Some("/proc/sys")),
            ("/proc/sys", Some("/proc/sys")),
            ("/proc/system", None),
            ("/sys/block/sda/queue/scheduler", Some("/sys")),
            ("/my disk/x", Some("/my")),
            ("/etc/sysctl.d", None),
        ] {
            assert_eq!(read_only(CONTAINER, path).as_deref(), mount, "{path}");
        }
    }

    #[test]
    fn a_mount_above_hides_those_below() {
        let hidden = "\
1 0 0:1 / / rw - ext4 a rw
2 1 0:2 / /proc rw - proc proc rw
3 2 0:2 /sys/net /proc/sys/net ro - proc proc rw
4 2 0:2 /sys /proc/sys rw - proc proc rw";
        assert_eq!(read_only(hidden, "/proc/sys/net/x"), None);
        let stacked = "\
1 0 0:1 / / rw - ext4 a rw
2 1 0:2 / /proc rw - proc proc rw
3 2 0:2 / /proc ro - proc proc rw";
        assert_eq!(read_only(stacked, "/proc/sys").as_deref(), Some("/proc"));
        let chroot = "\
40 30 0:2 / /proc rw - proc proc rw
41 40 0:2 /sys /proc/sys ro - proc proc rw
42 30 0:3 / /sys ro - sysfs sysfs rw";
        assert_eq!(
            read_only(chroot, "/proc/sys/vm").as_deref(),
            Some("/proc/sys")
        );
        assert_eq!(read_only(chroot, "/sys/block").as_deref(), Some("/sys"));
        assert_eq!(read_only(chroot, "/proc/1"), None);
        assert_eq!(read_only(chroot, "/etc/sysctl.d"), None);
        // Rubbish tells nothing.
        for text in ["", "x", "1 0 0:1 / / ro", "1 1 0:1 / / ro - ext4"] {
            assert_eq!(read_only(text, "/proc/sys"), None, "{text}");
        }
        let own_parent = "1 1 0:1 / / ro - ext4 a rw";
        assert_eq!(read_only(own_parent, "/proc").as_deref(), Some("/"));
    }
}
