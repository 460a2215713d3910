//! The configuration of a machine, and its start.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::{StateDisk, make_disk};
use crate::error::file_error;
use crate::hardware::{self, DISK_SIZE, DISKS, Start, Wanted};
use crate::image::{MACHINE_ID, Share, Told, USR, image};
use crate::kernel::{self, Unpacked};
use crate::machine::{Machine, Started};
use crate::qemu::{self, Log, QEMU};
use crate::systemd_boot::{self, Entry};
use crate::{Kernel, MachineError, log};

/// Watchdog for a start: ten times the longest start observed, 28 seconds while two other machines and a
/// compiler were running.
const START: Duration = Duration::from_secs(300);

/// Environment variable that overrides [`START`], in seconds, for a slower build machine.
const START_SECONDS: &str = "HOSTTUNE_START_SECONDS";

fn start_limit() -> Duration {
    let seconds = std::env::var(START_SECONDS).ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    seconds.map_or(START, Duration::from_secs)
}

/// Configures and starts a machine.
#[derive(Debug, Clone)]
pub struct Builder {
    kernel: Kernel,
    reason: &'static str,
    parameters: Vec<String>,
    shares: Vec<PathBuf>,
    path: Vec<PathBuf>,
    state: Option<PathBuf>,
    devices: bool,
    more_devices: Vec<String>,
    systemd: bool,
    systemd_boot: bool,
    console: Console,
    memory: u32,
    start: Duration,
    is_tried_again: bool,
}

/// Destination of the first serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Console {
    /// A file, whose end is shown in errors.
    Log,
    /// The same file and also this process's terminal.
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
            more_devices: Vec::new(),
            systemd: false,
            systemd_boot: false,
            console: Console::Log,
            memory: 1024,
            start: start_limit(),
            is_tried_again: true,
        }
    }

    /// Adds a parameter to the kernel command line.
    #[must_use]
    pub fn parameter(mut self, parameter: impl Into<String>) -> Self {
        self.parameters.push(parameter.into());
        self
    }

    /// Shares a directory of the build machine, read-only, at the same path.
    #[must_use]
    pub fn share(mut self, directory: impl Into<PathBuf>) -> Self {
        self.shares.push(directory.into());
        self
    }

    /// Shares a directory and adds it to `PATH`.
    #[must_use]
    pub fn programs(mut self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        self.path.push(directory.clone());
        self.share(directory)
    }

    /// Puts `/etc` and `/var` on this disk, so that they are as the previous machine left them.
    #[must_use]
    pub fn state(mut self, disk: &StateDisk) -> Self {
        self.state = Some(disk.path());
        self
    }

    /// Omits the tunable hardware (disks, cards, CPU frequencies), which halves the time of a start.
    #[must_use]
    pub fn without_devices(mut self) -> Self {
        self.devices = false;
        self
    }

    /// Adds a device, in the words of QEMU's option `-device`. The start does not wait for its driver.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.more_devices.push(device.into());
        self
    }

    /// Makes the build machine's systemd the init, with its message bus. Commands are accepted when its
    /// `multi-user.target` is reached, and `/usr` is writable: the changes are on the state disk, if there is one.
    #[must_use]
    pub fn systemd(mut self) -> Self {
        self.systemd = true;
        self.parameter("systemd.unit=machine.target")
    }

    /// Has a UEFI firmware start systemd-boot, and systemd-boot the kernel, as on a real machine. The EFI system
    /// partition is mounted on `/boot/efi`, with one entry as kernel-install writes it, and the firmware's variables
    /// are in `/sys/firmware/efi/efivars`.
    ///
    /// A reset does not end the machine: the firmware starts it again. [`Machine::restart`] does it and waits. A start
    /// takes three times as long as one without a firmware.
    #[must_use]
    pub fn systemd_boot(mut self) -> Self {
        self.systemd_boot = true;
        self.start = 3 * self.start;
        self
    }

    /// Connects the console to this process's terminal, for the kernel log and a shell.
    #[must_use]
    pub fn on_this_terminal(mut self) -> Self {
        self.console = Console::Terminal;
        self
    }

    /// Sets the memory size in MiB (default: 1024).
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// Disables the second attempt to start, for tests of a failing start.
    #[must_use]
    pub fn only_once(mut self) -> Self {
        self.is_tried_again = false;
        self
    }

    /// Sets the time limit of a start. The default is `HOSTTUNE_START_SECONDS` from the environment, or else
    /// five minutes.
    #[must_use]
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start = limit;
        self
    }

    /// Starts the machine and waits until it accepts commands.
    ///
    /// If the machine panics or hangs before its first command, it is started once more, with a line on
    /// standard error: this happens in about one start of a hundred, at various places in the kernel, because
    /// of the emulation. Nothing is retried after the first command.
    ///
    /// # Errors
    ///
    /// Fails if something is missing that `scripts/machine` fetches, if the disk is full, and if the machine
    /// panics, hangs, or boots another kernel or without some of its devices.
    #[expect(
        clippy::print_stderr,
        reason = "a repeated start must not go unnoticed"
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
        let cpufreq = kernel::directory().join("cpufreq.aml");
        if !cpufreq.exists() {
            return Err(MachineError::NotFetched {
                what: "the ACPI table with the CPU frequencies".to_owned(),
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
            systemd: self.systemd,
            uefi: self.systemd_boot,
        };
        let initramfs = directory.path().join("initramfs");
        std::fs::write(&initramfs, image(&unpacked, &told)?)
            .map_err(file_error(&initramfs, "written"))?;
        let line = hardware::line(&self.parameters);
        let (vmlinux, firmware);
        let start = if self.systemd_boot {
            let entry = Entry {
                release: &unpacked.release,
                vmlinuz: &unpacked.vmlinuz(),
                initramfs: &initramfs,
                line: &line,
                machine_id: MACHINE_ID,
            };
            firmware = systemd_boot::make(directory.path(), &entry)?;
            Start::Firmware(&firmware)
        } else {
            vmlinux = unpacked.vmlinux()?;
            Start::Directly {
                vmlinux: &vmlinux,
                initramfs: &initramfs,
                line: &line,
            }
        };
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
        // In the temporary directory, because the path of a socket must be short and a checkout's may be long.
        let sockets = tempfile::tempdir().map_err(file_error(&std::env::temp_dir(), "written"))?;
        let ports = ["port0", "port1"].map(|name| sockets.path().join(name));
        // QEMU connects to these sockets, so they must listen before it starts. Then nothing has to wait.
        let mut listeners = Vec::new();
        for socket in &ports {
            listeners.push(UnixListener::bind(socket).map_err(file_error(socket, "bound"))?);
        }
        let mut arguments = hardware::arguments(&Wanted {
            qemu: version,
            memory: self.memory,
            start,
            cpufreq: &cpufreq,
            shares: &shares,
            disks: self.devices.then_some(directory.path()),
            more_devices: &self.more_devices,
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
