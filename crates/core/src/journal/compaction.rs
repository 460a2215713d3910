//! Which entries of a journal no revert needs any more.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::entry::Entry;
use super::log::{Log, foreign};
use crate::any_knob::{AnyKnob, Key};

/// What the knobs' crates and the host say about knobs.
#[derive(Clone, Copy)]
pub(crate) struct Knobs<'a> {
    /// Whether a state satisfies a request; arguments: knob, seen, wanted.
    pub(crate) satisfies: &'a dyn Fn(&AnyKnob, &Value, &Value) -> bool,
    /// The state that a knob shows, if it can be read.
    pub(crate) shows: &'a dyn Fn(&AnyKnob) -> Option<Value>,
}

impl Knobs<'_> {
    fn satisfies(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool {
        (self.satisfies)(knob, seen, wanted)
    }

    /// Whether a step may have been undone without a record of it, because the mark of a killed
    /// revert was lost. If it were merged with an entry before it, the result would start from a
    /// state that the knob does not have, and the part that is still to be reverted would be
    /// forgotten. A knob that cannot be read may have been reverted.
    fn may_be_put_back(&self, entry: &Entry) -> bool {
        let knob = &entry.step.knob;
        let is = |seen: &Value, value: &Value| seen == value || self.satisfies(knob, seen, value);
        let from = entry.step.from.known();
        (self.shows)(knob).is_none_or(|seen| {
            from.is_some_and(|from| is(&seen, from))
                && seen != *entry.left()
                && !is(&seen, &entry.step.to)
        })
    }
}

/// Whether an entry starts where an earlier entry of the same knob ended.
///
/// The knob's own rule decides: a kernel that rounds shows another value than was requested, and
/// that is not another process's change.
fn follows(last: &Entry, next: &Entry, knobs: Knobs<'_>) -> bool {
    last.step.identity == next.step.identity
        && last.step.network_namespace == next.step.network_namespace
        && next.step.from.known().is_some_and(|from| {
            from == last.left() || knobs.satisfies(&next.step.knob, from, &last.step.to)
        })
}

/// For each knob that is reset as a side effect, the entries that reset it.
fn affected(entries: &BTreeMap<u64, Entry>) -> HashMap<Key, Vec<u64>> {
    let mut affected: HashMap<Key, Vec<u64>> = HashMap::new();
    for entry in entries.values() {
        for kept in &entry.step.side_effects {
            affected.entry(kept.knob.key()).or_default().push(entry.id);
        }
    }
    affected
}

/// The entries that a revert does not need.
///
/// The entries of one knob that each start where the one before ended form a chain. When another
/// process has changed the knob in between, a new chain begins. A revert follows the last chain
/// back to the value that the other process had set and stops there, because that value is not
/// ours. Only the first chain still has the first original, to which `--force` reverts. The values
/// between the first and the last chain are never set again, so a timer that competes with another
/// process for a knob need not remember every round.
///
/// If another owner has changed the knob too, no entry is dropped: the owners' steps build on each
/// other in their order, independent of the value that shows.
///
/// Nor is one dropped if a step of ours resets the knob, because then the change in between was not
/// another process's.
pub(super) fn superseded(
    entries: &BTreeMap<u64, Entry>,
    others: &[Log],
    knobs: Knobs<'_>,
) -> Vec<u64> {
    // By device and not only by name: a renamed device can have the name of one that is gone.
    let mut chains: HashMap<(Key, Option<&str>), Vec<Vec<&Entry>>> = HashMap::new();
    let reset = affected(entries);
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
                .filter(move |(location, _)| (1..last).contains(location))
        })
        .flat_map(|(_, chain)| chain)
        .filter(|entry| {
            // A step that is half undone still has to restore its side effects.
            entry.undoing.is_none()
                && !reset.contains_key(&entry.key())
                && foreign(others, &entry.step.knob).next().is_none()
        })
        .map(|entry| entry.id)
        .collect()
}

