//! A running machine: runs commands, and ends by a power cut.

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

/// Default time limit of a command.
const COMMAND: Duration = Duration::from_secs(300);

/// A running machine.
///
/// It ends when this value is dropped, as if its power were cut, and with this process, however that ends.
#[derive(Debug)]
pub struct Machine {
    kernel: Kernel,
    release: String,
    process: Child,
    /// QEMU's files and sockets, kept until QEMU has opened them.
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
    start_limit: Duration,
}

/// An event while a command runs.
#[derive(Debug)]
enum Event {
    Printed(Stream, Vec<u8>),
    /// A port was closed: QEMU has exited or is about to.
    Closed,
    /// The client that waited for the command has disconnected.
    Interrupted,
}

/// Interrupts a running command from another thread, which also ends the machine.
#[derive(Debug, Clone)]
pub(crate) struct Interrupter(Sender<Event>);

impl Interrupter {
    pub(crate) fn interrupt(&self) {
        let _ = self.0.send(Event::Interrupted);
    }
}

/// Exit code and output of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; after a signal 128 plus its number, as in a shell.
    pub code: i32,
    /// Its whole standard output.
    pub stdout: Vec<u8>,
    /// Its whole standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Returns standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns standard error as text.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A started QEMU and its files and sockets.
pub(crate) struct Started {
    pub(crate) process: Child,
    pub(crate) console: Log,
    pub(crate) said: Log,
    /// The sockets of the second and third serial port.
    pub(crate) listeners: Vec<UnixListener>,
    pub(crate) files: (TempDir, TempDir),
    /// Directories that are prepended to `PATH`.
    pub(crate) path: Vec<PathBuf>,
}

impl Machine {
    /// Waits until the guest accepts commands.
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
            start_limit: limit,
        };
        machine.connect(with.listeners, limit)?;
        machine.wait_until_ready(limit)?;
        machine.start_took = machine.started.elapsed();
        // QEMU has opened all files, so they can be deleted. However this process ends, none is left behind.
        machine.files = None;
        Ok(machine)
    }

    /// Returns the builder of a separate machine with this kernel.
    ///
    /// A start costs as much as ten tests, so most tests borrow a shared machine. This function is for tests that
    /// cannot; `reason` says why, and is shown in the list of starts.
    #[must_use]
    pub fn own(kernel: Kernel, reason: &'static str) -> Builder {
        Builder::new(kernel, reason)
    }

    /// Returns a handle that interrupts a command from another thread.
    pub(crate) fn interrupter(&self) -> Interrupter {
        Interrupter(self.event_sender.clone())
    }

    /// The kernel of the machine.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The kernel release, as `uname -r` prints it.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The time from the start of QEMU, or from the last [`restart`](Self::restart), until the machine accepted
    /// commands.
    #[must_use]
    pub fn start_took(&self) -> Duration {
        self.start_took
    }

    /// Runs a program with its arguments, for at most five minutes.
    ///
    /// # Errors
    ///
    /// Fails if the machine ends or hangs. The failure of the program is not an error.
    pub fn run<A: AsRef<str>>(&mut self, program: &[A]) -> Result<Output, MachineError> {
        self.program(program, COMMAND, &mut |_, _| {})
    }

    /// Runs a program with another time limit, and passes its output to `show` as it arrives.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run). Also fails, and ends the machine, if the program takes longer than `limit`.
    pub fn program<A: AsRef<str>>(
        &mut self,
        program: &[A],
        limit: Duration,
        show: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Output, MachineError> {
        self.shell(&quoted(program), limit, show)
    }

    /// Runs a script in a shell (`dash`), and passes its output to `show` as it arrives.
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
        let doing = || format!("while running `{}`", first_line(&text));
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

    /// Runs a script in a shell (`dash`) that restarts the machine, such as `reboot -f`, or that lets its kernel crash,
    /// and waits until the machine accepts commands again. Only a machine that a boot loader starts
    /// ([`Builder::systemd_boot`]) comes back. There may be several starts: those that fail are not noticed here.
    ///
    /// # Errors
    ///
    /// Fails if the machine ends, or is not back within the time limit of a start.
    pub fn restart(&mut self, script: &str) -> Result<(), MachineError> {
        let request = format!("none {}\n{script}", script.len());
        let sent = match &mut self.input {
            Some(input) => input.write_all(request.as_bytes()).is_ok(),
            None => false,
        };
        if !sent {
            return Err(self.ended("while restarting"));
        }
        self.started = Instant::now();
        self.wait_until_ready(self.start_limit)?;
        self.start_took = self.started.elapsed();
        Ok(())
    }

    /// Cuts the power: everything that the guest has not flushed is lost.
    pub fn cut_power(self) {
        drop(self);
    }

    /// Syncs the disks and powers off. systemd stops its units before, if it is the init.
    ///
    /// # Errors
    ///
    /// Fails if the machine does not end within five minutes.
    pub fn power_off(mut self) -> Result<(), MachineError> {
        // There is no answer. If the command cannot be sent, the machine has already ended.
        let command = "sync; [ -S /run/systemd/private ] || exec /busybox poweroff -f; \
                       exec systemctl --no-block poweroff";
        if let Some(input) = &mut self.input {
            let _ = input.write_all(format!("none {}\n{command}", command.len()).as_bytes());
        }
        let deadline = Instant::now() + COMMAND;
        while self.process.try_wait().ok().flatten().is_none() {
            if Instant::now() > deadline {
                return Err(self.hung("while powering off", COMMAND));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Returns the last lines from the first serial port.
    #[must_use]
    pub fn console(&self) -> String {
        self.console.tail()
    }

    /// Returns everything from the first serial port, of all boots.
    #[must_use]
    pub fn console_text(&self) -> String {
        self.console.text()
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

    /// Waits until QEMU connects, which it does before it starts the guest, or exits.
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
                return Err(self.hung("while starting", limit));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_until_ready(&mut self, limit: Duration) -> Result<(), MachineError> {
        let deadline = self.started + limit;
        let mut heard = String::new();
        let mut problems = Vec::new();
        loop {
            let (stream, bytes) = self.event(deadline, limit, &|| "while starting".to_owned())?;
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
                    problems.push(format!("it runs {release} instead of {}", self.release));
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
                    problem: format!("the client disconnected {}", doing()),
                })
            }
            Err(RecvTimeoutError::Timeout) => Err(self.hung(&doing(), limit)),
            Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => Err(self.ended(&doing())),
        }
    }

    /// Returns the error for a machine whose ports are closed, so that QEMU has exited or is about to.
    fn ended(&mut self, when: &str) -> MachineError {
        let status = self.wait();
        let console = self.console();
        let said = self.said.tail();
        let hint = if console.contains(PANIC) {
            "its kernel panicked"
        } else if said.contains("Cannot allocate memory") || status.code().is_none() {
            "it was killed or ran out of memory; a machine needs about one gigabyte"
        } else if status.success() {
            "a program in it powered it off or reset it"
        } else {
            "QEMU rejected its arguments"
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
        // QEMU has closed its ports and should exit at once; this does not wait forever.
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
