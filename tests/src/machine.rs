//! The machine: started, given commands, and ended the hard way.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::hardware::{self, DISK_SIZE, DISKS, Wanted};
use crate::image::{Share, Told, USR, image};
use crate::kernel::{self, Unpacked};
use crate::{Kernel, MachineError};

/// How long a start may take. It takes five seconds; beside a compiler three times as long.
const START: Duration = Duration::from_secs(120);

/// How long a command may take if nothing else is said.
const COMMAND: Duration = Duration::from_secs(300);

/// A machine to be.
#[derive(Debug, Clone)]
pub struct Builder {
    kernel: Kernel,
    parameters: Vec<String>,
    shares: Vec<PathBuf>,
    path: Vec<PathBuf>,
    state: Option<PathBuf>,
    devices: bool,
    console: Console,
    memory: u32,
    start: Duration,
}

/// What the first serial port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Console {
    /// A file that is shown in errors.
    Log,
    /// This process's own terminal too.
    Terminal,
}

impl Builder {
    /// Adds to the kernel's command line.
    #[must_use]
    pub fn parameter(mut self, parameter: impl Into<String>) -> Self {
        self.parameters.push(parameter.into());
        self
    }

    /// Shows the machine a directory of this one, read-only, at the same path.
    #[must_use]
    pub fn share(mut self, directory: impl Into<PathBuf>) -> Self {
        self.shares.push(directory.into());
        self
    }

    /// Shares a directory and has its programs found by name.
    #[must_use]
    pub fn programs(mut self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        self.path.push(directory.clone());
        self.share(directory)
    }

    /// Has `/etc` and `/var` on this disk, and so as the machine before left them.
    #[must_use]
    pub fn state(mut self, disk: &StateDisk) -> Self {
        self.state = Some(disk.path());
        self
    }

    /// Leaves out what is there to be tuned, disks and cards and frequencies, and starts in half of
    /// the time.
    #[must_use]
    pub fn without_devices(mut self) -> Self {
        self.devices = false;
        self
    }

    /// Has the kernel's log, and a shell, on this process's terminal.
    #[must_use]
    pub fn on_this_terminal(mut self) -> Self {
        self.console = Console::Terminal;
        self
    }

