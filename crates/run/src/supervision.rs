//! What a runner does when it gets a signal and when its command stops or ends.
//!
//! The command is in the process group of the runner, as a command of a shell is. What the terminal sends
//! (Ctrl-C, Ctrl-Z, a hangup) therefore reaches it without the runner, which must not repeat it; what
//! another process sends to the runner alone is forwarded. The kernel tells the two apart in `si_code`
//! (`sigaction(2)`). A signal that a process sends to the whole group cannot be told from one to the
//! runner alone, and reaches the command twice.

use std::os::fd::BorrowedFd;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU};

use crate::ended::Ended;
use crate::process::Stat;
use crate::signals::HeldSignals;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The runner got a signal.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether a process sent it, and not the kernel for the terminal.
        from_process: bool,
    },
    /// The command changed its state.
    Child(ChildChange),
    /// The runner was stopped and continues.
    Resumed,
}

/// A change of the command's state, as `waitpid(2)` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildChange {
    /// It exited with this status.
    Exited(u8),
    /// This signal ended it.
    Killed(i32),
    /// This signal stopped it.
    Stopped(i32),
    /// It continues.
    Continued,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send this signal to the command.
    Forward(i32),
    /// Stop this process, so that the shell sees the job stopped.
    StopSelf(i32),
    /// Continue the command if it is still stopped.
    ContinueChild,
    /// The command has ended.
    End(Ended),
}

/// The decisions of a runner while its command runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Supervisor {
    /// Whether the runner got a signal of the terminal's that stops a job, since it last continued.
    told_to_stop: bool,
    /// The signal that the command is stopped by.
    stopped_by: Option<i32>,
}

impl Supervisor {
    /// What to do on an event.
    ///
    /// The runner stops itself only if it was told to stop as well as the command. A command that another
    /// process stops, to continue it later, leaves the runner at work: nothing would continue the runner,
    /// and the end of the command would go unnoticed.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Signal {
                number: SIGCHLD, ..
            } => {}
            Event::Signal {
                number,
                from_process,
            } => {
                if stops_a_job(number) {
                    self.told_to_stop = true;
                }
                if number == SIGCONT {
                    self.told_to_stop = false;
                }
                if from_process {
                    actions.push(Action::Forward(number));
                }
            }
            Event::Child(ChildChange::Exited(status)) => {
                return vec![Action::End(Ended::Exited(status))];
            }
            Event::Child(ChildChange::Killed(signal)) => {
                return vec![Action::End(Ended::Killed(signal))];
            }
            Event::Child(ChildChange::Stopped(signal)) => self.stopped_by = Some(signal),
            Event::Child(ChildChange::Continued) => self.stopped_by = None,
            Event::Resumed => {
                // The shell continues the whole group; another process may have continued only us.
                self.stopped_by = None;
                actions.push(Action::ContinueChild);
            }
        }
        if self.told_to_stop
            && let Some(signal) = self.stopped_by.filter(|signal| stops_a_job(*signal))
        {
            *self = Self::default();
            actions.push(Action::StopSelf(signal));
        }
        actions
    }
}

/// Whether it is one of the signals by which a terminal stops a job.
fn stops_a_job(signal: i32) -> bool {
    matches!(signal, SIGTSTP | SIGTTIN | SIGTTOU)
}

/// What a runner looks after beside its command.
pub trait Beside {
    /// A child process has changed its state, or a signal has arrived: looks after children that are not the
    /// command.
    fn on_child(&mut self) {}

    /// A descriptor whose data or end [`on_ready`](Self::on_ready) looks after; `None` if there is none now.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The descriptor can be read or has ended.
    fn on_ready(&mut self) {}
}

/// Waits until the command has ended, and passes signals and stops on. `beside` is asked to look after what is not
/// the command.
///
/// It sleeps until something happens, without a timer.
///
/// # Errors
/// If signals can no longer be read.
pub fn supervise(
    command: Pid,
    signals: &HeldSignals,
    beside: &mut impl Beside,
) -> std::io::Result<Ended> {
    let mut supervisor = Supervisor::default();
    let mut events = Vec::new();
    loop {
        // The signals come first: a terminal sends one to all of the group before the command stops.
        while let Some(signal) = signals.read()? {
            events.push(Event::Signal {
                number: signal.number,
                from_process: signal.from_process,
            });
        }
        while let Some(change) = changed(command)? {
            events.push(Event::Child(change));
            if matches!(change, ChildChange::Exited(_) | ChildChange::Killed(_)) {
                break;
            }
        }
        beside.on_child();
        let is_idle = events.is_empty();
        let mut ahead = std::collections::VecDeque::from(std::mem::take(&mut events));
        while let Some(event) = ahead.pop_front() {
            for action in supervisor.on(event) {
                match action {
                    Action::Forward(signal) => send(command, signal),
                    Action::StopSelf(signal) => {
                        signals.stop_self(signal);
                        ahead.push_back(Event::Resumed);
                    }
                    Action::ContinueChild => {
                        if Stat::of(command.as_raw_pid()).is_some_and(Stat::is_stopped) {
                            send(command, SIGCONT);
                        }
                    }
                    Action::End(ended) => return Ok(ended),
                }
            }
        }
        if is_idle && signals.wait(beside.descriptor())? {
            beside.on_ready();
        }
    }
}

