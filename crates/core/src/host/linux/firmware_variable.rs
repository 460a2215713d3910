//! Variables of the firmware: the files of efivarfs.
//!
//! A write sets the whole variable, so it must be one `write(2)`, and there is no renaming. The kernel
//! makes files immutable that it does not know (since Linux 4.5), because some firmware does not start
//! without its own variables; the flag is taken off for the change, as `chattr -i` does.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, IFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::host::regular::READING;

/// Sets the variable in this directory to the bytes, with one write; the first four are its attributes.
pub(super) fn write(directory: &OwnedFd, name: &OsStr, bytes: &[u8]) -> Result<(), Errno> {
    let (is_new, is_immutable) = match unlock(directory, name) {
        Ok(was_immutable) => (false, was_immutable),
        Err(Errno::NOENT) => (true, false),
        Err(errno) => return Err(errno),
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let written = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))
        .and_then(|open| write_once(&open, bytes));
    if written.is_err() && is_new {
        // Before Linux 6.14 an empty file would stay, which is no variable.
        let _ = remove(directory, name);
    }
    if is_immutable {
        // The variable is as requested without the flag.
        let _ = lock(directory, name);
    }
    written
}

fn write_once(open: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    loop {
        match rustix::io::write(open, bytes) {
            Ok(count) if count == bytes.len() => return Ok(()),
            Ok(_) => return Err(Errno::IO),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Removes the variable.
pub(super) fn remove(directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    unlock(directory, name)?;
    rustix::fs::unlinkat(directory, name, AtFlags::empty())
}

fn open(directory: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, READING | OFlags::NOFOLLOW, Mode::empty())
}

/// Takes the flag off. Returns whether it was set.
fn unlock(directory: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    let file = open(directory, name)?;
    let flags = match rustix::fs::ioctl_getflags(&file) {
        // A file system without flags.
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => return Ok(false),
        flags => flags?,
    };
    if !flags.contains(IFlags::IMMUTABLE) {
        return Ok(false);
    }
    rustix::fs::ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?;
    Ok(true)
}

fn lock(directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let file = open(directory, name)?;
    let flags = rustix::fs::ioctl_getflags(&file)?;
    rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file system of the test's directory has the same flags as efivarfs, and the kernel refuses the
    /// same to root; only what the firmware makes of a variable is not tested.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        clippy::print_stdout,
        reason = "the test looks at its own directory, and says why it does not run"
    )]
    fn an_immutable_file_is_written_and_removed_and_keeps_its_flag() {
        let made = tempfile::tempdir().unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(made.path(), flags, Mode::empty()).unwrap();
        let name = OsStr::new("LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
        write(&directory, name, b"first").unwrap();
        if lock(&directory, name).is_err() {
            println!(
                "not run: an_immutable_file_is_written_and_removed_and_keeps_its_flag: the flag cannot be set here"
            );
            return;
        }
        let path = made.path().join(name);
        let is_refused = std::fs::OpenOptions::new().write(true).open(&path).is_err();
        assert!(is_refused, "the flag has no effect");
        // As long as before: efivarfs replaces the whole variable, and other file systems overwrite.
        write(&directory, name, b"other").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"other");
        let file = open(&directory, name).unwrap();
        let flags = rustix::fs::ioctl_getflags(&file).unwrap();
        assert!(flags.contains(IFlags::IMMUTABLE));
        remove(&directory, name).unwrap();
        assert!(!path.exists());
        assert_eq!(remove(&directory, name), Err(Errno::NOENT));
    }
}
