//! Setting a knob back to its original, with the knobs that this resets.

use serde_json::Value;

use super::super::outcome::with_source;
use super::super::{NotRevertedReason, Session};
use crate::host::{HostError, HostErrorKind};
use crate::journal::{Entry, Log, Record};
use crate::knob_kind::KnobKind;
use crate::plan::Before;

impl Session {
    /// Sets the knob of a step back, or says why it stays.
    pub(super) fn put_back(
        &mut self,
        log: &mut Log,
        entry: &Entry,
        kind: &dyn KnobKind,
    ) -> Result<(), NotRevertedReason> {
        let (id, location, step) = (entry.id, entry.location, &entry.step);
        let Before::Known(from) = &step.from else {
            return Ok(());
        };
        let targets = self.targets(log, entry)?;
        let side_effects = !targets.is_empty();
        let at = log.next();
        let passed = self.pass_starts_on(log, entry)?;
        if side_effects {
            // Once it is undone, the original states of its side effects can no longer be read.
            let record = Record::Undoing {
                id,
                targets: targets.clone(),
                at: Some(at),
            };
            if let Err(error) = log.mark(&mut *self.store, location, record) {
                self.reset_starts(log, &passed);
                return Err(NotRevertedReason::journal(&error));
            }
        }
        let changed = kind.set(&step.knob, &mut self.host, from);
        // A device that disappeared in the meantime is no longer pending.
        let back = |seen: &Value| {
            seen == from
                || kind.satisfies(&step.knob, seen, from)
                || kind.is_gone(&step.knob, seen) && !kind.is_gone(&step.knob, from)
        };
        let seen = self.settled(kind, &step.knob, back);
        if let Err(error) = &seen {
            // Whether it was undone is unknown. As after a kill at this point, the next run checks,
            // and finds the states for the side effects in the journal.
            log.set_half_undone(id);
            return Err(NotRevertedReason::unreadable(error));
        }
        if !seen.as_ref().is_ok_and(back) {
            if side_effects {
                let _ = log.mark(&mut *self.store, location, Record::Kept { id });
            }
            self.reset_starts(log, &passed);
            return Err(match changed {
                Err(error) if *error.kind() == HostErrorKind::Busy => {
                    NotRevertedReason::InUse(with_source(&error))
                }
                Err(error) if *error.kind() == HostErrorKind::Stuck => {
                    NotRevertedReason::stuck(&error)
                }
                Err(error) => NotRevertedReason::Refused(with_source(&error)),
                Ok(()) => NotRevertedReason::NotTaken,
            });
        }
        if side_effects {
            let seen: Result<Vec<Value>, HostError> = step
                .side_effects
                .iter()
                .map(|kept| self.now(&kept.knob))
                .collect();
            if let Ok(seen) = seen {
                let _ = log.mark(&mut *self.store, location, Record::Reset { id, seen });
            }
            self.restore(log, (id, at), step, &targets, None)?;
        }
        Ok(())
    }
}
