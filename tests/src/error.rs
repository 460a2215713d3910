use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::Kernel;

/// Why there is no machine, or no answer from it. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// What the machine boots with has not been fetched, or only half of it.
    #[error("{what} is not in {}: run scripts/machine", directory.display())]
    NotFetched {
        /// What was looked for.
        what: String,
        /// Where.
        directory: PathBuf,
    },
    /// A program of the build machine that is needed does not start.
    #[error("{program} cannot be started: install {package}, or run scripts/machine as root")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Debian's package that has it.
        package: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program of the build machine failed.
    #[error("{program} failed ({status}){}", listed(said))]
    Failed {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said on its standard error.
        said: String,
    },
    /// A file on the build machine cannot be read or written.
    #[error("{} cannot be {operation}{}", path.display(), full(source))]
    File {
        /// Which.
        path: PathBuf,
        /// "read", "written" and so on.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{} is {problem}: remove {} and run scripts/machine", path.display(), directory.display())]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What is fetched anew once it is gone.
        directory: PathBuf,
    },
    /// The machine ended by itself: its kernel panicked, it was powered off, or QEMU refused to
    /// start it.
    #[error(
        "the machine with Linux {kernel} ended {when} ({status}): {hint}; QEMU said:{}\nthe end of its console:{}",
        listed(said),
        listed(console)
    )]
    Ended {
        /// What it ran.
        kernel: Kernel,
        /// What was going on.
        when: String,
        /// How QEMU ended.
        status: ExitStatus,
        /// What to do.
        hint: &'static str,
        /// What QEMU said on its standard error.
        said: String,
        /// The last lines on the first serial port.
        console: String,
    },
    /// The machine did not answer in time and was killed.
    #[error(
        "the machine with Linux {kernel} did not finish {when} within {} s and was killed: if it only was slow, \
         give it more time; the end of its console:{}",
        limit.as_secs(), listed(console)
    )]
    Hung {
        /// What it ran.
        kernel: Kernel,
        /// What was going on.
        when: String,
        /// How long it was waited for.
        limit: Duration,
        /// The last lines on the first serial port.
        console: String,
    },
    /// The process that owns the shared machines has none to lend.
    #[error("no shared machine: {problem}")]
    Broker {
        /// Why not.
        problem: String,
    },
    /// The machine came up, but not as it should.
    #[error(
        "the machine with Linux {kernel} is not as it should be: {problem}; the end of its console:{}",
        listed(console)
    )]
    Unsupported {
        /// What it runs, or should.
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
            ": free some room there (a kernel needs about 200 MB), or name another place in \
             HOSTTUNE_MACHINE"
        }
        _ => "",
    }
}

/// Makes the error for a file of the build machine.
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
