//! A machine in memory as a whole: files, journals, boots, and what is plugged in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Fate, Memory, MemoryStore};
use crate::error::Error;
use crate::host::Host;
use crate::knob::Registry;
use crate::session::Session;

/// Everything there is to see of a machine, a line for each thing.
pub type Picture = BTreeMap<String, String>;

/// A machine that the laws are run on.
///
/// [`Machine`] is one over files. A crate with a wire of its own implements this for a machine
/// that has the wire's other end as well.
pub trait World: Sized {
    /// A copy that lives on its own.
    #[must_use]
    fn fork(&self) -> Self;

    /// A new process on this machine, for an owner.
    ///
    /// # Errors
    /// Where the owner's name cannot name a journal.
    fn session_of(&self, owner: &str, fate: &Fate) -> Result<Session, Error>;

    /// Everything there is to see, journals excepted.
    fn picture(&self) -> Picture;

    /// The machine's journals.
    fn store(&self) -> &MemoryStore;

    /// A new process on this machine.
    ///
    /// # Errors
    /// None: the owner is a name.
    fn session(&self, fate: &Fate) -> Result<Session, Error> {
        self.session_of("laws", fate)
    }
}

/// A machine whose files are all there is to it.
#[derive(Debug, Clone)]
pub struct Machine {
    memory: Memory,
    /// What a reboot starts from.
    pristine: Memory,
    store: MemoryStore,
    boot: Arc<AtomicU64>,
    knobs: fn(&mut Registry),
}

impl Machine {
    /// A machine with these files and kinds of knob, freshly booted.
    pub fn new(memory: Memory, knobs: fn(&mut Registry)) -> Self {
        Self {
            pristine: memory.fork(),
            memory,
            store: MemoryStore::new(),
            boot: Arc::default(),
            knobs,
        }
    }

    /// Its files.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The id of the running boot.
    pub fn boot(&self) -> String {
        format!("boot-{}", self.boot.load(Ordering::Relaxed))
    }

    /// The power is cut and the machine boots again: what lives in the running kernel (`/proc`,
    /// `/sys`, `/dev`) is what a boot makes it, files elsewhere stay, and of the journals what
    /// was on the disk. With `zeros`, what was not yet written is there in length and empty.
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

    fn session_of(&self, owner: &str, fate: &Fate) -> Result<Session, Error> {
        let host = Host::new(self.memory.host(fate)).gated(fate.clone());
        let session = Session::new(host, owner, self.store.of(fate), &self.boot())?;
        Ok(session.with(self.knobs))
    }

    fn picture(&self) -> Picture {
        self.memory.picture()
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}
