//! The files of a host, as a trait: the live system, a tree beneath `--root`, or memory.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::HostError;

/// What stands beneath a host's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKind {
    /// The running system.
    Live,
    /// A tree that holds something of a running kernel (`proc/sys`, `proc/version`, `sys/devices`): it is
    /// turned like the running system.
    Captured,
    /// A tree without any of it, such as a system image: only what survives a reboot is planned.
    Image,
}

/// What kind of thing stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file (every file of procfs and sysfs says it is one).
    File,
    /// A directory.
    Directory,
    /// A symlink, with its target as written.
    Link(PathBuf),
    /// A device node, socket or pipe.
    Other,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
}

impl Entry {
    /// Whether the owner's write bit is set. The kernel holds root to it under `/proc/sys`.
    pub fn owner_may_write(&self) -> bool {
        self.mode & 0o200 != 0
    }

    /// Whether the owner's read bit is set.
    pub fn owner_may_read(&self) -> bool {
        self.mode & 0o400 != 0
    }
}

/// A file as a whole: its bytes and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent {
    /// The bytes; text in the journal where they are UTF-8, hexadecimal where not.
    #[serde(with = "bytes_as_text")]
    pub bytes: Vec<u8>,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owning user id.
    pub uid: u32,
    /// Owning group id.
    pub gid: u32,
    /// Extended attributes by name (the SELinux label is one), values as text or hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, AttributeValue)>,
}

/// The value of an extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeValue(#[serde(with = "bytes_as_text")] pub Vec<u8>);

impl FileContent {
    /// A file with mode 0644 that belongs to whoever runs this.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            mode: 0o644,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            attributes: Vec::new(),
        }
    }
}

/// The files of a host.
///
/// Paths are absolute as the host sees them; an implementation resolves them
/// beneath its own root and never outside it.
pub trait Fs: Debug + Send {
    /// What stands beneath the root.
    fn root_kind(&self) -> RootKind;

    /// Reads a whole file.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn read(&self, path: &Path) -> Result<Vec<u8>, HostError>;

    /// The names in a directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn list(&self, directory: &Path) -> Result<Vec<String>, HostError>;

    /// What stands at a path, a symlink itself; `None` for nothing.
    ///
    /// # Errors
    /// Whatever the file system answers, a missing path excepted.
    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError>;

    /// A file with its mode and owner; `None` for nothing.
    ///
    /// # Errors
    /// Whatever the file system answers, a missing path excepted.
    fn file(&self, path: &Path) -> Result<Option<FileContent>, HostError>;

    /// Whether an earlier [`put_file`](Self::put_file) of this path was cut short and left its
    /// unfinished replacement behind; [`put_file`](Self::put_file) and
    /// [`remove`](Self::remove) clear it away.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn half_written(&self, path: &Path) -> Result<bool, HostError>;

    /// Writes a value to a file that exists: to one of the kernel's with one `write(2)`, to one of a
    /// tree by replacing it, with its mode, owner and extended attributes.
    ///
    /// # Errors
    /// Whatever the file system answers; a value of the kernel's may have landed in part.
    fn write_value(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError>;

    /// Creates or atomically replaces a file, durably.
    ///
    /// # Errors
    /// Whatever the file system answers; the file is then what it was.
    fn put_file(&mut self, path: &Path, content: &FileContent) -> Result<(), HostError>;

    /// Creates one directory with mode 0755.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn create_directory(&mut self, path: &Path) -> Result<(), HostError>;

    /// Removes a file or an empty directory, durably.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn remove(&mut self, path: &Path) -> Result<(), HostError>;

    /// The values beside which a replacement was seen, while they were read, that an interrupted
    /// [`write_value`](Self::write_value) left; each is named once. None where values are not
    /// replaced but written, as the kernel's are.
    fn leftovers(&mut self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Removes what an interrupted write of this value left beside it.
    ///
    /// # Errors
    /// Whatever the file system answers.
    fn remove_leftover(&mut self, path: &Path) -> Result<(), HostError> {
        let _ = path;
        Ok(())
    }

    /// Lets time pass.
    fn pause(&self, time: Duration);
}

/// Bytes as a JSON string where they are UTF-8, as `{"hex": "…"}` where they are not.
mod bytes_as_text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Shown {
        Text(String),
        Hexadecimal { hex: String },
    }

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => text.serialize(to),
            Err(_) => {
                let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                Shown::Hexadecimal { hex }.serialize(to)
            }
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        match Shown::deserialize(from)? {
            Shown::Text(text) => Ok(text.into_bytes()),
            Shown::Hexadecimal { hex } => hex
                .as_bytes()
                .chunks(2)
                .map(|pair| {
                    std::str::from_utf8(pair)
                        .ok()
                        .filter(|pair| pair.len() == 2)
                        .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                        .ok_or_else(|| D::Error::custom("not pairs of hexadecimal digits"))
                })
                .collect(),
        }
    }
}
