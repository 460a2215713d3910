//! `run`: a command that runs while the host is tuned.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
use hosttune_core::Applied;
use hosttune_core::host::RootKind;
use hosttune_run::account::{Account, invoker};
use hosttune_run::liveness::own_pid_namespace;
use hosttune_run::membership::Remaining;
use hosttune_run::signals::{HeldSignals, expect_children};
use hosttune_run::starter::{self, NotStarted, Start, StartReport, Starter};
use hosttune_run::supervision::{Beside, supervise};
use hosttune_run::watchdog::Watchdog;
use hosttune_run::weight::{CommandGroup, CommandWeight};
use hosttune_run::{Ended, ProcessId, RunRecord};

use super::colour::visible;
use super::ending::Ending;
use super::exit::Exit;
use super::failure::Failure;
use super::run::Run;
use super::run_helped::TunedBy;
use super::run_shared::WAIT_AT_THE_END;

/// How many times a watchdog that was killed is replaced during one run.
const WATCHDOGS: u32 = 8;

/// The arguments of `run`.
#[derive(Debug, Clone, Args)]
pub(super) struct RunArguments {
    /// Only show what would happen
    #[arg(long)]
    pub(super) explain: bool,
    /// Run the command as USER, a name or a number (default: who called sudo, doas or pkexec)
    #[arg(long = "as", value_name = "USER")]
    pub(super) account: Option<String>,
    /// Do not start the command if the host cannot be tuned (default: start it, and say so)
    #[arg(long)]
    pub(super) require: bool,
    /// The command's nice value, -20 to 19 (default: the profile's)
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = value_parser!(i32).range(-20..=19))]
    pub(super) nice: Option<i32>,
    /// Request this latency from PipeWire for the command alone: 256/48000 (PIPEWIRE_LATENCY)
    #[arg(long, value_name = "FRAMES/RATE", value_parser = latency)]
    pub(super) latency: Option<String>,
    /// Have the helper at SOCKET tune the host (default without root: /run/hosttune/run.sock)
    #[arg(long, value_name = "SOCKET")]
    pub(super) helper: Option<PathBuf>,
    /// Wait up to SECONDS for other processes that change the host, and for the helper
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub(super) wait: u16,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// The arguments of the hidden command that becomes the command of a run.
#[derive(Debug, Clone, Args)]
pub(super) struct StartArguments {
    runner: i32,
    go: i32,
    report: i32,
    start: String,
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// What `run` sets on the command that it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunSettings {
    nice: Option<i32>,
    /// A profile, and the part of the host that it stands for.
    pub(super) power_profile: Option<(&'static str, &'static str)>,
}

impl RunSettings {
    /// Nothing is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The nice value, −20 to 19. The kernel clamps what is beyond. The I/O priority follows it.
    #[must_use]
    pub fn nice(mut self, nice: i32) -> Self {
        self.nice = Some(nice);
        self
    }

    /// A power profile, `performance` or `power-saver`, which is held at the daemon that owns power profiles if one
    /// runs. It belongs to a part of the host: a run that leaves out the part holds nothing. What that part sets and
    /// the daemon owns is to be left to the daemon ([`Options::power_profile_is_held`](crate::Options)).
    #[must_use]
    pub fn power_profile(mut self, profile: &'static str, part: &'static str) -> Self {
        self.power_profile = Some((profile, part));
        self
    }
}

/// Two positive numbers, as PipeWire's clients read them.
fn latency(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0);
    match text.split_once('/') {
        Some((frames, rate)) if number(frames) && number(rate) => Ok(text.to_owned()),
        _ => Err("two positive numbers, frames and rate: 256/48000".to_owned()),
    }
}

/// Becomes the command of a run.
pub(super) fn start(name: &str, arguments: &StartArguments) -> Result<Exit, Failure> {
    let start: Start = serde_json::from_str(&arguments.start)?;
    let (runner, go, report) = (arguments.runner, arguments.go, arguments.report);
    let not = starter::become_command(runner, go, report, &start, &arguments.command);
    not_started(name, not)
}

/// Says why the command was not started, and ends.
fn not_started(name: &str, not: NotStarted) -> ! {
    if let Some(why) = not.why {
        let text = format!("{name}: {}\n", visible(&why));
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }
    not.ended.end_process()
}