    /// MiB of memory; 1024 if nothing is said.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// How long it may take until it answers; two minutes if nothing is said.
    #[must_use]
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start = limit;
        self
    }

    /// Starts it and waits until it takes commands.
    ///
    /// # Errors
    ///
    /// Where something is missing that `scripts/machine` gets, where the disk is full, and where the
    /// machine panics, hangs, or comes up with another kernel or without some of its devices.
    pub fn boot(self) -> Result<Machine, MachineError> {
        let qemu = qemu_version()?;
        let unpacked = Unpacked::find(self.kernel)?;
        let vmlinux = unpacked.vmlinux()?;
        let cpufreq = kernel::directory().join("cpufreq.aml");
        if !cpufreq.exists() {
            return Err(MachineError::NotFetched {
                what: "the table with the processors' frequencies".to_owned(),
                directory: kernel::directory(),
            });
        }
        let directory = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(kernel::directory())
            .map_err(file_error(&kernel::directory(), "written"))?;

        let mut shares = vec![
            Share {
                tag: USR.to_owned(),
                from: "/usr".into(),
                at: "/usr".into(),
            },
            Share {
                tag: "modules".to_owned(),
                from: unpacked.modules(),
                at: Path::new("/lib/modules").join(&unpacked.release),
            },
        ];
        for (number, path) in self.shares.iter().enumerate() {
            let path = path.canonicalize().map_err(file_error(path, "shared"))?;
            shares.push(Share {
                tag: format!("share{number}"),
                from: path.clone(),
                at: path,
            });
        }
        let devices = hardware::paths(self.devices, self.state.is_some());
        let told = Told {
            shares: &shares,
            devices: &devices,
            coldplug: self.devices,
            state: self.state.is_some(),
        };
        let initramfs = directory.path().join("initramfs");
        std::fs::write(&initramfs, image(&unpacked, &told)?)
            .map_err(file_error(&initramfs, "written"))?;
        for disk in DISKS {
            make_disk(&directory.path().join(disk.serial), DISK_SIZE)?;
        }

        let console = Log::make(&directory.path().join("console"))?;
        let said = Log::make(&directory.path().join("qemu"))?;
        let first_port = match self.console {
            Console::Log => format!("file,append=on,path={}", console.path.display()),
            Console::Terminal => format!(
                "stdio,signal=off,logappend=on,logfile={}",
                console.path.display()
            ),
        };
        let sockets = [
            directory.path().join("port0"),
            directory.path().join("port1"),
        ];
        // Listened at before QEMU is started, which connects to them: nothing has to be waited for.
        let mut listeners = Vec::new();
        for socket in &sockets {
            listeners.push(UnixListener::bind(socket).map_err(file_error(socket, "listened at"))?);
        }
        let mut arguments = hardware::arguments(&Wanted {
            qemu,
            memory: self.memory,
            vmlinux: &vmlinux,
            initramfs: &initramfs,
            cpufreq: &cpufreq,
            parameters: &self.parameters,
            shares: &shares,
            disks: self.devices.then_some(directory.path()),
            state: self.state.as_deref(),
            console: &first_port,
            ports: [&sockets[0], &sockets[1]],
        });
        arguments.insert(0, QEMU.to_owned());
        let process = launch(&arguments, self.console == Console::Terminal, &said)?;

        let mut machine = Machine {
            kernel: self.kernel,
            release: unpacked.release,
            process,
            directory: Some(directory),
            console,
            said,
            input: None,
            events: mpsc::channel().1,
            marks: 0,
            path: self.path,
            started: Instant::now(),
            start_took: Duration::ZERO,
        };
        machine.connect(listeners, self.start)?;
        machine.wait_until_ready(self.start)?;
        machine.start_took = machine.started.elapsed();
        // Everything is open by now, so nothing is left on the disk however this process ends.
        machine.directory = None;
        Ok(machine)
    }
}

/// A running machine. It ends with this value, as if its power were cut, and with this process
/// however that ends.
#[derive(Debug)]
pub struct Machine {
    kernel: Kernel,
    release: String,
    process: Child,
    /// What QEMU was started with, until it has opened all of it.
    directory: Option<TempDir>,
    console: Log,
    said: Log,
    input: Option<UnixStream>,
    events: Receiver<(Stream, Vec<u8>)>,
    marks: usize,
    path: Vec<PathBuf>,
    started: Instant,
    start_took: Duration,
}

/// Where a command's bytes came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
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

