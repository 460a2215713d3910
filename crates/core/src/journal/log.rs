//! The records folded: what is owed, what is open, what was refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compaction::{CountsAs, fold, superseded};
use super::line::{self, Parsed, Record};
use super::{FORMAT, JournalError, Place, Store};
use crate::knob::{AnyKnob, Key, Lack, Lifetime};
use crate::plan::{Before, Journalled, Kept, Step};

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
    /// What the kernel made of it, where that is not what the knob's own rule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shown: Option<Value>,
    /// What it made of what the steps asked for that have become one with this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rounded: Vec<(Value, Value)>,
    /// What the turn left of the knobs it disturbs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Vec<Value>>,
    /// What the disturbed knobs are put back to; the turn back is made, or about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undoing: Option<Vec<Value>>,
    /// The entries from this one on came after that was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undoing_at: Option<u64>,
    /// What the turn back left of the knobs it disturbs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reset: Option<Vec<Value>>,
    /// Which owner passed it on, when that one reverted what stands beneath a step of this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) giver: Option<Giver>,
    #[serde(skip, default = "boot_place")]
    pub(crate) place: Place,
}

/// Where an entry that was passed on came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Giver {
    owner: String,
    /// The apply of that owner's that it belonged to.
    apply: u64,
    /// How often it has been passed on.
    times: u32,
}

fn boot_place() -> Place {
    Place::Boot
}

impl Entry {
    pub(crate) fn key(&self) -> Key {
        self.step.knob.key()
    }

    /// What it left of its knob.
    pub(crate) fn left(&self) -> &Value {
        self.shown.as_ref().unwrap_or(&self.step.to)
    }

    /// Whether it changes nothing: it says only that its owner wants the knob to stay so.
    pub(crate) fn is_hold(&self) -> bool {
        self.step.from.known() == Some(self.left())
    }

    /// What the kernel is known to make of what its knob is asked for: asked for, shown.
    pub(crate) fn rules(&self) -> Vec<(Value, Value)> {
        let last = self.shown.iter();
        let last = last.map(|shown| (self.step.to.clone(), shown.clone()));
        self.rounded.iter().cloned().chain(last).collect()
    }

    /// What a knob showed before this entry was turned: its own, or one that it disturbs. `None`
    /// where this entry is about neither.
    pub(crate) fn start_of(&self, knob: &AnyKnob) -> Option<&Before> {
        if self.step.knob == *knob {
            return Some(&self.step.from);
        }
        let mut disturbs = self.step.disturbs.iter();
        disturbs
            .find(|kept| kept.knob == *knob)
            .map(|kept| &kept.state)
    }

    fn times_passed_on(&self) -> u32 {
        self.giver.as_ref().map_or(0, |giver| giver.times)
    }

    /// Whether it is of the same apply as another.
    pub(crate) fn is_of_apply_of(&self, other: &Self) -> bool {
        (self.apply, &self.giver) == (other.apply, &other.giver)
    }
}

/// What an earlier run did not finish.
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
    pub(crate) lack: Lack,
    boot: String,
}

/// What a journal says of the program that its owner uses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writer {
    pub(crate) program: String,
    /// The kinds of knob that it knows.
    pub(crate) kinds: Vec<String>,
}

#[derive(Debug, Default)]
struct File {
    /// Where the next record goes.
    length: u64,
    exists: bool,
    program: String,
    version: u32,
    /// An apply is open in the file it is recorded in, an undo in one of the two.
    open: Option<Open>,
}

/// What an owner's journal says.
#[derive(Debug)]
pub(crate) struct Log {
    owner: String,
    writer: Writer,
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
    /// The other owners' journals, as far as they can be read.
    pub(crate) others: Vec<Log>,
    /// What could not be read of the others, and why.
    pub(crate) unread: Vec<String>,
}

/// An entry of another owner's journal, or one that is left in this owner's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Foreign {
    /// The other owner's number; `None` for this owner.
    other: Option<usize>,
    id: u64,
}

/// What a step about a knob started from.
#[derive(Debug)]
pub(crate) struct Start {
    at: Foreign,
    knob: AnyKnob,
    state: Value,
    /// Whether the step only held its knob.
    holds: bool,
}

impl Foreign {
    /// Its place in the order of all owners' entries.
    pub(crate) fn id(self) -> u64 {
        self.id
    }

