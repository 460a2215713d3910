//! What a machine is to be like, and its start.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::{StateDisk, make_disk};
use crate::error::file_error;
use crate::hardware::{self, DISK_SIZE, DISKS, Wanted};
use crate::image::{Share, Told, USR, image};
use crate::kernel::{self, Unpacked};
use crate::machine::{Machine, Started};
use crate::qemu::{self, Log, QEMU};
use crate::{Kernel, MachineError, log};

/// How long a start may take, as a watchdog: ten times the longest that was seen, which was 28 seconds beside
/// two other machines and a compiler.
const START: Duration = Duration::from_secs(300);

/// Names another number of seconds, for a machine that is slower than ours.
const START_SECONDS: &str = "HOSTTUNE_START_SECONDS";

fn start_limit() -> Duration {
    let seconds = std::env::var(START_SECONDS).ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    seconds.map_or(START, Duration::from_secs)
}

/// A machine to be.
#[derive(Debug, Clone)]
pub struct Builder {
    kernel: Kernel,
    reason: &'static str,
    parameters: Vec<String>,
    shares: Vec<PathBuf>,
    path: Vec<PathBuf>,
    state: Option<PathBuf>,
    devices: bool,
    console: Console,
    memory: u32,
    start: Duration,
    is_tried_again: bool,
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
    pub(crate) fn new(kernel: Kernel, reason: &'static str) -> Self {
        Self {
            kernel,
            reason,
            parameters: Vec::new(),
            shares: Vec::new(),
            path: Vec::new(),
            state: None,
            devices: true,
            console: Console::Log,
            memory: 1024,
            start: start_limit(),
            is_tried_again: true,
        }
    }

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

    /// Does not start it a second time where it fails before its first command: for tests of that.
    #[must_use]
    pub fn only_once(mut self) -> Self {
        self.is_tried_again = false;
        self
    }

    /// How long it may take until it answers. If nothing is said: `HOSTTUNE_START_SECONDS` from the
    /// environment, else five minutes.
    #[must_use]
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start = limit;
        self
    }

    /// Starts it and waits until it takes commands.
    ///
    /// A machine that panics or hangs before its first command is started once more, and a line on
    /// standard error says so: about one start in a hundred does, at different places in the kernel,
    /// and the emulation is to blame. What happens after the first command is never tried again.
    ///
    /// # Errors
    ///
    /// Where something is missing that `scripts/machine` gets, where the disk is full, and where the
    /// machine panics, hangs, or comes up with another kernel or without some of its devices.
    #[expect(
        clippy::print_stderr,
        reason = "nobody is to think that it did not happen"
    )]
    pub fn boot(self) -> Result<Machine, MachineError> {
        match self.clone().boot_once() {
            Err(error @ (MachineError::Ended { .. } | MachineError::Hung { .. }))
                if self.is_tried_again =>
            {
                eprintln!("started once more: {error}");
                log::started_again(self.kernel);
                self.boot_once()
            }
            other => other,
        }
    }

    fn boot_once(self) -> Result<Machine, MachineError> {
        let version = qemu::version()?;
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
        // Their paths must be short, and a checkout's need not be.
        let sockets = tempfile::tempdir().map_err(file_error(&std::env::temp_dir(), "written"))?;
        let ports = ["port0", "port1"].map(|name| sockets.path().join(name));
        // Listened at before QEMU is started, which connects to them: nothing has to be waited for.
        let mut listeners = Vec::new();
        for socket in &ports {
            listeners.push(UnixListener::bind(socket).map_err(file_error(socket, "listened at"))?);
        }
        let mut arguments = hardware::arguments(&Wanted {
            qemu: version,
            memory: self.memory,
            vmlinux: &vmlinux,
            initramfs: &initramfs,
            cpufreq: &cpufreq,
            parameters: &self.parameters,
            shares: &shares,
            disks: self.devices.then_some(directory.path()),
            state: self.state.as_deref(),
            console: &first_port,
            ports: [&ports[0], &ports[1]],
        });
        arguments.insert(0, QEMU.to_owned());
        log::started(self.kernel, self.reason);
        let process = qemu::launch(&arguments, self.console == Console::Terminal, &said)?;

        Machine::started(
            self.kernel,
            unpacked.release,
            Started {
                process,
                console,
                said,
                listeners,
                files: (directory, sockets),
                path: self.path,
            },
            self.start,
        )
    }
}