/// The number of known roundings kept for one knob. Dropped ones are determined again at the next
/// apply.
const MOST_RULES: usize = 16;

/// Merges two applies if the later one set the same knobs as the end of the earlier one, in the
/// same order, each from the state that the earlier one left or started from.
///
/// Only then does no step change its place relative to others that it may depend on (a governor on
/// its module) or that change with it (the huge pages of a node and of all nodes). An apply with
/// intermediate steps or side effects is merged with the one before only if it repeats it exactly.
///
/// A revert must not pass through a state that no apply passed through, because the kernel may refuse
/// it: with an upper frequency limit of 2 GHz it refuses a lower one of 2.4 GHz. So an apply that
/// continues from where the earlier one ended is merged only if it changed the last knob and no
/// other. Applies that both began from the same states may differ anywhere: a revert of the merged
/// one is the later apply in reverse.
///
/// An apply that sets again what an earlier one had set, with nothing but our own changes of the same
/// knobs in between, is dropped with these: a timer that switches between profiles does not make the
/// journal grow, and what remains is reverted as if they had not been.
pub(super) fn fold(entries: &mut BTreeMap<u64, Entry>, others: &[Log], knobs: Knobs<'_>) {
    let mut stay: Vec<Vec<u64>> = Vec::new();
    for apply in applies(entries) {
        let together = stay.last().and_then(|last| pairs(entries, last, &apply));
        let together = together
            .filter(|pairs| !pairs.is_empty() && are_one(pairs, others, &affected(entries), knobs));
        let Some(together) = together else {
            stay.push(apply);
            if let Some(earlier) = repeated(entries, others, &stay, knobs) {
                for id in stay.drain(earlier + 1..).flatten() {
                    entries.remove(&id);
                }
            }
            continue;
        };
        let together: Vec<(u64, u64)> = together
            .iter()
            .map(|(first, later)| (first.id, later.id))
            .collect();
        for (into, from) in together {
            if let Some(later) = entries.remove(&from)
                && let Some(first) = entries.get_mut(&into)
            {
                first.becomes_one_with(later);
            }
        }
    }
    // A change back to the start is no change, unless it records a rounding by the kernel, or
    // another owner's step is below it: then it records that this owner wants the knob to stay so.
    entries.retain(|_, entry| {
        let holds = || foreign(others, &entry.step.knob).any(|(_, below)| below.id < entry.id);
        !is_whole(entry)
            || !entry.step.side_effects.is_empty()
            || !entry.is_hold()
            || !entry.rules().is_empty()
            || holds()
    });
}

/// The entries of each apply, in the order in which they were done.
fn applies(entries: &BTreeMap<u64, Entry>) -> Vec<Vec<u64>> {
    let entries: Vec<&Entry> = entries.values().collect();
    let applies = entries.chunk_by(|one, next| one.is_of_apply_of(next));
    applies
        .map(|apply| apply.iter().map(|entry| entry.id).collect())
        .collect()
}

fn is_whole(entry: &Entry) -> bool {
    entry.changed && entry.undoing.is_none()
}

/// Whether it is complete, not an intermediate step, and without side effects.
fn is_plain(entry: &Entry) -> bool {
    is_whole(entry) && entry.step.side_effects.is_empty() && !entry.step.means
}

