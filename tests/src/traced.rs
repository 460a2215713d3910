//! A program run under `ptrace(2)` from one system call to the next, or from one that changes
//! something to the next.
//!
//! It stops before each call and after it: in between the kernel does the whole call or, where
//! the program is killed before, nothing of it. So killing at every stop is killing at every
//! moment that anything outside of the program can tell apart.

#![expect(
    clippy::unwrap_used,
    reason = "a trace that does what no trace does is no answer to any test"
)]

mod calls;
mod changes;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use changes::Changes;

/// A program that was started, and stands still between two steps.
#[derive(Debug)]
pub struct Traced {
    way: Way,
    /// The most memory it ever had resident, in KiB; known once it has ended.
    pub largest: Option<u64>,
}

/// How it gets from one stop to the next.
#[derive(Debug)]
enum Way {
    EveryCall(EveryCall),
    Changes(Changes),
}

/// Where a step led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Before a system call.
    Enters,
    /// After a system call.
    Leaves,
    /// It ended with this exit code.
    Ended(i32),
}

impl Traced {
    /// Starts a program that stops before and after every system call, and lets it come as far as
    /// its own first instruction.
    ///
    /// A shell waits for a line until the trace is set up and then becomes the program, so nothing
    /// of the program itself runs unseen. Its environment names no language and
    /// no directories of libraries: looking there is many calls.
    ///
    /// Only the program's first thread is traced. Its other threads and its children run on.
    ///
    /// # Errors
    ///
    /// Why it cannot be traced, in one line: there is no shell, tracing is not allowed here, or
    /// the program cannot be started.
    ///
    /// # Panics
    ///
    /// Where the kernel answers a step of the trace with what no kernel has answered yet.
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut traced = Self {
            way: Way::EveryCall(EveryCall::start(program, arguments)?),
            largest: None,
        };
        // The call that made it the program ends, as the first of its own.
        assert_eq!(traced.step(), Stop::Leaves);
        Ok(traced)
    }

    /// Starts a program that stops before and after those system calls only that
    /// [can change something](Self::can_change_something), and runs at full speed in between.
    ///
    /// All of its threads are traced. Its children run on through such calls, and the step after
    /// which the program has ended waits for the last of them, as [`kill`](Self::kill) does.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and where no seccomp filter can be set.
    pub fn start_at_changes(program: &str, arguments: &[&str]) -> Result<Self, String> {
        Ok(Self {
            way: Way::Changes(Changes::start(program, arguments)?),
            largest: None,
        })
    }

    /// Whether anything can be traced here at all, in either way: a container may well forbid it.
    ///
    /// # Errors
    ///
    /// Why not, in one line.
    pub fn available() -> Result<(), String> {
        Self::start("/bin/true", &[]).map(Self::kill)?;
        Self::start_at_changes("/bin/true", &[]).map(Self::kill)
    }

    /// Its number, for a signal. Known of a program that stops at every call.
    pub fn process_id(&self) -> Option<i32> {
        match &self.way {
            Way::EveryCall(traced) => Some(traced.process.as_raw()),
            Way::Changes(_) => None,
        }
    }

    /// Lets it run to the next stop, or its own end.
    ///
    /// # Panics
    ///
    /// Where it comes to anything else: it was killed by another process, or the trace was taken
    /// away.
    pub fn step(&mut self) -> Stop {
        self.step_past(0)
    }

    /// Lets it make this many of the calls that it stops at, and run to the stop behind them.
    ///
    /// # Panics
    ///
    /// As [`step`](Self::step).
    pub(crate) fn step_past(&mut self, calls: usize) -> Stop {
        match &mut self.way {
            Way::EveryCall(traced) => {
                for _ in 0..calls * 2 {
                    if let end @ Stop::Ended(_) = traced.step(&mut self.largest) {
                        return end;
                    }
                }
                traced.step(&mut self.largest)
            }
            Way::Changes(traced) => {
                let stop = traced.step(calls);
                self.largest = traced.largest();
                stop
            }
        }
    }

    /// Ends it with the signal that nothing can be done about.
    ///
    /// # Panics
    ///
    /// Where it ended otherwise.
    pub fn kill(self) {
        match self.way {
            Way::EveryCall(traced) => traced.kill(),
            Way::Changes(traced) => traced.kill(),
        }
    }

    /// The number of the system call that it stands in, as the kernel shows it; -1 in none.
    ///
    /// # Panics
    ///
    /// Where the kernel does not show it, which it does whoever may trace.
    pub fn call(&self) -> i64 {
        match &self.way {
            Way::EveryCall(traced) => traced.words().first().copied().unwrap_or(-1),
            Way::Changes(traced) => traced.call(),
        }
    }

    /// Whether the system call that it stands in can change anything outside of the process.
    ///
    /// It may ask for no change or be refused one: what is asked is whether it could.
    ///
    /// # Panics
    ///
    /// As [`call`](Self::call).
    pub fn can_change_something(&self) -> bool {
        match &self.way {
            Way::EveryCall(traced) => traced.can_change_something(),
            // It stops nowhere else.
            Way::Changes(traced) => traced.call() != -1,
        }
    }

    /// Whether a child of the program has made a call that can change something, since the stop
    /// before this one.
    ///
    /// Known of a program that was [started at changes](Self::start_at_changes) only.
    pub fn has_child_changed_something(&self) -> bool {
        match &self.way {
            Way::EveryCall(_) => false,
            Way::Changes(traced) => traced.changed_by_a_child(),
        }
    }

    /// Whether it only looks whether a descriptor is open, as a program that was built with debug assertions
    /// does before it closes each, and one that is released does not. Known of a program that stops at every
    /// call.
    ///
    /// # Panics
    ///
    /// As [`call`](Self::call).
    pub fn looks_at_a_descriptor(&self) -> bool {
        match &self.way {
            Way::EveryCall(traced) => {
                let words = traced.words();
                words.first() == Some(&nix::libc::SYS_fcntl)
                    && words.get(2) == Some(&i64::from(nix::libc::F_GETFD))
            }
            Way::Changes(_) => false,
        }
    }

    /// Whether the system call that it stands in sends rtnetlink a message to have something
    /// changed.
    ///
    /// # Panics
    ///
    /// As [`call`](Self::call).
    pub fn sends_a_change(&self) -> bool {
        self.call() == nix::libc::SYS_sendto && self.can_change_something()
    }
}

