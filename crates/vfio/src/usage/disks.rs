//! Disks of a device, and what uses them: mounts, swap, device mapper, RAID, btrfs, loop devices, zram.

use std::collections::BTreeSet;
use std::fmt;

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError};
use hosttune_pci::Address;

use super::mounts::{canonical, elsewhere, mounts};
use super::nodes::is_absent;

const BLOCK: &str = "/sys/class/block";

/// A use of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskUse {
    /// A file system is mounted.
    Mounted {
        /// The block device.
        disk: String,
        /// Where.
        at: String,
    },
    /// A mounted file system needs it beside its first disk: another disk of bcachefs, or the log of
    /// XFS.
    PartOfMounted {
        /// The block device.
        disk: String,
        /// Where the file system is mounted.
        at: String,
    },
    /// A file system is mounted only in another mount namespace, such as that of a container.
    MountedElsewhere {
        /// The block device.
        disk: String,
        /// Where, in that namespace.
        at: String,
        /// A process in that namespace.
        process: u32,
        /// Its name.
        name: String,
    },
    /// The kernel has a file system of it open, and no namespace shows where it is mounted: it was
    /// unmounted lazily and is in use, or nothing runs in its namespace.
    Open {
        /// The block device.
        disk: String,
    },
    /// It holds the journal of an ext4 file system on another disk. The kernel does not show on which.
    Journal {
        /// The block device.
        disk: String,
    },
    /// It is swap.
    Swap {
        /// The block device.
        disk: String,
    },
    /// Another block device or file system is made of it.
    PartOf {
        /// The block device.
        disk: String,
        /// The other one, such as `dm-0`, `md127` or `a btrfs file system`.
        whole: String,
    },
    /// ZFS has pools, and the kernel does not show on which disks.
    PerhapsZfs {
        /// The block device.
        disk: String,
    },
}

impl DiskUse {
    /// Whether the running system needs it: root, boot or swap.
    #[must_use]
    pub fn is_vital(&self) -> bool {
        match self {
            Self::Mounted { at, .. } | Self::PartOfMounted { at, .. } => is_vital(at),
            Self::Swap { .. } | Self::PerhapsZfs { .. } => true,
            Self::PartOf { .. }
            | Self::MountedElsewhere { .. }
            | Self::Open { .. }
            | Self::Journal { .. } => false,
        }
    }

    /// What to do so that it is no longer used.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Mounted { at, .. } | Self::PartOfMounted { at, .. } => {
                format!("unmount it: umount {}", quoted(at))
            }
            Self::MountedElsewhere { at, process, .. } => format!(
                "end what runs there, or unmount it there: nsenter --mount --target {process} umount {}",
                quoted(at)
            ),
            Self::PartOf { whole, .. } if whole.starts_with("loop") => {
                format!("take it out of use first: losetup --detach /dev/{whole}")
            }
            _ => "take it out of use first".to_owned(),
        }
    }
}

/// Whether the running system needs what is mounted there.
pub(super) fn is_vital(at: &str) -> bool {
    const VITAL: [&str; 7] = ["/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/nix"];
    VITAL.contains(&at)
}

/// A path or a name as one word for a shell.
pub(super) fn quoted(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-@:".contains(&byte);
    match path.bytes().all(plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

impl fmt::Display for DiskUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted { disk, at } => write!(f, "{disk} is mounted at {at}"),
            Self::PartOfMounted { disk, at } => {
                write!(
                    f,
                    "{disk} belongs to the file system that is mounted at {at}"
                )
            }
            Self::MountedElsewhere {
                disk,
                at,
                process,
                name,
            } => write!(
                f,
                "{disk} is mounted at {at} in the mount namespace of {name} (process {process})"
            ),
            Self::Open { disk } => write!(
                f,
                "{disk} has an open file system that is mounted nowhere here: in another mount namespace, or unmounted lazily and still in use"
            ),
            Self::Journal { disk } => write!(
                f,
                "{disk} holds the journal of a file system on another disk"
            ),
            Self::Swap { disk } => write!(f, "{disk} is swap"),
            Self::PartOf { disk, whole } => write!(f, "{disk} is part of {whole}"),
            Self::PerhapsZfs { disk } => {
                write!(
                    f,
                    "{disk} may be part of a ZFS pool, which the kernel does not show"
                )
            }
        }
    }
}

/// A block device of the host.
struct Block {
    name: String,
    /// Its path below `/sys/devices`.
    target: String,
}

