//! Starts QEMU so that it does not outlive this process, and reads its logs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

use crate::MachineError;
use crate::error::file_error;

pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// Returns QEMU's major version.
pub(crate) fn version() -> Result<u32, MachineError> {
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
/// The kernel sends the parent-death signal when the *thread* that started the program exits. The thread of a
/// test exits long before a machine that other tests continue to use, so a single permanent thread starts all
/// programs.
pub(crate) fn launch(
    arguments: &[String],
    terminal: bool,
    said: &Log,
) -> Result<Child, MachineError> {
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

/// Beginning of the message of a kernel panic.
pub(crate) const PANIC: &str = "Kernel panic";

/// A file that QEMU writes to. It stays readable after it was deleted.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    file: File,
}

impl Log {
    pub(crate) fn make(path: &Path) -> Result<Self, MachineError> {
        let mut options = File::options();
        let file = options.read(true).append(true).create_new(true).open(path);
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(file_error(path, "written"))?,
        })
    }

    /// Returns everything, or nothing if it cannot be read.
    pub(crate) fn text(&self) -> String {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let length = self.file.read_at(&mut bytes, 0).unwrap_or_default();
        String::from_utf8_lossy(&bytes[..length]).replace('\r', "")
    }

    /// Returns the last lines.
    pub(crate) fn tail(&self) -> String {
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
        // The first line of a panic says what happened; registers and the call trace follow.
        let panic = lines[..from].iter().rposition(|line| line.contains(PANIC));
        let panic = panic.map(|at| format!("{}\n[...]\n", lines[at]));
        panic.unwrap_or_default() + &lines[from..].join("\n")
    }
}
