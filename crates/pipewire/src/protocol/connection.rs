//! The socket: whole messages out and in, each within a deadline.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

use super::ProtocolError;

/// The bytes before each message: id, opcode and size, sequence number, number of file descriptors.
const HEADER: usize = 16;
/// The largest size of a message: it has 24 bits in the header.
const LARGEST: u32 = 0x00ff_ffff;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// How long to wait before connecting again while the queue of the socket is full.
const QUEUE_FULL: Duration = Duration::from_millis(10);

/// A message of the daemon, with arguments that have not been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The id of the object that it is for.
    pub object: u32,
    /// What it is.
    pub opcode: u8,
    /// Its arguments: a Struct, which a footer may follow.
    pub body: Vec<u8>,
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    sequence: u32,
    /// Bytes of messages that are not complete yet, at most one message and one chunk.
    inbox: Vec<u8>,
}

impl Connection {
    /// Connects to a socket.
    ///
    /// # Errors
    /// Any error of `connect(2)`, and [`ProtocolError::Deadline`] if the daemon accepts no
    /// connection.
    pub fn open(path: &Path, timeout: Duration) -> Result<Self, ProtocolError> {
        let address = SocketAddrUnix::new(path).map_err(io_error)?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(io_error)?;
        let until = Instant::now() + timeout;
        loop {
            match connect(&socket, &address) {
                Ok(()) => return Ok(Self::over(socket)),
                // The queue is full. There is nothing that could be polled for.
                Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(QUEUE_FULL),
                Err(Errno::AGAIN) => return Err(ProtocolError::Deadline(timeout)),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io_error(errno)),
            }
        }
    }

    /// A connection over a connected stream socket.
    #[must_use]
    pub fn over(socket: OwnedFd) -> Self {
        Self {
            socket,
            sequence: 0,
            inbox: Vec::new(),
        }
    }

    /// Sends a message with these arguments, a Struct.
    ///
    /// # Errors
    /// If it cannot be sent completely within `timeout`. The connection is then of no further use.
    pub fn send(
        &mut self,
        object: u32,
        opcode: u8,
        arguments: &[u8],
        timeout: Duration,
    ) -> Result<(), ProtocolError> {
        let until = Instant::now() + timeout;
        let size = u32::try_from(arguments.len())
            .ok()
            .filter(|size| *size <= LARGEST)
            .ok_or(ProtocolError::TooMuch("16 MiB in one message"))?;
        let mut message = Vec::with_capacity(HEADER + arguments.len());
        for word in [object, u32::from(opcode) << 24 | size, self.sequence, 0] {
            message.extend_from_slice(&word.to_ne_bytes());
        }
        message.extend_from_slice(arguments);
        self.sequence = self.sequence.wrapping_add(1);
        let mut left = message.as_slice();
        while !left.is_empty() {
            // Without NOSIGNAL a daemon that has ended would kill this process.
            match send(
                &self.socket,
                left,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            ) {
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, until, timeout)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io_error(errno)),
            }
        }
        Ok(())
    }

    /// The next message, if one arrives before `until`.
    ///
    /// # Errors
    /// [`ProtocolError::Closed`] at the end of the stream, and any error of the socket.
    pub fn receive(&mut self, until: Instant) -> Result<Option<Frame>, ProtocolError> {
        loop {
            if let Some(frame) = self.buffered() {
                return Ok(Some(frame));
            }
            match self.fill() {
                Ok(0) => return Err(ProtocolError::Closed),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match self.wait(PollFlags::IN, until, Duration::ZERO) {
                    Err(ProtocolError::Deadline(_)) => return Ok(None),
                    waited => waited?,
                },
                Err(errno) => return Err(io_error(errno)),
            }
        }
    }

    /// Takes the first message out of the buffer, if it is complete.
    fn buffered(&mut self) -> Option<Frame> {
        let word = |at: usize| {
            let bytes = self.inbox.get(at..)?.first_chunk().copied()?;
            Some(u32::from_ne_bytes(bytes))
        };
        let (object, meaning) = (word(0)?, word(4)?);
        word(12)?;
        let end = HEADER + usize::try_from(meaning & LARGEST).ok()?;
        let body = self.inbox.get(HEADER..end)?.to_vec();
        let [opcode, ..] = meaning.to_be_bytes();
        self.inbox.drain(..end);
        Some(Frame {
            object,
            opcode,
            body,
        })
    }

    /// Reads what there is, at most one chunk. The kernel closes file descriptors that come with it,
    /// because no room is given for them.
    fn fill(&mut self) -> Result<usize, Errno> {
        let before = self.inbox.len();
        self.inbox.resize(before + CHUNK, 0);
        let room = self.inbox.get_mut(before..).unwrap_or_default();
        let received = recv(&self.socket, room, RecvFlags::DONTWAIT);
        let bytes = received.map(|(bytes, _)| bytes);
        self.inbox.truncate(before + bytes.unwrap_or(0));
        bytes
    }

    fn wait(
        &self,
        what: PollFlags,
        until: Instant,
        timeout: Duration,
    ) -> Result<(), ProtocolError> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ProtocolError::Deadline(timeout));
        }
        let left = Timespec::try_from(left).unwrap_or_default();
        let mut sockets = [PollFd::new(&self.socket, what)];
        match poll(&mut sockets, Some(&left)) {
            // Whether the time is over is seen by the next call, which also tries the socket again.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(io_error(errno)),
        }
    }
}

fn io_error(errno: Errno) -> ProtocolError {
    ProtocolError::Io(io::Error::from(errno))
}
