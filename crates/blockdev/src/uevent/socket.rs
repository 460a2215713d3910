//! The netlink socket that carries events of the kernel and of udev.

use std::fmt;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use hosttune_core::{Host, HostError, Operation};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketFlags,
    SocketType, bind, recvmsg, socket_with, sockopt,
};

use super::message::Uevent;
use super::{UeventMonitor, WaitOutcome};

/// Maximum size of one message: the kernel's properties fit in 2 KiB, udev's need more.
const LONGEST: usize = 64 * 1024;

/// Size of the receive buffer: enough for a shelf of a thousand disks that are attached at once.
/// Root gets all of it, other users are limited by `net.core.rmem_max`.
const ROOM: usize = 16 << 20;

/// Maximum number of messages received before anything is decided, so that a storm cannot prevent
/// decisions.
const AT_ONCE: usize = 256;

/// Who sends the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The kernel, without delay.
    Kernel,
    /// udev, after it has processed its rules for the event: what they set is set, and the
    /// properties that they found are included. Without a running udev there are no events.
    Udev,
}

impl Sender {
    /// udev if it is running, otherwise the kernel.
    ///
    /// # Errors
    /// If the host cannot be read.
    pub fn of(host: &Host) -> Result<Self, HostError> {
        // The control socket of udevd, which exists while udevd runs.
        let is_there = host.exists("/run/udev/control")?;
        Ok(if is_there { Self::Udev } else { Self::Kernel })
    }

    /// The multicast group: `MONITOR_GROUP_KERNEL` or `MONITOR_GROUP_UDEV` of libudev.
    fn group(self) -> u32 {
        match self {
            Self::Kernel => 1,
            Self::Udev => 2,
        }
    }
}

/// Receives events of the kernel or of udev.
///
/// Messages of other senders are ignored. The kernel sends from port 0, which no process can use;
/// udev is recognised as root by the credentials that the kernel attaches to every message.
pub struct Uevents {
    socket: OwnedFd,
    sender: Sender,
    opened: Instant,
    buffer: Vec<u8>,
}

impl fmt::Debug for Uevents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uevents")
            .field("descriptor", &self.socket.as_raw_fd())
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}

/// The result of receiving one message.
enum Received {
    Event(Uevent),
    /// From another sender, or not an event.
    Ignored,
    Lost,
    Nothing,
}

impl Uevents {
    /// Subscribes to events from now on. This needs no privileges. In the network namespace of a
    /// container there are no events.
    ///
    /// # Errors
    /// If the socket cannot be opened.
    pub fn open(sender: Sender) -> Result<Self, HostError> {
        Self::with_room(sender, ROOM)
    }

    /// Like [`open`](Self::open), with a receive buffer of about `room` bytes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_room(sender: Sender, room: usize) -> Result<Self, HostError> {
        let open = || -> Result<OwnedFd, Errno> {
            let socket = socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                Some(netlink::KOBJECT_UEVENT),
            )?;
            sockopt::set_socket_passcred(&socket, true)?;
            if sockopt::set_socket_recv_buffer_size_force(&socket, room).is_err() {
                sockopt::set_socket_recv_buffer_size(&socket, room)?;
            }
            bind(&socket, &SocketAddrNetlink::new(0, sender.group()))?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(failed)?,
            sender,
            opened: Instant::now(),
            buffer: vec![0; LONGEST],
        })
    }

    fn receive(&mut self) -> Result<Received, HostError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut self.buffer)];
        let received = match recvmsg(&self.socket, &mut into, &mut control, RecvFlags::empty()) {
            Ok(received) => received,
            Err(Errno::NOBUFS) => return Ok(Received::Lost),
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(Errno::INTR) => return Ok(Received::Ignored),
            Err(errno) => return Err(failed(errno)),
        };
        let root = control.drain().any(|message| {
            matches!(message, RecvAncillaryMessage::ScmCredentials(who) if who.uid.is_root())
        });
        let address = received
            .address
            .and_then(|from| SocketAddrNetlink::try_from(from).ok());
        let Some(from) = address else {
            return Ok(Received::Ignored);
        };
        let is_theirs = match self.sender {
            Sender::Kernel => from.pid() == 0,
            // A message to this socket alone is not a multicast, so it is not from udev.
            Sender::Udev => root && from.pid() != 0 && from.groups() == self.sender.group(),
        };
        if !is_theirs {
            return Ok(Received::Ignored);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Ok(Received::Lost);
        }
        let Some(message) = self.buffer.get(..received.bytes) else {
            return Ok(Received::Lost);
        };
        let event = match self.sender {
            Sender::Kernel => Uevent::from_kernel(message),
            Sender::Udev => Uevent::from_udev(message),
        };
        // A message that cannot be parsed may be about any disk.
        Ok(event.map_or(Received::Lost, Received::Event))
    }

    /// The events that have arrived; `None` if there are none.
    fn told(&mut self) -> Result<Option<WaitOutcome>, HostError> {
        let mut events = Vec::new();
        for _ in 0..AT_ONCE {
            match self.receive()? {
                Received::Event(event) => events.push(event),
                Received::Ignored => {}
                // Events before the loss need not be kept, because all disks will be handled.
                Received::Lost => return Ok(Some(WaitOutcome::Lost)),
                Received::Nothing => break,
            }
        }
        Ok((!events.is_empty()).then_some(WaitOutcome::Events(events)))
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl UeventMonitor for Uevents {
    fn now(&self) -> Duration {
        self.opened.elapsed()
    }

    fn wait(
        &mut self,
        stop: &[BorrowedFd<'_>],
        until: Option<Duration>,
    ) -> Result<WaitOutcome, HostError> {
        loop {
            let watched = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            let mut stops: Vec<PollFd<'_>> = stop.iter().copied().map(watched).collect();
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // Checked first, so that a storm of events cannot prevent stopping.
            if !stops.is_empty() && poll(&mut stops, Some(&now)).is_ok_and(|ready| ready > 0) {
                return Ok(WaitOutcome::Stopped);
            }
            if let Some(heard) = self.told()? {
                return Ok(heard);
            }
            let left = until.map(|until| until.saturating_sub(self.now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(WaitOutcome::Nothing);
            }
            // A timeout that is too long for the kernel becomes infinite.
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut all = stops;
            all.push(PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN));
            match poll(&mut all, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
}

fn failed(errno: Errno) -> HostError {
    HostError::from_errno(Operation::Backend, "netlink", errno.raw_os_error())
        .detail("subscribing to uevents failed")
}
