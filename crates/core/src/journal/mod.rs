//! The changes to be made, written before they are made.
//!
//! Each owner has a journal in one or two files. An apply whose steps all end with the boot is
//! recorded with the state of the boot (`/run/hosttune`), any other under `/var/lib/hosttune`. A
//! file consists of lines of `CRC32 JSON` and is only appended to; `log` folds them into the
//! changes that are still to be reverted. An entry is pending until it is marked undone: forgetting
//! takes a record, remembering takes none.

use crate::host::hint;

mod compaction;
mod directory;
mod entry;
mod line;
mod log;
mod store;

pub(crate) use compaction::Knobs;
pub use directory::DirectoryStore;
pub(crate) use entry::Entry;
pub(crate) use line::Record;
pub(crate) use log::{Foreign, Log, Open, Purpose, Start, Writer};
pub(crate) use store::NoStore;
pub use store::{JournalLocation, Store};

/// The version of the journal's format that this release writes.
pub const FORMAT: u32 = 2;

/// Why a journal cannot be used. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A line is damaged and is not the end of an interrupted write.
    #[error("the journal {path} is damaged at line {line}: {unread} bytes cannot be read")]
    Damaged {
        /// The file.
        path: String,
        /// The number of the line, from 1.
        line: usize,
        /// The number of bytes from that line on.
        unread: usize,
    },
    /// This release does not know the format.
    #[error(
        "the journal {path} has format {version}, written by {program}; this program reads up to {FORMAT}"
    )]
    Newer {
        /// The file.
        path: String,
        /// The format version of the file.
        version: u32,
        /// The program that wrote it.
        program: String,
    },
    /// This program does not know a knob in the journal.
    #[error(
        "the journal {path} contains a setting of type '{kind}', which this program does not know; it was written by {program}"
    )]
    UnknownKnob {
        /// The file.
        path: String,
        /// The name of the knob's type.
        kind: String,
        /// The program that wrote it.
        program: String,
    },
    /// Another user could have written it.
    #[error("{path} cannot be trusted: {why}")]
    Untrusted {
        /// The file or directory.
        path: String,
        /// Who owns it, or which permissions it has.
        why: String,
    },
    /// This process has no permission to use it.
    #[error("permission denied: {path}")]
    Denied {
        /// The file or directory.
        path: String,
        /// The kernel's error.
        #[source]
        errno: rustix::io::Errno,
    },
    /// An operation on it failed.
    #[error("cannot {operation} {path}")]
    Failed {
        /// The operation that failed.
        operation: &'static str,
        /// The file or directory.
        path: String,
        /// The kernel's error.
        #[source]
        errno: rustix::io::Errno,
    },
    /// A record could not be encoded. A bug in the knob's crate.
    #[error("cannot write a step to the journal: {0}")]
    Unwritable(String),
    /// Another process holds the lock.
    #[error("another process is changing this host: {holder}")]
    Locked {
        /// The holder of the lock, as it describes itself.
        holder: String,
    },
}

impl JournalError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Damaged { path, .. } => format!(
                "the changes that it recorded cannot be determined: compare the host with {path} by hand, then rename it: mv {path} {path}.damaged"
            ),
            Self::Newer { program, .. } => format!("use the release that wrote it: {program}"),
            Self::UnknownKnob { program, .. } => format!(
                "revert with {program}; a reboot also resets the settings of the running kernel"
            ),
            Self::Untrusted { path, .. } => {
                format!("check who created {path}; if it is not yours, move it away")
            }
            Self::Denied { path, errno } | Self::Failed { path, errno, .. } => {
                return hint(*errno, path);
            }
            Self::Locked { .. } => "wait for it to finish, then try again".to_owned(),
            Self::Unwritable(_) => return None,
        })
    }
}
