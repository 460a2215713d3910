//! What may be read as a file: regular files, and no more of one than a limit.
//!
//! A pipe where a value is expected would make its reader wait for ever, with the lock held; a
//! device can do anything when it is opened; a sparse file of terabytes takes no room on a disk
//! and all of it in memory.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{HostError, HostErrorKind, Operation};

/// The most that is read of a value under `/proc/sys` or `/sys`. An attribute of sysfs fits a page
/// and the longest sysctls take 64 KiB.
pub(super) const LARGEST_VALUE: u64 = 1 << 20;

/// The most that is read of any other file. `/proc/kallsyms`, the longest that is read, has some
/// 20 MiB.
pub(crate) const LARGEST_FILE: u64 = 64 << 20;

/// How a file is opened that is to be read: without waiting for the other end of a pipe, and
/// without getting a terminal for it. Neither means anything to a regular file.
pub(crate) const READING: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Why something was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// What the kernel answered.
    Errno(Errno),
    /// It is something else than a regular file.
    NotRegular(FileType),
    /// It is longer than this.
    TooLong(u64),
}

impl From<Errno> for Unread {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Unread {
    /// The same as a sentence, where the kernel did not say it.
    pub(crate) fn why(self) -> Option<String> {
        Some(match self {
            Self::Errno(_) => return None,
            Self::NotRegular(kind) => format!("it is {}, not a regular file", named(kind)),
            Self::TooLong(most) => {
                format!(
                    "it is longer than {} MiB, the most that is read",
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
            .with_hint("look who made it, and remove it or put a regular file in its place");
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

/// Whether it is `/dev/null`, which systemd and udev take for an empty file: a mask.
pub(super) fn is_mask(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// Refuses what is no regular file.
pub(crate) fn check(stat: &Stat) -> Result<(), Unread> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR.into()),
        kind => Err(Unread::NotRegular(kind)),
    }
}

/// Refuses an open file that is no regular one, or is longer than `most` already. What procfs and
/// sysfs say of a length means nothing, and is never more than a page.
pub(crate) fn checked(file: OwnedFd, most: u64) -> Result<OwnedFd, Unread> {
    let stat = rustix::fs::fstat(&file)?;
    check(&stat)?;
    if u64::try_from(stat.st_size).is_ok_and(|size| size > most) {
        return Err(Unread::TooLong(most));
    }
    Ok(file)
}

/// Reads an open file to its end, or to `most` bytes, which is an error.
pub(crate) fn read_all(file: impl AsFd, most: u64) -> Result<Vec<u8>, Unread> {
    let mut bytes = vec![0; 4096];
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

/// Reads a value from its beginning, in one read where it fits a page: the handlers behind these
/// files answer a read at offset 0 with all they have and every later one with nothing.
pub(super) fn read_value(file: impl AsFd) -> Result<Vec<u8>, Unread> {
    // One byte more than a page: what fills it is known to be longer than any attribute.
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

/// Reads a value of the running kernel, where something else may be mounted over what the kernel makes.
///
/// What it is is asked only where the answer is none that a value gives: nothing, an error (a pipe has no
/// beginning to read from), more than a page. A device that answers as a value does has been opened by
/// then as well, and to ask of each value costs an apply a tenth more system calls.
pub(super) fn read_value_checked(file: impl AsFd) -> Result<Vec<u8>, Unread> {
    let read = read_value(&file);
    if !matches!(&read, Ok(bytes) if (1..=4096).contains(&bytes.len())) {
        check(&rustix::fs::fstat(&file)?)?;
    }
    read
}
