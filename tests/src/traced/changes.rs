//! Runs a program at full speed from one call that changes something to the next.
//!
//! A seccomp filter, compiled from the list in [`calls`](super::calls), stops the program for its tracer only at
//! these calls. This has three consequences:
//!
//! - Every child inherits the filter, and such a call fails with `ENOSYS` in a process without a tracer. So the
//!   children are traced too, until they exit, even after the program itself was killed.
//! - A filter cannot be removed from a thread. So a new thread sets it, starts the shell that executes the
//!   program, and exits.
//! - The processes are not known in advance, so `waitpid(2)` has to wait for any. With `__WNOTHREAD` it waits only
//!   for children and tracees of the calling thread. So tracing has its own thread, which does not consume an
//!   exit status that another part of the test waits for.
//!
//! The kernel also requires `no_new_privs` for a filter, so set-user-ID programs do not gain privileges here.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Event, Stop, calls, high_water, in_shell, memory, words};

/// A handle of the thread that traces the program. When it is dropped, that thread exits, and the kernel kills
/// the traced processes.
#[derive(Debug)]
pub(super) struct Changes {
    requests: Sender<Request>,
    replies: Receiver<Result<Reply, String>>,
    last: Reply,
}

#[derive(Debug)]
enum Request {
    /// Skip this many calls and continue to the next stop.
    Step {
        passing: usize,
    },
    Kill,
}

/// The state of the program at a stop.
#[derive(Debug, Clone, Copy)]
struct Reply {
    stop: Stop,
    call: i64,
    changed_by_a_child: bool,
    largest: Option<u64>,
}

impl Changes {
    pub(super) fn start(program: &str, arguments: &[&str]) -> Result<Self, String> {
        let program = program.to_owned();
        let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        let (requests, asked) = channel();
        let (answers, replies) = channel();
        std::thread::Builder::new()
            .name(format!("traces {program}"))
            .spawn(move || {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                match Tracer::start(&program, &arguments) {
                    Ok(tracer) => tracer.serve(&asked, &answers),
                    Err(reason) => drop(answers.send(Err(reason))),
                }
            })
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        let last = receive(&replies)?;
        Ok(Self {
            requests,
            replies,
            last,
        })
    }

    /// Skips this many calls that change something, and continues to the next stop.
    pub(super) fn step(&mut self, passing: usize) -> Stop {
        self.ask(Request::Step { passing });
        self.last.stop
    }

    pub(super) fn kill(mut self) {
        self.ask(Request::Kill);
    }

    pub(super) fn call(&self) -> i64 {
        self.last.call
    }

    pub(super) fn changed_by_a_child(&self) -> bool {
        self.last.changed_by_a_child
    }

    pub(super) fn largest(&self) -> Option<u64> {
        self.last.largest
    }

    fn ask(&mut self, request: Request) {
        // If the thread has exited, receiving its reply gives the error.
        let _ = self.requests.send(request);
        self.last = receive(&self.replies).unwrap_or_else(|reason| panic!("{reason}"));
    }
}

fn receive(replies: &Receiver<Result<Reply, String>>) -> Result<Reply, String> {
    let reply = replies.recv();
    reply.unwrap_or_else(|_| Err("the tracing thread has exited".to_owned()))
}

/// The state of the tracing thread.
struct Tracer {
    /// Kept only for its standard input; `waitpid` uses the process ID.
    _child: Child,
    program: Pid,
    /// The stopped thread and the side of its call; `None` before the first stop.
    held: Option<(Pid, Stop)>,
    /// Threads in a call at whose end they stop.
    in_call: BTreeSet<Pid>,
    /// Processes other than the program, and their threads.
    others: BTreeSet<Pid>,
    /// How the program ended.
    end: Option<WaitStatus>,
    call: i64,
    changed_by_a_child: bool,
    largest: Option<u64>,
}

