//! Undo: a value that is still ours goes back to the original; one that another process has set
//! stays.

mod put_back;
mod report;
mod side_effects;
mod verdict;
mod waiting;

use std::cmp::Reverse;
use std::collections::HashSet;

use serde_json::Value;

use self::verdict::{Verdict, judge};
use self::waiting::Waiting;
use super::{NotReverted, NotRevertedReason, Reverted, Session, Undone};
use crate::any_knob::AnyKnob;
use crate::host::HostErrorKind;
use crate::journal::{Entry, Foreign, JournalError, JournalLocation, Log};
use crate::knob::Lifetime;
use crate::knob_kind::KnobKind;
use crate::plan::{Before, Step};
use crate::stop::Stop;

/// How a step was completed that is then no longer pending.
enum Done {
    /// It was undone.
    Back,
    /// It was undone, and the value of another process was replaced: that value, as printed.
    Replaced(String),
    /// Nothing had to be written.
    Already,
    /// What was changed is not here now, and the user does not wait for it: why that cannot be told.
    GivenUp(String),
    /// The knob keeps the value that another owner wants.
    Held(Foreign),
}

/// A step that was left, until the end of the undo shows what became of it.
enum Left {
    Here(Box<Entry>, NotRevertedReason),
    /// Of another network namespace.
    Elsewhere(Box<Step>),
}

