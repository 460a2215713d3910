//! Snapshots of whole subtrees of kernel state, which are compared to detect unintended changes too.
//!
//! Values that change by themselves are excluded by name, each with its reason: files in
//! `snapshot/restless.rs`, attributes of links and qdiscs in `snapshot/attributes.rs`. Everything else that can
//! be read without side effects is compared byte by byte. A value that cannot be read is compared by the error
//! number.

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

/// A part of the kernel state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subtree {
    /// `/proc/sys`, as the calling thread's namespaces see it.
    Sysctls,
    /// `/sys/block`: the attributes of each disk, of its queue and of its scheduler.
    BlockDevices,
    /// `/sys/bus/pci`: each device with its configuration space and its driver.
    PciDevices,
    /// `/sys/devices/system/cpu`.
    Processors,
    /// `/sys/kernel/mm`.
    Memory,
    /// The network links of the calling thread's network namespace.
    Links,
    /// The qdiscs, classes and filters of these links.
    Qdiscs,
    /// The loaded modules.
    Modules,
}

impl Subtree {
    /// All subtrees.
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

    /// Returns what is excluded because it changes by itself or must not be read, each with its reason. For files
    /// these are patterns of paths below [`top`](Self::top), where a directory includes its contents; for links and
    /// qdiscs, the numbers of attributes.
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

    /// Returns the top directory or file of a subtree that consists of files.
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

/// The state of one entry.
#[derive(Clone, PartialEq, Eq)]
pub enum Seen {
    /// The contents of a file or the value of an attribute.
    Holds(Vec<u8>),
    /// The target of a symlink.
    LeadsTo(PathBuf),
    /// Another kind of entry, in words: a directory, or something that is not read.
    Is(Cow<'static, str>),
    /// It cannot be read; the error number, if there is one.
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

/// An entry that differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<'a> {
    /// Its path, or its name if it is not a file, such as `qdisc eth0 8001: root`.
    pub what: &'a str,
    /// Its state in the first snapshot; `None` if it is absent.
    pub was: Option<&'a Seen>,
    /// Its state in the second snapshot; `None` if it is absent.
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

/// The state of some subtrees or files at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    seen: BTreeMap<String, Seen>,
    excepted: BTreeMap<String, String>,
}

impl Snapshot {
    /// Takes a snapshot of all subtrees. A subtree that this kernel does not have is recorded as missing.
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of).
    #[must_use]
    pub fn of_everything() -> Self {
        Self::of(&Subtree::ALL)
    }

    /// Takes a snapshot of these subtrees.
    ///
    /// # Panics
    ///
    /// Panics if `/proc/sys` has too few values to be the kernel's.
    #[must_use]
    pub fn of(subtrees: &[Subtree]) -> Self {
        let snapshot = Self::beneath(Path::new("/"), subtrees);
        if subtrees.contains(&Subtree::Sysctls) {
            let count = snapshot.seen.len();
            assert!(count > 100, "/proc/sys holds only {count} values");
        }
        snapshot
    }

    /// Takes a snapshot of these subtrees with files below another root, such as a tree made for a test. The names
    /// of the files are the same as below `/`.
    ///
    /// Links and qdiscs, which are not files, are always those of the kernel.
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

    /// Takes a snapshot of these files only, for thousands of snapshots in quick succession.
    #[must_use]
    pub fn of_files(paths: &[PathBuf]) -> Self {
        let one = |path: &PathBuf| (path.display().to_string(), files::read(path));
        Self {
            seen: paths.iter().map(one).collect(),
            excepted: BTreeMap::new(),
        }
    }

    /// Excludes entries from comparisons with this snapshot, on either side. `known` lists what is known to change
    /// as well, and why that is right; a name includes everything below it.
    ///
    /// # Panics
    ///
    /// Panics if a reason is empty.
    #[must_use]
    pub fn except(mut self, known: &[(&str, &str)]) -> Self {
        for (what, why) in known {
            assert!(!why.is_empty(), "why may {what} change?");
            self.excepted.insert((*what).to_owned(), (*why).to_owned());
        }
        self
    }

    /// Keeps only one entry and everything below it, for a test that other programs may disturb.
    #[must_use]
    pub fn only(mut self, what: &str) -> Self {
        self.seen.retain(|one, _| is_beneath(what, one));
        self
    }

    /// Keeps only the entries for which `is_kept` is true.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&str) -> bool) {
        self.seen.retain(|what, _| is_kept(what));
    }

    /// Adds an entry that belongs to no subtree.
    pub(crate) fn add(&mut self, what: &str, seen: Seen) {
        self.seen.insert(what.to_owned(), seen);
    }

    /// Returns the state of one entry.
    #[must_use]
    pub fn get(&self, what: &str) -> Option<&Seen> {
        self.seen.get(what)
    }

    /// Iterates over the entries, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Seen)> {
        self.seen.iter().map(|(what, seen)| (what.as_str(), seen))
    }

    /// Returns the entries that differ.
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

    /// Returns the differences as text, one line each.
    #[must_use]
    pub fn differs(&self, now: &Self) -> Vec<String> {
        let differences = self.differences(now);
        differences.iter().map(ToString::to_string).collect()
    }

    /// Returns the number of differences.
    #[must_use]
    pub fn distance(&self, now: &Self) -> usize {
        self.differences(now).len()
    }

    /// Asserts that nothing differs.
    ///
    /// # Panics
    ///
    /// Panics with a list of all differences if there are any.
    #[track_caller]
    pub fn is_still(&self, now: &Self, when: impl fmt::Display) {
        let differs = self.differs(now);
        assert!(differs.is_empty(), "{when}: {differs:#?}");
    }
}

/// Whether `what` is `one` itself, a file below it, or a part of it if it is a link or qdisc.
fn is_beneath(one: &str, what: &str) -> bool {
    what.strip_prefix(one)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ' ']))
}
