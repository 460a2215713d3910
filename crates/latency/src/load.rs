//! The load of one phase: TCP connections that carry as much as they can.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use super::connection::{Control, give, take};
use super::error::MeasureError;
use super::phase::Direction;

/// Connections that carry data until this is dropped.
#[derive(Debug)]
pub(super) struct Load<'scope> {
    shared: Arc<Shared>,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    taken: AtomicU64,
    failed: Mutex<Option<io::Error>>,
}

impl<'scope> Load<'scope> {
    /// Opens `flows` connections for each direction, and then starts all of them.
    ///
    /// `is_over` ends them too.
    pub(super) fn begin(
        scope: &'scope Scope<'scope, '_>,
        control: &Control,
        directions: &[Direction],
        flows: u8,
        is_over: &'scope AtomicBool,
    ) -> Result<Self, MeasureError> {
        let mut streams: Vec<(Direction, TcpStream)> = Vec::new();
        for direction in directions {
            for _ in 0..flows {
                streams.push((*direction, control.flow(*direction)?));
            }
        }
        let mut load = Self {
            shared: Arc::default(),
            threads: Vec::new(),
        };
        for (direction, stream) in streams {
            let shared = Arc::clone(&load.shared);
            let carry = move || shared.carry(direction, &stream, is_over);
            let thread = std::thread::Builder::new().spawn_scoped(scope, carry);
            load.threads
                .push(thread.map_err(|source| MeasureError::Local {
                    what: "start a thread",
                    source,
                })?);
        }
        Ok(load)
    }

    /// Number of bytes that have arrived here.
    pub(super) fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// How a connection ended that should not have. Returned once.
    pub(super) fn failed(&self) -> Option<io::Error> {
        let mut failed = self
            .shared
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failed.take()
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn carry(&self, direction: Direction, stream: &TcpStream, all_over: &AtomicBool) {
        let is_over = || self.is_over.load(Ordering::Relaxed) || all_over.load(Ordering::Relaxed);
        let ended = match direction {
            Direction::Download => take(stream, is_over, |length| {
                self.taken.fetch_add(length as u64, Ordering::Relaxed);
            }),
            Direction::Upload => give(stream, is_over),
        };
        if let Err(error) = ended
            && !is_over()
        {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }
}
