//! Journals on a real file system, written by a process that can crash.

use super::crash_point::CrashPoint;
use super::journal_write;
use crate::journal::{JournalError, JournalLocation, Store};

/// A store, such as a [`DirectoryStore`](crate::journal::DirectoryStore), that belongs to a process with a
/// [`CrashPoint`]: a crashed process writes nothing, and a write can fail.
///
/// It is for tests on a running kernel whose processes share journals with real programs. Tests on a simulated
/// kernel use [`MemoryStore`](super::MemoryStore), which also loses what was not synced in a power cut.
#[derive(Debug)]
pub struct CrashingStore<S> {
    store: S,
    crash_point: CrashPoint,
}

impl<S: Store> CrashingStore<S> {
    /// Returns the store as a process with this fate uses it.
    pub fn new(store: S, crash_point: &CrashPoint) -> Self {
        Self {
            store,
            crash_point: crash_point.clone(),
        }
    }

    /// Makes one write, unless the process has crashed or the write fails. `make` is told whether it is cut short.
    fn write(
        &mut self,
        location: JournalLocation,
        owner: &str,
        make: impl FnOnce(&mut S, bool) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let at = (location, owner);
        journal_write::write(&mut self.store, &self.crash_point, at, make)
    }
}

impl<S: Store> Store for CrashingStore<S> {
    fn path(&self, location: JournalLocation, owner: &str) -> String {
        self.store.path(location, owner)
    }

    fn read(
        &self,
        location: JournalLocation,
        owner: &str,
    ) -> Result<Option<Vec<u8>>, JournalError> {
        let failed = |errno| journal_write::failed(&self.store, "read", location, owner, errno);
        self.crash_point.reads().map_err(failed)?;
        self.store.read(location, owner)
    }

    fn owners(&self, location: JournalLocation) -> Result<Vec<String>, JournalError> {
        let failed = |errno| journal_write::failed(&self.store, "list", location, "", errno);
        self.crash_point.reads().map_err(failed)?;
        self.store.owners(location)
    }

    fn write_at(
        &mut self,
        location: JournalLocation,
        owner: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), JournalError> {
        self.write(location, owner, |store, half| {
            let bytes = if half {
                &bytes[..bytes.len() / 2]
            } else {
                bytes
            };
            store.write_at(location, owner, offset, bytes, sync)
        })
    }

    fn reserve(&mut self, location: JournalLocation, owner: &str, length: u64) {
        if journal_write::can_reserve(&self.crash_point) {
            self.store.reserve(location, owner, length);
        }
    }

    fn replace(
        &mut self,
        location: JournalLocation,
        owner: &str,
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        self.write(location, owner, |store, half| match half {
            true => Ok(()),
            false => store.replace(location, owner, bytes),
        })
    }

    fn remove(&mut self, location: JournalLocation, owner: &str) -> Result<(), JournalError> {
        self.write(location, owner, |store, half| match half {
            true => Ok(()),
            false => store.remove(location, owner),
        })
    }

    fn lock(&mut self, note: &str) -> Result<(), JournalError> {
        self.store.lock(note)
    }

    fn unlock(&mut self) {
        self.store.unlock();
    }

    fn holder(&self) -> Option<String> {
        self.store.holder()
    }
}