/// The place among the applies of an earlier one that the last one repeats, if all applies since then
/// can be dropped.
fn repeated(
    entries: &BTreeMap<u64, Entry>,
    others: &[Log],
    applies: &[Vec<u64>],
    knobs: Knobs<'_>,
) -> Option<usize> {
    let reset = affected(entries);
    let (last, before) = applies.split_last()?;
    let in_effect = |entry: &Entry| {
        let seen = (knobs.shows)(&entry.step.knob);
        seen.is_some_and(|seen| {
            seen == *entry.left() || knobs.satisfies(&entry.step.knob, &seen, &entry.step.to)
        })
    };
    for (place, earlier) in before.iter().enumerate().rev() {
        let next = &applies[place + 1];
        if next.len() != last.len() {
            return None;
        }
        let steps = pairs(entries, earlier, next)?;
        let is_chain = steps.iter().all(|(one, two)| {
            is_plain(one) && is_plain(two) && is_same_thing(one, two) && follows(one, two, knobs)
        });
        if !is_chain {
            return None;
        }
        let is_again = pairs(entries, earlier, last)?.iter().all(|(one, two)| {
            one.step.to == two.step.to
                && one.left() == two.left()
                && is_unaffected(one, two, others, &reset)
        });
        if is_again {
            // The last apply may have been undone by a revert that was killed before it recorded
            // that. Only now are the knobs read.
            let mut entries = last.iter().filter_map(|id| entries.get(id));
            return entries.all(in_effect).then_some(place);
        }
    }
    None
}

/// The entries of the end of an apply, each with the entry of a later apply in the same place.
fn pairs<'e>(
    entries: &'e BTreeMap<u64, Entry>,
    earlier: &[u64],
    later: &[u64],
) -> Option<Vec<(&'e Entry, &'e Entry)>> {
    let end = earlier.get(earlier.len().checked_sub(later.len())?..)?;
    let pairs = end.iter().zip(later);
    pairs
        .map(|(earlier, later)| Some((entries.get(earlier)?, entries.get(later)?)))
        .collect()
}

/// Whether two entries are about the same knob of the same device, for the same part.
fn is_same_thing(first: &Entry, later: &Entry) -> bool {
    first.key() == later.key()
        && first.step.part == later.step.part
        && first.step.identity == later.step.identity
        && first.step.network_namespace == later.step.network_namespace
        && (&first.boot, first.location) == (&later.boot, later.location)
}

/// Whether neither another owner nor a reset of ours has changed the knob between two entries.
fn is_unaffected(
    first: &Entry,
    later: &Entry,
    others: &[Log],
    reset: &HashMap<Key, Vec<u64>>,
) -> bool {
    let between = |id: &u64| (first.id..later.id).contains(id);
    let mut foreign = foreign(others, &later.step.knob);
    !foreign.any(|(_, foreign)| between(&foreign.id))
        && !reset
            .get(&later.key())
            .is_some_and(|ids| ids.iter().any(between))
}

/// Whether two applies can be merged, given each entry of the end of the earlier one with that of the
/// later one.
fn are_one(
    pairs: &[(&Entry, &Entry)],
    others: &[Log],
    reset: &HashMap<Key, Vec<u64>>,
    knobs: Knobs<'_>,
) -> bool {
    let begins_there = |first: &Entry, later: &Entry| {
        first.step.from == later.step.from && first.step.from.known().is_some()
    };
    let continues = |first: &Entry, later: &Entry| {
        follows(first, later, knobs) && !knobs.may_be_put_back(later)
    };
    let all = |holds: &dyn Fn(&Entry, &Entry) -> bool| {
        pairs.iter().all(|(first, later)| holds(first, later))
    };
    let only_last_differs = || {
        let but_last = pairs.split_last().map_or(pairs, |(_, before)| before);
        but_last
            .iter()
            .all(|(first, later)| first.left() == later.left())
    };
    let both_plain = all(&|first, later| is_plain(first) && is_plain(later));
    all(&is_same_thing)
        && all(&|first, later| is_unaffected(first, later, others, reset))
        && (both_plain && all(&begins_there)
            || both_plain
                && all(&|first, later| begins_there(first, later) || continues(first, later))
                && only_last_differs()
            || all(&|first, later| {
                is_whole(first)
                    && is_whole(later)
                    && begins_there(first, later)
                    && first.step.to == later.step.to
                    && first.step.means == later.step.means
                    && first.step.side_effects == later.step.side_effects
            }))
}

impl Entry {
    /// Merges a later change of the same knob into this one, which keeps its original.
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
