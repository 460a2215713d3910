//! udev, as unpacked by `scripts/machine`. It runs in the machine; on the build machine only its read-only
//! commands are run.

use std::path::PathBuf;

use crate::MachineError;
use crate::kernel;

/// A version of udev: one program that acts as `udevadm` or `systemd-udevd`, depending on its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Udev {
    /// The version of Debian 12, 252.
    Bookworm,
    /// The version of its backports, 254, which has `udevadm verify`.
    Backports,
}

impl Udev {
    /// Both versions, the older first.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Backports];

    /// Returns the directory where it is unpacked, which has the same path in the machine.
    ///
    /// # Errors
    /// Fails if `scripts/machine` has not unpacked it.
    pub fn directory(self) -> Result<PathBuf, MachineError> {
        let name = match self {
            Self::Bookworm => "bookworm",
            Self::Backports => "bookworm-backports",
        };
        let directory = all().join(name);
        if directory.join("bin/udevadm").exists() {
            return Ok(directory);
        }
        Err(MachineError::NotFetched {
            what: format!("the udev of {name}"),
            directory,
        })
    }

    /// Returns the path of `udevadm`.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn program(self) -> Result<PathBuf, MachineError> {
        Ok(self.directory()?.join("bin/udevadm"))
    }

    /// Returns the directory of the rules that it ships.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn rules(self) -> Result<PathBuf, MachineError> {
        Ok(self.directory()?.join("lib/udev/rules.d"))
    }
}

/// Returns the directory of both versions.
pub(crate) fn all() -> PathBuf {
    kernel::directory().join("udev")
}