impl Session {
    /// Undoes the entries `ids`, last first, in whatever order they are given, and after the others
    /// those whose state is generated from what the others set.
    ///
    /// A step that cannot be undone is left, and so is what it rests on: the earlier steps of its
    /// knob, which stay pending, and those of the knobs that it resets, which undoing it later
    /// would reset again.
    ///
    /// A step below another owner's step is passed on to that owner: the knob keeps its value, and
    /// that owner will revert to the original. An intermediate step goes with the step that it is
    /// for.
    ///
    /// Once `stop` is requested, the remaining steps are left.
    pub(super) fn undo(
        &mut self,
        log: &mut Log,
        ids: &[u64],
        force: bool,
        stop: Option<&Stop>,
    ) -> Reverted {
        let is_stopped = || stop.is_some_and(Stop::is_requested);
        let selected: HashSet<u64> = ids.iter().copied().collect();
        let mut waiting = Waiting::default();
        let mut reverted = Reverted {
            by_reboot: log.dropped,
            ..Reverted::default()
        };
        let mut left: Vec<Left> = Vec::new();
        // Steps whose knob shows what we set, but whose original was lost with the end of the
        // journal, and whether nothing is lost with it: an earlier step that reset the knob still
        // records what it was, or has restored it, or it showed the same when the step was planned.
        let mut unknown: Vec<(u64, bool)> = Vec::new();
        // The apply whose last end was passed on, and the owner it was passed to.
        let mut passed: Option<(Entry, Foreign)> = None;
        // The end of which an intermediate step could not be passed on. The steps before that one must
        // not be passed on either: their new owner could not undo them without it.
        let mut stranded: Option<Entry> = None;
        let both = log.entries.iter().chain(&log.elsewhere);
        let mut all: Vec<(bool, Reverse<u64>)> = both
            .map(|(id, entry)| (self.is_generated(entry), Reverse(*id)))
            .collect();
        all.sort_unstable();
        for (_, Reverse(id)) in all {
            if let Some(entry) = log.elsewhere.get(&id) {
                waiting.elsewhere(entry);
                if selected.contains(&id) {
                    left.push(Left::Elsewhere(Box::new(entry.step.clone())));
                }
                continue;
            }
            let Some(entry) = log.entries.get(&id).cloned() else {
                continue;
            };
            if selected.contains(&id) && is_stopped() {
                left.push(Left::Here(Box::new(entry), NotRevertedReason::Interrupted));
                continue;
            }
            if selected.contains(&id) && self.applied_but_original_unknown(&entry) {
                let is_unchanged = entry.step.planned_from.as_ref() == Some(&entry.step.to);
                unknown.push((id, is_unchanged || log.is_reset_before(&entry)));
                continue;
            }
            let replaced = selected.contains(&id) && self.is_replaced(&entry.step);
            let outcome = if !selected.contains(&id) {
                None
            } else if replaced {
                Some(Ok(Done::Already))
            } else if let Some(knob) = waiting
                .what_is_destroyed(&self.destroyed(&entry.step))
                .filter(|_| !force)
            {
                Some(Err(NotRevertedReason::WaitsFor(knob)))
            } else if !force && waiting.has_to_wait(&entry)
                || waiting.has_to_wait_if_forced(&entry)
                || stranded.as_ref().is_some_and(|end| entry.is_means_for(end))
            {
                Some(Err(NotRevertedReason::Waits))
            } else {
                let means_for = passed
                    .as_ref()
                    .filter(|(end, to)| entry.is_means_for(end) && log.is_known_to(*to, &entry));
                let to = means_for.map(|(_, to)| *to);
                let outcome = self.undo_one(log, &entry, to, force);
                if outcome.is_err() && to.is_some() {
                    stranded = passed.take().map(|(end, _)| end);
                }
                Some(outcome)
            };
            match outcome {
                Some(Ok(done)) => {
                    let held_by = match &done {
                        Done::Held(by) => Some(log.owner_of(*by).to_owned()),
                        Done::Back | Done::Replaced(_) | Done::Already | Done::GivenUp(_) => None,
                    };
                    match &done {
                        Done::Held(to) => passed = Some((entry.clone(), *to)),
                        _ if !entry.step.means => passed = None,
                        _ => {}
                    }
                    if log.entries.contains_key(&id) {
                        log.undone(&mut *self.store, entry.location, vec![id]);
                    }
                    if force && matches!(done, Done::Back | Done::Replaced(_)) {
                        let dropped = self.drop_later_steps(log, &entry, &selected);
                        left.retain(|left| match left {
                            Left::Here(left, _) => !dropped.contains(&left.id),
                            Left::Elsewhere(_) => true,
                        });
                    }
                    if let Done::GivenUp(why) = &done {
                        reverted.note(format!("{} is given up: {why}", entry.step.knob));
                    }
                    let is_given_up = matches!(done, Done::GivenUp(_));
                    let is_back = held_by.is_none() && !replaced && !is_given_up;
                    if let Some(revert_note) = self.revert_note(&entry.step).filter(|_| is_back) {
                        reverted.note(revert_note);
                    }
                    let already = matches!(done, Done::Already | Done::GivenUp(_) | Done::Held(_));
                    let replaced = match done {
                        Done::Replaced(value) => Some(value),
                        _ => None,
                    };
                    reverted.undone.push(Undone {
                        held_by,
                        replaced,
                        ..self.undone(&entry.step, already)
                    });
                    continue;
                }
                Some(Err(reason)) => {
                    let now = log.entries.get(&id);
                    let is_half_undone = now.is_some_and(|now| now.undoing.is_some());
                    waiting.left(&entry, &reason, is_half_undone);
                    left.push(Left::Here(Box::new(entry), reason));
                }
                None => waiting.not_selected(&entry),
            }
        }
        // The earliest first: each waits only for steps that are really left.
        for (id, was_reset) in unknown.into_iter().rev() {
            let Some(entry) = log.entries.get(&id).cloned() else {
                continue;
            };
            if is_stopped() {
                left.push(Left::Here(Box::new(entry), NotRevertedReason::Interrupted));
            } else if log.is_reset_before(&entry) {
                // It is undone together with the step that resets it, and that step is left.
                left.push(Left::Here(Box::new(entry), NotRevertedReason::Waits));
            } else if !was_reset && !force && self.applied_but_original_unknown(&entry) {
                left.push(Left::Here(
                    Box::new(entry),
                    NotRevertedReason::OriginalUnknown,
                ));
            } else {
                if !was_reset && self.applied_but_original_unknown(&entry) {
                    let why = NotRevertedReason::OriginalUnknown;
                    reverted.note(format!("{} is given up: {why}", entry.step.knob));
                }
                log.undone(&mut *self.store, entry.location, vec![id]);
                reverted.undone.push(self.undone(&entry.step, true));
            }
        }
        for left in left {
            match left {
                Left::Elsewhere(step) => reverted.not_reverted.push(self.left_elsewhere(&step)),
                Left::Here(entry, reason) if self.is_gone_by_now(log, &entry, &reason) => {
                    log.undone(&mut *self.store, entry.location, vec![entry.id]);
                    reverted.undone.push(self.undone(&entry.step, true));
                }
                Left::Here(entry, reason) => {
                    reverted.not_reverted.push(self.left(&entry.step, reason));
                }
            }
        }
        reverted
    }

