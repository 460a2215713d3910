//! The laws that every knob and every tuning must satisfy, as functions.
//!
//! Each takes the [`World`] in its initial state and returns [`Broken`] if the law does not hold. Inside
//! `proptest!`, `laws::die_anywhere(..)?` is enough. The world is copied, not changed.

mod network_namespaces;
mod truth;

use std::fmt;

use super::{CrashPoint, Failure, Moment, Snapshot, World};
use crate::error::{Error, StepFailure};
use crate::knob::Lifetime;
use crate::report::State;
use crate::tuning::Tuning;

pub use network_namespaces::owners_in_network_namespaces;
pub use truth::{Verb, told_as_it_is};

/// A law that does not hold, with the evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the law '{law}' is broken: {shown}")]
#[non_exhaustive]
pub struct Broken {
    /// Name of the law.
    pub law: &'static str,
    /// The evidence.
    pub shown: String,
}

fn broken(law: &'static str, shown: impl fmt::Display) -> Broken {
    Broken {
        law,
        shown: shown.to_string(),
    }
}

fn failed<'l>(law: &'static str, verb: &'l str) -> impl Fn(Error) -> Broken + use<'l> {
    move |error| {
        let mut shown = format!("{verb}: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            shown = format!("{shown}: {cause}");
            source = cause.source();
        }
        broken(law, shown)
    }
}

fn same(law: &'static str, was: &Snapshot, is: &Snapshot) -> Result<(), Broken> {
    let changed: Vec<String> = was
        .keys()
        .chain(is.keys().filter(|key| !was.contains_key(*key)))
        .filter(|key| was.get(*key) != is.get(*key))
        .map(|key| format!("{key}: was {:?}, is {:?}", was.get(key), is.get(key)))
        .collect();
    if changed.is_empty() {
        Ok(())
    } else {
        Err(broken(law, changed.join("; ")))
    }
}

fn no_journal_left<W: World>(law: &'static str, world: &W) -> Result<(), Broken> {
    if world.store().is_empty() {
        Ok(())
    } else {
        Err(broken(
            law,
            "a journal is left although nothing remains to be reverted",
        ))
    }
}

/// Law 1: verify confirms what apply did.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn apply_then_verify<W: World>(world: &W, tuning: &impl Tuning) -> Result<(), Broken> {
    const LAW: &str = "verify after apply matches";
    let world = world.fork();
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let _ = tuning.apply(&mut session).map_err(failed(LAW, "apply"))?;
    let report = tuning.verify(&session).map_err(failed(LAW, "verify"))?;
    match report.items.iter().find(|item| item.state.is_drift()) {
        None => Ok(()),
        Some(item) => Err(broken(LAW, item)),
    }
}

/// Law 2: after an apply, the plan is empty and a second apply writes nothing.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn apply_then_plan<W: World>(world: &W, tuning: &impl Tuning) -> Result<(), Broken> {
    const LAW: &str = "the plan after apply is empty";
    let world = world.fork();
    let crash_point = CrashPoint::lives();
    let mut session = world.session(&crash_point).map_err(failed(LAW, "open"))?;
    let _ = tuning.apply(&mut session).map_err(failed(LAW, "apply"))?;
    let plan = tuning.plan(&session).map_err(failed(LAW, "plan"))?;
    if let Some(step) = plan.steps.first() {
        return Err(broken(
            LAW,
            format!("{} {} → {}", step.knob, step.from_text, step.to_text),
        ));
    }
    let before = crash_point.writes();
    let _ = tuning
        .apply(&mut session)
        .map_err(failed(LAW, "apply again"))?;
    if crash_point.writes() == before {
        Ok(())
    } else {
        Err(broken(LAW, "a second apply writes"))
    }
}

/// Law 3: apply and revert restore the original state of the host and leave no journal.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn apply_then_revert<W: World>(world: &W, tunings: &[impl Tuning]) -> Result<(), Broken> {
    const LAW: &str = "revert after any number of applies restores the original state";
    let world = world.fork();
    let was = world.snapshot();
    for tuning in tunings {
        // Each in its own process: no state may exist only in the session.
        let mut session = world
            .session(&CrashPoint::lives())
            .map_err(failed(LAW, "open"))?;
        let _ = tuning.apply(&mut session).map_err(failed(LAW, "apply"))?;
    }
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let reverted = session.revert().map_err(failed(LAW, "revert"))?;
    if let Some(left) = reverted.not_reverted.first() {
        return Err(broken(LAW, left));
    }
    same(LAW, &was, &world.snapshot())?;
    no_journal_left(LAW, &world)
}

/// One crash: the number of the process's write, and the point of that write.
pub type Death = (u64, Moment);

