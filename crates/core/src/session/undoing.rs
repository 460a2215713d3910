//! The walk back: what is still ours goes to what it was, what is theirs stays.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Reverted, Session};
use crate::error::{HostError, HostErrorKind};
use crate::journal::{Entry, JournalError, Log, Record};
use crate::knob::{AnyKnob, Key, KnobKind};
use crate::plan::{Before, Step};
use crate::stop::Stop;

/// One step put back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undone {
    /// The part it was for.
    pub part: String,
    /// The knob.
    pub knob: AnyKnob,
    /// What we had set, as printed.
    pub ours: String,
    /// What it is again, as printed.
    pub original: String,
    /// Whether somebody had put it back already, or the thing has gone: nothing was written.
    pub already: bool,
}

/// Why a step was not put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LeftBecause {
    /// Somebody else has set it since.
    Theirs,
    /// A later step of the same knob, or of one that resets it, could not be put back.
    Waits,
    /// Somebody uses it, and it is not taken from under them; says who or how.
    InUse(String),
    /// The host refused, and says why.
    Refused(String),
    /// The write was accepted and the host shows something else.
    NotTaken,
    /// It could not be read, and says why.
    Unreadable(String),
    /// It was put back, but a knob that it resets was not, and says which.
    Disturbed(String),
    /// The revert was interrupted before it came to it.
    Interrupted,
}

impl fmt::Display for LeftBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Theirs => f.write_str("somebody else has set it since"),
            Self::Waits => f.write_str("it waits for a later step that could not be put back"),
            Self::InUse(why) => write!(f, "it is in use: {why}"),
            Self::Refused(why) => write!(f, "the host refused: {why}"),
            Self::NotTaken => f.write_str("the write was accepted, but the host does not show it"),
            Self::Unreadable(why) => write!(f, "it could not be read: {why}"),
            Self::Disturbed(why) => write!(f, "what it resets could not be put back: {why}"),
            Self::Interrupted => f.write_str("the revert was interrupted before it"),
        }
    }
}

/// One step that was not put back; it stays in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The part it was for.
    pub part: String,
    /// The knob.
    pub knob: AnyKnob,
    /// What we had set, as printed.
    pub ours: String,
    /// What it was before, as printed.
    pub original: String,
    /// What the host shows, as printed.
    pub seen: String,
    /// Why.
    pub because: LeftBecause,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (ours {}, original {}, seen {}): {}",
            self.knob, self.ours, self.original, self.seen, self.because
        )
    }
}

/// What to do about one step, from what its knob shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It shows what we set, or our own half-written value.
    TurnBack,
    /// It was turned back, but what it disturbed may not have been.
    RestoreOnly,
    /// It shows what it was, or never was turned.
    Already,
    /// Somebody else's.
    Theirs,
}

/// Decides without touching anything. `earlier` are the originals of this knob's earlier steps.
fn judge<'v>(
    kind: &KnobKind,
    entry: &Entry,
    seen: &Value,
    mut earlier: impl Iterator<Item = &'v Value>,
) -> Verdict {
    let Step { knob, from, to, .. } = &entry.step;
    let Before::Known(from) = from else {
        // What it starts from is written down before it is turned.
        return Verdict::Already;
    };
    if seen == from {
        return if entry.undoing.is_some() {
            Verdict::RestoreOnly
        } else {
            Verdict::Already
        };
    }
    if kind.counts_as(knob, seen, to) || kind.torn(knob, seen, from, to) {
        return Verdict::TurnBack;
    }
    // A knob that is gone shows nothing anybody could put back; one that shows an earlier
    // original was put back further than this step.
    if kind.gone(knob, seen)
        || kind.counts_as(knob, seen, from)
        || earlier.any(|v| kind.counts_as(knob, seen, v))
    {
        return Verdict::Already;
    }
    Verdict::Theirs
}

