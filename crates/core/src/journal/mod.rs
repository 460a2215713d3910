//! What will be turned, written before it is turned.
//!
//! One journal per owner, in one or two files: an apply whose steps all end with
//! the boot is kept where the boot's state is kept (`/run/hosttune`), any other
//! under `/var/lib/hosttune`. A file is lines of `CRC32 JSON`, appended only;
//! `log` folds them into what is still to be put back. An entry that is not
//! marked undone is owed: forgetting takes a record, remembering takes none.

use crate::error::hint;

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
pub use store::{Place, Store};

/// The version of the journal's format that this release writes.
pub const FORMAT: u32 = 2;

/// Why a journal cannot be used. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A line that is neither whole nor the end of an interrupted write.
    #[error("the journal {path} is damaged at line {line}: {unread} bytes cannot be read")]
    Damaged {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// How many bytes there are from that line on.
        unread: usize,
    },
    /// A format that this release does not know.
    #[error(
        "the journal {path} has format {version}, written by {program}; this program reads up to {FORMAT}"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        version: u32,
        /// Who wrote it.
        program: String,
    },
    /// A knob that this program does not know.
    #[error(
        "the journal {path} holds a '{kind}' knob, which this program does not know; {program} wrote it"
    )]
    UnknownKnob {
        /// The file.
        path: String,
        /// The kind's name.
        kind: String,
        /// Who wrote it.
        program: String,
    },
    /// Somebody else could have written it.
    #[error("{path} cannot be trusted: {why}")]
    Untrusted {
        /// The file or directory.
        path: String,
        /// Who owns it, or how far it is open.
        why: String,
    },
    /// This process may not use it.
    #[error("permission denied: {path}")]
    Denied {
        /// The file or directory.
        path: String,
        /// What the kernel answered.
        #[source]
        errno: rustix::io::Errno,
    },
    /// An operation on it failed.
    #[error("cannot {operation} {path}")]
    Failed {
        /// What was being done.
        operation: &'static str,
        /// The file or directory.
        path: String,
        /// What the kernel answered.
        #[source]
        errno: rustix::io::Errno,
    },
    /// A record could not be put into words. A defect of the knob's crate.
    #[error("a step cannot be written down: {0}")]
    Unwritable(String),
    /// Another process holds the lock.
    #[error("another process is changing this host: {holder}")]
    Locked {
        /// Who, as it said itself.
        holder: String,
    },
}

impl JournalError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Damaged { path, .. } => format!(
                "what was changed cannot be known from it: compare the host with {path} by hand, then keep it under another name: mv {path} {path}.damaged"
            ),
            Self::Newer { program, .. } => format!("use the release that wrote it: {program}"),
            Self::UnknownKnob { program, .. } => format!(
                "revert with {program}; what lives in the running kernel is also cleared by a reboot"
            ),
            Self::Untrusted { path, .. } => {
                format!("look who made {path}; if it is not yours, move it away")
            }
            Self::Denied { path, errno } | Self::Failed { path, errno, .. } => {
                return hint(*errno, path);
            }
            Self::Locked { .. } => "wait for it to finish, then try again".to_owned(),
            Self::Unwritable(_) => return None,
        })
    }
}
