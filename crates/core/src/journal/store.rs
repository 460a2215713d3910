//! Where journals are stored, as a trait: directories of the host, or memory in tests.

use std::fmt::Debug;

use super::JournalError;

/// The two locations of a journal's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JournalLocation {
    /// Lost at a reboot: for changes that a reboot undoes.
    Volatile,
    /// On a disk.
    Persistent,
}

impl JournalLocation {
    /// Both, `Boot` first.
    pub const ALL: [Self; 2] = [Self::Volatile, Self::Persistent];
}

/// Where journals are stored.
///
/// The engine writes only while it holds the lock. It reads without the lock, so a plan needs no
/// privileges.
pub trait Store: Debug + Send {
    /// The path of a file, for messages.
    fn path(&self, location: JournalLocation, owner: &str) -> String;

    /// The content of a file; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or another user could have written it.
    fn read(&self, location: JournalLocation, owner: &str)
    -> Result<Option<Vec<u8>>, JournalError>;

    /// The owners that have a file at a location, so that one owner's revert can respect what the
    /// others still want.
    ///
    /// # Errors
    /// If the location cannot be listed.
    fn owners(&self, location: JournalLocation) -> Result<Vec<String>, JournalError>;

    /// Writes `bytes` at `offset` in one piece and truncates the file behind them, creating it if
    /// it does not exist. With `sync` the data is on the disk on return.
    ///
    /// # Errors
    /// If it cannot be written. A part may have been.
    fn write_at(
        &mut self,
        location: JournalLocation,
        owner: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), JournalError>;

    /// Reserves room behind the `length` bytes of a file, for the record with which an undo begins: a revert must
    /// be possible after the disk has become full. Where room cannot be reserved, nothing happens; by default
    /// none is.
    fn reserve(&mut self, location: JournalLocation, owner: &str, length: u64) {
        let _ = (location, owner, length);
    }

    /// Replaces a whole file atomically and durably.
    ///
    /// # Errors
    /// If it cannot be written; the file is then unchanged.
    fn replace(
        &mut self,
        location: JournalLocation,
        owner: &str,
        bytes: &[u8],
    ) -> Result<(), JournalError>;

    /// Removes a file durably. It is not an error if the file does not exist.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn remove(&mut self, location: JournalLocation, owner: &str) -> Result<(), JournalError>;

    /// Takes the lock of this host without waiting; `note` names this process.
    ///
    /// # Errors
    /// [`JournalError::Locked`] if another process holds it.
    fn lock(&mut self, note: &str) -> Result<(), JournalError>;

    /// Releases the lock.
    fn unlock(&mut self);

    /// Another process that holds the lock right now, if any.
    fn holder(&self) -> Option<String>;
}

/// No journal, for a command that only reads and has no permission to read it.
#[derive(Debug)]
pub(crate) struct NoStore;

impl Store for NoStore {
    fn path(&self, _: JournalLocation, _: &str) -> String {
        String::new()
    }
    fn read(&self, _: JournalLocation, _: &str) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(None)
    }
    fn owners(&self, _: JournalLocation) -> Result<Vec<String>, JournalError> {
        Ok(Vec::new())
    }
    fn write_at(
        &mut self,
        _: JournalLocation,
        _: &str,
        _: u64,
        _: &[u8],
        _: bool,
    ) -> Result<(), JournalError> {
        Ok(())
    }
    fn replace(&mut self, _: JournalLocation, _: &str, _: &[u8]) -> Result<(), JournalError> {
        Ok(())
    }
    fn remove(&mut self, _: JournalLocation, _: &str) -> Result<(), JournalError> {
        Ok(())
    }
    fn lock(&mut self, _: &str) -> Result<(), JournalError> {
        Ok(())
    }
    fn unlock(&mut self) {}
    fn holder(&self) -> Option<String> {
        None
    }
}
