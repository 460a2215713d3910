//! Writes that may hang in the kernel, made by a child process.
//!
//! A process that hangs in a system call cannot be ended, not even by SIGKILL, and takes its
//! threads with it. The write is therefore made by a small program that every distribution has,
//! with the opened file as its standard output: the caller goes on after a time limit, whatever
//! the kernel does with the child.
//!
//! A child that outlives its caller has to be found by the next run. It holds an exclusive `flock`
//! on a file of the device, the *guard*, which it inherits as its standard input: the lock ends
//! with the child, and in no other way.

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// `printf` of coreutils or busybox. `PATH` is not searched, because the caller may have set it.
const PROGRAMS: [&str; 3] = [
    "/usr/bin/printf",
    "/bin/printf",
    // The only one on NixOS.
    "/run/current-system/sw/bin/printf",
];

/// How long a write may take before it counts as hanging. The slowest drivers wait for their
/// hardware for half a minute when they are unbound.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// How long a child of a killed process is waited for before its device counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a child may take to end after SIGKILL if it does not hang in the kernel.
const END: Duration = Duration::from_secs(10);

/// The messages for error numbers of glibc and, where they differ, musl, in the locale of an empty
/// environment.
const ERRORS: [(&str, Errno); 16] = [
    ("Operation not permitted", Errno::PERM),
    ("No such file or directory", Errno::NOENT),
    ("Input/output error", Errno::IO),
    ("I/O error", Errno::IO),
    ("No such device or address", Errno::NXIO),
    ("Resource temporarily unavailable", Errno::AGAIN),
    ("Cannot allocate memory", Errno::NOMEM),
    ("Out of memory", Errno::NOMEM),
    ("Permission denied", Errno::ACCESS),
    ("Device or resource busy", Errno::BUSY),
    ("Resource busy", Errno::BUSY),
    ("No such device", Errno::NODEV),
    ("Invalid argument", Errno::INVAL),
    ("Numerical result out of range", Errno::RANGE),
    ("Connection timed out", Errno::TIMEDOUT),
    ("Operation timed out", Errno::TIMEDOUT),
];

/// How a write by a child ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The kernel accepted it.
    Written,
    /// The kernel refused it with this error.
    Refused(Errno),
    /// The child failed with this message, which names no known error.
    Failed(String),
    /// It was not finished in time and has ended since; what it changed is unknown.
    TookTooLong,
    /// It hangs, and the child holds the guard until it ends.
    Hangs,
    /// No program is installed that could write.
    NoProgram,
}