    /// Whether the thing that a left step changed is gone now: a later step of the same undo has removed
    /// it, such as an IFB with its root. Nothing of the step remains then.
    fn is_gone_by_now(&self, log: &Log, entry: &Entry, reason: &NotRevertedReason) -> bool {
        let step = &entry.step;
        let is_half_undone = log
            .entries
            .get(&entry.id)
            .is_none_or(|now| now.undoing.is_some());
        // A step that waits was not tried: what it waits for may bring the thing back with its settings,
        // as the return of a lent device does.
        let may_come_back = matches!(
            reason,
            NotRevertedReason::Hidden(_)
                | NotRevertedReason::Interrupted
                | NotRevertedReason::Waits
                | NotRevertedReason::WaitsFor(_)
        );
        !is_half_undone
            && !may_come_back
            && log.above(&step.knob, entry.id).is_none()
            && self.is_gone(step)
    }

    /// Whether the thing that a step changed is gone for good.
    pub(super) fn is_gone(&self, step: &Step) -> bool {
        if let (Some(of), Ok(Some(here))) = (&step.network_namespace, self.host.network_namespace())
            && *of != here
        {
            return false;
        }
        self.kind_or_malformed(&step.knob).is_ok_and(|kind| {
            let reachable =
                kind.out_of_reach(&step.knob, &self.host, step.identity.as_deref(), &step.to);
            matches!(reachable, Ok(None))
                && match kind.read(&step.knob, &self.host) {
                    Ok(seen) => {
                        kind.is_gone(&step.knob, &seen)
                            && !kind.satisfies(&step.knob, &seen, &step.to)
                    }
                    Err(error) => *error.kind() == HostErrorKind::Gone,
                }
        })
    }

    /// Drops the later steps of a knob that has just been forced back to the state before an earlier
    /// one: undoing them another time would set a value between. Returns their ids.
    fn drop_later_steps(
        &mut self,
        log: &mut Log,
        entry: &Entry,
        selected: &HashSet<u64>,
    ) -> HashSet<u64> {
        let later = log.entries.range(entry.id + 1..);
        let later: Vec<(u64, JournalLocation)> = later
            .filter(|(id, later)| selected.contains(id) && later.step.knob == entry.step.knob)
            .map(|(id, later)| (*id, later.location))
            .collect();
        for (id, location) in &later {
            log.undone(&mut *self.store, *location, vec![*id]);
        }
        later.into_iter().map(|(id, _)| id).collect()
    }

    /// All steps as left, for a journal that cannot be written.
    pub(super) fn all_left(
        &self,
        log: &Log,
        ids: &[u64],
        error: &JournalError,
    ) -> Vec<NotReverted> {
        let entries = ids.iter().filter_map(|id| {
            let elsewhere = || log.elsewhere.get(id);
            log.entries.get(id).or_else(elsewhere)
        });
        entries
            .map(|entry| self.left(&entry.step, NotRevertedReason::journal(error)))
            .collect()
    }

    fn is_generated(&self, entry: &Entry) -> bool {
        self.kind_or_malformed(&entry.step.knob)
            .is_ok_and(KnobKind::is_generated)
    }

