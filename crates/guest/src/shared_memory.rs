//! A file of the host's memory that the guest sees as a PCI device.

use std::fmt;

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError};

use crate::looking_glass::LookingGlass;

/// A file under `/dev/shm` that a guest shares with a program of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedMemory {
    name: &'static str,
    mebibytes: u64,
    what: String,
}

/// What is at the path of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileState {
    /// Nothing: QEMU makes it when the guest starts, with itself as the owner.
    Absent,
    /// A file that QEMU takes: it is empty or large enough.
    File,
    /// A file of an earlier run that is smaller than the memory that is shared and not empty. QEMU does
    /// not start with it, and neither tmpfiles.d nor QEMU makes it larger.
    TooSmall {
        /// Its size in bytes.
        bytes: u64,
    },
    /// Something else.
    NotAFile,
}

impl SharedMemory {
    /// The memory of Looking Glass, `/dev/shm/looking-glass`.
    #[must_use]
    pub fn looking_glass(glass: LookingGlass) -> Self {
        Self {
            name: "looking-glass",
            mebibytes: glass.mebibytes(),
            what: glass.to_string(),
        }
    }

    /// The name of the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/dev/shm/{}", self.name)
    }

    /// Its size in MiB.
    #[must_use]
    pub fn mebibytes(&self) -> u64 {
        self.mebibytes
    }

    /// What is at its path.
    ///
    /// # Errors
    /// Any error from the host, except that nothing is there.
    pub fn state(&self, host: &Host) -> Result<FileState, HostError> {
        Ok(match host.entry(self.path())?.map(|entry| entry.kind) {
            None => FileState::Absent,
            Some(EntryKind::File) => match host.file_size(self.path())? {
                Some(bytes) if bytes > 0 && bytes < self.mebibytes << 20 => {
                    FileState::TooSmall { bytes }
                }
                _ => FileState::File,
            },
            Some(_) => FileState::NotAFile,
        })
    }
}

impl fmt::Display for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} MiB ({})", self.path(), self.mebibytes, self.what)
    }
}
