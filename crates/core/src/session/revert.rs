//! Reverts what an owner has changed, and recovers interrupted runs.

use super::{Reverted, Session, refusals};
use crate::any_knob::AnyKnob;
use crate::error::Error;
use crate::journal::{Entry, Knobs, Log, Purpose};
use crate::plan::{Planner, Scope};

impl Session {
    /// Reverts everything that this owner has changed, or only the selected parts.
    ///
    /// # Errors
    /// As [`Tuning::revert`](crate::Tuning::revert).
    pub fn revert(&mut self) -> Result<Reverted, Error> {
        self.revert_scope(|_, _| Ok(None), |_| true)
    }

    /// Reverts what this owner has changed in the network namespace of this thread, and nothing that
    /// belongs to the whole machine. See
    /// [`Knob::is_of_network_namespace`](crate::Knob::is_of_network_namespace).
    ///
    /// # Errors
    /// As [`Tuning::revert`](crate::Tuning::revert).
    pub fn revert_network_namespace(&mut self) -> Result<Reverted, Error> {
        let here = self.host.network_namespace()?;
        let is_here = |entry: &Entry| here.is_some() && entry.step.network_namespace == here;
        self.revert_scope(|_, _| Ok(None), is_here)
    }

    /// Reverts what this owner has changed for the requests that `declare` makes: all that was done
    /// for its named parts, and the knobs that it declares, with the intermediate steps for them.
    ///
    /// # Errors
    /// As [`Tuning::revert`](crate::Tuning::revert).
    pub fn revert_declared(
        &mut self,
        declare: impl FnOnce(&mut Planner<'_>) -> Result<(), Error>,
    ) -> Result<Reverted, Error> {
        let scope = |session: &Self, log: &Log| {
            let (refusals, journalled) = (refusals(log), log.journalled());
            let mut planner = session.planner(&refusals, &journalled);
            declare(&mut planner)?;
            planner.into_scope().map(Some)
        };
        self.revert_scope(scope, |_| true)
    }

    /// Reverts what is in a scope, in the selected parts and admitted; no scope is everything.
    fn revert_scope(
        &mut self,
        scope: impl FnOnce(&Self, &Log) -> Result<Option<Scope>, Error>,
        admits: impl Fn(&Entry) -> bool,
    ) -> Result<Reverted, Error> {
        self.locked(|session| {
            let mut log = session.load_settled()?;
            let mut reverted = session.finish_open(&mut log)?.unwrap_or_default();
            {
                let (registry, host) = (&session.registry, &session.host);
                let (satisfies, shows) = (&registry.satisfies(), &registry.shows(host));
                log.shorten(&mut *session.store, Knobs { satisfies, shows });
            }
            let scope = scope(session, &log)?;
            let is_selected = |entry: &Entry| {
                let step = &entry.step;
                session.only.admits_part(&step.part)
                    && admits(entry)
                    && scope.as_ref().is_none_or(|scope| {
                        // An intermediate step goes with the ends that it is for. If those are
                        // reverted already, it was left by such a revert.
                        let mut ends = log
                            .entries
                            .values()
                            .chain(log.elsewhere.values())
                            .filter(|end| step.means && !end.step.means && entry.is_means_for(end));
                        let first = ends.next();
                        scope.has(step)
                            || step.means && first.is_none()
                            || first
                                .into_iter()
                                .chain(ends)
                                .any(|end| scope.has(&end.step))
                    })
            };
            let (selected, others): (Vec<&Entry>, Vec<&Entry>) = log
                .entries
                .values()
                .rev()
                .chain(log.elsewhere.values().rev())
                .partition(|entry| is_selected(entry));
            let ids: Vec<u64> = selected.iter().map(|entry| entry.id).collect();
            let mut remaining: Vec<AnyKnob> = Vec::new();
            for other in others.into_iter().rev() {
                // Of what is gone, nothing is in effect.
                if !remaining.contains(&other.step.knob) && !session.is_gone(&other.step) {
                    remaining.push(other.step.knob.clone());
                }
            }
            reverted.remaining = remaining;
            let force = session.force;
            if !ids.is_empty() {
                match log.undo(&mut *session.store, Purpose::Revert, ids.clone(), force) {
                    Ok(()) => {
                        let stop = session.stop.clone();
                        reverted.join(session.undo(&mut log, &ids, force, stop.as_ref()));
                        reverted.record(log.end(&mut *session.store));
                    }
                    Err(error)
                        if reverted.undone.is_empty() && reverted.not_reverted.is_empty() =>
                    {
                        return Err(error.into());
                    }
                    // An interrupted run was recovered before this error, and the caller must learn
                    // of it.
                    Err(error) => {
                        reverted.not_reverted = session.all_left(&log, &ids, &error);
                        reverted.record(Err(error));
                    }
                }
            }
            if session.only.is_all() && scope.is_none() {
                // Refusals by the kernel were remembered for the settings that are reverted now.
                log.refused.clear();
            }
            if reverted.unrecorded.is_none() {
                reverted.record(log.clear_if_empty(&mut *session.store));
            }
            reverted.by_reboot = log.dropped;
            reverted.notes.extend(log.notes);
            Ok(reverted)
        })
    }

    /// Recovers an interrupted run: rolls back an interrupted apply, or finishes an interrupted
    /// revert. Does nothing if no run was interrupted.
    ///
    /// # Errors
    /// If the journal cannot be used or another process holds the lock.
    pub fn recover(&mut self) -> Result<Reverted, Error> {
        self.locked(|session| {
            let mut log = session.load_settled()?;
            let mut recovered = session.finish_open(&mut log)?.unwrap_or_default();
            if recovered.unrecorded.is_none() {
                recovered.record(log.clear_if_empty(&mut *session.store));
            }
            recovered.notes.extend(log.notes);
            Ok(Reverted {
                by_reboot: log.dropped,
                ..recovered
            })
        })
    }
}
