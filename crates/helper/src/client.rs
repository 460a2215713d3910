//! Connecting to the helper, asking it, and holding a lease.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::protocol::{Admitted, Answer, LONGEST, Left, Outcome, Refusal, Request, Tuned};

/// The interval between two tries while the helper's backlog is full.
const AGAIN: Duration = Duration::from_millis(10);

/// How a user namespace shows a user that it does not map, such as root in a sandbox
/// (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;

/// The users that the namespace of this process maps (`user_namespaces(7)`); empty if they cannot be read.
#[expect(
    clippy::disallowed_methods,
    reason = "it describes this process and not the tuned host, so --root does not apply"
)]
fn own_uid_map() -> String {
    std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default()
}

/// Whether a user namespace shows some users as [`OVERFLOW`], from its `uid_map`: lines of a first user, the user
/// outside, and a length.
fn has_unmapped_users(uid_map: &str) -> bool {
    let mapped = uid_map.lines().filter_map(|line| {
        let length = line.split_ascii_whitespace().nth(2)?;
        length.parse::<u64>().ok()
    });
    let mapped: u64 = mapped.sum();
    // 4294967295 is no user. Without a map nothing is known.
    mapped > 0 && mapped < u64::from(u32::MAX)
}

/// Why the helper does not tune the host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// There is no socket.
    #[error("there is no helper: {} does not exist", .0.display())]
    Missing(PathBuf),
    /// This user may not connect.
    #[error("permission denied: {}", .0.display())]
    Denied(PathBuf),
    /// Nobody listens on the socket.
    #[error("no helper listens on {}", .0.display())]
    NobodyListens(PathBuf),
    /// Who listens is neither root nor this user.
    #[error("{} belongs to user {user}, not to root", path.display())]
    NotRoots {
        /// The socket.
        path: PathBuf,
        /// Who listens on it.
        user: u32,
    },
    /// It did not answer in time.
    #[error("the helper did not answer in {0} s")]
    Late(u64),
    /// It closed the connection without an answer.
    #[error("the helper closed the connection without an answer")]
    Closed,
    /// What it said is not an answer.
    #[error("the helper's answer cannot be read: {0}")]
    Garbled(String),
    /// It refused.
    #[error("the helper refused: {}", .0.why)]
    Refused(Refusal),
    /// The connection cannot be used.
    #[error("cannot use {}", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        why: io::Error,
    },
}

/// A connection to the helper, closed when this process executes another program or ends.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    path: PathBuf,
    received: Vec<u8>,
    since: Instant,
}

/// The time since then in whole seconds, rounded.
fn seconds(begun: Instant) -> u64 {
    (begun.elapsed() + Duration::from_millis(500)).as_secs()
}

/// What has arrived on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// Nothing yet.
    Nothing,
    /// An answer.
    Answer(Outcome),
    /// The other side has closed it.
    End,
}

impl Connection {
    /// Connects. While the backlog of the socket is full it tries again until `until`; it never blocks longer.
    ///
    /// # Errors
    /// If nobody whom to trust listens there, or this user may not connect.
    pub fn open(path: &Path, until: Instant) -> Result<Self, Unavailable> {
        let begun = Instant::now();
        let fail = |errno: Errno| match errno {
            Errno::NOENT | Errno::NOTDIR => Unavailable::Missing(path.to_owned()),
            Errno::ACCESS | Errno::PERM => Unavailable::Denied(path.to_owned()),
            Errno::CONNREFUSED => Unavailable::NobodyListens(path.to_owned()),
            errno => Unavailable::Failed {
                path: path.to_owned(),
                why: errno.into(),
            },
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(fail)?;
        let address = SocketAddrUnix::new(path).map_err(fail)?;
        loop {
            match rustix::net::connect(&socket, &address) {
                Ok(()) => break,
                Err(Errno::AGAIN | Errno::INTR) if Instant::now() < until => {
                    std::thread::sleep(AGAIN);
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    return Err(Unavailable::Late(seconds(begun)));
                }
                Err(errno) => return Err(fail(errno)),
            }
        }
        // Who has called listen(2). It learns the command line, and what it says is believed.
        let user = getsockopt(&socket, PeerCredentials)
            .map_err(|errno| fail(Errno::from_raw_os_error(errno as i32)))?
            .uid();
        let us = rustix::process::geteuid().as_raw();
        let is_trusted = [0, us].contains(&user)
            // Where all users are mapped, the number is that of the user nobody.
            || user == OVERFLOW && has_unmapped_users(&own_uid_map());
        if !is_trusted {
            return Err(Unavailable::NotRoots {
                path: path.to_owned(),
                user,
            });
        }
        Ok(Self {
            stream: socket.into(),
            path: path.to_owned(),
            received: Vec::new(),
            since: begun,
        })
    }

    /// Sends a request. It fits into the buffer of a new connection, so it does not wait. That the helper has closed
    /// the connection is found out by what arrives.
    ///
    /// # Errors
    /// If the connection cannot be used, or the request is longer than a line can be.
    pub fn send(&self, request: &Request) -> Result<(), Unavailable> {
        let line = request.format();
        if line.len() > LONGEST {
            return Err(self.failed(io::Error::other(format!(
                "the request has {} bytes, and at most {LONGEST} are accepted",
                line.len()
            ))));
        }
        match (&self.stream).write_all(&line) {
            // It has refused before it has read anything, and what it said is still to be read; or it has ended.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            sent => sent.map_err(|error| self.failed(error)),
        }
    }

    /// Sends a request and waits for the answer until `until`.
    ///
    /// # Errors
    /// If there is none by then, or it is a refusal.
    pub fn ask(&mut self, request: &Request, until: Instant) -> Result<Tuned, Unavailable> {
        Self::granted(self.outcome(request, until)?)
    }

    /// Asks what the answer to a request would be, until `until`. Nothing is changed.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn explain(mut self, request: &Request, until: Instant) -> Result<Admitted, Unavailable> {
        let mut request = request.clone();
        request.explain = true;
        match self.outcome(&request, until)? {
            Outcome::Admitted(admitted) => Ok(admitted),
            Outcome::Refused(refusal) => Err(Unavailable::Refused(refusal)),
            Outcome::Tuned(_) | Outcome::Left(_) => Err(Unavailable::Garbled(
                "a lease has begun that was not asked for".to_owned(),
            )),
        }
    }

