//! Apply: write the intent, make each change, read it back, and undo all of them if one fails.

use std::time::Duration;

use serde_json::Value;

use super::{Applied, Seen, Session};
use crate::any_knob::AnyKnob;
use crate::error::{Cause, Error, StepFailure};
use crate::host::HostErrorKind;
use crate::journal::{Entry, JournalLocation, Knobs, Log, Purpose, Record};
use crate::knob_kind::KnobKind;
use crate::plan::{Before, Plan, Requirement, Step};
use crate::report::Finding;
use crate::stop::Stop;
use crate::unsupported::{Unsupported, UnsupportedKind};

/// The outcome of one step.
enum StepOutcome {
    Changed,
    /// The knob had the requested state already when the step was reached.
    Nothing,
    Refused(Unsupported),
}

impl Session {
    /// Applies a plan. The whole intent is in the journal before the first change.
    pub(super) fn apply_steps(&mut self, log: &mut Log, plan: Plan) -> Result<Applied, Error> {
        let mut applied = Applied {
            findings: plan.findings,
            notes: plan.notes,
            ..Applied::default()
        };
        if plan.steps.is_empty() && plan.holds.is_empty() {
            log.clear_if_empty(&mut *self.store)?;
            return Ok(applied);
        }
        let holds = plan.holds.len();
        let steps: Vec<Step> = plan.holds.into_iter().chain(plan.steps).collect();
        for step in &steps {
            self.registry.find(&step.knob.kind)?;
        }
        if let Some(first) = steps.get(holds).filter(|_| self.is_stopped()) {
            return Err(Error::Interrupted {
                before: first.knob.text.clone(),
                undone: 0,
            });
        }
        self.forget_replaced(log)?;
        let apply = {
            let (registry, host) = (&self.registry, &self.host);
            let (satisfies, shows) = (&registry.satisfies(), &registry.shows(host));
            log.begin(&mut *self.store, steps, Knobs { satisfies, shows })?
        };
        let entries: Vec<Entry> = log
            .entries
            .values()
            .filter(|entry| entry.apply == apply)
            .cloned()
            .collect();
        let location = entries
            .first()
            .map_or(JournalLocation::Volatile, |entry| entry.location);
        for entry in entries.into_iter().skip(holds) {
            let id = entry.id;
            if self.is_stopped() {
                let cause = cause(&entry.step, StepFailure::Interrupted);
                return Err(self.roll_back(log, apply, id, cause));
            }
            match self.apply_step(log, &entry) {
                Ok(StepOutcome::Changed) => {
                    let mut step = entry.step;
                    if step.planned_from.is_some() {
                        // As it was planned, and not as the journal fills it in.
                        step.from = Before::DependsOnEarlierStep;
                    }
                    applied.changed.push(step);
                }
                Ok(StepOutcome::Nothing) => {}
                Ok(StepOutcome::Refused(unsupported)) => {
                    applied
                        .findings
                        .push(Finding::refused(&entry.step, unsupported));
                }
                Err(failure) => {
                    let cause = cause(&entry.step, failure);
                    return Err(self.roll_back(log, apply, id + 1, cause));
                }
            }
        }
        if let Err(error) = log.done(&mut *self.store, location, apply) {
            // If it cannot be recorded that the apply is finished, the next run would roll it back
            // although success was reported.
            let last = applied.changed.last();
            let cause = Cause {
                knob: last.map_or_else(String::new, |step| step.knob.text.clone()),
                part: last.map_or_else(String::new, |step| step.part.clone()),
                wanted: last.map_or_else(String::new, |step| step.to_text.clone()),
                failure: StepFailure::Journal(error),
            };
            return Err(self.roll_back(log, apply, u64::MAX, cause));
        }
        Ok(applied)
    }

    /// Removes from the journal the steps for devices that others with the same name have replaced
    /// since.
    ///
    /// A device that appears and disappears would otherwise leave steps behind that nobody can
    /// revert.
    fn forget_replaced(&mut self, log: &mut Log) -> Result<(), Error> {
        for location in JournalLocation::ALL {
            let replaced =
                |entry: &&Entry| entry.location == location && self.is_replaced(&entry.step);
            let ids: Vec<u64> = log
                .entries
                .values()
                .filter(replaced)
                .map(|entry| entry.id)
                .collect();
            if !ids.is_empty() {
                log.mark(&mut *self.store, location, Record::Undone { ids })?;
            }
        }
        Ok(())
    }

    /// Whether the name in a step now belongs to another device than the one it changed.
    pub(super) fn is_replaced(&self, step: &Step) -> bool {
        let Some(changed) = &step.identity else {
            return false;
        };
        let Ok(kind) = self.kind_or_malformed(&step.knob) else {
            return false;
        };
        // If no device is there or its identity cannot be read, the state of the knob decides.
        let now = kind.identity(&step.knob, &self.host);
        matches!(now, Ok(Some(now)) if !kind.is_same_thing(&now, changed))
    }

