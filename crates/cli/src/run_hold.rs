//! `run-hold`: the host program's side of a lease that the helper has given to a user's command.
//!
//! It is a run like any other: it has a record and a watchdog, and the last run of the host reverts. What keeps it
//! open is the connection to the client instead of a command.

use std::os::fd::AsFd;
use std::time::Duration;

use hosttune_core::{Applied, Reverted};
use hosttune_helper::lease::{Lease, Wake};
use hosttune_helper::protocol::{Admitted, Answer, Left, Outcome, RefusalCode, Request, Tuned};
use hosttune_run::liveness::own_pid_namespace;
use hosttune_run::membership::Remaining;
use hosttune_run::watchdog::Watchdog;
use hosttune_run::{ProcessId, RunRecord};

use super::arguments::Global;
use super::colour::{visible, visible_lines};
use super::exit::Exit;
use super::failure::Failure;
use super::run::Run;
use super::run_command::KeptWatchdog;
use super::run_shared::WAIT_AT_THE_END;

impl Run<'_> {
    /// Holds the host tuned until the connection on standard output ends.
    pub(super) fn hold_run(&mut self) -> Result<Exit, Failure> {
        let (lease, request) = Lease::take()?;
        self.need_root("run-hold")?;
        let open = self.profile.open_to_users();
        match open.admit(self.profile.name(), &request, self.profile.settings()) {
            // The root directory is the helper's and not the user's.
            Ok(admitted) => {
                self.global = Global {
                    root: self.global.root.take(),
                    ..admitted
                };
            }
            Err(not) => {
                // If the client has gone, nobody is told.
                let _ = lease.answer(&Answer::refused(
                    RefusalCode::NotOpen,
                    not.why,
                    Some(not.hint),
                ));
                return Ok(Exit::Refused);
            }
        }
        let checked = self.check_candidates();
        if request.explain && checked.is_ok() {
            // If the client has gone, nobody is told.
            let _ = lease.answer(&Answer::new(Outcome::Admitted(self.admitted(&request))));
            return Ok(Exit::Done);
        }
        match checked.and_then(|()| self.hold(&lease, &request)) {
            Ok(exit) => Ok(exit),
            Err(failure) => {
                let mut why = failure.to_string();
                for cause in failure.chain() {
                    why.push_str(": ");
                    why.push_str(&cause);
                }
                let _ = lease.answer(&Answer::refused(RefusalCode::Failed, why, failure.hint()));
                Err(failure)
            }
        }
    }

    /// The same for an admitted request. An error means that nothing was tuned.
    fn hold(&mut self, lease: &Lease, request: &Request) -> Result<Exit, Failure> {
        // Executed by its descriptor, it is named by a number.
        if let Ok(name) = std::ffi::CString::new(self.profile.name()) {
            let _ = rustix::thread::set_name(&name);
        }
        // A client that was killed meanwhile has nothing tuned for it.
        if lease.has_ended() {
            return Ok(Exit::Refused);
        }
        let ending = self.ending("run")?;
        let runner = ProcessId::own().map_err(Failure::Process)?;
        let mut watchdog = self.start_watchdog(&runner)?;
        let held = self.hold_power_profile(request.wait);
        let entered = watchdog
            .ready(&runner.boot)
            .map_err(Failure::Watchdog)
            .and_then(|(process, _)| {
                let record = RunRecord {
                    runner: runner.clone(),
                    watchdog: Some(process),
                    command_pid: lease.peer.pid,
                    command: request.command.clone(),
                    user: Some(lease.peer.uid),
                    network_namespace: self.network_namespace()?,
                    pid_namespace: own_pid_namespace().map_err(Failure::Process)?,
                    power_profile: self.power_profile.clone(),
                };
                let wait = Duration::from_secs(request.wait.into());
                ending.at_work(|| Ok(self.enter_run(&record, None, wait, &ending)?.0))
            });
        let applied = match entered {
            Ok(applied) => applied,
            Err(failure) => {
                watchdog.dismiss();
                return Err(failure);
            }
        };
        let mut tuned = self.tuned(&applied, lease, request);
        tuned.notes.extend(held.note.clone());
        // A client that has gone by now has closed the connection, which ends the wait below at once.
        let _ = lease.answer(&Answer::new(Outcome::Tuned(tuned)));
        if !ending.stop().is_requested() {
            self.wait_for_end(lease, &runner, &mut watchdog);
        }
        let left = ending.at_work(|| self.leave_run(Some(&runner), WAIT_AT_THE_END, false));
        let (mut left, exit) = self.left(left, watchdog);
        left.problems.extend(held.release());
        let _ = lease.answer(&Answer::new(Outcome::Left(left)));
        Ok(exit)
    }

    /// Sleeps until the lease has ended. A termination signal ends this process here, and its watchdog reverts.
    fn wait_for_end(&self, lease: &Lease, runner: &ProcessId, watchdog: &mut Watchdog) {
        let mut kept = KeptWatchdog::of(self, runner, watchdog);
        loop {
            // One that has died and is not replaced has no descriptor, and is not waited for.
            let ended = kept.ended();
            match lease.wait(ended.as_ref().map(AsFd::as_fd)) {
                Ok(Wake::Other) => kept.replace_if_dead(),
                Ok(Wake::Interrupted) => {}
                // What cannot be waited for is not held.
                Ok(Wake::Ended) | Err(_) => return,
            }
        }
    }

    /// What a client is told that only asks.
    fn admitted(&self, request: &Request) -> Admitted {
        let mut admitted = Admitted::default();
        if let Some(nice) = request.nice {
            let open = self.profile.open_to_users();
            match open.admit_nice(self.profile.name(), nice) {
                Ok(nice) => admitted.nice = Some(nice),
                Err(why) => admitted.notes.push(why),
            }
        }
        admitted
    }

    /// What the client is told, after its nice value was set.
    fn tuned(&self, applied: &Applied, lease: &Lease, request: &Request) -> Tuned {
        let mut tuned = Tuned {
            changes: applied.changed.len(),
            // The first line is the number of changes, and each other one a setting that is not in effect.
            not_in_effect: applied.to_string().lines().skip(1).count(),
            ..Tuned::default()
        };
        if let Some(nice) = request.nice {
            let open = self.profile.open_to_users();
            let set = open.admit_nice(self.profile.name(), nice).and_then(|nice| {
                let set = lease.peer.set_nice(nice);
                set.map_err(|error| format!("cannot set the nice value to {nice}: {error}"))
            });
            match set {
                Ok(nice) => tuned.nice = Some(nice),
                Err(why) => tuned.notes.push(why),
            }
        }
        tuned
    }

    /// What the client is told at the end, and the exit code.
    fn left(
        &mut self,
        left: Result<(Remaining, Option<Reverted>), Failure>,
        watchdog: Watchdog,
    ) -> (Left, Exit) {
        let name = self.profile.name();
        let mut told = Left::default();
        let exit = match left {
            Ok((remaining, reverted)) => {
                watchdog.dismiss();
                if let Remaining::Held(others) = remaining {
                    told.others = others;
                    if let Ok(runs) = self.runs() {
                        self.say_unknown(&runs);
                    }
                }
                match reverted {
                    Some(reverted)
                        if !reverted.not_reverted.is_empty() || reverted.unrecorded.is_some() =>
                    {
                        told.problems = reverted.to_string().lines().map(str::to_owned).collect();
                        Exit::of_reverted(&reverted)
                    }
                    _ => Exit::Done,
                }
            }
            Err(failure) => {
                told.problems.push(failure.to_string());
                if failure.is_locked() {
                    // It sees this process end, and waits for the lock as long as it takes.
                    told.problems
                        .push("it is reverted as soon as that process has ended".to_owned());
                } else {
                    watchdog.dismiss();
                }
                failure.exit()
            }
        };
        for problem in &told.problems {
            self.streams
                .complain(&format!("{name}: {}\n", visible(problem)));
        }
        (told, exit)
    }

    /// `run-recover`: reverts what killed runs have left, however long another process changes the host.
    pub(super) fn recover_runs(&mut self) -> Result<Exit, Failure> {
        self.need_root("run-recover")?;
        loop {
            match self.try_revert_killed_runs(false, WAIT_AT_THE_END) {
                Ok(Some(reverted)) => {
                    let name = self.profile.name();
                    if !reverted.undone.is_empty() || !reverted.not_reverted.is_empty() {
                        self.streams.complain(&format!(
                            "{name}: left by a run that was killed: {}\n",
                            visible_lines(&reverted.to_string())
                        ));
                    }
                    return Ok(Exit::of_reverted(&reverted));
                }
                Ok(None) => return Ok(Exit::Done),
                Err(failure) if failure.is_locked() => {}
                Err(failure) => return Err(failure),
            }
        }
    }
}
