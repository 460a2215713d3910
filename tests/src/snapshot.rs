//! Whole subtrees of what the kernel shows, before and after, so that changes nobody asked for
//! show as well.
//!
//! What changes by itself is left out by name, and each name has its reason beside it: of files in
//! `snapshot/restless.rs`, of links and qdiscs in `snapshot/attributes.rs`. Everything else that
//! can be read without an effect is compared byte for byte, and what cannot be read by the error
//! number that the kernel answers with.

mod attributes;
mod configuration_space;
mod files;
mod network;
mod restless;
mod stored;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// A part of what the kernel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subtree {
    /// `/proc/sys`, as the calling thread's namespaces see it.
    Sysctls,
    /// `/sys/block`: each disk's own attributes, those of its queue and of its scheduler.
    BlockDevices,
    /// `/sys/bus/pci`: each device with its configuration space, and which driver has which.
    PciDevices,
    /// `/sys/devices/system/cpu`.
    Processors,
    /// `/sys/kernel/mm`.
    Memory,
    /// The network links of the calling thread's network namespace.
    Links,
    /// Their qdiscs, classes and filters.
    Qdiscs,
    /// Which modules are loaded.
    Modules,
}

impl Subtree {
    /// Every one there is.
    pub const ALL: [Self; 8] = [
        Self::Sysctls,
        Self::BlockDevices,
        Self::PciDevices,
        Self::Processors,
        Self::Memory,
        Self::Links,
        Self::Qdiscs,
        Self::Modules,
    ];

    /// What is left out of it because it changes by itself or must not be read, each with its
    /// reason: for files the patterns of their paths beneath the top, where a directory stands for
    /// all that is in it; for links and qdiscs the attributes by their numbers.
    #[must_use]
    pub fn restless(self) -> Vec<(String, &'static str)> {
        match self {
            Self::Links => attributes::restless(true),
            Self::Qdiscs => attributes::restless(false),
            _ => {
                let names = restless::of(self).iter();
                names
                    .map(|(name, why)| ((*name).to_owned(), *why))
                    .collect()
            }
        }
    }

    /// Where its files lie, for those that consist of files.
    #[must_use]
    pub fn top(self) -> Option<&'static Path> {
        let path = match self {
            Self::Sysctls => "/proc/sys",
            Self::BlockDevices => "/sys/block",
            Self::PciDevices => "/sys/bus/pci",
            Self::Processors => "/sys/devices/system/cpu",
            Self::Memory => "/sys/kernel/mm",
            Self::Modules => "/proc/modules",
            Self::Links | Self::Qdiscs => return None,
        };
        Some(Path::new(path))
    }
}

/// One thing as the kernel showed it.
#[derive(Clone, PartialEq, Eq)]
pub enum Seen {
    /// It holds this.
    Holds(Vec<u8>),
    /// It is a link that leads there.
    LeadsTo(PathBuf),
    /// It is there, and is this: a directory, or something that is not for reading.
    Is(Cow<'static, str>),
    /// The kernel does not show it, with this error number.
    Refused(Option<i32>),
}

impl fmt::Debug for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !text.contains('\0') => write!(out, "{text:?}"),
                _ => {
                    write!(out, "0x")?;
                    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
                }
            },
            Self::LeadsTo(path) => write!(out, "a link to {}", path.display()),
            Self::Is(what) => write!(out, "{what}"),
            Self::Refused(Some(errno)) => write!(out, "unreadable (error {errno})"),
            Self::Refused(None) => write!(out, "unreadable"),
        }
    }
}

/// What is not the same in two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<'a> {
    /// Its path, or for what is no file its name: `qdisc eth0 8001: root`.
    pub what: &'a str,
    /// How the first snapshot has it.
    pub was: Option<&'a Seen>,
    /// How the second one has it.
    pub is: Option<&'a Seen>,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |seen: Option<&Seen>| seen.map_or("absent".to_owned(), |seen| format!("{seen:?}"));
        write!(
            out,
            "{}: was {}, is {}",
            self.what,
            shown(self.was),
            shown(self.is)
        )
    }
}

/// Everything in some subtrees, or some files, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    seen: BTreeMap<String, Seen>,
    excepted: BTreeMap<String, String>,
}

