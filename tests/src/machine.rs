//! The machine while it runs: given commands, and ended the hard way.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::file_error;
use crate::qemu::{Log, PANIC};
use crate::serial::{Port, Stream};
use crate::shell::{quote, quoted};
use crate::{Builder, Kernel, MachineError};

/// How long a command may take if nothing else is said.
const COMMAND: Duration = Duration::from_secs(300);

/// A running machine. It ends with this value, as if its power were cut, and with this process
/// however that ends.
#[derive(Debug)]
pub struct Machine {
    kernel: Kernel,
    release: String,
    process: Child,
    /// What QEMU was started with, until it has opened all of it.
    files: Option<(TempDir, TempDir)>,
    console: Log,
    said: Log,
    input: Option<UnixStream>,
    events: Receiver<Event>,
    event_sender: Sender<Event>,
    marks: usize,
    path: Vec<PathBuf>,
    started: Instant,
    start_took: Duration,
}

/// What is waited for while a command runs.
#[derive(Debug)]
enum Event {
    Printed(Stream, Vec<u8>),
    /// A port was closed: QEMU has ended or is about to.
    Closed,
    /// Nobody waits for the command any more.
    Interrupted,
}

/// Ends the command that a machine runs, and the machine with it, from another thread.
#[derive(Debug, Clone)]
pub(crate) struct Interrupter(Sender<Event>);

