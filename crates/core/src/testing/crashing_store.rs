//! Journals on a real file system, written by a process that can crash.

use rustix::io::Errno;

use super::crash_point::{CrashPoint, Why};
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

    fn failed(
        &self,
        operation: &'static str,
        location: JournalLocation,
        owner: &str,
        errno: i32,
    ) -> JournalError {
        JournalError::Failed {
            operation,
            path: self.store.path(location, owner),
            errno: Errno::from_raw_os_error(errno),
        }
    }

    /// Makes one write, unless the process has crashed or the write fails. `make` is told whether it is cut short.
    fn write(
        &mut self,
        location: JournalLocation,
        owner: &str,
        make: impl FnOnce(&mut S, bool) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let errno = |why| match why {
            Why::Died => Errno::IO.raw_os_error(),
            Why::Answered(errno) => errno,
        };
        let begun = self.crash_point.begin();
        begun.map_err(|why| self.failed("write", location, owner, errno(why)))?;
        let made = make(&mut self.store, self.crash_point.is_cut_short());
        match self.crash_point.end() {
            Some(why) => Err(self.failed("write", location, owner, errno(why))),
            None => made,
        }
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
        let failed = |errno| self.failed("read", location, owner, errno);
        self.crash_point.reads().map_err(failed)?;
        self.store.read(location, owner)
    }

    fn owners(&self, location: JournalLocation) -> Result<Vec<String>, JournalError> {
        let failed = |errno| self.failed("list", location, "", errno);
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
