//! A connection to a message bus, in this thread alone.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::message::{Argument, Kind, Message};

/// The bus itself.
pub(super) const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// A connection that is closed when this process ends or executes another program.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    received: Vec<u8>,
    serial: u32,
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
}

impl To<'static> {
    /// The bus itself.
    pub(super) const THE_BUS: Self = Self {
        name: BUS,
        path: BUS_PATH,
        interface: BUS,
    };
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The called program, or the bus for it, answered with an error.
    #[error("{message} ({name})")]
    Answered {
        /// The error's name.
        name: String,
        /// Its text.
        message: String,
    },
    /// The connection cannot be used any more.
    #[error(transparent)]
    Lost(#[from] io::Error),
}

fn lost(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

impl Bus {
    /// Connects to the bus at a socket, as the user of this process; `None` if nobody listens there.
    ///
    /// # Errors
    /// If the bus refuses or does not answer by `until`.
    pub(super) fn connect(socket: &Path, until: Instant) -> io::Result<Option<Self>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stream =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::NOTDIR | Errno::CONNREFUSED) => return Ok(None),
            // EAGAIN as well: a bus whose backlog is full.
            Err(errno) => return Err(errno.into()),
        }
        let mut bus = Self {
            stream: stream.into(),
            received: Vec::new(),
            serial: 0,
        };
        // "Authentication Protocol" of the specification: the kernel tells the bus who this is.
        let user: String = rustix::process::geteuid()
            .as_raw()
            .to_string()
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        bus.send(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes(), until)?;
        let answer = bus.line(until)?;
        if !answer.starts_with("OK ") {
            return Err(lost(format!("the bus does not accept this user: {answer}")));
        }
        bus.send(b"BEGIN\r\n", until)?;
        bus.call(To::THE_BUS, "Hello", Vec::new(), until)
            .map_err(|error| lost(error.to_string()))?;
        Ok(Some(bus))
    }

    /// Whether a program has this name on the bus. None is started by the question.
    pub(super) fn has_owner(&mut self, name: &str, until: Instant) -> io::Result<bool> {
        let name = vec![Argument::Text(name.to_owned())];
        match self.call(To::THE_BUS, "NameHasOwner", name, until) {
            Ok(body) => Ok(body.first() == Some(&Argument::Flag(true))),
            Err(CallError::Lost(error)) => Err(error),
            Err(answered) => Err(lost(answered.to_string())),
        }
    }

    /// Calls a method and waits for its result. The bus starts no program for it.
    pub(super) fn call(
        &mut self,
        to: To<'_>,
        member: &str,
        body: Vec<Argument>,
        until: Instant,
    ) -> Result<Vec<Argument>, CallError> {
        let mut call = Message::new(Kind::Call);
        call.may_start = false;
        call.path = to.path.to_owned();
        call.interface = to.interface.to_owned();
        call.member = member.to_owned();
        call.destination = to.name.to_owned();
        call.body = body;
        let serial = self.send_message(call, until)?;
        loop {
            let message = self
                .receive(until)?
                .ok_or_else(|| lost(format!("no answer to {member} in time")))?;
            if message.answers != serial {
                continue;
            }
            return match message.kind {
                Kind::Return => Ok(message.body),
                _ => Err(CallError::Answered {
                    name: message.error,
                    message: match message.body.into_iter().next() {
                        Some(Argument::Text(text)) => text,
                        _ => "it gives no reason".to_owned(),
                    },
                }),
            };
        }
    }

    /// Sends a message; returns its serial number.
    pub(super) fn send_message(&mut self, mut message: Message, until: Instant) -> io::Result<u32> {
        self.serial += 1;
        message.serial = self.serial;
        self.send(&message.encode(), until)?;
        Ok(self.serial)
    }

    /// The next message; `None` if none has arrived by `until`.
    pub(super) fn receive(&mut self, until: Instant) -> io::Result<Option<Message>> {
        loop {
            let decoded = Message::decode(&self.received);
            let decoded = decoded.map_err(|why| lost(format!("not a message: {}", why.0)))?;
            if let Some((message, length)) = decoded {
                self.received.drain(..length);
                return Ok(Some(message));
            }
            if !self.read(until)? {
                return Ok(None);
            }
        }
    }

    fn line(&mut self, until: Instant) -> io::Result<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.received.len() > 4096 {
                return Err(lost("the bus answers with a line without end"));
            }
            if !self.read(until)? {
                return Err(lost("the bus does not answer in time"));
            }
        }
    }

    /// Reads what has arrived; `false` if nothing has by `until`.
    fn read(&mut self, until: Instant) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        loop {
            match rustix::io::read(&self.stream, &mut bytes) {
                Ok(0) => return Err(lost("the bus has closed the connection")),
                Ok(count) => {
                    self.received.extend_from_slice(&bytes[..count]);
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !self.is_ready(PollFlags::IN, until)? {
                        return Ok(false);
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn send(&mut self, bytes: &[u8], until: Instant) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            // Without SIGPIPE, which this process ignores (the standard library sets that).
            match rustix::io::write(&self.stream, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !self.is_ready(PollFlags::OUT, until)? {
                        return Err(lost("the bus takes no message in time"));
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits until the connection can be read or written; `false` if it cannot by `until`.
    fn is_ready(&self, flags: PollFlags, until: Instant) -> io::Result<bool> {
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let limit = Timespec {
                tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: rest.subsec_nanos().into(),
            };
            let mut one = [PollFd::new(&self.stream, flags)];
            match poll(&mut one, Some(&limit)) {
                Ok(0) if rest > Duration::ZERO => {}
                Ok(0) => return Ok(false),
                Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
