//! Limits on what is read as a file: only regular files, and only up to a maximum size.
//!
//! A pipe in the place of a value would block its reader forever, with the lock held. Opening a
//! device can have any effect. A sparse file of terabytes takes no space on a disk but all of it in
//! memory.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::error::{HostError, HostErrorKind, Operation};

/// The maximum size in bytes of a value under `/proc/sys` or `/sys`. An attribute of sysfs fits
/// into a page, and the longest sysctls are 64 KiB.
pub(super) const LARGEST_VALUE: u64 = 1 << 20;

/// The maximum size in bytes of any other file. The longest that is read, `/proc/kallsyms`, is
/// about 20 MiB.
pub(crate) const LARGEST_FILE: u64 = 64 << 20;

/// The flags for opening a file to read it: without waiting for the other end of a pipe, and
/// without acquiring a controlling terminal. Neither affects a regular file.
pub(crate) const READING: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Why a file was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// The kernel returned an error.
    Errno(Errno),
    /// It is not a regular file.
    NotRegular(FileType),
    /// It is larger than this number of bytes.
    TooLong(u64),
}

impl From<Errno> for Unread {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Unread {
    /// The reason as a sentence, unless it is an errno.
    pub(crate) fn why(self) -> Option<String> {
        Some(match self {
            Self::Errno(_) => return None,
            Self::NotRegular(kind) => format!("it is {}, not a regular file", named(kind)),
            Self::TooLong(most) => {
                format!(
                    "it is larger than {} MiB, the maximum that is read",
                    most >> 20
                )
            }
        })
    }

    pub(super) fn into_error(self, operation: Operation, subject: String) -> HostError {
        if let Self::Errno(errno) = self {
            return HostError::from_raw(operation, subject, errno);
        }
        let error = HostError::new(operation, subject, HostErrorKind::Malformed)
            .with_hint("check who created it, then remove it or replace it with a regular file");
        match self.why() {
            Some(why) => error.detail(why),
            None => error,
        }
    }
}

fn named(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Symlink => "a symlink",
        FileType::Directory => "a directory",
        _ => "something else",
    }
}

/// Whether it is `/dev/null`, which systemd and udev treat as an empty file: a mask.
pub(super) fn is_mask(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// Rejects anything but a regular file.
pub(crate) fn check(stat: &Stat) -> Result<(), Unread> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR.into()),
        kind => Err(Unread::NotRegular(kind)),
    }
}

/// Rejects an open file that is not regular or whose size exceeds `most`. The sizes reported by
/// procfs and sysfs are meaningless, but never more than a page.
pub(crate) fn checked(file: OwnedFd, most: u64) -> Result<OwnedFd, Unread> {
    let stat = rustix::fs::fstat(&file)?;
    check(&stat)?;
    if u64::try_from(stat.st_size).is_ok_and(|size| size > most) {
        return Err(Unread::TooLong(most));
    }
    Ok(file)
}

/// Reads an open file to its end. It is an error if there are more than `most` bytes.
pub(crate) fn read_all(file: impl AsFd, most: u64) -> Result<Vec<u8>, Unread> {
    read_to_end(file, most, vec![0; 4096])
}

/// As [`read_all`], for a file of many megabytes: its size is asked first, so that no memory is
/// taken but for that.
pub(super) fn read_large(file: impl AsFd, most: u64) -> Result<Vec<u8>, Unread> {
    let size = rustix::fs::fstat(&file)?.st_size;
    let size = u64::try_from(size).unwrap_or_default().min(most);
    // One byte more, so that the end is seen without growing.
    let first = usize::try_from(size + 1).map_err(|_| Unread::TooLong(most))?;
    read_to_end(file, most, vec![0; first])
}

fn read_to_end(file: impl AsFd, most: u64, mut bytes: Vec<u8>) -> Result<Vec<u8>, Unread> {
    let mut filled = 0;
    loop {
        match rustix::io::read(&file, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                if filled as u64 > most {
                    return Err(Unread::TooLong(most));
                }
                if filled == bytes.len() {
                    bytes.resize(bytes.len() * 4, 0);
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads a value from the start, in one read if it fits into a page: the handlers behind these
/// files return everything for a read at offset 0 and nothing for later ones.
pub(super) fn read_value(file: impl AsFd) -> Result<Vec<u8>, Unread> {
    // One byte more than a page: a value that fills the buffer is longer than any attribute.
    let mut bytes = vec![0; 4096 + 1];
    loop {
        match rustix::io::pread(&file, &mut bytes[..], 0) {
            Ok(count) if count as u64 > LARGEST_VALUE => {
                return Err(Unread::TooLong(LARGEST_VALUE));
            }
            Ok(count) if count == bytes.len() => bytes.resize(bytes.len() * 4, 0),
            Ok(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reads a value of the running kernel, over which something else may be mounted.
///
/// The file type is checked only if the result is unusual for a value: empty, an error (a pipe
/// cannot be read at an offset) or more than a page. A device that returns a plausible value has
/// been opened by then in any case, and checking every value costs an apply a tenth more system
/// calls.
pub(super) fn read_value_checked(file: impl AsFd) -> Result<Vec<u8>, Unread> {
    let read = read_value(&file);
    if !matches!(&read, Ok(bytes) if (1..=4096).contains(&bytes.len())) {
        check(&rustix::fs::fstat(&file)?)?;
    }
    read
}
