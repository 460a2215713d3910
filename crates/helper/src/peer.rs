//! Who is on the other side of a connection.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, getpriority_process, pidfd_open, setpriority_process};

/// The process that has connected, as the kernel recorded it at that moment.
///
/// The user ID is what the connection is accounted to. The process ID is for the record and for the nice value:
/// the kernel gives the number to another process later, so it is used only while the pidfd shows that the process
/// still runs.
#[derive(Debug)]
pub struct Peer {
    /// The effective user ID, in this process's user namespace.
    pub uid: u32,
    /// The process ID, in this process's namespace; 0 if the process is in none that this one sees.
    pub pid: i32,
    pidfd: Option<OwnedFd>,
}

impl Peer {
    /// The peer of a connected Unix socket.
    ///
    /// # Errors
    /// If it is not such a socket.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        // A client that is in a PID namespace beside or above this one has the process ID 0.
        let credentials = getsockopt(socket, PeerCredentials)?;
        let pid = Pid::from_raw(credentials.pid()).filter(|_| credentials.pid() > 0);
        let pidfd = match getsockopt(socket, PeerPidfd) {
            Ok(pidfd) => Some(pidfd),
            // Before 6.5 there is no such option. The process may have ended and its number may be another's
            // already, which gets the nice value then if it is one of the same user.
            Err(nix::errno::Errno::ENOPROTOOPT) => {
                pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            }
            // EINVAL: it has ended and was reaped. EACCES: a security module's policy.
            Err(_) => None,
        };
        Ok(Self {
            uid: credentials.uid(),
            pid: credentials.pid(),
            pidfd,
        })
    }

    /// Whether the process still runs.
    pub fn is_alive(&self) -> bool {
        let Some(pidfd) = &self.pidfd else {
            return false;
        };
        let mut one = [PollFd::new(pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut one, Some(&now)), Ok(0))
    }

    /// Sets the nice value of the process, which has one thread and passes it on to what it starts. Returns what
    /// it reads back.
    ///
    /// # Errors
    /// If the process has ended, has more than one thread, belongs to another user by now, or the kernel refuses.
    pub fn set_nice(&self, nice: i32) -> io::Result<i32> {
        let ended = || io::Error::other("the process that connected has ended");
        let pid = Pid::from_raw(self.pid)
            .filter(|_| self.pid > 0)
            .ok_or_else(|| {
                io::Error::other("the process that connected is in another PID namespace")
            })?;
        if !self.is_alive() {
            return Err(ended());
        }
        let status = status(self.pid)?;
        if field(&status, "Threads:") != Some(1) {
            return Err(io::Error::other(
                "the process that connected does not have exactly one thread",
            ));
        }
        // The real user: a set-user-ID program that was executed since has another effective one.
        if field(&status, "Uid:") != Some(self.uid) {
            return Err(io::Error::other(
                "the process that connected belongs to another user by now",
            ));
        }
        setpriority_process(Some(pid), nice)?;
        let seen = getpriority_process(Some(pid))?;
        // If it still runs, the number was its own all the time.
        if !self.is_alive() {
            return Err(ended());
        }
        if seen != nice {
            return Err(io::Error::other(format!(
                "it was set to {nice}, and is {seen}"
            )));
        }
        Ok(seen)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it describes the process that has connected and not the tuned host, so --root does not apply"
)]
fn status(pid: i32) -> io::Result<String> {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/status"))?
        .take(1 << 16)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The first number of a line of `/proc/PID/status` (`proc_pid_status(5)`).
fn field(status: &str, name: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.pid, rustix::process::getpid().as_raw_pid());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert!(peer.is_alive());
        // A test program has several threads, of which one would get the value.
        assert!(peer.set_nice(0).is_err());
    }

    #[test]
    fn what_is_no_unix_socket_has_no_peer() {
        let (reader, _writer) = io::pipe().unwrap();
        assert!(Peer::of(&reader).is_err());
    }

    #[test]
    fn fields_are_found_by_their_name() {
        let status = "Name:\tUid:\nUmask:\t0022\nUid:\t1000\t0\t0\t0\nThreads:\t3\n";
        assert_eq!(field(status, "Uid:"), Some(1000));
        assert_eq!(field(status, "Threads:"), Some(3));
        assert_eq!(field(status, "Gid:"), None);
    }
}
