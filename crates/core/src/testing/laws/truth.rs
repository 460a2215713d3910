//! Law 16: the result of an operation agrees with the host, whichever of its calls fails.

use std::collections::BTreeSet;

use super::{Broken, broken, failed, no_journal_left, same};
use crate::error::Error;
use crate::report::{Finding, State};
use crate::session::{Applied, Reverted, Session};
use crate::testing::crash_point::{CrashPoint, Failure};
use crate::testing::world::{Snapshot, World};
use crate::tuning::Tuning;

const LAW: &str = "whatever fails, the result agrees with the host";

/// An operation of a process.
#[derive(Debug, Clone)]
pub enum Verb<T> {
    /// Plan a tuning.
    Plan(T),
    /// Apply it.
    Apply(T),
    /// Verify it.
    Verify(T),
    /// Revert what was applied.
    Revert,
    /// Revert it by force. It is not among the kinds that are drawn.
    ForcedRevert,
    /// Recover what an earlier process left unfinished.
    Recover,
}

impl<T> Verb<T> {
    /// Number of [kinds](Self::of_kind).
    pub const KINDS: usize = 5;

    /// Returns one of the kinds, with this tuning if it takes one, for proptest strategies.
    pub fn of_kind(kind: usize, tuning: T) -> Self {
        match kind % Self::KINDS {
            0 => Self::Apply(tuning),
            1 => Self::Revert,
            2 => Self::Plan(tuning),
            3 => Self::Verify(tuning),
            _ => Self::Recover,
        }
    }
}

/// Law 16: after some applies, a process runs one operation, and one of its calls, or all calls from that
/// one on, fail. Its result agrees with the host, and once nothing fails any more, a revert restores the
/// state before the first apply.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn told_as_it_is<W: World, T: Tuning>(
    world: &W,
    applied: &[T],
    verb: &Verb<T>,
    failure: Failure,
) -> Result<(), Broken> {
    let world = world.fork();
    let first = world.snapshot();
    for tuning in applied {
        let mut session = healthy(&world)?;
        match tuning.apply(&mut session) {
            Err(Error::RolledBack { .. }) => {}
            other => drop(other.map_err(failed(LAW, "apply"))?),
        }
    }
    let before = world.snapshot();
    let crash_point = CrashPoint::call_fails(failure);
    let mut session = world.session(&crash_point).map_err(failed(LAW, "open"))?;
    let told = Told {
        world: &world,
        first: &first,
        before: &before,
    };
    match verb {
        Verb::Plan(tuning) => {
            // The plan may fail, or be wrong about what could not be read, but must change nothing.
            let _ = tuning.plan(&session);
            told.nothing_is_changed()?;
        }
        Verb::Verify(tuning) => {
            if let Ok(report) = tuning.verify(&session) {
                told.as_verified(tuning, &report.items)?;
            }
            told.nothing_is_changed()?;
        }
        Verb::Apply(tuning) => match tuning.apply(&mut session) {
            Ok(applied) => told.as_applied(tuning, &applied)?,
            Err(Error::RollbackIncomplete { left, .. }) if !left.is_empty() => {}
            Err(Error::Unrecorded { reverted, .. }) if !reverted.not_reverted.is_empty() => {}
            Err(error) => told.nothing_is_changed_as(&error)?,
        },
        Verb::Revert | Verb::ForcedRevert => {
            match session.force(matches!(verb, Verb::ForcedRevert)).revert() {
                Ok(reverted) => told.as_reverted(&reverted)?,
                Err(error) => told.nothing_is_changed_as(&error)?,
            }
        }
        Verb::Recover => {
            let _ = session.recover();
            told.nothing_is_changed()?;
        }
    }
    drop(session);
    let reverted = healthy(&world)?
        .revert()
        .map_err(failed(LAW, "revert after the failure"))?;
    if !reverted.not_reverted.is_empty() {
        let left: Vec<String> = reverted
            .not_reverted
            .iter()
            .map(ToString::to_string)
            .collect();
        return Err(broken(
            LAW,
            format!("after the failure: {}", left.join("; ")),
        ));
    }
    same(LAW, &first, &world.snapshot())?;
    no_journal_left(LAW, &world)
}

fn healthy<W: World>(world: &W) -> Result<Session, Broken> {
    world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))
}

/// The state that a result is compared with.
struct Told<'a, W> {
    world: &'a W,
    /// Before the first apply.
    first: &'a Snapshot,
    /// Before the operation.
    before: &'a Snapshot,
}

impl<W: World> Told<'_, W> {
    fn nothing_is_changed_as(&self, error: &Error) -> Result<(), Broken> {
        self.nothing_is_changed().map_err(|changed| {
            let source = std::error::Error::source(error);
            let source = source.map(ToString::to_string).unwrap_or_default();
            broken(
                LAW,
                format!("reported \"{error}: {source}\", but {changed}"),
            )
        })
    }

    fn nothing_is_changed(&self) -> Result<(), Broken> {
        same(LAW, self.before, &self.world.snapshot())
    }

    /// Whether the host agrees with these items, except those that report an unknown state.
    fn as_verified(&self, tuning: &impl Tuning, items: &[Finding]) -> Result<(), Broken> {
        let report = tuning
            .verify(&healthy(self.world)?)
            .map_err(failed(LAW, "verify after the failure"))?;
        for said in items {
            let is_same = |item: &&Finding| item.part == said.part && item.name == said.name;
            let Some(is) = report.items.iter().find(is_same) else {
                continue;
            };
            let agrees = match said.state {
                State::Matches | State::Rounded => {
                    matches!(is.state, State::Matches | State::Rounded)
                }
                State::Drifted | State::Overridden { .. } => is.state.is_drift(),
                _ => true,
            };
            if !agrees {
                return Err(broken(LAW, format!("reported \"{said}\", but {is}")));
            }
        }
        Ok(())
    }

    fn as_applied(&self, tuning: &impl Tuning, applied: &Applied) -> Result<(), Broken> {
        if applied.changed.is_empty() {
            self.nothing_is_changed()?;
        }
        self.as_verified(tuning, &applied.findings)?;
        let report = tuning
            .verify(&healthy(self.world)?)
            .map_err(failed(LAW, "verify after the failure"))?;
        for step in applied.changed.iter().filter(|step| !step.means) {
            let of_step = |item: &&Finding| item.knob.as_ref() == Some(&step.knob);
            if let Some(item) = report.items.iter().find(of_step)
                && item.state.is_drift()
            {
                return Err(broken(LAW, format!("reported as applied, but {item}")));
            }
        }
        Ok(())
    }

    fn as_reverted(&self, reverted: &Reverted) -> Result<(), Broken> {
        if reverted.not_reverted.is_empty() {
            same(LAW, self.first, &self.world.snapshot())?;
            if reverted.unrecorded.is_none() {
                no_journal_left(LAW, self.world)?;
            }
            return Ok(());
        }
        let status = healthy(self.world)?
            .status()
            .map_err(failed(LAW, "status after the failure"))?;
        let pending: BTreeSet<&str> = status
            .pending
            .iter()
            .map(|pending| pending.knob.text.as_str())
            .collect();
        let mut left = reverted.not_reverted.iter();
        match left.find(|left| !pending.contains(left.knob.text.as_str())) {
            Some(left) => Err(broken(LAW, format!("{left}, but no journal records it"))),
            None => Ok(()),
        }
    }
}
