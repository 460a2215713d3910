//! Requested parameters of the driver.

use std::collections::BTreeMap;

use hosttune_core::file::ConfigFile;
use hosttune_core::host::RootKind;
use hosttune_core::{Error, Knob, Planner, Tuning, Unsupported, UnsupportedKind, When};
use hosttune_modules::modprobe_d::{ModprobeConfiguration, SetOption, Source};
use hosttune_modules::{
    ModuleOption, ModuleOptions, ModuleParameter, ParameterState, takes_effect_from,
};
use serde::{Deserialize, Serialize};

use crate::acceptance::{unsupported, value};
use crate::advice::{self, Requested, Surroundings};
use crate::driver::{self, InstalledDriver};
use crate::generation::{Support, support};
use crate::gpu::gpus;
use crate::number;
use crate::parameter::{self, DriverModule, Parameter};
use crate::params::NvidiaParameter;
use crate::registry::RegistryDwords;
use crate::setting::NvidiaSetting;

/// Parameters of the NVIDIA driver, kept in a modprobe.d file of our own.
///
/// The file takes effect when the driver is loaded the next time, which on most hosts is the next
/// boot; the driver is never unloaded. In an image nothing is written, because which kernel and driver
/// it boots is not known. Verify tells the file, what wins over it, and the value that
/// the loaded driver has.
///
/// ```
/// use hosttune_nvidia::{DriverModule, NvidiaParameters, NvidiaSetting};
///
/// let parameters = NvidiaParameters::new("gaming", [
///     NvidiaSetting::nvreg("InitializeSystemMemoryAllocations", 0)
///         .why("memory is not cleared before the driver uses it"),
///     NvidiaSetting::new(DriverModule::Drm, "modeset", 1).why("Wayland needs it"),
/// ]);
/// # let _ = parameters;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvidiaParameters {
    /// The name in the file's name.
    pub name: String,
    /// The requested parameters.
    pub settings: Vec<NvidiaSetting>,
    /// Keys of `RegistryDwords`. They are merged with those that other files set, because the driver
    /// takes only one text.
    #[serde(default, skip_serializing_if = "RegistryDwords::is_empty")]
    pub registry: RegistryDwords,
    /// Whether initramfs images that load the driver are made anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebuilds_initramfs: bool,
}

impl NvidiaParameters {
    /// Requests parameters, in the file with this name.
    pub fn new(name: impl Into<String>, settings: impl IntoIterator<Item = NvidiaSetting>) -> Self {
        Self {
            name: name.into(),
            settings: settings.into_iter().collect(),
            registry: RegistryDwords::default(),
            rebuilds_initramfs: false,
        }
    }

    /// Makes the initramfs images anew that load the driver: see [`ModuleOptions::rebuild_initramfs`].
    #[must_use]
    pub fn rebuild_initramfs(mut self, rebuilds: bool) -> Self {
        self.rebuilds_initramfs = rebuilds;
        self
    }

    /// Adds keys of `RegistryDwords`.
    #[must_use]
    pub fn registry(mut self, registry: RegistryDwords) -> Self {
        self.registry = registry;
        self
    }

    /// The name of the file of options: apart from that of other modules' options.
    fn file_name(&self) -> String {
        format!("{}-nvidia", self.name)
    }

    /// The path of the file with this name.
    pub fn file(name: &str) -> String {
        ModuleOptions::file(&format!("{name}-nvidia"))
    }
}

/// A setting that applies to the installed driver, with its value in the driver's spelling.
struct Accepted<'s> {
    setting: &'s NvidiaSetting,
    value: String,
    known: Option<&'static Parameter>,
}