impl Tracer {
    /// Starts the program under the filter and stops it before its own first instruction.
    fn start(program: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut child = filtered_shell(program, arguments)?;
        let process = Pid::from_raw(i32::try_from(child.id()).map_err(|error| error.to_string())?);
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEEXIT
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        let input = child.stdin.take();
        if let Err(errno) = ptrace::seize(process, options) {
            drop(input);
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("tracing is not possible here: {errno}"));
        }
        input
            .ok_or("no pipe to the shell")?
            .write_all(b"go\n")
            .map_err(|error| format!("cannot write to /bin/sh: {error}"))?;
        loop {
            match wait()? {
                Some(WaitStatus::PtraceEvent(.., Event::EXEC)) => break,
                Some(WaitStatus::Stopped(pid, signal)) => pass(ptrace::cont(pid, signal))?,
                // Includes stops of the filter at calls of the shell, for example when it opens a file.
                Some(WaitStatus::PtraceEvent(pid, ..)) => pass(ptrace::cont(pid, None))?,
                other => return Err(format!("{program} was not started: {other:?}")),
            }
        }
        Ok(Self {
            _child: child,
            program: process,
            held: Some((process, Stop::Leaves)),
            in_call: BTreeSet::new(),
            others: BTreeSet::new(),
            end: None,
            call: -1,
            changed_by_a_child: false,
            largest: None,
        })
    }

    /// Answers requests until the channel is closed.
    fn serve(mut self, requests: &Receiver<Request>, answers: &Sender<Result<Reply, String>>) {
        let mut stop = Ok(Stop::Leaves);
        loop {
            let reply = stop.map(|stop| Reply {
                stop,
                call: self.call,
                changed_by_a_child: self.changed_by_a_child,
                largest: self.largest,
            });
            if answers.send(reply).is_err() {
                return;
            }
            let Ok(request) = requests.recv() else {
                return;
            };
            stop = match request {
                Request::Step { passing } => self.step(passing),
                Request::Kill => self.kill(),
            };
        }
    }

    fn step(&mut self, mut passing: usize) -> Result<Stop, String> {
        self.changed_by_a_child = false;
        match self.held.take() {
            Some((thread, Stop::Enters)) if passing == 0 => {
                self.in_call.insert(thread);
                self.go_on(thread, None)?;
            }
            // The call at which it is stopped is the first one to skip.
            Some((thread, Stop::Enters)) => {
                passing -= 1;
                self.go_on(thread, None)?;
            }
            Some((thread, _)) => self.go_on(thread, None)?,
            None => {}
        }
        while let Some(status) = wait()? {
            if let Some((thread, stop)) = self.handle(status)? {
                if stop == Stop::Enters && passing > 0 {
                    passing -= 1;
                    self.changed_by_a_child = false;
                    self.go_on(thread, None)?;
                    continue;
                }
                self.held = Some((thread, stop));
                return Ok(stop);
            }
        }
        match self.end {
            Some(WaitStatus::Exited(_, code)) => Ok(Stop::Ended(code)),
            other => Err(format!(
                "a traced program did not exit by itself: {other:?}"
            )),
        }
    }

    /// Kills the program and lets its children run to completion.
    fn kill(&mut self) -> Result<Stop, String> {
        kill(self.program, Signal::SIGKILL)
            .map_err(|errno| format!("the program cannot be killed: {errno}"))?;
        // The kill ended all threads of the program, in any call.
        self.held = None;
        while let Some(status) = wait()? {
            if let Some((thread, _)) = self.handle(status)? {
                self.go_on(thread, None)?;
            }
        }
        match self.end {
            Some(WaitStatus::Signaled(_, Signal::SIGKILL, _)) => Ok(Stop::Ended(-1)),
            other => Err(format!("the program was killed, but ended with {other:?}")),
        }
    }

    /// Handles one event of any traced thread and continues the thread. Threads of the program on either side of a
    /// call that changes something are returned instead and stay stopped.
    fn handle(&mut self, status: WaitStatus) -> Result<Option<(Pid, Stop)>, String> {
        match status {
            WaitStatus::PtraceEvent(pid, _, Event::SECCOMP) => return self.before_a_call(pid),
            WaitStatus::PtraceSyscall(pid) => {
                if self.in_call.remove(&pid) {
                    is_after_the_call(pid)?;
                    return Ok(Some((pid, Stop::Leaves)));
                }
                self.go_on(pid, None)?;
            }
            WaitStatus::PtraceEvent(pid, _, Event::EXEC) => {
                // A thread that executes another program takes over the process ID.
                if let Ok(thread) = ptrace::getevent(pid) {
                    let thread = Pid::from_raw(i32::try_from(thread).unwrap_or(0));
                    if thread != pid {
                        self.forget(thread);
                    }
                }
                self.go_on(pid, None)?;
            }
            WaitStatus::PtraceEvent(pid, _, Event::EXIT) => {
                if pid == self.program {
                    self.largest = high_water(pid);
                }
                self.go_on(pid, None)?;
            }
            // Includes the first stop of a new child, before or after the event of the call that created the
            // child, and stops by signals such as SIGSTOP. The latter do not last, because nix has no
            // PTRACE_LISTEN, which would keep the process stopped.
            WaitStatus::PtraceEvent(pid, ..) => self.go_on(pid, None)?,
            WaitStatus::Stopped(pid, signal) => self.go_on(pid, Some(signal))?,
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.forget(pid);
                if pid == self.program {
                    self.end = Some(status);
                }
            }
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
        Ok(None)
    }

    fn before_a_call(&mut self, pid: Pid) -> Result<Option<(Pid, Stop)>, String> {
        // The registers of a killed thread cannot be read; its exit is the next event.
        let words = words(pid).unwrap_or_default();
        let changes = words.split_first().is_some_and(|(number, arguments)| {
            calls::can_change_something(*number, arguments, |address| memory(pid, address))
        });
        if changes && self.end.is_none() {
            if self.is_of_the_program(pid) {
                self.call = words[0];
                return Ok(Some((pid, Stop::Enters)));
            }
            self.changed_by_a_child = true;
        }
        self.go_on(pid, None)?;
        Ok(None)
    }

    fn go_on(&self, pid: Pid, signal: Option<Signal>) -> Result<(), String> {
        pass(if self.in_call.contains(&pid) {
            ptrace::syscall(pid, signal)
        } else {
            ptrace::cont(pid, signal)
        })
    }

    fn is_of_the_program(&mut self, pid: Pid) -> bool {
        if pid == self.program {
            return true;
        }
        if self.others.contains(&pid) {
            return false;
        }
        let is = Path::new(&format!("/proc/{}/task/{pid}", self.program)).exists();
        if !is {
            self.others.insert(pid);
        }
        is
    }

    fn forget(&mut self, pid: Pid) {
        self.in_call.remove(&pid);
        self.others.remove(&pid);
    }
}

