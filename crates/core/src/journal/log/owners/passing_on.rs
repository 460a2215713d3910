//! Changes in the journals of other owners: entries that are passed on, and states that they started from.

use serde_json::Value;

use super::{Foreign, Start};
use crate::any_knob::AnyKnob;
use crate::journal::entry::{Entry, Giver};
use crate::journal::log::{Log, Open};
use crate::journal::{JournalError, JournalLocation, Store};
use crate::plan::{Before, SavedState};

impl Log {
    /// Changes this log and writes the file. If that fails, the log is as before, so that the rest of
    /// the undo does not rely on a change that no journal records.
    fn rewrite(
        &mut self,
        store: &mut dyn Store,
        location: JournalLocation,
        change: impl FnOnce(&mut Self),
    ) -> Result<(), JournalError> {
        let (entries, next) = (self.entries.clone(), self.next);
        let open = self.file(location).open.clone();
        change(self);
        let written = self.write_whole(store, location, None);
        if written.is_err() {
            self.entries = entries;
            self.next = next;
            self.file(location).open = open;
        }
        written
    }

    /// Updates the state to restore for a knob in the undos that others began, of steps that reset
    /// it, and were killed in before they restored it. Returns whether there is one: then the knob
    /// shows a leftover of that undo.
    pub(crate) fn retarget(
        &mut self,
        store: &mut dyn Store,
        id: u64,
        knob: &AnyKnob,
        to: &Value,
    ) -> Result<bool, JournalError> {
        let mut found = false;
        for other in &mut self.others {
            // By ID, with the number of the knob among the entry's side effects.
            let halves: Vec<(u64, usize)> = other
                .entries
                .values()
                .filter(|half| half.undoing_at.is_some_and(|at| id < at))
                .filter_map(|half| {
                    let mut side_effects = half.step.side_effects.iter();
                    let number = side_effects.position(|kept| kept.knob == *knob)?;
                    let target = half.undoing.as_ref()?.get(number)?;
                    found = true;
                    (target != to).then_some((half.id, number))
                })
                .collect();
            for location in JournalLocation::ALL {
                let here = |log: &Self, id: &u64| log.entries[id].location == location;
                let of_place: Vec<&(u64, usize)> =
                    halves.iter().filter(|(id, _)| here(other, id)).collect();
                if of_place.is_empty() {
                    continue;
                }
                other.rewrite(store, location, |other| {
                    for (id, number) in of_place {
                        other.change(*id, |half| {
                            if let Some(targets) = &mut half.undoing {
                                targets[*number].clone_from(to);
                            }
                        });
                    }
                })?;
            }
        }
        Ok(found)
    }

    /// Updates the identity of the device in this owner's entries about a knob below `id`: the
    /// device that they changed was taken away by entry `id` and has come back as another instance.
    pub(crate) fn set_identity(
        &mut self,
        store: &mut dyn Store,
        id: u64,
        knob: &AnyKnob,
        identity: &str,
    ) -> Result<(), JournalError> {
        for location in JournalLocation::ALL {
            let ids: Vec<u64> = self
                .entries
                .range(..id)
                .map(|(_, entry)| entry)
                .filter(|entry| entry.location == location && entry.step.knob == *knob)
                .filter(|entry| {
                    let known = entry.step.identity.as_deref();
                    known.is_some_and(|known| known != identity)
                })
                .map(|entry| entry.id)
                .collect();
            if !ids.is_empty() {
                self.rewrite(store, location, |log| {
                    for id in ids {
                        log.change(id, |entry| entry.step.identity = Some(identity.to_owned()));
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Passes an entry on to the owner of another one, who will revert it instead. It is durable
    /// there before it is removed here.
    pub(crate) fn pass_on(
        &mut self,
        store: &mut dyn Store,
        id: u64,
        to: Foreign,
    ) -> Result<(), JournalError> {
        let Some(entry) = self.entries.get(&id).cloned() else {
            return Ok(());
        };
        let location = entry.location;
        let given = Entry {
            // No apply has this number, so no rollback includes the entry.
            apply: 0,
            giver: Some(Giver {
                owner: self.owner.clone(),
                apply: entry
                    .giver
                    .as_ref()
                    .map_or(entry.apply, |giver| giver.apply),
                times: entry.times_passed_on() + 1,
            }),
            ..entry
        };
        let next = self.next;
        self.of_mut(to).rewrite(store, location, |other| {
            other.entries.insert(id, given);
            other.next = other.next.max(next);
            // A killed revert must include the entries that it receives meanwhile; otherwise the
            // steps below would wait for them.
            if let Some(Open::Undoing { ids, .. }) = &mut other.file(location).open
                && ids.contains(&to.id)
            {
                ids.push(id);
            }
        })?;
        // If this mark is lost, the next run finds the entry in both journals.
        self.undone(store, location, vec![id]);
        Ok(())
    }

    /// Records that another owner's step started from a different state, because a step below it
    /// was reverted further. A step that only held the knob becomes a change then, and `side_effects`
    /// has its side effects, to be restored after it.
    pub(crate) fn set_start(
        &mut self,
        store: &mut dyn Store,
        at: Foreign,
        knob: &AnyKnob,
        to: &Value,
        side_effects: Vec<SavedState>,
    ) -> Result<(), JournalError> {
        let Some(entry) = self.of(at).entries.get(&at.id) else {
            return Ok(());
        };
        let held = entry.is_hold() && entry.step.side_effects.is_empty();
        self.write_start(store, at, knob, to, held.then_some(side_effects))
    }

    fn write_start(
        &mut self,
        store: &mut dyn Store,
        at: Foreign,
        knob: &AnyKnob,
        to: &Value,
        side_effects: Option<Vec<SavedState>>,
    ) -> Result<(), JournalError> {
        let other = self.of_mut(at);
        let to = Before::Known(to.clone());
        let Some(entry) = other.entries.get(&at.id) else {
            return Ok(());
        };
        if entry.start_of(knob).is_none_or(|start| *start == to) {
            return Ok(());
        }
        let location = entry.location;
        other.rewrite(store, location, |other| {
            other.change(at.id, |entry| {
                let step = &mut entry.step;
                if step.knob == *knob {
                    step.from = to;
                    if let Some(side_effects) = side_effects {
                        step.side_effects = side_effects;
                    }
                } else if let Some(kept) =
                    step.side_effects.iter_mut().find(|kept| kept.knob == *knob)
                {
                    kept.state = to;
                }
            });
        })
    }

    /// The state that a step started from, for [`reset_start`](Self::reset_start).
    pub(crate) fn start(&self, at: Foreign, knob: &AnyKnob) -> Option<Start> {
        let entry = &self.of(at).entries[&at.id];
        Some(Start {
            at,
            knob: knob.clone(),
            state: entry.start_of(knob)?.known()?.clone(),
            holds: entry.is_hold() && entry.step.side_effects.is_empty(),
        })
    }

    /// Undoes [`set_start`](Self::set_start).
    pub(crate) fn reset_start(
        &mut self,
        store: &mut dyn Store,
        start: &Start,
    ) -> Result<(), JournalError> {
        let side_effects = start.holds.then(Vec::new);
        self.write_start(store, start.at, &start.knob, &start.state, side_effects)
    }
}
