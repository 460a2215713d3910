//! Undo: a value that is still ours goes back to the original; one that another process has set
//! stays.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Reverted, Session};
use crate::error::{HostError, HostErrorKind};
use crate::journal::{Entry, Foreign, JournalError, Log, Record, Start};
use crate::knob::{AnyKnob, Key, KnobKind, Lifetime};
use crate::plan::{Before, SavedState, Step};
use crate::stop::Stop;

/// A step that was undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undone {
    /// The part that requested it.
    pub part: String,
    /// The knob.
    pub knob: AnyKnob,
    /// The value that we had set, as printed.
    pub ours: String,
    /// The original value, which it has again, as printed.
    pub original: String,
    /// Whether nothing was written: it had its original value already, the device is gone, or
    /// another owner wants the current value.
    pub already: bool,
    /// The owner that wants the current value and will revert to the original instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
}

/// Why a step was not undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NotRevertedReason {
    /// Another process, which is no owner, has changed it since.
    Theirs,
    /// A later step of the same knob, or of a knob that resets it, could not be undone.
    Waits,
    /// It is in use and not taken away from its users; holds who uses it or how.
    InUse(String),
    /// The change was refused; holds why.
    Refused(String),
    /// The write was accepted and the host shows something else.
    NotTaken,
    /// It could not be read; holds why.
    Unreadable(String),
    /// Its value is kept but hidden for now, and no other process has set it; holds why.
    Hidden(String),
    /// It was undone, but a knob that it resets was not; holds which.
    SideEffect(String),
    /// The revert was interrupted before this step.
    Interrupted,
}

impl fmt::Display for NotRevertedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Theirs => f.write_str("another process has set it since"),
            Self::Waits => f.write_str("it depends on a later step that could not be reverted"),
            Self::InUse(why) => write!(f, "it is in use: {why}"),
            Self::Refused(why) => write!(f, "the change was refused: {why}"),
            Self::NotTaken => f.write_str("the write was accepted, but the host does not show it"),
            Self::Unreadable(why) => write!(f, "it could not be read: {why}"),
            Self::Hidden(why) => write!(f, "it cannot be reverted now: {why}"),
            Self::SideEffect(why) => write!(f, "its side effects could not be reverted: {why}"),
            Self::Interrupted => f.write_str("the revert was interrupted before this step"),
        }
    }
}

/// A step that was not undone. It stays in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReverted {
    /// The part that requested it.
    pub part: String,
    /// The knob.
    pub knob: AnyKnob,
    /// The value that we had set, as printed.
    pub ours: String,
    /// The original value, as printed.
    pub original: String,
    /// The value that the host shows, as printed.
    pub seen: String,
    /// Why it was not undone.
    pub reason: NotRevertedReason,
}

impl fmt::Display for NotReverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (set to {}, original {}, now {}): {}",
            self.knob, self.ours, self.original, self.seen, self.reason
        )
    }
}

/// What to do about a step, judged by what its knob shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The knob shows what we set, or a partial write of ours.
    PutBack,
    /// The step itself was undone, but its side effects may not have been.
    RestoreOnly,
    /// The knob shows its original value, or the step was never done.
    Already,
    /// The knob shows a value that another process has set.
    Theirs,
}

/// How a step was completed that is then no longer pending.
enum Done {
    /// It was undone.
    Back,
    /// Nothing had to be written.
    Already,
    /// The knob keeps the value that another owner wants.
    Held(Foreign),
}

/// Decides without changing anything. `earlier` are the originals of this knob's earlier steps.
fn judge<'v>(
    kind: &KnobKind,
    entry: &Entry,
    seen: &Value,
    mut earlier: impl Iterator<Item = &'v Value>,
) -> Verdict {
    let Step { knob, from, to, .. } = &entry.step;
    let Before::Known(from) = from else {
        // The state before a step is recorded before the step is done.
        return Verdict::Already;
    };
    if seen == from {
        return if entry.undoing.is_some() {
            Verdict::RestoreOnly
        } else {
            Verdict::Already
        };
    }
    if seen == entry.left()
        || kind.satisfies(knob, seen, to)
        || kind.is_partial_write(knob, seen, from, to)
    {
        return Verdict::PutBack;
    }
    // A knob that is gone has no value to revert. One that shows an earlier original was reverted
    // further than this step.
    if kind.is_gone(knob, seen)
        || kind.satisfies(knob, seen, from)
        || earlier.any(|v| kind.satisfies(knob, seen, v))
    {
        return Verdict::Already;
    }
    Verdict::Theirs
}