    /// Whether it was turned before another.
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.id < other.id
    }
}

/// The entries of other owners about a knob: their own turns of it, and those that disturb it.
pub(super) fn foreign<'l>(
    others: &'l [Log],
    knob: &'l AnyKnob,
) -> impl Iterator<Item = (Foreign, &'l Entry)> {
    others.iter().enumerate().flat_map(move |(other, log)| {
        let entries = log.entries.values();
        entries
            .filter(|entry| entry.start_of(knob).is_some())
            .map(move |entry| {
                (
                    Foreign {
                        other: Some(other),
                        id: entry.id,
                    },
                    entry,
                )
            })
    })
}

impl Log {
    /// Reads an owner's journal, and beside it those of the others; nothing is written.
    ///
    /// Another owner's journal that cannot be read keeps nobody from working with his own: what it
    /// holds then counts as somebody else's, as told by its value.
    pub(crate) fn load(
        store: &dyn Store,
        owner: &str,
        writer: Writer,
        boot: &str,
    ) -> Result<Self, JournalError> {
        let mut log = Self::load_one(store, owner, boot)?;
        log.writer = writer;
        let mut owners = BTreeSet::new();
        for place in Place::ALL {
            owners.extend(store.owners(place).unwrap_or_default());
        }
        owners.remove(owner);
        for other in owners {
            match Self::load_one(store, &other, boot) {
                Ok(other) => log.others.push(other),
                Err(error) => log.unread.push(format!(
                    "the journal of {other} could not be read, so what it holds is not taken into account: {error}"
                )),
            }
        }
        // One count for all owners: it says whose step came first.
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
            unread: Vec::new(),
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

    /// What the next entry of any owner's will be.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Puts the journals right among each other; needs the lock.
    ///
    /// A process that was killed while it passed an entry on left it in both journals: it belongs
    /// to the one it was given to. Journals of format 1 counted their entries each on its own: they
    /// are numbered anew, in the order that `shows` speaks for: what shows came last.
    pub(crate) fn settle(
        &mut self,
        store: &mut dyn Store,
        shows: &dyn Fn(&AnyKnob, &Value) -> bool,
    ) -> Result<(), JournalError> {
        if self.others.is_empty() {
            return Ok(());
        }
        self.number_anew(store, shows)?;
        let mut times: HashMap<u64, u32> = HashMap::new();
        for entry in self.all() {
            let most = times.entry(entry.id).or_default();
            *most = entry.times_passed_on().max(*most);
        }
        self.drop_given(store, &times)?;
        for other in &mut self.others {
            other.drop_given(store, &times)?;
        }
        Ok(())
    }

    /// The entries of all owners.
    fn all(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(self)
            .chain(&self.others)
            .flat_map(|log| log.entries.values())
    }

    fn drop_given(
        &mut self,
        store: &mut dyn Store,
        times: &HashMap<u64, u32>,
    ) -> Result<(), JournalError> {
        let is_given = |entry: &&Entry| times.get(&entry.id) > Some(&entry.times_passed_on());
        let given = self.entries.values().filter(is_given);
        let given: Vec<(Place, u64)> = given.map(|entry| (entry.place, entry.id)).collect();
        for (place, id) in given {
            self.mark(store, place, Record::Undone { ids: vec![id] })?;
        }
        Ok(())
    }

    fn is_of_format_1(&self) -> bool {
        let files = [&self.boot_file, &self.disk_file];
        files
            .into_iter()
            .any(|file| file.exists && file.version < 2)
    }

    fn number_anew(
        &mut self,
        store: &mut dyn Store,
        shows: &dyn Fn(&AnyKnob, &Value) -> bool,
    ) -> Result<(), JournalError> {
        let is_known = |log: &&mut Self| !log.is_of_format_1();
        let mut rest = std::mem::take(&mut self.others);
        let (known, mut old): (Vec<&mut Self>, Vec<&mut Self>) = std::iter::once(&mut *self)
            .chain(&mut rest)
            .partition(is_known);
        let mut next = known.iter().map(|log| log.next).max().unwrap_or(0);
        if !old.is_empty() {
            let mut last: Vec<HashMap<Key, (AnyKnob, Value)>> = Vec::new();
            for log in &old {
                let entries = log.entries.values();
                last.push(
                    entries
                        .map(|entry| (entry.key(), (entry.step.knob.clone(), entry.left().clone())))
                        .collect(),
                );
            }
            let shared = |key: &Key| last.iter().filter(|of| of.contains_key(key)).count() > 1;
            let mut order: Vec<(usize, usize)> = last
                .iter()
                .enumerate()
                .map(|(number, of)| {
                    let shown = of.iter().filter(|(key, _)| shared(key));
                    let shown = shown.filter(|(_, (knob, left))| shows(knob, left));
                    (shown.count(), number)
                })
                .collect();
            order.sort_unstable();
            let mut failed = Ok(());
            for (_, number) in order {
                let log = &mut *old[number];
                log.shift(next);
                next = log.next;
                failed = failed.and_then(|()| log.write_all(store));
            }
            failed?;
        }
        drop((known, old));
        self.others = rest;
        self.next = self.next.max(next);
        Ok(())
    }

    /// Numbers the entries from `first` on.
    fn shift(&mut self, first: u64) {
        for entry in std::mem::take(&mut self.entries).into_values() {
            let id = entry.id + first;
            self.entries.insert(id, Entry { id, ..entry });
        }
        self.next += first;
        for place in Place::ALL {
            if let Some(Open::Undoing { ids, .. }) = &mut self.file(place).open {
                ids.iter_mut().for_each(|id| *id += first);
            }
        }
    }

    /// The first entry of another owner's about a knob from `id` on.
    pub(crate) fn above(&self, knob: &AnyKnob, id: u64) -> Option<Foreign> {
        foreign(&self.others, knob)
            .map(|(at, _)| at)
            .filter(|at| at.id >= id)
            .min_by_key(|at| at.id)
    }

    /// What the last turn of another owner's left of a knob, where there is one from `id` on.
    pub(crate) fn last_of_others<'l>(&'l self, knob: &'l AnyKnob, id: u64) -> Option<&'l Value> {
        let turns = foreign(&self.others, knob)
            .filter(|(at, entry)| at.id >= id && entry.step.knob == *knob);
        turns
            .max_by_key(|(at, _)| at.id)
            .map(|(_, entry)| entry.left())
    }

    /// The first entry about a knob from `id` on, of this owner or another.
    pub(crate) fn next_about(&self, knob: &AnyKnob, id: u64) -> Option<Foreign> {
        let mut own = self.entries.range(id..).map(|(_, entry)| entry);
        let own = own.find(|entry| entry.start_of(knob).is_some());
        let own = own.map(|entry| Foreign {
            other: None,
            id: entry.id,
        });
        let first = own.into_iter().chain(self.above(knob, id));
        first.min_by_key(|at| at.id)
    }

    fn of(&self, at: Foreign) -> &Self {
        at.other.map_or(self, |other| &self.others[other])
    }

    fn of_mut(&mut self, at: Foreign) -> &mut Self {
        match at.other {
            Some(other) => &mut self.others[other],
            None => self,
        }
    }

    /// What a knob showed before another owner's entry about it was turned, where that is known.
    pub(crate) fn start_of(&self, at: Foreign, knob: &AnyKnob) -> Option<&Value> {
        self.of(at).entries[&at.id].start_of(knob)?.known()
    }

    /// Whose entry it is.
    pub(crate) fn owner_of(&self, at: Foreign) -> &str {
        &self.of(at).owner
    }

    /// Whether that owner has an unfinished run.
    pub(crate) fn is_open(&self, at: Foreign) -> bool {
        self.of(at).open().is_some()
    }

    /// Whether the program of that owner knows all kinds of knob that an entry is about.
    pub(crate) fn is_known_to(&self, at: Foreign, entry: &Entry) -> bool {
        let known = &self.of(at).writer.kinds;
        let disturbed = entry.step.disturbs.iter().map(|kept| &kept.knob);
        let mut knobs = std::iter::once(&entry.step.knob).chain(disturbed);
        knobs.all(|knob| known.contains(&knob.kind))
    }

    /// What planning has to know.
    pub(crate) fn journalled(&self) -> Journalled {
        let mut last: HashMap<Key, u64> = HashMap::new();
        let keys = |entry: &Entry| {
            let disturbed = entry.step.disturbs.iter().map(|kept| kept.knob.key());
            std::iter::once(entry.key())
                .chain(disturbed)
                .collect::<Vec<_>>()
        };
        for entry in self.others.iter().flat_map(|other| other.entries.values()) {
            for key in keys(entry) {
                let last = last.entry(key).or_default();
                *last = entry.id.max(*last);
            }
        }
        for entry in self.entries.values() {
            if last.get(&entry.key()).is_some_and(|last| *last < entry.id) {
                last.remove(&entry.key());
            }
        }
        let all = self.all();
        let mut left: HashMap<Key, (u64, &Entry)> = HashMap::new();
        for entry in all {
            let last = left.entry(entry.key()).or_insert((entry.id, entry));
            if last.0 < entry.id {
                *last = (entry.id, entry);
            }
        }
        let all = self.all();
        let mut rounded: HashMap<Key, Vec<(Value, Value)>> = HashMap::new();
        for entry in all {
            let rules = entry.rules();
            if !rules.is_empty() {
                rounded.entry(entry.key()).or_default().extend(rules);
            }
        }
        Journalled {
            rounded,
            of_others: last.into_keys().collect(),
            last: left
                .into_iter()
                .map(|(key, (_, entry))| (key, entry.left().clone()))
                .collect(),
        }
    }

    /// Whether the kernel is known to have rounded what a knob was set to, to this.
    pub(crate) fn is_rounded(&self, knob: &AnyKnob, to: &Value) -> bool {
        let mut all = self.all();
        all.any(|entry| {
            entry.step.knob == *knob && entry.rules().iter().any(|(_, shown)| shown == to)
        })
    }

    /// What a knob showed before any owner's step.
    pub(crate) fn first_start(&self, knob: &AnyKnob) -> Option<&Before> {
        let all = self.all();
        let about = all.filter_map(|entry| Some((entry.id, entry.start_of(knob)?)));
        about.min_by_key(|(id, _)| *id).map(|(_, start)| start)
    }

    /// An entry, and those of all owners that turned its knob after it.
    pub(crate) fn since<'l>(&'l self, entry: &'l Entry) -> impl Iterator<Item = &'l Entry> {
        let all = self.all();
        all.filter(|later| later.id >= entry.id && later.step.knob == entry.step.knob)
    }

    /// Whether a step that resets a knob was being turned back when its process was killed, after
    /// entry `id` was turned: then what the knob shows is nobody's.
    pub(crate) fn is_half_reset(&self, id: u64, knob: &AnyKnob) -> bool {
        foreign(&self.others, knob).any(|(_, half)| {
            half.step.knob != *knob
                && half.undoing.is_some()
                && half.undoing_at.is_some_and(|at| id < at)
        })
    }

    /// Says what a knob is to be put back to by those who had begun to turn a step back that resets
    /// it, and were killed before they put it back. Whether there is one: then what the knob shows
    /// is what was left of that.
    pub(crate) fn retarget(
        &mut self,
        store: &mut dyn Store,
        id: u64,
        knob: &AnyKnob,
        to: &Value,
    ) -> Result<bool, JournalError> {
        let mut found = false;
        for other in &mut self.others {
            let mut places = BTreeSet::new();
            for half in other.entries.values_mut() {
                let existed = half.undoing_at.is_some_and(|at| id < at);
                let mut disturbs = half.step.disturbs.iter();
                let number = disturbs.position(|kept| kept.knob == *knob);
                let targets = half.undoing.as_mut().filter(|_| existed);
                if let (Some(number), Some(targets)) = (number, targets)
                    && let Some(target) = targets.get_mut(number)
                {
                    found = true;
                    if target != to {
                        target.clone_from(to);
                        places.insert(half.place == Place::Disk);
                    }
                }
            }
            for disk in places {
                let place = if disk { Place::Disk } else { Place::Boot };
                other.write_whole(store, place, None)?;
            }
        }
        Ok(found)
    }

    /// Another owner's last entry about a knob below `id`, if there is one.
    pub(crate) fn below(&self, knob: &AnyKnob, id: u64) -> Option<Foreign> {
        foreign(&self.others, knob)
            .map(|(at, _)| at)
            .filter(|at| at.id < id)
            .max_by_key(|at| at.id)
    }

    /// Gives an entry to the owner of another one, who is to put it back instead. Durable there
    /// before it is forgotten here.
    pub(crate) fn pass_on(
        &mut self,
        store: &mut dyn Store,
        id: u64,
        to: Foreign,
    ) -> Result<(), JournalError> {
        let Some(entry) = self.entries.get(&id).cloned() else {
            return Ok(());
        };
        let place = entry.place;
        let given = Entry {
            // No apply has this number, so no rollback takes it for a part of one.
            apply: 0,
            giver: Some(Giver {
                owner: self.owner.clone(),
                apply: entry
                    .giver
                    .as_ref()
                    .map_or(entry.apply, |giver| giver.apply),
                times: entry.times_passed_on() + 1,
            }),
            turned: true,
            ..entry
        };
        let next = self.next;
        let other = self.of_mut(to);
        other.entries.insert(id, given);
        other.next = other.next.max(next);
        other.write_whole(store, place, None)?;
        // Where this mark is lost, the next run finds it in both.
        if self
            .mark(store, place, Record::Undone { ids: vec![id] })
            .is_err()
        {
            self.entries.remove(&id);
        }
        Ok(())
    }

    /// Writes down that another owner's step started from something else: what it started from has
    /// been put back further, beneath it. What held the knob only is a turn then, and `disturbs` is
    /// what it is to put back after it.
    pub(crate) fn set_start(
        &mut self,
        store: &mut dyn Store,
        at: Foreign,
        knob: &AnyKnob,
        to: &Value,
        disturbs: Vec<Kept>,
    ) -> Result<(), JournalError> {
        let other = self.of_mut(at);
        let Some(entry) = other.entries.get_mut(&at.id) else {
            return Ok(());
        };
        let to = Before::Known(to.clone());
        if entry.start_of(knob).is_none_or(|start| *start == to) {
            return Ok(());
        }
        let held = entry.is_hold() && entry.step.disturbs.is_empty();
        if entry.step.knob == *knob {
            entry.step.from = to;
            if held {
                entry.step.disturbs = disturbs;
            }
        } else if let Some(kept) = entry
            .step
            .disturbs
            .iter_mut()
            .find(|kept| kept.knob == *knob)
        {
            kept.state = to;
        }
        let place = entry.place;
        other.write_whole(store, place, None)
    }

    /// What a step about a knob started from, to be able to [say so again](Self::reset_start).
    pub(crate) fn start(&self, at: Foreign, knob: &AnyKnob) -> Option<Start> {
        let entry = &self.of(at).entries[&at.id];
        Some(Start {
            at,
            knob: knob.clone(),
            state: entry.start_of(knob)?.known()?.clone(),
            holds: entry.is_hold() && entry.step.disturbs.is_empty(),
        })
    }

    /// Takes back what [`set_start`](Self::set_start) said.
    pub(crate) fn reset_start(
        &mut self,
        store: &mut dyn Store,
        start: &Start,
    ) -> Result<(), JournalError> {
        if let Some(entry) = self.of_mut(start.at).entries.get_mut(&start.at.id)
            && start.holds
        {
            entry.step.disturbs.clear();
        }
        self.set_start(store, start.at, &start.knob, &start.state, Vec::new())
    }

    fn replay(&mut self, place: Place, parsed: Parsed) {
        self.cut += parsed.cut;
        self.writer.program.clone_from(&parsed.program);
        for kind in parsed.kinds {
            if !self.writer.kinds.contains(&kind) {
                self.writer.kinds.push(kind);
            }
        }
        *self.file(place) = File {
            length: parsed.length,
            exists: true,
            program: parsed.program,
            version: parsed.version,
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
                    let mut entry = Entry {
                        id,
                        apply,
                        boot: boot.clone(),
                        step,
                        turned: false,
                        shown: None,
                        rounded: Vec::new(),
                        after: None,
                        undoing: None,
                        undoing_at: None,
                        reset: None,
                        giver: None,
                        place,
                    };
                    entry.turned = entry.is_hold();
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
            Record::Turned { id, shown, after } => self.change(id, |entry| {
                entry.turned = true;
                entry.shown = shown;
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
            Record::End => self.file(place).open = None,
            Record::Held {
                entries,
                refusals,
                next,
                applies,
                open,
            } => {
                self.file(place).open = open;
                self.next = self.next.max(next);
                self.applies = self.applies.max(applies);
                self.entries.extend(
                    entries
                        .into_iter()
                        .map(|entry| (entry.id, Entry { place, ..entry })),
                );
                for (step, lack, boot) in refusals {
                    // Both files of an owner hold them all.
                    let mut known = self.refused.iter();
                    if !known.any(|known| known.step == step && known.boot == boot) {
                        self.refused.push(Refused { step, lack, boot });
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
        if self.file(place).version < FORMAT {
            // A program that knows only the format that stands there must not misread the record.
            self.write_whole(store, place, None)?;
        }
        let mut bytes = Vec::new();
        record.encode(&mut bytes)?;
        let offset = self.file(place).length;
        store.write_at(place, &self.owner, offset, &bytes, sync)?;
        self.file(place).length += bytes.len() as u64;
        self.fold(place, record);
        Ok(())
    }

    /// Writes an apply's whole intent down; when this returns it is durable.
    ///
    /// One disk-lifetime step takes the whole apply to the disk: an intent in two
    /// files could be half there. The file is replaced as a whole, with only what is owed, so that
    /// a process that dies can leave no half of an intent, and a timer does not grow the file
    /// without end.
    pub(crate) fn begin(
        &mut self,
        store: &mut dyn Store,
        steps: Vec<Step>,
        counts_as: CountsAs<'_>,
    ) -> Result<u64, JournalError> {
        let disk = steps.iter().any(|step| step.lifetime == Lifetime::Disk);
        let place = if disk { Place::Disk } else { Place::Boot };
        for changed in self.compact(counts_as) {
            if changed != place {
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
        self.write_whole(store, place, Some(record))?;
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

    /// Forgets what no revert needs, in memory; which files hold less now.
    fn compact(&mut self, counts_as: CountsAs<'_>) -> Vec<Place> {
        let count = |entries: &BTreeMap<u64, Entry>, place: Place| {
            let of_place = |entry: &&Entry| entry.place == place;
            entries.values().filter(of_place).count()
        };
        let before = Place::ALL.map(|place| count(&self.entries, place));
        for id in superseded(&self.entries, &self.others, counts_as) {
            self.entries.remove(&id);
        }
        fold(&mut self.entries, &self.others, counts_as);
        let after = Place::ALL.map(|place| count(&self.entries, place));
        let changed = Place::ALL.into_iter().zip(before.into_iter().zip(after));
        changed
            .filter(|(_, (before, after))| before != after)
            .map(|(place, _)| place)
            .collect()
    }

    /// Forgets what no revert needs, so that each knob is turned back once.
    pub(crate) fn shorten(&mut self, store: &mut dyn Store, counts_as: CountsAs<'_>) {
        let before = self.entries.clone();
        for place in self.compact(counts_as) {
            if self.write_whole(store, place, None).is_err() {
                // A full disk is no reason not to revert: then with every step there is.
                let of_place = before.iter().filter(|(_, entry)| entry.place == place);
                self.entries
                    .extend(of_place.map(|(id, entry)| (*id, entry.clone())));
            }
        }
    }

    fn write_all(&mut self, store: &mut dyn Store) -> Result<(), JournalError> {
        for place in Place::ALL {
            if self.file(place).exists {
                self.write_whole(store, place, None)?;
            }
        }
        Ok(())
    }

    /// Replaces a file: all that is owed, and then a record.
    fn write_whole(
        &mut self,
        store: &mut dyn Store,
        place: Place,
        then: Option<Record>,
    ) -> Result<(), JournalError> {
        let of_place = |entry: &&Entry| entry.place == place;
        let entries: Vec<Entry> = self.entries.values().filter(of_place).cloned().collect();
        let refusals = self
            .refused
            .iter()
            .map(|refused| {
                (
                    refused.step.clone(),
                    refused.lack.clone(),
                    refused.boot.clone(),
                )
            })
            .collect();
        let mut bytes = Vec::new();
        let open = self.file(place).open.clone();
        if self.file(place).exists || !entries.is_empty() || then.is_none() {
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
        store.replace(place, &self.owner, &whole)?;
        let program = self.writer.program.clone();
        let file = self.file(place);
        file.program = program;
        file.version = FORMAT;
        file.exists = true;
        file.length = whole.len() as u64;
        if let Some(record) = then {
            self.fold(place, record);
        }
        Ok(())
    }
}
