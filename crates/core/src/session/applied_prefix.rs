//! How many steps of an interrupted apply were done.

use std::collections::HashMap;

use serde_json::Value;

use super::Session;
use crate::any_knob::Key;
use crate::error::Error;
use crate::journal::{Entry, Log, Record};
use crate::knob_kind::KnobKind;
use crate::plan::Step;

impl Session {
    /// The steps that an interrupted apply did or may have done, last first. Steps that it
    /// certainly did not do are removed from the journal.
    ///
    /// A killed process leaves all marks it wrote, but a power cut or a damaged file system can
    /// lose marks. A missing mark alone therefore does not prove that a step was not done: the
    /// states of all knobs in doubt, taken together, determine how many steps were done.
    pub(super) fn applied_prefix(&mut self, log: &mut Log, apply: u64) -> Result<Vec<u64>, Error> {
        let entries: Vec<Entry> = log
            .entries
            .values()
            .filter(|entry| entry.apply == apply)
            .cloned()
            .collect();
        let certain = entries.iter().take_while(|entry| entry.changed).count();
        if let Some(entry) = entries.get(certain) {
            let kind = self.registry.find(&entry.step.knob.kind)?;
            let from = entry.step.from.known();
            let _ = self.settled(kind, &entry.step.knob, |seen| Some(seen) != from);
        }
        let position = self.position(log, &entries, certain)?;
        let never: Vec<u64> = entries[position..].iter().map(|entry| entry.id).collect();
        if let Some(entry) = entries.first()
            && !never.is_empty()
        {
            log.mark(
                &mut *self.store,
                entry.location,
                Record::Undone { ids: never },
            )?;
        }
        Ok(entries[..position].iter().rev().map(|e| e.id).collect())
    }

    /// How many steps were done: the smallest number that explains what the host shows.
    ///
    /// If no number does, because another process has changed something meanwhile, it is every step
    /// up to the last one whose knob shows what that step set. Each of them is then undone only if
    /// its value is still ours.
    fn position(&mut self, log: &Log, entries: &[Entry], certain: usize) -> Result<usize, Error> {
        // The candidates differ only in the knobs of the steps in doubt.
        let mut seen: HashMap<Key, (&'static dyn KnobKind, Option<Value>)> = HashMap::new();
        // The number of steps up to the last one whose knob cannot be read for now. They may have been
        // done, and a journal that forgets them could never revert them.
        let mut unreadable = 0;
        for (number, entry) in (certain..).zip(&entries[certain..]) {
            let kind = self.registry.find(&entry.step.knob.kind)?;
            let state = match log.above(&entry.step.knob, entry.id) {
                // Another owner has changed it since: that owner's step records what it showed
                // then.
                Some(at) => log.start_of(at, &entry.step.knob).cloned(),
                None => match kind.read(&entry.step.knob, &self.host) {
                    Ok(state) => Some(state),
                    Err(error) => {
                        if !error.kind().is_absence() {
                            unreadable = number + 1;
                        }
                        None
                    }
                },
            };
            seen.insert(entry.key(), (kind, state));
        }
        // A step of which it is not known what was there before, but whose knob shows what it sets, may have
        // been done as well.
        let may_be_done = entries[certain..].iter().rposition(|entry| {
            let Step { knob, from, to, .. } = &entry.step;
            let seen = seen.get(&entry.key());
            from.known().is_none()
                && entry.step.planned_from.as_ref() != Some(to)
                && !log.is_reset_before(entry)
                && seen.is_some_and(|(kind, seen)| {
                    seen.as_ref()
                        .is_some_and(|seen| kind.satisfies(knob, seen, to))
                })
        });
        let may_be_done = may_be_done.map_or(0, |number| certain + number + 1);
        let least = certain.max(unreadable).max(may_be_done);
        let explains = |candidate: &usize| {
            let expected = states_at(entries, *candidate);
            seen.iter().all(|(key, (kind, seen))| {
                let (Some(seen), Some(Some((entry, state)))) = (seen, expected.get(key)) else {
                    return true;
                };
                let Step { knob, from, to, .. } = &entry.step;
                // If a rounded value satisfies both the state before the step and the requested
                // state, the step was done: the state before was read from the host and is shown
                // unchanged if the step was not done.
                let is_changed = from.known() == Some(*state) && kind.satisfies(knob, seen, to);
                seen == *state || !is_changed && kind.satisfies(knob, seen, state)
            })
        };
        if let Some(position) = (least..=entries.len()).find(explains) {
            return Ok(position);
        }
        let last = entries[certain..].iter().rposition(|entry| {
            let Some((kind, Some(seen))) = seen.get(&entry.key()) else {
                return true;
            };
            let Step { knob, from, to, .. } = &entry.step;
            kind.satisfies(knob, seen, to)
                || from.known().is_some_and(|from| {
                    kind.is_partial_write(knob, seen, from, to)
                        || seen != from && self.may_be_rounded(log, entry, *kind, seen)
                })
        });
        // The step after the last mark may have been done, whatever another process has made of its
        // knob since.
        let making = entries[certain..].first().is_some_and(|entry| {
            seen.get(&entry.key())
                .is_some_and(|(_, seen)| seen.as_ref() != entry.step.from.known())
        });
        let position = certain + last.map_or(usize::from(making), |last| last + 1);
        Ok(position.max(least))
    }

    /// Whether a value may be the kernel's rounding of ours. If another owner has changed the knob
    /// since, the knob's own rule decides.
    fn may_be_rounded(
        &mut self,
        log: &Log,
        entry: &Entry,
        kind: &dyn KnobKind,
        seen: &Value,
    ) -> bool {
        let Step { knob, to, .. } = &entry.step;
        match log.above(knob, entry.id) {
            Some(_) => kind.rounds(knob, seen, to),
            None => self.is_rounded_by_the_kernel(entry, kind, seen),
        }
    }
}

/// The state of each knob after the first `position` steps; `None` if it cannot be determined
/// because the state before a step is unknown or a step reset it as a side effect.
fn states_at(entries: &[Entry], position: usize) -> HashMap<Key, Option<(&Entry, &Value)>> {
    let mut states = HashMap::new();
    for entry in entries.iter().rev() {
        // The first step of a knob is visited last, so the state before that one remains.
        states.insert(
            entry.key(),
            entry.step.from.known().map(|from| (entry, from)),
        );
    }
    for entry in &entries[..position] {
        states.insert(entry.key(), Some((entry, entry.left())));
        for kept in &entry.step.side_effects {
            states.insert(kept.knob.key(), None);
        }
    }
    // The state before a step was recorded after anything that reset its knob.
    if let Some(next) = entries.get(position)
        && let Some(from) = next.step.from.known()
    {
        states.insert(next.key(), Some((next, from)));
    }
    states
}
