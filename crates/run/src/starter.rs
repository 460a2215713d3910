//! The process that becomes the command.
//!
//! It is a process of the same program, started before the host is tuned: it takes the command's priority
//! and identity, finds the command as that user does, reports, and waits. A command that does not exist is
//! therefore found before anything is changed, and the command starts as soon as the host is tuned. Because
//! it sets everything on itself, all of it is inherited by the command and by nothing else, and the command
//! keeps the process ID that was recorded.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::process::{Pid, PidfdFlags, getpid, getppid, pidfd_open, setpriority_process};
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::ended::Ended;

/// What the starter sets on itself before it becomes the command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// As whom the command runs; `None` for the user of this process.
    pub account: Option<Account>,
    /// The nice value, −20 to 19; `None` to leave it. The I/O priority follows it unless the caller has set
    /// one (`ioprio_set(2)`).
    pub nice: Option<i32>,
    /// Environment variables to set, and with `None` to remove.
    pub environment: Vec<(String, Option<String>)>,
}

/// What a starter reports before it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartReport {
    /// The command is this file.
    Found {
        /// The path.
        path: PathBuf,
        /// What could not be set.
        notes: Vec<String>,
    },
    /// The command cannot be started.
    Failed {
        /// The status to exit with.
        status: u8,
        /// Why.
        why: String,
    },
}

/// A starter that waits, in the process that started it.
#[derive(Debug)]
pub struct Starter {
    pid: Pid,
    go: OwnedFd,
    report: OwnedFd,
}

impl Starter {
    /// Starts one: `arguments` make this program call [`become_command`] with the four words that follow
    /// them and the command.
    ///
    /// # Errors
    /// If no process or pipe can be made.
    pub fn spawn(
        program: &OsStr,
        arguments: &[OsString],
        start: &Start,
        command: &[OsString],
    ) -> io::Result<Self> {
        let (go_reader, go) = io::pipe()?;
        let (report, report_writer) = io::pipe()?;
        // The starter opens the pipes through this process's directory in /proc. Inherited descriptors
        // would have to be closed before the command starts, and would leak to whatever is started
        // meanwhile.
        let child = this_program(program)
            .args(arguments)
            .arg(getpid().as_raw_pid().to_string())
            .arg(go_reader.as_raw_fd().to_string())
            .arg(report_writer.as_raw_fd().to_string())
            .arg(serde_json::to_string(start)?)
            .arg("--")
            .args(command)
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the new process has no number"))?;
        let mut starter = Self {
            pid,
            go: go.into(),
            report: report.into(),
        };
        starter.take(report_writer.into(), go_reader.into())?;
        Ok(starter)
    }

    /// Keeps the starter's ends of the pipes open until it has opened them itself, which its first byte
    /// says.
    fn take(&mut self, writer: OwnedFd, reader: OwnedFd) -> io::Result<()> {
        let opened = self.next_byte()?;
        drop((writer, reader));
        if opened.is_none() {
            return Err(io::Error::other(
                "the process that starts the command has died",
            ));
        }
        Ok(())
    }

    /// The process, which becomes the command.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What the starter reports.
    ///
    /// # Errors
    /// If it died without a report.
    pub fn report(&mut self) -> io::Result<StartReport> {
        let mut bytes = Vec::new();
        let mut report = File::from(self.report.try_clone()?);
        report.read_to_end(&mut bytes)?;
        serde_json::from_slice(&bytes)
            .map_err(|_| io::Error::other("the process that starts the command has died"))
    }

    /// Lets it become the command.
    ///
    /// # Errors
    /// If it has died, which waiting for it shows as well.
    pub fn go(self) -> io::Result<Pid> {
        File::from(self.go).write_all(b"g")?;
        Ok(self.pid)
    }

