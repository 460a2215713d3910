//! A request to stop, for code that watches a host.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A request to stop; clones share it.
///
/// Requesting it wakes waiters at once. To stop on a signal, pass a descriptor that becomes
/// readable then (a `signalfd`, the read end of a pipe) to [`on`](Self::on).
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

struct Inner {
    requested: AtomicBool,
    wake: Option<OwnedFd>,
    on: Option<OwnedFd>,
    flag: Option<&'static AtomicBool>,
    /// Called once, by the first to see the flag set.
    noticed: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop")
            .field("asked", &self.requested)
            .field("flag", &self.flag)
            .finish_non_exhaustive()
    }
}

impl Stop {
    /// A stop that is not requested yet.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        Self::with(None)
    }

    /// A stop that is also requested when `descriptor` becomes readable or is hung up.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(descriptor: impl Into<OwnedFd>) -> io::Result<Self> {
        Self::with(Some(descriptor.into()))
    }

    fn with(on: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            requested: AtomicBool::new(false),
            wake: Some(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
            on,
            flag: None,
            noticed: Box::new(|| {}),
        })))
    }

    /// A stop that is requested by setting `flag`, which is all that a signal handler may do. The
    /// first to see it set calls `noticed`.
    ///
    /// A flag wakes nobody: this is for work that checks between its steps, as apply and revert do.
    pub fn flagged(flag: &'static AtomicBool, noticed: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            requested: AtomicBool::new(false),
            wake: None,
            on: None,
            flag: Some(flag),
            noticed: Box::new(noticed),
        }))
    }

    /// Requests the stop. It cannot be withdrawn.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        if let Some(wake) = &self.0.wake {
            // If the counter is full, the waiters have been woken already.
            let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
        }
    }

    /// Whether the stop is requested.
    pub fn is_requested(&self) -> bool {
        if self.0.requested.load(Ordering::SeqCst) {
            return true;
        }
        if self.0.flag.is_some_and(|flag| flag.load(Ordering::SeqCst)) {
            if !self.0.requested.swap(true, Ordering::SeqCst) {
                (self.0.noticed)();
            }
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

    /// The descriptors that become readable on a request, for those who also poll others.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.0.wake, &self.0.on]
            .into_iter()
            .flatten()
            .map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn whoever_is_asked_knows_by_every_clone() {
        let stop = Stop::new().unwrap();
        let other = stop.clone();
        assert!(!other.is_requested());
        stop.request();
        stop.request();
        assert!(stop.is_requested() && other.is_requested());
    }

    #[test]
    fn a_descriptor_asks_by_becoming_readable_and_by_being_hung_up() {
        let (reads, writes) = io::pipe().unwrap();
        let stop = Stop::on(reads).unwrap();
        assert!(!stop.is_requested());
        rustix::io::write(&writes, b"x").unwrap();
        assert!(stop.is_requested());
        let (reads, writes) = io::pipe().unwrap();
        let stop = Stop::on(reads).unwrap();
        drop(writes);
        assert!(stop.is_requested());
    }

    #[test]
    fn a_flag_asks_and_is_noticed_once() {
        static FLAG: AtomicBool = AtomicBool::new(false);
        static TIMES: AtomicUsize = AtomicUsize::new(0);
        let stop = Stop::flagged(&FLAG, || {
            TIMES.fetch_add(1, Ordering::SeqCst);
        });
        let other = stop.clone();
        assert!(!stop.is_requested() && !other.is_requested());
        FLAG.store(true, Ordering::SeqCst);
        assert!(other.is_requested() && stop.is_requested());
        assert_eq!(TIMES.load(Ordering::SeqCst), 1);
        assert_eq!(stop.descriptors().count(), 0);
    }
}
