//! What is said of a step that was undone or left.

use super::super::{NotReverted, NotRevertedReason, Session, Undone};
use crate::plan::{Before, Step};

impl Session {
    /// The knob's note about the state that it was reverted to.
    pub(super) fn revert_note(&self, step: &Step) -> Option<String> {
        let kind = self.kind_or_malformed(&step.knob).ok()?;
        kind.revert_note(&step.knob, &self.host, step.from.known()?)
    }

    pub(super) fn undone(&self, step: &Step, already: bool) -> Undone {
        Undone {
            part: step.part.clone(),
            knob: step.knob.clone(),
            ours: step.to_text.clone(),
            original: self.original(step),
            already,
            held_by: None,
            replaced: None,
        }
    }

    pub(super) fn left(&self, step: &Step, reason: NotRevertedReason) -> NotReverted {
        let seen = self.kind_or_malformed(&step.knob).and_then(|kind| {
            kind.read(&step.knob, &self.host)
                .map(|seen| kind.show(&step.knob, &seen))
        });
        NotReverted {
            part: step.part.clone(),
            knob: step.knob.clone(),
            ours: step.to_text.clone(),
            original: self.original(step),
            seen: seen.unwrap_or_else(|error| error.to_string()),
            reason,
        }
    }

    pub(in super::super) fn original(&self, step: &Step) -> String {
        match (&step.from, self.kind_or_malformed(&step.knob)) {
            (Before::Known(from), Ok(kind)) => kind.show(&step.knob, from),
            _ => step.from_text.clone(),
        }
    }
}