impl Snapshot {
    /// Of every subtree. That this kernel has none of one is a value as well.
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of).
    #[must_use]
    pub fn of_everything() -> Self {
        Self::of(&Subtree::ALL)
    }

    /// Of these subtrees.
    ///
    /// # Panics
    ///
    /// Where `/proc/sys` holds so little that it cannot be the kernel's.
    #[must_use]
    pub fn of(subtrees: &[Subtree]) -> Self {
        let snapshot = Self::beneath(Path::new("/"), subtrees);
        if subtrees.contains(&Subtree::Sysctls) {
            let count = snapshot.seen.len();
            assert!(count > 100, "/proc/sys holds only {count} values");
        }
        snapshot
    }

    /// Of these subtrees where all files are looked for beneath another root, as in a tree made up
    /// for it; they keep the names that they have beneath `/`.
    ///
    /// Links and qdiscs, which are no files, are always the kernel's.
    #[must_use]
    pub fn beneath(root: &Path, subtrees: &[Subtree]) -> Self {
        let mut seen = BTreeMap::new();
        for subtree in subtrees {
            match subtree {
                Subtree::Links => network::links(&mut seen),
                Subtree::Qdiscs => network::qdiscs(&mut seen),
                Subtree::Modules => files::modules(root, &mut seen),
                Subtree::Sysctls
                | Subtree::BlockDevices
                | Subtree::PciDevices
                | Subtree::Processors
                | Subtree::Memory => files::subtree(*subtree, root, &mut seen),
            }
        }
        Self {
            seen,
            excepted: BTreeMap::new(),
        }
    }

    /// Of these files only, whatever they are: for the thousands of looks in between.
    #[must_use]
    pub fn of_files(paths: &[PathBuf]) -> Self {
        let one = |path: &PathBuf| (path.display().to_string(), files::read(path));
        Self {
            seen: paths.iter().map(one).collect(),
            excepted: BTreeMap::new(),
        }
    }

    /// Leaves these out of every comparison with this snapshot, on either side: what is known to
    /// change along, and why that is right. Each names one thing, and all that is beneath it.
    ///
    /// # Panics
    ///
    /// Where a reason is missing.
    #[must_use]
    pub fn except(mut self, known: &[(&str, &str)]) -> Self {
        for (what, why) in known {
            assert!(!why.is_empty(), "why may {what} change?");
            self.excepted.insert((*what).to_owned(), (*why).to_owned());
        }
        self
    }

    /// Keeps one thing and all that is beneath it: for where the rest is somebody else's.
    #[must_use]
    pub fn only(mut self, what: &str) -> Self {
        self.seen.retain(|one, _| is_beneath(what, one));
        self
    }

    /// Keeps only what this holds of.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&str) -> bool) {
        self.seen.retain(|what, _| is_kept(what));
    }

    /// Adds something that no subtree has.
    pub(crate) fn add(&mut self, what: &str, seen: Seen) {
        self.seen.insert(what.to_owned(), seen);
    }

    /// How one thing was seen.
    #[must_use]
    pub fn get(&self, what: &str) -> Option<&Seen> {
        self.seen.get(what)
    }

    /// What was seen, by name and in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Seen)> {
        self.seen.iter().map(|(what, seen)| (what.as_str(), seen))
    }

    /// What is not the same.
    #[must_use]
    pub fn differences<'a>(&'a self, now: &'a Self) -> Vec<Difference<'a>> {
        let all: BTreeSet<&String> = self.seen.keys().chain(now.seen.keys()).collect();
        all.into_iter()
            .map(|what| Difference {
                what,
                was: self.seen.get(what),
                is: now.seen.get(what),
            })
            .filter(|difference| difference.was != difference.is)
            .filter(|difference| !self.excepts(difference.what) && !now.excepts(difference.what))
            .collect()
    }

    fn excepts(&self, what: &str) -> bool {
        let mut excepted = self.excepted.keys();
        excepted.any(|excepted| is_beneath(excepted, what))
    }

    /// What is not the same, one line each.
    #[must_use]
    pub fn differs(&self, now: &Self) -> Vec<String> {
        let differences = self.differences(now);
        differences.iter().map(ToString::to_string).collect()
    }

    /// How many things are not the same.
    #[must_use]
    pub fn distance(&self, now: &Self) -> usize {
        self.differences(now).len()
    }

    /// Fails where anything is not the same.
    ///
    /// # Panics
    ///
    /// There, naming each.
    #[track_caller]
    pub fn is_still(&self, now: &Self, when: impl fmt::Display) {
        let differs = self.differs(now);
        assert!(differs.is_empty(), "{when}: {differs:#?}");
    }
}

/// Whether this is that one, a file in it if it is a directory, or a part of it if it is a link or
/// a qdisc.
fn is_beneath(one: &str, what: &str) -> bool {
    what.strip_prefix(one)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ' ']))
}
