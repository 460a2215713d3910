//! The side effects of a step: the knobs that it reset, which are restored after the step is undone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use crate::any_knob::{AnyKnob, Key};
use crate::host::{HostError, HostErrorKind};
use crate::journal::{Entry, Foreign, Log, Start};
use crate::plan::{Before, DeviceLink, SavedState, Step};
use crate::session::outcome::with_source;
use crate::session::{NotRevertedReason, Session};

/// How long a device may take to be there again, with its name, after its driver was bound: an NVMe
/// disk appears when the controller has been asked for its namespaces.
const DEVICES_RETURN: Duration = Duration::from_secs(30);

impl Session {
    /// The states to restore the side effects to: those before the step, or those that another
    /// process has set since.
    ///
    /// A side effect that cannot be read is an error: whether somebody has set it since, or another
    /// owner holds it, would have to be guessed. One that is gone has no state to keep.
    pub(super) fn targets(
        &self,
        log: &Log,
        entry: &Entry,
    ) -> Result<Vec<Value>, NotRevertedReason> {
        let ours = |knob: &AnyKnob| {
            let mut later = log.entries.range(entry.id + 1..);
            later.any(|(_, later)| {
                later.step.knob == *knob && self.applied_but_original_unknown(later)
            })
        };
        let after = entry.after.as_deref().unwrap_or_default();
        let side_effects = entry.step.side_effects.iter().enumerate();
        side_effects
            .map(|(number, kept)| {
                let now = self.unless_gone(&kept.knob)?;
                // A device that is gone has no value to keep: whatever recreates it must find
                // its previous state.
                let gone = |now: &Value| {
                    let kind = self.kind_or_malformed(&kept.knob);
                    kind.is_ok_and(|kind| kind.is_gone(&kept.knob, now))
                };
                let is_held = log.above(&kept.knob, entry.id).is_some();
                Ok(match (after.get(number), &kept.state, now) {
                    (_, _, Some(now)) if is_held && !gone(&now) => now,
                    (Some(after), _, Some(now))
                        // A device that was taken away shows nothing; another has its name.
                        if kept.device.is_none()
                            && now != *after
                            && !gone(&now)
                            && !ours(&kept.knob)
                            && !log.is_half_reset(entry.id, &kept.knob) =>
                    {
                        now
                    }
                    (_, Before::Known(before), _) => before.clone(),
                    // The state is recorded before the change; if that record is lost, keep at
                    // least the current state.
                    (_, Before::DependsOnEarlierStep, now) => now.unwrap_or_default(),
                })
            })
            .collect()
    }

    /// The state of a side effect, or `None` if it is gone.
    fn unless_gone(&self, knob: &AnyKnob) -> Result<Option<Value>, NotRevertedReason> {
        match self.now(knob) {
            Ok(now) => Ok(Some(now)),
            Err(error) if *error.kind() == HostErrorKind::Gone => Ok(None),
            Err(error) => Err(NotRevertedReason::SideEffect(format!(
                "{knob}: {}",
                with_source(&error)
            ))),
        }
    }

    /// Restores the side effects, in order. If the states that undoing the step left behind are
    /// known, a knob that now shows something else was set by another process. What another owner
    /// has changed since, in an entry from `at` on, stays, and that owner will revert it.
    pub(super) fn restore(
        &mut self,
        log: &mut Log,
        (id, at): (u64, u64),
        step: &Step,
        targets: &[Value],
        reset: Option<&[Value]>,
    ) -> Result<(), NotRevertedReason> {
        // Knobs changed as a side effect of an earlier restore; no one requested their values.
        let mut moved: HashSet<Key> = HashSet::new();
        let mut returned: HashMap<&DeviceLink, bool> = HashMap::new();
        for (number, (kept, target)) in step.side_effects.iter().zip(targets).enumerate() {
            let knob = &kept.knob;
            let failed = |why: String| NotRevertedReason::SideEffect(format!("{knob}: {why}"));
            let kind = self
                .kind_or_malformed(knob)
                .map_err(|error| failed(with_source(&error)))?;
            if let Some(since) = log.above(knob, at) {
                let states: Vec<Option<&Value>> = targets.iter().map(Some).collect();
                let along = self.moves_along(log, (at, since), step, knob, &states)?;
                log.set_start(&mut *self.store, since, knob, target, along)
                    .map_err(|error| failed(error.to_string()))?;
            }
            // The value that the other owner wants may have been changed just now as a side effect.
            let held = log.last_of_others(knob, at).cloned();
            if log.above(knob, at).is_some() && held.is_none() {
                continue;
            }
            let target = held.as_ref().unwrap_or(target);
            if kind.is_gone(knob, target) {
                // It did not exist before, so there is no state to restore.
                continue;
            }
            if let Some(device) = &kept.device {
                let is_back = match returned.get(device) {
                    Some(is_back) => *is_back,
                    None => self
                        .comes_back(device)
                        .map_err(|error| failed(with_source(&error)))?,
                };
                returned.insert(device, is_back);
                if !is_back {
                    log.notes.push(format!(
                        "{knob} is not set to {} again: {} does not lead to the device any more",
                        kind.show(knob, target),
                        device.link
                    ));
                    continue;
                }
                let identity = kind.identity(knob, &self.host);
                if let Some(identity) = identity.map_err(|error| failed(with_source(&error)))? {
                    log.set_identity(&mut *self.store, id, knob, &identity)
                        .map_err(|error| failed(error.to_string()))?;
                }
            }
            let now = match kind.read(knob, &self.host) {
                Ok(now) if kind.is_gone(knob, &now) => continue,
                Ok(now) => now,
                Err(error) if *error.kind() == HostErrorKind::Gone => continue,
                Err(error) => return Err(failed(with_source(&error))),
            };
            let left = reset.and_then(|reset| reset.get(number));
            let is_absent = |left: &Value| left.is_null() || kind.is_gone(knob, left);
            let theirs = !moved.contains(&knob.key())
                && left.is_some_and(|left| {
                    // What was gone then has appeared since, with the kernel's own state.
                    now != *left
                        && !is_absent(left)
                        && !kind.is_partial_write(knob, &now, left, target)
                });
            if left.is_some_and(|left| left != target) {
                let along = kind
                    .side_effects(knob, &self.host, target)
                    .unwrap_or_default();
                moved.extend(along.iter().map(AnyKnob::key));
            }
            if theirs {
                continue;
            }
            // This is done even if the state shows already: another owner's half-done reset would
            // change it again.
            log.retarget(&mut *self.store, id, knob, target)
                .map_err(|error| failed(error.to_string()))?;
            if now == *target {
                continue;
            }
            let changed = kind.set(knob, &mut self.host, target);
            let seen = self.settled(kind, knob, |seen| seen == target);
            let back =
                |seen: &Value| kind.satisfies(knob, seen, target) || kind.is_gone(knob, seen);
            if !seen.as_ref().is_ok_and(back) {
                return Err(failed(match changed {
                    Err(error) => with_source(&error),
                    Ok(()) => NotRevertedReason::NotTaken.to_string(),
                }));
            }
        }
        Ok(())
    }