impl Machine {
    /// A machine with this kernel, which is still to be started.
    #[must_use]
    pub fn with(kernel: Kernel) -> Builder {
        Builder {
            kernel,
            parameters: Vec::new(),
            shares: Vec::new(),
            path: Vec::new(),
            state: None,
            devices: true,
            console: Console::Log,
            memory: 1024,
            start: START,
        }
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
        let (sender, events) = mpsc::channel();
        self.events = events;
        for (listener, stream) in listeners.into_iter().zip([Stream::Out, Stream::Err]) {
            let mut port = self.accept(&listener, limit)?;
            if stream == Stream::Out {
                self.input = port.try_clone().ok();
            }
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(length @ 1..) = port.read(&mut buffer) {
                    if sender.send((stream, buffer[..length].to_vec())).is_err() {
                        return;
                    }
                }
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
                return Err(MachineError::Lacking {
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
            Ok(event) => Ok(event),
            Err(RecvTimeoutError::Timeout) => Err(self.hung(&doing(), limit)),
            Err(RecvTimeoutError::Disconnected) => Err(self.ended(&doing())),
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

/// Stands before the mark that ends a command: the record separator of ASCII, which texts do not have.
const BEFORE_MARK: char = '\x1e';

/// What came out of one port since the command was sent.
#[derive(Debug, Default)]
struct Port {
    bytes: Vec<u8>,
    shown: usize,
    code: Option<i32>,
}

impl Port {
    /// Takes more bytes; what cannot be part of the line that ends the command is shown.
    fn take(&mut self, bytes: &[u8], mark: &str, show: &mut dyn FnMut(&[u8])) {
        // Searched again from where the line can have begun at the earliest.
        let line = format!("{BEFORE_MARK}{mark} ");
        let from = self.bytes.len().saturating_sub(line.len() + 8);
        self.bytes.extend_from_slice(bytes);
        let found = find(&self.bytes[from..], line.as_bytes()).map(|at| from + at);
        let safe = match found {
            Some(at) => {
                let rest = &self.bytes[at + line.len()..];
                if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let code = std::str::from_utf8(&rest[..end]).ok();
                    self.code = Some(code.and_then(|code| code.parse().ok()).unwrap_or(-1));
                    self.bytes.truncate(at);
                }
                at
            }
            // Most often nothing is held back: programs do not print this character.
            None => {
                let begun = |length: &usize| self.bytes.ends_with(&line.as_bytes()[..*length]);
                let longest = line.len().min(self.bytes.len());
                self.bytes.len() - (1..=longest).rev().find(begun).unwrap_or(0)
            }
        };
        if safe > self.shown {
            show(&self.bytes[self.shown..safe]);
            self.shown = safe;
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|here| here == wanted)
}

fn first_line(text: &str) -> &str {
    text.lines()
        .find(|line| !line.starts_with("PATH="))
        .unwrap_or_default()
}

/// A text as one word of a shell's.
#[must_use]
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A program and its arguments as a shell takes them.
pub(crate) fn quoted<A: AsRef<str>>(words: &[A]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word.as_ref())).collect();
    words.join(" ")
}

/// How the kernel begins its last words.
const PANIC: &str = "Kernel panic";

/// A file that QEMU writes to. It is read also when it has no name any more.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn make(path: &Path) -> Result<Self, MachineError> {
        let mut options = File::options();
        let file = options.read(true).append(true).create_new(true).open(path);
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(file_error(path, "written"))?,
        })
    }

    /// Its last lines.
    fn tail(&self) -> String {
        const LINES: usize = 20;
        const BYTES: u64 = 16 << 10;
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = vec![0; usize::try_from(length.min(BYTES)).unwrap_or_default()];
        let from = length.saturating_sub(BYTES);
        let length = self.file.read_at(&mut bytes, from).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[..length]).replace('\r', "");
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let from = lines.len().saturating_sub(LINES);
        // What a panic says first is what happened; behind it come registers and calls.
        let panic = lines[..from].iter().rposition(|line| line.contains(PANIC));
        let panic = panic.map(|at| format!("{}\n[...]\n", lines[at]));
        panic.unwrap_or_default() + &lines[from..].join("\n")
    }
}

pub(crate) fn file_error(
    path: &Path,
    operation: &'static str,
) -> impl Fn(std::io::Error) -> MachineError + use<> {
    let path = path.to_owned();
    move |source| MachineError::File {
        path: path.clone(),
        operation,
        source,
    }
}

fn make_disk(path: &Path, size: u64) -> Result<(), MachineError> {
    File::create(path)
        .and_then(|file| file.set_len(size))
        .map_err(file_error(path, "written"))
}

const QEMU: &str = "qemu-system-x86_64";

/// The first number of QEMU's version.
fn qemu_version() -> Result<u32, MachineError> {
    let output = Command::new(QEMU)
        .arg("--version")
        .output()
        .map_err(|source| MachineError::NoProgram {
            program: QEMU,
            package: "qemu-system-x86",
            source,
        })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text
        .split("version ")
        .nth(1)
        .and_then(|rest| rest.split('.').next());
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| MachineError::Failed {
            program: QEMU,
            status: output.status,
            said: String::from_utf8_lossy(&output.stderr).into_owned() + &text,
        })
}

