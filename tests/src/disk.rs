//! The image files of the machine's disks.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::MachineError;
use crate::error::file_error;
use crate::kernel;

/// Creates an empty (sparse) file of this size, in bytes.
pub(crate) fn make_disk(path: &Path, size: u64) -> Result<(), MachineError> {
    File::create(path)
        .and_then(|file| file.set_len(size))
        .map_err(file_error(path, "written"))
}

/// A disk that outlives machines, with `/etc` and `/var`.
///
/// A machine that is started with it finds these directories as the previous machine left them, or, if its power
/// was cut, with whatever had been flushed.
#[derive(Debug)]
pub struct StateDisk(TempDir);

impl StateDisk {
    /// Creates a disk of 64 MiB with an empty file system.
    ///
    /// # Errors
    ///
    /// Fails if there is no space, or no `mke2fs`.
    pub fn make() -> Result<Self, MachineError> {
        Self::of_size(64 << 20)
    }

    /// Creates a disk of this size, in bytes, with an empty file system. It occupies only what is written to it.
    ///
    /// # Errors
    ///
    /// As [`make`](Self::make).
    pub fn of_size(size: u64) -> Result<Self, MachineError> {
        let directory = tempfile::Builder::new()
            .prefix("state-")
            .tempdir_in(kernel::directory())
            .map_err(file_error(&kernel::directory(), "written"))?;
        let disk = Self(directory);
        make_disk(&disk.path(), size)?;
        let no_program = |source| MachineError::NoProgram {
            program: "mke2fs",
            package: "e2fsprogs",
            source,
        };
        let output = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4"])
            .arg(disk.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .map_err(no_program)?;
        if !output.status.success() {
            return Err(MachineError::Failed {
                program: "mke2fs",
                status: output.status,
                said: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        Ok(disk)
    }

    /// The image file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }
}