impl Tuning for NvidiaParameters {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        let Some(driver) = InstalledDriver::find(at.host())? else {
            for setting in &self.settings {
                setting.on(at.skip(&setting.text(), not_installed()));
            }
            if !self.registry.is_empty() {
                at.skip("nvidia NVreg_RegistryDwords", not_installed());
            }
            // What an earlier run wrote stays until it is reverted: the driver may be missing for this kernel only.
            let path = ModuleOptions::file(&self.file_name());
            at.may_change(&ConfigFile::new(path)?);
            return Ok(());
        };
        note_others(at, &driver);
        note_cards(at, &driver)?;
        note_upgrade(at, &driver)?;
        let temporary = self
            .settings
            .iter()
            .find(|one| one.option() == "NVreg_TemporaryFilePath");
        let around = Surroundings::read(at.host(), temporary.map(|one| one.value.as_str()))?;
        let mut accepted: Vec<Accepted<'_>> = Vec::new();
        for setting in &self.settings {
            let known = parameter::find(setting.module, &setting.parameter);
            if let Some(unsupported) = unsupported(setting, known, &driver)? {
                setting.on(at.skip(&setting.text(), unsupported));
                continue;
            }
            let value = value(setting, known)?;
            let objection =
                known.and_then(|known| advice::objection(known, number::parse(&value)?, &around));
            if let Some((why, hint)) = objection {
                let unsupported = Unsupported::new(UnsupportedKind::Other, why).hint(hint);
                setting.on(at.skip(&setting.text(), unsupported));
                continue;
            }
            accepted.push(Accepted {
                setting,
                value,
                known,
            });
        }
        let path = Self::file(&self.name);
        let others = ModprobeConfiguration::read_as_if(at.host(), &path, None)?;
        note_not_loaded(at, &driver, &others)?;
        let dwords = self.merged(&others, &driver)?;
        let requested: Requested = accepted
            .iter()
            .filter_map(|one| Some(((one.setting.module, one.known?.name), one.value.clone())))
            .collect();
        for note in advice::notes(&requested, &self.registry, &driver, &around) {
            at.note(note);
        }
        for pair in self.registry.dropped() {
            at.note(format!("the driver drops '{pair}' of RegistryDwords: only ';' separates, and a pair has one '='"));
        }
        let mut options = Vec::new();
        let mut is_chosen_by_itself = Vec::new();
        for one in &accepted {
            let (module, option) = (one.setting.module, one.setting.option());
            match redundant(one, &driver, &others) {
                Some(Redundant::Default(default)) => {
                    at.note(format!(
                        "{module} {option} is the default of the installed driver ({default}): it is not written"
                    ));
                    continue;
                }
                Some(Redundant::Automatic) => {
                    at.note(format!(
                        "{module} {option}={} is what the installed driver chooses by itself (-1): it is not written",
                        one.value
                    ));
                    is_chosen_by_itself.push(option);
                    continue;
                }
                None => {}
            }
            let mut option = ModuleOption::new(
                driver.option_name(one.setting.module),
                one.setting.option(),
                &one.value,
            )
            .why(one.setting.why.clone())
            .checked_elsewhere();
            option.requirement = one.setting.requirement;
            options.push(option);
        }
        if !self.registry.is_empty() {
            let name = driver.option_name(DriverModule::Nvidia);
            let option = ModuleOption::new(name, "NVreg_RegistryDwords", &dwords);
            options.push(
                option
                    .why("keys of the driver's registry, in one text")
                    .checked_elsewhere(),
            );
        }
        let overridden = overridden_by_keys(&accepted, &dwords);
        ModuleOptions::new(self.file_name(), options)
            .also_overridden(overridden.iter().map(|(_, by)| by.clone()))
            .rebuild_initramfs(self.rebuilds_initramfs)
            .declare(at)?;
        if at.host().root_kind() == RootKind::Image {
            return Ok(());
        }
        for one in &accepted {
            let option = one.setting.option();
            if overridden.iter().any(|(known, _)| *known == option)
                || is_chosen_by_itself.contains(&option)
                || is_beaten(one, &path, &driver, &others)
            {
                // The value is not expected to change: the file is reported as overridden, or the driver
                // shows its choice and not what that amounts to.
                continue;
            }
            expect(at, one, &path)?;
        }
        Ok(())
    }
}

