//! The records of a journal, folded: what is pending, what was interrupted, what was refused.

mod owners;
mod reading;
mod writing;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(super) use owners::foreign;
pub(crate) use owners::{Foreign, Start};

use super::JournalLocation;
use super::entry::Entry;
use crate::plan::Step;
use crate::unsupported::Unsupported;

/// The purpose of an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    /// Undo a failed or interrupted apply.
    Rollback,
    /// A revert was requested.
    Revert,
}

/// An interrupted run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Open {
    Applying { apply: u64 },
    Undoing { ids: Vec<u64>, force: bool },
}

/// A step that the kernel refused in this boot.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) step: Step,
    pub(crate) unsupported: Unsupported,
    boot: String,
}

/// The program of an owner, as recorded in its journal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writer {
    pub(crate) program: String,
    /// The knob types that it knows.
    pub(crate) kinds: Vec<String>,
}

#[derive(Debug, Default)]
struct File {
    /// Where the next record goes.
    length: u64,
    exists: bool,
    program: String,
    version: u32,
    /// The interrupted run: an apply is in the file that records it, an undo in either of them.
    open: Option<Open>,
    /// Whether it still has entries that are no longer pending, because a mark could not be written.
    behind: bool,
}

/// The content of an owner's journal.
#[derive(Debug)]
pub(crate) struct Log {
    owner: String,
    writer: Writer,
    boot: String,
    /// The network namespace of this process, if known.
    namespace: Option<String>,
    /// The entries of this owner in other network namespaces. Nothing here reads or changes their
    /// knobs: the same knobs in this namespace are others.
    pub(crate) elsewhere: BTreeMap<u64, Entry>,
    /// By ID, which is the order in which they were done.
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) refused: Vec<Refused>,
    /// How many entries a reboot has undone already.
    pub(crate) dropped: usize,
    /// How many bytes of interrupted writes were ignored.
    pub(crate) cut: u64,
    applies: u64,
    next: u64,
    boot_file: File,
    disk_file: File,
    /// The other owners' journals, if they can be read.
    pub(crate) others: Vec<Log>,
    /// Notes for people: which journals of others could not be read and why, and which undos of
    /// theirs were finished first.
    pub(crate) notes: Vec<String>,
}

impl Log {
    /// The other owners whose undo was interrupted.
    pub(crate) fn owners_in_the_middle_of_an_undo(&self) -> impl Iterator<Item = &Self> {
        let others = self.others.iter();
        others.filter(|other| matches!(other.open(), Some(Open::Undoing { .. })))
    }

    /// The owner of the journal.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// The network namespace in which it was read, if known.
    pub(crate) fn network_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The ID of the next entry, of any owner.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The program that wrote the file.
    pub(crate) fn program_of(&self, location: JournalLocation) -> &str {
        match location {
            JournalLocation::Volatile => &self.boot_file.program,
            JournalLocation::Persistent => &self.disk_file.program,
        }
    }

    /// The interrupted run. An undo takes precedence over the apply that it undoes: it began later.
    pub(crate) fn open(&self) -> Option<&Open> {
        let opens = [&self.boot_file.open, &self.disk_file.open];
        let undo = opens
            .into_iter()
            .find(|open| matches!(open, Some(Open::Undoing { .. })));
        undo.or_else(|| opens.into_iter().find(|open| open.is_some()))
            .and_then(Option::as_ref)
    }

    fn file(&mut self, location: JournalLocation) -> &mut File {
        match location {
            JournalLocation::Volatile => &mut self.boot_file,
            JournalLocation::Persistent => &mut self.disk_file,
        }
    }

    /// Whether nothing is pending or remembered.
    fn holds_nothing(&self) -> bool {
        self.entries.is_empty() && self.elsewhere.is_empty() && self.refused.is_empty()
    }
}
