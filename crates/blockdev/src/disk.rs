//! Disks and what the kernel reports about them, read through the host.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};
use hosttune_facts::Transport;
use serde::{Deserialize, Serialize};

use crate::name::DiskName;
use crate::place;

const BLOCK: &str = "/sys/block";
const BY_ID: &str = "/dev/disk/by-id";

/// What kind of block device a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DiskKind {
    /// A hardware disk, or one that a hypervisor presents as hardware.
    Disk,
    /// One path to a multipath NVMe namespace (`nvme0c0n1`): hidden, and the device that has the
    /// request queue.
    Path,
    /// Device-mapper: LVM, LUKS, multipath.
    DeviceMapper,
    /// Software RAID.
    Md,
    /// A file presented as a disk.
    Loop,
    /// Compressed RAM.
    Zram,
    /// A RAM disk.
    Ram,
    /// An optical drive.
    Optical,
    /// A floppy drive.
    Floppy,
    /// A non-SCSI network disk: nbd, rbd, drbd.
    Network,
    /// Anything else that is not hardware by its place in the device tree: a zvol, bcache, ublk,
    /// persistent memory, raw flash behind mtd, or a device of unknown origin.
    Other,
}

impl DiskKind {
    /// The kinds that the name identifies and that udev receives events for.
    pub(crate) const NAMED: [Self; 8] = [
        Self::DeviceMapper,
        Self::Md,
        Self::Loop,
        Self::Zram,
        Self::Ram,
        Self::Optical,
        Self::Floppy,
        Self::Network,
    ];

    /// Its name, as used in rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Path => "path",
            Self::DeviceMapper => "device-mapper",
            Self::Md => "md",
            Self::Loop => "loop",
            Self::Zram => "zram",
            Self::Ram => "ram",
            Self::Optical => "optical",
            Self::Floppy => "floppy",
            Self::Network => "network",
            Self::Other => "other",
        }
    }

    /// By the name, for names reserved to one driver; otherwise by the place in the device tree.
    fn of(name: &DiskName, is_hardware: bool) -> Self {
        if name.head().is_some() {
            return Self::Path;
        }
        let text = name.as_str();
        let by_place = if is_hardware { Self::Disk } else { Self::Other };
        DRIVERS
            .iter()
            .find(|(driver, _)| {
                let rest = text.strip_prefix(driver);
                rest.is_some_and(|rest| {
                    rest.starts_with(|one: char| one.is_ascii_digit() || one == '_')
                })
            })
            .map_or(by_place, |(_, kind)| *kind)
    }

    /// Name patterns of disks of this kind, for fnmatch(3); empty where the name does not identify
    /// the kind.
    pub(crate) fn patterns(self) -> Vec<String> {
        let of = DRIVERS.iter().filter(|(_, kind)| *kind == self);
        of.map(|(driver, _)| format!("{driver}[0-9_]*")).collect()
    }
}

/// Name prefixes reserved to one driver, each followed by a number or `_`.
const DRIVERS: [(&str, DiskKind); 10] = [
    ("dm-", DiskKind::DeviceMapper),
    ("md", DiskKind::Md),
    ("loop", DiskKind::Loop),
    ("zram", DiskKind::Zram),
    ("ram", DiskKind::Ram),
    ("sr", DiskKind::Optical),
    ("fd", DiskKind::Floppy),
    ("nbd", DiskKind::Network),
    ("rbd", DiskKind::Network),
    ("drbd", DiskKind::Network),
];

impl fmt::Display for DiskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which facts of each disk to read. Each costs one file read per disk, and only the selected ones
/// are read.
///
/// Name, kind, transport and paths are always known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// Whether the disk is rotational.
    pub rotational: bool,
    /// Its size.
    pub size: bool,
    /// Its model.
    pub model: bool,
    /// Serial number, world-wide name, and the kernel's `diskseq`.
    pub identity: bool,
    /// The names that udev gives the disk in `/dev/disk/by-id`.
    pub by_id: bool,
    /// Whether it is bio-based: it handles bios and has no requests.
    pub bio_based: bool,
}

impl Facts {
    /// All of them.
    pub const ALL: Self = Self {
        rotational: true,
        size: true,
        model: true,
        identity: true,
        by_id: true,
        bio_based: true,
    };
}

/// A disk and what the kernel reports about it. Facts that were not read or that the kernel does
/// not report are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Disk {
    /// Its kernel name, valid while the disk is present.
    pub name: DiskName,
    /// What kind of block device it is.
    pub kind: DiskKind,
    /// How it is attached.
    pub transport: Transport,
    /// Whether it reports itself as rotational. A virtio disk does, whatever backs it.
    pub rotational: Option<bool>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// The model name that the manufacturer gave it.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its world-wide name, as the kernel writes it: `naa.…`, `eui.…`, `t10.…`, `nvme.…`.
    pub wwid: Option<String>,
    /// The kernel's sequence number of the disk, never reused within a boot. Since Linux 5.15.
    pub diskseq: Option<u64>,
    /// Its names in `/dev/disk/by-id`, without the directory.
    pub by_id: Vec<String>,
    /// Whether it is bio-based: without requests it has no scheduler either.
    pub bio_based: Option<bool>,
    /// The paths of a multipath NVMe namespace, which have the request queues.
    pub paths: Vec<DiskName>,
}

