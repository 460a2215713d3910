//! Notifications of the kernel about links, traffic control and routes.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use hosttune_core::{HostError, Operation, Stop};
use netlink_packet_core::NetlinkBuffer;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::attributes::{find, u32_at};
use super::numbers::*;

/// The size of the largest chunk that the kernel sends.
const RECEIVED_AT_ONCE: usize = 32 * 1024;

/// The offset of the link index in `struct ifinfomsg` and `struct tcmsg`.
const INDEX: usize = 4;
/// The offset of the destination's prefix length in `struct rtmsg`.
const DESTINATION_LENGTH: usize = 1;
/// The size of `struct ifinfomsg`.
const OF_LINK: usize = 16;

/// The subject of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A link that is new or has changed.
    Link,
    /// A link that no longer exists.
    LinkGone,
    /// A qdisc, a class or a filter.
    Traffic,
    /// A default route of any table. The notification does not say which link it uses.
    Route,
}

/// A notification that something changed, and where. It does not carry the new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What changed.
    pub subject: Subject,
    /// The index of the link; zero for a route.
    pub index: u32,
    /// The name of the link. Only notifications about links have it.
    pub name: Option<String>,
}

/// How waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitOutcome {
    /// These notifications arrived.
    Notices(Vec<Notice>),
    /// Notifications were lost because the buffer was full: everything must be read again.
    Lost,
    /// Nothing arrived before the timeout.
    Nothing,
    /// A stop was requested.
    Stopped,
}

/// A source of notifications: the kernel, or a fake of it.
pub trait Monitor: fmt::Debug {
    /// The time since it was opened.
    fn now(&self) -> Duration;

    /// Waits for a notification, for the time `until`, or for a request to stop.
    ///
    /// # Errors
    /// If nothing can be received.
    fn wait(&mut self, stop: &Stop, until: Option<Duration>) -> Result<WaitOutcome, HostError>;
}

/// Notifications of the running kernel, in the network namespace of the thread that opened it.
pub struct KernelMonitor {
    socket: Socket,
    opened: Instant,
    buffer: Vec<u8>,
}

impl fmt::Debug for KernelMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelMonitor")
            .field("descriptor", &self.socket.as_raw_fd())
            .finish_non_exhaustive()
    }
}

impl KernelMonitor {
    /// Subscribes in the network namespace of the calling thread. No privileges are needed.
    ///
    /// # Errors
    /// If the socket cannot be opened.
    pub fn open() -> Result<Self, HostError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            for group in [RTNLGRP_LINK, RTNLGRP_TC] {
                socket.add_membership(group)?;
            }
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(|error| failed(&error))?,
            opened: Instant::now(),
            buffer: Vec::with_capacity(RECEIVED_AT_ONCE),
        })
    }

    /// Subscribes to default routes as well, which decide what the default device is.
    ///
    /// For IPv4 routes that disappear because their link goes down, the kernel only sends that the
    /// link is down.
    ///
    /// # Errors
    /// If the kernel reports an error.
    pub fn with_routes(self) -> Result<Self, HostError> {
        for group in [RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE] {
            let joined = self.socket.add_membership(group);
            joined.map_err(|error| failed(&error))?;
        }
        Ok(self)
    }

    /// The notifications that have arrived by now. `None` if there are none.
    fn told(&mut self) -> Result<Option<WaitOutcome>, HostError> {
        self.buffer.clear();
        match self.socket.recv_from(&mut self.buffer, 0) {
            // Only messages from the kernel itself count.
            Ok((_, from)) if from.port_number() != 0 => Ok(None),
            Ok(_) => Ok(Some(match read(&self.buffer) {
                Some(notices) => WaitOutcome::Notices(notices),
                None => WaitOutcome::Lost,
            })),
            Err(error) => match error.raw_os_error() {
                Some(ENOBUFS) => Ok(Some(WaitOutcome::Lost)),
                Some(EAGAIN | EINTR) => Ok(None),
                _ => Err(failed(&error)),
            },
        }
    }
}

impl Monitor for KernelMonitor {
    fn now(&self) -> Duration {
        self.opened.elapsed()
    }