impl Run<'_> {
    /// Runs a command, and ends this process as the command ended.
    pub(super) fn run_command(&mut self, arguments: &RunArguments) -> Result<Exit, Failure> {
        if self.global.json && !arguments.explain {
            return Err(Failure::usage(
                "--json has no effect on run: the output is the command's",
                "omit it, or add --explain",
            ));
        }
        let start = self.start_of(arguments)?;
        if arguments.explain {
            return self.explain_run(arguments, &start);
        }
        self.run_tuned(arguments, &start).end_process()
    }

    /// What the starter sets on itself.
    fn start_of(&self, arguments: &RunArguments) -> Result<Start, Failure> {
        let account = self.account(arguments)?;
        let mut environment = match &account {
            Some(account) => account.environment(runtime_directory(account).as_deref()),
            None => Vec::new(),
        };
        if let Some(latency) = &arguments.latency {
            environment.push(("PIPEWIRE_LATENCY".to_owned(), Some(latency.clone())));
        }
        Ok(Start {
            account,
            nice: arguments.nice.or(self.profile.run_settings().nice),
            environment,
        })
    }

    /// As whom the command runs; `None` for the user of this process.
    fn account(&self, arguments: &RunArguments) -> Result<Option<Account>, Failure> {
        let variable = |name: &str| std::env::var(name).ok();
        let is_root = self.is_root;
        let who = match &arguments.account {
            Some(who) => who.clone(),
            None => match invoker(variable).filter(|_| is_root) {
                Some(who) => who,
                None => return Ok(None),
            },
        };
        let (passwd, group) = (own_file("/etc/passwd"), own_file("/etc/group"));
        let account = Account::find(&who, &passwd, &group).or_else(|| {
            // sudo gives the numbers of an account that only a directory service knows.
            let number = |name| variable(name).and_then(|text| text.parse::<u32>().ok());
            let (uid, gid) = (number("SUDO_UID")?, number("SUDO_GID")?);
            let name = variable("SUDO_USER")?;
            let is_meant = who == name || who == uid.to_string();
            is_meant.then(|| Account::unlisted(&name, uid, gid, &group))
        });
        let Some(account) = account else {
            return Err(Failure::usage(
                format!("there is no user '{who}' in /etc/passwd"),
                "use --as with the name of a user of this machine",
            ));
        };
        if account.uid == rustix::process::getuid().as_raw() && !is_root {
            return Ok(None);
        }
        if !is_root {
            return Err(Failure::NeedsRoot {
                command: format!("--as {who}"),
                hint: "omit --as, or run it as root".to_owned(),
            });
        }
        Ok(Some(account))
    }

    /// Whether the host can be tuned by this process for the time of a command.
    fn can_run_tuned(&self) -> Result<(), Failure> {
        self.need_root("run")?;
        let session = self.session_of(&self.run_owner())?;
        if session.host().root_kind() == RootKind::Image {
            return Err(Failure::usage(
                "run needs a running kernel, and --root names an image",
                "omit --root",
            ));
        }
        Ok(())
    }

    fn run_tuned(&mut self, arguments: &RunArguments, start: &Start) -> Ended {
        let ran = match self.tuned_by(arguments) {
            TunedBy::ThisProcess => self.try_run_tuned(arguments, start),
            TunedBy::Helper(socket) => self.try_run_helped(&socket, arguments, start),
        };
        match ran {
            Ok(ended) => ended,
            Err(failure) => {
                let name = self.profile.name();
                self.streams.fail(name, &failure, false);
                if arguments.require {
                    self.streams.complain(&format!(
                        "{name}: the command was not started (--require)\n"
                    ));
                    return Ended::NOT_STARTED;
                }
                self.streams.complain(&format!(
                    "{name}: the command is started without the tuning\n"
                ));
                not_started(name, starter::execute(start, &arguments.command))
            }
        }
    }

    /// Runs the command tuned, or fails before it was started.
    fn try_run_tuned(&mut self, arguments: &RunArguments, start: &Start) -> Result<Ended, Failure> {
        self.can_run_tuned()?;
        expect_children().map_err(Failure::Process)?;
        let ending = self.ending("run")?;
        let runner = ProcessId::own().map_err(Failure::Process)?;
        let name = OsStr::new(self.profile.name());
        let of_run = self.hidden("run-start");
        let mut starter =
            Starter::spawn(name, &of_run, start, &arguments.command).map_err(Failure::Process)?;
        let mut watchdog = match self.start_watchdog(&runner) {
            Ok(watchdog) => watchdog,
            Err(failure) => {
                starter.dismiss();
                return Err(failure);
            }
        };
        match starter.report() {
            Ok(StartReport::Found { notes, .. }) => {
                for note in notes {
                    self.say(&note);
                }
            }
            Ok(StartReport::Failed { status, why }) => {
                self.say(&why);
                starter.dismiss();
                watchdog.dismiss();
                return Ok(Ended::Exited(status));
            }
            Err(error) => {
                starter.dismiss();
                watchdog.dismiss();
                return Err(Failure::Process(error));
            }
        }
        let nice = start.nice;
        let held = self.hold_power_profile(arguments.wait);
        if let Some(note) = &held.note {
            self.say(note);
        }
        let entered = self.entered(arguments, nice, &runner, &starter, &mut watchdog, &ending);
        let (applied, not_weighed, signals) = match entered {
            Ok(entered) => entered,
            Err(failure) => {
                starter.dismiss();
                watchdog.dismiss();
                // The user wanted it to end, and not to go on without the tuning.
                if ending.stop().is_requested() {
                    self.streams.fail(self.profile.name(), &failure, false);
                    return Ok(Ended::NOT_STARTED);
                }
                return Err(failure);
            }
        };
        let ended = if ending.stop().is_requested() {
            // A signal that came after the last step: nothing has rolled back.
            starter.dismiss();
            Ok(Ended::NOT_STARTED)
        } else {
            self.say_applied(&applied);
            // --explain has promised it.
            for why in not_weighed {
                self.say(&why);
            }
            self.supervised(starter, &signals, &runner, &mut watchdog)
        };
        let left = ending.at_work(|| {
            drop(signals);
            self.leave_run(Some(&runner), WAIT_AT_THE_END, false)
        });
        self.say_left(left, watchdog);
        if let Some(note) = held.release() {
            self.say(&note);
        }
        ended.or_else(|error| {
            self.streams
                .fail(self.profile.name(), &Failure::Process(error), false);
            Ok(Ended::NOT_STARTED)
        })
    }

    /// Applies the host as a run, and holds the signals from then on.
    fn entered(
        &self,
        arguments: &RunArguments,
        nice: Option<i32>,
        runner: &ProcessId,
        starter: &Starter,
        watchdog: &mut Watchdog,
        ending: &Ending,
    ) -> Result<(Applied, Vec<String>, HeldSignals), Failure> {
        let (process, _) = watchdog.ready(&runner.boot).map_err(Failure::Watchdog)?;
        let children = [starter.pid().as_raw_pid(), process.pid];
        let weight = nice.and_then(|nice| match self.command_group(&children) {
            CommandGroup::Own(group) => Some(CommandWeight { group, nice }),
            CommandGroup::NotOwn(_) => None,
        });
        let record = RunRecord {
            runner: runner.clone(),
            watchdog: Some(process),
            command_pid: starter.pid().as_raw_pid(),
            command: shown(&arguments.command),
            user: None,
            network_namespace: self.network_namespace()?,
            pid_namespace: own_pid_namespace().map_err(Failure::Process)?,
            power_profile: self.power_profile.clone(),
        };
        let wait = Duration::from_secs(arguments.wait.into());
        ending.at_work(|| {
            let (applied, not_weighed) = self.enter_run(&record, weight.as_ref(), wait, ending)?;
            match HeldSignals::hold() {
                Ok(signals) => Ok((applied, not_weighed, signals)),
                Err(error) => {
                    self.leave_run(Some(runner), WAIT_AT_THE_END, false)?;
                    Err(Failure::Signals(error))
                }
            }
        })
    }

    /// Whether the command has a control group to itself. `children` are the processes of the run.
    pub(super) fn command_group(&self, children: &[i32]) -> CommandGroup {
        match self.global.root {
            Some(_) => CommandGroup::NotOwn("--root names a tree".to_owned()),
            None => CommandGroup::of_this_process(children),
        }
    }

    /// Lets the command start, and waits until it has ended. A watchdog that dies meanwhile is replaced.
    fn supervised(
        &self,
        starter: Starter,
        signals: &HeldSignals,
        runner: &ProcessId,
        watchdog: &mut Watchdog,
    ) -> std::io::Result<Ended> {
        let pid = starter.pid();
        // If it has died, its end is seen below.
        let _ = starter.go();
        supervise(pid, signals, &mut KeptWatchdog::of(self, runner, watchdog))
    }

    pub(super) fn start_watchdog(&self, runner: &ProcessId) -> Result<Watchdog, Failure> {
        let mut arguments = self.hidden("run-watchdog");
        arguments.push(runner.pid.to_string().into());
        let name = OsStr::new(self.profile.name());
        Watchdog::spawn(name, &arguments).map_err(Failure::Watchdog)
    }

    /// The arguments of a hidden command of this program for the same host.
    fn hidden(&self, command: &str) -> Vec<OsString> {
        let mut arguments = Vec::new();
        if let Some(root) = &self.global.root {
            arguments.extend(["--root".into(), root.clone().into_os_string()]);
        }
        arguments.push(command.into());
        arguments
    }

    pub(super) fn say(&mut self, text: &str) {
        let name = self.profile.name();
        self.streams
            .complain(&format!("{name}: {}\n", visible(text)));
    }

    /// Says what was set, only to a person: standard error is the command's as well.
    fn say_applied(&mut self, applied: &Applied) {
        if self.streams.shows_progress {
            // Its first line is the number of changes, and each other a setting that is not in effect.
            let others = applied.to_string().lines().skip(1).count();
            let mut text = super::text::count(applied.changed.len(), "change", "changes");
            text.push_str(" until the command has ended");
            if others > 0 {
                let others = super::text::count(others, "setting", "settings");
                text.push_str(&format!(
                    "; {others} not in effect (run --explain shows them)"
                ));
            }
            self.say(&text);
        }
    }

    /// Says what became of the tuning, and ends the watchdog unless it is to go on.
    fn say_left(
        &mut self,
        left: Result<(Remaining, Option<hosttune_core::Reverted>), Failure>,
        watchdog: Watchdog,
    ) {
        match left {
            Ok((remaining, reverted)) => {
                watchdog.dismiss();
                if let Remaining::Held(others) = remaining
                    && self.streams.shows_progress
                {
                    let others = super::text::count(others, "other command", "other commands");
                    self.say(&format!("the tuning is kept for {others}"));
                }
                if let Remaining::Held(_) = remaining
                    && let Ok(runs) = self.runs()
                {
                    self.say_unknown(&runs);
                }
                let Some(reverted) = reverted else { return };
                if !reverted.not_reverted.is_empty() || reverted.unrecorded.is_some() {
                    for line in reverted.to_string().lines() {
                        self.say(line);
                    }
                } else if self.streams.shows_progress {
                    self.say(&reverted.to_string());
                }
            }
            Err(failure) => {
                self.streams.fail(self.profile.name(), &failure, false);
                if failure.is_locked() {
                    // It sees this process end, and waits for the lock as long as it takes.
                    self.say("it is reverted as soon as that process has ended");
                } else {
                    watchdog.dismiss();
                }
            }
        }
    }
}