    /// Waits for the end of a starter that does not become the command.
    pub fn dismiss(self) {
        drop(self.go);
        let _ = rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty());
    }

    /// One byte of the report, or `None` if the starter ends first. The end cannot be read from the pipe
    /// while this process has its other end open.
    fn next_byte(&self) -> io::Result<Option<u8>> {
        let ended = pidfd_open(self.pid, PidfdFlags::empty())?;
        let mut ready = [
            PollFd::new(&self.report, PollFlags::IN),
            PollFd::new(&ended, PollFlags::IN),
        ];
        loop {
            match poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => break,
            }
        }
        if !ready[0].revents().contains(PollFlags::IN) {
            return Ok(None);
        }
        let mut byte = [0];
        rustix::io::read(&self.report, &mut byte)?;
        Ok(Some(byte[0]))
    }
}

/// This program, whatever has become of its file since it was started.
#[expect(
    clippy::disallowed_methods,
    reason = "it starts this program again, as the process that becomes the command or that watches over it"
)]
pub(crate) fn this_program(name: &OsStr) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name);
    command
}

/// Why a starter did not become the command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotStarted {
    /// How to end.
    pub ended: Ended,
    /// What to say, unless the runner says it.
    pub why: Option<String>,
}

/// Becomes the command; in the process that [`Starter::spawn`] has started. It returns only if that fails,
/// or if the runner ended before it said to go on.
pub fn become_command(
    runner: i32,
    go: i32,
    report: i32,
    start: &Start,
    command: &[OsString],
) -> NotStarted {
    let silent = NotStarted {
        ended: Ended::NOT_STARTED,
        why: None,
    };
    if getppid().map(Pid::as_raw_pid) != Some(runner) {
        return silent;
    }
    let Ok((mut go, mut report)) = opened(runner, go, report) else {
        return silent;
    };
    if report.write_all(b"o").is_err() {
        return silent;
    }
    let answer = prepared(start, command);
    let told = serde_json::to_vec(&answer).map_err(io::Error::from);
    if told.and_then(|bytes| report.write_all(&bytes)).is_err() {
        return silent;
    }
    drop(report);
    let path = match answer {
        StartReport::Found { path, .. } => path,
        StartReport::Failed { status, .. } => {
            return NotStarted {
                ended: Ended::Exited(status),
                why: None,
            };
        }
    };
    if !matches!(go.read(&mut [0]), Ok(1)) {
        return silent;
    }
    drop(go);
    let error = executed(&path, command, &start.environment);
    let ended = match error.kind() {
        // The file was there a moment ago: its interpreter is missing.
        io::ErrorKind::NotFound => Ended::NOT_FOUND,
        _ => Ended::NOT_EXECUTABLE,
    };
    NotStarted {
        ended,
        why: Some(format!("cannot execute {}: {error}", path.display())),
    }
}

/// Replaces this process by the command, without a starter. It returns only if that fails.
pub fn execute(start: &Start, command: &[OsString]) -> NotStarted {
    match prepared(start, command) {
        StartReport::Found { path, .. } => {
            let error = executed(&path, command, &start.environment);
            NotStarted {
                ended: Ended::NOT_EXECUTABLE,
                why: Some(format!("cannot execute {}: {error}", path.display())),
            }
        }
        StartReport::Failed { status, why } => NotStarted {
            ended: Ended::Exited(status),
            why: Some(why),
        },
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the descriptors of the process that started this one, and not files of the tuned host"
)]
fn opened(runner: i32, go: i32, report: i32) -> io::Result<(File, File)> {
    let path = |descriptor: i32| format!("/proc/{runner}/fd/{descriptor}");
    let report = File::options().write(true).open(path(report))?;
    Ok((File::open(path(go))?, report))
}

/// Takes the priority and the identity, and finds the command.
fn prepared(start: &Start, command: &[OsString]) -> StartReport {
    let mut notes = Vec::new();
    if let Some(nice) = start.nice
        && let Err(error) = setpriority_process(None, nice)
    {
        notes.push(format!("cannot set the nice value to {nice}: {error}"));
    }
    if let Some(account) = &start.account
        && let Err(error) = account.assume()
    {
        return StartReport::Failed {
            status: Ended::NOT_STARTED.status(),
            why: format!("cannot run as {}: {error}", account.name),
        };
    }
    find(command, notes)
}

