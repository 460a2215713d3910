use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::Kernel;

/// Why a machine is not available or does not answer. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// Something that the machine boots with has not been fetched, or only partly.
    #[error("{what} is not in {}: run scripts/machine", directory.display())]
    NotFetched {
        /// What is missing.
        what: String,
        /// Where it was expected.
        directory: PathBuf,
    },
    /// A required program of the build machine cannot be started.
    #[error("{program} cannot be started: install {package}, or run scripts/machine as root")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// The Debian package that contains it.
        package: &'static str,
        /// The error from the kernel.
        source: io::Error,
    },
    /// A program of the build machine failed.
    #[error("{program} failed ({status}){}", listed(said))]
    Failed {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its standard error.
        said: String,
    },
    /// A file on the build machine cannot be read or written.
    #[error("{} cannot be {operation}{}", path.display(), full(source))]
    File {
        /// The file.
        path: PathBuf,
        /// The failed operation as a participle: `"read"`, `"written"`.
        operation: &'static str,
        /// The error from the kernel.
        source: io::Error,
    },
    /// A file has unexpected contents.
    #[error("{} is {problem}: remove {} and run scripts/machine", path.display(), directory.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// The directory to remove, so that `scripts/machine` fetches it again.
        directory: PathBuf,
    },
    /// The machine ended by itself: its kernel panicked, it was powered off, or QEMU rejected its arguments.
    #[error(
        "the machine with Linux {kernel} ended {when} ({status}): {hint}; QEMU printed:{}\nend of its console:{}",
        listed(said),
        listed(console)
    )]
    Ended {
        /// Its kernel.
        kernel: Kernel,
        /// During what.
        when: String,
        /// The exit status of QEMU.
        status: ExitStatus,
        /// The likely cause.
        hint: &'static str,
        /// The last lines of QEMU's standard error.
        said: String,
        /// The last lines on the first serial port.
        console: String,
    },
    /// The machine did not answer in time and was killed.
    #[error(
        "the machine with Linux {kernel} did not finish within {} s {when} and was killed: if it was only slow, \
         raise the limit (HOSTTUNE_START_SECONDS for a start; scripts/vm has --time-limit); end of its console:{}",
        limit.as_secs(), listed(console)
    )]
    Hung {
        /// Its kernel.
        kernel: Kernel,
        /// During what.
        when: String,
        /// The time limit.
        limit: Duration,
        /// The last lines on the first serial port.
        console: String,
    },
    /// The process that owns the shared machines cannot lend one.
    #[error("no shared machine: {problem}")]
    Broker {
        /// The reason.
        problem: String,
    },
    /// The machine booted, but with another kernel or without some of its devices.
    #[error(
        "the machine with Linux {kernel} is not as expected: {problem}; end of its console:{}",
        listed(console)
    )]
    Unsupported {
        /// The kernel that it should run.
        kernel: Kernel,
        /// What is missing or different.
        problem: String,
        /// The last lines on the first serial port.
        console: String,
    },
}

fn listed(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() {
        return " (nothing)".to_owned();
    }
    text.lines().map(|line| format!("\n    {line}")).collect()
}

fn full(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free some space there (a kernel needs about 200 MB), or set HOSTTUNE_MACHINE to \
             another directory"
        }
        _ => "",
    }
}

/// Returns a function that makes the error for a file of the build machine.
pub(crate) fn file_error(
    path: &Path,
    operation: &'static str,
) -> impl Fn(io::Error) -> MachineError + use<> {
    let path = path.to_owned();
    move |source| MachineError::File {
        path: path.clone(),
        operation,
        source,
    }
}
