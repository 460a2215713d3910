//! Disks of a device, and what uses them: mounts, swap, device mapper, RAID, btrfs.

use std::collections::BTreeSet;
use std::fmt;

use hosttune_core::host::{EntryKind, unescaped_path};
use hosttune_core::{Host, HostError};
use hosttune_pci::Address;

use super::nodes::{directories, is_absent};

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
        const VITAL: [&str; 7] = ["/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/nix"];
        match self {
            Self::Mounted { at, .. } => VITAL.contains(&at.as_str()),
            Self::Swap { .. } | Self::PerhapsZfs { .. } => true,
            Self::PartOf { .. } => false,
        }
    }
}

impl fmt::Display for DiskUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted { disk, at } => write!(f, "{disk} is mounted at {at}"),
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
    let mut all: BTreeSet<String> = own.clone();
    let mut left: Vec<String> = own.iter().cloned().collect();
    while let Some(disk) = left.pop() {
        let inside = format!("/block/{disk}/");
        let partitions = blocks.iter().filter(|block| block.target.contains(&inside));
        let holders = list(host, &format!("{BLOCK}/{disk}/holders"))?;
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
    let numbers = |disk: &String| text(host, &format!("{BLOCK}/{disk}/dev"));
    let mounts = text(host, "/proc/self/mountinfo")?;
    let swaps = text(host, "/proc/swaps")?;
    for disk in &all {
        let names = names_of(host, disk)?;
        let number = numbers(disk)?.trim().to_owned();
        for at in mounted_at(&mounts, &number, &names) {
            uses.push(DiskUse::Mounted {
                disk: disk.clone(),
                at,
            });
        }
        let is_swap = |line: &str| {
            let path = line.split_whitespace().next().unwrap_or_default();
            names.iter().any(|name| name == path)
        };
        if swaps.lines().skip(1).any(is_swap) {
            uses.push(DiskUse::Swap { disk: disk.clone() });
        }
    }
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
    for directory in directories(host, address)? {
        let mut parts = directory.rsplit('/');
        let (Some(controller), Some("nvme")) = (parts.next(), parts.next()) else {
            continue;
        };
        for subsystem in list(host, "/sys/class/nvme-subsystem")? {
            if host.exists(format!(
                "/sys/class/nvme-subsystem/{subsystem}/{controller}"
            ))? {
                above.push(format!("/{subsystem}/"));
            }
        }
    }
    let own = |block: &&Block| above.iter().any(|above| block.target.contains(above));
    Ok(blocks
        .iter()
        .filter(own)
        .map(|block| block.name.clone())
        .collect())
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

/// Where a block device is mounted: the lines of `mountinfo` with its number, or with its name as
/// source, because btrfs shows a number of its own.
fn mounted_at(mounts: &str, number: &str, names: &[String]) -> Vec<String> {
    let mount = |line: &str| {
        let (of_mount, of_source) = line.split_once(" - ")?;
        let mut words = of_mount.split(' ');
        let (seen, at) = (words.nth(2)?, words.nth(1)?);
        let source = of_source.split(' ').nth(1)?;
        let is_it = (!number.is_empty() && seen == number)
            || names.iter().any(|name| *name == unescaped_path(source));
        is_it.then(|| unescaped_path(at))
    };
    mounts.lines().filter_map(mount).collect()
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