    /// Waits for a device that an undone step has brought back: its driver makes the interface or the
    /// disk on its own time, and udev names it. Returns whether it is there.
    fn comes_back(&self, device: &DeviceLink) -> Result<bool, HostError> {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(10);
        loop {
            if device.is_there(&self.host)? {
                return Ok(true);
            }
            if waited >= DEVICES_RETURN {
                return Ok(false);
            }
            self.host.pause(pause);
            waited += pause;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Updates the steps on top of a step's side effects, of another owner or left by us, which
    /// stay: they now start from the state before both. Returns what each of them had started from.
    pub(super) fn pass_starts_on(
        &mut self,
        log: &mut Log,
        entry: &Entry,
    ) -> Result<Vec<Start>, NotRevertedReason> {
        let (id, step) = (entry.id, &entry.step);
        let states = step.side_effects.iter().map(|kept| kept.state.known());
        let states: Vec<Option<&Value>> = states.collect();
        let mut passed = Vec::new();
        for kept in &step.side_effects {
            let above = log.next_about(&kept.knob, id + 1);
            let above = above.filter(|at| log.start_of(*at, &kept.knob).is_some());
            if kept.device.is_some() {
                // What was changed meanwhile is another device with its name.
                continue;
            }
            if let (Some(above), Before::Known(before)) = (above, &kept.state) {
                passed.extend(log.start(above, &kept.knob));
                let along = self
                    .moves_along(log, (id + 1, above), step, &kept.knob, &states)
                    .inspect_err(|_| self.reset_starts(log, &passed))?;
                let set = log.set_start(&mut *self.store, above, &kept.knob, before, along);
                if let Err(error) = set {
                    self.reset_starts(log, &passed);
                    return Err(NotRevertedReason::journal(&error));
                }
            }
        }
        Ok(passed)
    }

    /// Undoes [`pass_starts_on`](Self::pass_starts_on) for a step that stays in effect: the steps on
    /// top of it started from the states that it left.
    pub(super) fn reset_starts(&mut self, log: &mut Log, passed: &[Start]) {
        for start in passed {
            // If this cannot be recorded either, their owner reverts further than this step.
            let _ = log.reset_start(&mut *self.store, start);
        }
    }

    /// The side effects of a knob that is itself a side effect, and the states to restore them to:
    /// those recorded by the step, unless another owner's change is in `between`.
    fn moves_along(
        &self,
        log: &Log,
        between: (u64, Foreign),
        step: &Step,
        knob: &AnyKnob,
        states: &[Option<&Value>],
    ) -> Result<Vec<SavedState>, NotRevertedReason> {
        let Ok(kind) = self.kind_or_malformed(knob) else {
            return Ok(Vec::new());
        };
        let now = self.unless_gone(knob)?.unwrap_or_default();
        let along = kind
            .side_effects(knob, &self.host, &now)
            .map_err(|error| NotRevertedReason::unreadable(&error))?;
        let kept = |knob: AnyKnob| {
            let number = step.side_effects.iter().position(|kept| kept.knob == knob);
            let known = number.and_then(|number| *states.get(number)?).cloned();
            let other = log.next_about(&knob, between.0);
            let known = known.filter(|_| other.is_none_or(|other| !other.is_before(between.1)));
            // The state when the other owner first changed the knob.
            let then = || log.next_about(&knob, between.1.id() + 1);
            let then = || log.start_of(then()?, &knob).cloned();
            let state = match known.or_else(then) {
                Some(state) => Some(state),
                None => self.unless_gone(&knob)?,
            };
            Ok(state.map(|state| SavedState {
                knob,
                state: Before::Known(state),
                device: None,
            }))
        };
        along
            .into_iter()
            .filter_map(|knob| kept(knob).transpose())
            .collect()
    }
}
