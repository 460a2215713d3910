//! Who dictates the period of a device: what the files of WirePlumber, the session manager, set on it.
//!
//! WirePlumber makes the nodes of sound cards and gives them properties such as
//! `api.alsa.period-size`, which are read once, when the node is made. A device with a period of its own
//! can run with another quantum than the one that is requested of PipeWire. Up to 0.4 these properties are
//! set by Lua scripts (`main.lua.d`), from 0.5 by rules (`monitor.alsa.rules` in `wireplumber.conf.d`).
//!
//! Nothing is evaluated for a device that is there: rules match names with regular expressions, and a
//! script can do anything. [`DeviceSettings`] names each rule and each line, in the order in which later
//! ones win.

mod files;
mod lua;
mod rules;

use std::fmt;
use std::path::{Path, PathBuf};

use hosttune_core::{Host, HostError};

pub use files::SessionManagerEnvironment;

/// The directory of the packages.
const VENDOR: &str = "/usr/share/wireplumber";

/// The properties that change the period of a device, or what its graph runs with.
const KEYS: [&str; 11] = [
    "api.alsa.period-size",
    "api.alsa.period-num",
    "api.alsa.headroom",
    "api.alsa.disable-tsched",
    "audio.rate",
    "node.latency",
    "node.max-latency",
    "node.force-quantum",
    "node.force-rate",
    "node.lock-quantum",
    "priority.driver",
];

/// Whether a property is one of those, or one of the clock.
fn is_of_period(key: &str) -> bool {
    KEYS.contains(&key) || key.starts_with("clock.")
}

/// The form of WirePlumber's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Lua scripts, up to 0.4.
    Lua,
    /// Rules in PipeWire's configuration language, from 0.5.
    Rules,
}

/// A place that sets properties on devices.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceSetting {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1: that of the properties of a rule, or of a script.
    pub line: usize,
    /// The properties with their values; in a script, the text after the name.
    pub properties: Vec<(String, String)>,
    /// For which nodes a rule counts, each as its conditions are written; empty in a script.
    pub matches: Vec<String>,
    /// Whether every condition asks for a virtual machine (`cpu.vm.name`).
    pub is_for_virtual_machines: bool,
    /// The form of the file.
    pub generation: Generation,
}

impl fmt::Display for DeviceSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<String> = self
            .properties
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        let (path, line) = (self.path.display(), self.line);
        let properties = properties.join(", ");
        match self.generation {
            Generation::Rules => write!(
                f,
                "{path}:{line}: a rule of WirePlumber sets {properties} on devices that match {}",
                self.matches.join(" or ")
            ),
            Generation::Lua => write!(
                f,
                "{path}:{line}: a Lua script of WirePlumber sets {properties}; for which devices is unknown, because scripts are not evaluated"
            ),
        }
    }
}

/// What WirePlumber's files set on devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceSettings {
    /// The settings, in the order in which later ones win.
    pub settings: Vec<DeviceSetting>,
    /// Files that WirePlumber does not read, or not whole, and why.
    pub dropped: Vec<(PathBuf, String)>,
}

impl DeviceSettings {
    /// Reads the files of a host. Empty if WirePlumber is not installed.
    ///
    /// # Errors
    /// Any error from the host, except for files that do not exist or cannot be read.
    pub fn collect(
        host: &Host,
        environment: &SessionManagerEnvironment,
    ) -> Result<Self, HostError> {
        let mut settings = Self::default();
        let Some(generation) = files::generation(host)? else {
            return Ok(settings);
        };
        let (files, unreadable) = files::collect(host, environment, generation)?;
        settings.dropped = unreadable;
        match generation {
            Generation::Lua => {
                for file in &files {
                    settings.settings.extend(lua::settings(file));
                }
            }
            Generation::Rules => settings.add_rules(&files),
        }
        Ok(settings)
    }

    /// What a user should know of them. `machine` is the name of the virtual machine as the daemon knows
    /// it (`cpu.vm.name`), if there is one.
    ///
    /// What the packages set for virtual machines is left out elsewhere, and so is what a script of the
    /// packages sets: it is the default.
    #[must_use]
    pub fn notes(&self, machine: Option<&str>) -> Vec<String> {
        let matters = |setting: &&DeviceSetting| {
            let is_vendors = setting.path.starts_with(VENDOR);
            match setting.generation {
                Generation::Rules => {
                    !setting.is_for_virtual_machines || machine.is_some() || !is_vendors
                }
                Generation::Lua => !is_vendors,
            }
        };
        let settings = self.settings.iter().filter(matters);
        let mut notes: Vec<String> = settings.map(ToString::to_string).collect();
        if !notes.is_empty() {
            notes.push(
                "a device with a period of its own may run with another quantum; WirePlumber reads these files when it starts, and the last one that matches a device wins"
                    .to_owned(),
            );
        }
        let dropped = self.dropped.iter();
        notes.extend(dropped.map(|(path, why)| format!("{}: {why}", path.display())));
        notes
    }
}

/// The number of the line of an offset, from 1.
fn line_of(bytes: &[u8], offset: usize) -> usize {
    let before = bytes.get(..offset).unwrap_or(bytes);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// A file that was read.
#[derive(Clone, Debug)]
struct Text {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Text {
    fn path(&self) -> &Path {
        &self.path
    }
}