impl Session {
    /// Walks back over the entries `ids`, last first, whatever order they are given in.
    ///
    /// What cannot be put back is left, and with it what stands under it: the
    /// earlier steps of its knob, which are owed still, and those of the knobs that it resets,
    /// which its own way back would reset again.
    ///
    /// Once `stop` is asked the rest is left as it is.
    pub(super) fn undo(
        &mut self,
        log: &mut Log,
        ids: &[u64],
        force: bool,
        stop: Option<&Stop>,
    ) -> Reverted {
        let is_stopped = || stop.is_some_and(Stop::is_asked);
        let selected: HashSet<u64> = ids.iter().copied().collect();
        let mut waiting: HashSet<Key> = HashSet::new();
        let mut reverted = Reverted {
            by_reboot: log.dropped,
            ..Reverted::default()
        };
        // Steps that show what we set and whose start was lost with the journal's end: only what
        // reset their knob still knows what it was.
        let mut unknown: Vec<u64> = Vec::new();
        let all: Vec<u64> = log.entries.keys().rev().copied().collect();
        for id in all {
            let Some(entry) = log.entries.get(&id).cloned() else {
                continue;
            };
            if selected.contains(&id) && is_stopped() {
                let left = self.left(&entry.step, LeftBecause::Interrupted);
                reverted.left.push(left);
                continue;
            }
            if selected.contains(&id) && self.is_ours_from_unknown(&entry) {
                unknown.push(id);
                continue;
            }
            let replaced = selected.contains(&id) && self.is_replaced(&entry.step);
            let outcome = if !selected.contains(&id) {
                None
            } else if replaced {
                Some(Ok(true))
            } else if waiting.contains(&entry.key()) && !force {
                Some(Err(LeftBecause::Waits))
            } else {
                Some(self.undo_one(log, &entry, force))
            };
            match outcome {
                Some(Ok(already)) => {
                    // Where this mark is lost the entry is found again, and found already right.
                    let record = Record::Undone { ids: vec![id] };
                    if log.mark(&mut *self.store, entry.place, record).is_err() {
                        log.entries.remove(&id);
                    }
                    if let Some(remark) = self.remark(&entry.step).filter(|_| !replaced) {
                        reverted.note(remark);
                    }
                    reverted.undone.push(self.undone(&entry.step, already));
                    continue;
                }
                Some(Err(because)) => reverted.left.push(self.left(&entry.step, because)),
                None => {}
            }
            waiting.insert(entry.key());
            waiting.extend(entry.step.disturbs.iter().map(|kept| kept.knob.key()));
        }
        for id in unknown {
            let Some(entry) = log.entries.get(&id).cloned() else {
                continue;
            };
            let resets = |earlier: &Entry| {
                let mut disturbs = earlier.step.disturbs.iter();
                disturbs.any(|kept| kept.knob == entry.step.knob)
            };
            if is_stopped() {
                let left = self.left(&entry.step, LeftBecause::Interrupted);
                reverted.left.push(left);
            } else if log.entries.range(..id).any(|(_, earlier)| resets(earlier)) {
                // Its way back is that of the step that resets it, and that one is left.
                reverted
                    .left
                    .push(self.left(&entry.step, LeftBecause::Waits));
            } else {
                let record = Record::Undone { ids: vec![id] };
                if log.mark(&mut *self.store, entry.place, record).is_err() {
                    log.entries.remove(&id);
                }
                reverted.undone.push(self.undone(&entry.step, true));
            }
        }
        reverted
    }

    /// Everything left, where the journal cannot be written.
    pub(super) fn all_left(&self, log: &Log, ids: &[u64], error: &JournalError) -> Vec<Left> {
        let entries = ids.iter().filter_map(|id| log.entries.get(id));
        entries
            .map(|entry| self.left(&entry.step, journal(error)))
            .collect()
    }

    /// Whether a step's knob shows what it set while what it started from is not known.
    fn is_ours_from_unknown(&self, entry: &Entry) -> bool {
        let step = &entry.step;
        step.from == Before::Unsettled
            && self.kind_or_malformed(&step.knob).is_ok_and(|kind| {
                kind.read(&step.knob, &self.host)
                    .is_ok_and(|seen| kind.counts_as(&step.knob, &seen, &step.to))
            })
    }

