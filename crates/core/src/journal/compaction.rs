//! Which entries of a journal no revert needs any more.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::entry::Entry;
use super::log::{Log, foreign};
use crate::knob::{AnyKnob, Key};

/// What the crates of the knobs and the host say of them.
#[derive(Clone, Copy)]
pub(crate) struct Knobs<'a> {
    /// Whether what a knob shows is what asking it for something gives: the knob, both in that order.
    pub(crate) counts_as: &'a dyn Fn(&AnyKnob, &Value, &Value) -> bool,
    /// What a knob shows, where it can be read.
    pub(crate) shows: &'a dyn Fn(&AnyKnob) -> Option<Value>,
}

impl Knobs<'_> {
    fn counts_as(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool {
        (self.counts_as)(knob, seen, wanted)
    }

    /// Whether a step has been put back and nothing says so: the mark of a revert that was killed is
    /// lost. With an entry before it made into one it would begin where the knob does not stand, and
    /// what that one still has to put back would be forgotten. What cannot be read may have been.
    fn may_be_put_back(&self, entry: &Entry) -> bool {
        let knob = &entry.step.knob;
        let is = |seen: &Value, value: &Value| seen == value || self.counts_as(knob, seen, value);
        let from = entry.step.from.known();
        (self.shows)(knob).is_none_or(|seen| {
            from.is_some_and(|from| is(&seen, from))
                && seen != *entry.left()
                && !is(&seen, &entry.step.to)
        })
    }
}

/// Whether an entry starts where one before it of the same knob ended.
///
/// By what the knob's crate says of it: a kernel that rounds shows something else than it was asked
/// for, and that is no stranger's.
fn follows(last: &Entry, next: &Entry, knobs: Knobs<'_>) -> bool {
    last.step.identity == next.step.identity
        && next.step.from.known().is_some_and(|from| {
            from == last.left() || knobs.counts_as(&next.step.knob, from, &last.step.to)
        })
}

/// Which entries reset a knob, for each that is reset.
fn disturbed(entries: &BTreeMap<u64, Entry>) -> HashMap<Key, Vec<u64>> {
    let mut disturbed: HashMap<Key, Vec<u64>> = HashMap::new();
    for entry in entries.values() {
        for kept in &entry.step.disturbs {
            disturbed.entry(kept.knob.key()).or_default().push(entry.id);
        }
    }
    disturbed
}

/// The entries that a revert does without.
///
/// Of one knob's entries, those that start where the one before ended form a
/// chain. When somebody else changed the knob in between, a new chain begins. A
/// revert walks the last chain back to what that somebody had set, and there it
/// stops: it is theirs. Only the first chain still knows the first original,
/// which `--force` goes back to. What lies between the first and the last chain
/// is never turned to, so a timer that fights somebody over a knob need not
/// remember every round.
///
/// Where another owner has turned the knob too, none is dropped: his steps stand on ours and ours on
/// his, by their order and not by what shows.
///
/// Nor where a step of ours resets the knob: then it is not somebody else who changed it in between.
pub(super) fn superseded(
    entries: &BTreeMap<u64, Entry>,
    others: &[Log],
    knobs: Knobs<'_>,
) -> Vec<u64> {
    // By the thing and not only by its name: one that was renamed can have the name of another that has gone.
    let mut chains: HashMap<(Key, Option<&str>), Vec<Vec<&Entry>>> = HashMap::new();
    let reset = disturbed(entries);
    for entry in entries.values() {
        let thing = (entry.key(), entry.step.identity.as_deref());
        let chains = chains.entry(thing).or_default();
        match chains.last_mut() {
            Some(chain) if chain.last().is_some_and(|last| follows(last, entry, knobs)) => {
                chain.push(entry);
            }
            _ => chains.push(vec![entry]),
        }
    }
    chains
        .into_values()
        .flat_map(|chains| {
            let last = chains.len() - 1;
            chains
                .into_iter()
                .enumerate()
                .filter(move |(place, _)| (1..last).contains(place))
        })
        .flat_map(|(_, chain)| chain)
        .filter(|entry| {
            // What is half put back has still to put back what it resets.
            entry.undoing.is_none()
                && !reset.contains_key(&entry.key())
                && foreign(others, &entry.step.knob).next().is_none()
        })
        .map(|entry| entry.id)
        .collect()
}

/// How much is remembered of what a kernel makes of one knob's values. What is forgotten is asked for
/// again at the next apply.
const MOST_RULES: usize = 16;