impl NvidiaParameters {
    /// The text of `RegistryDwords`: ours over that of the file which wins otherwise.
    fn merged(
        &self,
        others: &ModprobeConfiguration,
        driver: &InstalledDriver,
    ) -> Result<RegistryDwords, Error> {
        let winner = winner(others, driver, DriverModule::Nvidia, "NVreg_RegistryDwords");
        let theirs = winner.and_then(|set| set.value).unwrap_or_default();
        RegistryDwords::parse(&theirs)
            .merged(&self.registry)
            .map_err(|error| {
                Error::tuning(error.to_string(), "correct the registry in the profile")
            })
    }
}

/// What sets a parameter of a module, by the last of the names whose options act.
pub(crate) fn winner(
    others: &ModprobeConfiguration,
    driver: &InstalledDriver,
    module: DriverModule,
    parameter: &str,
) -> Option<SetOption> {
    let mut names = driver.option_names(module).into_iter().rev();
    names.find_map(|name| others.winner(&name, parameter))
}

/// Why a value need not be written.
enum Redundant {
    /// It is the default.
    Default(String),
    /// The default leaves the choice to the driver, and this is what it chooses.
    Automatic,
}

/// What the value is to the installed driver's default, if nothing else sets the parameter and the
/// value changes nothing.
fn redundant(
    one: &Accepted<'_>,
    driver: &InstalledDriver,
    others: &ModprobeConfiguration,
) -> Option<Redundant> {
    let option = one.setting.option();
    if winner(others, driver, one.setting.module, &option).is_some() {
        return None;
    }
    let described = driver
        .module(one.setting.module)?
        .described_default(&option);
    let default = described.or_else(|| one.known?.default_in(driver.branch()))?;
    let value = number::parse(&one.value)?;
    if value == default {
        return Some(Redundant::Default(number::to_option(default)));
    }
    let automatic = one.known?.automatic;
    (default == u32::MAX && automatic == Some(value)).then_some(Redundant::Automatic)
}

/// Whether the kernel command line, or a file behind ours, sets something else.
fn is_beaten(
    one: &Accepted<'_>,
    own: &str,
    driver: &InstalledDriver,
    others: &ModprobeConfiguration,
) -> bool {
    let name = driver.option_name(one.setting.module);
    let Some(winner) = others.winner(&name, &one.setting.option()) else {
        return false;
    };
    let is_behind = match &winner.source {
        Source::CommandLine => true,
        Source::File { path, .. } => {
            let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
            base(path) > base(own)
        }
        _ => true,
    };
    let theirs = winner.value.unwrap_or_default();
    is_behind && theirs != one.value && number::parse(&theirs) != number::parse(&one.value)
}

