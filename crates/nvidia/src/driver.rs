//! The driver that is installed for the running kernel, read from the files of its modules.

use std::collections::BTreeMap;

use hosttune_boot::module::file_of;
use hosttune_core::{Host, HostError, HostErrorKind};

use crate::modinfo::ModuleInfo;
use crate::parameter::DriverModule;
use crate::version::{DriverVersion, LoadedDriver, ModuleKind, VERSION_FILE};

/// The names that the file of the main module has. Debian renames it, so that several branches can
/// be installed, and kmod looks options up by the name of the file.
const NAMES: [&str; 7] = [
    "nvidia",
    "nvidia-current",
    "nvidia-tesla",
    "nvidia-tesla-535",
    "nvidia-tesla-470",
    "nvidia-legacy-470xx",
    "nvidia-legacy-390xx",
];

/// The driver that is installed for the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledDriver {
    /// The name of the main module's file, which options are written for.
    pub name: String,
    /// The version.
    pub version: DriverVersion,
    /// The kind of the module.
    pub kind: ModuleKind,
    modules: BTreeMap<DriverModule, ModuleInfo>,
}

impl InstalledDriver {
    /// Reads the modules of the running kernel; `None` if no module of the driver is among them.
    ///
    /// # Errors
    /// If a list or a file cannot be read, or a file is not a module of this driver.
    pub fn find(host: &Host) -> Result<Option<Self>, HostError> {
        for name in NAMES {
            if let Some(path) = file_of(host, name)? {
                return Self::read(host, name, &path).map(Some);
            }
        }
        Ok(None)
    }

    fn read(host: &Host, name: &str, path: &str) -> Result<Self, HostError> {
        let main = info(host, path)?;
        let (Some(version), Some(kind)) = (main.version(), main.kind()) else {
            return Err(HostError::malformed(
                path,
                "it names no version or no license of the NVIDIA driver",
            )
            .with_hint("see modinfo for it: another module has this name"));
        };
        let mut modules = BTreeMap::from([(DriverModule::Nvidia, main)]);
        for module in [DriverModule::Drm, DriverModule::Modeset, DriverModule::Uvm] {
            if let Some(path) = file_of(host, &file_name(name, module))? {
                modules.insert(module, info(host, &path)?);
            }
        }
        Ok(Self {
            name: name.to_owned(),
            version,
            kind,
            modules,
        })
    }

    /// What a module declares; `None` if it is not installed.
    pub fn module(&self, module: DriverModule) -> Option<&ModuleInfo> {
        self.modules.get(&module)
    }

    /// The name of a module's file, which options are written for.
    pub fn option_name(&self, module: DriverModule) -> String {
        file_name(&self.name, module)
    }

    /// The branch.
    pub fn branch(&self) -> u16 {
        self.version.branch()
    }
}

fn file_name(main: &str, module: DriverModule) -> String {
    match module {
        DriverModule::Nvidia => main.to_owned(),
        DriverModule::Drm => format!("{main}-drm"),
        DriverModule::Modeset => format!("{main}-modeset"),
        DriverModule::Uvm => format!("{main}-uvm"),
    }
}

fn info(host: &Host, path: &str) -> Result<ModuleInfo, HostError> {
    let bytes = host.read(path)?;
    ModuleInfo::of_file(&bytes).map_err(|error| HostError::malformed(path, error.to_string()))
}

/// The driver that is loaded; `None` if none is. A driver that found no usable GPU is not loaded.
///
/// # Errors
/// If the file exists and cannot be read, or names no version.
pub fn loaded(host: &Host) -> Result<Option<LoadedDriver>, HostError> {
    let text = match host.read_text(VERSION_FILE) {
        Ok(text) => text,
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    match LoadedDriver::parse(&text) {
        Some(loaded) => Ok(Some(loaded)),
        None => Err(HostError::malformed(
            VERSION_FILE,
            "it names no version of the driver",
        )),
    }
}