    fn outcome(&mut self, request: &Request, until: Instant) -> Result<Outcome, Unavailable> {
        self.send(request)?;
        loop {
            match self.arrived()? {
                Arrived::Answer(outcome) => return Ok(outcome),
                Arrived::End => return Err(Unavailable::Closed),
                Arrived::Nothing => {}
            }
            if !self.wait(until)? {
                return Err(Unavailable::Late(seconds(self.since)));
            }
        }
    }

    /// The answer to a request, as a grant or the reason why there is none.
    ///
    /// # Errors
    /// If it is not [`Outcome::Tuned`].
    pub fn granted(outcome: Outcome) -> Result<Tuned, Unavailable> {
        match outcome {
            Outcome::Tuned(tuned) => Ok(tuned),
            Outcome::Refused(refusal) => Err(Unavailable::Refused(refusal)),
            Outcome::Admitted(_) | Outcome::Left(_) => Err(Unavailable::Garbled(
                "it neither grants nor refuses the lease".to_owned(),
            )),
        }
    }

    /// What has arrived, without waiting.
    ///
    /// # Errors
    /// If it is not an answer, or the connection cannot be read.
    pub fn arrived(&mut self) -> Result<Arrived, Unavailable> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let answer = Answer::parse(&line).map_err(Unavailable::Garbled)?;
                return Ok(Arrived::Answer(answer.outcome));
            }
            if self.received.len() > LONGEST {
                return Err(Unavailable::Garbled("it has no end".to_owned()));
            }
            let mut bytes = [0; LONGEST];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(Arrived::End),
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Arrived::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other side had not read everything when it closed the connection.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(Arrived::End);
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Ends the lease and waits until everything is reverted, at most until `until`. `None` if the helper's side
    /// did not say what became of it, for example because it was killed: its watchdog reverts then.
    ///
    /// # Errors
    /// If it takes longer than that. The helper's side has been told, and reverts when it goes on; whether it has
    /// is not known.
    pub fn release(mut self, until: Instant) -> Result<Option<Left>, Unavailable> {
        let begun = Instant::now();
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut left = None;
        loop {
            match self.arrived()? {
                Arrived::Answer(Outcome::Left(said)) => left = Some(said),
                Arrived::Answer(_) => {}
                Arrived::End => return Ok(left),
                Arrived::Nothing => {
                    if !self.wait(until)? {
                        return Err(Unavailable::Late(seconds(begun)));
                    }
                }
            }
        }
    }

    /// Waits until something arrives; `false` if nothing has by `until`.
    fn wait(&self, until: Instant) -> Result<bool, Unavailable> {
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let limit = Timespec {
                tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: rest.subsec_nanos().into(),
            };
            let mut one = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut one, Some(&limit)) {
                Ok(0) if Instant::now() >= until => return Ok(false),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(self.failed(errno.into())),
            }
        }
    }

    fn failed(&self, why: io::Error) -> Unavailable {
        Unavailable::Failed {
            path: self.path.clone(),
            why,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_unmapped_users_is_nobodys_where_all_are_mapped() {
        assert!(!has_unmapped_users("         0          0 4294967295\n"));
        assert!(has_unmapped_users("      1000       1000          1\n"));
        // Rootless podman: the user, and those of /etc/subuid.
        assert!(has_unmapped_users("0 1000 1\n1 100000 65536\n"));
        assert!(!has_unmapped_users("0 0 1000\n1000 1000 4294966295\n"));
        for nothing in ["", "garbage\n\n", "0 0 x"] {
            assert!(!has_unmapped_users(nothing), "{nothing}");
        }
    }

    #[test]
    fn a_refusal_before_the_request_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let until = Instant::now() + Duration::from_secs(300);
        let busy = Answer::refused(crate::protocol::RefusalCode::Busy, "too many", None);
        for refusal in [Some(busy), None] {
            let mut connection = Connection::open(&path, until).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            if let Some(refusal) = &refusal {
                stream.write_all(&refusal.format()).unwrap();
            }
            drop(stream);
            let asked = connection.ask(&Request::new("gaming", "true"), until);
            match (asked, refusal.is_some()) {
                (Err(Unavailable::Refused(said)), true) => assert_eq!(said.why, "too many"),
                (Err(Unavailable::Closed), false) => {}
                (other, _) => panic!("{other:?}"),
            }
        }
    }
}
