//! What the runs of a host share: the records, the journal, and who reverts.

use std::time::{Duration, Instant};

use hosttune_core::{Applied, Host, LinuxHost, Reverted, Session, State, Status, Tuning};
use hosttune_run::liveness::{Liveness, SeenProcesses};
use hosttune_run::membership::{self, Remaining, Shared};
use hosttune_run::priority::ProcessorShare;
use hosttune_run::weight::CommandWeight;
use hosttune_run::{ProcessId, RunFile, RunRecord, RunRecords};

use super::colour::visible_lines;
use super::ending::Ending;
use super::exit::Exit;
use super::failure::Failure;
use super::run::Run;

/// The interval between two tries while another process changes the host.
const AGAIN: Duration = Duration::from_millis(10);

/// How long the end of a run waits for another process that changes the host. After that the watchdog
/// waits instead.
pub(super) const WAIT_AT_THE_END: Duration = Duration::from_secs(30);

/// The records and the journal of a host's runs.
///
/// The runs have a journal of their own, as the owner `NAME.run`: what `apply` has set stays when a run
/// ends, and what a run has set stays when `revert` is called. The engine keeps a value that both want.
pub(super) struct TunedRuns<'a> {
    run: &'a Run<'a>,
    file: RunFile,
    processes: SeenProcesses,
    force: bool,
    wait: Duration,
    /// The result of the last revert.
    pub(super) reverted: Option<Reverted>,
}

impl<'a> TunedRuns<'a> {
    fn of(run: &'a Run<'a>, wait: Duration) -> Result<Self, Failure> {
        Ok(Self {
            run,
            file: run.run_file()?,
            processes: SeenProcesses::now().map_err(Failure::Process)?,
            force: false,
            wait,
            reverted: None,
        })
    }

    fn session(&self) -> Result<Session, Failure> {
        self.run.session_of(&self.run.run_owner())
    }

    fn status(&self) -> Result<Status, Failure> {
        Ok(self.session()?.status()?)
    }

    /// Does something under the lock of the records.
    fn locked<T>(
        &mut self,
        is_stopped: impl Fn() -> bool,
        work: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let note = format!("process {}, {}", std::process::id(), self.run.run_owner());
        self.file.lock(&note, self.wait, is_stopped)?;
        let done = work(self);
        self.file.unlock();
        done
    }
}

/// Repeats `change` while another process changes the host.
fn unless_locked<T>(
    wait: Duration,
    is_stopped: impl Fn() -> bool,
    mut change: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        match change() {
            Err(failure) if failure.is_locked() && begun.elapsed() < wait && !is_stopped() => {
                std::thread::sleep(AGAIN);
            }
            other => return other,
        }
    }
}

/// Why a command's control group has not the weight of its nice value, for people.
pub(super) fn why_not_weighed(
    weight: &CommandWeight,
    weighed: &Result<Applied, Failure>,
) -> Vec<String> {
    match weighed {
        Ok(weighed) => {
            let findings = weighed.findings.iter();
            let not = findings.filter(|finding| !matches!(finding.state, State::Matches));
            not.map(ToString::to_string).collect()
        }
        Err(failure) => {
            let mut text = format!("{} was not set: {failure}", weight.group);
            for cause in failure.chain() {
                text.push_str(&format!(": {cause}"));
            }
            vec![text]
        }
    }
}

impl Shared for TunedRuns<'_> {
    type Error = Failure;

    fn records(&self) -> Result<Option<RunRecords>, Failure> {
        Ok(self.file.read()?)
    }

    fn set_records(&mut self, records: Option<&RunRecords>) -> Result<(), Failure> {
        Ok(self.file.write(records)?)
    }

    fn liveness(&self, run: &RunRecord) -> Liveness {
        self.processes.liveness(run)
    }

    fn has_pending(&self) -> Result<bool, Failure> {
        let status = self.status()?;
        Ok(!status.pending.is_empty() || status.open.is_some())
    }

    fn network_namespace(&self) -> Result<Option<String>, Failure> {
        self.run.network_namespace()
    }

    fn revert_network_namespace(&mut self) -> Result<(), Failure> {
        let reverted = unless_locked(
            self.wait,
            || false,
            || Ok(self.session()?.revert_network_namespace()?),
        )?;
        self.reverted = Some(reverted);
        Ok(())
    }

    fn revert(&mut self) -> Result<bool, Failure> {
        let reverted = unless_locked(
            self.wait,
            || false,
            || {
                let mut session = self.session()?;
                session.force(self.force);
                Ok(session.revert()?)
            },
        )?;
        self.reverted = Some(reverted);
        Ok(!self.has_pending()?)
    }
}

