//! Mounted file systems: on which disks each of them is, here and in other mount namespaces.

use std::collections::BTreeSet;

use hosttune_core::host::{EntryKind, unescaped_path};
use hosttune_core::{Host, HostError};

use super::disks::is_vital;
use super::nodes::is_absent;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is mounted.
    pub(super) at: String,
    /// The type of the file system.
    kind: String,
    /// The number of its device, `MAJOR:MINOR`. btrfs and bcachefs have numbers of their own.
    number: String,
    /// The names under `/dev` of its disk, or of each of its disks.
    sources: Vec<String>,
    /// The names under `/dev` of further disks: XFS has a log and real-time files on disks of their own.
    further: Vec<String>,
}

impl Mount {
    /// Whether it is on the disk with this number and these names.
    pub(super) fn is_on(&self, number: &str, names: &[String]) -> bool {
        let has_number = !number.is_empty() && self.number == number;
        let first = self.sources.first();
        has_number || first.is_some_and(|source| names.contains(source))
    }

    /// Whether it needs the disk with these names beside its first one.
    pub(super) fn needs(&self, names: &[String]) -> bool {
        let beside = self.sources.iter().skip(1).chain(&self.further);
        beside.into_iter().any(|source| names.contains(source))
    }
}

/// The options of XFS that name further disks, as they were typed (`xfs_fs_show_options`).
const FURTHER: [&str; 2] = ["logdev=", "rtdev="];

/// Parses lines of `mountinfo`: ID, parent, number, root, mount point, options, optional fields, `-`, type,
/// source, options of the file system. bcachefs lists its disks as one source: `/dev/a:/dev/b`.
fn parse(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (of_mount, of_source) = line.split_once(" - ")?;
        let mut words = of_mount.split(' ');
        let (number, at) = (words.nth(2)?, words.nth(1)?);
        let mut words = of_source.split(' ');
        let (kind, source) = (words.next()?.to_owned(), unescaped_path(words.next()?));
        let options = words.next().unwrap_or_default().split(',');
        let further = options.filter_map(|option| {
            let path = FURTHER.iter().find_map(|name| option.strip_prefix(name))?;
            Some(unescaped_path(path))
        });
        let sources = match source.contains(":/dev/") {
            true => source.split(':').map(str::to_owned).collect(),
            false => vec![source],
        };
        Some(Mount {
            at: unescaped_path(at),
            kind,
            number: number.to_owned(),
            sources,
            further: further.collect(),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// The name that udev's links such as `/dev/disk/by-id/…` lead to; any other path as it is.
pub(super) fn canonical(host: &Host, path: &str) -> String {
    if path.starts_with("/dev/")
        && !path.starts_with("/dev/mapper/")
        && let Ok(Some(entry)) = host.entry(path)
        && let EntryKind::Link(target) = entry.kind
        && let Some(name) = target.file_name().and_then(|name| name.to_str())
    {
        return format!("/dev/{name}");
    }
    path.to_owned()
}

/// The mounts of this mount namespace.
pub(super) fn mounts(host: &Host) -> Result<Vec<Mount>, HostError> {
    let text = match host.read("/proc/self/mountinfo") {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if is_absent(&error) => String::new(),
        Err(error) => return Err(error),
    };
    let mut found = parse(&text);
    for mount in &mut found {
        for source in mount.sources.iter_mut().chain(&mut mount.further) {
            *source = canonical(host, source);
        }
    }
    Ok(found)
}

/// File systems over the network.
const OVER_NETWORK: [&str; 8] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "afs",
];

/// A mount that the running system needs and that it has over the network, such as a root on NFS, iSCSI or
/// NBD; through which interface is not known. `None` if there is none.
pub(crate) fn needed_over_network(host: &Host) -> Result<Option<String>, HostError> {
    for mount in mounts(host)? {
        let Some(source) = mount.sources.first().filter(|_| is_vital(&mount.at)) else {
            continue;
        };
        let name = source.strip_prefix("/dev/").unwrap_or_default();
        let block = host.entry(format!("/sys/class/block/{name}"))?;
        // A SCSI disk of iSCSI is below the session.
        let is_iscsi = block.is_some_and(|entry| match entry.kind {
            EntryKind::Link(target) => target.to_string_lossy().contains("/session"),
            _ => false,
        });
        if OVER_NETWORK.contains(&mount.kind.as_str()) || name.starts_with("nbd") || is_iscsi {
            return Ok(Some(format!("{} from {source}", mount.at)));
        }
    }
    Ok(None)
}

/// A process in another mount namespace, with the mounts there.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) process: u32,
    pub(super) name: String,
    pub(super) mounts: Vec<Mount>,
}

/// The mounts of the other mount namespaces in which processes run, each once: those of containers and
/// of services with mounts of their own.
pub(super) fn elsewhere(host: &Host) -> Result<Vec<Elsewhere>, HostError> {
    let names = host.list_if_there("/proc")?;
    // `mnt:[4026531841]`; only a process of the same user and root may read it.
    let namespace = |process: &str| {
        let entry = host.entry(format!("/proc/{process}/ns/mnt")).ok()??;
        match entry.kind {
            EntryKind::Link(target) => Some(target.to_string_lossy().into_owned()),
            _ => None,
        }
    };
    let mut seen: BTreeSet<String> = namespace("self").into_iter().collect();
    let mut processes: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    processes.sort_unstable();
    let mut found = Vec::new();
    for process in processes {
        let namespace = namespace(&process.to_string());
        if namespace.is_some_and(|namespace| !seen.insert(namespace)) {
            continue;
        }
        // A process may end at any time, and a zombie has no mounts (EINVAL).
        let Ok(text) = host.read(format!("/proc/{process}/mountinfo")) else {
            continue;
        };
        let name = host
            .read(format!("/proc/{process}/comm"))
            .unwrap_or_default();
        found.push(Elsewhere {
            process,
            name: String::from_utf8_lossy(&name)
                .trim()
                .replace(char::is_control, "?"),
            mounts: parse(&String::from_utf8_lossy(&text)),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_names_all_its_disks() {
        let names = |name: &str| [format!("/dev/{name}")];
        let text = "25 1 0:33 / / rw,relatime shared:1 - bcachefs /dev/sda1:/dev/sdb1 rw\n\
                    26 25 8:33 / /my\\040data rw - xfs /dev/sdc1 rw,logdev=/dev/sdd1,rtdev=/dev/sde1,noquota\n\
                    27 25 0:50 / /net rw - nfs4 server:/dev/sdf1 rw\nrubbish\n";
        let found = parse(text);
        let [root, data, net] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(root.is_on("", &names("sda1")) && root.needs(&names("sdb1")));
        assert!(!root.needs(&names("sda1")));
        assert!(data.is_on("8:33", &[]) && data.at == "/my data");
        assert!(data.needs(&names("sdd1")) && data.needs(&names("sde1")));
        assert!(!net.needs(&names("sda1")) && !net.is_on("", &names("sda1")));
    }
}
