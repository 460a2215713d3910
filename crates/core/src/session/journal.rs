//! How a session uses its journal: loading, locking, and recovering interrupted runs.

use serde_json::Value;

use super::{Reverted, Session};
use crate::any_knob::AnyKnob;
use crate::error::{Error, plural};
use crate::journal::{Entry, JournalError, Log, NoStore, Open, Purpose, Writer};

impl Session {
    fn writer(&self) -> Writer {
        Writer {
            program: self.program.clone(),
            kinds: self.registry.names(),
        }
    }

    /// The journal, checked to contain only knob types that this program knows.
    pub(super) fn load(&self) -> Result<Log, Error> {
        let writer = Some(self.writer());
        let mut log = self.read_log(&*self.store, writer)?;
        if let Some((entry, knob)) = self.unknown(&log) {
            return Err(Error::Journal(JournalError::UnknownKnob {
                path: self.store.path(entry.location, &self.owner),
                kind: knob.kind.clone(),
                program: log.program_of(entry.location).to_owned(),
            }));
        }
        self.forget_gone_namespaces(&mut log);
        Ok(log)
    }

    /// The first knob in a journal whose type this program does not know.
    fn unknown<'l>(&self, log: &'l Log) -> Option<(&'l Entry, &'l AnyKnob)> {
        let entries = log.entries.values().chain(log.elsewhere.values());
        let mut knobs = entries.flat_map(|entry| {
            let affected = entry.step.side_effects.iter().map(|kept| &kept.knob);
            let knobs = std::iter::once(&entry.step.knob).chain(affected);
            knobs.map(move |knob| (entry, knob))
        });
        knobs.find(|(_, knob)| self.registry.find(&knob.kind).is_err())
    }

    /// Loads the journal under the lock and aligns it with those of the other owners, after
    /// finishing any undo of theirs that was interrupted.
    pub(super) fn load_settled(&mut self) -> Result<Log, Error> {
        let log = self.load()?;
        if log.owners_in_the_middle_of_an_undo().next().is_none() {
            return self.settled_among_the_others(log);
        }
        let notes = self.finish_undos_of_others(&log);
        let log = self.load()?;
        let mut log = self.settled_among_the_others(log)?;
        log.notes.extend(notes);
        Ok(log)
    }

    /// Finishes the undos that other owners' processes were killed in; returns notes about them.
    ///
    /// If a step resets other knobs, a half-done undo may show values that no one requested. Anything
    /// started before it is finished would take them for requested ones. An interrupted apply is left
    /// to its owner: the journal records what it did. An undo of an owner with knob types that this
    /// program does not know cannot be finished.
    fn finish_undos_of_others(&mut self, log: &Log) -> Vec<String> {
        let mut notes = Vec::new();
        for other in log.owners_in_the_middle_of_an_undo() {
            let owner = other.owner();
            if self.unknown(other).is_some() {
                continue;
            }
            let own = std::mem::replace(&mut self.owner, owner.to_owned());
            let finished = self.finish_own_undo();
            self.owner = own;
            notes.push(match finished {
                Ok(reverted) if !reverted.is_complete() => format!(
                    "an interrupted revert of {owner} could not be finished: {} reverted, {} left",
                    plural(reverted.undone.len(), "step"),
                    reverted.not_reverted.len()
                ),
                Ok(reverted) => format!(
                    "an interrupted revert of {owner} was finished first: {} reverted, {} left{}",
                    plural(reverted.undone.len(), "step"),
                    reverted.not_reverted.len(),
                    match reverted.unrecorded {
                        Some(unrecorded) =>
                            format!("; the journal could not be updated: {}", unrecorded.why),
                        None => String::new(),
                    }
                ),
                Err(error) => {
                    format!("an interrupted revert of {owner} could not be finished: {error}")
                }
            });
        }
        notes
    }

    /// Finishes an undo of the session's owner, whose program is not this one.
    ///
    /// If this process cannot undo all of it, for example because it lacks the privileges or the
    /// backends, the undo stays open, and its owner's next run tries again.
    fn finish_own_undo(&mut self) -> Result<Reverted, Error> {
        let log = self.read_log(&*self.store, None)?;
        let mut log = self.settled_among_the_others(log)?;
        let Some(Open::Undoing { ids, force }) = log.open().cloned() else {
            return Ok(Reverted::default());
        };
        let mut reverted = self.undo(&mut log, &ids, force, None);
        if reverted.is_complete() {
            reverted.record(log.end(&mut *self.store));
        }
        Ok(reverted)
    }

    fn settled_among_the_others(&mut self, mut log: Log) -> Result<Log, Error> {
        let (registry, host) = (&self.registry, &self.host);
        let shows = |knob: &AnyKnob, state: &Value| {
            registry.find(&knob.kind).is_ok_and(|kind| {
                let seen = kind.read(knob, host);
                seen.is_ok_and(|seen| kind.satisfies(knob, &seen, state))
            })
        };
        log.settle(&mut *self.store, &shows)?;
        self.follow_renamed(&mut log);
        Ok(log)
    }

    /// Updates the names of renamed devices in the journal: a renamed device is still the one that
    /// was changed, and another device that took its name is not.
    ///
    /// The identity in the journal decides, and does not change. The new name is written with the
    /// next record of the step.
    pub(super) fn follow_renamed(&self, log: &mut Log) {
        // Nothing is changed meanwhile, so several knobs of one device need only one read.
        let _look = self.host.begin_read();
        for step in log.steps_mut() {
            let Some(identity) = &step.identity else {
                continue;
            };
            let kind = match self.registry.find(&step.knob.kind) {
                Ok(kind) if kind.can_be_renamed() => kind,
                _ => continue,
            };
            let now = kind.identity(&step.knob, &self.host);
            if matches!(&now, Ok(Some(now)) if kind.is_same_thing(now, identity)) {
                continue;
            }
            if let Ok(Some(renamed)) = kind.renamed(&step.knob, &self.host, identity) {
                step.knob = renamed;
            }
        }
    }

    /// The journal for a command that needs no privileges. If it cannot be read, the command goes
    /// on with a note.
    pub(super) fn peek(&self) -> Result<(Log, Option<String>), Error> {
        match self.load() {
            Err(Error::Journal(JournalError::Denied { path, .. })) => {
                let nothing = self.read_log(&NoStore, None)?;
                let note = format!(
                    "cannot tell whether an earlier run was interrupted: only root can read {path}"
                );
                Ok((nothing, Some(note)))
            }
            other => other.map(|mut log| {
                self.follow_renamed(&mut log);
                (log, None)
            }),
        }
    }

    /// What the next apply or revert will do first.
    pub(super) fn provisional(&self, log: &Log) -> Result<Option<String>, Error> {
        let Some(open) = log.open() else {
            let mut others = log.owners_in_the_middle_of_an_undo();
            let other = others.find(|other| self.unknown(other).is_none());
            // A revert that is running right now was not interrupted.
            return Ok(other.filter(|_| self.store.holder().is_none()).map(|other| {
                format!(
                    "an earlier revert of {} was interrupted: its remaining steps will be finished first",
                    other.owner()
                )
            }));
        };
        if let Some(holder) = self.store.holder() {
            return Ok(Some(format!("being changed right now by {holder}")));
        }
        let (what, ids): (_, Vec<_>) = match open {
            Open::Applying { apply } => {
                let entries = log
                    .entries
                    .iter()
                    .filter(|(_, entry)| entry.apply == *apply);
                ("apply", entries.map(|(id, _)| id).collect())
            }
            Open::Undoing { ids, .. } => {
                let pending = ids.iter().filter(|id| log.entries.contains_key(id));
                ("revert", pending.collect())
            }
        };
        let earlier_boot = ids.iter().any(|id| log.entries[*id].boot != self.boot);
        let steps = plural(ids.len(), "step");
        let done = match (open, earlier_boot) {
            (Open::Applying { .. }, false) => {
                format!("what it did of its {steps} will be rolled back first")
            }
            (Open::Applying { .. }, true) => {
                format!(
                    "what it did of the {steps} not undone by the reboot will be rolled back first"
                )
            }
            (Open::Undoing { .. }, _) => format!("the rest of it ({steps}) will be finished first"),
        };
        let when = if earlier_boot {
            " in an earlier boot"
        } else {
            ""
        };
        Ok(Some(format!(
            "an earlier {what} was interrupted{when}: {done}"
        )))
    }

    pub(super) fn locked<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let note = format!("process {}, {}", std::process::id(), self.program);
        self.store.lock(&note).map_err(|error| match error {
            JournalError::Locked { holder } => Error::Locked { holder },
            other => Error::Journal(other),
        })?;
        let done = work(self);
        self.host.clear_leftovers();
        self.store.unlock();
        done
    }

    /// Recovers an interrupted run.
    pub(super) fn finish_open(&mut self, log: &mut Log) -> Result<Option<Reverted>, Error> {
        let (ids, force) = match log.open().cloned() {
            None => return Ok(None),
            Some(Open::Applying { apply }) => {
                let mut ids = self.applied_prefix(log, apply)?;
                let elsewhere = log.elsewhere.values();
                let of_apply = elsewhere.filter(|entry| entry.apply == apply);
                ids.extend(of_apply.map(|entry| entry.id));
                log.undo(&mut *self.store, Purpose::Rollback, ids.clone(), false)?;
                (ids, false)
            }
            Some(Open::Undoing { ids, force }) => (ids, force),
        };
        // This cannot be stopped: it is short, and nothing can start before it is done.
        let mut recovered = self.undo(log, &ids, force, None);
        recovered.record(log.end(&mut *self.store));
        Ok(Some(recovered))
    }

    /// As `finish_open`, before an apply, which cannot start if the journal cannot be written.
    pub(super) fn recovered(&mut self, log: &mut Log) -> Result<Option<Reverted>, Error> {
        match self.finish_open(log)? {
            Some(reverted) if reverted.unrecorded.is_some() => Err(Error::Unrecorded {
                cause: None,
                reverted: Box::new(reverted),
            }),
            other => Ok(other),
        }
    }
}

/// The note about a journal whose end could not be read.
pub(super) fn cut_note(log: &Log) -> Option<String> {
    (log.cut > 0).then(|| {
        format!(
            "ignored the last {} bytes of the journal, which an interrupted write left",
            log.cut
        )
    })
}