    /// Whether a step's knob shows what the step set although the original is unknown.
    fn applied_but_original_unknown(&self, entry: &Entry) -> bool {
        let step = &entry.step;
        step.from == Before::DependsOnEarlierStep
            && self.kind_or_malformed(&step.knob).is_ok_and(|kind| {
                kind.read(&step.knob, &self.host)
                    .is_ok_and(|seen| kind.satisfies(&step.knob, &seen, &step.to))
            })
    }

    /// Undoes one step, or says why it is left. `to` is the owner of the step that it is an
    /// intermediate for.
    fn undo_one(
        &mut self,
        log: &mut Log,
        entry: &Entry,
        to: Option<Foreign>,
        force: bool,
    ) -> Result<Done, NotRevertedReason> {
        let step = &entry.step;
        if entry.is_hold() && step.side_effects.is_empty() {
            // It changed nothing; the step below keeps the value that its owner wants.
            return Ok(match log.below(&step.knob, entry.id) {
                Some(below) => Done::Held(below),
                None => Done::Already,
            });
        }
        let kind = self
            .kind_or_malformed(&step.knob)
            .map_err(|error| NotRevertedReason::unreadable(&error))?;
        let above = log.above(&step.knob, entry.id);
        let then = above.and_then(|above| log.start_of(above, &step.knob));
        if let Some(then) = then
            && step.from.known() == Some(then)
            && entry.left() != then
        {
            // A killed revert had undone it before the other owner began.
            let Some(targets) = entry.undoing.clone() else {
                return Ok(Done::Already);
            };
            let at = entry.undoing_at.unwrap_or(u64::MAX);
            self.restore(log, (entry.id, at), step, &targets, entry.reset.as_deref())?;
            return Ok(Done::Back);
        }
        if let Some(to) = above.or(to) {
            return self.pass_on(log, entry, to);
        }
        // If undoing it would change what an interrupted run of another owner has set, that run is
        // undone first.
        let mut affected = step.side_effects.iter();
        let open = affected
            .find_map(|kept| {
                log.above(&kept.knob, entry.id)
                    .filter(|at| log.is_open(*at))
            })
            .filter(|at| log.is_known_to(*at, entry));
        if let Some(to) = open {
            return self.pass_on(log, entry, to);
        }
        match kind.out_of_reach(&step.knob, &self.host, step.identity.as_deref(), &step.to) {
            Ok(None) => {}
            Ok(Some(why)) if force => return Ok(Done::GivenUp(why)),
            Ok(Some(why)) => return Err(NotRevertedReason::Hidden(why)),
            Err(error) => return Err(NotRevertedReason::unreadable(&error)),
        }
        let seen = match kind.read(&step.knob, &self.host) {
            Ok(seen) => seen,
            Err(error) if *error.kind() == HostErrorKind::Gone => return Ok(Done::Already),
            Err(error) => return Err(NotRevertedReason::unreadable(&error)),
        };
        if entry.is_hold() {
            // A step below was reverted to the very state that this step set.
            let targets = self.targets(log, entry)?;
            let at = log.next();
            self.pass_starts_on(log, entry)?;
            self.restore(log, (entry.id, at), step, &targets, None)?;
            return Ok(Done::Back);
        }
        let earlier: Vec<Value> = log
            .entries
            .range(..entry.id)
            .filter(|(_, earlier)| earlier.step.knob == step.knob)
            .filter(
                |(_, earlier)| match (&earlier.step.identity, &step.identity) {
                    (Some(earlier), Some(identity)) => kind.is_same_thing(earlier, identity),
                    // The device did not exist yet when that step was planned.
                    _ => true,
                },
            )
            .filter_map(|(_, earlier)| earlier.step.from.known().cloned())
            .collect();
        let mut verdict = judge(kind, entry, &seen, earlier.iter());
        if let Before::Known(from) = &step.from {
            let left_half = log
                .retarget(&mut *self.store, entry.id, &step.knob, from)
                .map_err(|error| NotRevertedReason::journal(&error))?;
            if left_half && verdict == Verdict::Theirs {
                verdict = Verdict::PutBack;
            }
        }
        // This also applies if an earlier original shows: the kernel may round our value to that.
        let is_back = step
            .from
            .known()
            .is_none_or(|from| seen == *from || kind.satisfies(&step.knob, &seen, from));
        if matches!(verdict, Verdict::Theirs | Verdict::Already)
            && !is_back
            && self.is_rounded_by_the_kernel(entry, kind, &seen)
        {
            verdict = Verdict::PutBack;
        }
        if verdict == Verdict::Theirs
            && let Some(why) = kind.hidden(&step.knob, &seen)
        {
            return Err(NotRevertedReason::Hidden(why));
        }
        match verdict {
            Verdict::Already => Ok(Done::Already),
            Verdict::Theirs if !force => Err(NotRevertedReason::Theirs),
            Verdict::RestoreOnly => {
                let targets = entry.undoing.clone().unwrap_or_default();
                let at = entry.undoing_at.unwrap_or(u64::MAX);
                self.restore(log, (entry.id, at), step, &targets, entry.reset.as_deref())?;
                Ok(Done::Back)
            }
            Verdict::PutBack => match self.put_back(log, entry, kind) {
                Ok(()) => Ok(Done::Back),
                Err(NotRevertedReason::InUse(why)) => match self.in_use_by(log, entry) {
                    Some(to) => self.pass_on(log, entry, to),
                    None => Err(NotRevertedReason::InUse(why)),
                },
                Err(reason) => Err(reason),
            },
            Verdict::Theirs => {
                // A value from a later step, of any owner, is ours and not from another process.
                let is_ours = {
                    let mut later = log.since(entry);
                    later.any(|later| {
                        *later.left() == seen || kind.satisfies(&step.knob, &seen, &later.step.to)
                    })
                };
                self.put_back(log, entry, kind)?;
                Ok(if is_ours {
                    Done::Back
                } else {
                    Done::Replaced(kind.show(&step.knob, &seen))
                })
            }
        }
    }

