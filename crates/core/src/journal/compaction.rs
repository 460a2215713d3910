//! Which entries of a journal no revert needs any more.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::log::{Entry, Log, foreign};
use crate::knob::{AnyKnob, Key};

/// Whether what a knob shows is what asking it for something gives: the knob, both in that order.
pub(crate) type CountsAs<'a> = &'a dyn Fn(&AnyKnob, &Value, &Value) -> bool;

/// Whether an entry starts where one before it of the same knob ended.
///
/// By what the knob's crate says of it: a kernel that rounds shows something else than it was asked
/// for, and that is no stranger's.
fn follows(last: &Entry, next: &Entry, counts_as: CountsAs<'_>) -> bool {
    last.step.identity == next.step.identity
        && next.step.from.known().is_some_and(|from| {
            from == last.left() || counts_as(&next.step.knob, from, &last.step.to)
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
    counts_as: CountsAs<'_>,
) -> Vec<u64> {
    let mut chains: HashMap<Key, Vec<Vec<&Entry>>> = HashMap::new();
    let reset = disturbed(entries);
    for entry in entries.values() {
        let chains = chains.entry(entry.key()).or_default();
        match chains.last_mut() {
            Some(chain)
                if chain
                    .last()
                    .is_some_and(|last| follows(last, entry, counts_as)) =>
            {
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
            !reset.contains_key(&entry.key()) && foreign(others, &entry.step.knob).next().is_none()
        })
        .map(|entry| entry.id)
        .collect()
}

/// How much is remembered of what a kernel makes of one knob's values. What is forgotten is asked for
/// again at the next apply.
const MOST_RULES: usize = 16;

/// Makes one entry of two in which the second starts where the first ended.
///
/// Only of ends in different applies, for which the order among knobs does not matter: a means
/// stands where it stands so that other knobs are turned between.
///
/// One that starts where the first started is one with it too, and one that does the same once more
/// is so even where it is a means: it stands where the first stands, in the order in which they have
/// to be taken back.
pub(super) fn fold(entries: &mut BTreeMap<u64, Entry>, others: &[Log], counts_as: CountsAs<'_>) {
    let whole = |entry: &Entry| entry.turned && entry.undoing.is_none();
    let simple = |entry: &Entry| entry.step.disturbs.is_empty() && whole(entry);
    let plain = |entry: &Entry| !entry.step.means && simple(entry);
    let reset = disturbed(entries);
    let between = |entry: &Entry, first: u64| {
        let between = |id: &u64| (first..entry.id).contains(id);
        foreign(others, &entry.step.knob).any(|(_, foreign)| between(&foreign.id))
            || reset
                .get(&entry.key())
                .is_some_and(|ids| ids.iter().any(between))
    };
    let mut last: HashMap<Key, u64> = HashMap::new();
    let mut folded: Vec<(u64, u64)> = Vec::new();
    for (id, entry) in entries.iter() {
        let first = last.get(&entry.key()).copied();
        let joins = first
            .and_then(|first| entries.get(&first))
            .is_some_and(|first| {
                // What the first one's folded ones ended in is what the one before this ended in.
                let ended = folded
                    .iter()
                    .rev()
                    .find(|(into, _)| *into == first.id)
                    .and_then(|(_, from)| entries.get(from))
                    .unwrap_or(first);
                let follows = || plain(first) && plain(entry) && follows(ended, entry, counts_as);
                // Somebody had put it back, or it went and came again.
                let repeats = || {
                    let same = first.step.means == entry.step.means
                        && ended.step.to == entry.step.to
                        && first.step.disturbs == entry.step.disturbs
                        && ended.step.disturbs == entry.step.disturbs;
                    first.step.identity == entry.step.identity
                        && first.step.from == entry.step.from
                        && first.step.from.known().is_some()
                        && (plain(first) && plain(entry) || whole(first) && whole(entry) && same)
                };
                !ended.is_of_apply_of(entry)
                    && first.step.part == entry.step.part
                    && (&first.boot, first.place) == (&entry.boot, entry.place)
                    && (follows() || repeats())
                    && !between(entry, first.id)
            });
        match first.filter(|_| joins) {
            Some(first) => folded.push((first, *id)),
            None => {
                last.insert(entry.key(), *id);
            }
        }
    }
    for (into, from) in folded {
        let Some(later) = entries.remove(&from) else {
            continue;
        };
        if let Some(first) = entries.get_mut(&into) {
            let mut rounded = first.rules();
            rounded.extend(later.rounded.clone());
            rounded.retain(|(asked, _)| *asked != later.step.to);
            let mut known = HashSet::new();
            rounded.retain(|(asked, _)| known.insert(asked.to_string()));
            rounded.drain(..rounded.len().saturating_sub(MOST_RULES));
            first.rounded = rounded;
            first.step.to = later.step.to;
            first.step.to_text = later.step.to_text;
            first.step.why = later.step.why;
            first.shown = later.shown;
            first.after = later.after;
        }
    }
    // There and back again is nothing, unless it says what the kernel makes of a value, or another owner's step is beneath it: then it says that
    // this owner wants the knob to stay so.
    entries.retain(|_, entry| {
        let holds = || foreign(others, &entry.step.knob).any(|(_, below)| below.id < entry.id);
        !simple(entry) || !entry.is_hold() || !entry.rules().is_empty() || holds()
    });
}
