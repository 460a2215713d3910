//! The file with the records, beside the journal, and its lock.

use std::time::{Duration, Instant};

use hosttune_core::LinuxHost;
use hosttune_core::journal::{DirectoryStore, JournalError, JournalLocation, Store};
use rustix::fs::Access;

use crate::record::{RunRecords, UnreadableRecords};

/// The interval between two tries of a lock that another process holds. An apply or a revert takes
/// milliseconds; a shorter interval would keep one of the processors busy.
const AGAIN: Duration = Duration::from_millis(10);

/// The records of one owner's runs: `OWNER.runs` beside its journal, and `runs.lock`.
///
/// The file is trusted under the rules of the journals, because it decides when root reverts. The lock is
/// not the one of the engine, which is taken for each apply and revert within it: entering and leaving
/// are longer than one of these.
#[derive(Debug)]
pub struct RunFile {
    store: DirectoryStore,
    journals: DirectoryStore,
    owner: String,
}

/// Why the records cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunFileError {
    /// The file or its lock.
    #[error(transparent)]
    Store(#[from] JournalError),
    /// The content.
    #[error("{path} cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        why: UnreadableRecords,
    },
    /// The records could not be encoded. This is a bug of this program.
    #[error("cannot encode the runs: {0}")]
    Encoding(String),
}

impl RunFileError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Unreadable { path, .. } => Some(format!(
                "end the commands that run tuned, then remove it: rm {path}"
            )),
            Self::Encoding(_) => None,
        }
    }

    /// Whether this process may not read it.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Store(JournalError::Denied { .. }))
    }

    /// Whether another process holds the lock.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Store(JournalError::Locked { .. }))
    }
}

impl RunFile {
    /// The records of `owner`, whose journals are in a user's usual directories on this host.
    ///
    /// # Errors
    /// If the root of the host cannot be kept open.
    pub fn new(host: &LinuxHost, owner: &str) -> Result<Self, RunFileError> {
        Ok(Self {
            store: DirectoryStore::of_user(host)?.beside_journals(".runs", "runs.lock"),
            journals: DirectoryStore::of_user(host)?,
            owner: owner.to_owned(),
        })
    }

    /// Whether root may have anything of an owner's runs on the running system: records, or a journal of
    /// changes that outlast the boot. Two system calls, for the many commands before which nobody ran
    /// anything; what this finds has to be opened, and trusted or not, as usual.
    pub fn may_exist(owner: &str) -> bool {
        let [boot, disk] = DirectoryStore::SYSTEM;
        let names = [
            format!("{boot}/{owner}.runs"),
            format!("{disk}/{owner}.journal"),
        ];
        names.iter().any(|name| {
            let found = rustix::fs::access(name.as_str(), Access::EXISTS);
            found != Err(rustix::io::Errno::NOENT)
        })
    }

    /// Whether there is a journal of changes that outlast the boot. The records do not: a run that a
    /// reboot has ended is known by it.
    ///
    /// # Errors
    /// If it cannot be read or trusted.
    pub fn has_persistent_journal(&self) -> Result<bool, RunFileError> {
        let journal = self
            .journals
            .read(JournalLocation::Persistent, &self.owner)?;
        Ok(journal.is_some())
    }

    /// The path, for messages.
    pub fn path(&self) -> String {
        self.store.path(JournalLocation::Volatile, &self.owner)
    }

    /// The records, or `None` if there is no file. It takes no lock.
    ///
    /// # Errors
    /// If the file cannot be read or trusted.
    pub fn read(&self) -> Result<Option<RunRecords>, RunFileError> {
        let Some(bytes) = self.store.read(JournalLocation::Volatile, &self.owner)? else {
            return Ok(None);
        };
        match RunRecords::parse(&bytes) {
            Ok(records) => Ok(Some(records)),
            Err(why) => Err(RunFileError::Unreadable {
                path: self.path(),
                why,
            }),
        }
    }

    /// Replaces the records; `None` removes the file.
    ///
    /// # Errors
    /// If it cannot be written; the file is then unchanged.
    pub fn write(&mut self, records: Option<&RunRecords>) -> Result<(), RunFileError> {
        match records {
            Some(records) => {
                let bytes = records
                    .format()
                    .map_err(|error| RunFileError::Encoding(error.to_string()))?;
                Ok(self
                    .store
                    .replace(JournalLocation::Volatile, &self.owner, &bytes)?)
            }
            None => Ok(self.store.remove(JournalLocation::Volatile, &self.owner)?),
        }
    }

    /// Takes the lock, waiting at most so long for another process; `note` names this one. `is_stopped`
    /// ends the wait early.
    ///
    /// # Errors
    /// [`JournalError::Locked`] after that time.
    pub fn lock(
        &mut self,
        note: &str,
        wait: Duration,
        is_stopped: impl Fn() -> bool,
    ) -> Result<(), RunFileError> {
        let begun = Instant::now();
        loop {
            match self.store.lock(note) {
                Err(JournalError::Locked { .. }) if begun.elapsed() < wait && !is_stopped() => {
                    std::thread::sleep(AGAIN);
                }
                other => return Ok(other?),
            }
        }
    }

    /// Releases the lock.
    pub fn unlock(&mut self) {
        self.store.unlock();
    }
}