/// A program that stops at every call; traced by the thread that started it.
#[derive(Debug)]
struct EveryCall {
    /// Kept for its standard input only: it is waited for by its number.
    _child: Child,
    process: Pid,
    in_call: bool,
}

impl EveryCall {
    fn start(program: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut child = in_shell(program, arguments)?;
        let process = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEEXIT
            | Options::PTRACE_O_EXITKILL;
        let seized = ptrace::seize(process, options);
        let mut input = child.stdin.take().unwrap();
        if let Err(errno) = seized {
            drop(input);
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("nothing can be traced here: {errno}"));
        }
        input.write_all(b"go\n").unwrap();
        drop(input);
        loop {
            let signal = match waitpid(process, None).unwrap() {
                WaitStatus::PtraceEvent(.., Event::EXEC) => break,
                WaitStatus::Stopped(_, sent) => Some(sent),
                WaitStatus::PtraceEvent(..) => None,
                other => return Err(format!("{program} was not started: {other:?}")),
            };
            ptrace::cont(process, signal).unwrap();
        }
        Ok(Self {
            _child: child,
            process,
            in_call: true,
        })
    }

    fn step(&mut self, largest: &mut Option<u64>) -> Stop {
        let mut signal = None;
        loop {
            ptrace::syscall(self.process, signal).unwrap();
            signal = None;
            match waitpid(self.process, None).unwrap() {
                WaitStatus::PtraceSyscall(_) => {
                    self.in_call = !self.in_call;
                    return if self.in_call {
                        Stop::Enters
                    } else {
                        Stop::Leaves
                    };
                }
                WaitStatus::Exited(_, code) => return Stop::Ended(code),
                WaitStatus::Stopped(_, sent) => signal = Some(sent),
                WaitStatus::PtraceEvent(.., Event::EXIT) => *largest = high_water(self.process),
                WaitStatus::PtraceEvent(..) => {}
                other => panic!("a traced program did what nobody asked of it: {other:?}"),
            }
        }
    }

    fn kill(self) {
        kill(self.process, Signal::SIGKILL).unwrap();
        loop {
            match waitpid(self.process, None).unwrap() {
                WaitStatus::Signaled(_, signal, _) => {
                    assert_eq!(signal, Signal::SIGKILL);
                    return;
                }
                // The stop on the way out, which the signal ends as well.
                WaitStatus::PtraceEvent(..) => {
                    let _ = ptrace::cont(self.process, None);
                }
                other => panic!("killed, and yet: {other:?}"),
            }
        }
    }

    fn can_change_something(&self) -> bool {
        let words = self.words();
        words.split_first().is_some_and(|(number, arguments)| {
            calls::can_change_something(*number, arguments, |address| memory(self.process, address))
        })
    }

    fn words(&self) -> Vec<i64> {
        words(self.process).unwrap_or_else(|reason| panic!("{reason}"))
    }
}

