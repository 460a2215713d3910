//! The driver that is installed for the running kernel, read from the files of its modules.

use std::collections::BTreeMap;

use hosttune_core::{Host, HostError, HostErrorKind};
use hosttune_modules::modprobe_d::ModprobeConfiguration;
use hosttune_modules::module::file_of;

use crate::candidate::{self, Choice};
use crate::modinfo::{self, ModuleInfo};
use crate::parameter::DriverModule;
use crate::version::{DriverVersion, LoadedDriver, ModuleKind, VERSION_FILE};

/// The driver that is installed for the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledDriver {
    /// The name of the main module's file. Distributions that install several branches beside each
    /// other rename it.
    pub name: String,
    /// The version.
    pub version: DriverVersion,
    /// The kind of the module.
    pub kind: ModuleKind,
    modules: BTreeMap<DriverModule, ModuleInfo>,
    /// The modules that an `install` line for the plain name loads with the options of that name.
    gets_plain_options: Vec<DriverModule>,
    /// The modules of which the plain name is an alias: its options act too, if the module is loaded by it.
    is_aliased: Vec<DriverModule>,
    others: Vec<String>,
}

impl InstalledDriver {
    /// Reads the modules of the running kernel; `None` if no module of the driver is among them.
    ///
    /// Of several drivers it is the one that the `alias` or `install` line of `nvidia` loads, else the one whose
    /// file has that name, else the one that is loaded, else the first by name: see
    /// [`others`](Self::others).
    ///
    /// # Errors
    /// If a list or a file cannot be read, or a file is not a module of this driver.
    pub fn find(host: &Host) -> Result<Option<Self>, HostError> {
        let configuration = ModprobeConfiguration::read(host)?;
        match candidate::choose(host, &configuration)? {
            Some(choice) => Self::read(host, choice, &configuration).map(Some),
            None => Ok(None),
        }
    }

    fn read(
        host: &Host,
        choice: Choice,
        configuration: &ModprobeConfiguration,
    ) -> Result<Self, HostError> {
        let Choice {
            name,
            path,
            info,
            others,
        } = choice;
        let (Some(version), Some(kind)) = (info.version(), info.kind()) else {
            return Err(HostError::malformed(
                path,
                "it names no version or no license of the NVIDIA driver",
            )
            .with_hint("see modinfo for it: another module has this name"));
        };
        let mut modules = BTreeMap::from([(DriverModule::Nvidia, info)]);
        for module in [DriverModule::Drm, DriverModule::Modeset, DriverModule::Uvm] {
            if let Some(path) = file_of(host, &file_name(&name, module))? {
                modules.insert(module, modinfo::read(host, &path)?);
            }
        }
        let is_aliased: Vec<DriverModule> = DriverModule::ALL
            .into_iter()
            .filter(|module| {
                let aliased = configuration.aliased(&file_name(PLAIN, *module));
                let file = file_name(&name, *module);
                aliased.iter().any(|target| is_same_name(target, &file))
            })
            .collect();
        let gets_plain_options = DriverModule::ALL
            .into_iter()
            .filter(|module| {
                if !configuration.aliased(&file_name(PLAIN, *module)).is_empty() {
                    return false;
                }
                let loads = configuration.loaded_instead(&file_name(PLAIN, *module));
                let is_file = |named: &str| is_same_name(named, &file_name(&name, *module));
                loads
                    .iter()
                    .any(|load| load.passes_options && is_file(&load.module))
            })
            .collect();
        Ok(Self {
            name,
            version,
            kind,
            modules,
            gets_plain_options,
            is_aliased,
            others,
        })
    }

    /// The names of the files of other drivers of the running kernel, if nothing in modprobe.d tells
    /// which one is loaded and it was the loaded one or the first that was taken.
    pub fn others(&self) -> &[String] {
        &self.others
    }

    /// What a module declares; `None` if it is not installed.
    pub fn module(&self, module: DriverModule) -> Option<&ModuleInfo> {
        self.modules.get(&module)
    }

    /// The name of a module that options are written for. It is that of the file, by which kmod
    /// looks options up, unless an `install` line for the plain name (`nvidia`, `nvidia-drm`) loads the
    /// file and passes `$CMDLINE_OPTS`: then the options of the plain name come last.
    pub fn option_name(&self, module: DriverModule) -> String {
        let name = match self.gets_plain_options.contains(&module) {
            true => PLAIN,
            false => &self.name,
        };
        file_name(name, module)
    }

    /// All names of a module whose options act, in the order of their options: the last that sets a
    /// parameter wins.
    pub fn option_names(&self, module: DriverModule) -> Vec<String> {
        let mut names = vec![file_name(&self.name, module), self.option_name(module)];
        if self.is_aliased.contains(&module) {
            names.insert(0, file_name(PLAIN, module));
        }
        names.dedup();
        names
    }

    /// The branch.
    pub fn branch(&self) -> u16 {
        self.version.branch()
    }
}

/// The name of the main module's file as NVIDIA names it.
pub(crate) const PLAIN: &str = "nvidia";

/// Whether two names are those of the same module: `-` and `_` are the same.
pub(crate) fn is_same_name(one: &str, other: &str) -> bool {
    one.replace('-', "_") == other.replace('-', "_")
}

fn file_name(main: &str, module: DriverModule) -> String {
    match module {
        DriverModule::Nvidia => main.to_owned(),
        DriverModule::Drm => format!("{main}-drm"),
        DriverModule::Modeset => format!("{main}-modeset"),
        DriverModule::Uvm => format!("{main}-uvm"),
    }
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
