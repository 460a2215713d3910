//! The files of a host, as a trait: the live system, a tree below `--root`, or memory.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{HostError, Operation};
use super::regular::Unread;

/// The kind of a host's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKind {
    /// The running system.
    Live,
    /// A tree that contains files of a running kernel (`proc/sys`, `proc/version`, `sys/devices`).
    /// It is changed like the running system.
    Captured,
    /// A tree without such files, such as a system image: only changes that survive a reboot are
    /// planned.
    Image,
}

/// The kind of a directory entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file. All files of procfs and sysfs claim to be regular.
    File,
    /// A directory.
    Directory,
    /// A symlink, with its target as written.
    Link(PathBuf),
    /// A device node, socket or pipe.
    Other,
}

/// A directory entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
}

impl Entry {
    /// Whether the owner's write bit is set. Under `/proc/sys` the kernel enforces it even for
    /// root.
    pub fn owner_may_write(&self) -> bool {
        self.mode & 0o200 != 0
    }

    /// Whether the owner's read bit is set.
    pub fn owner_may_read(&self) -> bool {
        self.mode & 0o400 != 0
    }
}

/// A whole file: its bytes and metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent {
    /// The content; in the journal as text if it is UTF-8, otherwise in hexadecimal.
    #[serde(with = "bytes_as_text")]
    pub bytes: Vec<u8>,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// The user ID of the owner.
    pub uid: u32,
    /// The group ID of the owner.
    pub gid: u32,
    /// Extended attributes by name, such as the SELinux label; the values as text or in
    /// hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, AttributeValue)>,
}

/// The value of an extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeValue(#[serde(with = "bytes_as_text")] pub Vec<u8>);

impl FileContent {
    /// The mode of a file that everyone may read.
    pub(crate) const USUAL_MODE: u32 = 0o644;

    /// A file with mode 0644 that belongs to the user and group of this process.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            mode: Self::USUAL_MODE,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            attributes: Vec::new(),
        }
    }
}

/// The files of a host.
///
/// Paths are absolute as seen by the host; an implementation resolves them below its own root and
/// never outside it.
pub trait Fs: Debug + Send {
    /// The kind of the root.
    fn root_kind(&self) -> RootKind;

    /// Reads a whole file.
    ///
    /// # Errors
    /// Any error from the file system.
    fn read(&self, path: &Path) -> Result<Vec<u8>, HostError>;

    /// Reads a whole regular file of at most `most` bytes, which may be more than
    /// [`read`](Self::read) reads of a file of any kind.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `Malformed` if it is larger.
    fn read_up_to(&self, path: &Path, most: u64) -> Result<Vec<u8>, HostError> {
        let bytes = self.read(path)?;
        if bytes.len() as u64 > most {
            return Err(
                Unread::TooLong(most).into_error(Operation::Read, path.display().to_string())
            );
        }
        Ok(bytes)
    }

    /// Opens a regular file of any size to read it part by part. By default it is read at once.
    ///
    /// # Errors
    /// As [`read`](Self::read); errors of reading come from the reader.
    fn reader(&self, path: &Path) -> Result<Box<dyn std::io::Read + Send>, HostError> {
        Ok(Box::new(std::io::Cursor::new(
            self.read_up_to(path, u64::MAX)?,
        )))
    }

    /// The names in a directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// Any error from the file system.
    fn list(&self, directory: &Path) -> Result<Vec<String>, HostError>;

    /// The entry at a path, without following a symlink; `None` if the path does not exist.
    ///
    /// # Errors
    /// Any error from the file system, except for a missing path.
    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError>;

    /// Whether a path belongs to a user whom this process's user namespace does not have, such as root of the
    /// machine in a rootless container, and the kernel refuses this process, which is root there, to write it. False
    /// also if the path does not exist.
    ///
    /// # Errors
    /// Any error from the file system, except for a missing path.
    fn is_owned_elsewhere(&self, path: &Path) -> Result<bool, HostError> {
        let _ = path;
        Ok(false)
    }

    /// A file with its mode and owner; `None` if it does not exist.
    ///
    /// # Errors
    /// Any error from the file system, except for a missing path.
    fn file(&self, path: &Path) -> Result<Option<FileContent>, HostError>;

