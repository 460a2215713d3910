//! The state of one part of a file that other programs write too.

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::{FileContent, FileSystem};
use hosttune_core::{Host, HostError, Knob, Unsupported};
use serde::{Deserialize, Serialize};

/// The state of a part of a file: a variable or a block of lines, which is text.
///
/// The rest of the file is not a part of it, so another program may change the rest at any time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilePart {
    /// There is no file.
    NoFile,
    /// The file is there, without the part.
    Absent,
    /// The part is there, with this text.
    Present(String),
    /// A write was interrupted: beside the file, in which the part has this state, is a replacement
    /// that was never renamed into place.
    HalfWritten(Box<Self>),
}

impl FilePart {
    /// The text, if the part is there.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Present(text) => Some(text),
            Self::HalfWritten(part) => part.text(),
            Self::NoFile | Self::Absent => None,
        }
    }

    /// The state without the interrupted write.
    pub(super) fn whole(&self) -> &Self {
        match self {
            Self::HalfWritten(part) => part.whole(),
            part => part,
        }
    }

    /// Whether the part is not there, with or without a file.
    fn is_missing(&self) -> bool {
        matches!(self, Self::NoFile | Self::Absent)
    }

    /// Whether one state counts as another. A file that would be empty and one that does not exist
    /// are the same to its readers, and another program may have added something to a file of ours.
    pub(super) fn satisfies(&self, wanted: &Self) -> bool {
        self == wanted || (self.is_missing() && wanted.is_missing())
    }

    /// Whether this state is what an interrupted write leaves behind.
    pub(super) fn is_partial_write(&self, from: &Self, to: &Self) -> bool {
        match self {
            Self::HalfWritten(part) => part.satisfies(from) || part.satisfies(to),
            _ => false,
        }
    }

    /// The state for people; `shown` formats a text.
    pub(super) fn show(&self, shown: impl Fn(&str) -> String) -> String {
        match self {
            Self::NoFile | Self::Absent => "absent".to_owned(),
            Self::Present(text) => shown(text),
            Self::HalfWritten(_) => "half written".to_owned(),
        }
    }
}

/// Reads a part of a file.
pub(super) fn read(
    host: &Host,
    path: &str,
    find: impl FnOnce(&[u8]) -> Result<Option<String>, HostError>,
) -> Result<FilePart, HostError> {
    let part = match host.file(path)? {
        None => FilePart::NoFile,
        Some(content) => find(&content.bytes)?.map_or(FilePart::Absent, FilePart::Present),
    };
    Ok(match host.half_written(path)? {
        true => FilePart::HalfWritten(Box::new(part)),
        false => part,
    })
}

/// What becomes of a file.
pub(super) enum Written {
    /// It has these bytes, and is created with them.
    Bytes(Vec<u8>),
    /// It is removed, if it is there.
    Removed,
}

/// Writes a file with other bytes, or removes it. A new file can be read by root alone: kernel command lines can contain passwords.
pub(super) fn write(
    host: &mut Host,
    path: &str,
    change: impl FnOnce(Option<&[u8]>) -> Result<Written, HostError>,
) -> Result<(), HostError> {
    let present = host.file(path)?;
    match change(present.as_ref().map(|content| &content.bytes[..]))? {
        Written::Removed => host.remove(path),
        Written::Bytes(bytes) => {
            let new = FileContent {
                mode: 0o600,
                ..FileContent::new(Vec::new())
            };
            let content = FileContent {
                bytes,
                ..present.unwrap_or(new)
            };
            host.put_file(path, &content)
        }
    }
}

/// The file system of the file, as its identity in the journal.
pub(super) fn identity(host: &Host, path: &str) -> Result<Option<String>, HostError> {
    let file_system = host.file_system(path)?;
    Ok(file_system.and_then(|known| serde_json::to_string(&known).ok()))
}

/// The file system in such an identity.
pub(super) fn file_system(identity: Option<&str>) -> Option<FileSystem> {
    identity.and_then(|text| serde_json::from_str(text).ok())
}

/// Why the file cannot be changed: a symlink or a read-only mount.
pub(super) fn unsupported(host: &Host, path: &str) -> Result<Option<Unsupported>, HostError> {
    ConfigFile::new(path)?.unsupported(host, &FileState::Absent)
}