/// Starts a program that is killed when this process ends, however it ends.
///
/// The kernel sends that signal when the *thread* that started the program ends, and a test's thread
/// ends long before the machine that other tests go on to use: so one thread starts them all.
fn launch(arguments: &[String], terminal: bool, said: &Log) -> Result<Child, MachineError> {
    type Request = (Command, mpsc::Sender<std::io::Result<Child>>);
    static LAUNCHER: OnceLock<Mutex<mpsc::Sender<Request>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(arguments);
    if !terminal {
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    let errors = said.file.try_clone();
    command.stderr(errors.map_err(file_error(&said.path, "written"))?);
    let (sender, answer) = mpsc::channel();
    let sent = launcher
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, sender));
    let started = match sent {
        Ok(()) => answer.recv().ok(),
        Err(_) => None,
    };
    let started = started.unwrap_or_else(|| Err(std::io::ErrorKind::BrokenPipe.into()));
    started.map_err(|source| MachineError::NoProgram {
        program: "setpriv",
        package: "util-linux",
        source,
    })
}

/// A disk that outlives machines: each that is started with it finds `/etc` and `/var` as the one
/// before left them, or as what was flushed of them where that one's power was cut.
#[derive(Debug)]
pub struct StateDisk(TempDir);

impl StateDisk {
    /// Makes one, with a file system and nothing on it.
    ///
    /// # Errors
    ///
    /// Where there is no room, or no `mke2fs`.
    pub fn make() -> Result<Self, MachineError> {
        const SIZE: u64 = 64 << 20;
        let directory = tempfile::Builder::new()
            .prefix("state-")
            .tempdir_in(kernel::directory())
            .map_err(file_error(&kernel::directory(), "written"))?;
        let disk = Self(directory);
        make_disk(&disk.path(), SIZE)?;
        let no_program = |source| MachineError::NoProgram {
            program: "mke2fs",
            package: "e2fsprogs",
            source,
        };
        let output = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4"])
            .arg(disk.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .map_err(no_program)?;
        if !output.status.success() {
            return Err(MachineError::Failed {
                program: "mke2fs",
                status: output.status,
                said: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pieces: &[&[u8]]) -> (Port, Vec<u8>) {
        let mut port = Port::default();
        let mut shown = Vec::new();
        for piece in pieces {
            port.take(piece, "mark", &mut |bytes| shown.extend_from_slice(bytes));
        }
        (port, shown)
    }

    #[test]
    fn a_command_s_bytes_come_through_as_they_are_however_they_are_cut() {
        let stream = b"\n\x1emark\x00\x1e\xff no newline at its end\x1emark 7\n";
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                let (port, shown) = taken(&pieces);
                assert_eq!(port.code, Some(7));
                assert_eq!(port.bytes, b"\n\x1emark\x00\x1e\xff no newline at its end");
                assert_eq!(shown, port.bytes, "{first} {second}");
            }
        }
    }

    #[test]
    fn as_long_as_the_line_is_not_whole_the_command_has_not_ended() {
        let (port, shown) = taken(&[b"said\n\x1emark 1"]);
        assert_eq!(port.code, None);
        assert_eq!(shown, b"said\n");
    }

    #[test]
    fn a_line_is_shown_as_soon_as_it_is_there() {
        assert_eq!(taken(&[b"up\n"]).1, b"up\n");
    }

    #[test]
    fn a_word_stays_one_word() {
        let output = Command::new("dash")
            .args([
                "-c",
                &quoted(&["printf", "%s|", "it's", "a $HOME", "", "\n*"]),
            ])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"it's|a $HOME||\n*|");
    }
}