    /// As [`file`](Self::file), without the bytes: for a file of any size that is to be replaced.
    ///
    /// # Errors
    /// Any error from the file system, except for a missing file.
    fn file_without_bytes(&self, path: &Path) -> Result<Option<FileContent>, HostError> {
        let content = self.file(path)?;
        Ok(content.map(|content| FileContent {
            bytes: Vec::new(),
            ..content
        }))
    }

    /// The size of a file in bytes; `None` if there is no regular file. It is not read where it need not be.
    ///
    /// # Errors
    /// Any error from the file system, except for a missing path.
    fn file_size(&self, path: &Path) -> Result<Option<u64>, HostError> {
        let content = match self.entry(path)?.map(|entry| entry.kind) {
            Some(EntryKind::File) => self.file(path)?,
            _ => None,
        };
        Ok(content.map(|content| content.bytes.len() as u64))
    }

    /// Whether an earlier [`put_file`](Self::put_file) of this path was interrupted and left its
    /// unfinished replacement behind; [`put_file`](Self::put_file) and [`remove`](Self::remove)
    /// remove it.
    ///
    /// # Errors
    /// Any error from the file system.
    fn half_written(&self, path: &Path) -> Result<bool, HostError>;

    /// Writes a value to an existing file. A kernel file is written with one `write(2)`; a file of
    /// a tree is replaced, keeping its mode, owner and extended attributes.
    ///
    /// # Errors
    /// Any error from the file system; a part of a kernel value may have been written.
    fn write_value(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError>;

    /// Writes a value to an existing file in a child process with a time limit: see
    /// [`Host::write_value_in_child`](super::Host::write_value_in_child). In a file system that
    /// cannot hang it is an ordinary write.
    ///
    /// # Errors
    /// As [`write_value`](Self::write_value), and `Stuck` if the write hangs.
    fn write_value_in_child(
        &mut self,
        path: &Path,
        bytes: &[u8],
        guard: &Path,
    ) -> Result<(), HostError> {
        let _ = guard;
        self.write_value(path, bytes)
    }

    /// Whether a write in a child with this guard is not finished.
    ///
    /// # Errors
    /// Any error from the file system.
    fn child_is_writing(&self, guard: &Path) -> Result<bool, HostError> {
        let _ = guard;
        Ok(false)
    }

    /// Waits for a moment until no write in a child with this guard is left unfinished; false if
    /// one is still unfinished then.
    ///
    /// # Errors
    /// Any error from the file system.
    fn child_ends(&self, guard: &Path) -> Result<bool, HostError> {
        Ok(!self.child_is_writing(guard)?)
    }

    /// Creates or atomically replaces a file, durably.
    ///
    /// # Errors
    /// Any error from the file system; the file is then unchanged.
    fn put_file(&mut self, path: &Path, content: &FileContent) -> Result<(), HostError>;

    /// Sets a variable of the firmware, a file of efivarfs, which cannot be renamed and is written with one
    /// `write(2)`. In a file system that is not the running system's it is an ordinary file.
    ///
    /// # Errors
    /// Any error from the file system or the firmware.
    fn put_firmware_variable(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        self.put_file(path, &FileContent::new(bytes))
    }

    /// Removes a variable of the firmware.
    ///
    /// # Errors
    /// Any error from the file system or the firmware.
    fn remove_firmware_variable(&mut self, path: &Path) -> Result<(), HostError> {
        self.remove(path)
    }

    /// Creates one directory with mode 0755.
    ///
    /// # Errors
    /// Any error from the file system.
    fn create_directory(&mut self, path: &Path) -> Result<(), HostError>;

    /// Removes a file or an empty directory, durably.
    ///
    /// # Errors
    /// Any error from the file system.
    fn remove(&mut self, path: &Path) -> Result<(), HostError>;

    /// The values beside which a read saw the replacement left by an interrupted
    /// [`write_value`](Self::write_value), each once. Empty if values are written in place, as the
    /// kernel's are.
    fn leftovers(&mut self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Removes what an interrupted write of this value left beside it.
    ///
    /// # Errors
    /// Any error from the file system.
    fn remove_leftover(&mut self, path: &Path) -> Result<(), HostError> {
        let _ = path;
        Ok(())
    }

    /// Waits for this time.
    fn pause(&self, time: Duration);
}

/// Bytes as a JSON string if they are UTF-8, otherwise as `{"hex": "…"}`.
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
