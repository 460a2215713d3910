//! Where journals are kept, as a trait: directories of the host, or memory in tests.

use std::fmt::Debug;

use super::JournalError;

/// The two places a journal's files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Gone with the boot: what is written here is only good until then.
    Boot,
    /// On a disk.
    Disk,
}

impl Place {
    /// Both, the boot's first.
    pub const ALL: [Self; 2] = [Self::Boot, Self::Disk];
}

/// Where journals are kept.
///
/// The engine writes only while it holds the lock; it reads without, so that a
/// plan needs no rights.
pub trait Store: Debug + Send {
    /// A file's path, for messages.
    fn path(&self, place: Place, owner: &str) -> String;

    /// A whole file; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read, or somebody else could have written it.
    fn read(&self, place: Place, owner: &str) -> Result<Option<Vec<u8>>, JournalError>;

    /// The owners that have a file in one of the places, so that one owner's revert can take
    /// account of what the others still want.
    ///
    /// # Errors
    /// Where the place cannot be listed.
    fn owners(&self, place: Place) -> Result<Vec<String>, JournalError>;

    /// Writes `bytes` at `offset` in one piece and cuts whatever stood behind it, creating the
    /// file where there is none. With `sync` it is on the disk when this returns.
    ///
    /// # Errors
    /// Where it cannot be written. A part may have been.
    fn write_at(
        &mut self,
        place: Place,
        owner: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), JournalError>;

    /// Replaces a whole file atomically and durably.
    ///
    /// # Errors
    /// Where it cannot be written; the file is then what it was.
    fn replace(&mut self, place: Place, owner: &str, bytes: &[u8]) -> Result<(), JournalError>;

    /// Removes a file, durably; one that is not there is fine.
    ///
    /// # Errors
    /// Where it cannot be removed.
    fn remove(&mut self, place: Place, owner: &str) -> Result<(), JournalError>;

    /// Takes the one lock of this host, at once or not at all; `note` says who.
    ///
    /// # Errors
    /// [`JournalError::Locked`] where another process has it.
    fn lock(&mut self, note: &str) -> Result<(), JournalError>;

    /// Gives the lock back.
    fn unlock(&mut self);

    /// Who else holds the lock right now, if anybody.
    fn holder(&self) -> Option<String>;
}

/// No journal at all: what a verb that only reads goes on with where it may not read one.
#[derive(Debug)]
pub(crate) struct NoStore;

impl Store for NoStore {
    fn path(&self, _: Place, _: &str) -> String {
        String::new()
    }
    fn read(&self, _: Place, _: &str) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(None)
    }
    fn owners(&self, _: Place) -> Result<Vec<String>, JournalError> {
        Ok(Vec::new())
    }
    fn write_at(
        &mut self,
        _: Place,
        _: &str,
        _: u64,
        _: &[u8],
        _: bool,
    ) -> Result<(), JournalError> {
        Ok(())
    }
    fn replace(&mut self, _: Place, _: &str, _: &[u8]) -> Result<(), JournalError> {
        Ok(())
    }
    fn remove(&mut self, _: Place, _: &str) -> Result<(), JournalError> {
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
