//! Writes records and whole files, and drops what no revert needs.

use std::collections::BTreeMap;

use super::{File, Log, Purpose};
use crate::journal::compaction::{Knobs, fold, superseded};
use crate::journal::entry::Entry;
use crate::journal::line::Record;
use crate::journal::{FORMAT, JournalError, JournalLocation, Store};
use crate::knob::Lifetime;
use crate::plan::Step;

impl Log {
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
        self.clear_if_empty(store)?;
        let file = self.file(location);
        if file.exists {
            let length = file.length;
            store.reserve(location, &self.owner, length);
        }
        Ok(())
    }

    /// Marks the beginning of an undo, in the file that lasts longer. What belongs to another
    /// network namespace is not undone here, nor by who finishes this undo.
    pub(crate) fn undo(
        &mut self,
        store: &mut dyn Store,
        purpose: Purpose,
        mut ids: Vec<u64>,
        force: bool,
    ) -> Result<(), JournalError> {
        ids.retain(|id| !self.elsewhere.contains_key(id));
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

    /// Takes a step for half undone, so that the undo does not [end](Self::end).
    pub(crate) fn set_half_undone(&mut self, id: u64) {
        self.change(id, |entry| {
            entry.undoing.get_or_insert_default();
        });
    }

    /// Marks an undo as finished; removes a journal with nothing pending.
    ///
    /// An undo in which a step was left half undone is not: the knob may show a state that nobody
    /// wants, and whoever changes anything next has to finish it first, as after a kill.
    pub(crate) fn end(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        if self.entries.values().any(|entry| entry.undoing.is_some()) {
            return Ok(());
        }
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

    /// Removes the files if nothing is pending, interrupted or remembered.
    pub(crate) fn clear_if_empty(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        if self.holds_nothing() && self.open().is_none() {
            return self.remove_files(store);
        }
        Ok(())
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

    fn lasting(&mut self) -> JournalLocation {
        if self.disk_file.exists {
            JournalLocation::Persistent
        } else {
            JournalLocation::Volatile
        }
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

    fn remove_files(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        for location in JournalLocation::ALL {
            if self.file(location).exists {
                store.remove(location, &self.owner)?;
                *self.file(location) = File::default();
            }
        }
        Ok(())
    }

    pub(super) fn write_all(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        for location in JournalLocation::ALL {
            if self.file(location).exists {
                self.write_whole(store, location, None)?;
            }
        }
        Ok(())
    }

    /// Replaces a file with everything that is pending, and a further record.
    pub(super) fn write_whole(
        &mut self,
        store: &mut dyn Store,
        location: JournalLocation,
        then: Option<Record>,
    ) -> Result<(), JournalError> {
        let of_place = |entry: &&Entry| entry.location == location;
        let elsewhere = self.elsewhere.values();
        let entries = self.entries.values().chain(elsewhere).filter(of_place);
        let mut entries: Vec<Entry> = entries.cloned().collect();
        entries.sort_unstable_by_key(|entry| entry.id);
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
