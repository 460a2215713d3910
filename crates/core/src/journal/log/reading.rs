//! Reads the files of a journal, and folds their records.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Log, Open, Refused, Writer};
use crate::journal::entry::Entry;
use crate::journal::line::{self, Parsed, Record};
use crate::journal::{JournalError, JournalLocation, Store};
use crate::knob::Lifetime;
use crate::plan::{Before, Step};

impl Log {
    /// Reads an owner's journal, and those of the other owners. Writes nothing.
    ///
    /// If another owner's journal is damaged or was written by a later version, this owner can
    /// still work with its own. The values that the other has set then count as another process's.
    ///
    /// Without `writer`, the journal keeps the one that it names. Entries of another network
    /// namespace than `namespace` are set aside.
    pub(crate) fn load(
        store: &dyn Store,
        owner: &str,
        writer: Option<Writer>,
        boot: &str,
        namespace: Option<&str>,
    ) -> Result<Self, JournalError> {
        let mut log = Self::load_one(store, owner, boot, namespace)?;
        if let Some(writer) = writer {
            log.writer = writer;
        }
        let mut owners = BTreeSet::new();
        for location in JournalLocation::ALL {
            owners.extend(store.owners(location)?);
        }
        owners.remove(owner);
        for other in owners {
            match Self::load_one(store, &other, boot, namespace) {
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

    fn load_one(
        store: &dyn Store,
        owner: &str,
        boot: &str,
        namespace: Option<&str>,
    ) -> Result<Self, JournalError> {
        let mut log = Self {
            owner: owner.to_owned(),
            writer: Writer::default(),
            boot: boot.to_owned(),
            namespace: namespace.map(str::to_owned),
            elsewhere: BTreeMap::new(),
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
        log.set_aside();
        Ok(log)
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

    /// Sets aside what belongs to other network namespaces.
    fn set_aside(&mut self) {
        let entries = std::mem::take(&mut self.entries).into_iter();
        (self.entries, self.elsewhere) = entries.partition(|(_, entry)| self.is_here(&entry.step));
    }

    /// Drops the entries of a network namespace that no longer exists, and returns their number.
    pub(crate) fn forget_namespace(&mut self, namespace: &str) -> usize {
        let before = self.elsewhere.len();
        let gone = |entry: &Entry| entry.step.network_namespace.as_deref() == Some(namespace);
        for location in JournalLocation::ALL {
            let mut entries = self.elsewhere.values();
            if entries.any(|entry| entry.location == location && gone(entry)) {
                self.file(location).behind = true;
            }
        }
        self.elsewhere.retain(|_, entry| !gone(entry));
        before - self.elsewhere.len()
    }

    /// Whether a step was made in this network namespace, or is of none. An earlier release did not
    /// record the namespace.
    pub(crate) fn is_here(&self, step: &Step) -> bool {
        match (&step.network_namespace, &self.namespace) {
            (Some(of), Some(here)) => of == here,
            _ => true,
        }
    }

    /// Takes one record in, as it was read or written.
    pub(super) fn fold(&mut self, location: JournalLocation, record: Record) {
        match record {
            Record::Journal { .. } => {}
            Record::Begin {
                apply,
                boot,
                first,
                steps,
            } => {
                self.applies = self.applies.max(apply);
                for (id, mut step) in (first..).zip(steps) {
                    self.next = self.next.max(id + 1);
                    // Until a record tells what was really there: it may be lost with the end of the file.
                    if let (Before::DependsOnEarlierStep, Some(planned)) =
                        (&step.from, &step.planned_from)
                        && *planned != step.to
                    {
                        step.from = Before::Known(planned.clone());
                    }
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
                entry.step.planned_from = None;
                for (kept, state) in entry.step.side_effects.iter_mut().zip(affected) {
                    kept.state = Before::Known(state);
                }
            }),
            Record::Changed {
                id,
                shown,
                after,
                identity,
            } => self.change(id, |entry| {
                if identity.is_some() {
                    entry.step.identity = identity;
                }
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
                    self.elsewhere.remove(&id);
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

    pub(super) fn change(&mut self, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&id) {
            change(entry);
        }
    }
}
