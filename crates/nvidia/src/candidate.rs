//! Which module of the running kernel is the driver, by no list of names: distributions rename it.

use hosttune_core::{Host, HostError};
use hosttune_modules::modprobe_d::ModprobeConfiguration;
use hosttune_modules::module::{ModuleFile, files_of};

use crate::driver::{self, PLAIN, is_same_name};
use crate::modinfo::{self, ModuleInfo};

/// What the names of the driver's other modules end with.
const SUFFIXES: [&str; 5] = ["_drm", "_modeset", "_uvm", "_peermem", "_fs"];

/// The main module that was chosen.
pub(crate) struct Choice {
    /// The name of its file.
    pub(crate) name: String,
    /// The path of its file.
    pub(crate) path: String,
    pub(crate) info: ModuleInfo,
    /// The names of the other drivers' files, if modprobe.d does not tell which one is loaded.
    pub(crate) others: Vec<String>,
}

/// Chooses the main module; `None` if the running kernel has none.
pub(crate) fn choose(
    host: &Host,
    configuration: &ModprobeConfiguration,
) -> Result<Option<Choice>, HostError> {
    let files = candidates(host)?;
    let loaded = loaded_as(configuration, PLAIN);
    let by_command = files
        .iter()
        .find(|file| loaded.iter().any(|name| is_same_name(name, &file.name)));
    let by_name = || files.iter().find(|file| file.name == PLAIN);
    if let Some(file) = by_command.or_else(by_name) {
        let info = modinfo::read(host, &file.path)?;
        return Ok(Some(choice(file, info, Vec::new())));
    }
    let mut drivers = Vec::new();
    let mut failure = None;
    for file in &files {
        match modinfo::read(host, &file.path) {
            Ok(info) if is_driver(&info) => drivers.push((file, info)),
            // The kernel has a module of the name nvidia_wmi_ec_backlight.
            Ok(_) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if drivers.is_empty() {
        return failure.map_or(Ok(None), Err);
    }
    let loaded = driver::loaded(host)?;
    let is_loaded = |info: &ModuleInfo| {
        let loaded = loaded.as_ref();
        loaded.is_some_and(|loaded| {
            info.version().as_ref() == Some(&loaded.version) && info.kind() == Some(loaded.kind)
        })
    };
    let at = drivers.iter().position(|(_, info)| is_loaded(info));
    let (file, info) = drivers.remove(at.unwrap_or(0));
    let others = drivers.iter().map(|(file, _)| file.name.clone()).collect();
    Ok(Some(choice(file, info, others)))
}

/// The modules that modprobe loads in place of a name: those of its `alias` lines, or what its `install` line
/// loads. With an `alias` line the `install` line of the name does not count, only that of the target.
fn loaded_as(configuration: &ModprobeConfiguration, name: &str) -> Vec<String> {
    let by_install = |name: &str| -> Vec<String> {
        let loads = configuration.loaded_instead(name).into_iter();
        loads.map(|load| load.module).collect()
    };
    let aliased = configuration.aliased(name);
    if aliased.is_empty() {
        return by_install(name);
    }
    let loaded = aliased
        .into_iter()
        .map(|target| match configuration.install_command(target) {
            Some(_) => by_install(target),
            None => vec![target.to_owned()],
        });
    loaded.flatten().collect()
}

fn choice(file: &ModuleFile, info: ModuleInfo, others: Vec<String>) -> Choice {
    Choice {
        name: file.name.clone(),
        path: file.path.clone(),
        info,
        others,
    }
}

/// The modules whose names can be that of the driver.
fn candidates(host: &Host) -> Result<Vec<ModuleFile>, HostError> {
    let mut files = files_of(host, PLAIN)?;
    files.retain(|file| {
        let name = file.name.replace('-', "_");
        let rest = name.strip_prefix(PLAIN).unwrap_or_default();
        (rest.is_empty() || rest.starts_with('_'))
            && !SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
    });
    Ok(files)
}

/// Whether it is the driver's main module. The name is that of the module, whatever that of its
/// file; kernels before 4.13 do not write it.
fn is_driver(info: &ModuleInfo) -> bool {
    match info.field("name") {
        Some(name) => name == PLAIN,
        None => info.version().is_some() && info.kind().is_some(),
    }
}