/// The runs of a host and what they hold, for `status`.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Those whose runner has not ended, as far as that is known.
    pub(super) active: RunRecords,
    /// Those of them of which it is not known, because they are in a PID namespace that is not seen from here.
    pub(super) unknown: RunRecords,
    /// What decides about the processor time of the command of each; `None` if its process is not seen.
    pub(super) shares: Vec<Option<ProcessorShare>>,
    /// The changes that are reverted when the last of them ends.
    pub(super) status: Status,
}

impl Runs {
    /// The runs, each with what decides about its processor time.
    pub(super) fn each(&self) -> impl Iterator<Item = (&RunRecord, Option<&ProcessorShare>)> {
        let mut shares = self.shares.iter();
        let runs = self.active.0.iter();
        runs.map(move |run| (run, shares.next().and_then(Option::as_ref)))
    }
}

impl Run<'_> {
    /// The owner of the runs' journal.
    pub(super) fn run_owner(&self) -> String {
        format!("{}.run", self.profile.name())
    }

    /// The network namespace of this process, for the record of a run.
    pub(super) fn network_namespace(&self) -> Result<Option<String>, Failure> {
        let host = match &self.global.root {
            Some(root) => LinuxHost::at(root),
            None => LinuxHost::live(),
        };
        let host = Host::new(host.map_err(hosttune_core::Error::from)?);
        Ok(host
            .network_namespace()
            .map_err(hosttune_core::Error::from)?)
    }

    fn run_file(&self) -> Result<RunFile, Failure> {
        let host = match &self.global.root {
            Some(root) => LinuxHost::at(root),
            None => LinuxHost::live(),
        };
        let host = host.map_err(hosttune_core::Error::from)?;
        Ok(RunFile::new(&host, &self.run_owner())?)
    }

    /// Adds a run and applies the host for it, and then the weight of the command's control group. Returns what was
    /// changed, and why the weight is not set.
    pub(super) fn enter_run(
        &self,
        record: &RunRecord,
        weight: Option<&CommandWeight>,
        wait: Duration,
        ending: &Ending,
    ) -> Result<(Applied, Vec<String>), Failure> {
        let stop = ending.stop();
        let is_stopped = || stop.is_requested();
        let mut runs = TunedRuns::of(self, wait)?;
        runs.locked(is_stopped, |runs| {
            membership::enter(runs, record, |runs| {
                let mut applied = unless_locked(wait, is_stopped, || {
                    let mut session = runs.session()?;
                    session.stopped_by(ending.stop());
                    let tuning = self.tuning(&session)?;
                    let mut session = self.narrowed(session, &*tuning)?;
                    Ok(session.apply_reviewed(|at| tuning.declare(at), |_| true)?)
                })?;
                let mut not_weighed = Vec::new();
                if let Some(weight) = weight {
                    // By itself: --only limits the host and not what is the command's own.
                    let weighed =
                        unless_locked(wait, is_stopped, || Ok(weight.apply(&mut runs.session()?)?));
                    not_weighed = why_not_weighed(weight, &weighed);
                    if let Ok(weighed) = weighed {
                        applied.changed.extend(weighed.changed);
                        applied.findings.extend(weighed.findings);
                    }
                }
                Ok((applied, not_weighed))
            })
        })
    }

    /// Removes a run, or with `None` those that were killed, and reverts if no other is left.
    pub(super) fn leave_run(
        &self,
        runner: Option<&ProcessId>,
        wait: Duration,
        force: bool,
    ) -> Result<(Remaining, Option<Reverted>), Failure> {
        let mut runs = TunedRuns::of(self, wait)?;
        runs.force = force;
        let remaining = runs.locked(|| false, |runs| membership::leave(runs, runner))?;
        Ok((remaining, runs.reverted))
    }

    /// Records another watchdog of a run.
    pub(super) fn change_watchdog(
        &self,
        runner: &ProcessId,
        watchdog: &ProcessId,
    ) -> Result<(), Failure> {
        let mut runs = TunedRuns::of(self, Duration::from_secs(1))?;
        runs.locked(
            || false,
            |runs| {
                let mut records = runs.records()?.unwrap_or_default();
                for run in records.0.iter_mut().filter(|run| run.runner == *runner) {
                    run.watchdog = Some(watchdog.clone());
                }
                runs.set_records(Some(&records))
            },
        )
    }

    /// Reverts what killed runs have left, before a command that changes the host. A failure is said and
    /// does not stop the command; the next one tries again.
    ///
    /// A revert does so again at its end and says it then: `is_said` is false.
    pub(super) fn revert_killed_runs(&mut self, is_said: bool) {
        match self.try_revert_killed_runs(false, Duration::ZERO) {
            Ok(Some(reverted)) if !reverted.undone.is_empty() => {
                let name = self.profile.name();
                self.streams.complain(&format!(
                    "{name}: left by a run that was killed: {}\n",
                    visible_lines(&reverted.to_string())
                ));
            }
            // A run that begins or ends right now looks after it.
            Err(failure) if failure.is_locked() => {}
            Err(failure) if is_said => self.streams.fail(self.profile.name(), &failure, false),
            Ok(_) | Err(_) => {}
        }
    }

    /// Reverts what killed runs have left and adds it to the result of a revert. Returns notes about it.
    ///
    /// # Errors
    /// If nothing of that could be reverted, so that it is left.
    pub(super) fn reverted_of_killed_runs(
        &mut self,
        force: bool,
        reverted: &mut Reverted,
    ) -> Result<Vec<String>, Failure> {
        match self.try_revert_killed_runs(force, Duration::ZERO) {
            Ok(Some(left)) => {
                let changes = left.undone.len() + left.not_reverted.len();
                reverted.undone.extend(left.undone);
                reverted.not_reverted.extend(left.not_reverted);
                reverted.unrecorded = reverted.unrecorded.take().or(left.unrecorded);
                let mut notes = left.notes;
                if changes > 0 {
                    let changes = super::text::count(changes, "change", "changes");
                    notes.push(format!("{changes} of these by runs that have ended"));
                }
                Ok(notes)
            }
            // A run that begins or ends right now looks after it.
            Err(failure) if !failure.is_locked() => Err(Failure::LeftByRuns(Box::new(failure))),
            Err(_) | Ok(None) => Ok(Vec::new()),
        }
    }

    /// What killed runs have left, reverted; `None` if there is nothing, or other runs hold it.
    pub(super) fn try_revert_killed_runs(
        &self,
        force: bool,
        wait: Duration,
    ) -> Result<Option<Reverted>, Failure> {
        let is_live = self.global.root.is_none() && self.is_root;
        if is_live && !RunFile::may_exist(&self.run_owner()) {
            return Ok(None);
        }
        let file = self.run_file()?;
        let Some(records) = file.read()? else {
            // The records end with the boot. A journal that does not is looked for by itself.
            if !file.has_persistent_journal()? {
                return Ok(None);
            }
            return Ok(self.leave_run(None, wait, force)?.1);
        };
        let processes = SeenProcesses::now().map_err(Failure::Process)?;
        let active = records.not_ended(|run| processes.liveness(run));
        if !active.0.is_empty() {
            // Those of other network namespaces do not hold what belongs to this one.
            let here = self.network_namespace()?;
            let is_other =
                |run: &RunRecord| run.network_namespace.is_some() && run.network_namespace != here;
            if here.is_none() || !active.0.iter().all(is_other) {
                return Ok(None);
            }
        }
        Ok(self.leave_run(None, wait, force)?.1)
    }

    /// Says after a revert what commands that still run keep changed. Returns whether a part of that is kept only
    /// because it is not known whether they run.
    pub(super) fn say_what_runs_hold(&mut self) -> bool {
        let Ok(runs) = self.runs() else { return false };
        if runs.active.0.is_empty() {
            return false;
        }
        let name = self.profile.name();
        if !runs.unknown.0.is_empty() {
            self.say_unknown(&runs);
            return !runs.status.pending.is_empty();
        }
        self.streams.complain(&format!(
            "{name}: {} kept until a command that runs tuned has ended: {}\n",
            super::text::count(runs.status.pending.len(), "change is", "changes are"),
            self.global.invocation(name, "status"),
        ));
        false
    }

    /// Says of which runs it cannot be known from here whether they still run, and where it can.
    pub(super) fn say_unknown(&mut self, runs: &Runs) {
        let held = super::text::count(runs.status.pending.len(), "change is", "changes are");
        for run in &runs.unknown.0 {
            let revert = self.global.invocation(self.profile.name(), "revert");
            self.say(&format!(
                "{held} kept: whether process {} runs, which runs {}, cannot be known from this PID namespace; \
                 it is one of {}",
                run.runner.pid,
                run.command,
                run.pid_namespace.as_deref().unwrap_or("another one")
            ));
            self.streams.complain(&format!(
                "  try: outside of the container, in the initial PID namespace: {revert}\n"
            ));
        }
    }

    /// The runs and what they hold. Only reads.
    pub(super) fn runs(&self) -> Result<Runs, Failure> {
        let file = self.run_file()?;
        let records = match file.read() {
            Ok(Some(records)) => records,
            Ok(None) if file.has_persistent_journal().unwrap_or(false) => RunRecords::default(),
            // The notes of the status say whose journal a user sees.
            Ok(None) => return Ok(Runs::default()),
            Err(failure) if failure.is_denied() => return Ok(Runs::default()),
            Err(failure) => return Err(failure.into()),
        };
        let processes = SeenProcesses::now().map_err(Failure::Process)?;
        let active = records.not_ended(|run| processes.liveness(run));
        let unknown = active.0.iter();
        let unknown = unknown.filter(|run| processes.liveness(run) == Liveness::Unknown);
        // Under the same number there is another process here.
        let share = |run: &RunRecord| match processes.has_numbers_of(run) {
            true => ProcessorShare::of(run.command_pid),
            false => None,
        };
        Ok(Runs {
            shares: active.0.iter().map(share).collect(),
            unknown: RunRecords(unknown.cloned().collect()),
            active,
            status: self.session_of(&self.run_owner())?.status()?,
        })
    }

    /// The hidden command that watches over a run.
    pub(super) fn watch_over_run(&mut self, runner: i32) -> Result<Exit, Failure> {
        let is_live = self.global.root.is_none();
        if is_live {
            // Nothing is read relative to it, and a file system that is in use cannot be unmounted.
            let _ = rustix::process::chdir("/");
        }
        let watched = hosttune_run::watchdog::watch(runner, is_live).map_err(Failure::Process)?;
        if watched == hosttune_run::watchdog::Watched::Dismissed {
            return Ok(Exit::Done);
        }
        loop {
            match self.leave_run(None, WAIT_AT_THE_END, false) {
                Ok((_, Some(reverted))) => {
                    let name = self.profile.name();
                    self.streams.complain(&format!(
                        "{name}: the process {runner} of a run was killed: {}\n",
                        visible_lines(&reverted.to_string())
                    ));
                    return Ok(Exit::of_reverted(&reverted));
                }
                Ok((_, None)) => return Ok(Exit::Done),
                // Another process asks its user, for example. It will end at some time.
                Err(failure) if failure.is_locked() => {}
                Err(failure) => return Err(failure),
            }
        }
    }
}