/// Takes the guard for a write, for at most `limit`: a child of a killed run may be about to finish.
/// False if another process still holds it then.
pub(super) fn lock(guard: impl AsFd, limit: Duration) -> Result<bool, Errno> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match rustix::fs::flock(&guard, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if started.elapsed() < limit => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether a process holds the guard.
pub(super) fn is_locked(guard: impl AsFd) -> Result<bool, Errno> {
    match rustix::fs::flock(guard, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Has a child write `bytes` to `file` with one `write(2)`, for at most `limit`. The child gets the
/// locked `guard`.
pub(super) fn write(file: OwnedFd, guard: OwnedFd, bytes: &[u8], limit: Duration) -> Outcome {
    let started = started(&file, &guard, bytes);
    // From here on only the child holds the guard.
    drop((file, guard));
    let mut child = match started {
        Ok(Some(child)) => child,
        Ok(None) => return Outcome::NoProgram,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    match ends_within(&child, limit) {
        Ok(true) => {}
        Ok(false) => {
            // A write that waits in a way that can be interrupted ends with this.
            let _ = child.kill();
            if !ends_within(&child, END).unwrap_or(false) {
                return Outcome::Hangs;
            }
            let _ = child.wait();
            return Outcome::TookTooLong;
        }
        Err(errno) => return Outcome::Failed(errno.to_string()),
    }
    let status = match child.wait() {
        Ok(status) => status,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    if status.success() {
        return Outcome::Written;
    }
    let mut said = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = stderr.read_to_end(&mut said);
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    match error_of(&said) {
        Some(errno) => Outcome::Refused(errno),
        None if said.is_empty() => Outcome::Failed(format!("printf ended with {status}")),
        None => Outcome::Failed(said),
    }
}

fn started(file: &OwnedFd, guard: &OwnedFd, bytes: &[u8]) -> std::io::Result<Option<Child>> {
    for program in PROGRAMS {
        #[expect(
            clippy::disallowed_methods,
            reason = "a write that hangs would take this process with it; a child can be left behind"
        )]
        let child = std::process::Command::new(program)
            // Ctrl-C signals the foreground process group. The child finishes its write, and the
            // caller stops after that.
            .process_group(0)
            .env_clear()
            .current_dir("/")
            .arg("%s")
            .arg(std::ffi::OsStr::from_bytes(bytes))
            .stdin(Stdio::from(guard.try_clone()?))
            .stdout(Stdio::from(file.try_clone()?))
            .stderr(Stdio::piped())
            .spawn();
        match child {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(child) => return Ok(Some(child)),
        }
    }
    Ok(None)
}

fn ends_within(child: &Child, limit: Duration) -> Result<bool, Errno> {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return Err(Errno::SRCH);
    };
    // It is not reaped before this, so the number is still that of the child.
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let started = Instant::now();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The error at the end of a message, such as `printf: write error: No such device`.
fn error_of(said: &str) -> Option<Errno> {
    let words = said.rsplit(": ").next()?;
    let known = ERRORS.iter().find(|(known, _)| *known == words);
    known.map(|(_, errno)| *errno)
}

/// The guards of writes that hang, as far as this process knows: none is waited for twice.
#[derive(Debug, Default)]
pub(super) struct Hanging(Mutex<HashSet<PathBuf>>);

impl Hanging {
    pub(super) fn add(&self, guard: &Path) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(guard.to_owned());
    }

    /// How long to wait for a guard before a write.
    pub(super) fn patience(&self, guard: &Path, limit: Duration) -> Duration {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(guard) {
            Duration::ZERO
        } else {
            limit
        }
    }

    /// Waits until no process holds a guard. False if one still does.
    pub(super) fn ends(
        &self,
        guard: &Path,
        open: impl AsFd,
        limit: Duration,
    ) -> Result<bool, Errno> {
        let patience = self.patience(guard, limit.min(PATIENCE));
        let started = Instant::now();
        while is_locked(&open)? {
            if started.elapsed() >= patience {
                self.add(guard);
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::*;

    fn open(path: &str, flags: OFlags) -> OwnedFd {
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::open(path, flags | OFlags::CLOEXEC, mode).unwrap()
    }

    fn guard(directory: &tempfile::TempDir) -> OwnedFd {
        let path = directory.path().join("guard");
        open(path.to_str().unwrap(), OFlags::CREATE | OFlags::RDWR)
    }

    #[test]
    fn the_bytes_arrive_in_one_write_and_the_guard_is_free_again() {
        let directory = tempfile::tempdir().unwrap();
        let (mut reads, writes) = std::io::pipe().unwrap();
        let held = guard(&directory);
        assert!(lock(&held, Duration::ZERO).unwrap());
        let outcome = write(writes.into(), held, b"%d\\n\n", LIMIT);
        assert!(matches!(outcome, Outcome::Written), "{outcome:?}");
        let mut said = Vec::new();
        reads.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"%d\\n\n", "what looks like a format is not one");
        assert!(!is_locked(guard(&directory)).unwrap());
    }

    #[test]
    fn the_error_of_the_kernel_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let full = open("/dev/full", OFlags::WRONLY);
        let outcome = write(full, guard(&directory), b"x", LIMIT);
        // Nothing that drivers answer: it is in no list.
        assert!(
            matches!(&outcome, Outcome::Failed(said) if said.ends_with("No space left on device")),
            "{outcome:?}"
        );
        // A pipe without a reader is EPIPE, by a signal. A read-only descriptor is EBADF.
        for (words, errno) in ERRORS {
            let of_libc = std::io::Error::from(errno).to_string();
            let is_other_libc = [
                "I/O error",
                "Out of memory",
                "Resource busy",
                "Operation timed out",
            ];
            assert!(
                of_libc.starts_with(words)
                    || is_other_libc.contains(&words)
                    || cfg!(target_env = "musl"),
                "{words} is not {of_libc}"
            );
            assert_eq!(
                error_of(&format!("printf: write error: {words}")),
                Some(errno)
            );
        }
        assert_eq!(error_of(""), None);
    }

    /// A full pipe stands for a kernel that does not return: unlike that, it lets the child be killed.
    #[test]
    fn what_does_not_return_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (_reads, writes) = std::io::pipe().unwrap();
        let more_than_a_pipe_holds = vec![b'x'; 100_000];
        let held = guard(&directory);
        assert!(lock(&held, Duration::ZERO).unwrap());
        let limit = Duration::from_millis(50);
        let outcome = write(writes.into(), held, &more_than_a_pipe_holds, limit);
        assert!(matches!(outcome, Outcome::TookTooLong), "{outcome:?}");
        assert!(!is_locked(guard(&directory)).unwrap());
    }

    #[test]
    fn a_guard_that_another_holds_is_seen_and_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let held = guard(&directory);
        assert!(lock(&held, Duration::ZERO).unwrap());
        let other = guard(&directory);
        assert!(is_locked(&other).unwrap());
        assert!(!lock(&other, Duration::from_millis(20)).unwrap());
        let (hanging, path) = (Hanging::default(), Path::new("/guard"));
        let ends = |limit| {
            hanging
                .ends(path, &other, Duration::from_millis(limit))
                .unwrap()
        };
        assert!(!ends(20));
        assert_eq!(
            hanging.patience(path, LIMIT),
            Duration::ZERO,
            "not once more"
        );
        assert!(!ends(u64::MAX));
        drop(held);
        assert!(ends(0));
        assert!(lock(&other, LIMIT).unwrap());
    }
}
