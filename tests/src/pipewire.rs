//! PipeWire and WirePlumber, as unpacked by `scripts/machine`.

use std::path::PathBuf;

use crate::MachineError;
use crate::kernel;

/// A version of PipeWire, with the WirePlumber that Debian ships with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipeWire {
    /// The version of Debian 12: PipeWire 0.3.65, WirePlumber 0.4.13.
    Bookworm,
    /// The version of its backports: PipeWire 1.4.2, WirePlumber 0.5.8.
    Backports,
}

impl PipeWire {
    /// Both versions, the older first.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Backports];

    /// Returns the directory where it is unpacked, with `usr` in it.
    ///
    /// # Errors
    /// Fails if `scripts/machine` has not unpacked it.
    pub fn directory(self) -> Result<PathBuf, MachineError> {
        let name = match self {
            Self::Bookworm => "bookworm",
            Self::Backports => "bookworm-backports",
        };
        let directory = kernel::directory().join("pipewire").join(name);
        // The programs are started from other working directories too.
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        if directory.join("usr/bin/spa-json-dump").exists() {
            return Ok(directory);
        }
        Err(MachineError::NotFetched {
            what: format!("the PipeWire of {name}"),
            directory,
        })
    }

    /// Returns the path of a program, such as `pipewire` or `spa-json-dump`.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn program(self, name: &str) -> Result<PathBuf, MachineError> {
        Ok(self.directory()?.join("usr/bin").join(name))
    }

    /// Returns the environment in which its programs find their libraries, modules and plugins, and
    /// one another. Where they find configuration is left to the caller.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn environment(self) -> Result<Vec<(&'static str, String)>, MachineError> {
        let directory = self.directory()?.display().to_string();
        let libraries = format!("{directory}/usr/lib/x86_64-linux-gnu");
        let wireplumber = match self {
            Self::Bookworm => "wireplumber-0.4",
            Self::Backports => "wireplumber-0.5",
        };
        Ok(vec![
            (
                "LD_LIBRARY_PATH",
                format!("{libraries}:{libraries}/pipewire-0.3"),
            ),
            ("SPA_PLUGIN_DIR", format!("{libraries}/spa-0.2")),
            ("PIPEWIRE_MODULE_DIR", format!("{libraries}/pipewire-0.3")),
            (
                "WIREPLUMBER_MODULE_DIR",
                format!("{libraries}/{wireplumber}"),
            ),
            (
                "PATH",
                format!("{directory}/usr/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
            ),
        ])
    }
}
