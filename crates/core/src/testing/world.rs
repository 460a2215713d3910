//! The whole simulated machine: files, journals, boots and attached devices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{CrashPoint, Memory, MemoryStore};
use crate::error::Error;
use crate::host::Host;
use crate::registry::Registry;
use crate::session::Session;

/// The complete visible state of a machine: one entry per object.
pub type Snapshot = BTreeMap<String, String>;

/// A machine that the laws run on.
///
/// [`Machine`] implements it for files. A crate with a backend of its own implements it for a machine that
/// also simulates the other end of that backend.
pub trait World: Sized {
    /// Returns an independent copy.
    #[must_use]
    fn fork(&self) -> Self;

    /// Starts a new process of `owner` on this machine.
    ///
    /// # Errors
    /// Fails if the owner's name cannot name a journal.
    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error>;

    /// Returns the complete visible state except the journals.
    fn snapshot(&self) -> Snapshot;

    /// Returns the machine's journals.
    fn store(&self) -> &MemoryStore;

    /// Starts a new process of the owner `laws` on this machine.
    ///
    /// # Errors
    /// None: that owner's name is valid.
    fn session(&self, crash_point: &CrashPoint) -> Result<Session, Error> {
        self.session_of("laws", crash_point)
    }
}

/// A machine that consists only of files.
#[derive(Debug, Clone)]
pub struct Machine {
    memory: Memory,
    /// The files after a reboot.
    pristine: Memory,
    store: MemoryStore,
    boot: Arc<AtomicU64>,
    knobs: fn(&mut Registry),
}

impl Machine {
    /// Creates a freshly booted machine with these files and knob types.
    pub fn new(memory: Memory, knobs: fn(&mut Registry)) -> Self {
        Self {
            pristine: memory.fork(),
            memory,
            store: MemoryStore::new(),
            boot: Arc::default(),
            knobs,
        }
    }

    /// Returns its files.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns the id of the running boot.
    pub fn boot(&self) -> String {
        format!("boot-{}", self.boot.load(Ordering::Relaxed))
    }

    /// Cuts the power and boots again.
    ///
    /// The state of the running kernel (`/proc`, `/sys`, `/dev`) returns to its boot values, other files
    /// stay, and of the journals only synced data stays. With `zeros`, unsynced data keeps its length but
    /// reads as zeros.
    pub fn power_cut(&self, zeros: bool) {
        self.boot.fetch_add(1, Ordering::Relaxed);
        self.store.power_cut(zeros);
        let at_boot = self.pristine.change(|tree| tree.clone());
        self.memory.change(|tree| tree.reboot(&at_boot));
    }
}

impl World for Machine {
    fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork(),
            pristine: self.pristine.clone(),
            store: self.store.fork(),
            boot: Arc::new(AtomicU64::new(self.boot.load(Ordering::Relaxed))),
            knobs: self.knobs,
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let host = Host::new(self.memory.host(crash_point)).gated(crash_point.clone());
        let session = Session::new(host, owner, self.store.of(crash_point), &self.boot())?;
        Ok(session.with(self.knobs))
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}