impl Session {
    /// Undoes the entries `ids`, last first, in whatever order they are given.
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
        let mut waiting: HashSet<Key> = HashSet::new();
        // Steps that are left because another process has set the value, because it is hidden for
        // now or because it was not selected, and our steps below those.
        let mut theirs: HashSet<Key> = HashSet::new();
        // The other steps of this owner that are left. A step that resets such a knob waits as
        // well: undoing it first would destroy the state that the step which is left is to be
        // reverted to.
        let mut left_of_ours: HashSet<Key> = HashSet::new();
        // Applies and parts with a step that is left. Their intermediate steps wait, because
        // undoing that step may need them once more: a device goes back through the algorithm that
        // it had before.
        let mut ends_left: Vec<Entry> = Vec::new();
        let mut reverted = Reverted {
            by_reboot: log.dropped,
            ..Reverted::default()
        };
        // Steps whose knob shows what we set, but whose original was lost with the end of the
        // journal: only the step that reset the knob still records what it was.
        let mut unknown: Vec<u64> = Vec::new();
        // The apply whose last end was passed on, and the owner it was passed to.
        let mut passed: Option<(Entry, Foreign)> = None;
        let all: Vec<u64> = log.entries.keys().rev().copied().collect();
        for id in all {
            let Some(entry) = log.entries.get(&id).cloned() else {
                continue;
            };
            if selected.contains(&id) && is_stopped() {
                let left = self.left(&entry.step, NotRevertedReason::Interrupted);
                reverted.not_reverted.push(left);
                continue;
            }
            if selected.contains(&id) && self.applied_but_original_unknown(&entry) {
                unknown.push(id);
                continue;
            }
            let replaced = selected.contains(&id) && self.is_replaced(&entry.step);
            let outcome = if !selected.contains(&id) {
                None
            } else if replaced {
                Some(Ok(Done::Already))
            } else if !force
                && (waiting.contains(&entry.key())
                    || entry.step.means
                        && ends_left.iter().any(|left| {
                            left.is_of_apply_of(&entry) && left.step.part == entry.step.part
                        })
                    || entry
                        .step
                        .side_effects
                        .iter()
                        .any(|kept| left_of_ours.contains(&kept.knob.key())))
            {
                Some(Err(NotRevertedReason::Waits))
            } else {
                let means_for = passed.as_ref().filter(|(end, to)| {
                    entry.step.means
                        && entry.is_of_apply_of(end)
                        && entry.step.part == end.step.part
                        && log.is_known_to(*to, &entry)
                });
                let to = means_for.map(|(_, to)| *to);
                Some(self.undo_one(log, &entry, to, force))
            };
            match outcome {
                Some(Ok(done)) => {
                    let held_by = match &done {
                        Done::Held(by) => Some(log.owner_of(*by).to_owned()),
                        Done::Back | Done::Already => None,
                    };
                    match done {
                        Done::Held(to) => passed = Some((entry.clone(), to)),
                        Done::Back | Done::Already if !entry.step.means => passed = None,
                        Done::Back | Done::Already => {}
                    }
                    // If this mark is lost, the next run finds the entry again, already undone.
                    let record = Record::Undone { ids: vec![id] };
                    if log.entries.contains_key(&id)
                        && log.mark(&mut *self.store, entry.location, record).is_err()
                    {
                        log.entries.remove(&id);
                    }
                    let is_back = held_by.is_none() && !replaced;
                    if let Some(revert_note) = self.revert_note(&entry.step).filter(|_| is_back) {
                        reverted.note(revert_note);
                    }
                    let already = !matches!(done, Done::Back);
                    let undone = self.undone(&entry.step, already);
                    reverted.undone.push(Undone { held_by, ..undone });
                    continue;
                }
                Some(Err(reason)) => {
                    let holds_up_nothing = match reason {
                        NotRevertedReason::Theirs | NotRevertedReason::Hidden(_) => true,
                        NotRevertedReason::Waits => {
                            let key = entry.key();
                            theirs.contains(&key) && !left_of_ours.contains(&key)
                        }
                        _ => false,
                    };
                    if holds_up_nothing {
                        theirs.insert(entry.key());
                        let side_effects = entry.step.side_effects.iter();
                        theirs.extend(side_effects.map(|kept| kept.knob.key()));
                    } else {
                        left_of_ours.insert(entry.key());
                        let now = log.entries.get(&id);
                        if now.is_some_and(|now| now.undoing.is_some()) {
                            // Its side effects are still to be reverted to what they were then.
                            let side_effects = entry.step.side_effects.iter();
                            left_of_ours.extend(side_effects.map(|kept| kept.knob.key()));
                        }
                        if !entry.step.means {
                            ends_left.push(entry.clone());
                        }
                    }
                    reverted.not_reverted.push(self.left(&entry.step, reason));
                }
                None => {
                    theirs.insert(entry.key());
                    let side_effects = entry.step.side_effects.iter();
                    theirs.extend(side_effects.map(|kept| kept.knob.key()));
                }
            }
            waiting.insert(entry.key());
            waiting.extend(entry.step.side_effects.iter().map(|kept| kept.knob.key()));
        }
        // The earliest first: each waits only for steps that are really left.
        for id in unknown.into_iter().rev() {
            let Some(entry) = log.entries.get(&id).cloned() else {
                continue;
            };
            let resets = |earlier: &Entry| {
                let mut side_effects = earlier.step.side_effects.iter();
                side_effects.any(|kept| kept.knob == entry.step.knob)
            };
            if is_stopped() {
                let left = self.left(&entry.step, NotRevertedReason::Interrupted);
                reverted.not_reverted.push(left);
            } else if log.entries.range(..id).any(|(_, earlier)| resets(earlier)) {
                // It is undone together with the step that resets it, and that step is left.
                reverted
                    .not_reverted
                    .push(self.left(&entry.step, NotRevertedReason::Waits));
            } else {
                let record = Record::Undone { ids: vec![id] };
                if log.mark(&mut *self.store, entry.location, record).is_err() {
                    log.entries.remove(&id);
                }
                reverted.undone.push(self.undone(&entry.step, true));
            }
        }
        reverted
    }

    /// All steps as left, for a journal that cannot be written.
    pub(super) fn all_left(
        &self,
        log: &Log,
        ids: &[u64],
        error: &JournalError,
    ) -> Vec<NotReverted> {
        let entries = ids.iter().filter_map(|id| log.entries.get(id));
        entries
            .map(|entry| self.left(&entry.step, journal(error)))
            .collect()
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
            .map_err(|error| unreadable(&error))?;
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
        let seen = match kind.read(&step.knob, &self.host) {
            Ok(seen) => seen,
            Err(error) if *error.kind() == HostErrorKind::Gone => return Ok(Done::Already),
            Err(error) => return Err(unreadable(&error)),
        };
        if entry.is_hold() {
            // A step below was reverted to the very state that this step set.
            let targets = self.targets(log, entry);
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
                    (Some(earlier), Some(identity)) => (kind.is_same_thing)(earlier, identity),
                    // The device did not exist yet when that step was planned.
                    _ => true,
                },
            )
            .filter_map(|(_, earlier)| earlier.step.from.known().cloned())
            .collect();
        let mut verdict = judge(&kind, entry, &seen, earlier.iter());
        if let Before::Known(from) = &step.from {
            let left_half = log
                .retarget(&mut *self.store, entry.id, &step.knob, from)
                .map_err(|error| journal(&error))?;
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
            && self.is_rounded_by_the_kernel(entry, &kind, &seen)
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
            Verdict::PutBack | Verdict::Theirs => {
                self.put_back(log, entry, &kind)?;
                Ok(Done::Back)
            }
        }
    }

    /// Whether an unexpected value is the kernel's rounding of ours.
    ///
    /// Asked only about the step at which a process was killed: it had written the value but not
    /// yet recorded what the kernel made of it. The value is written once more. If the result
    /// differs, the value that was found was another process's and is written back.
    pub(super) fn is_rounded_by_the_kernel(
        &mut self,
        entry: &Entry,
        kind: &KnobKind,
        seen: &Value,
    ) -> bool {
        let step = &entry.step;
        if entry.changed
            || step.lifetime != Lifetime::Boot
            || !step.side_effects.is_empty()
            || !kind.settle.is_zero()
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
            .map_err(|error| journal(&error))?;
        Ok(Done::Held(to))
    }

    /// Updates the steps on top of a step's side effects, of another owner or left by us, which
    /// stay: they now start from the state before both. Returns what each of them had started from.
    fn pass_starts_on(
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
            if let (Some(above), Before::Known(before)) = (above, &kept.state) {
                passed.extend(log.start(above, &kept.knob));
                let along = self.moves_along(log, (id + 1, above), step, &kept.knob, &states);
                log.set_start(&mut *self.store, above, &kept.knob, before, along)
                    .map_err(|error| journal(&error))?;
            }
        }
        Ok(passed)
    }

    fn put_back(
        &mut self,
        log: &mut Log,
        entry: &Entry,
        kind: &KnobKind,
    ) -> Result<(), NotRevertedReason> {
        let (id, location, step) = (entry.id, entry.location, &entry.step);
        let Before::Known(from) = &step.from else {
            return Ok(());
        };
        let targets = self.targets(log, entry);
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
            log.mark(&mut *self.store, location, record)
                .map_err(|error| journal(&error))?;
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
            // Whether it was undone is unknown. As after a kill at this point, the next revert
            // checks, and finds the states for the side effects in the journal.
            return Err(unreadable(error));
        }
        if !seen.as_ref().is_ok_and(back) {
            if side_effects {
                let _ = log.mark(&mut *self.store, location, Record::Kept { id });
            }
            // The step stays in effect, so the steps on top of it keep the states that they started
            // from.
            for start in passed {
                let _ = log.reset_start(&mut *self.store, &start);
            }
            return Err(match changed {
                Err(error) if *error.kind() == HostErrorKind::Busy => {
                    NotRevertedReason::InUse(chain(&error))
                }
                Err(error) => NotRevertedReason::Refused(chain(&error)),
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

    /// The side effects of a knob that is itself a side effect, and the states to restore them to:
    /// those recorded by the step, unless another owner's change is in `between`.
    fn moves_along(
        &self,
        log: &Log,
        between: (u64, Foreign),
        step: &Step,
        knob: &AnyKnob,
        states: &[Option<&Value>],
    ) -> Vec<SavedState> {
        let Ok(kind) = self.kind_or_malformed(knob) else {
            return Vec::new();
        };
        let now = self.now(knob).unwrap_or_default();
        let along = kind
            .side_effects(knob, &self.host, &now)
            .unwrap_or_default();
        let kept = |knob: AnyKnob| {
            let number = step.side_effects.iter().position(|kept| kept.knob == knob);
            let known = number.and_then(|number| *states.get(number)?).cloned();
            let other = log.next_about(&knob, between.0);
            let known = known.filter(|_| other.is_none_or(|other| !other.is_before(between.1)));
            // The state when the other owner first changed the knob.
            let then = || log.next_about(&knob, between.1.id() + 1);
            let then = || log.start_of(then()?, &knob).cloned();
            let state = known.or_else(then).or_else(|| self.now(&knob).ok())?;
            Some(SavedState {
                knob,
                state: Before::Known(state),
            })
        };
        along.into_iter().filter_map(kept).collect()
    }

    /// The states to restore the side effects to: those before the step, or those that another
    /// process has set since.
    fn targets(&self, log: &Log, entry: &Entry) -> Vec<Value> {
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
                let now = self.now(&kept.knob);
                // A device that is gone has no value to keep: whatever recreates it must find
                // its previous state.
                let gone = |now: &Value| {
                    let kind = self.kind_or_malformed(&kept.knob);
                    kind.is_ok_and(|kind| kind.is_gone(&kept.knob, now))
                };
                let is_held = log.above(&kept.knob, entry.id).is_some();
                match (after.get(number), &kept.state, now) {
                    (_, _, Ok(now)) if is_held && !gone(&now) => now,
                    (Some(after), _, Ok(now))
                        if now != *after
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
                }
            })
            .collect()
    }

    /// Restores the side effects, in order. If the states that undoing the step left behind are
    /// known, a knob that now shows something else was set by another process. What another owner
    /// has changed since, in an entry from `at` on, stays, and that owner will revert it.
    fn restore(
        &mut self,
        log: &mut Log,
        (id, at): (u64, u64),
        step: &Step,
        targets: &[Value],
        reset: Option<&[Value]>,
    ) -> Result<(), NotRevertedReason> {
        // Knobs changed as a side effect of an earlier restore; no one requested their values.
        let mut moved: HashSet<Key> = HashSet::new();
        for (number, (kept, target)) in step.side_effects.iter().zip(targets).enumerate() {
            let knob = &kept.knob;
            let failed = |why: String| NotRevertedReason::SideEffect(format!("{knob}: {why}"));
            let kind = self
                .kind_or_malformed(knob)
                .map_err(|error| failed(chain(&error)))?;
            if let Some(since) = log.above(knob, at) {
                let states: Vec<Option<&Value>> = targets.iter().map(Some).collect();
                let along = self.moves_along(log, (at, since), step, knob, &states);
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
            let now = match kind.read(knob, &self.host) {
                Ok(now) if kind.is_gone(knob, &now) => continue,
                Ok(now) => now,
                Err(error) if *error.kind() == HostErrorKind::Gone => continue,
                Err(error) => return Err(failed(chain(&error))),
            };
            let left = reset.and_then(|reset| reset.get(number));
            let theirs = !moved.contains(&knob.key())
                && left.is_some_and(|left| {
                    now != *left && !kind.is_partial_write(knob, &now, left, target)
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
            let seen = self.settled(&kind, knob, |seen| seen == target);
            let back =
                |seen: &Value| kind.satisfies(knob, seen, target) || kind.is_gone(knob, seen);
            if !seen.as_ref().is_ok_and(back) {
                return Err(failed(match changed {
                    Err(error) => chain(&error),
                    Ok(()) => NotRevertedReason::NotTaken.to_string(),
                }));
            }
        }
        Ok(())
    }

    /// The knob's note about the state that it was reverted to.
    fn revert_note(&self, step: &Step) -> Option<String> {
        let kind = self.kind_or_malformed(&step.knob).ok()?;
        kind.revert_note(&step.knob, &self.host, step.from.known()?)
    }

    fn undone(&self, step: &Step, already: bool) -> Undone {
        Undone {
            part: step.part.clone(),
            knob: step.knob.clone(),
            ours: step.to_text.clone(),
            original: self.original(step),
            already,
            held_by: None,
        }
    }

    fn left(&self, step: &Step, reason: NotRevertedReason) -> NotReverted {
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

    fn original(&self, step: &Step) -> String {
        match (&step.from, self.kind_or_malformed(&step.knob)) {
            (Before::Known(from), Ok(kind)) => kind.show(&step.knob, from),
            _ => step.from_text.clone(),
        }
    }
}

fn unreadable(error: &HostError) -> NotRevertedReason {
    NotRevertedReason::Unreadable(chain(error))
}

fn journal(error: &JournalError) -> NotRevertedReason {
    NotRevertedReason::Refused(error.to_string())
}

/// An error with its source, where only text can be kept.
fn chain(error: &HostError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