impl Interrupter {
    pub(crate) fn interrupt(&self) {
        let _ = self.0.send(Event::Interrupted);
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 and the signal where one ended it, as a shell has it.
    pub code: i32,
    /// Everything on its standard output.
    pub stdout: Vec<u8>,
    /// Everything on its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// What QEMU was started with.
pub(crate) struct Started {
    pub(crate) process: Child,
    pub(crate) console: Log,
    pub(crate) said: Log,
    /// For its second and third serial ports.
    pub(crate) listeners: Vec<UnixListener>,
    pub(crate) files: (TempDir, TempDir),
    /// Where programs are found beside the usual places.
    pub(crate) path: Vec<PathBuf>,
}

impl Machine {
    /// Waits until the guest takes commands.
    pub(crate) fn started(
        kernel: Kernel,
        release: String,
        with: Started,
        limit: Duration,
    ) -> Result<Self, MachineError> {
        let (event_sender, events) = mpsc::channel();
        let mut machine = Self {
            kernel,
            release,
            process: with.process,
            files: Some(with.files),
            console: with.console,
            said: with.said,
            input: None,
            events,
            event_sender,
            marks: 0,
            path: with.path,
            started: Instant::now(),
            start_took: Duration::ZERO,
        };
        machine.connect(with.listeners, limit)?;
        machine.wait_until_ready(limit)?;
        machine.start_took = machine.started.elapsed();
        // Everything is open by now, so nothing is left on the disk however this process ends.
        machine.files = None;
        Ok(machine)
    }

    /// A machine of the caller's own with this kernel, which is still to be started.
    ///
    /// A start costs as much as ten tests, so most tests borrow a shared one, and this is for those that
    /// cannot: `reason` says why, and is shown where starts are counted.
    #[must_use]
    pub fn own(kernel: Kernel, reason: &'static str) -> Builder {
        Builder::new(kernel, reason)
    }

    /// What ends its command from another thread.
    pub(crate) fn interrupter(&self) -> Interrupter {
        Interrupter(self.event_sender.clone())
    }

    /// The kernel it was started with.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// What `uname -r` says in it.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// How long it took from the start of QEMU to the first command being taken.
    #[must_use]
    pub fn start_took(&self) -> Duration {
        self.start_took
    }

    /// Runs a program with its arguments, five minutes at most.
    ///
    /// # Errors
    ///
    /// Where the machine ends or hangs meanwhile. A program that fails is no error here.
    pub fn run<A: AsRef<str>>(&mut self, program: &[A]) -> Result<Output, MachineError> {
        self.program(program, COMMAND, &mut |_, _| {})
    }

    /// The same with another limit, and shows what it prints while it runs.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); also where it takes longer than `limit`, which ends the machine.
    pub fn program<A: AsRef<str>>(
        &mut self,
        program: &[A],
        limit: Duration,
        show: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Output, MachineError> {
        self.shell(&quoted(program), limit, show)
    }

    /// Evaluates a text in a shell (`dash`), and shows what it prints while it does.
    ///
    /// # Errors
    ///
    /// As [`program`](Self::program).
    pub fn shell(
        &mut self,
        text: &str,
        limit: Duration,
        show: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Output, MachineError> {
        let deadline = Instant::now() + limit;
        self.marks += 1;
        let mark = format!("end-of-command-{}-{}", std::process::id(), self.marks);
        let mut path = String::new();
        for directory in &self.path {
            let _ = write!(path, "{}:", directory.display());
        }
        let text = if path.is_empty() {
            text.to_owned()
        } else {
            format!("PATH={}$PATH\n{text}", quote(&path))
        };
        let doing = || format!("while it ran `{}`", first_line(&text));
        let request = format!("{mark} {}\n{text}", text.len());
        let sent = match &mut self.input {
            Some(input) => input.write_all(request.as_bytes()).is_ok(),
            None => false,
        };
        if !sent {
            return Err(self.ended(&doing()));
        }

        let mut streams = [Port::default(), Port::default()];
        loop {
            let (stream, bytes) = self.event(deadline, limit, &doing)?;
            let port = &mut streams[stream as usize];
            port.take(&bytes, &mark, &mut |bytes| show(stream, bytes));
            let [out, err] = &streams;
            if let (Some(code), Some(_)) = (out.code, err.code) {
                let [out, err] = streams;
                return Ok(Output {
                    code,
                    stdout: out.bytes,
                    stderr: err.bytes,
                });
            }
        }
    }

    /// Ends it without warning, as a pulled plug does: what the guest has not flushed is lost.
    pub fn cut_power(self) {
        drop(self);
    }

    /// Ends it as a shutdown does, with all that was written on its disks.
    ///
    /// # Errors
    ///
    /// Where it does not end within a minute.
    pub fn power_off(mut self) -> Result<(), MachineError> {
        // Nothing answers this: where it cannot even be sent, the machine has ended already.
        let command = "sync; /busybox poweroff -f";
        if let Some(input) = &mut self.input {
            let _ = input.write_all(format!("none {}\n{command}", command.len()).as_bytes());
        }
        let limit = Duration::from_secs(60);
        let deadline = Instant::now() + limit;
        while self.process.try_wait().ok().flatten().is_none() {
            if Instant::now() > deadline {
                return Err(self.hung("powering off", limit));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The last lines on the first serial port.
    #[must_use]
    pub fn console(&self) -> String {
        self.console.tail()
    }

    fn connect(
        &mut self,
        listeners: Vec<UnixListener>,
        limit: Duration,
    ) -> Result<(), MachineError> {
        for (listener, stream) in listeners.into_iter().zip([Stream::Out, Stream::Err]) {
            let mut port = self.accept(&listener, limit)?;
            if stream == Stream::Out {
                self.input = port.try_clone().ok();
            }
            let sender = self.event_sender.clone();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(length @ 1..) = port.read(&mut buffer) {
                    let printed = Event::Printed(stream, buffer[..length].to_vec());
                    if sender.send(printed).is_err() {
                        return;
                    }
                }
                let _ = sender.send(Event::Closed);
            });
        }
        Ok(())
    }

    /// Waits for QEMU to connect, which it does before it starts anything, or to end.
    fn accept(
        &mut self,
        listener: &UnixListener,
        limit: Duration,
    ) -> Result<UnixStream, MachineError> {
        let failed = file_error(Path::new("a serial port of the machine"), "connected");
        if let Err(source) = listener.set_nonblocking(true) {
            return Err(failed(source));
        }
        loop {
            match listener.accept() {
                Ok((port, _)) => {
                    return match port.set_nonblocking(false) {
                        Ok(()) => Ok(port),
                        Err(source) => Err(failed(source)),
                    };
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(source) => return Err(failed(source)),
            }
            if self.process.try_wait().ok().flatten().is_some() {
                return Err(self.ended("before it started"));
            }
            if self.started.elapsed() > limit {
                return Err(self.hung("starting", limit));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_until_ready(&mut self, limit: Duration) -> Result<(), MachineError> {
        let deadline = self.started + limit;
        let mut heard = String::new();
        let mut problems = Vec::new();
        loop {
            let (stream, bytes) = self.event(deadline, limit, &|| "starting".to_owned())?;
            if stream == Stream::Out {
                heard.push_str(&String::from_utf8_lossy(&bytes));
            }
            while let Some((line, rest)) = heard.split_once('\n') {
                if let Some(problem) = line.strip_prefix("failed ") {
                    problems.push(problem.to_owned());
                }
                let ready = line.strip_prefix("ready ").map(ToOwned::to_owned);
                heard = rest.to_owned();
                let Some(ready) = ready else { continue };
                let release = ready.split(' ').next().unwrap_or_default();
                if release != self.release {
                    problems.push(format!("it runs {release} and not {}", self.release));
                }
                if problems.is_empty() {
                    return Ok(());
                }
                return Err(MachineError::Unsupported {
                    kernel: self.kernel,
                    problem: problems.join("; "),
                    console: self.console(),
                });
            }
        }
    }

    fn event(
        &mut self,
        deadline: Instant,
        limit: Duration,
        doing: &dyn Fn() -> String,
    ) -> Result<(Stream, Vec<u8>), MachineError> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(Event::Printed(stream, bytes)) => Ok((stream, bytes)),
            Ok(Event::Interrupted) => {
                self.kill();
                Err(MachineError::Broker {
                    problem: format!("its client ended {}", doing()),
                })
            }
            Err(RecvTimeoutError::Timeout) => Err(self.hung(&doing(), limit)),
            Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => Err(self.ended(&doing())),
        }
    }

    /// Both ports are closed, so QEMU has ended or is about to.
    fn ended(&mut self, when: &str) -> MachineError {
        let status = self.wait();
        let console = self.console();
        let said = self.said.tail();
        let hint = if console.contains(PANIC) {
            "its kernel panicked"
        } else if said.contains("Cannot allocate memory") || status.code().is_none() {
            "is there a gigabyte of memory left for it?"
        } else if status.success() {
            "something in it powered it off, or reset it"
        } else {
            "QEMU refused what it was given"
        };
        MachineError::Ended {
            kernel: self.kernel,
            when: when.to_owned(),
            status,
            hint,
            said,
            console,
        }
    }

    fn hung(&mut self, when: &str, limit: Duration) -> MachineError {
        self.kill();
        MachineError::Hung {
            kernel: self.kernel,
            when: when.to_owned(),
            limit,
            console: self.console(),
        }
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn wait(&mut self) -> ExitStatus {
        // It has closed its ports and has nothing left to do; nothing is waited for forever.
        for _ in 0..200 {
            if let Ok(Some(status)) = self.process.try_wait() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        self.process.wait().unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn first_line(text: &str) -> &str {
    text.lines()
        .find(|line| !line.starts_with("PATH="))
        .unwrap_or_default()
}