/// The watchdog of a run, which is replaced if it dies.
pub(super) struct KeptWatchdog<'a> {
    run: &'a Run<'a>,
    runner: &'a ProcessId,
    watchdog: &'a mut Watchdog,
    replaced: u32,
}

impl<'a> KeptWatchdog<'a> {
    pub(super) fn of(run: &'a Run<'a>, runner: &'a ProcessId, watchdog: &'a mut Watchdog) -> Self {
        Self {
            run,
            runner,
            watchdog,
            replaced: 0,
        }
    }

    /// A descriptor that can be read once it has ended; `None` if it has ended for good.
    pub(super) fn ended(&mut self) -> Option<OwnedFd> {
        if self.watchdog.has_died() {
            self.replace_if_dead();
        }
        self.watchdog.ended().ok()
    }

    /// Starts another one if it has died.
    pub(super) fn replace_if_dead(&mut self) {
        if self.replaced < WATCHDOGS && self.watchdog.has_died() {
            self.replaced += 1;
            if let Ok(mut new) = self.run.start_watchdog(self.runner)
                && let Ok((process, _)) = new.ready(&self.runner.boot)
            {
                // Without the record, status does not show it.
                let _ = self.run.change_watchdog(self.runner, &process);
                *self.watchdog = new;
            }
        }
    }
}

impl Beside for KeptWatchdog<'_> {
    fn on_child(&mut self) {
        self.replace_if_dead();
    }
}

/// A command as a person would type it.
pub(super) fn shown(command: &[OsString]) -> String {
    let words = command
        .iter()
        .map(|word| word.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

/// The runtime directory of an account, if it exists and belongs to it.
fn runtime_directory(account: &Account) -> Option<String> {
    let path = format!("/run/user/{}", account.uid);
    let stat = rustix::fs::lstat(path.as_str()).ok()?;
    (stat.st_uid == account.uid).then_some(path)
}

/// A file about this process's users; empty if there is none.
#[expect(
    clippy::disallowed_methods,
    reason = "the command runs on this machine and as one of its users, also with --root"
)]
fn own_file(path: &str) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_two_positive_numbers() {
        assert_eq!(latency("256/48000").as_deref(), Ok("256/48000"));
        for wrong in ["256", "0/48000", "256/0", "/", "a/b", "256/48000/1", "-1/2"] {
            assert!(latency(wrong).is_err(), "{wrong}");
        }
    }
}