    /// Puts one step back: whether there was nothing to write, or why it is left.
    fn undo_one(&mut self, log: &mut Log, entry: &Entry, force: bool) -> Result<bool, LeftBecause> {
        let step = &entry.step;
        let kind = self
            .kind_or_malformed(&step.knob)
            .map_err(|error| unreadable(&error))?;
        let seen = match kind.read(&step.knob, &self.host) {
            Ok(seen) => seen,
            Err(error) if *error.kind() == HostErrorKind::Gone => return Ok(true),
            Err(error) => return Err(unreadable(&error)),
        };
        let earlier: Vec<Value> = log
            .entries
            .range(..entry.id)
            .filter(|(_, earlier)| earlier.step.knob == step.knob)
            .filter_map(|(_, earlier)| earlier.step.from.known().cloned())
            .collect();
        match judge(&kind, entry, &seen, earlier.iter()) {
            Verdict::Already => Ok(true),
            Verdict::Theirs if !force => Err(LeftBecause::Theirs),
            Verdict::RestoreOnly => {
                let targets = entry.undoing.clone().unwrap_or_default();
                self.restore(step, &targets, entry.reset.as_deref())?;
                Ok(false)
            }
            Verdict::TurnBack | Verdict::Theirs => {
                self.turn_back(log, entry, &kind)?;
                Ok(false)
            }
        }
    }

    fn turn_back(
        &mut self,
        log: &mut Log,
        entry: &Entry,
        kind: &KnobKind,
    ) -> Result<(), LeftBecause> {
        let (id, place, step) = (entry.id, entry.place, &entry.step);
        let Before::Known(from) = &step.from else {
            return Ok(());
        };
        let targets = self.targets(log, entry);
        let disturbs = !targets.is_empty();
        if disturbs {
            // Once it is turned back, nobody can tell any more what the disturbed knobs were.
            let record = Record::Undoing {
                id,
                targets: targets.clone(),
            };
            log.mark(&mut *self.store, place, record)
                .map_err(|error| journal(&error))?;
        }
        let turned = kind.turn(&step.knob, &mut self.host, from);
        // What went while it was turned back is not owed any more.
        let back = |seen: &Value| {
            seen == from
                || kind.counts_as(&step.knob, seen, from)
                || kind.gone(&step.knob, seen) && !kind.gone(&step.knob, from)
        };
        let seen = self.settled(kind, &step.knob, back);
        if !seen.as_ref().is_ok_and(back) {
            if disturbs {
                let _ = log.mark(&mut *self.store, place, Record::Kept { id });
            }
            return Err(match (turned, seen) {
                (Err(error), _) if *error.kind() == HostErrorKind::Busy => {
                    LeftBecause::InUse(chain(&error))
                }
                (Err(error), _) => LeftBecause::Refused(chain(&error)),
                (Ok(()), Err(error)) => unreadable(&error),
                (Ok(()), Ok(_)) => LeftBecause::NotTaken,
            });
        }
        if disturbs {
            let seen: Result<Vec<Value>, HostError> = step
                .disturbs
                .iter()
                .map(|kept| self.now(&kept.knob))
                .collect();
            if let Ok(seen) = seen {
                let _ = log.mark(&mut *self.store, place, Record::Reset { id, seen });
            }
            self.restore(step, &targets, None)?;
        }
        Ok(())
    }

    /// What the disturbed knobs are put back to: what they were before the step, or what
    /// somebody else has set since.
    fn targets(&self, log: &Log, entry: &Entry) -> Vec<Value> {
        let ours = |knob: &AnyKnob| {
            let mut later = log.entries.range(entry.id + 1..);
            later.any(|(_, later)| later.step.knob == *knob && self.is_ours_from_unknown(later))
        };
        let after = entry.after.as_deref().unwrap_or_default();
        let disturbs = entry.step.disturbs.iter().enumerate();
        disturbs
            .map(|(number, kept)| {
                let now = self.now(&kept.knob);
                // One that has gone holds nothing of anybody's: what makes it anew is to find what
                // it was before.
                let gone = |now: &Value| {
                    let kind = self.kind_or_malformed(&kept.knob);
                    kind.is_ok_and(|kind| kind.gone(&kept.knob, now))
                };
                match (after.get(number), &kept.state, now) {
                    (Some(after), _, Ok(now))
                        if now != *after && !gone(&now) && !ours(&kept.knob) =>
                    {
                        now
                    }
                    (_, Before::Known(before), _) => before.clone(),
                    // What it was is written down before the turn; where that is lost, at least
                    // what it shows now is kept.
                    (_, Before::Unsettled, now) => now.unwrap_or_default(),
                }
            })
            .collect()
    }

