//! udev, as `scripts/machine` has unpacked it. It runs in the machine; out here only what reads is asked.

use std::path::PathBuf;

use crate::MachineError;
use crate::kernel;

/// A version of udev: one program that is both `udevadm` and, by that name, `systemd-udevd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Udev {
    /// Debian 12's own, 252.
    Bookworm,
    /// That of its backports, 254, which has `udevadm verify`.
    Backports,
}

impl Udev {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Backports];

    /// Where it is unpacked, in here and in the machine.
    ///
    /// # Errors
    /// Where `scripts/machine` has not unpacked it.
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
            what: format!("udev of {name}"),
            directory,
        })
    }

    /// The program.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn program(self) -> Result<PathBuf, MachineError> {
        Ok(self.directory()?.join("bin/udevadm"))
    }

    /// Its own rules.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn rules(self) -> Result<PathBuf, MachineError> {
        Ok(self.directory()?.join("lib/udev/rules.d"))
    }
}

/// The directory that holds both.
pub(crate) fn all() -> PathBuf {
    kernel::directory().join("udev")
}
