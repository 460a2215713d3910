//! How somebody who watches a host is told to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Tells somebody who watches to stop; clones tell the same one.
///
/// It wakes who waits at once. From a program that is to stop on a signal, hand over a descriptor
/// that becomes readable then (a `signalfd`, the reading end of a pipe) with [`on`](Self::on).
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    asked: AtomicBool,
    wake: OwnedFd,
    on: Option<OwnedFd>,
}

impl Stop {
    /// One that nobody has asked yet.
    ///
    /// # Errors
    /// Where the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Self::with(None)
    }

    /// One that is asked as well by `descriptor` becoming readable, or being hung up.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(descriptor: impl Into<OwnedFd>) -> io::Result<Self> {
        Self::with(Some(descriptor.into()))
    }

    fn with(on: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            asked: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            on,
        })))
    }

    /// Asks to stop, once and for all.
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        // A counter that is full has woken whoever waits already.
        let _ = rustix::io::write(&self.0.wake, &1_u64.to_ne_bytes());
    }

    /// Whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        if self.0.asked.load(Ordering::SeqCst) {
            return true;
        }
        let Some(on) = &self.0.on else { return false };
        let mut one = [PollFd::new(on, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut one, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// What becomes readable when somebody asks: for whoever waits for other things as well.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let on = self.0.on.as_ref().map(AsFd::as_fd);
        std::iter::once(self.0.wake.as_fd()).chain(on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_asked_knows_by_every_clone() {
        let stop = Stop::new().unwrap();
        let other = stop.clone();
        assert!(!other.is_asked());
        stop.ask();
        stop.ask();
        assert!(stop.is_asked() && other.is_asked());
    }

    #[test]
    fn a_descriptor_asks_by_becoming_readable_and_by_being_hung_up() {
        let (reads, writes) = io::pipe().unwrap();
        let stop = Stop::on(reads).unwrap();
        assert!(!stop.is_asked());
        rustix::io::write(&writes, b"x").unwrap();
        assert!(stop.is_asked());
        let (reads, writes) = io::pipe().unwrap();
        let stop = Stop::on(reads).unwrap();
        drop(writes);
        assert!(stop.is_asked());
    }
}
