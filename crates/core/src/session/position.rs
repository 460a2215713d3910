//! How far an interrupted apply came.

use std::collections::HashMap;

use serde_json::Value;

use super::Session;
use crate::error::Error;
use crate::journal::{Entry, Log, Record};
use crate::knob::{Key, KnobKind};
use crate::plan::Step;

impl Session {
    /// The steps that an interrupted apply turned, or may have turned, last first. Those that it
    /// certainly did not are owed nothing and are taken off the journal.
    ///
    /// A killed process leaves every mark it wrote, but a power cut or a damaged file system can
    /// take marks, so no step without one is taken for unturned on that account: what the knobs
    /// of all steps in doubt show together tells how many were turned.
    pub(super) fn turned_by(&mut self, log: &mut Log, apply: u64) -> Result<Vec<u64>, Error> {
        let entries: Vec<Entry> = log
            .entries
            .values()
            .filter(|entry| entry.apply == apply)
            .cloned()
            .collect();
        let certain = entries.iter().take_while(|entry| entry.turned).count();
        if let Some(entry) = entries.get(certain) {
            let kind = self.registry.find(&entry.step.knob.kind)?;
            let from = entry.step.from.known();
            let _ = self.settled(&kind, &entry.step.knob, |seen| Some(seen) != from);
        }
        let position = self.position(log, &entries, certain)?;
        let never: Vec<u64> = entries[position..].iter().map(|entry| entry.id).collect();
        if let Some(entry) = entries.first()
            && !never.is_empty()
        {
            log.mark(&mut *self.store, entry.place, Record::Undone { ids: never })?;
        }
        Ok(entries[..position].iter().rev().map(|e| e.id).collect())
    }

    /// How many steps were turned: the smallest number that explains what the host shows.
    ///
    /// Where none does, because somebody else changed something meanwhile, every step up to the
    /// last one whose knob shows what it set: each is then put back only where it is ours.
    fn position(&mut self, log: &Log, entries: &[Entry], certain: usize) -> Result<usize, Error> {
        // Only knobs of the steps in doubt differ between the candidates.
        let mut seen: HashMap<Key, (KnobKind, Option<Value>)> = HashMap::new();
        for entry in &entries[certain..] {
            let kind = self.registry.find(&entry.step.knob.kind)?;
            let state = match log.above(&entry.step.knob, entry.id) {
                // Another owner has turned it since: his step says what it showed then.
                Some(at) => log.start_of(at, &entry.step.knob).cloned(),
                None => kind.read(&entry.step.knob, &self.host).ok(),
            };
            seen.insert(entry.key(), (kind, state));
        }
        let explains = |candidate: &usize| {
            let expected = states_at(entries, *candidate);
            seen.iter().all(|(key, (kind, seen))| {
                let (Some(seen), Some(Some((entry, state)))) = (seen, expected.get(key)) else {
                    return true;
                };
                let Step { knob, from, to, .. } = &entry.step;
                // Where a value that is rounded counts as what it starts from and as what it is
                // turned to, it was turned: what it starts from was read, and is shown as it was.
                let is_turned = from.known() == Some(*state) && kind.counts_as(knob, seen, to);
                seen == *state || !is_turned && kind.counts_as(knob, seen, state)
            })
        };
        if let Some(position) = (certain..=entries.len()).find(explains) {
            return Ok(position);
        }
        let last = entries[certain..].iter().rposition(|entry| {
            let Some((kind, Some(seen))) = seen.get(&entry.key()) else {
                return true;
            };
            let Step { knob, from, to, .. } = &entry.step;
            kind.counts_as(knob, seen, to)
                || from.known().is_some_and(|from| {
                    kind.torn(knob, seen, from, to)
                        || seen != from && self.may_be_rounded(log, entry, kind, seen)
                })
        });
        // The step that was in the making when the marks end may have been turned, whatever
        // somebody else made of its knob since.
        let making = entries[certain..].first().is_some_and(|entry| {
            seen.get(&entry.key())
                .is_some_and(|(_, seen)| seen.as_ref() != entry.step.from.known())
        });
        Ok(certain + last.map_or(usize::from(making), |last| last + 1))
    }

    /// Whether a value may be what the kernel makes of ours: whoever has turned the knob since asks it.
    fn may_be_rounded(&mut self, log: &Log, entry: &Entry, kind: &KnobKind, seen: &Value) -> bool {
        let Step { knob, to, .. } = &entry.step;
        match log.above(knob, entry.id) {
            Some(_) => kind.rounds(knob, seen, to),
            None => self.is_rounded_by_the_kernel(entry, kind, seen),
        }
    }
}

/// What each knob shows once the first `position` steps are done; `None` where nobody can tell,
/// because a step's start is not known or a step reset it.
fn states_at(entries: &[Entry], position: usize) -> HashMap<Key, Option<(&Entry, &Value)>> {
    let mut states = HashMap::new();
    for entry in entries.iter().rev() {
        // The first step of a knob is seen last, so what it starts from stands.
        states.insert(
            entry.key(),
            entry.step.from.known().map(|from| (entry, from)),
        );
    }
    for entry in &entries[..position] {
        states.insert(entry.key(), Some((entry, entry.left())));
        for kept in &entry.step.disturbs {
            states.insert(kept.knob.key(), None);
        }
    }
    // What a step starts from was written down after whatever reset its knob.
    if let Some(next) = entries.get(position)
        && let Some(from) = next.step.from.known()
    {
        states.insert(next.key(), Some((next, from)));
    }
    states
}
