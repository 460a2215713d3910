//! The records of a journal, folded: what is pending, what was interrupted, what was refused.

mod owners;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub(super) use owners::foreign;
pub(crate) use owners::{Foreign, Start};

use super::compaction::{Knobs, fold, superseded};
use super::entry::Entry;
use super::line::{self, Parsed, Record};
use super::{FORMAT, JournalError, JournalLocation, Store};
use crate::knob::Lifetime;
use crate::plan::{Before, Step};
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
    /// Reads an owner's journal, and those of the other owners. Writes nothing.
    ///
    /// If another owner's journal is damaged or was written by a later version, this owner can
    /// still work with its own. The values that the other has set then count as another process's.
    ///
    /// Without `writer`, the journal keeps the one that it names.
    pub(crate) fn load(
        store: &dyn Store,
        owner: &str,
        writer: Option<Writer>,
        boot: &str,
    ) -> Result<Self, JournalError> {
        let mut log = Self::load_one(store, owner, boot)?;
        if let Some(writer) = writer {
            log.writer = writer;
        }
        let mut owners = BTreeSet::new();
        for location in JournalLocation::ALL {
            owners.extend(store.owners(location)?);
        }
        owners.remove(owner);
        for other in owners {
            match Self::load_one(store, &other, boot) {
                Ok(other) => log.others.push(other),
                // The file may be intact although the file system cannot provide it now.
                Err(error @ JournalError::Failed { .. }) => return Err(error),
                Err(error) => log.notes.push(format!(
                    "the journal of {other} could not be read, so its changes are ignored: {error}"
                )),
            }
        }
        // The entries of all owners share one numbering, which gives the order of their steps.
        let next = log.others.iter().map(|other| other.next).max();
        log.next = log.next.max(next.unwrap_or(0));
        Ok(log)
    }

    fn load_one(store: &dyn Store, owner: &str, boot: &str) -> Result<Self, JournalError> {
        let mut log = Self {
            owner: owner.to_owned(),
            writer: Writer::default(),
            boot: boot.to_owned(),
            entries: BTreeMap::new(),
            refused: Vec::new(),
            dropped: 0,
            cut: 0,
            applies: 0,
            next: 0,
            boot_file: File::default(),
            disk_file: File::default(),
            others: Vec::new(),
            notes: Vec::new(),
        };
        for location in JournalLocation::ALL {
            if let Some(bytes) = store.read(location, owner)? {
                let parsed = line::parse(&bytes, &store.path(location, owner))?;
                log.replay(location, parsed);
            }
        }
        log.forget_earlier_boots();
        Ok(log)
    }

    /// The other owners whose undo was interrupted.
    pub(crate) fn owners_in_the_middle_of_an_undo(&self) -> impl Iterator<Item = &Self> {
        let others = self.others.iter();
        others.filter(|other| matches!(other.open(), Some(Open::Undoing { .. })))
    }

    /// The owner of the journal.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// The ID of the next entry, of any owner.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    fn replay(&mut self, location: JournalLocation, parsed: Parsed) {
        self.cut += parsed.cut;
        self.writer.program.clone_from(&parsed.program);
        for kind in parsed.kinds {
            if !self.writer.kinds.contains(&kind) {
                self.writer.kinds.push(kind);
            }
        }
        *self.file(location) = File {
            length: parsed.length,
            exists: true,
            program: parsed.program,
            version: parsed.version,
            open: None,
            behind: false,
        };
        for record in parsed.records {
            self.fold(location, record);
        }
    }

    /// A reboot reset the running kernel, and may have made available what was refused.
    fn forget_earlier_boots(&mut self) {
        let before = self.entries.len();
        let boot = &self.boot;
        self.entries
            .retain(|_, entry| entry.step.lifetime == Lifetime::Disk || entry.boot == *boot);
        self.refused.retain(|refused| refused.boot == *boot);
        self.dropped = before - self.entries.len();
    }

    fn file(&mut self, location: JournalLocation) -> &mut File {
        match location {
            JournalLocation::Volatile => &mut self.boot_file,
            JournalLocation::Persistent => &mut self.disk_file,
        }
    }

    /// The program that wrote the file.
    pub(crate) fn program_of(&self, location: JournalLocation) -> &str {
        match location {
            JournalLocation::Volatile => &self.boot_file.program,
            JournalLocation::Persistent => &self.disk_file.program,
        }
    }

    fn fold(&mut self, location: JournalLocation, record: Record) {
        match record {
            Record::Journal { .. } => {}
            Record::Begin {
                apply,
                boot,
                first,
                steps,
            } => {
                self.applies = self.applies.max(apply);
                for (id, step) in (first..).zip(steps) {
                    self.next = self.next.max(id + 1);
                    let mut entry = Entry {
                        id,
                        apply,
                        boot: boot.clone(),
                        step,
                        changed: false,
                        shown: None,
                        rounded: Vec::new(),
                        after: None,
                        undoing: None,
                        undoing_at: None,
                        reset: None,
                        giver: None,
                        location,
                    };
                    entry.changed = entry.is_hold();
                    self.entries.insert(id, entry);
                }
                self.file(location).open = Some(Open::Applying { apply });
            }
            Record::From { id, from, affected } => self.change(id, |entry| {
                entry.step.from = Before::Known(from);
                for (kept, state) in entry.step.side_effects.iter_mut().zip(affected) {
                    kept.state = Before::Known(state);
                }
            }),
            Record::Changed { id, shown, after } => self.change(id, |entry| {
                entry.changed = true;
                entry.shown = shown;
                entry.after = Some(after);
            }),
            Record::Refused { id, unsupported } => {
                if let Some(entry) = self.entries.remove(&id) {
                    self.refused.push(Refused {
                        step: entry.step,
                        unsupported,
                        boot: entry.boot,
                    });
                }
            }
            Record::Done { apply } => {
                for entry in self.entries.values_mut().filter(|e| e.apply == apply) {
                    entry.changed = true;
                }
                let open = &mut self.file(location).open;
                if *open == Some(Open::Applying { apply }) {
                    *open = None;
                }
            }
            Record::Undo { ids, force, .. } => {
                self.file(location).open = Some(Open::Undoing { ids, force });
            }
            Record::Undoing { id, targets, at } => self.change(id, |entry| {
                entry.undoing = Some(targets);
                entry.undoing_at = at;
                entry.reset = None;
            }),
            Record::Kept { id } => self.change(id, |entry| {
                entry.undoing = None;
                entry.reset = None;
            }),
            Record::Reset { id, seen } => self.change(id, |entry| entry.reset = Some(seen)),
            Record::Undone { ids } => {
                for id in ids {
                    self.entries.remove(&id);
                }
            }
            Record::End => self.file(location).open = None,
            Record::Held {
                entries,
                refusals,
                next,
                applies,
                open,
            } => {
                self.file(location).open = open;
                self.next = self.next.max(next);
                self.applies = self.applies.max(applies);
                self.entries.extend(
                    entries
                        .into_iter()
                        .map(|entry| (entry.id, Entry { location, ..entry })),
                );
                for (step, unsupported, boot) in refusals {
                    // Each of an owner's two files has all refusals.
                    let mut known = self.refused.iter();
                    if !known.any(|known| known.step == step && known.boot == boot) {
                        self.refused.push(Refused {
                            step,
                            unsupported,
                            boot,
                        });
                    }
                }
            }
        }
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&id) {
            change(entry);
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

    /// Appends a record to a file and applies it to this log.
    fn append(
        &mut self,
        store: &mut dyn Store,
        location: JournalLocation,
        record: Record,
        sync: bool,
    ) -> Result<(), JournalError> {
        if self.file(location).version < FORMAT {
            // A program that knows only the older format of the file must not misread the record.
            self.write_whole(store, location, None)?;
        }
        let mut bytes = Vec::new();
        record.encode(&mut bytes)?;
        let offset = self.file(location).length;
        store.write_at(location, &self.owner, offset, &bytes, sync)?;
        self.file(location).length += bytes.len() as u64;
        self.fold(location, record);
        Ok(())
    }

    /// Writes the whole intent of an apply; it is durable on return.
    ///
    /// A single step with disk lifetime moves the whole apply to the disk, because an intent in two
    /// files could be left incomplete. The file is replaced as a whole with only the pending
    /// entries, so that a killed process cannot leave an incomplete intent, and a timer does not
    /// grow the file indefinitely.
    pub(crate) fn begin(
        &mut self,
        store: &mut dyn Store,
        steps: Vec<Step>,
        knobs: Knobs<'_>,
    ) -> Result<u64, JournalError> {
        let disk = steps.iter().any(|step| step.lifetime == Lifetime::Disk);
        let location = if disk {
            JournalLocation::Persistent
        } else {
            JournalLocation::Volatile
        };
        for changed in self.compact(knobs) {
            if changed != location {
                self.write_whole(store, changed, None)?;
            }
        }
        let apply = self.applies + 1;
        let record = Record::Begin {
            apply,
            boot: self.boot.clone(),
            first: self.next,
            steps,
        };
        self.write_whole(store, location, Some(record))?;
        Ok(apply)
    }

    /// Writes a mark about an entry to the file of the entry, without waiting for the disk.
    pub(crate) fn mark(
        &mut self,
        store: &mut dyn Store,
        location: JournalLocation,
        record: Record,
    ) -> Result<(), JournalError> {
        self.append(store, location, record, false)
    }

    /// Marks entries as no longer pending. If the mark cannot be written, the next run finds them
    /// again, undone already.
    pub(crate) fn undone(
        &mut self,
        store: &mut dyn Store,
        location: JournalLocation,
        ids: Vec<u64>,
    ) {
        let record = Record::Undone { ids: ids.clone() };
        if self.mark(store, location, record).is_err() {
            self.file(location).behind = true;
            for id in ids {
                self.entries.remove(&id);
            }
        }
    }

    /// Marks an apply as finished. On a disk this waits: a power cut must not undo a success that
    /// was reported.
    pub(crate) fn done(
        &mut self,
        store: &mut dyn Store,
        location: JournalLocation,
        apply: u64,
    ) -> Result<(), JournalError> {
        self.append(
            store,
            location,
            Record::Done { apply },
            location == JournalLocation::Persistent,
        )?;
        self.clear_if_empty(store)
    }

    /// Marks the beginning of an undo, in the file that lasts longer.
    pub(crate) fn undo(
        &mut self,
        store: &mut dyn Store,
        purpose: Purpose,
        ids: Vec<u64>,
        force: bool,
    ) -> Result<(), JournalError> {
        let location = self.lasting();
        self.append(
            store,
            location,
            Record::Undo {
                purpose,
                ids,
                force,
            },
            false,
        )
    }

    /// Marks an undo as finished; removes a journal with nothing pending.
    pub(crate) fn end(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        if self.holds_nothing() {
            // Unlike a record of the end, this needs no room on a full disk.
            return self.remove_files(store);
        }
        // The interrupted apply or undo may be recorded in either file.
        for location in JournalLocation::ALL {
            let file = self.file(location);
            if file.behind {
                // With an end after them, the entries that it still has would count as pending.
                let open = file.open.take();
                if let Err(error) = self.write_whole(store, location, None) {
                    self.file(location).open = open;
                    return Err(error);
                }
            } else if file.exists {
                self.append(
                    store,
                    location,
                    Record::End,
                    location == JournalLocation::Persistent,
                )?;
            }
        }
        self.clear_if_empty(store)
    }

    fn lasting(&mut self) -> JournalLocation {
        if self.disk_file.exists {
            JournalLocation::Persistent
        } else {
            JournalLocation::Volatile
        }
    }

    /// Removes the files if nothing is pending, interrupted or remembered.
    pub(crate) fn clear_if_empty(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        if self.holds_nothing() && self.open().is_none() {
            return self.remove_files(store);
        }
        Ok(())
    }

    /// Whether nothing is pending or remembered.
    fn holds_nothing(&self) -> bool {
        self.entries.is_empty() && self.refused.is_empty()
    }

    fn remove_files(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        for location in JournalLocation::ALL {
            if self.file(location).exists {
                store.remove(location, &self.owner)?;
                *self.file(location) = File::default();
            }
        }
        Ok(())
    }

    /// Drops, in memory, the entries that no revert needs. Returns the files that have fewer
    /// entries now.
    fn compact(&mut self, knobs: Knobs<'_>) -> Vec<JournalLocation> {
        let count = |entries: &BTreeMap<u64, Entry>, location: JournalLocation| {
            let of_place = |entry: &&Entry| entry.location == location;
            entries.values().filter(of_place).count()
        };
        let before = JournalLocation::ALL.map(|location| count(&self.entries, location));
        for id in superseded(&self.entries, &self.others, knobs) {
            self.entries.remove(&id);
        }
        fold(&mut self.entries, &self.others, knobs);
        let after = JournalLocation::ALL.map(|location| count(&self.entries, location));
        let changed = JournalLocation::ALL
            .into_iter()
            .zip(before.into_iter().zip(after));
        changed
            .filter(|(_, (before, after))| before != after)
            .map(|(location, _)| location)
            .collect()
    }

    /// Drops the entries that no revert needs, so that each knob is reverted once.
    pub(crate) fn shorten(&mut self, store: &mut dyn Store, knobs: Knobs<'_>) {
        let before = self.entries.clone();
        for location in self.compact(knobs) {
            if self.write_whole(store, location, None).is_err() {
                // A full disk is no reason not to revert; in that case the revert goes through all
                // steps.
                let of_place = before
                    .iter()
                    .filter(|(_, entry)| entry.location == location);
                self.entries
                    .extend(of_place.map(|(id, entry)| (*id, entry.clone())));
            }
        }
    }

    fn write_all(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        for location in JournalLocation::ALL {
            if self.file(location).exists {
                self.write_whole(store, location, None)?;
            }
        }
        Ok(())
    }

    /// Replaces a file with everything that is pending, and a further record.
    fn write_whole(
        &mut self,
        store: &mut dyn Store,
        location: JournalLocation,
        then: Option<Record>,
    ) -> Result<(), JournalError> {
        let of_place = |entry: &&Entry| entry.location == location;
        let entries: Vec<Entry> = self.entries.values().filter(of_place).cloned().collect();
        let refusals = self
            .refused
            .iter()
            .map(|refused| {
                (
                    refused.step.clone(),
                    refused.unsupported.clone(),
                    refused.boot.clone(),
                )
            })
            .collect();
        let mut bytes = Vec::new();
        let open = self.file(location).open.clone();
        if self.file(location).exists || !entries.is_empty() || then.is_none() {
            Record::Held {
                entries,
                refusals,
                next: self.next,
                applies: self.applies,
                open,
            }
            .encode(&mut bytes)?;
        }
        if let Some(record) = &then {
            record.encode(&mut bytes)?;
        }
        let mut whole = Vec::new();
        Record::Journal {
            version: FORMAT,
            owner: self.owner.clone(),
            program: self.writer.program.clone(),
            bytes: Some(bytes.len() as u64),
            kinds: self.writer.kinds.clone(),
        }
        .encode(&mut whole)?;
        whole.append(&mut bytes);
        store.replace(location, &self.owner, &whole)?;
        let program = self.writer.program.clone();
        let file = self.file(location);
        file.program = program;
        file.behind = false;
        file.version = FORMAT;
        file.exists = true;
        file.length = whole.len() as u64;
        if let Some(record) = then {
            self.fold(location, record);
        }
        Ok(())
    }
}