    /// The other owner's change that needs what a step made, such as a file in a directory.
    fn in_use_by(&self, log: &Log, entry: &Entry) -> Option<Foreign> {
        let rests = |knob: &AnyKnob| {
            let kind = self.registry.find(&knob.kind);
            kind.is_ok_and(|kind| kind.rests_on(knob).contains(&entry.step.knob))
        };
        log.resting(entry.id, rests)
            .filter(|to| log.is_known_to(*to, entry))
    }

    /// Whether an unexpected value is the kernel's rounding of ours.
    ///
    /// Asked only about the step at which a process was killed: it had written the value but not
    /// yet recorded what the kernel made of it. The value is written once more. If the result
    /// differs, the value that was found was another process's and is written back.
    pub(super) fn is_rounded_by_the_kernel(
        &mut self,
        entry: &Entry,
        kind: &dyn KnobKind,
        seen: &Value,
    ) -> bool {
        let step = &entry.step;
        if entry.changed
            || step.lifetime != Lifetime::Boot
            || !step.side_effects.is_empty()
            || !kind.settle().is_zero()
            || kind.is_gone(&step.knob, seen)
            || kind.original(&step.knob, seen).as_ref() != Some(seen)
            || kind.set(&step.knob, &mut self.host, &step.to).is_err()
        {
            return false;
        }
        let again = kind.read(&step.knob, &self.host);
        if again.is_ok_and(|again| again == *seen) {
            return true;
        }
        let _ = kind.set(&step.knob, &mut self.host, seen);
        false
    }

    fn pass_on(
        &mut self,
        log: &mut Log,
        entry: &Entry,
        to: Foreign,
    ) -> Result<Done, NotRevertedReason> {
        log.pass_on(&mut *self.store, entry.id, to)
            .map_err(|error| NotRevertedReason::journal(&error))?;
        Ok(Done::Held(to))
    }
}
