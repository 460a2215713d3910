//! Probes over UDP: sent on time, and matched with their answers, however late.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::measurement::Sent;
use super::message::{Kind, LENGTH, Message, is_to_be_repeated};
use super::responder::LOOK;

/// A probe whose answer takes longer than this is lost.
pub(super) const LATEST: Duration = Duration::from_secs(5);

/// The probes of one run. One thread sends, another one receives.
#[derive(Debug)]
pub(super) struct Probes {
    socket: UdpSocket,
    token: u64,
    begun: Instant,
    interval: Duration,
    sent: Mutex<Vec<Sent>>,
}

impl Probes {
    /// Probes to a responder, as part of a session.
    pub(super) fn new(
        responder: SocketAddr,
        token: u64,
        interval: Duration,
    ) -> std::io::Result<Self> {
        let any: SocketAddr = if responder.is_ipv4() {
            ([0; 4], 0).into()
        } else {
            ([0; 16], 0).into()
        };
        let socket = UdpSocket::bind(any)?;
        // From here on the socket only receives answers of the responder.
        socket.connect(responder)?;
        socket.set_read_timeout(Some(LOOK))?;
        Ok(Self {
            socket,
            token,
            begun: Instant::now(),
            interval: interval.max(Duration::from_millis(1)),
            sent: Mutex::default(),
        })
    }

    /// The current time on the axis of the series.
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The probes sent so far.
    pub(super) fn sent(&self) -> Vec<Sent> {
        self.sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The probes sent since a given time.
    pub(super) fn sent_since(&self, since: Duration) -> Vec<Sent> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent[sent.partition_point(|probe| probe.at < since)..].to_vec()
    }

    /// Whether an answer to a probe that was sent before `end` can still count.
    pub(super) fn awaits_any_before(&self, end: Duration) -> bool {
        let now = self.now();
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recent = sent
            .iter()
            .rev()
            .take_while(|probe| probe.at + LATEST > now)
            .skip_while(|probe| probe.at >= end);
        recent.any(|probe| probe.took.is_none())
    }

    /// Sends probes until `is_over`. A late probe is skipped rather than sent in a burst, which
    /// would be a load of its own.
    pub(super) fn send(&self, is_over: impl Fn() -> bool) {
        let mut next = self.begun;
        while !is_over() {
            let now = Instant::now();
            if let Some(early) = next.checked_duration_since(now) {
                // A short sleep, so that the end is noticed even if probes are rare.
                thread::sleep(early.min(LOOK));
                continue;
            }
            let number = {
                let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
                sent.push(Sent {
                    at: self.now(),
                    took: None,
                });
                sent.len() as u64 - 1
            };
            let probe = Message::new(Kind::Probe, [self.token, number, 0]);
            // A probe that cannot be sent is lost: the queue is full, or the link is down.
            let _ = self.socket.send(&probe.to_bytes());
            next += self.interval;
            if next + self.interval < now {
                next = now + self.interval;
            }
        }
    }

    /// Receives answers until `is_over`.
    pub(super) fn receive(&self, is_over: impl Fn() -> bool) {
        let mut bytes = [0; LENGTH + 1];
        while !is_over() {
            match self.socket.recv(&mut bytes) {
                Ok(length) => self.answered(&bytes[..length]),
                Err(error) if is_to_be_repeated(&error) => {}
                // An ICMP error for one probe, from a router or the responder's host.
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn answered(&self, bytes: &[u8]) {
        let now = self.now();
        let Ok(Message {
            kind: Kind::Echo,
            numbers: [token, number, _],
        }) = Message::from_bytes(bytes)
        else {
            return;
        };
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let probe = usize::try_from(number)
            .ok()
            .and_then(|number| sent.get_mut(number));
        if token == self.token
            && let Some(probe) = probe
            && probe.took.is_none()
        {
            // A second answer to the same probe was duplicated by the network and says nothing.
            let took = now.saturating_sub(probe.at);
            probe.took = (took <= LATEST).then_some(took);
        }
    }
}
