//! `run` without root: the helper tunes the host, and the command runs beside it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hosttune_helper::client::{Arrived, Connection, Unavailable};
use hosttune_helper::protocol::{LONGEST_WAIT, Left, Request, Tuned};
use hosttune_run::Ended;
use hosttune_run::signals::{HeldSignals, expect_children};
use hosttune_run::starter::{self, Start, StartReport, Starter};
use hosttune_run::supervision::{Beside, supervise};

use super::colour::visible;
use super::failure::Failure;
use super::helper_hint::{Surroundings, hint};
use super::run::Run;
use super::run_command::{RunArguments, shown};
use super::run_shared::WAIT_AT_THE_END;
use super::text::count;

/// How many times a helper whose side of the lease was killed is asked again during one run.
const ASKED_AGAIN: u32 = 8;

/// How long nothing is asked of a helper that has closed the connection without an answer.
const BEFORE_ASKED_AGAIN: Duration = Duration::from_millis(50);

/// Who tunes the host for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TunedBy {
    /// This process, which is root or works on a tree.
    ThisProcess,
    /// The helper on this socket.
    Helper(PathBuf),
}

impl Run<'_> {
    /// Who tunes the host for a run.
    pub(super) fn tuned_by(&self, arguments: &RunArguments) -> TunedBy {
        match &arguments.helper {
            Some(socket) => TunedBy::Helper(socket.clone()),
            None if self.need_root("run").is_ok() => TunedBy::ThisProcess,
            None => TunedBy::Helper(hosttune_helper::SOCKET.into()),
        }
    }

    /// What the helper is asked for.
    pub(super) fn request(&self, arguments: &RunArguments, start: &Start) -> Request {
        let mut request = Request::new(self.profile.name(), &shown(&arguments.command))
            .only(self.global.only.iter().cloned());
        request.with.clone_from(&self.global.with);
        request.set.clone_from(&self.global.set);
        request.strict = self.global.strict;
        // A user may raise the value, and only root may lower it.
        let own = rustix::process::getpriority_process(None).unwrap_or(0);
        request.nice = start.nice.filter(|&nice| nice < own);
        // The host program gives up first, and says why.
        let wait = arguments.wait.min(LONGEST_WAIT);
        request.wait = wait - wait / 5;
        request
    }

    /// The helper tunes no tree that its user names.
    pub(super) fn need_no_tree(&self) -> Result<(), Failure> {
        match self.global.root {
            Some(_) => Err(Failure::usage(
                "the helper tunes the running system, and --root names a tree",
                "omit --root or --helper",
            )),
            None => Ok(()),
        }
    }

    /// Connects and asks, at most for the time of `--wait`. A helper that ends before it has answered, as one does that
    /// is upgraded, is asked again.
    fn asked(
        &self,
        socket: &Path,
        arguments: &RunArguments,
        request: &Request,
    ) -> Result<(Connection, Tuned), Failure> {
        let until = Instant::now() + Duration::from_secs(arguments.wait.into());
        let ask = || {
            let mut connection = Connection::open(socket, until)?;
            let tuned = connection.ask(request, until)?;
            Ok((connection, tuned))
        };
        let mut asked = ask();
        let mut again = 0;
        while matches!(asked, Err(Unavailable::Closed))
            && again < ASKED_AGAIN
            && Instant::now() < until
        {
            again += 1;
            // systemd starts the next one after half a second, and holds the connection until then.
            std::thread::sleep(BEFORE_ASKED_AGAIN);
            asked = ask();
        }
        asked.map_err(|why| self.unavailable(why))
    }

    /// Why the helper does not tune the host, and what to type.
    pub(super) fn unavailable(&self, why: Unavailable) -> Failure {
        let hint = hint(&why, self.profile.name(), &Surroundings::of_this_process());
        Failure::Helper { why, hint }
    }

    /// Runs the command while the helper keeps the host tuned, or fails before it was started.
    pub(super) fn try_run_helped(
        &mut self,
        socket: &Path,
        arguments: &RunArguments,
        start: &Start,
    ) -> Result<Ended, Failure> {
        self.need_no_tree()?;
        // Before anything is changed. The identity is that of the command already.
        if let StartReport::Failed { status, why } = starter::find(&arguments.command, Vec::new()) {
            self.say(&why);
            return Ok(Ended::Exited(status));
        }
        expect_children().map_err(Failure::Process)?;
        let ending = self.ending("run")?;
        let request = self.request(arguments, start);
        // A signal ends this process here, and with it the connection.
        let (connection, tuned) = self.asked(socket, arguments, &request)?;
        self.say_tuned(&tuned);
        let start = Start {
            // The command inherits it from this process, on which the helper has set it.
            nice: start.nice.filter(|_| tuned.nice.is_none()),
            ..start.clone()
        };
        let mut kept = KeptLease {
            connection: Some(connection),
            request: request.without_nice(),
            socket,
            name: self.profile.name(),
            asked_again: 0,
        };
        // Before the signals are held, because the command inherits which are blocked.
        let name = OsStr::new(self.profile.name());
        let hidden = ["run-start".into()];
        let starter =
            Starter::spawn(name, &hidden, &start, &arguments.command).map_err(Failure::Process)?;
        let signals = match HeldSignals::hold() {
            Ok(signals) => signals,
            Err(error) => {
                starter.dismiss();
                return Err(Failure::Signals(error));
            }
        };
        let ended = self.started(starter, &signals, &mut kept);
        let left = ending.at_work(|| {
            drop(signals);
            let until = Instant::now() + WAIT_AT_THE_END;
            kept.connection
                .map(|connection| connection.release(until))
                .transpose()
        });
        match left {
            Ok(left) => self.say_left_by_helper(left.flatten().as_ref()),
            Err(why) => {
                self.say(&without_an_answer(&why));
                let status = self.global.invocation(self.profile.name(), "status");
                self.streams
                    .complain(&format!("  try: sudo {status}; journalctl -u hosttuned\n"));
            }
        }
        ended
    }

    /// Lets the command start and waits until it has ended.
    fn started(
        &mut self,
        mut starter: Starter,
        signals: &HeldSignals,
        kept: &mut KeptLease<'_>,
    ) -> Result<Ended, Failure> {
        match starter.report() {
            Ok(StartReport::Found { notes, .. }) => {
                for note in notes {
                    self.say(&note);
                }
            }
            Ok(StartReport::Failed { status, why }) => {
                self.say(&why);
                starter.dismiss();
                return Ok(Ended::Exited(status));
            }
            Err(error) => {
                starter.dismiss();
                return Err(Failure::Process(error));
            }
        }
        let pid = starter.pid();
        // If it has died, its end is seen below.
        let _ = starter.go();
        match supervise(pid, signals, kept) {
            Ok(ended) => Ok(ended),
            // The command was started, so it must not be started again.
            Err(error) => {
                let name = self.profile.name();
                self.streams.fail(name, &Failure::Process(error), false);
                Ok(Ended::NOT_STARTED)
            }
        }
    }

    fn say_tuned(&mut self, tuned: &Tuned) {
        for note in &tuned.notes {
            self.say(note);
        }
        if self.streams.shows_progress {
            let mut text = count(tuned.changes, "change", "changes");
            text.push_str(" by the helper until the command has ended");
            if tuned.not_in_effect > 0 {
                let others = count(tuned.not_in_effect, "setting", "settings");
                text.push_str(&format!(
                    "; {others} not in effect (run --explain shows them)"
                ));
            }
            self.say(&text);
        }
    }

    fn say_left_by_helper(&mut self, left: Option<&Left>) {
        let Some(left) = left else { return };
        for problem in &left.problems {
            self.say(problem);
        }
        if left.others > 0 && self.streams.shows_progress {
            let others = count(left.others, "other command", "other commands");
            self.say(&format!("the tuning is kept for {others}"));
        }
    }
}