    fn apply_step(&mut self, log: &mut Log, entry: &Entry) -> Result<StepOutcome, StepFailure> {
        let Entry {
            id, location, step, ..
        } = entry;
        let kind = self.kind(&step.knob)?;
        let mut from = step.from.known().cloned();
        let unsettled = step
            .side_effects
            .iter()
            .any(|kept| kept.state == Before::DependsOnEarlierStep);
        if from.is_none() || step.planned_from.is_some() || unsettled {
            let seen = kind
                .read(&step.knob, &self.host)
                .map_err(StepFailure::Unreadable)?;
            let seen = kind.original(&step.knob, &seen).unwrap_or(seen);
            let affected = self.kept_now(step)?;
            let record = Record::From {
                id: *id,
                from: seen.clone(),
                affected,
            };
            self.mark(log, *location, record)?;
            from = Some(seen);
        }
        let from = from.unwrap_or_default();
        let is_damaged = entry.is_hold()
            && kind
                .read(&step.knob, &self.host)
                .is_ok_and(|seen| !kind.satisfies(&step.knob, &seen, &step.to));
        if kind.satisfies(&step.knob, &from, &step.to) && !is_damaged {
            // The step that reset it left it as requested. Writing an equal value can have side
            // effects.
            self.mark(log, *location, Record::Undone { ids: vec![*id] })?;
            return Ok(StepOutcome::Nothing);
        }
        if let Err(error) = kind.set(&step.knob, &mut self.host, &step.to) {
            let unsupported = match error.kind() {
                HostErrorKind::NotApplicable(unsupported)
                    if step.requirement != Requirement::Required =>
                {
                    unsupported.clone()
                }
                _ => return Err(StepFailure::Refused(error)),
            };
            let seen = self.settled(kind, &step.knob, |seen| *seen != from).ok();
            let gone = seen
                .as_ref()
                .is_some_and(|seen| kind.is_gone(&step.knob, seen));
            if !gone && (step.means || seen != Some(from)) {
                return Err(StepFailure::Refused(error));
            }
            if gone || unsupported.kind == UnsupportedKind::Busy {
                // The device may come back, or the change may succeed the next time.
                self.mark(log, *location, Record::Undone { ids: vec![*id] })?;
                return Ok(StepOutcome::Refused(unsupported));
            }
            let record = Record::Refused {
                id: *id,
                unsupported: unsupported.clone(),
            };
            self.mark(log, *location, record)?;
            return Ok(StepOutcome::Refused(unsupported));
        }
        let seen = self
            .settled(kind, &step.knob, |seen| {
                kind.satisfies(&step.knob, seen, &step.to)
            })
            .map_err(StepFailure::Unreadable)?;
        if kind.is_gone(&step.knob, &seen)
            && !kind.is_gone(&step.knob, &step.to)
            && step.requirement != Requirement::Required
        {
            // The device disappeared after the change, and the change with it.
            self.mark(log, *location, Record::Undone { ids: vec![*id] })?;
            let why = format!("{} is gone", step.knob);
            return Ok(StepOutcome::Refused(Unsupported::new(
                UnsupportedKind::Missing,
                why,
            )));
        }
        let shown = if kind.satisfies(&step.knob, &seen, &step.to) {
            None
        } else {
            Some(self.rounded(log, entry, kind, &from, seen)?)
        };
        let after = self.affected_now(step)?;
        // A device that an earlier step of this apply has made has an identity only now. Whoever
        // makes another one of its name later must not be taken for it.
        let identity = match &step.identity {
            Some(_) => None,
            None => kind.identity(&step.knob, &self.host).ok().flatten(),
        };
        let record = Record::Changed {
            id: *id,
            shown: shown.clone(),
            after,
            identity,
        };
        self.mark(log, *location, record)?;
        match shown {
            Some(shown) if !kind.rounds(&step.knob, &shown, &step.to) => {
                // The actual state is recorded so that it can be reverted.
                Err(StepFailure::NotTaken {
                    seen: kind.show(&step.knob, &shown),
                })
            }
            _ => Ok(StepOutcome::Changed),
        }
    }

    /// The state that the kernel made of a value that it accepted but does not show.
    ///
    /// The value is written once more. The same result twice is the kernel's rounding; a different
    /// one is a change by another process. If the knob shows what it showed before, nothing was
    /// changed at all, unless the kernel is known to round the value to that.
    fn rounded(
        &mut self,
        log: &Log,
        entry: &Entry,
        kind: &dyn KnobKind,
        from: &Value,
        seen: Value,
    ) -> Result<Value, StepFailure> {
        let step = &entry.step;
        let not_taken = |seen: &Value| StepFailure::NotTaken {
            seen: kind.show(&step.knob, seen),
        };
        if seen == *from && !log.is_rounded(&step.knob, &seen)
            || kind.is_gone(&step.knob, &seen)
            || kind.set(&step.knob, &mut self.host, &step.to).is_err()
        {
            return Err(not_taken(&seen));
        }
        let again = self
            .settled(kind, &step.knob, |again| *again == seen)
            .map_err(StepFailure::Unreadable)?;
        if again == seen {
            Ok(seen)
        } else if kind.satisfies(&step.knob, &again, &step.to) {
            Ok(again)
        } else {
            Err(not_taken(&again))
        }
    }