/// Makes one of two applies of which the later one turned again what the earlier one turned last, in
/// the same order, each knob from where the earlier one left it or from where that one began.
///
/// Only so does no step change its place among the others, which may need it (a governor its module)
/// or move with it (the huge pages of a node and of all). An apply of which anything is a means or
/// resets something is one with the one before only where it does the same once more.
pub(super) fn fold(entries: &mut BTreeMap<u64, Entry>, others: &[Log], knobs: Knobs<'_>) {
    let mut stay: Vec<Vec<u64>> = Vec::new();
    for apply in applies(entries) {
        let last = stay
            .last()
            .and_then(|last| last.get(last.len().checked_sub(apply.len())?..));
        let pairs = last.map(|last| last.iter().copied().zip(apply.iter().copied()).collect());
        let pairs: Vec<(u64, u64)> = pairs.unwrap_or_default();
        if pairs.is_empty() || !are_one(entries, others, &pairs, knobs) {
            stay.push(apply);
            continue;
        }
        for (into, from) in pairs {
            if let Some(later) = entries.remove(&from)
                && let Some(first) = entries.get_mut(&into)
            {
                first.becomes_one_with(later);
            }
        }
    }
    // There and back again is nothing, unless it says what the kernel makes of a value, or another
    // owner's step is beneath it: then it says that this owner wants the knob to stay so.
    entries.retain(|_, entry| {
        let holds = || foreign(others, &entry.step.knob).any(|(_, below)| below.id < entry.id);
        !is_whole(entry)
            || !entry.step.disturbs.is_empty()
            || !entry.is_hold()
            || !entry.rules().is_empty()
            || holds()
    });
}

/// The entries of each apply, in the order in which they were turned.
fn applies(entries: &BTreeMap<u64, Entry>) -> Vec<Vec<u64>> {
    let entries: Vec<&Entry> = entries.values().collect();
    let applies = entries.chunk_by(|one, next| one.is_of_apply_of(next));
    applies
        .map(|apply| apply.iter().map(|entry| entry.id).collect())
        .collect()
}

fn is_whole(entry: &Entry) -> bool {
    entry.turned && entry.undoing.is_none()
}

/// Whether nothing was turned for it and nothing else moves with it.
fn is_plain(entry: &Entry) -> bool {
    is_whole(entry) && entry.step.disturbs.is_empty() && !entry.step.means
}

/// Whether two applies are one, of which each entry of the later one is beside that of the earlier.
fn are_one(
    entries: &BTreeMap<u64, Entry>,
    others: &[Log],
    pairs: &[(u64, u64)],
    knobs: Knobs<'_>,
) -> bool {
    let reset = disturbed(entries);
    let known: Option<Vec<(&Entry, &Entry)>> = pairs
        .iter()
        .map(|(first, later)| Some((entries.get(first)?, entries.get(later)?)))
        .collect();
    let Some(pairs) = known else {
        return false;
    };
    let is_same_thing = |first: &Entry, later: &Entry| {
        first.key() == later.key()
            && first.step.part == later.step.part
            && first.step.identity == later.step.identity
            && (&first.boot, first.place) == (&later.boot, later.place)
    };
    let is_undisturbed = |first: &Entry, later: &Entry| {
        let between = |id: &u64| (first.id..later.id).contains(id);
        let mut foreign = foreign(others, &later.step.knob);
        !foreign.any(|(_, foreign)| between(&foreign.id))
            && !reset
                .get(&later.key())
                .is_some_and(|ids| ids.iter().any(between))
    };
    let begins_there = |first: &Entry, later: &Entry| {
        first.step.from == later.step.from && first.step.from.known().is_some()
    };
    let all = |holds: &dyn Fn(&Entry, &Entry) -> bool| {
        pairs.iter().all(|(first, later)| holds(first, later))
    };
    all(&is_same_thing)
        && all(&is_undisturbed)
        && (all(&|first, later| {
            is_plain(first)
                && is_plain(later)
                && (begins_there(first, later)
                    || follows(first, later, knobs) && !knobs.may_be_put_back(later))
        }) || all(&|first, later| {
            is_whole(first)
                && is_whole(later)
                && begins_there(first, later)
                && first.step.to == later.step.to
                && first.step.means == later.step.means
                && first.step.disturbs == later.step.disturbs
        }))
}

impl Entry {
    /// Takes in what a later turn of the same knob left: it goes back to where this one began.
    fn becomes_one_with(&mut self, later: Self) {
        let mut rounded = self.rules();
        rounded.extend(later.rounded);
        rounded.retain(|(asked, _)| *asked != later.step.to);
        let mut known = HashSet::new();
        rounded.retain(|(asked, _)| known.insert(asked.to_string()));
        rounded.drain(..rounded.len().saturating_sub(MOST_RULES));
        self.rounded = rounded;
        self.step.to = later.step.to;
        self.step.to_text = later.step.to_text;
        self.step.why = later.step.why;
        self.shown = later.shown;
        self.after = later.after;
    }
}
