//! Which steps wait for steps that are left.

use std::collections::HashSet;

use crate::any_knob::{AnyKnob, Key};
use crate::journal::Entry;
use crate::plan::Step;
use crate::session::{NotRevertedReason, Session};

/// The steps that a revert has left so far, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The knobs of steps that are left, and the knobs that those steps reset.
    knobs: HashSet<Key>,
    /// The knobs of steps that are left because another process has set the value, because it is
    /// hidden for now or because they were not selected, and of our steps below those.
    theirs: HashSet<Key>,
    /// The knobs of the other steps of this owner that are left. A step that resets such a knob
    /// waits as well: undoing it first would destroy the state that the step which is left is to
    /// be reverted to.
    ours: HashSet<Key>,
    /// The knobs of steps that are left half undone, and the knobs that those steps reset: the next run
    /// finishes them first, and would set these knobs once more.
    half_undone: HashSet<Key>,
    /// The steps that are left and are not intermediate. The intermediate steps of the same apply
    /// and part wait, because undoing such a step may need them once more: a device goes back
    /// through the algorithm that it had before.
    ends: Vec<Entry>,
}

impl Waiting {
    /// Whether a step waits for a step that is left.
    pub(super) fn has_to_wait(&self, entry: &Entry) -> bool {
        let is_for = |end: &Entry| end.is_of_apply_of(entry) && end.step.part == entry.step.part;
        let mut side_effects = entry.step.side_effects.iter();
        self.knobs.contains(&entry.key())
            || entry.step.means && self.ends.iter().any(is_for)
            || side_effects.any(|kept| self.ours.contains(&kept.knob.key()))
    }

    /// Whether a step waits even for a forced undo: for a step that is half undone.
    pub(super) fn has_to_wait_if_forced(&self, entry: &Entry) -> bool {
        knobs(entry).any(|knob| self.half_undone.contains(&knob))
    }

    /// Which of the knobs that undoing a step would destroy is left, by its name.
    ///
    /// Whoever set the value: one that was left on purpose is lost as well.
    pub(super) fn what_is_destroyed(&self, destroyed: &[AnyKnob]) -> Option<String> {
        let left = destroyed
            .iter()
            .find(|knob| self.knobs.contains(&knob.key()))?;
        Some(left.text.clone())
    }

    /// Records a step that is left. One that is half undone still has to restore its side effects.
    pub(super) fn left(&mut self, entry: &Entry, reason: &NotRevertedReason, is_half_undone: bool) {
        if is_half_undone {
            self.half_undone.extend(knobs(entry));
        }
        let blocks_nothing = match reason {
            NotRevertedReason::Theirs | NotRevertedReason::Hidden(_) => true,
            NotRevertedReason::Waits => {
                let key = entry.key();
                self.theirs.contains(&key) && !self.ours.contains(&key)
            }
            _ => false,
        };
        if blocks_nothing {
            self.theirs.extend(knobs(entry));
        } else {
            self.ours.insert(entry.key());
            if is_half_undone {
                self.ours.extend(knobs(entry));
            }
            if !entry.step.means {
                self.ends.push(entry.clone());
            }
        }
        self.knobs.extend(knobs(entry));
    }

    /// Records a step of another network namespace. Its knob is another one than the knob of that name
    /// here, but the intermediate steps for it wait.
    pub(super) fn elsewhere(&mut self, entry: &Entry) {
        if !entry.step.means {
            self.ends.push(entry.clone());
        }
    }

    /// Records a step that is not selected for this revert.
    pub(super) fn not_selected(&mut self, entry: &Entry) {
        self.theirs.extend(knobs(entry));
        self.knobs.extend(knobs(entry));
    }
}

impl Session {
    /// The knobs that undoing a step destroys, without those that are gone already.
    pub(super) fn destroyed(&self, step: &Step) -> Vec<AnyKnob> {
        let (Ok(kind), Some(from)) = (self.kind_or_malformed(&step.knob), step.from.known()) else {
            return Vec::new();
        };
        // Where it cannot be told, the knob itself cannot be read or set either.
        let mut all = kind
            .destroys(&step.knob, &self.host, from)
            .unwrap_or_default();
        all.retain(|knob| {
            let gone = self.kind_or_malformed(knob).and_then(|kind| {
                let seen = kind.read(knob, &self.host)?;
                Ok(kind.is_gone(knob, &seen))
            });
            !gone.is_ok_and(|gone| gone)
        });
        all
    }
}

/// A step's knob and the knobs that it resets.
fn knobs(entry: &Entry) -> impl Iterator<Item = Key> {
    let side_effects = entry.step.side_effects.iter();
    std::iter::once(entry.key()).chain(side_effects.map(|kept| kept.knob.key()))
}