/// Law 4: after crashes at any writes to the host or the journal, any number of times and also during a
/// revert, a revert restores the original state of the host.
///
/// Every tuning is applied in its own process. The processes take their crash from `deaths` in order, and a
/// process that does not reach its write completes. After a crash the next process applies the next tuning
/// or, every second time, reverts.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn die_anywhere<W: World>(
    world: &W,
    tunings: &[impl Tuning],
    deaths: &[Death],
) -> Result<(), Broken> {
    const LAW: &str = "revert after a crash anywhere restores the original state";
    let world = world.fork();
    let was = world.snapshot();
    let mut deaths = deaths.iter();
    let mut crash_point = || {
        deaths
            .next()
            .map_or_else(CrashPoint::lives, |(write, moment)| {
                CrashPoint::dies_at(*write, *moment)
            })
    };
    for (number, tuning) in tunings.iter().enumerate() {
        let mine = crash_point();
        let mut session = world.session(&mine).map_err(failed(LAW, "open"))?;
        let applied = tuning.apply(&mut session);
        if !mine.is_dead() {
            let _ = applied.map_err(failed(LAW, "apply"))?;
        } else if number % 2 == 0 {
            let mine = crash_point();
            let mut session = world.session(&mine).map_err(failed(LAW, "open"))?;
            let reverted = session.revert();
            if !mine.is_dead() {
                let _ = reverted.map_err(failed(LAW, "revert"))?;
            }
        }
    }
    for (write, moment) in deaths {
        let mine = CrashPoint::dies_at(*write, *moment);
        let mut session = world.session(&mine).map_err(failed(LAW, "open"))?;
        let _ = session.revert();
        if !mine.is_dead() {
            break;
        }
    }
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let reverted = session.revert().map_err(failed(LAW, "the last revert"))?;
    if let Some(left) = reverted.not_reverted.first() {
        return Err(broken(LAW, left));
    }
    same(LAW, &was, &world.snapshot())?;
    no_journal_left(LAW, &world)
}

/// Law 4, second part: the next process rolls a crashed apply back to the last finished one, whatever that
/// process does.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn die_then_recover<W: World>(
    world: &W,
    finished: &impl Tuning,
    dying: &impl Tuning,
    deaths: &[Death],
) -> Result<(), Broken> {
    const LAW: &str = "recover after a crashed apply restores the last finished one";
    let world = world.fork();
    let first = world.snapshot();
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let _ = finished.apply(&mut session).map_err(failed(LAW, "apply"))?;
    let was = world.snapshot();
    let mut died = false;
    for (number, (write, moment)) in deaths.iter().enumerate() {
        let crash_point = CrashPoint::dies_at(*write, *moment);
        let mut session = world.session(&crash_point).map_err(failed(LAW, "open"))?;
        let result = if number == 0 {
            dying.apply(&mut session).map(drop)
        } else {
            session.recover().map(drop)
        };
        if !crash_point.is_dead() {
            result.map_err(failed(LAW, "apply or recover"))?;
            died |= number > 0;
            break;
        }
        died = true;
    }
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let _ = session.recover().map_err(failed(LAW, "recover"))?;
    let is = world.snapshot();
    // A crash after the apply's last record leaves a finished apply.
    if died && is != was {
        let plan = dying.plan(&session).map_err(failed(LAW, "plan"))?;
        if !plan.is_empty() {
            same(LAW, &was, &is)?;
        }
    }
    let _ = session.revert().map_err(failed(LAW, "revert"))?;
    same(LAW, &first, &world.snapshot())
}

/// Law 5: a value that another process sets between apply and revert survives the revert, and everything
/// else is reverted.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn stranger_survives<W: World>(
    world: &W,
    tuning: &impl Tuning,
    stranger: impl FnOnce(&W),
) -> Result<(), Broken> {
    const LAW: &str = "another process's change survives, everything else is reverted";
    let world = world.fork();
    let was = world.snapshot();
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let _ = tuning.apply(&mut session).map_err(failed(LAW, "apply"))?;
    let ours = world.snapshot();
    stranger(&world);
    let theirs = world.snapshot();
    let _ = session.revert().map_err(failed(LAW, "revert"))?;
    let mut wanted = was;
    for (key, value) in &theirs {
        if ours.get(key) != Some(value) {
            wanted.insert(key.clone(), value.clone());
        }
    }
    for key in ours.keys().filter(|key| !theirs.contains_key(*key)) {
        wanted.remove(key);
    }
    same(LAW, &wanted, &world.snapshot())
}