impl Disk {
    /// Lists all disks of a host with all facts, in the natural order of their names.
    ///
    /// # Errors
    /// If sysfs exists and cannot be listed. A host without sysfs has no disks, and a disk that
    /// disappears during the call is left out.
    pub fn all(host: &Host) -> Result<Vec<Self>, HostError> {
        Self::survey(host, Facts::ALL)
    }

    /// Lists all disks of a host, with these facts only.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn survey(host: &Host, facts: Facts) -> Result<Vec<Self>, HostError> {
        let mut names: Vec<DiskName> = match host.list(BLOCK) {
            Ok(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
            Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        names.sort();
        let mut paths: HashMap<DiskName, Vec<DiskName>> = HashMap::new();
        for name in &names {
            if let Some(head) = name.head() {
                paths.entry(head).or_default().push(name.clone());
            }
        }
        let mut by_id = if facts.by_id {
            names_by_id(host)?
        } else {
            BTreeMap::new()
        };
        let disks = names.into_iter().map(|name| {
            let by_id = by_id.remove(name.as_str()).unwrap_or_default();
            let paths = paths.remove(&name).unwrap_or_default();
            Self::read(host, name, facts).map(|disk| {
                disk.map(|disk| Self {
                    by_id,
                    paths,
                    ..disk
                })
            })
        });
        disks.filter_map(Result::transpose).collect()
    }

    /// Reads one disk of a host, with these facts only; `None` if no disk has this name.
    ///
    /// # Errors
    /// If sysfs exists and cannot be read.
    pub fn one(host: &Host, name: &DiskName, facts: Facts) -> Result<Option<Self>, HostError> {
        let Some(disk) = Self::read(host, name.clone(), facts)? else {
            return Ok(None);
        };
        let by_id = if facts.by_id {
            names_by_id(host)?.remove(name.as_str()).unwrap_or_default()
        } else {
            Vec::new()
        };
        // Only NVMe disks have paths.
        let paths = if disk.transport == Transport::Nvme {
            let names = host.list(BLOCK)?;
            let names = names.iter().filter_map(|name| name.parse().ok());
            let mut paths: Vec<DiskName> = names
                .filter(|path: &DiskName| path.head().as_ref() == Some(name))
                .collect();
            paths.sort();
            paths
        } else {
            Vec::new()
        };
        Ok(Some(Self {
            by_id,
            paths,
            ..disk
        }))
    }

    fn read(host: &Host, name: DiskName, facts: Facts) -> Result<Option<Self>, HostError> {
        let directory = name.directory();
        let (transport, is_hardware) = match host.entry(&directory)?.map(|entry| entry.kind) {
            None => return Ok(None),
            Some(EntryKind::Link(device)) => {
                let device = device.to_string_lossy();
                (Transport::of_device(&device), place::is_hardware(&device))
            }
            Some(_) => (
                Transport::of_name(name.as_str()),
                place::is_hardware_name(name.as_str()),
            ),
        };
        let text = |file: &str| shown(host, &format!("{directory}/{file}"));
        let number = |file: &str| -> Option<u64> { text(file)?.parse().ok() };
        let wanted = |wanted: bool, fact: &dyn Fn() -> Option<String>| wanted.then(fact).flatten();
        Ok(Some(Self {
            kind: DiskKind::of(&name, is_hardware),
            transport,
            rotational: facts
                .rotational
                .then(|| number("queue/rotational"))
                .flatten()
                .map(|number| number != 0),
            // `size` counts sectors of 512 bytes, whatever the disk's own sector size.
            size: facts
                .size
                .then(|| number("size"))
                .flatten()
                .map(|sectors| sectors.saturating_mul(512)),
            model: wanted(facts.model, &|| text("device/model")),
            serial: wanted(facts.identity, &|| serial(host, &name)),
            wwid: wanted(facts.identity, &|| wwid(host, &name)),
            diskseq: facts.identity.then(|| diskseq(host, &name)).flatten(),
            bio_based: if facts.bio_based {
                Some(!host.exists(format!("{directory}/mq"))?)
            } else {
                None
            },
            by_id: Vec::new(),
            paths: Vec::new(),
            name,
        }))
    }

    /// The devices that have its request queues: its paths, or the disk itself.
    pub fn queues(&self) -> &[DiskName] {
        if self.paths.is_empty() {
            std::slice::from_ref(&self.name)
        } else {
            &self.paths
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// The trimmed contents of a file; `None` if it is empty, missing or unreadable.
fn shown(host: &Host, path: &str) -> Option<String> {
    let text = host.read_text(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Drivers put the file in different directories; the likelier one is tried first.
fn first(host: &Host, name: &DiskName, file: &str) -> Option<String> {
    let own = format!("{}/{file}", name.directory());
    let device = format!("{}/device/{file}", name.directory());
    let places = if name.as_str().starts_with("sd") {
        [device, own]
    } else {
        [own, device]
    };
    places.iter().find_map(|place| shown(host, place))
}

fn wwid(host: &Host, name: &DiskName) -> Option<String> {
    first(host, name, "wwid")
}

fn serial(host: &Host, name: &DiskName) -> Option<String> {
    first(host, name, "serial")
}

fn diskseq(host: &Host, name: &DiskName) -> Option<u64> {
    let text = host
        .read_text(format!("{}/uevent", name.directory()))
        .ok()?;
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("DISKSEQ=")?.parse().ok())
}

/// Label of the `diskseq` part of an [identity].
const COUNT: &str = "diskseq ";

/// What distinguishes a disk from a later one of the same name. `None` if there is no disk or
/// nothing to identify it by.
///
/// Where the kernel has it, `diskseq` alone would suffice, as it is never reused within a boot; the
/// world-wide name or serial number is there because a person can recognise it.
pub(crate) fn identity(host: &Host, name: &DiskName) -> Option<String> {
    let count = diskseq(host, name).map(|count| format!("{COUNT}{count}"));
    let own = wwid(host, name)
        .map(|wwid| format!("wwid {wwid}"))
        .or_else(|| serial(host, name).map(|serial| format!("serial {serial}")));
    match (own, count) {
        (Some(own), Some(count)) => Some(format!("{own}, {count}")),
        (own, count) => own.or(count),
    }
}

/// Whether two [identities](identity) can belong to the same disk.
///
/// A part that could not be read at the time, for example while the disk was resetting, is missing;
/// the other parts decide then.
pub(crate) fn is_same(identity: &str, other: &str) -> bool {
    let parts = |identity: &str| match identity.rsplit_once(COUNT) {
        Some((own, count)) => {
            let own = own.strip_suffix(", ").unwrap_or(own);
            (Some(count.to_owned()), Some(own.to_owned()))
        }
        None => (None, Some(identity.to_owned())),
    };
    let known = |(count, own): (_, Option<String>)| (count, own.filter(|own| !own.is_empty()));
    let ((count, own), (other_count, other_own)) = (known(parts(identity)), known(parts(other)));
    match (count, other_count) {
        (Some(count), Some(other)) => count == other,
        _ => match (own, other_own) {
            (Some(own), Some(other)) => {
                // A serial number is used in place of a world-wide name that could not be read.
                let label = |own: &str| own.split(' ').next().map(str::to_owned);
                own == other || label(&own) != label(&other)
            }
            _ => true,
        },
    }
}

/// Whether the disk is present.
pub(crate) fn is_there(host: &Host, name: &DiskName) -> Result<bool, HostError> {
    host.exists(name.directory())
}

/// The names in `/dev/disk/by-id`, by the disk that they point to.
fn names_by_id(host: &Host) -> Result<BTreeMap<String, Vec<String>>, HostError> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let names = match host.list(BY_ID) {
        Ok(names) => names,
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(found),
        Err(error) => return Err(error),
    };
    for name in names {
        let entry = host.entry(format!("{BY_ID}/{name}"))?;
        if let Some(EntryKind::Link(target)) = entry.map(|entry| entry.kind)
            && let Some(disk) = target.file_name()
        {
            let disk = disk.to_string_lossy().into_owned();
            found.entry(disk).or_default().push(name);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_of_an_identity_does_not_make_it_another_disks() {
        let whole = "wwid t10.ATA QEMU, HARDDISK, diskseq 5";
        for (other, same) in [
            (whole, true),
            ("diskseq 5", true),
            ("wwid t10.ATA QEMU, HARDDISK", true),
            ("diskseq 6", false),
            ("wwid t10.ATA QEMU, HARDDISK, diskseq 6", false),
            ("wwid another", false),
            ("serial 12", true),
        ] {
            assert_eq!(is_same(whole, other), same, "{other}");
            assert_eq!(is_same(other, whole), same, "{other}");
        }
    }

    #[test]
    fn a_name_tells_the_kind_where_it_is_the_drivers_own() {
        for (name, kind) in [
            ("sda", DiskKind::Disk),
            ("nvme0n1", DiskKind::Disk),
            ("nvme0c0n1", DiskKind::Path),
            ("dm-3", DiskKind::DeviceMapper),
            ("md127", DiskKind::Md),
            ("md_d0", DiskKind::Md),
            ("loop7", DiskKind::Loop),
            ("zram0", DiskKind::Zram),
            ("ram0", DiskKind::Ram),
            ("sr0", DiskKind::Optical),
            ("fd0", DiskKind::Floppy),
            ("nbd15", DiskKind::Network),
            ("ramdisk", DiskKind::Disk),
            ("loopy", DiskKind::Disk),
        ] {
            let name: DiskName = name.parse().unwrap();
            assert_eq!(DiskKind::of(&name, true), kind, "{name}");
            let elsewhere = if kind == DiskKind::Disk {
                DiskKind::Other
            } else {
                kind
            };
            assert_eq!(DiskKind::of(&name, false), elsewhere, "{name}");
        }
    }
}
