//! Which entries of a journal no revert needs any more.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::log::Entry;
use crate::knob::{AnyKnob, Key};

/// Whether what a knob shows is what asking it for something gives: the knob, both in that order.
pub(crate) type CountsAs<'a> = &'a dyn Fn(&AnyKnob, &Value, &Value) -> bool;

/// Whether an entry starts where one before it of the same knob ended.
///
/// By what the knob's crate says of it: a kernel that rounds shows something else than it was asked
/// for, and that is no stranger's.
fn follows(last: &Entry, next: &Entry, counts_as: CountsAs<'_>) -> bool {
    last.step.identity == next.step.identity
        && next
            .step
            .from
            .known()
            .is_some_and(|from| counts_as(&next.step.knob, from, &last.step.to))
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
pub(super) fn superseded<'e>(
    entries: impl Iterator<Item = &'e Entry>,
    counts_as: CountsAs<'_>,
) -> Vec<u64> {
    let mut chains: HashMap<Key, Vec<Vec<&Entry>>> = HashMap::new();
    for entry in entries {
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
        .map(|entry| entry.id)
        .collect()
}

/// Makes one entry of two in which the second starts where the first ended.
///
/// Only of ends in different applies, for which the order among knobs does not matter: a means
/// stands where it stands so that other knobs are turned between.
pub(super) fn fold(entries: &mut BTreeMap<u64, Entry>, counts_as: CountsAs<'_>) {
    let plain = |entry: &Entry| !entry.step.means && entry.step.disturbs.is_empty() && entry.turned;
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
                plain(first)
                    && plain(entry)
                    && ended.apply != entry.apply
                    && first.step.part == entry.step.part
                    && (&first.boot, first.place) == (&entry.boot, entry.place)
                    && follows(ended, entry, counts_as)
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
            first.step.to = later.step.to;
            first.step.to_text = later.step.to_text;
            first.step.why = later.step.why;
        }
    }
    // There and back again is nothing.
    entries.retain(|_, entry| !plain(entry) || entry.step.from.known() != Some(&entry.step.to));
}
