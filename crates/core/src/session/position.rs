//! How far an interrupted apply came.

use std::collections::HashMap;

use serde_json::Value;

use super::Session;
use crate::error::Error;
use crate::journal::{Entry, Log, Record};
use crate::knob::{Key, KnobKind};

impl Session {
    /// The steps that an interrupted apply turned, or may have turned, last first. Those that it
    /// certainly did not are owed nothing and are taken off the journal.
    ///
    /// A killed process leaves every mark it wrote, so at most the one step after the last mark
    /// is in doubt. A power cut can take the marks: then any number of steps may have been
    /// turned, and what all their knobs show together tells how many. Where two
    /// positions show the same, it is the smaller; where none fits because somebody else changed
    /// something, every step in doubt is taken for turned, and is put back only where the
    /// host shows what it set.
    pub(super) fn turned_by(&mut self, log: &mut Log, apply: u64) -> Result<Vec<u64>, Error> {
        let entries: Vec<Entry> = log
            .entries
            .values()
            .filter(|entry| entry.apply == apply)
            .cloned()
            .collect();
        let certain = entries.iter().take_while(|entry| entry.turned).count();
        let same_boot = entries.iter().all(|entry| entry.boot == self.boot);
        let possible = match entries.get(certain) {
            // What it starts from is written down before it is turned.
            Some(entry) if entry.step.from.known().is_none() => certain,
            Some(_) if same_boot => certain + 1,
            _ => entries.len(),
        };
        if let Some(entry) = entries.get(certain).filter(|_| possible > certain) {
            let kind = self.registry.find(&entry.step.knob.kind)?;
            let from = entry.step.from.known();
            let _ = self.settled(&kind, &entry.step.knob, |seen| Some(seen) != from);
        }
        let position = self.position(&entries, certain, possible)?;
        let never: Vec<u64> = entries[position..].iter().map(|entry| entry.id).collect();
        if let Some(entry) = entries.first()
            && !never.is_empty()
        {
            log.mark(&mut *self.store, entry.place, Record::Undone { ids: never })?;
        }
        Ok(entries[..position].iter().rev().map(|e| e.id).collect())
    }

    fn position(&self, entries: &[Entry], certain: usize, possible: usize) -> Result<usize, Error> {
        // Only knobs of the steps in doubt differ between the candidates.
        let mut seen: HashMap<Key, (KnobKind, Option<Value>)> = HashMap::new();
        for entry in &entries[certain..possible] {
            let kind = self.registry.find(&entry.step.knob.kind)?;
            let state = kind.read(&entry.step.knob, &self.host).ok();
            seen.insert(entry.key(), (kind, state));
        }
        let fits = |candidate: &usize| {
            let expected = states_at(entries, *candidate);
            seen.iter().all(|(key, (kind, seen))| {
                let (Some(seen), Some(Some((entry, state)))) = (seen, expected.get(key)) else {
                    return true;
                };
                kind.counts_as(&entry.step.knob, seen, state)
            })
        };
        Ok((certain..=possible).find(fits).unwrap_or(possible))
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
        states.insert(entry.key(), Some((entry, &entry.step.to)));
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
