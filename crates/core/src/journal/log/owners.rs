//! The journals of several owners: whose step is on top of whose, and passing entries on.

mod passing_on;

use std::collections::HashMap;

use serde_json::Value;

use super::{Log, Open};
use crate::any_knob::{AnyKnob, Key};
use crate::journal::entry::Entry;
use crate::journal::{JournalError, JournalLocation, Record, Store};
use crate::plan::{Before, Journalled, OwnedChange, Step};

/// An entry of another owner's journal, or a remaining one of this owner's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Foreign {
    /// The index of the other owner; `None` for this owner.
    other: Option<usize>,
    id: u64,
}

/// The state that a step started from, for one knob.
#[derive(Debug)]
pub(crate) struct Start {
    at: Foreign,
    knob: AnyKnob,
    state: Value,
    /// Whether the step only held its knob.
    holds: bool,
}

impl Foreign {
    /// Its position in the order of all owners' entries.
    pub(crate) fn id(self) -> u64 {
        self.id
    }

    /// Whether it was done before another.
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.id < other.id
    }
}

/// The entries of other owners about a knob: changes of it, and changes with a side effect on it.
pub(in crate::journal) fn foreign<'l>(
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
    /// Makes the journals consistent with each other; needs the lock.
    ///
    /// A process that was killed while it passed an entry on has left it in both journals: it
    /// belongs to the receiver. Journals of format 1 numbered their entries independently: they are
    /// renumbered in an order derived from `shows`, where the entry whose value the knob shows is
    /// the last.
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

    /// The steps of all owners' entries.
    pub(crate) fn steps_mut(&mut self) -> impl Iterator<Item = &mut Step> {
        let own = self.entries.values_mut();
        let others = self.others.iter_mut();
        own.chain(others.flat_map(|other| other.entries.values_mut()))
            .map(|entry| &mut entry.step)
    }

    fn drop_given(
        &mut self,
        store: &mut dyn Store,
        times: &HashMap<u64, u32>,
    ) -> Result<(), JournalError> {
        let is_given = |entry: &&Entry| times.get(&entry.id) > Some(&entry.times_passed_on());
        let given = self.entries.values().filter(is_given);
        let given: Vec<(JournalLocation, u64)> =
            given.map(|entry| (entry.location, entry.id)).collect();
        for (location, id) in given {
            self.mark(store, location, Record::Undone { ids: vec![id] })?;
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

    /// Renumbers the entries, starting from `first`.
    fn shift(&mut self, first: u64) {
        for entry in std::mem::take(&mut self.entries).into_values() {
            let id = entry.id + first;
            self.entries.insert(id, Entry { id, ..entry });
        }
        self.next += first;
        for location in JournalLocation::ALL {
            if let Some(Open::Undoing { ids, .. }) = &mut self.file(location).open {
                ids.iter_mut().for_each(|id| *id += first);
            }
        }
    }

    /// The first entry of another owner about a knob, from `id` on.
    pub(crate) fn above(&self, knob: &AnyKnob, id: u64) -> Option<Foreign> {
        foreign(&self.others, knob)
            .map(|(at, _)| at)
            .filter(|at| at.id >= id)
            .min_by_key(|at| at.id)
    }

    /// The first change of another owner after `id` whose knob `rests` on one that is reverted.
    pub(crate) fn resting(&self, id: u64, rests: impl Fn(&AnyKnob) -> bool) -> Option<Foreign> {
        let others = self.others.iter().enumerate();
        let resting = others.filter_map(|(other, log)| {
            let mut later = log.entries.range(id + 1..);
            let (&id, _) = later.find(|(_, later)| rests(&later.step.knob))?;
            Some(Foreign {
                other: Some(other),
                id,
            })
        });
        resting.min_by_key(|at| at.id)
    }

    /// The state that another owner's last change left a knob in, if there is one from `id` on.
    pub(crate) fn last_of_others<'l>(&'l self, knob: &'l AnyKnob, id: u64) -> Option<&'l Value> {
        let turns = foreign(&self.others, knob)
            .filter(|(at, entry)| at.id >= id && entry.step.knob == *knob);
        turns
            .max_by_key(|(at, _)| at.id)
            .map(|(_, entry)| entry.left())
    }

    /// The first entry about a knob from `id` on, of this or another owner.
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

    /// The state of a knob before another owner's entry about it, if known.
    pub(crate) fn start_of(&self, at: Foreign, knob: &AnyKnob) -> Option<&Value> {
        self.of(at).entries[&at.id].start_of(knob)?.known()
    }

    /// Whether an earlier entry of this owner has a side effect on the knob of an entry.
    pub(crate) fn is_reset_before(&self, entry: &Entry) -> bool {
        let resets = |earlier: &Entry| {
            let mut side_effects = earlier.step.side_effects.iter();
            side_effects.any(|kept| kept.knob == entry.step.knob)
        };
        let mut earlier = self.entries.range(..entry.id);
        earlier.any(|(_, earlier)| resets(earlier))
    }

    /// The owner of an entry.
    pub(crate) fn owner_of(&self, at: Foreign) -> &str {
        &self.of(at).owner
    }

    /// Whether the entry's owner has an interrupted run.
    pub(crate) fn is_open(&self, at: Foreign) -> bool {
        self.of(at).open().is_some()
    }

    /// Whether the program of that owner knows all knob types in an entry.
    pub(crate) fn is_known_to(&self, at: Foreign, entry: &Entry) -> bool {
        let known = &self.of(at).writer.kinds;
        let affected = entry.step.side_effects.iter().map(|kept| &kept.knob);
        let mut knobs = std::iter::once(&entry.step.knob).chain(affected);
        knobs.all(|knob| known.contains(&knob.kind))
    }

    /// The facts that planning needs.
    pub(crate) fn journalled(&self) -> Journalled {
        let mut last: HashMap<Key, u64> = HashMap::new();
        let keys = |entry: &Entry| {
            let affected = entry.step.side_effects.iter().map(|kept| kept.knob.key());
            std::iter::once(entry.key())
                .chain(affected)
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
        let logs = std::iter::once(self).chain(&self.others);
        let mut changes: Vec<(u64, OwnedChange)> = Vec::new();
        for log in logs {
            let steps = log.entries.values().filter(|entry| !entry.is_hold());
            let is_own = std::ptr::eq(log, self);
            let change = |entry: &Entry| {
                OwnedChange::of(&log.owner, is_own, &entry.step, entry.boot == log.boot)
            };
            changes.extend(steps.map(|entry| (entry.id, change(entry))));
        }
        changes.sort_by_key(|(id, _)| *id);
        Journalled {
            changes: changes.into_iter().map(|(_, change)| change).collect(),
            rounded,
            of_others: last.into_keys().collect(),
            last: left
                .into_iter()
                .map(|(key, (_, entry))| (key, entry.left().clone()))
                .collect(),
        }
    }

    /// Whether the kernel is known to have rounded a value of the knob to this one.
    pub(crate) fn is_rounded(&self, knob: &AnyKnob, to: &Value) -> bool {
        let mut all = self.all();
        all.any(|entry| {
            entry.step.knob == *knob && entry.rules().iter().any(|(_, shown)| shown == to)
        })
    }

    /// The state of a knob before any owner's step.
    pub(crate) fn first_start(&self, knob: &AnyKnob) -> Option<&Before> {
        let all = self.all();
        let about = all.filter_map(|entry| Some((entry.id, entry.start_of(knob)?)));
        about.min_by_key(|(id, _)| *id).map(|(_, start)| start)
    }

    /// An entry, and the later entries of all owners that change the same knob.
    pub(crate) fn since<'l>(&'l self, entry: &'l Entry) -> impl Iterator<Item = &'l Entry> {
        let all = self.all();
        all.filter(|later| later.id >= entry.id && later.step.knob == entry.step.knob)
    }

    /// This owner's next entry that changes the same knob, if nobody's step reset the knob meanwhile.
    fn next_own(&self, entry: &Entry) -> Option<&Entry> {
        let mut later = self.entries.range(entry.id + 1..).map(|(_, later)| later);
        let next = later.find(|later| later.step.knob == entry.step.knob)?;
        let between = |other: &&Entry| entry.id < other.id && other.id < next.id;
        let mut all = self.all().filter(between);
        all.all(|other| other.start_of(&entry.step.knob).is_none())
            .then_some(next)
    }

    /// Whether another entry of this owner tells the same: an earlier one, if this one only holds
    /// the knob and the change was passed on to this owner; or the next one, if it goes back to the
    /// same state, because somebody had set the original again before.
    pub(crate) fn is_repeated(&self, entry: &Entry) -> bool {
        let mut earlier = self.entries.range(..entry.id).map(|(_, earlier)| earlier);
        if entry.is_hold() && earlier.any(|earlier| earlier.step.knob == entry.step.knob) {
            return true;
        }
        let from = entry.step.from.known();
        from.is_some()
            && self
                .next_own(entry)
                .is_some_and(|next| next.step.from.known() == from)
    }

    /// The value of another process that this owner's next entry about the knob started from.
    /// `is_ours` tells whether a value is what this entry left.
    pub(crate) fn replaced_after(
        &self,
        entry: &Entry,
        is_ours: impl FnOnce(&Value) -> bool,
    ) -> Option<&Value> {
        let theirs = self.next_own(entry)?.step.from.known()?;
        (theirs != entry.left() && !is_ours(theirs)).then_some(theirs)
    }

    /// Whether a process was killed, after entry `id`, while undoing a step that resets the knob.
    /// The state that the knob shows was then requested by no one.
    pub(crate) fn is_half_reset(&self, id: u64, knob: &AnyKnob) -> bool {
        foreign(&self.others, knob).any(|(_, half)| {
            half.step.knob != *knob
                && half.undoing.is_some()
                && half.undoing_at.is_some_and(|at| id < at)
        })
    }

    /// Another owner's last entry about a knob below `id`, if any.
    pub(crate) fn below(&self, knob: &AnyKnob, id: u64) -> Option<Foreign> {
        foreign(&self.others, knob)
            .map(|(at, _)| at)
            .filter(|at| at.id < id)
            .max_by_key(|at| at.id)
    }
}
