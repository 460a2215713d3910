//! A module of the running kernel, as a knob.

use std::fmt;
use std::time::Duration;

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, HostErrorKind, Knob, Lack, LackKind, Operation};
use serde::{Deserialize, Serialize};

use crate::list;
use crate::modprobe::named;
use crate::module::{Availability, canonical, find, is_built_in, of_loaded};
use crate::modules::Modules;

/// A module, by its name, and what it is told when it is loaded.
///
/// It is loaded only where it is not there yet: one that somebody else has loaded stays as they
/// wanted it, and whatever its parameters are it is loaded. Turned back, what was loaded is
/// unloaded, but not from under anything: where somebody uses it by then it stays, that is said,
/// and the next revert tries again. What was used meanwhile by the later steps of the same tuning
/// is no obstacle, as those are undone first.
///
/// That a module is used does not show in its state. It is used as soon as the next step is made,
/// and whoever finds an interrupted run has to see it as loaded all the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KernelModule {
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<String>,
}

/// What a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ModuleState {
    /// It is not loaded.
    Absent,
    /// It is loaded.
    Loaded,
    /// It is part of the kernel: as good as loaded, and there for ever.
    BuiltIn,
}

/// The longest name of a module: `MODULE_NAME_LEN` on 64 bits, without the end mark.
const LONGEST_NAME: usize = 55;

impl KernelModule {
    /// A module without parameters. In names `-` and `_` are the same.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            name: canonical(name.as_ref()),
            parameters: Vec::new(),
        }
    }

    /// With a parameter in the kernel's words: `numifbs=0`.
    ///
    /// It stands behind those of modprobe.d, and the kernel takes the last. One that the module
    /// does not know the kernel passes over, with a line in its log; a value that it cannot read is
    /// an error.
    #[must_use]
    pub fn parameter(mut self, parameter: impl Into<String>) -> Self {
        self.parameters.push(parameter.into());
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its parameters.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// It and the modules that are loaded along with it, each as a knob of its own, in the order in
    /// which they are loaded. modprobe would load them by itself; as knobs they are unloaded again.
    ///
    /// They are what `modules.dep` and `modules.softdep` say. What an administrator has added in
    /// modprobe.d is theirs, and stays.
    ///
    /// # Errors
    /// Where a list is there and cannot be read.
    pub fn with_dependencies(&self, host: &Host) -> Result<Vec<Self>, HostError> {
        let names = list::loaded_along(host, &self.name)?;
        let knob = |name: String| {
            if name == canonical(&self.name) {
                self.clone()
            } else {
                Self::new(name)
            }
        };
        Ok(names.into_iter().map(knob).collect())
    }

    fn unusable(&self) -> Option<Lack> {
        let usable = !self.name.is_empty()
            && self.name.len() <= LONGEST_NAME
            && !self.name.starts_with('-')
            && self
                .name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !usable {
            let why = format!("'{}' names no module", self.name);
            return Some(Lack::new(LackKind::ValueUnavailable, why).hint(format!(
                "a module's name has 1 to {LONGEST_NAME} letters, digits, '_' and '-'"
            )));
        }
        let unusable = |parameter: &&String| {
            let name = parameter.split('=').next().unwrap_or_default();
            name.is_empty() || parameter.contains(['\0', '\n'])
        };
        let parameter = self.parameters.iter().find(unusable)?;
        let why = format!("'{}' is no parameter of a module", parameter.escape_debug());
        Some(
            Lack::new(LackKind::ValueUnavailable, why)
                .hint("write it as the kernel reads it: name=value"),
        )
    }

    fn load(&self, host: &mut Host) -> Result<(), HostError> {
        let name = canonical(&self.name);
        host.turn::<Modules, ()>(|modules| modules.load(&name, &self.parameters))?;
        if self.read(host)? != ModuleState::Absent {
            return Ok(());
        }
        let lack = Lack::new(
            LackKind::Managed,
            "modprobe has not loaded it and says that this is right so: modprobe.d blacklists it, or installs something else in its place",
        )
        .hint(format!(
            "look at what it says there, modprobe --showconfig | grep {name}, or load it yourself"
        ))
        .module(name);
        Err(HostError::not_applicable(
            Operation::Load,
            named(&self.name),
            lack,
        ))
    }

    fn unload(&self, host: &mut Host) -> Result<(), HostError> {
        let name = canonical(&self.name);
        // Looked for first: what a module holds it does not let go of by itself, and links are not
        // counted at all.
        let holders = match host.list(format!("{}/holders", of_loaded(&name))) {
            Err(error) if *error.kind() == HostErrorKind::Missing => Vec::new(),
            holders => holders?,
        };
        if !holders.is_empty() {
            return Err(self.used(&format!("loaded for {}", holders.join(", "))));
        }
        let kinds = list::link_kinds(host, &name)?;
        if !kinds.is_empty() {
            let links = host.wire::<Modules>()?.links(&kinds)?;
            if !links.is_empty() {
                return Err(self.used(&format!(
                    "these links would go with it: {}",
                    links.join(", ")
                )));
            }
        }
        let unloaded = host.turn::<Modules, ()>(|modules| modules.unload(&name));
        unloaded.map_err(|error| {
            if *error.kind() != HostErrorKind::Busy || error.errno() != Some(EAGAIN) {
                return error;
            }
            match host.read_text(format!("{}/refcnt", of_loaded(&name))) {
                Ok(count) => error.detail(format!("its use count is {}", count.trim())),
                Err(_) => error.detail("it is used"),
            }
        })
    }

    fn used(&self, why: &str) -> HostError {
        HostError::new(Operation::Unload, named(&self.name), HostErrorKind::Busy)
            .detail(why)
            .with_hint("it can be unloaded once nothing uses it any more: revert again then")
    }

    /// Why it cannot be loaded here.
    fn lacks_to_load(&self, host: &Host) -> Result<Option<Lack>, HostError> {
        let name = canonical(&self.name);
        if find(host, &name)? == Availability::Absent {
            let why = format!("the module {name} is not here");
            return Ok(Some(
                Lack::new(LackKind::ValueUnavailable, why)
                    .hint(format!("install a kernel that has {name}"))
                    .module(name),
            ));
        }
        let disabled = match host.read_text("/proc/sys/kernel/modules_disabled") {
            Err(error) if *error.kind() == HostErrorKind::Missing => String::new(),
            disabled => disabled?,
        };
        if disabled.trim() == "1" {
            return Ok(Some(
                Lack::new(
                    LackKind::ReadOnly,
                    "this kernel loads no module any more: kernel.modules_disabled is 1",
                )
                .hint("nothing takes that back but a reboot")
                .module(name),
            ));
        }
        Ok(None)
    }
}

