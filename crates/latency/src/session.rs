//! One client of a responder: its limits, and the data that it sends and receives.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::message::is_to_be_repeated;

/// Number of bytes given to the kernel at once.
pub(super) const BLOCK: usize = 64 * 1024;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: IpAddr,
    deadline: Option<Instant>,
    is_over: AtomicBool,
    received: AtomicU64,
}

impl Session {
    pub(super) fn new(client: IpAddr, limit: Duration) -> Self {
        Self {
            client,
            deadline: Instant::now().checked_add(limit),
            is_over: AtomicBool::new(false),
            received: AtomicU64::new(0),
        }
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Number of bytes that have arrived, on all connections.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Sends data until the client or the session ends.
    pub(super) fn source(
        &self,
        mut stream: &TcpStream,
        is_over: impl Fn() -> bool,
    ) -> io::Result<()> {
        let block = noise();
        while !self.is_over() && !is_over() {
            match stream.write(&block) {
                Ok(_) => {}
                Err(error) if is_to_be_repeated(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives and counts data until the client or the session ends.
    pub(super) fn sink(
        &self,
        mut stream: &TcpStream,
        is_over: impl Fn() -> bool,
    ) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        while !self.is_over() && !is_over() {
            match stream.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    self.received.fetch_add(length as u64, Ordering::Relaxed);
                }
                Err(error) if is_to_be_repeated(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A number that cannot be guessed, never zero: a hash with the keys that the standard library
/// draws from the kernel. It prevents strangers from having their packets echoed, and protects
/// nothing else.
pub(super) fn token() -> u64 {
    RandomState::new().hash_one(Instant::now()).max(1)
}

/// Incompressible data: a tunnel that compresses would otherwise look fast.
pub(super) fn noise() -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_ne_bytes());
    }
    block
}