/// The next change of a child process that was not reported yet.
fn changed(child: Pid) -> std::io::Result<Option<ChildChange>> {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
    loop {
        return match waitpid(Some(child), options) {
            Ok(status) => Ok(status.and_then(|(_, status)| change_of(status))),
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}

fn change_of(status: WaitStatus) -> Option<ChildChange> {
    if let Some(code) = status.exit_status() {
        return Some(ChildChange::Exited(u8::try_from(code).unwrap_or(u8::MAX)));
    }
    if let Some(signal) = status.terminating_signal() {
        return Some(ChildChange::Killed(signal));
    }
    if let Some(signal) = status.stopping_signal() {
        return Some(ChildChange::Stopped(signal));
    }
    status.continued().then_some(ChildChange::Continued)
}

/// Sends a signal. It fails if the command has just ended or has taken another user's identity that only
/// root may signal; then there is nothing to do.
fn send(command: Pid, signal: i32) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        let _ = kill_process(command, signal);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use signal_hook::consts::{SIGINT, SIGSTOP, SIGTERM};

    use super::*;

    fn signal(number: i32, from_process: bool) -> Event {
        Event::Signal {
            number,
            from_process,
        }
    }

    #[test]
    fn control_z_stops_the_runner_after_the_command() {
        let stopped = Event::Child(ChildChange::Stopped(SIGTSTP));
        for order in [
            [signal(SIGTSTP, false), stopped],
            [stopped, signal(SIGTSTP, false)],
        ] {
            let mut supervisor = Supervisor::default();
            assert_eq!(supervisor.on(order[0]), []);
            assert_eq!(supervisor.on(order[1]), [Action::StopSelf(SIGTSTP)]);
            assert_eq!(supervisor.on(Event::Resumed), [Action::ContinueChild]);
            assert_eq!(supervisor.on(Event::Child(ChildChange::Continued)), []);
            assert_eq!(supervisor, Supervisor::default());
        }
    }

    #[test]
    fn a_command_that_others_stop_leaves_the_runner_at_work() {
        for by in [SIGSTOP, SIGTSTP, SIGTTOU] {
            let mut supervisor = Supervisor::default();
            assert_eq!(supervisor.on(Event::Child(ChildChange::Stopped(by))), []);
            assert_eq!(supervisor.on(Event::Child(ChildChange::Continued)), []);
        }
        // A command that does not react to the terminal's signal is not stopped, and neither are we.
        let mut supervisor = Supervisor::default();
        assert_eq!(supervisor.on(signal(SIGTSTP, false)), []);
        assert_eq!(
            supervisor.on(Event::Child(ChildChange::Stopped(SIGSTOP))),
            []
        );
    }

    #[test]
    fn what_is_sent_to_the_runner_alone_is_forwarded() {
        let mut supervisor = Supervisor::default();
        assert_eq!(
            supervisor.on(signal(SIGTERM, true)),
            [Action::Forward(SIGTERM)]
        );
        assert_eq!(supervisor.on(signal(SIGINT, false)), []);
        assert_eq!(supervisor.on(signal(SIGCHLD, true)), []);
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1..32_i32, any::<bool>())
                .prop_map(|(number, from_process)| signal(number, from_process)),
            any::<u8>().prop_map(|status| Event::Child(ChildChange::Exited(status))),
            (1..64_i32).prop_map(|number| Event::Child(ChildChange::Killed(number))),
            prop_oneof![Just(SIGSTOP), Just(SIGTSTP), Just(SIGTTIN)]
                .prop_map(|number| Event::Child(ChildChange::Stopped(number))),
            Just(Event::Child(ChildChange::Continued)),
            Just(Event::Resumed),
        ]
    }

    proptest! {
        #[test]
        fn each_signal_of_a_process_is_forwarded_once_and_no_other(
            events in proptest::collection::vec(event(), 0..40)
        ) {
            let mut supervisor = Supervisor::default();
            for event in events {
                let actions = supervisor.on(event);
                let forwarded: Vec<i32> = actions
                    .iter()
                    .filter_map(|action| match action {
                        Action::Forward(number) => Some(*number),
                        _ => None,
                    })
                    .collect();
                let expected: Vec<i32> = match event {
                    Event::Signal { number, from_process: true } if number != SIGCHLD => vec![number],
                    _ => Vec::new(),
                };
                prop_assert_eq!(forwarded, expected);
                let ends = actions.iter().any(|action| matches!(action, Action::End(_)));
                let ended = matches!(
                    event,
                    Event::Child(ChildChange::Exited(_) | ChildChange::Killed(_))
                );
                prop_assert_eq!(ends, ended);
            }
        }
    }
}