const EAGAIN: i32 = rustix::io::Errno::AGAIN.raw_os_error();

impl fmt::Display for KernelModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "module {}", self.name)?;
        for parameter in &self.parameters {
            write!(f, " {parameter}")?;
        }
        Ok(())
    }
}

impl Knob for KernelModule {
    const NAME: &'static str = "kernel-module";
    /// modprobe outlives whoever started it and was killed; what it loads arrives a little later.
    const SETTLE: Duration = Duration::from_millis(500);
    type State = ModuleState;

    fn read(&self, host: &Host) -> Result<ModuleState, HostError> {
        // Only of what was loaded the kernel shows how far that came.
        Ok(
            if host.exists(format!("{}/initstate", of_loaded(&self.name)))? {
                ModuleState::Loaded
            } else if is_built_in(host, &self.name)? {
                ModuleState::BuiltIn
            } else {
                ModuleState::Absent
            },
        )
    }

    fn turn(&self, host: &mut Host, to: &ModuleState) -> Result<(), HostError> {
        if let Some(lack) = self.unusable() {
            return Err(HostError::not_applicable(
                Operation::Load,
                named(&self.name),
                lack,
            ));
        }
        match to {
            ModuleState::Loaded => self.load(host),
            ModuleState::Absent => self.unload(host),
            ModuleState::BuiltIn => Err(HostError::not_applicable(
                Operation::Load,
                named(&self.name),
                never_built_in(),
            )),
        }
    }

    fn counts_as(&self, seen: &ModuleState, wanted: &ModuleState) -> bool {
        seen == wanted || (*seen, *wanted) == (ModuleState::BuiltIn, ModuleState::Loaded)
    }

    fn lacks(&self, host: &Host, to: &ModuleState) -> Result<Option<Lack>, HostError> {
        if let Some(lack) = self.unusable() {
            return Ok(Some(lack));
        }
        if host.root_kind() == RootKind::Image {
            return Ok(Some(
                Lack::new(LackKind::NotRunning, "no kernel runs on this image")
                    .hint("load modules on the running system"),
            ));
        }
        if host.wire::<Modules>().is_err() {
            return Ok(Some(
                Lack::new(LackKind::NoWire, "nothing here loads modules")
                    .hint("plug in what does, Modules::live(), or load it yourself")
                    .module(self.name.clone()),
            ));
        }
        match to {
            ModuleState::Loaded => self.lacks_to_load(host),
            ModuleState::BuiltIn => Ok(Some(never_built_in())),
            ModuleState::Absent => Ok(Some(match self.read(host)? {
                ModuleState::BuiltIn => Lack::new(
                    LackKind::ReadOnly,
                    "it is part of the kernel and cannot be unloaded",
                )
                .hint("want it not to be loaded only where it is a module"),
                _ => Lack::new(
                    LackKind::OneWay,
                    "what it was told when it was loaded is not known, so there would be no way back",
                )
                .hint(format!("unload it yourself: modprobe -r {}", self.name)),
            })),
        }
    }

    fn show(&self, state: &ModuleState) -> String {
        match state {
            ModuleState::Absent => "not loaded",
            ModuleState::Loaded => "loaded",
            ModuleState::BuiltIn => "part of the kernel",
        }
        .to_owned()
    }
}

fn never_built_in() -> Lack {
    Lack::new(
        LackKind::ValueUnavailable,
        "what is part of a kernel is decided when it is built",
    )
    .hint("want it to be loaded")
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use hosttune_core::testing::{Fate, Memory};

    use super::*;

    #[test]
    fn names_and_parameters_that_no_module_has_are_refused() {
        let host = Host::new(Memory::new().host(&Fate::lives()));
        let long = "x".repeat(56);
        for name in ["", "a b", "a/b", "../a", "a\0", "ä", &long] {
            let module = KernelModule::new(name);
            let lack = module.lacks(&host, &ModuleState::Loaded).unwrap().unwrap();
            assert!(lack.why.contains("names no module"), "{name:?}: {lack}");
            assert!(lack.hint.is_some());
        }
        for parameter in ["", "=1", "a=1\nb=2", "a=\0"] {
            let module = KernelModule::new("ifb").parameter(parameter);
            let lack = module.lacks(&host, &ModuleState::Loaded).unwrap().unwrap();
            assert!(lack.why.contains("no parameter"), "{parameter:?}: {lack}");
        }
    }

    #[test]
    fn what_is_part_of_the_kernel_counts_as_loaded_and_not_the_other_way_round() {
        let module = KernelModule::new("x");
        assert!(module.counts_as(&ModuleState::BuiltIn, &ModuleState::Loaded));
        assert!(!module.counts_as(&ModuleState::Loaded, &ModuleState::BuiltIn));
        assert!(!module.counts_as(&ModuleState::Loaded, &ModuleState::Absent));
    }
}
