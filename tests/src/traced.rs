//! A program run under `ptrace(2)` from one system call to the next.
//!
//! It stops before each call and after it: in between the kernel does the whole call or, where
//! the program is killed before, nothing of it. So killing at every stop is killing at every
//! moment that anything outside of the program can tell apart.

#![expect(
    clippy::unwrap_used,
    reason = "a trace that does what no trace does is no answer to any test"
)]

mod calls;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// A program that was started, and stands still between two steps.
#[derive(Debug)]
pub struct Traced {
    /// Kept for its standard input only: it is waited for by its number.
    _child: Child,
    process: Pid,
    in_call: bool,
    /// The most memory it ever had resident, in KiB; known once it has ended.
    pub largest: Option<u64>,
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
    /// Starts a program and lets it come as far as its own first instruction.
    ///
    /// A shell waits for a line until the trace is set up and then becomes the program, so nothing
    /// of the program itself runs unseen. Its environment names no language and
    /// no directories of libraries: looking there is many calls.
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
        let mut child = Command::new("/bin/sh")
            .args([
                "-c",
                r#"echo ready; read -r go; exec "$0" "$@" </dev/null >/dev/null"#,
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
        let mut ready = [0; "ready\n".len()];
        let mut output = child.stdout.take().unwrap();
        output
            .read_exact(&mut ready)
            .map_err(|error| format!("/bin/sh says nothing: {error}"))?;
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
                WaitStatus::PtraceEvent(.., event) if event == Event::EXEC => break,
                WaitStatus::Stopped(_, sent) => Some(sent),
                WaitStatus::PtraceEvent(..) => None,
                other => return Err(format!("{program} was not started: {other:?}")),
            };
            ptrace::cont(process, signal).unwrap();
        }
        let mut traced = Self {
            _child: child,
            process,
            in_call: true,
            largest: None,
        };
        // The call that made it the program ends, as the first of its own.
        assert_eq!(traced.step(), Stop::Leaves);
        Ok(traced)
    }

    /// Whether anything can be traced here at all: a container may well forbid it.
    ///
    /// # Errors
    ///
    /// Why not, in one line.
    pub fn available() -> Result<(), String> {
        Self::start("/bin/true", &[]).map(Self::kill)
    }

    /// Its number, for a signal.
    pub fn process_id(&self) -> i32 {
        self.process.as_raw()
    }

    /// Lets it run to the next system call, the end of one, or its own end.
    ///
    /// # Panics
    ///
    /// Where it comes to anything else: it was killed by somebody, or the trace was taken away.
    pub fn step(&mut self) -> Stop {
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
                WaitStatus::PtraceEvent(.., event) if event == Event::EXIT => {
                    self.largest = self.high_water();
                }
                WaitStatus::PtraceEvent(..) => {}
                other => panic!("a traced program did what nobody asked of it: {other:?}"),
            }
        }
    }

    /// Ends it with the signal that nothing can be done about.
    ///
    /// # Panics
    ///
    /// Where it ended otherwise.
    pub fn kill(self) {
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

    /// The number of the system call that it stands in, as the kernel shows it; -1 in none.
    ///
    /// # Panics
    ///
    /// Where the kernel does not show it, which it does whoever may trace.
    pub fn call(&self) -> i64 {
        self.words().first().copied().unwrap_or(-1)
    }

    /// Whether the system call that it stands in can change anything outside of the process.
    ///
    /// It may ask for no change or be refused one: what is asked is whether it could. Only an
    /// opening is looked at more closely, as most of them only read.
    ///
    /// # Panics
    ///
    /// As [`call`](Self::call).
    pub fn can_change_something(&self) -> bool {
        let words = self.words();
        let Some((number, arguments)) = words.split_first() else {
            return false;
        };
        calls::can_change_something(*number, arguments, |address| {
            let address = std::ptr::without_provenance_mut(usize::try_from(address).ok()?);
            ptrace::read(self.process, address).ok()
        })
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

    /// The number of the system call and its arguments, the same on every processor.
    fn words(&self) -> Vec<i64> {
        let path = format!("/proc/{}/syscall", self.process);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let word = |word: &str| match word.strip_prefix("0x") {
            None => word.parse().ok(),
            Some(digits) => u64::from_str_radix(digits, 16).ok().map(u64::cast_signed),
        };
        text.split_whitespace().map_while(word).collect()
    }

    fn high_water(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// The events by number, as `waitpid` reports them.
struct Event;

impl Event {
    const EXEC: i32 = ptrace::Event::PTRACE_EVENT_EXEC as i32;
    const EXIT: i32 = ptrace::Event::PTRACE_EVENT_EXIT as i32;
}