/// The uses of the disks of a device.
pub(crate) fn disk_uses(host: &Host, address: Address) -> Result<Vec<DiskUse>, HostError> {
    let blocks = all_blocks(host)?;
    let own = own_disks(host, address, &blocks)?;
    if own.is_empty() {
        return Ok(Vec::new());
    }
    let mut uses = Vec::new();
    let stacked = stacked(host, &blocks)?;
    let mut all: BTreeSet<String> = own.clone();
    let mut left: Vec<String> = own.iter().cloned().collect();
    while let Some(disk) = left.pop() {
        let inside = format!("/block/{disk}/");
        let partitions = blocks.iter().filter(|block| block.target.contains(&inside));
        let mut holders = list(host, &format!("{BLOCK}/{disk}/holders"))?;
        let names = names_of(host, &disk)?;
        let on_it = stacked.iter().filter(|(_, below)| names.contains(below));
        holders.extend(on_it.map(|(whole, _)| whole.clone()));
        for whole in &holders {
            uses.push(DiskUse::PartOf {
                disk: disk.clone(),
                whole: whole.clone(),
            });
        }
        let names = partitions.map(|block| block.name.clone()).chain(holders);
        for name in names {
            if all.insert(name.clone()) {
                left.push(name);
            }
        }
    }
    add_btrfs(host, &mut all, &mut uses)?;
    add_mounted(host, &all, &mut uses)?;
    let is_pool = |name: &&String| !matches!(name.as_str(), "import_progress");
    let pools = list(host, "/proc/spl/kstat/zfs")?;
    let mut has_pools = false;
    for pool in pools.iter().filter(is_pool) {
        let entry = host.entry(format!("/proc/spl/kstat/zfs/{pool}"))?;
        has_pools |= entry.is_some_and(|entry| entry.kind == EntryKind::Directory);
    }
    if has_pools {
        uses.extend(own.into_iter().map(|disk| DiskUse::PerhapsZfs { disk }));
    }
    Ok(uses)
}

/// The names of the disks of a device, partitions too.
pub(crate) fn disk_names(host: &Host, address: Address) -> Result<BTreeSet<String>, HostError> {
    own_disks(host, address, &all_blocks(host)?)
}

fn all_blocks(host: &Host) -> Result<Vec<Block>, HostError> {
    let mut blocks = Vec::new();
    for name in list(host, BLOCK)? {
        let entry = host.entry(format!("{BLOCK}/{name}"))?;
        if let Some(EntryKind::Link(target)) = entry.map(|entry| entry.kind) {
            let target = target.to_string_lossy().into_owned();
            blocks.push(Block { name, target });
        }
    }
    Ok(blocks)
}

/// The block devices of a PCI device, partitions too.
///
/// With multipath the disk of an NVMe controller is not below the controller, but below the
/// subsystem that it belongs to.
fn own_disks(
    host: &Host,
    address: Address,
    blocks: &[Block],
) -> Result<BTreeSet<String>, HostError> {
    let mut above: Vec<String> = vec![format!("/{address}/")];
    for subsystem in nvme_subsystems(host, address)? {
        above.push(format!("/{subsystem}/"));
    }
    let own = |block: &&Block| above.iter().any(|above| block.target.contains(above));
    Ok(blocks
        .iter()
        .filter(own)
        .map(|block| block.name.clone())
        .collect())
}

const SUBSYSTEMS: &str = "/sys/class/nvme-subsystem";

/// The NVMe subsystems of the controllers below a PCI device, also in the domain of its own that Intel's
/// VMD makes.
fn nvme_subsystems(host: &Host, address: Address) -> Result<Vec<String>, HostError> {
    let below = format!("/{address}/");
    let mut found = Vec::new();
    for subsystem in list(host, SUBSYSTEMS)? {
        let directory = format!("{SUBSYSTEMS}/{subsystem}");
        for name in list(host, &directory)? {
            let entry = host.entry(format!("{directory}/{name}"))?;
            if let Some(EntryKind::Link(target)) = entry.map(|entry| entry.kind)
                && target.to_string_lossy().contains(&below)
            {
                found.push(subsystem);
                break;
            }
        }
    }
    Ok(found)
}

/// The directories of the NVMe subsystems of a PCI device, in which its disks are with multipath.
pub(super) fn multipath_directories(
    host: &Host,
    address: Address,
) -> Result<Vec<String>, HostError> {
    let mut found = Vec::new();
    for subsystem in nvme_subsystems(host, address)? {
        found.push(format!("{SUBSYSTEMS}/{subsystem}"));
    }
    Ok(found)
}