/// Finds the command as this process, with the identity that it has now, would execute it. `notes` are a part of
/// the report.
pub fn find(command: &[OsString], notes: Vec<String>) -> StartReport {
    let Some(name) = command.first() else {
        return StartReport::Failed {
            status: Ended::NOT_STARTED.status(),
            why: "there is no command".to_owned(),
        };
    };
    let candidates = candidates(name, std::env::var_os("PATH").as_deref());
    match chosen(&candidates, executable) {
        Ok(path) => StartReport::Found { path, notes },
        Err(ended) => StartReport::Failed {
            status: ended.status(),
            why: match ended {
                Ended::NOT_FOUND => format!("command not found: {}", name.display()),
                _ => format!("permission denied: {} is not executable", name.display()),
            },
        },
    }
}

/// The files that a command can be, in the order in which `execvp(3)` tries them.
fn candidates(name: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    let path = path.unwrap_or(OsStr::new("/bin:/usr/bin"));
    let directories = std::env::split_paths(path);
    directories
        .map(|directory| {
            // An empty entry is the current directory.
            if directory.as_os_str().is_empty() {
                Path::new(".").join(name)
            } else {
                directory.join(name)
            }
        })
        .collect()
}

/// What a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidate {
    Executable,
    Denied,
    Missing,
}

/// The first executable candidate, or how to end without one.
fn chosen(candidates: &[PathBuf], look: impl Fn(&Path) -> Candidate) -> Result<PathBuf, Ended> {
    let mut ended = Ended::NOT_FOUND;
    for path in candidates {
        match look(path) {
            Candidate::Executable => return Ok(path.clone()),
            Candidate::Denied => ended = Ended::NOT_EXECUTABLE,
            Candidate::Missing => {}
        }
    }
    Err(ended)
}

/// Whether this process may execute a file. The identities were all set, so the real one that `access(2)`
/// uses is the one that `execve(2)` uses.
fn executable(path: &Path) -> Candidate {
    match rustix::fs::stat(path) {
        Ok(stat) if !FileType::from_raw_mode(stat.st_mode).is_file() => Candidate::Denied,
        Ok(_) => match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()) {
            Ok(()) => Candidate::Executable,
            Err(_) => Candidate::Denied,
        },
        Err(rustix::io::Errno::ACCESS) => Candidate::Denied,
        Err(_) => Candidate::Missing,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it replaces this process by the user's command, which is what a run is for"
)]
fn executed(
    path: &Path,
    command: &[OsString],
    environment: &[(String, Option<String>)],
) -> io::Error {
    let mut words = command.iter();
    let mut command = Command::new(path);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command.args(words);
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_looked_for_as_execvp_does() {
        let of = |name: &str, path: Option<&str>| {
            let found = candidates(OsStr::new(name), path.map(OsStr::new));
            found
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("game", Some("/a:/b")), ["/a/game", "/b/game"]);
        assert_eq!(of("game", Some("/a:")), ["/a/game", "./game"]);
        assert_eq!(of("game", None), ["/bin/game", "/usr/bin/game"]);
        assert_eq!(of("./game", Some("/a")), ["./game"]);
        assert_eq!(of("", Some("/a")), [""; 0]);
    }

    #[test]
    fn a_file_that_may_not_be_executed_is_told_from_none() {
        let files = [PathBuf::from("/a/x"), PathBuf::from("/b/x")];
        let with =
            |first, second| chosen(&files, |path| if path == files[0] { first } else { second });
        use Candidate::{Denied, Executable, Missing};
        assert_eq!(with(Denied, Executable), Ok(files[1].clone()));
        assert_eq!(with(Denied, Missing), Err(Ended::NOT_EXECUTABLE));
        assert_eq!(with(Missing, Missing), Err(Ended::NOT_FOUND));
        assert_eq!(executable(Path::new("/")), Denied);
        assert_eq!(executable(Path::new("/nonexistent/x")), Missing);
    }
}
