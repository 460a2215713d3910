//! The rtnetlink socket of the kernel, whose answers belong to the latest request.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;

use hosttune_core::{HostError, Operation};
use netlink_packet_core::NetlinkBuffer;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::numbers::*;
use super::{Acknowledgement, Message, NetlinkError, Request, Rtnetlink};

/// The receive buffer: the largest chunk of a dump that the kernel sends.
const RECEIVED_AT_ONCE: usize = 32 * 1024;

/// Retries of a dump after `NLM_F_DUMP_INTR`.
const TRIES: usize = 100;

/// rtnetlink of the running kernel.
pub struct KernelSocket {
    socket: OnceCell<Socket>,
    sequence: Cell<u32>,
    buffer: RefCell<Vec<u8>>,
}

impl fmt::Debug for KernelSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSocket")
            .field("descriptor", &self.socket.get().map(AsRawFd::as_raw_fd))
            .field("sequence", &self.sequence.get())
            .finish()
    }
}

enum Received {
    Message(Message, bool),
    Acknowledged(Acknowledgement),
    Done(Acknowledgement),
}

impl KernelSocket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// If the socket cannot be opened.
    pub fn open() -> Result<Self, HostError> {
        let opened = Self::on_demand();
        opened.socket().map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(EPROTO);
            HostError::from_errno(Operation::Backend, "netlink", errno)
                .detail("cannot open a socket to the kernel")
        })?;
        Ok(opened)
    }

    /// Opens the socket with the first request, in the network namespace of the thread that makes it.
    pub fn on_demand() -> Self {
        Self {
            socket: OnceCell::new(),
            sequence: Cell::new(0),
            buffer: RefCell::new(Vec::new()),
        }
    }

    fn socket(&self) -> io::Result<&Socket> {
        if let Some(socket) = self.socket.get() {
            return Ok(socket);
        }
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        socket.set_netlink_get_strict_chk(true)?;
        self.buffer.borrow_mut().reserve(RECEIVED_AT_ONCE);
        Ok(self.socket.get_or_init(|| socket))
    }

    fn send(&self, request: &Request, flags: u16) -> Result<u32, NetlinkError> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let bytes = request.to_bytes(flags, sequence);
        let sent = again(|| self.socket()?.send(&bytes, 0));
        sent.map_err(|error| NetlinkError::not_reached(request, &error))?;
        Ok(sequence)
    }

    /// Receives the next answers, without those to earlier requests that were given up.
    fn receive(&self, request: &Request, sequence: u32) -> Result<Vec<Received>, NetlinkError> {
        let mut buffer = self.buffer.borrow_mut();
        buffer.clear();
        again(|| self.socket()?.recv(&mut *buffer, 0))
            .map_err(|error| NetlinkError::not_reached(request, &error))?;
        read(&buffer, sequence).ok_or_else(|| NetlinkError::malformed(request, "truncated answer"))
    }

    /// Returns `None` if the list changed during the dump.
    fn dump_once(&self, request: &Request) -> Result<Option<Vec<Message>>, NetlinkError> {
        let sequence = self.send(request, NLM_F_DUMP)?;
        let mut listed = Vec::new();
        let mut whole = true;
        loop {
            for received in self.receive(request, sequence)? {
                match received {
                    Received::Message(message, consistent) => {
                        whole &= consistent;
                        listed.push(message);
                    }
                    Received::Acknowledged(answer) | Received::Done(answer)
                        if answer.errno != 0 =>
                    {
                        return Err(NetlinkError::refused(request, &answer));
                    }
                    Received::Done(_) => return Ok(whole.then_some(listed)),
                    Received::Acknowledged(_) => {}
                }
            }
        }
    }
}

impl Rtnetlink for KernelSocket {
    fn dump(&self, request: &Request) -> Result<Vec<Message>, NetlinkError> {
        for _ in 0..TRIES {
            match self.dump_once(request) {
                Ok(Some(listed)) => return Ok(listed),
                Ok(None) => {}
                // Answers were lost, or the kernel is still sending those to an earlier request.
                Err(error) if matches!(error.errno(), Some(ENOBUFS | EINTR | EBUSY)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(NetlinkError::malformed(
            request,
            "the list changes faster than it can be dumped",
        ))
    }

    fn get(&self, request: &Request) -> Result<Message, NetlinkError> {
        let sequence = self.send(request, 0)?;
        loop {
            match self.receive(request, sequence)?.into_iter().next() {
                Some(Received::Message(message, _)) => return Ok(message),
                Some(Received::Acknowledged(answer) | Received::Done(answer)) => {
                    return Err(NetlinkError::refused(request, &answer));
                }
                None => {}
            }
        }
    }

    fn change(&mut self, request: &Request) -> Result<(), NetlinkError> {
        let sequence = self.send(request, NLM_F_ACK)?;
        loop {
            for received in self.receive(request, sequence)? {
                match received {
                    Received::Acknowledged(answer) if answer.errno == 0 => return Ok(()),
                    Received::Acknowledged(answer) | Received::Done(answer) => {
                        return Err(NetlinkError::refused(request, &answer));
                    }
                    Received::Message(..) => {}
                }
            }
        }
    }
}

/// Repeats a call that was interrupted by a signal.
fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The messages in a datagram. `None` if one of them is incomplete.
fn read(mut bytes: &[u8], sequence: u32) -> Option<Vec<Received>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let length = usize::try_from(message.length()).ok()?;
        let whole = bytes.get(..length)?;
        bytes = bytes
            .get(length.checked_next_multiple_of(4)?..)
            .unwrap_or_default();
        if message.sequence_number() != sequence {
            continue;
        }
        all.push(match message.message_type() {
            NLMSG_NOOP => continue,
            NLMSG_ERROR => Received::Acknowledged(Acknowledgement::read(whole)?),
            NLMSG_DONE => {
                let consistent = message.flags() & NLM_F_DUMP_INTR == 0;
                let mut answer = Acknowledgement::read(whole)?;
                if !consistent && answer.errno == 0 {
                    answer.errno = EINTR;
                }
                Received::Done(answer)
            }
            number => Received::Message(
                Message {
                    number,
                    payload: whole.get(NLMSG_HEADER..)?.to_vec(),
                },
                message.flags() & NLM_F_DUMP_INTR == 0,
            ),
        });
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let request = Request::new(number, flags, payload.to_vec(), Default::default(), "", "");
        request.to_bytes(0, sequence)
    }

    #[test]
    fn answers_to_earlier_questions_are_dropped() {
        let bytes = [
            message(RTM_NEWLINK, 0, 6, &[0; 16]),
            message(RTM_NEWLINK, NLM_F_DUMP_INTR, 7, &[1; 16]),
            message(NLMSG_DONE, 0, 7, &[0; 4]),
        ]
        .concat();
        let read = read(&bytes, 7).unwrap();
        assert_eq!(read.len(), 2);
        assert!(matches!(&read[0], Received::Message(one, false) if one.payload == [1; 16]));
        assert!(matches!(&read[1], Received::Done(answer) if answer.errno == 0));
    }

    #[test]
    fn bytes_cut_anywhere_are_no_answer_and_no_panic() {
        let bytes = [
            message(RTM_NEWLINK, 0, 7, &[1; 16]),
            message(NLMSG_ERROR, NLM_F_ACK_TLVS, 7, &[0xff; 20]),
        ]
        .concat();
        for length in 1..bytes.len() {
            assert!(
                read(&bytes[..length], 7).is_none() || length == 32,
                "{length}"
            );
        }
        assert_eq!(read(&bytes, 7).map(|all| all.len()), Some(2));
    }
}
