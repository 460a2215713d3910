//! The host program's side of a lease.
//!
//! The helper starts the program with the request on standard input and with the client's connection as standard
//! output. From then on the program alone has the connection: the lease does not depend on the helper.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use crate::peer::Peer;
use crate::protocol::{Answer, LONGEST, Request, RequestError};

/// A lease in the host program.
#[derive(Debug)]
pub struct Lease {
    connection: UnixStream,
    /// The client's process.
    pub peer: Peer,
}

/// Why a wait for the end of a lease has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The client has closed the connection, has shut down its sending side, or has sent something that nobody
    /// asked for.
    Ended,
    /// The other descriptor is readable.
    Other,
    /// A signal handler has run.
    Interrupted,
}

/// Why a program has no lease.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoLease {
    /// Standard input and output are not those that the helper gives.
    #[error("this command is started by the helper, hosttuned")]
    NotByHelper(#[source] io::Error),
    /// The request is not one. The helper has checked it, so it is of another version.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Lease {
    /// Takes the request and the connection from standard input and output, and leaves neither open for what this
    /// process starts.
    ///
    /// # Errors
    /// If they are not those that the helper gives.
    pub fn take() -> Result<(Self, Request), NoLease> {
        let mut line = Vec::new();
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
        io::stdin()
            .lock()
            .take(most)
            .read_to_end(&mut line)
            .map_err(NoLease::NotByHelper)?;
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let lease = stdout.and_then(Self::of).map_err(NoLease::NotByHelper)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open("/dev/null", flags, Mode::empty())
            .and_then(|null| {
                rustix::stdio::dup2_stdin(&null)?;
                rustix::stdio::dup2_stdout(&null)
            })
            .map_err(|errno| NoLease::NotByHelper(errno.into()))?;
        Ok((lease, Request::parse(&line)?))
    }

    /// A lease over a connection.
    ///
    /// # Errors
    /// If it is not a connected Unix socket.
    pub fn of(connection: OwnedFd) -> io::Result<Self> {
        let peer = Peer::of(&connection)?;
        let connection = UnixStream::from(connection);
        // An answer fits into an empty buffer. A client that has filled it, which it can do with nothing that is
        // sent here, does not make this process wait.
        connection.set_nonblocking(true)?;
        Ok(Self { connection, peer })
    }

    /// Sends an answer.
    ///
    /// # Errors
    /// If the client has closed the connection.
    pub fn answer(&self, answer: &Answer) -> io::Result<()> {
        (&self.connection).write_all(&answer.format())
    }

    /// Whether the lease has ended, without waiting.
    pub fn has_ended(&self) -> bool {
        let mut one = [PollFd::new(
            &self.connection,
            PollFlags::IN | PollFlags::RDHUP,
        )];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut one, Some(&now)), Ok(1))
    }

    /// Sleeps until the lease has ended or another descriptor is readable. There is no timer.
    ///
    /// # Errors
    /// If the kernel refuses to wait.
    pub fn wait(&self, other: Option<BorrowedFd<'_>>) -> io::Result<Wake> {
        let mut ready = vec![PollFd::new(
            &self.connection,
            PollFlags::IN | PollFlags::RDHUP,
        )];
        ready.extend(other.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => return Ok(Wake::Interrupted),
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        if ready[0].revents().is_empty() {
            Ok(Wake::Other)
        } else {
            Ok(Wake::Ended)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use super::*;

    fn pair() -> (Lease, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Lease::of(ours.into()).unwrap(), theirs)
    }

    #[test]
    fn a_lease_ends_with_the_client_or_with_what_it_sends() {
        let (lease, theirs) = pair();
        assert!(!lease.has_ended());
        drop(theirs);
        assert!(lease.has_ended());
        assert_eq!(lease.wait(None).unwrap(), Wake::Ended);
        let (lease, theirs) = pair();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(lease.wait(None).unwrap(), Wake::Ended);
        // It can still be told what became of the tuning.
        lease
            .answer(&Answer::new(crate::protocol::Outcome::Left(
                crate::protocol::Left::default(),
            )))
            .unwrap();
        let (lease, mut theirs) = pair();
        theirs.write_all(b"x").unwrap();
        assert_eq!(lease.wait(None).unwrap(), Wake::Ended);
    }

    #[test]
    fn another_descriptor_wakes_it_and_the_lease_goes_on() {
        let (lease, _theirs) = pair();
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(lease.wait(Some(reader.as_fd())).unwrap(), Wake::Other);
    }
}
