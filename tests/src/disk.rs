//! The files behind the machine's disks.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::MachineError;
use crate::error::file_error;
use crate::kernel;

/// Makes a file of this many bytes that holds nothing yet.
pub(crate) fn make_disk(path: &Path, size: u64) -> Result<(), MachineError> {
    File::create(path)
        .and_then(|file| file.set_len(size))
        .map_err(file_error(path, "written"))
}

/// A disk that outlives machines: each that is started with it finds `/etc` and `/var` as the one
/// before left them, or as what was flushed of them where that one's power was cut.
#[derive(Debug)]
pub struct StateDisk(TempDir);

impl StateDisk {
    /// Makes one, with a file system and nothing on it.
    ///
    /// # Errors
    ///
    /// Where there is no room, or no `mke2fs`.
    pub fn make() -> Result<Self, MachineError> {
        const SIZE: u64 = 64 << 20;
        let directory = tempfile::Builder::new()
            .prefix("state-")
            .tempdir_in(kernel::directory())
            .map_err(file_error(&kernel::directory(), "written"))?;
        let disk = Self(directory);
        make_disk(&disk.path(), SIZE)?;
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

    /// The file behind it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }
}
