//! The records folded: what is owed, what is open, what was refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compaction::{CountsAs, fold, superseded};
use super::line::{self, Parsed, Record};
use super::{FORMAT, JournalError, Place, Store};
use crate::knob::{Key, Lack, Lifetime};
use crate::plan::{Before, Step};

/// What an undo is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    /// A failed or interrupted apply is taken back.
    Rollback,
    /// Somebody asked.
    Revert,
}

/// One step that was turned, or may have been, and is to be put back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) apply: u64,
    pub(crate) boot: String,
    pub(crate) step: Step,
    /// Whether it is known to have been turned.
    pub(crate) turned: bool,
    /// What the turn left of the knobs it disturbs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Vec<Value>>,
    /// What the disturbed knobs are put back to; the turn back is made, or about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undoing: Option<Vec<Value>>,
    /// What the turn back left of the knobs it disturbs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reset: Option<Vec<Value>>,
    #[serde(skip, default = "boot_place")]
    pub(crate) place: Place,
}

fn boot_place() -> Place {
    Place::Boot
}

impl Entry {
    pub(crate) fn key(&self) -> Key {
        self.step.knob.key()
    }
}

/// What an earlier run did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Open {
    Applying { apply: u64 },
    Undoing { ids: Vec<u64>, force: bool },
}

/// A step that the kernel refused in this boot.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) step: Step,
    pub(crate) lack: Lack,
    boot: String,
}

#[derive(Debug, Default)]
struct File {
    /// Where the next record goes.
    length: u64,
    exists: bool,
    program: String,
    /// An apply is open in the file it is recorded in, an undo in one of the two.
    open: Option<Open>,
}

/// What an owner's journal says.
#[derive(Debug)]
pub(crate) struct Log {
    owner: String,
    program: String,
    boot: String,
    /// By id, which is the order turned.
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) refused: Vec<Refused>,
    /// How many entries a reboot has taken back already.
    pub(crate) dropped: usize,
    /// How many bytes of interrupted writes were passed over.
    pub(crate) cut: u64,
    applies: u64,
    next: u64,
    boot_file: File,
    disk_file: File,
}

/// A journal is rewritten before the next apply once one of its files is longer than this.
const REWRITE_ABOVE: u64 = 64 * 1024;

impl Log {
    /// Reads an owner's journal; nothing is written.
    pub(crate) fn load(
        store: &dyn Store,
        owner: &str,
        program: &str,
        boot: &str,
    ) -> Result<Self, JournalError> {
        let mut log = Self {
            owner: owner.to_owned(),
            program: program.to_owned(),
            boot: boot.to_owned(),
            entries: BTreeMap::new(),
            refused: Vec::new(),
            dropped: 0,
            cut: 0,
            applies: 0,
            next: 0,
            boot_file: File::default(),
            disk_file: File::default(),
        };
        for place in Place::ALL {
            if let Some(bytes) = store.read(place, owner)? {
                let parsed = line::parse(&bytes, &store.path(place, owner))?;
                log.replay(place, parsed);
            }
        }
        log.forget_earlier_boots();
        Ok(log)
    }

    fn replay(&mut self, place: Place, parsed: Parsed) {
        self.cut += parsed.cut;
        *self.file(place) = File {
            length: parsed.length,
            exists: true,
            program: parsed.program,
            open: None,
        };
        for record in parsed.records {
            self.fold(place, record);
        }
    }

    /// A reboot took back what lives in the running kernel, and may have brought what was refused.
    fn forget_earlier_boots(&mut self) {
        let before = self.entries.len();
        let boot = &self.boot;
        self.entries
            .retain(|_, entry| entry.step.lifetime == Lifetime::Disk || entry.boot == *boot);
        self.refused.retain(|refused| refused.boot == *boot);
        self.dropped = before - self.entries.len();
    }

    fn file(&mut self, place: Place) -> &mut File {
        match place {
            Place::Boot => &mut self.boot_file,
            Place::Disk => &mut self.disk_file,
        }
    }

