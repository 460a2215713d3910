//! Journals in memory, which crash with their process and lose unsynced data in a power cut.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::crash_point::CrashPoint;
use super::journal_write;
use crate::journal::{JournalError, JournalLocation, Store};

#[derive(Debug, Clone, Default)]
struct File {
    bytes: Vec<u8>,
    /// Number of bytes that are synced to disk.
    synced: usize,
}

type Files = BTreeMap<(bool, String), File>;

/// Journals in memory. Clones share them; [`fork`](Self::fork) copies them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    files: Arc<Mutex<Files>>,
    locked: Arc<Mutex<Option<String>>>,
    crash_point: CrashPoint,
    holding: bool,
}

impl MemoryStore {
    /// Creates a store without journals.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the same journals for a process with this fate. A crashed process no longer holds its lock,
    /// because the kernel releases it.
    #[must_use]
    pub fn of(&self, crash_point: &CrashPoint) -> Self {
        Self {
            files: Arc::clone(&self.files),
            locked: Arc::default(),
            crash_point: crash_point.clone(),
            holding: false,
        }
    }

    /// Returns an independent copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            files: Arc::new(Mutex::new(self.files().clone())),
            ..Self::default()
        }
    }

    /// Cuts the power: volatile journals are lost, and so is the unsynced part of the persistent ones. The
    /// files are truncated there or, with `zeros`, keep their length and read as zeros.
    pub fn power_cut(&self, zeros: bool) {
        self.files().retain(|(disk, _), file| {
            if zeros {
                file.bytes[file.synced..].fill(0);
            } else {
                file.bytes.truncate(file.synced);
            }
            *disk && !file.bytes.is_empty()
        });
    }

    /// Whether there are no journals.
    pub fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    /// Size of the largest journal file, in bytes.
    pub fn longest(&self) -> usize {
        let files = self.files();
        files
            .values()
            .map(|file| file.bytes.len())
            .max()
            .unwrap_or(0)
    }

    /// Returns a journal file's bytes, or `None` if the file does not exist.
    pub fn bytes(&self, location: JournalLocation, owner: &str) -> Option<Vec<u8>> {
        self.files()
            .get(&key(location, owner))
            .map(|file| file.bytes.clone())
    }

    /// Replaces a journal file's bytes.
    pub fn set_bytes(&self, location: JournalLocation, owner: &str, bytes: &[u8]) {
        let file = File {
            bytes: bytes.to_vec(),
            synced: bytes.len(),
        };
        self.files().insert(key(location, owner), file);
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one write, unless the process has crashed or the write fails.
    fn write(
        &mut self,
        location: JournalLocation,
        owner: &str,
        make: impl FnOnce(&mut Files, bool),
    ) -> Result<(), JournalError> {
        let crash_point = self.crash_point.clone();
        journal_write::write(self, &crash_point, (location, owner), |store, half| {
            make(&mut store.files(), half);
            Ok(())
        })
    }
}

fn key(location: JournalLocation, owner: &str) -> (bool, String) {
    (location == JournalLocation::Persistent, owner.to_owned())
}

impl Store for MemoryStore {
    fn path(&self, location: JournalLocation, owner: &str) -> String {
        let directory = match location {
            JournalLocation::Volatile => "/run/hosttune",
            JournalLocation::Persistent => "/var/lib/hosttune",
        };
        format!("{directory}/{owner}.journal")
    }

    fn read(
        &self,
        location: JournalLocation,
        owner: &str,
    ) -> Result<Option<Vec<u8>>, JournalError> {
        let failed = |errno| journal_write::failed(self, "read", location, owner, errno);
        self.crash_point.reads().map_err(failed)?;
        Ok(self.bytes(location, owner))
    }

    fn owners(&self, location: JournalLocation) -> Result<Vec<String>, JournalError> {
        let failed = |errno| journal_write::failed(self, "list", location, "", errno);
        self.crash_point.reads().map_err(failed)?;
        let files = self.files();
        let of_place = files
            .keys()
            .filter(|(disk, _)| *disk == (location == JournalLocation::Persistent));
        Ok(of_place.map(|(_, owner)| owner.clone()).collect())
    }

    fn write_at(
        &mut self,
        location: JournalLocation,
        owner: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), JournalError> {
        self.write(location, owner, |files, half| {
            let file = files.entry(key(location, owner)).or_default();
            let bytes = if half {
                &bytes[..bytes.len() / 2]
            } else {
                bytes
            };
            file.bytes
                .truncate(usize::try_from(offset).unwrap_or(usize::MAX));
            file.bytes.extend_from_slice(bytes);
            file.synced = file.synced.min(file.bytes.len());
            if sync && !half {
                file.synced = file.bytes.len();
            }
        })
    }

    /// Room is not counted here, so that nothing is kept. The call can fail like any other.
    fn reserve(&mut self, _: JournalLocation, _: &str, _: u64) {
        let _ = journal_write::can_reserve(&self.crash_point);
    }

    fn replace(
        &mut self,
        location: JournalLocation,
        owner: &str,
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        self.write(location, owner, |files, half| {
            if !half {
                let file = File {
                    bytes: bytes.to_vec(),
                    synced: bytes.len(),
                };
                files.insert(key(location, owner), file);
            }
        })
    }

    fn remove(&mut self, location: JournalLocation, owner: &str) -> Result<(), JournalError> {
        self.write(location, owner, |files, half| {
            if !half {
                files.remove(&key(location, owner));
            }
        })
    }

    fn lock(&mut self, note: &str) -> Result<(), JournalError> {
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = &*locked {
            return Err(JournalError::Locked {
                holder: holder.clone(),
            });
        }
        *locked = Some(note.to_owned());
        drop(locked);
        self.holding = true;
        Ok(())
    }

    fn unlock(&mut self) {
        self.holding = false;
        *self.locked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn holder(&self) -> Option<String> {
        if self.holding {
            return None;
        }
        self.locked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