/// Block devices that have another one open without a link to it in `holders`: loop devices, and zram
/// that writes pages back. With the name under `/dev` of the one below.
fn stacked(host: &Host, blocks: &[Block]) -> Result<Vec<(String, String)>, HostError> {
    let mut found = Vec::new();
    for Block { name, .. } in blocks {
        let file = match name.trim_end_matches(|last: char| last.is_ascii_digit()) {
            "loop" => "loop/backing_file",
            "zram" => "backing_dev",
            _ => continue,
        };
        let below = text(host, &format!("{BLOCK}/{name}/{file}"))?;
        let below = below.trim_end_matches('\n');
        if below.starts_with("/dev/") {
            found.push((name.clone(), canonical(host, below)));
        }
    }
    Ok(found)
}

/// Adds what is mounted of these disks, here and elsewhere, and what is swap.
fn add_mounted(
    host: &Host,
    all: &BTreeSet<String>,
    uses: &mut Vec<DiskUse>,
) -> Result<(), HostError> {
    let here = mounts(host)?;
    let swaps = text(host, "/proc/swaps")?;
    let journals = list(host, "/proc/fs/jbd2")?;
    let mut others = None;
    for disk in all {
        let names = names_of(host, disk)?;
        let number = text(host, &format!("{BLOCK}/{disk}/dev"))?;
        let number = number.trim();
        let known = uses.len();
        for mount in &here {
            let (disk, at) = (disk.clone(), mount.at.clone());
            if mount.is_on(number, &names) {
                uses.push(DiskUse::Mounted { disk, at });
            } else if mount.needs(&names) {
                uses.push(DiskUse::PartOfMounted { disk, at });
            }
        }
        if uses.len() == known {
            let others = match &mut others {
                Some(others) => others,
                none => none.insert(elsewhere(host)?),
            };
            let mut mounts = others
                .iter()
                .flat_map(|other| other.mounts.iter().map(move |mount| (other, mount)));
            if let Some((other, mount)) =
                mounts.find(|(_, mount)| mount.is_on(number, &names) || mount.needs(&names))
            {
                uses.push(DiskUse::MountedElsewhere {
                    disk: disk.clone(),
                    at: mount.at.clone(),
                    process: other.process,
                    name: other.name.clone(),
                });
            } else if has_open_file_system(host, disk)? {
                uses.push(DiskUse::Open { disk: disk.clone() });
            }
        }
        // The journal of a file system on the same disk is named `DISK-INODE`.
        if journals.contains(disk) {
            uses.push(DiskUse::Journal { disk: disk.clone() });
        }
        let is_swap = |line: &str| {
            let path = line.split_whitespace().next().unwrap_or_default();
            names.iter().any(|name| name == path)
        };
        if swaps.lines().skip(1).any(is_swap) {
            uses.push(DiskUse::Swap { disk: disk.clone() });
        }
    }
    Ok(())
}

/// Whether the kernel has a file system of a disk open, whatever namespace it is mounted in: these have
/// a directory for each, bcachefs a link.
fn has_open_file_system(host: &Host, disk: &str) -> Result<bool, HostError> {
    for kind in ["ext4", "xfs", "f2fs"] {
        if host.exists(format!("/sys/fs/{kind}/{disk}"))? {
            return Ok(true);
        }
    }
    host.exists(format!("{BLOCK}/{disk}/bcachefs"))
}

/// A btrfs file system of several disks shows one of them in the list of mounts, so the others are
/// added.
fn add_btrfs(
    host: &Host,
    all: &mut BTreeSet<String>,
    uses: &mut Vec<DiskUse>,
) -> Result<(), HostError> {
    for uuid in list(host, "/sys/fs/btrfs")? {
        let members = list(host, &format!("/sys/fs/btrfs/{uuid}/devices"))?;
        let Some(disk) = members.iter().find(|member| all.contains(*member)) else {
            continue;
        };
        uses.push(DiskUse::PartOf {
            disk: disk.clone(),
            whole: "a btrfs file system".to_owned(),
        });
        all.extend(members);
    }
    Ok(())
}

/// The names under `/dev` by which a block device is mounted.
fn names_of(host: &Host, disk: &str) -> Result<Vec<String>, HostError> {
    let mapped = text(host, &format!("{BLOCK}/{disk}/dm/name"))?;
    let mapped = mapped.trim();
    let mut names = vec![format!("/dev/{disk}")];
    if !mapped.is_empty() {
        names.push(format!("/dev/mapper/{mapped}"));
    }
    Ok(names)
}

fn list(host: &Host, path: &str) -> Result<Vec<String>, HostError> {
    match host.list(path) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        names => names,
    }
}

fn text(host: &Host, path: &str) -> Result<String, HostError> {
    match host.read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if is_absent(&error) => Ok(String::new()),
        Err(error) => Err(error),
    }
}
