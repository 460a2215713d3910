//! The socket on which the kernel, and udev behind it, tell of devices.

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
use super::{Heard, UeventMonitor};

/// The most that one event has: the kernel's properties fit in 2 KiB, those of udev are more.
const LONGEST: usize = 64 * 1024;

/// What may wait to be received: a shelf of a thousand disks that comes at once. Granted whole to
/// root, and else as far as `net.core.rmem_max` goes.
const ROOM: usize = 16 << 20;

/// So many are received before anything is decided, so that a storm cannot keep it from being.
const AT_ONCE: usize = 256;

/// Who tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The kernel, at once.
    Kernel,
    /// udev, once its rules have been carried out for the event: what they set is set, and what they
    /// found out is told too. Nobody tells where udev does not run.
    Udev,
}

impl Sender {
    /// udev where it runs, or else the kernel.
    ///
    /// # Errors
    /// Where the host does not say.
    pub fn of(host: &Host) -> Result<Self, HostError> {
        // Its socket, there from its start to its end.
        let is_there = host.exists("/run/udev/control")?;
        Ok(if is_there { Self::Udev } else { Self::Kernel })
    }

    /// The multicast group: `MONITOR_GROUP_KERNEL` and `MONITOR_GROUP_UDEV` of libudev.
    fn group(self) -> u32 {
        match self {
            Self::Kernel => 1,
            Self::Udev => 2,
        }
    }
}

/// What the kernel or udev tells of devices.
///
/// Only they are listened to. The kernel sends from port 0, which nobody else can; udev is known by
/// being root, as the kernel vouches for with every message.
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

/// What one call received.
enum Received {
    Event(Uevent),
    /// From somebody else, or no event.
    Ignored,
    Lost,
    Nothing,
}

impl Uevents {
    /// Listens from now on. No rights are needed. In a network namespace of a container nothing is
    /// told.
    ///
    /// # Errors
    /// Where no such socket can be had.
    pub fn open(sender: Sender) -> Result<Self, HostError> {
        Self::with_room(sender, ROOM)
    }

    /// With room for about so many bytes of what is told and not yet received.
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
            // What is sent to this socket alone is for nobody else to see, and so not udev's.
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
        // One that cannot be read may be about anything.
        Ok(event.map_or(Received::Lost, Received::Event))
    }

    /// What has been told by now; nothing where nothing has.
    fn told(&mut self) -> Result<Option<Heard>, HostError> {
        let mut events = Vec::new();
        for _ in 0..AT_ONCE {
            match self.receive()? {
                Received::Event(event) => events.push(event),
                Received::Ignored => {}
                // What came before it is looked at with everything else.
                Received::Lost => return Ok(Some(Heard::Lost)),
                Received::Nothing => break,
            }
        }
        Ok((!events.is_empty()).then_some(Heard::Events(events)))
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
    ) -> Result<Heard, HostError> {
        loop {
            let watched = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            let mut stops: Vec<PollFd<'_>> = stop.iter().copied().map(watched).collect();
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // Asked first, so that a storm of events keeps nobody from stopping.
            if !stops.is_empty() && poll(&mut stops, Some(&now)).is_ok_and(|ready| ready > 0) {
                return Ok(Heard::Stopped);
            }
            if let Some(heard) = self.told()? {
                return Ok(heard);
            }
            let left = until.map(|until| until.saturating_sub(self.now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Heard::Nothing);
            }
            // Longer than the kernel can wait is for ever.
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
    HostError::from_errno(Operation::Wire, "netlink", errno.raw_os_error())
        .detail("to be told of disks that come")
}
