//! What the loaded driver still has after the file was reverted.

use hosttune_core::{Error, Host, Knob};
use hosttune_modules::initramfs::rebuild_command;
use hosttune_modules::modprobe_d::ModprobeConfiguration;
use hosttune_modules::{ModuleParameter, ParameterState};

use crate::acceptance::value;
use crate::driver::{self, InstalledDriver};
use crate::number;
use crate::parameter::{self, DriverModule};
use crate::params::NvidiaParameter;
use crate::setting::NvidiaSetting;
use crate::tuning::{NvidiaParameters, winner};

impl NvidiaParameters {
    /// The requested values that the loaded driver has although no file sets them any more, as a note
    /// with what to do; `None` if it has none, or if the [file](Self::file) is there.
    ///
    /// The driver is never unloaded, so it keeps them until the next boot, and longer if the initramfs
    /// has a copy of the file.
    ///
    /// # Errors
    /// If a file exists and cannot be read, or a value is not one that its parameter takes.
    pub fn left_in_the_driver(&self, host: &Host) -> Result<Option<String>, Error> {
        if host.exists(Self::file(&self.name))? {
            return Ok(None);
        }
        let Some(loaded) = driver::loaded(host)? else {
            return Ok(None);
        };
        let mut left = Vec::new();
        for setting in &self.settings {
            if has_value(host, setting, loaded.version.branch())? {
                left.push(setting);
            }
        }
        // Only now the modules are read, which are large.
        if left.is_empty() {
            return Ok(None);
        }
        if let Some(installed) = InstalledDriver::find(host)? {
            let configuration = ModprobeConfiguration::read(host)?;
            left.retain(|setting| !is_set(setting, &installed, &configuration));
        }
        if left.is_empty() {
            return Ok(None);
        }
        let values: Vec<String> = left.iter().map(|setting| setting.text()).collect();
        let mut note = format!(
            "the loaded NVIDIA driver still has {}, which no file of modprobe.d sets any more: it keeps the values until the next boot",
            values.join(", ")
        );
        if let Some(command) = rebuild_command(host)? {
            note.push_str(&format!(
                "; if it has them after that, the initramfs has a copy of the file: rebuild it with {command}"
            ));
        }
        Ok(Some(note))
    }
}

/// Whether the loaded driver has the value, and not because it is the default.
fn has_value(host: &Host, setting: &NvidiaSetting, branch: u16) -> Result<bool, Error> {
    let known = parameter::find(setting.module, &setting.parameter);
    let wanted = ParameterState::Value(value(setting, known)?);
    let has = if setting.module == DriverModule::Nvidia {
        has(host, &NvidiaParameter::new(&setting.parameter), &wanted)
    } else {
        let knob = ModuleParameter::new(setting.module.as_str(), &setting.parameter);
        has(host, &knob, &wanted)
    };
    let number = number::parse(&setting.value);
    let is_default = known.is_some_and(|known| {
        let default = known.default_in(branch);
        number.is_some() && (default == number || known.automatic == number)
    });
    Ok(has && !is_default)
}

/// What cannot be read is not known to be there.
fn has<K: Knob<State = ParameterState>>(host: &Host, knob: &K, wanted: &ParameterState) -> bool {
    knob.read(host)
        .is_ok_and(|seen| knob.satisfies(&seen, wanted))
}

/// Whether modprobe.d or the kernel command line sets the value, or the module describes it as its
/// default.
fn is_set(
    setting: &NvidiaSetting,
    driver: &InstalledDriver,
    configuration: &ModprobeConfiguration,
) -> bool {
    let number = number::parse(&setting.value);
    let option = setting.option();
    let module = driver.module(setting.module);
    let described = module.and_then(|module| module.described_default(&option));
    if described.is_some() && described == number {
        return true;
    }
    let set = winner(configuration, driver, setting.module, &option);
    set.and_then(|set| set.value)
        .is_some_and(|theirs| theirs == setting.value || number::parse(&theirs) == number)
}
