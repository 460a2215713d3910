//! What the kernel tells of links and traffic control without being asked.

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

use super::attributes::{find, word};
use super::numbers::*;

/// The most that the kernel puts into one piece.
const RECEIVED_AT_ONCE: usize = 32 * 1024;

/// Where `struct ifinfomsg` and `struct tcmsg` have the number of the link.
const INDEX: usize = 4;
/// Where `struct rtmsg` has how many bits of the destination count.
const DESTINATION_LENGTH: usize = 1;
/// How long `struct ifinfomsg` is.
const OF_LINK: usize = 16;

/// What something was told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A link: it is new, or something about it is.
    Link,
    /// A link that is no longer there.
    LinkGone,
    /// A queueing discipline, a class or a filter.
    Traffic,
    /// A default route of any table; which link it leads out of is not said here.
    Route,
}

/// One thing that was told: that something changed, and where. What it is now is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What about.
    pub subject: Subject,
    /// The number of the link; zero for a route.
    pub index: u32,
    /// The name of the link; only what is told about links has it.
    pub name: Option<String>,
}

/// How waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noticed {
    /// These were told.
    Notices(Vec<Notice>),
    /// More was told than there was room for, and nobody knows what: look at everything.
    Lost,
    /// Nothing was told until the time came.
    Nothing,
    /// Somebody asked to stop.
    Stopped,
}

/// Something that tells of changes: the kernel, or what stands for it.
pub trait Monitor: fmt::Debug {
    /// The time since it was opened.
    fn now(&self) -> Duration;

    /// Waits until something is told, until it is `until`, or until somebody asks to stop.
    ///
    /// # Errors
    /// Where it cannot be listened to.
    fn wait(&mut self, stop: &Stop, until: Option<Duration>) -> Result<Noticed, HostError>;
}

/// What the running kernel tells, in the network namespace of the thread that opened it.
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
    /// In the network namespace of the calling thread. No rights are needed.
    ///
    /// # Errors
    /// Where no such socket can be had.
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

    /// Also of default routes, by which a device is chosen.
    ///
    /// Of IPv4 routes that go with a link that goes down the kernel tells nothing but that the link
    /// is down.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn with_routes(self) -> Result<Self, HostError> {
        for group in [RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE] {
            let joined = self.socket.add_membership(group);
            joined.map_err(|error| failed(&error))?;
        }
        Ok(self)
    }

    /// What has been told by now; `None` where nothing has.
    fn told(&mut self) -> Result<Option<Noticed>, HostError> {
        self.buffer.clear();
        match self.socket.recv_from(&mut self.buffer, 0) {
            // Only the kernel's word counts.
            Ok((_, from)) if from.port_number() != 0 => Ok(None),
            Ok(_) => Ok(Some(match read(&self.buffer) {
                Some(notices) => Noticed::Notices(notices),
                None => Noticed::Lost,
            })),
            Err(error) => match error.raw_os_error() {
                Some(ENOBUFS) => Ok(Some(Noticed::Lost)),
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

    fn wait(&mut self, stop: &Stop, until: Option<Duration>) -> Result<Noticed, HostError> {
        loop {
            if stop.is_asked() {
                return Ok(Noticed::Stopped);
            }
            if let Some(noticed) = self.told()? {
                return Ok(noticed);
            }
            let left = until.map(|until| until.saturating_sub(self.now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Noticed::Nothing);
            }
            // Longer than the kernel can wait is for ever.
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
    HostError::from_errno(Operation::Wire, "netlink", errno)
        .detail("to be told of changes of links and traffic control")
}

/// What was told; `None` where a message is not whole.
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
                _ => word(payload, INDEX)?,
            },
            name,
        });
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Attributes, Request};

    fn message(number: u16, length: usize, index: u32, name: Option<&str>) -> Vec<u8> {
        let mut fixed = vec![0; length];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        let attributes = name.map_or_else(Attributes::new, |name| {
            Attributes::new().with_text(IFLA_IFNAME, name)
        });
        Request::new(number, 0, fixed, attributes, "", "").to_bytes(0, 0)
    }

    #[test]
    fn links_and_traffic_are_told_apart() {
        let bytes = [
            message(RTM_NEWLINK, 16, 3, Some("wan")),
            message(RTM_NEWQDISC, 20, 3, None),
            // Of the neighbours, which nobody asked for.
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
            // `struct rtmsg`, which has no number of a link where the others have it.
            let fixed = vec![2, bits, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
            Request::new(number, 0, fixed, Attributes::new(), "", "").to_bytes(0, 0)
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