    /// Who wrote the file an entry is in.
    pub(crate) fn program_of(&self, place: Place) -> &str {
        match place {
            Place::Boot => &self.boot_file.program,
            Place::Disk => &self.disk_file.program,
        }
    }

    fn fold(&mut self, place: Place, record: Record) {
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
                    let entry = Entry {
                        id,
                        apply,
                        boot: boot.clone(),
                        step,
                        turned: false,
                        after: None,
                        undoing: None,
                        reset: None,
                        place,
                    };
                    self.entries.insert(id, entry);
                }
                self.file(place).open = Some(Open::Applying { apply });
            }
            Record::From {
                id,
                from,
                disturbed,
            } => self.change(id, |entry| {
                entry.step.from = Before::Known(from);
                for (kept, state) in entry.step.disturbs.iter_mut().zip(disturbed) {
                    kept.state = Before::Known(state);
                }
            }),
            Record::Turned { id, after } => self.change(id, |entry| {
                entry.turned = true;
                entry.after = Some(after);
            }),
            Record::Refused { id, lack } => {
                if let Some(entry) = self.entries.remove(&id) {
                    self.refused.push(Refused {
                        step: entry.step,
                        lack,
                        boot: entry.boot,
                    });
                }
            }
            Record::Done { apply } => {
                for entry in self.entries.values_mut().filter(|e| e.apply == apply) {
                    entry.turned = true;
                }
                let open = &mut self.file(place).open;
                if *open == Some(Open::Applying { apply }) {
                    *open = None;
                }
            }
            Record::Undo { ids, force, .. } => {
                self.file(place).open = Some(Open::Undoing { ids, force });
            }
            Record::Undoing { id, targets } => self.change(id, |entry| {
                entry.undoing = Some(targets);
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
            Record::End => self.file(place).open = None,
            Record::Held {
                entries,
                refusals,
                next,
                applies,
            } => {
                self.next = self.next.max(next);
                self.applies = self.applies.max(applies);
                self.entries.extend(
                    entries
                        .into_iter()
                        .map(|entry| (entry.id, Entry { place, ..entry })),
                );
                self.refused
                    .extend(refusals.into_iter().map(|(step, lack, boot)| Refused {
                        step,
                        lack,
                        boot,
                    }));
            }
        }
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&id) {
            change(entry);
        }
    }

    /// What an earlier run did not finish. An undo began after the apply it takes back.
    pub(crate) fn open(&self) -> Option<&Open> {
        let opens = [&self.boot_file.open, &self.disk_file.open];
        let undo = opens
            .into_iter()
            .find(|open| matches!(open, Some(Open::Undoing { .. })));
        undo.or_else(|| opens.into_iter().find(|open| open.is_some()))
            .and_then(Option::as_ref)
    }

    /// Appends one record to a file and takes it in.
    fn append(
        &mut self,
        store: &mut dyn Store,
        place: Place,
        record: Record,
        sync: bool,
    ) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        // A file that is there can hold nothing whole: its first write was cut short.
        if self.file(place).length == 0 {
            Record::Journal {
                version: FORMAT,
                owner: self.owner.clone(),
                program: self.program.clone(),
            }
            .encode(&mut bytes)?;
            self.file(place).program = self.program.clone();
        }
        record.encode(&mut bytes)?;
        let offset = self.file(place).length;
        store.write_at(place, &self.owner, offset, &bytes, sync)?;
        let file = self.file(place);
        file.exists = true;
        file.length += bytes.len() as u64;
        self.fold(place, record);
        Ok(())
    }

    /// Writes an apply's whole intent down; when this returns it is durable.
    ///
    /// One disk-lifetime step takes the whole apply to the disk: an intent in two
    /// files could be half there.
    pub(crate) fn begin(
        &mut self,
        store: &mut dyn Store,
        steps: Vec<Step>,
        counts_as: CountsAs<'_>,
    ) -> Result<u64, JournalError> {
        if self.boot_file.length.max(self.disk_file.length) > REWRITE_ABOVE {
            self.rewrite(store, counts_as)?;
        }
        let disk = steps.iter().any(|step| step.lifetime == Lifetime::Disk);
        let place = if disk { Place::Disk } else { Place::Boot };
        let apply = self.applies + 1;
        let record = Record::Begin {
            apply,
            boot: self.boot.clone(),
            first: self.next,
            steps,
        };
        self.append(store, place, record, true)?;
        Ok(apply)
    }

    /// A mark about one entry, in the file the entry is in; not waited for.
    pub(crate) fn mark(
        &mut self,
        store: &mut dyn Store,
        place: Place,
        record: Record,
    ) -> Result<(), JournalError> {
        self.append(store, place, record, false)
    }

    /// An apply is finished. Waited for on a disk: a power cut must not take back a success
    /// that somebody was told of.
    pub(crate) fn done(
        &mut self,
        store: &mut dyn Store,
        place: Place,
        apply: u64,
    ) -> Result<(), JournalError> {
        self.append(store, place, Record::Done { apply }, place == Place::Disk)?;
        self.clear_if_empty(store)
    }

    /// An undo begins. Its record goes to the file that outlives the other.
    pub(crate) fn undo(
        &mut self,
        store: &mut dyn Store,
        purpose: Purpose,
        ids: Vec<u64>,
        force: bool,
    ) -> Result<(), JournalError> {
        let place = self.lasting();
        self.append(
            store,
            place,
            Record::Undo {
                purpose,
                ids,
                force,
            },
            false,
        )
    }

    /// An undo is finished; a journal that owes nothing is removed.
    pub(crate) fn end(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        // The open apply or undo may have been recorded in either file.
        for place in Place::ALL {
            if self.file(place).exists {
                self.append(store, place, Record::End, place == Place::Disk)?;
            }
        }
        self.clear_if_empty(store)
    }

    fn lasting(&mut self) -> Place {
        if self.disk_file.exists {
            Place::Disk
        } else {
            Place::Boot
        }
    }

    /// Removes the files when nothing is owed, open or remembered.
    pub(crate) fn clear_if_empty(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        if !self.entries.is_empty() || !self.refused.is_empty() || self.open().is_some() {
            return Ok(());
        }
        for place in Place::ALL {
            if self.file(place).exists {
                store.remove(place, &self.owner)?;
                *self.file(place) = File::default();
            }
        }
        Ok(())
    }

    /// Rewrites the files with only what is owed, so that a timer does not grow them without end.
    fn rewrite(
        &mut self,
        store: &mut dyn Store,
        counts_as: CountsAs<'_>,
    ) -> Result<(), JournalError> {
        for id in superseded(self.entries.values(), counts_as) {
            self.entries.remove(&id);
        }
        fold(&mut self.entries, counts_as);
        for place in Place::ALL {
            if !self.file(place).exists {
                continue;
            }
            let of_place = |entry: &&Entry| entry.place == place;
            let entries: Vec<Entry> = self.entries.values().filter(of_place).cloned().collect();
            let refusals = if place == Place::Boot || !self.boot_file.exists {
                self.refused
                    .iter()
                    .map(|refused| {
                        (
                            refused.step.clone(),
                            refused.lack.clone(),
                            refused.boot.clone(),
                        )
                    })
                    .collect()
            } else {
                Vec::new()
            };
            let mut bytes = Vec::new();
            Record::Journal {
                version: FORMAT,
                owner: self.owner.clone(),
                program: self.program.clone(),
            }
            .encode(&mut bytes)?;
            Record::Held {
                entries,
                refusals,
                next: self.next,
                applies: self.applies,
            }
            .encode(&mut bytes)?;
            store.replace(place, &self.owner, &bytes)?;
            let file = self.file(place);
            file.length = bytes.len() as u64;
        }
        Ok(())
    }
}