/// What is known at the end of a lease whose other side has not answered. It reverts when it goes on, and may have
/// been stopped, or wait for another process that changes the host.
fn without_an_answer(why: &Unavailable) -> String {
    format!(
        "{why} after it was told that the command has ended: whether the host is reverted is not known"
    )
}

/// The lease while the command runs. If the helper's side is killed, the helper is asked again; nothing waits for
/// the answer.
struct KeptLease<'a> {
    connection: Option<Connection>,
    request: Request,
    socket: &'a Path,
    name: &'static str,
    asked_again: u32,
}

impl KeptLease<'_> {
    fn ask_again(&mut self) -> Result<(), Unavailable> {
        // A socket whose backlog is full is not waited for: the command runs.
        let connection = Connection::open(self.socket, Instant::now())?;
        connection.send(&self.request)?;
        self.connection = Some(connection);
        Ok(())
    }

    fn say(&self, text: &str) {
        use std::io::Write;
        let text = format!("{}: {}\n", self.name, visible(text));
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl Beside for KeptLease<'_> {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }

    fn on_ready(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let lost = match connection.arrived() {
            Ok(Arrived::Nothing) => return,
            Ok(Arrived::Answer(outcome)) => match Connection::granted(outcome) {
                Ok(_) => {
                    self.say("the host is tuned again");
                    return;
                }
                Err(why) => why,
            },
            Ok(Arrived::End) => {
                self.connection = None;
                if self.asked_again < ASKED_AGAIN {
                    self.asked_again += 1;
                    match self.ask_again() {
                        Ok(()) => return,
                        Err(why) => why,
                    }
                } else {
                    Unavailable::Closed
                }
            }
            Err(why) => why,
        };
        self.connection = None;
        self.say(&format!("{lost}; the command goes on without the tuning"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_asserted() {
        let said = without_an_answer(&Unavailable::Late(30));
        assert!(said.contains("did not answer in 30 s"), "{said}");
        assert!(
            said.ends_with("whether the host is reverted is not known"),
            "{said}"
        );
    }
}
