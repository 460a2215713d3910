//! Runs a program under `ptrace(2)` from one system call to the next, or from one that changes something to the
//! next.
//!
//! The program stops before and after each call. Between these stops the kernel executes the whole call, or
//! nothing of it if the program is killed before. So a kill at every stop is a kill at every moment that an
//! observer outside of the program can distinguish.

#![expect(
    clippy::unwrap_used,
    reason = "if tracing itself misbehaves, the test has no result"
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

/// A program under trace, which is stopped between two steps.
#[derive(Debug)]
pub struct Traced {
    way: Way,
    /// Peak resident memory in KiB; known when the program has exited.
    pub largest: Option<u64>,
}

/// The method of tracing.
#[derive(Debug)]
enum Way {
    EveryCall(EveryCall),
    Changes(Changes),
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Before a system call.
    Enters,
    /// After a system call.
    Leaves,
    /// The program exited with this code.
    Ended(i32),
}

impl Traced {
    /// Starts a program that stops before and after every system call, and runs it up to its own first
    /// instruction.
    ///
    /// A shell waits for a line until the trace is set up and then executes the program, so nothing of the
    /// program itself runs untraced. Its environment sets no locale and no library directories, because searching
    /// them takes many calls.
    ///
    /// Only the first thread of the program is traced. Its other threads and its children run freely.
    ///
    /// # Errors
    ///
    /// Returns in one line why it cannot be traced: there is no shell, tracing is not permitted, or the program
    /// cannot be started.
    ///
    /// # Panics
    ///
    /// Panics if the kernel gives an unexpected result for a step of the trace.
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut traced = Self {
            way: Way::EveryCall(EveryCall::start(program, arguments)?),
            largest: None,
        };
        // The first stop is the end of the call that executed the program.
        assert_eq!(traced.step(), Stop::Leaves);
        Ok(traced)
    }

    /// Starts a program that stops only before and after system calls that
    /// [can change something](Self::can_change_something), and runs at full speed in between.
    ///
    /// All of its threads are traced. Its children do not stop at such calls. The step in which the program exits
    /// waits for the last of its children, as [`kill`](Self::kill) does.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start). Also fails if no seccomp filter can be set.
    pub fn start_at_changes(program: &str, arguments: &[&str]) -> Result<Self, String> {
        Ok(Self {
            way: Way::Changes(Changes::start(program, arguments)?),
            largest: None,
        })
    }

    /// Checks that both methods of tracing work here; a container may forbid them.
    ///
    /// # Errors
    ///
    /// Returns in one line why they do not work.
    pub fn available() -> Result<(), String> {
        Self::start("/bin/true", &[]).map(Self::kill)?;
        Self::start_at_changes("/bin/true", &[]).map(Self::kill)
    }

    /// The process ID, for a signal. Known only for a program that stops at every call.
    pub fn process_id(&self) -> Option<i32> {
        match &self.way {
            Way::EveryCall(traced) => Some(traced.process.as_raw()),
            Way::Changes(_) => None,
        }
    }

    /// Runs the program to its next stop, or until it exits.
    ///
    /// # Panics
    ///
    /// Panics if anything else happens: it was killed by another process, or the trace ended.
    pub fn step(&mut self) -> Stop {
        self.step_past(0)
    }

    /// Skips this many of the calls that it stops at, and runs the program to the next stop after them.
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

    /// Kills the program with SIGKILL.
    ///
    /// # Panics
    ///
    /// Panics if it ended in another way.
    pub fn kill(self) {
        match self.way {
            Way::EveryCall(traced) => traced.kill(),
            Way::Changes(traced) => traced.kill(),
        }
    }

    /// The number of the current system call, as the kernel shows it; -1 if there is none.
    ///
    /// # Panics
    ///
    /// Panics if the kernel does not show it, although any tracer may read it.
    pub fn call(&self) -> i64 {
        match &self.way {
            Way::EveryCall(traced) => traced.words().first().copied().unwrap_or(-1),
            Way::Changes(traced) => traced.call(),
        }
    }

    /// Whether the current system call can change anything outside of the process.
    ///
    /// The call may still request no change, or fail.
    ///
    /// # Panics
    ///
    /// As [`call`](Self::call).
    pub fn can_change_something(&self) -> bool {
        match &self.way {
            Way::EveryCall(traced) => traced.can_change_something(),
            // It stops only at such calls.
            Way::Changes(traced) => traced.call() != -1,
        }
    }

    /// Whether a child of the program has made a call that can change something since the previous stop.
    ///
    /// Known only for a program that was started with [`start_at_changes`](Self::start_at_changes).
    pub fn has_child_changed_something(&self) -> bool {
        match &self.way {
            Way::EveryCall(_) => false,
            Way::Changes(traced) => traced.changed_by_a_child(),
        }
    }

    /// Whether the current system call only checks that a descriptor is open. A program with debug assertions
    /// does this before each close, a release build does not. Known only for a program that stops at every call.
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

    /// Whether the current system call sends an rtnetlink message that requests a change.
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
    /// Kept only for its standard input; `waitpid` uses the process ID.
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
            return Err(format!("tracing is not possible here: {errno}"));
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
                other => panic!("unexpected event of a traced program: {other:?}"),
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
                // The stop at exit, which SIGKILL ends too.
                WaitStatus::PtraceEvent(..) => {
                    let _ = ptrace::cont(self.process, None);
                }
                other => panic!("unexpected event of a killed program: {other:?}"),
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

/// Starts a shell that waits for a line and then executes the program.
///
/// The shell closes its standard output to report that it waits. Any output would need a call that changes
/// something, and with a filter such a call fails before the shell is traced.
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
    // Wait until the shell is running: otherwise its own exec could be taken for that of the program.
    let mut output = child.stdout.take().unwrap();
    output
        .read_to_end(&mut Vec::new())
        .map_err(|error| format!("the output of /bin/sh cannot be read: {error}"))?;
    Ok(child)
}

/// Returns the number of the current system call of a thread, and its arguments.
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

/// Returns the same from procfs, which is portable but slower.
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

/// Reads a word of its memory.
fn memory(thread: Pid, address: i64) -> Option<i64> {
    let address = std::ptr::without_provenance_mut(usize::try_from(address).ok()?);
    ptrace::read(thread, address).ok()
}

/// Returns the peak resident memory of a process, in KiB.
fn high_water(process: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Numbers of ptrace events, as `waitpid` reports them.
struct Event;

impl Event {
    const EXEC: i32 = ptrace::Event::PTRACE_EVENT_EXEC as i32;
    const EXIT: i32 = ptrace::Event::PTRACE_EVENT_EXIT as i32;
    const SECCOMP: i32 = ptrace::Event::PTRACE_EVENT_SECCOMP as i32;
}