/// Starts the shell that executes the program, under the filter. It waits for a line.
fn filtered_shell(program: &str, arguments: &[&str]) -> Result<Child, String> {
    let filter = calls::filter().map_err(|error| error.to_string())?;
    let filtered = || {
        seccompiler::apply_filter(&filter)
            .map_err(|error| format!("a seccomp filter cannot be set here: {error}"))?;
        // From here on, this thread must not make a call that the filter stops at.
        in_shell(program, arguments)
    };
    std::thread::scope(|scope| scope.spawn(filtered).join())
        .map_err(|_| "the thread with the filter panicked".to_owned())?
}

/// Waits for the next event of any thread that this thread traces. Returns `None` when none is left.
fn wait() -> Result<Option<WaitStatus>, String> {
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        match waitpid(Pid::from_raw(-1), Some(flags)) {
            Ok(status) => return Ok(Some(status)),
            Err(Errno::ECHILD) => return Ok(None),
            Err(Errno::EINTR) => {}
            // EINVAL: a real-time signal, which nix cannot represent.
            Err(errno) => return Err(format!("waitpid failed on a traced program: {errno}")),
        }
    }
}

/// Ignores ESRCH: a killed thread cannot be resumed, and its exit is the next event.
fn pass(outcome: Result<(), Errno>) -> Result<(), String> {
    match outcome {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(format!("a traced program cannot be continued: {errno}")),
    }
}

/// Fails unless the stop is at the end of a call.
///
/// Since Linux 4.8 the stop at the entry of a call comes before the stop of a filter. So `PTRACE_SYSCALL` at the
/// latter continues to the end of the same call; on an older kernel, to its entry.
fn is_after_the_call(pid: Pid) -> Result<(), String> {
    #[cfg(target_env = "gnu")]
    if let Ok(info) = ptrace::syscall_info(pid)
        && info.op != nix::libc::PTRACE_SYSCALL_INFO_EXIT
    {
        return Err(format!(
            "not the end of a system call: stop of kind {}",
            info.op
        ));
    }
    Ok(())
}