    /// The states of the knobs that the step resets: as planned, or as read now where the plan
    /// could not know them.
    fn kept_now(&self, step: &Step) -> Result<Vec<Value>, StepFailure> {
        step.side_effects
            .iter()
            .map(|kept| match &kept.state {
                Before::Known(state) => Ok(state.clone()),
                Before::DependsOnEarlierStep => {
                    self.now(&kept.knob).map_err(StepFailure::Unreadable)
                }
            })
            .collect()
    }

    fn affected_now(&self, step: &Step) -> Result<Vec<Value>, StepFailure> {
        step.side_effects
            .iter()
            .map(|kept| match self.now(&kept.knob) {
                // The step has taken the device away.
                Err(error) if kept.device.is_some() && error.kind().is_absence() => Ok(Value::Null),
                seen => seen.map_err(StepFailure::Unreadable),
            })
            .collect()
    }

    pub(super) fn now(&self, knob: &AnyKnob) -> Seen {
        self.kind_or_malformed(knob)?.read(knob, &self.host)
    }

    fn kind(&self, knob: &AnyKnob) -> Result<&'static dyn KnobKind, StepFailure> {
        self.kind_or_malformed(knob)
            .map_err(StepFailure::Unreadable)
    }

    /// The registered type of a knob. Journals and plans are checked when they are loaded, so an
    /// unknown type is that of a side effect whose crate was not registered.
    pub(super) fn kind_or_malformed(
        &self,
        knob: &AnyKnob,
    ) -> Result<&'static dyn KnobKind, crate::host::HostError> {
        self.registry.find(&knob.kind).map_err(|error| {
            crate::host::HostError::malformed(knob.text.clone(), error.to_string())
        })
    }

    fn mark(
        &mut self,
        log: &mut Log,
        location: JournalLocation,
        record: Record,
    ) -> Result<(), StepFailure> {
        log.mark(&mut *self.store, location, record)
            .map_err(StepFailure::Journal)
    }

    /// Reads a knob until `there` holds or the kernel's settle time has passed.
    pub(super) fn settled(
        &self,
        kind: &dyn KnobKind,
        knob: &AnyKnob,
        there: impl Fn(&Value) -> bool,
    ) -> Seen {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(1);
        loop {
            let seen = kind.read(knob, &self.host);
            if seen.as_ref().is_ok_and(&there) || waited >= kind.settle() {
                return seen;
            }
            let next = pause.min(kind.settle().saturating_sub(waited));
            self.host.pause(next);
            waited += next;
            pause *= 2;
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(Stop::is_requested)
    }

    /// Undoes the steps of a failed apply, at most those before `end`, and returns the error that
    /// describes the result.
    fn roll_back(&mut self, log: &mut Log, apply: u64, end: u64, cause: Cause) -> Error {
        let cause = Box::new(cause);
        let of_apply = || log.entries.values().filter(|entry| entry.apply == apply);
        let never: Vec<u64> = of_apply()
            .filter(|entry| entry.id >= end)
            .map(|entry| entry.id)
            .collect();
        let ids: Vec<u64> = of_apply()
            .rev()
            .filter(|entry| entry.id < end)
            .map(|entry| entry.id)
            .collect();
        let location = of_apply()
            .next()
            .map_or(JournalLocation::Volatile, |entry| entry.location);
        // A journal that can no longer be written must not prevent the undo: the next run finds
        // these entries unchanged and the host already reverted.
        log.undone(&mut *self.store, location, never);
        let _ = log.undo(&mut *self.store, Purpose::Rollback, ids.clone(), false);
        if let Some(last) = end.checked_sub(1) {
            self.await_late(log, last);
        }
        let mut reverted = self.undo(log, &ids, false, None);
        reverted.record(log.end(&mut *self.store));
        if !reverted.not_reverted.is_empty() {
            Error::RollbackIncomplete {
                cause,
                left: reverted.not_reverted,
            }
        } else if reverted.unrecorded.is_some() {
            Error::Unrecorded {
                cause: Some(cause),
                reverted: Box::new(reverted),
            }
        } else if matches!(cause.failure, StepFailure::Interrupted) {
            Error::Interrupted {
                before: cause.knob,
                undone: reverted.undone.len(),
            }
        } else {
            Error::RolledBack { cause }
        }
    }

    /// A refused change can take effect late: waits for the settle time before its knob is read.
    fn await_late(&self, log: &Log, failed: u64) {
        if let Some(entry) = log.entries.get(&failed)
            && let Ok(kind) = self.kind_or_malformed(&entry.step.knob)
            && !kind.settle().is_zero()
        {
            let from = entry.step.from.known().cloned();
            let _ = self.settled(kind, &entry.step.knob, |seen| Some(seen) != from.as_ref());
        }
    }
}

fn cause(step: &Step, failure: StepFailure) -> Cause {
    Cause {
        knob: step.knob.text.clone(),
        part: step.part.clone(),
        wanted: step.to_text.clone(),
        failure,
    }
}