    /// Puts the disturbed knobs back, in order. Where it is known what the turn back left of
    /// them, a knob that shows something else by now is somebody else's.
    fn restore(
        &mut self,
        step: &Step,
        targets: &[Value],
        reset: Option<&[Value]>,
    ) -> Result<(), LeftBecause> {
        // What a knob that was put back earlier has moved along is nobody's.
        let mut moved: HashSet<Key> = HashSet::new();
        for (number, (kept, target)) in step.disturbs.iter().zip(targets).enumerate() {
            let knob = &kept.knob;
            let failed = |why: String| LeftBecause::Disturbed(format!("{knob}: {why}"));
            let kind = self
                .kind_or_malformed(knob)
                .map_err(|error| failed(chain(&error)))?;
            if kind.gone(knob, target) {
                // It was not there before: there is no state that it could be put back to.
                continue;
            }
            let now = match kind.read(knob, &self.host) {
                Ok(now) if kind.gone(knob, &now) => continue,
                Ok(now) => now,
                Err(error) if *error.kind() == HostErrorKind::Gone => continue,
                Err(error) => return Err(failed(chain(&error))),
            };
            let left = reset.and_then(|reset| reset.get(number));
            let theirs = !moved.contains(&knob.key())
                && left.is_some_and(|left| now != *left && !kind.torn(knob, &now, left, target));
            if left.is_some_and(|left| left != target) {
                let along = kind.disturbs(knob, &self.host, target).unwrap_or_default();
                moved.extend(along.iter().map(AnyKnob::key));
            }
            if now == *target || theirs {
                continue;
            }
            let turned = kind.turn(knob, &mut self.host, target);
            let seen = self.settled(&kind, knob, |seen| seen == target);
            let back = |seen: &Value| kind.counts_as(knob, seen, target) || kind.gone(knob, seen);
            if !seen.as_ref().is_ok_and(back) {
                return Err(failed(match turned {
                    Err(error) => chain(&error),
                    Ok(()) => LeftBecause::NotTaken.to_string(),
                }));
            }
        }
        Ok(())
    }

    /// What its knob has to say about where it was put back to.
    fn remark(&self, step: &Step) -> Option<String> {
        let kind = self.kind_or_malformed(&step.knob).ok()?;
        kind.remark(&step.knob, &self.host, step.from.known()?)
    }

    fn undone(&self, step: &Step, already: bool) -> Undone {
        Undone {
            part: step.part.clone(),
            knob: step.knob.clone(),
            ours: step.to_text.clone(),
            original: self.original(step),
            already,
        }
    }

    fn left(&self, step: &Step, because: LeftBecause) -> Left {
        let seen = self.kind_or_malformed(&step.knob).and_then(|kind| {
            kind.read(&step.knob, &self.host)
                .map(|seen| kind.show(&step.knob, &seen))
        });
        Left {
            part: step.part.clone(),
            knob: step.knob.clone(),
            ours: step.to_text.clone(),
            original: self.original(step),
            seen: seen.unwrap_or_else(|error| error.to_string()),
            because,
        }
    }

    fn original(&self, step: &Step) -> String {
        match (&step.from, self.kind_or_malformed(&step.knob)) {
            (Before::Known(from), Ok(kind)) => kind.show(&step.knob, from),
            _ => step.from_text.clone(),
        }
    }
}

fn unreadable(error: &HostError) -> LeftBecause {
    LeftBecause::Unreadable(chain(error))
}

fn journal(error: &JournalError) -> LeftBecause {
    LeftBecause::Refused(error.to_string())
}

/// An error with its source, for a place that keeps text only.
fn chain(error: &HostError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
