//! A lock that a child process holds for as long as it runs, for backends that start a program to make
//! a change: modprobe, systemctl.
//!
//! A program that is killed leaves its child at work. Whoever recovers after it would take the state
//! before the child's change for the one after it, and find its step already undone. So the child has
//! the directory of the volatile journals as its standard input, locked, and the lock ends with the
//! child; whoever reads what such a child changes [waits](wait) first.
//!
//! The directory is locked because it is there already: a file would be one more to leave behind. Only
//! root can open it, and only root starts such children.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::host::{HostError, HostErrorKind, Operation};
use crate::journal::DirectoryStore;

/// How long a child of an earlier program is waited for. systemd kills a service that does not stop
/// after 90 seconds, unless its unit says otherwise (`TimeoutStopSec=`, `systemd.service(5)`); a driver
/// may ask its hardware for as long as that while its module is loaded.
const PATIENCE: Duration = Duration::from_secs(150);

/// How long a child's own lock is waited for: another program may look at this moment.
const BRIEFLY: Duration = Duration::from_millis(100);

/// Takes the lock. `None` if there is no such directory, or not for this user.
fn locked(
    directory: &str,
    kind: FlockOperation,
    patience: Duration,
) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(guard) = rustix::fs::open(directory, flags, Mode::empty()) else {
        return Ok(None);
    };
    let begun = Instant::now();
    loop {
        match flock(&guard, kind) {
            Ok(()) => return Ok(Some(guard)),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if begun.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits until no child of an earlier program is at work any more. `subject` is what is about to be
/// read, for the error.
///
/// # Errors
/// `Busy` if one is still at work after two and a half minutes.
pub fn wait(subject: &str) -> Result<(), HostError> {
    let [directory, _] = DirectoryStore::SYSTEM;
    match locked(directory, FlockOperation::NonBlockingLockShared, PATIENCE) {
        Err(Errno::WOULDBLOCK) => {
            Err(
                HostError::new(Operation::Backend, subject, HostErrorKind::Busy)
                    .detail("a program that an earlier run has started is still at work")
                    .with_hint("see fuser -v /run/hosttune, and run this again when it has ended"),
            )
        }
        // A file system without locks has none to wait for.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The standard input of a child that makes a change: the lock, where it can be had.
///
/// The children of earlier programs have been waited for, because a state is read before it is set.
/// What can hold the lock besides is what an `install` line of modprobe.d has left running, which keeps
/// nothing from being changed.
pub fn stdin() -> Stdio {
    let [directory, _] = DirectoryStore::SYSTEM;
    let kind = FlockOperation::NonBlockingLockExclusive;
    match locked(directory, kind, BRIEFLY) {
        Ok(Some(guard)) => Stdio::from(guard),
        _ => Stdio::null(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a program that goes on without the one that started it"
    )]
    fn a_child_that_goes_on_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let look = |patience| {
            let kind = FlockOperation::NonBlockingLockShared;
            locked(path, kind, patience).map(|guard| guard.is_some())
        };
        assert_eq!(look(Duration::ZERO), Ok(true));
        let kind = FlockOperation::NonBlockingLockExclusive;
        let guard = locked(path, kind, Duration::ZERO).unwrap().unwrap();
        let mut goes_on = std::process::Command::new("sleep")
            .arg("100000")
            .stdin(guard)
            .spawn()
            .unwrap();
        assert_eq!(look(Duration::from_millis(20)), Err(Errno::WOULDBLOCK));
        let ends = std::thread::spawn(move || {
            goes_on.kill().unwrap();
            goes_on.wait().unwrap();
        });
        assert_eq!(look(PATIENCE), Ok(true));
        ends.join().unwrap();
        let nowhere = locked(
            "/not there",
            FlockOperation::NonBlockingLockShared,
            PATIENCE,
        );
        assert_eq!(nowhere.map(|guard| guard.is_some()), Ok(false));
    }
}
