//! Reads files and values: of the running kernel, and files of any root.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::PoisonError;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{KEPT_OPEN, LinuxHost};
use crate::host::error::HostError;
use crate::host::fs::{Fs, RootKind};
use crate::host::regular::{
    self, LARGEST_FILE, READING, Unread, read_all, read_large, read_value, read_value_checked,
};

/// Variables of the firmware. They are opened for each read: through a file that was opened before its
/// variable was removed, the kernel reads nothing, without an error (`efivarfs_file_read` in
/// `fs/efivarfs/file.c`), and an empty variable is another state than one that is not there.
const VARIABLES: &str = "/sys/firmware/efi/efivars";

impl LinuxHost {
    /// Reads a value of the running kernel.
    ///
    /// A knob is read when it is planned and again after each change, and opening a file costs more
    /// than reading it. The kernel computes the value anew for every read at offset 0, and for a
    /// file that is gone returns ENOENT or ENODEV. The name may belong to another file by then (a
    /// disk that came back, the tunables of a governor that is in use again), so the path is opened
    /// again.
    pub(super) fn read_live(&self, path: &Path) -> Result<Vec<u8>, Unread> {
        let mut kept = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = kept.get(path) {
            match read_value(open) {
                Err(Unread::Errno(Errno::NODEV | Errno::NOENT | Errno::NXIO)) => kept.remove(path),
                other => return other,
            };
        }
        let open = self.resolve(path, READING, Mode::empty())?;
        let value = read_value_checked(&open)?;
        if kept.len() < KEPT_OPEN && !path.starts_with(VARIABLES) {
            kept.insert(path.to_owned(), open);
        }
        Ok(value)
    }

    /// If a file is missing under `/proc` or `/sys` because nothing is mounted there, adds that to
    /// the error.
    pub(super) fn unless_mounted(&self, path: &Path, error: HostError) -> HostError {
        let mounts = [
            ("/proc", "/proc/self", "proc"),
            ("/sys", "/sys/kernel", "sysfs"),
        ];
        let of_path = mounts.into_iter().find(|(root, ..)| path.starts_with(root));
        match of_path {
            Some((root, always, kind))
                if self.kind == RootKind::Live
                    && matches!(self.entry(Path::new(always)), Ok(None)) =>
            {
                error
                    .detail(format!("{root} is not mounted"))
                    .with_hint(format!("mount it: mount -t {kind} {kind} {root}"))
            }
            _ => error,
        }
    }

    /// Opens a file for reading; `None` for a mask, which is not opened.
    ///
    /// Opening a device can have effects, so the file type is checked before opening, and checked
    /// again on the open file. Under the live `/proc` it is checked only afterwards: what
    /// containers mount over a kernel file there is `/dev/null`.
    pub(super) fn open_to_read(&self, path: &Path, most: u64) -> Result<Option<OwnedFd>, Unread> {
        if self.kind == RootKind::Live && path.starts_with("/proc") {
            let open = self.resolve(path, READING, Mode::empty())?;
            let stat = rustix::fs::fstat(&open)?;
            if regular::is_mask(&stat) {
                return Ok(None);
            }
            regular::check(&stat)?;
            return Ok(Some(open));
        }
        let stat = if self.kind == RootKind::Live {
            // Nothing leads out of "/", so no descriptor is needed for the check.
            rustix::fs::stat(path)?
        } else {
            let there = self.resolve(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            rustix::fs::fstat(there)?
        };
        if regular::is_mask(&stat) {
            return Ok(None);
        }
        regular::check(&stat)?;
        let open = self.resolve(path, READING, Mode::empty())?;
        regular::checked(open, most).map(Some)
    }

    pub(super) fn read_plain(&self, path: &Path) -> Result<Vec<u8>, Unread> {
        match self.open_to_read(path, LARGEST_FILE)? {
            Some(open) => read_all(open, LARGEST_FILE),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn read_plain_up_to(&self, path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
        match self.open_to_read(path, most)? {
            Some(open) => read_large(open, most),
            None => Ok(Vec::new()),
        }
    }
}