/// Law 6: a step that fails, before or after its change took effect, leaves the host in its original state.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn failing_step<W: World>(
    world: &W,
    tuning: &impl Tuning,
    change: u64,
    moment: Moment,
) -> Result<(), Broken> {
    const LAW: &str = "a failed step leaves the host in its original state";
    let world = world.fork();
    let was = world.snapshot();
    let crash_point = CrashPoint::fails_at(change, moment);
    let mut session = world.session(&crash_point).map_err(failed(LAW, "open"))?;
    match tuning.apply(&mut session) {
        // The apply ended before the change that should fail.
        Ok(_) if crash_point.changes() <= change => return Ok(()),
        Ok(_) => return Err(broken(LAW, "a failed change was reported as success")),
        Err(Error::RolledBack { cause }) => {
            if !matches!(cause.failure, StepFailure::Refused(_)) {
                return Err(broken(LAW, format!("the wrong cause: {cause:?}")));
            }
        }
        Err(error) => return Err(failed(LAW, "apply")(error)),
    }
    same(LAW, &was, &world.snapshot())?;
    no_journal_left(LAW, &world)
}

/// Law 7: plan and verify write nothing.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn plan_writes_nothing<W: World>(world: &W, tuning: &impl Tuning) -> Result<(), Broken> {
    const LAW: &str = "plan and verify write nothing";
    let world = world.fork();
    let was = world.snapshot();
    let crash_point = CrashPoint::lives();
    let session = world.session(&crash_point).map_err(failed(LAW, "open"))?;
    let _ = tuning.plan(&session).map_err(failed(LAW, "plan"))?;
    let _ = tuning.verify(&session).map_err(failed(LAW, "verify"))?;
    if crash_point.writes() != 0 || !world.store().is_empty() {
        return Err(broken(LAW, format!("{} writes", crash_point.writes())));
    }
    same(LAW, &was, &world.snapshot())
}

/// Law 8: formatting a model and parsing the text gives the same model.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn text_of_model<M: PartialEq + fmt::Debug, E: fmt::Display>(
    model: &M,
    write: impl FnOnce(&M) -> String,
    read: impl FnOnce(&str) -> Result<M, E>,
) -> Result<(), Broken> {
    const LAW: &str = "model → text → the same model";
    let text = write(model);
    match read(&text) {
        Ok(again) if again == *model => Ok(()),
        Ok(again) => Err(broken(LAW, format!("{model:?} → {text:?} → {again:?}"))),
        Err(error) => Err(broken(LAW, format!("{model:?} → {text:?}: {error}"))),
    }
}

/// Law 8: parsing a valid text and formatting the model gives the same text.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn model_of_text<M, E>(
    text: &str,
    read: impl FnOnce(&str) -> Result<M, E>,
    write: impl FnOnce(&M) -> String,
) -> Result<(), Broken> {
    const LAW: &str = "text → model → the same text";
    let Ok(model) = read(text) else { return Ok(()) };
    let again = write(&model);
    if again == text {
        Ok(())
    } else {
        Err(broken(LAW, format!("{text:?} → {again:?}")))
    }
}

/// Law 11: on an empty host, only hosttune's own persistent files are planned.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn nothing_on_an_empty_host<W: World>(empty: &W, tuning: &impl Tuning) -> Result<(), Broken> {
    const LAW: &str = "on an empty host only hosttune's own files are planned";
    let world = empty.fork();
    let session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let plan = tuning.plan(&session).map_err(failed(LAW, "plan"))?;
    match plan
        .steps
        .iter()
        .find(|step| step.lifetime != Lifetime::Disk)
    {
        None => Ok(()),
        Some(step) => Err(broken(LAW, &step.knob)),
    }
}

/// Law 12: on a host that supports everything, every request is applied and verified.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn what_is_offered_is_applied<W: World>(world: &W, tuning: &impl Tuning) -> Result<(), Broken> {
    const LAW: &str = "everything that the host supports is applied";
    let world = world.fork();
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let _ = tuning.apply(&mut session).map_err(failed(LAW, "apply"))?;
    let report = tuning.verify(&session).map_err(failed(LAW, "verify"))?;
    match report
        .items
        .iter()
        .find(|item| !matches!(item.state, State::Matches | State::Rounded))
    {
        None => Ok(()),
        Some(item) => Err(broken(LAW, item)),
    }
}

/// An action of one owner: an apply or a revert, with an optional crash.
#[derive(Debug, Clone)]
pub struct Act<T> {
    /// Number of the owner, from 0.
    pub owner: usize,
    /// The tuning to apply; `None` reverts.
    pub applies: Option<T>,
    /// What goes wrong meanwhile, if anything does.
    pub fault: Option<Fault>,
}