/// The parameters that a key of `RegistryDwords` overwrites with another value, each with the text
/// for people.
fn overridden_by_keys(accepted: &[Accepted<'_>], dwords: &RegistryDwords) -> Vec<(String, String)> {
    let mut overridden = Vec::new();
    for one in accepted {
        let name = one.known.and_then(|known| known.shown);
        let Some((key, value)) = name.and_then(|name| Some((name, dwords.get(name)?))) else {
            continue;
        };
        if one.setting.module == DriverModule::Nvidia && number::parse(&one.value) != Some(value) {
            let option = one.setting.option();
            let by = format!("{option} by the key {key}={value} of NVreg_RegistryDwords");
            overridden.push((option, by));
        }
    }
    overridden
}

/// Expects the value in the running kernel after the driver was loaded again.
fn expect(at: &mut Planner<'_>, one: &Accepted<'_>, path: &str) -> Result<(), Error> {
    let setting = one.setting;
    let when = takes_effect_from(at, path, setting.module.as_str())?;
    if setting.module == DriverModule::Nvidia {
        if one.known.is_some_and(|known| known.shown.is_none()) {
            at.note(format!(
                "the driver does not show {}: whether it is in effect is unknown",
                setting.option()
            ));
            return Ok(());
        }
        expect_of(at, one, &NvidiaParameter::new(&setting.parameter), when);
    } else {
        let knob = ModuleParameter::new(setting.module.as_str(), &setting.parameter);
        expect_of(at, one, &knob, when);
    }
    Ok(())
}

fn expect_of<K: Knob<State = ParameterState>>(
    at: &mut Planner<'_>,
    one: &Accepted<'_>,
    knob: &K,
    when: When,
) {
    let wanted = ParameterState::Value(one.value.clone());
    // The kernel's spelling of the same value, such as Y for 1, is not a rounded value.
    let state = match at.now(knob) {
        Ok(seen) if knob.satisfies(&seen, &wanted) => seen,
        _ => wanted,
    };
    one.setting.on(at.expect(knob, &state, when));
}

/// Notes that several drivers are installed and modprobe.d does not tell which one is loaded.
fn note_others(at: &mut Planner<'_>, driver: &InstalledDriver) {
    if !driver.others().is_empty() {
        at.note(format!(
            "the running kernel has several NVIDIA drivers, {} and {}, and no install line of modprobe.d for nvidia tells which one is loaded: the options are for {}",
            driver.name,
            driver.others().join(", "),
            driver.name
        ));
    }
}

/// Notes that modprobe.d keeps the driver from being loaded for a card, as programs do that switch
/// a notebook's card off.
fn note_not_loaded(
    at: &mut Planner<'_>,
    driver: &InstalledDriver,
    configuration: &ModprobeConfiguration,
) -> Result<(), Error> {
    if at.host().exists("/sys/module/nvidia")? || driver::loaded(at.host())?.is_some() {
        return Ok(());
    }
    for name in driver.option_names(DriverModule::Nvidia).iter().rev() {
        let said = match configuration.blacklisted_by(name) {
            Some(source) => Some(format!("{source} blacklists {name}")),
            None => configuration
                .switched_off_by(name)
                .map(|source| format!("{source} makes {name} an alias of off")),
        };
        if let Some(said) = said {
            at.note(format!(
                "{said}, and the driver is not loaded: the options act only when something loads it by the name of its file"
            ));
            return Ok(());
        }
    }
    Ok(())
}

/// Notes each GPU that the installed driver does not support.
fn note_cards(at: &mut Planner<'_>, driver: &InstalledDriver) -> Result<(), Error> {
    for gpu in gpus(at.host())? {
        let Some(generation) = gpu.generation else {
            at.note(format!(
                "{} is of no known generation: whether driver {} supports it is unknown",
                gpu.name(),
                driver.version
            ));
            continue;
        };
        if let Support::Unsupported { why, hint } =
            support(generation, driver.branch(), driver.kind)
        {
            at.note(format!(
                "{} is {generation} and does not work with driver {}: {why}; {hint}",
                gpu.name(),
                driver.version
            ));
        }
    }
    Ok(())
}

/// Notes that the driver on disk is not the loaded one, with which programs cannot use the GPU.
fn note_upgrade(at: &mut Planner<'_>, driver: &InstalledDriver) -> Result<(), Error> {
    if let Some(loaded) = driver::loaded(at.host())?
        && loaded.version != driver.version
    {
        at.note(format!(
            "driver {} is installed and {} is loaded: reboot before judging what is in effect",
            driver.version, loaded.version
        ));
    }
    Ok(())
}

fn not_installed() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::NoBackend,
        "the running kernel has no module of the NVIDIA driver",
    )
    .hint("install the driver for this kernel")
    .module("nvidia")
}

/// The parameters of the loaded driver by their names in `/proc/driver/nvidia/params`, if it is
/// loaded.
///
/// # Errors
/// If the file exists and cannot be read.
pub fn loaded_parameters(
    host: &hosttune_core::Host,
) -> Result<Option<BTreeMap<String, String>>, hosttune_core::HostError> {
    let text = crate::gpu::optional(host, crate::params::PARAMS_FILE)?;
    Ok(text.map(|text| crate::params::parse(&text)))
}