/// Starts a shell that waits for a line and then becomes the program.
///
/// It says that it waits by closing its standard output: it would have to make a call that changes
/// something to say anything else, which fails before it is traced where there is a filter for such
/// calls.
fn in_shell(program: &str, arguments: &[&str]) -> Result<Child, String> {
    let mut child = Command::new("/bin/sh")
        .args([
            "-c",
            r#"exec >&-; read -r go; exec "$0" "$@" </dev/null >/dev/null"#,
            program,
        ])
        .args(arguments)
        .env_remove("LC_ALL")
        .env("LANG", "C.UTF-8")
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("/bin/sh cannot be started: {error}"))?;
    // Not before: the shell may still be on its way to becoming one, which would be taken for
    // its becoming the program.
    let mut output = child.stdout.take().unwrap();
    output
        .read_to_end(&mut Vec::new())
        .map_err(|error| format!("/bin/sh cannot be heard: {error}"))?;
    Ok(child)
}

/// The number of the system call that a thread stands in, and its arguments.
#[cfg(target_arch = "x86_64")]
fn words(thread: Pid) -> Result<Vec<i64>, String> {
    let registers = ptrace::getregs(thread)
        .map_err(|errno| format!("the registers of {thread} cannot be read: {errno}"))?;
    let words = [
        registers.orig_rax,
        registers.rdi,
        registers.rsi,
        registers.rdx,
        registers.r10,
        registers.r8,
        registers.r9,
    ];
    Ok(words.map(u64::cast_signed).to_vec())
}

/// The same as text, which is the same on every processor, and slower.
#[cfg(not(target_arch = "x86_64"))]
fn words(thread: Pid) -> Result<Vec<i64>, String> {
    let path = format!("/proc/{thread}/syscall");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let word = |word: &str| match word.strip_prefix("0x") {
        None => word.parse().ok(),
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(u64::cast_signed),
    };
    Ok(text.split_whitespace().map_while(word).collect())
}

/// What lies in its memory at this address.
fn memory(thread: Pid, address: i64) -> Option<i64> {
    let address = std::ptr::without_provenance_mut(usize::try_from(address).ok()?);
    ptrace::read(thread, address).ok()
}

/// The most memory it ever had resident, in KiB.
fn high_water(process: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The events by number, as `waitpid` reports them.
struct Event;

impl Event {
    const EXEC: i32 = ptrace::Event::PTRACE_EVENT_EXEC as i32;
    const EXIT: i32 = ptrace::Event::PTRACE_EVENT_EXIT as i32;
    const SECCOMP: i32 = ptrace::Event::PTRACE_EVENT_SECCOMP as i32;
}