impl<T: Tuning> Act<T> {
    /// Starts a process of this owner that does it. Only what goes wrong may make it fail.
    fn done_in(&self, world: &impl World, owner: &str, law: &'static str) -> Result<(), Broken> {
        let crash_point = match self.fault {
            None => CrashPoint::lives(),
            Some(Fault::Dies((write, moment))) => CrashPoint::dies_at(write, moment),
            Some(Fault::Fails(failure)) => CrashPoint::call_fails(failure),
        };
        let mut session = world
            .session_of(owner, &crash_point)
            .map_err(failed(law, "open"))?;
        let done = match &self.applies {
            Some(tuning) => match tuning.apply(&mut session) {
                // A crashed apply of another owner may block this one.
                Err(Error::RolledBack { .. }) => Ok(()),
                other => other.map(drop),
            },
            None => session.revert().map(drop),
        };
        if self.fault.is_none()
            || matches!(self.fault, Some(Fault::Dies(_))) && !crash_point.is_dead()
        {
            done.map_err(failed(law, "apply or revert"))?;
        }
        Ok(())
    }
}

/// What goes wrong in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is killed.
    Dies(Death),
    /// One of its calls fails, or all calls from that one on.
    Fails(Failure),
}

/// Law 13: any number of owners apply and revert in any order, are killed, or have calls that fail. When
/// all of them have reverted, in any order, the host is in its original state.
///
/// `last` is the order of the final reverts, with every owner once.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn owners_in_any_order<W: World>(
    world: &W,
    acts: &[Act<impl Tuning>],
    last: &[usize],
) -> Result<(), Broken> {
    const LAW: &str = "reverts of all owners in any order restore the original state";
    let world = world.fork();
    let was = world.snapshot();
    let name = |owner: usize| format!("owner-{owner}");
    for act in acts {
        act.done_in(&world, &name(act.owner), LAW)?;
    }
    for owner in last {
        let mut session = world
            .session_of(&name(*owner), &CrashPoint::lives())
            .map_err(failed(LAW, "open"))?;
        let reverted = session.revert().map_err(failed(LAW, "the last revert"))?;
        if let Some(left) = reverted.not_reverted.first() {
            return Err(broken(LAW, format!("{}: {left}", name(*owner))));
        }
    }
    same(LAW, &was, &world.snapshot())?;
    no_journal_left(LAW, &world)
}

/// Law 14: if the kernel rounds by any rule that maps each value it shows to itself, an applied value is
/// accepted as requested, is not applied again, and is reverted exactly.
///
/// A value that rounds to the present value cannot be told from one that the kernel ignores. That step
/// fails and leaves the host in its original state.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn rounded_by_any_rule<W: World>(world: &W, tunings: &[impl Tuning]) -> Result<(), Broken> {
    const LAW: &str = "a value rounded by any rule satisfies the request and is reverted exactly";
    let world = world.fork();
    let was = world.snapshot();
    for tuning in tunings {
        let before = world.snapshot();
        let mut session = world
            .session(&CrashPoint::lives())
            .map_err(failed(LAW, "open"))?;
        let _ = match tuning.apply(&mut session) {
            Err(Error::RolledBack { cause })
                if matches!(cause.failure, StepFailure::NotTaken { .. }) =>
            {
                same(LAW, &before, &world.snapshot())?;
                continue;
            }
            other => other.map_err(failed(LAW, "apply"))?,
        };
        let report = tuning.verify(&session).map_err(failed(LAW, "verify"))?;
        if let Some(item) = report.items.iter().find(|item| item.state.is_drift()) {
            return Err(broken(LAW, item));
        }
        let plan = tuning.plan(&session).map_err(failed(LAW, "plan"))?;
        if let Some(step) = plan.steps.first() {
            return Err(broken(LAW, format!("{} is planned again", step.knob)));
        }
    }
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let reverted = session.revert().map_err(failed(LAW, "revert"))?;
    if let Some(left) = reverted.not_reverted.first() {
        return Err(broken(LAW, left));
    }
    same(LAW, &was, &world.snapshot())?;
    no_journal_left(LAW, &world)
}

/// Law 15: after another process damages any part of what was applied and it is applied again, a revert
/// restores the state before the first apply, or reports what it did not revert.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn damaged_and_repaired<W: World>(
    world: &W,
    tuning: &impl Tuning,
    damage: impl FnOnce(&W),
) -> Result<(), Broken> {
    const LAW: &str = "revert after damage and a second apply restores or reports every value";
    let world = world.fork();
    let was = world.snapshot();
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let _ = tuning.apply(&mut session).map_err(failed(LAW, "apply"))?;
    damage(&world);
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let _ = tuning
        .apply(&mut session)
        .map_err(failed(LAW, "apply again"))?;
    let mut session = world
        .session(&CrashPoint::lives())
        .map_err(failed(LAW, "open"))?;
    let reverted = session.revert().map_err(failed(LAW, "revert"))?;
    if !reverted.not_reverted.is_empty() {
        return Ok(());
    }
    same(LAW, &was, &world.snapshot())?;
    no_journal_left(LAW, &world)
}