    fn wait(&mut self, stop: &Stop, until: Option<Duration>) -> Result<WaitOutcome, HostError> {
        loop {
            if stop.is_requested() {
                return Ok(WaitOutcome::Stopped);
            }
            if let Some(noticed) = self.told()? {
                return Ok(noticed);
            }
            let left = until.map(|until| until.saturating_sub(self.now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(WaitOutcome::Nothing);
            }
            // A timeout longer than the kernel supports means no timeout.
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut all = vec![PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
            let stops = stop.descriptors();
            all.extend(stops.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut all, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(&errno.into())),
            }
        }
    }
}

fn failed(error: &io::Error) -> HostError {
    let errno = error.raw_os_error().unwrap_or(EPROTO);
    HostError::from_errno(Operation::Backend, "netlink", errno)
        .detail("failed to subscribe to changes of links and traffic control")
}

/// The notifications in a datagram. `None` if a message is incomplete.
fn read(mut bytes: &[u8]) -> Option<Vec<Notice>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let length = usize::try_from(message.length()).ok()?;
        let payload = bytes.get(NLMSG_HEADER..length)?;
        bytes = bytes
            .get(length.checked_next_multiple_of(4)?..)
            .unwrap_or_default();
        let subject = match message.message_type() {
            RTM_NEWLINK => Subject::Link,
            RTM_DELLINK => Subject::LinkGone,
            RTM_NEWROUTE | RTM_DELROUTE => match payload.get(DESTINATION_LENGTH)? {
                0 => Subject::Route,
                _ => continue,
            },
            RTM_NEWQDISC | RTM_DELQDISC | RTM_NEWTCLASS | RTM_DELTCLASS | RTM_NEWTFILTER
            | RTM_DELTFILTER => Subject::Traffic,
            _ => continue,
        };
        let name = match subject {
            Subject::Link | Subject::LinkGone => payload
                .get(OF_LINK..)
                .and_then(|attributes| find(attributes, IFLA_IFNAME))
                .map(|name| name.text()),
            Subject::Traffic | Subject::Route => None,
        };
        all.push(Notice {
            subject,
            index: match subject {
                Subject::Route => 0,
                _ => u32_at(payload, INDEX)?,
            },
            name,
        });
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attributes, Request};

    fn message(number: u16, length: usize, index: u32, name: Option<&str>) -> Vec<u8> {
        let mut header = vec![0; length];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let attributes = name.map_or_else(Attributes::new, |name| {
            Attributes::new().with_text(IFLA_IFNAME, name)
        });
        Request::new(number, 0, header, attributes, "", "").to_bytes(0, 0)
    }

    #[test]
    fn links_and_traffic_are_told_apart() {
        let bytes = [
            message(RTM_NEWLINK, 16, 3, Some("wan")),
            message(RTM_NEWQDISC, 20, 3, None),
            // About neighbours, which were not subscribed to.
            message(28, 12, 3, None),
            message(RTM_DELTFILTER, 20, 4, None),
            message(RTM_DELLINK, 16, 4, Some("ifb7")),
        ]
        .concat();
        let read = read(&bytes).unwrap();
        let told: Vec<_> = read
            .iter()
            .map(|notice| (notice.subject, notice.index, notice.name.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                (Subject::Link, 3, Some("wan")),
                (Subject::Traffic, 3, None),
                (Subject::Traffic, 4, None),
                (Subject::LinkGone, 4, Some("ifb7")),
            ]
        );
    }

    #[test]
    fn of_routes_only_the_default_ones_are_told() {
        let route = |number, bits: u8| {
            // `struct rtmsg`, which has no link index where the others have it.
            let header = vec![2, bits, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
            Request::new(number, 0, header, Attributes::new(), "", "").to_bytes(0, 0)
        };
        let bytes = [
            route(RTM_NEWROUTE, 24),
            route(RTM_NEWROUTE, 0),
            route(RTM_DELROUTE, 32),
            route(RTM_DELROUTE, 0),
        ]
        .concat();
        let told = Notice {
            subject: Subject::Route,
            index: 0,
            name: None,
        };
        assert_eq!(read(&bytes).unwrap(), [told.clone(), told]);
    }

    #[test]
    fn bytes_cut_anywhere_are_nothing_that_was_told_and_no_panic() {
        let bytes = [
            message(RTM_NEWLINK, 16, 3, Some("wan")),
            message(RTM_NEWQDISC, 20, 3, None),
        ]
        .concat();
        let first = message(RTM_NEWLINK, 16, 3, Some("wan")).len();
        for length in 1..bytes.len() {
            assert!(
                read(&bytes[..length]).is_none() || length == first,
                "{length}"
            );
        }
    }
}
