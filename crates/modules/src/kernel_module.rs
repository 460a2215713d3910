//! The knob for a module of the running kernel.

use std::fmt;
use std::time::Duration;

use hosttune_core::host::RootKind;
use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use crate::dependency;
use crate::modprobe::named;
use crate::module::{Availability, canonical, find, is_listed_as_built_in, of_loaded};
use crate::modules::Modules;

/// A kernel module and the parameters with which it is loaded.
///
/// It is loaded only if it is not loaded yet. A module that another process has loaded stays
/// unchanged and counts as loaded whatever its parameters are. A revert unloads the modules that
/// were loaded, except those that are in use by then: these stay and are reported, and the next
/// revert tries again. Use by later steps of the same tuning is no obstacle, because these are
/// reverted first.
///
/// The state does not include whether a module is in use. It is in use as soon as the next step has
/// been applied, and recovery from an interrupted run must still recognize it as loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KernelModule {
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<String>,
}

/// The state of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ModuleState {
    /// It is not loaded.
    Absent,
    /// It is loaded.
    Loaded,
    /// It is built into the kernel: it counts as loaded and cannot be unloaded.
    BuiltIn,
}

/// The longest name of a module: `MODULE_NAME_LEN` on 64-bit kernels, without the terminating NUL.
const LONGEST_NAME: usize = 55;

impl KernelModule {
    /// A module without parameters. `-` and `_` are the same in names.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            name: canonical(name.as_ref()),
            parameters: Vec::new(),
        }
    }

    /// Adds a parameter in the kernel's notation: `numifbs=0`.
    ///
    /// It comes after the parameters from modprobe.d, and the kernel uses the last one. The kernel
    /// ignores a parameter that the module does not know, with a line in its log; a value that it
    /// cannot parse is an error.
    #[must_use]
    pub fn parameter(mut self, parameter: impl Into<String>) -> Self {
        self.parameters.push(parameter.into());
        self
    }

    /// The name of the module.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameters of the module.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// The module and the modules that are loaded together with it, each as a separate knob, in the
    /// order of loading. modprobe would load them anyway; as knobs they are also unloaded again.
    ///
    /// The dependencies come from `modules.dep` and `modules.softdep`. Modules that an administrator
    /// has added in modprobe.d are not included and stay loaded.
    ///
    /// # Errors
    /// When a list exists but cannot be read.
    pub fn with_dependencies(&self, host: &Host) -> Result<Vec<Self>, HostError> {
        let names = dependency::loaded_along(host, &self.name)?;
        let knob = |name: String| {
            if name == canonical(&self.name) {
                self.clone()
            } else {
                Self::new(name)
            }
        };
        Ok(names.into_iter().map(knob).collect())
    }

    fn unusable(&self) -> Option<Unsupported> {
        let usable = !self.name.is_empty()
            && self.name.len() <= LONGEST_NAME
            && !self.name.starts_with('-')
            && self
                .name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !usable {
            let why = format!("'{}' is not a module name", self.name);
            return Some(
                Unsupported::new(UnsupportedKind::ValueUnavailable, why).hint(format!(
                    "a module name has 1 to {LONGEST_NAME} letters, digits, '_' and '-'"
                )),
            );
        }
        let unusable = |parameter: &&String| {
            let name = parameter.split('=').next().unwrap_or_default();
            name.is_empty() || parameter.contains(['\0', '\n'])
        };
        let parameter = self.parameters.iter().find(unusable)?;
        let why = format!("'{}' is not a module parameter", parameter.escape_debug());
        Some(
            Unsupported::new(UnsupportedKind::ValueUnavailable, why)
                .hint("write it like name=value"),
        )
    }

    fn load(&self, host: &mut Host) -> Result<(), HostError> {
        let name = canonical(&self.name);
        host.change::<Modules, ()>(|modules| modules.load(&name, &self.parameters))?;
        if self.read(host)? != ModuleState::Absent {
            return Ok(());
        }
        let unsupported = Unsupported::new(
            UnsupportedKind::Managed,
            "modprobe skipped it (blacklist or install rule in modprobe.d)",
        )
        .hint(format!(
            "see the rule with modprobe --showconfig | grep {name}, or load the module manually"
        ))
        .module(name);
        Err(HostError::not_applicable(
            Operation::Load,
            named(&self.name),
            unsupported,
        ))
    }

    fn unload(&self, host: &mut Host) -> Result<(), HostError> {
        let name = canonical(&self.name);
        // Holders and interfaces are checked first: a module that is held by another does not become
        // unused by waiting, and the kernel does not count interfaces as uses.
        let holders = host.list_if_there(format!("{}/holders", of_loaded(&name)))?;
        if !holders.is_empty() {
            return Err(self.used(&format!("required by {}", holders.join(", "))));
        }
        let kinds = dependency::link_kinds(host, &name)?;
        if !kinds.is_empty() {
            let links = host.backend::<Modules>()?.links(&kinds)?;
            if !links.is_empty() {
                return Err(self.used(&format!(
                    "unloading it would remove these interfaces: {}",
                    links.join(", ")
                )));
            }
        }
        // Nor does it count disks that are not open. Only zram has devices without hardware behind
        // them, whose data is lost with them.
        if name == "zram" {
            let mut disks = host.list_if_there("/sys/block")?;
            disks.retain(|disk| disk.starts_with("zram"));
            if !disks.is_empty() {
                return Err(self.used(&format!(
                    "unloading it would remove these devices: {}",
                    disks.join(", ")
                )));
            }
        }
        let unloaded = host.change::<Modules, ()>(|modules| modules.unload(&name));
        unloaded.map_err(|error| {
            if *error.kind() != HostErrorKind::Busy || error.errno() != Some(EAGAIN) {
                return error;
            }
            match host.read_text(format!("{}/refcnt", of_loaded(&name))) {
                Ok(count) => error.detail(format!("its use count is {}", count.trim())),
                Err(_) => error.detail("its use count is unknown"),
            }
        })
    }

    fn used(&self, why: &str) -> HostError {
        HostError::new(Operation::Unload, named(&self.name), HostErrorKind::Busy)
            .detail(why)
            .with_hint("run revert again when it is no longer in use")
    }

    /// Why the module cannot be loaded on this host, or `None` if it can.
    fn lacks_to_load(&self, host: &Host) -> Result<Option<Unsupported>, HostError> {
        let name = canonical(&self.name);
        if find(host, &name)? == Availability::Absent {
            let why = format!("the module {name} is not available");
            return Ok(Some(
                Unsupported::new(UnsupportedKind::ValueUnavailable, why)
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
                Unsupported::new(
                    UnsupportedKind::ReadOnly,
                    "loading modules is disabled: kernel.modules_disabled is 1",
                )
                .hint("reboot to enable it again")
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
    /// modprobe continues if the process that started it is killed, so the module may be loaded a
    /// little later.
    const SETTLE: Duration = Duration::from_millis(500);
    type State = ModuleState;

    fn read(&self, host: &Host) -> Result<ModuleState, HostError> {
        if let Ok(modules) = host.backend::<Modules>() {
            modules.wait_for_loads()?;
        }
        // Only modules that were loaded have `initstate`; built-in ones do not.
        Ok(
            if host.exists(format!("{}/initstate", of_loaded(&self.name)))? {
                ModuleState::Loaded
            } else if is_built_in_if_not_loaded(host, &self.name)? {
                ModuleState::BuiltIn
            } else {
                ModuleState::Absent
            },
        )
    }

    fn set(&self, host: &mut Host, to: &ModuleState) -> Result<(), HostError> {
        if let Some(unsupported) = self.unusable() {
            return Err(HostError::not_applicable(
                Operation::Load,
                named(&self.name),
                unsupported,
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

    fn satisfies(&self, seen: &ModuleState, wanted: &ModuleState) -> bool {
        seen == wanted || (*seen, *wanted) == (ModuleState::BuiltIn, ModuleState::Loaded)
    }

    fn unsupported(&self, host: &Host, to: &ModuleState) -> Result<Option<Unsupported>, HostError> {
        if let Some(unsupported) = self.unusable() {
            return Ok(Some(unsupported));
        }
        if host.root_kind() == RootKind::Image {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::NotRunning,
                    "this is an image without a running kernel",
                )
                .hint("load modules on the running system"),
            ));
        }
        if host.backend::<Modules>().is_err() {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::NoBackend,
                    "this program has no backend that loads modules",
                )
                .hint("add the backend Modules::live() to the session, or load the module manually")
                .module(self.name.clone()),
            ));
        }
        match to {
            ModuleState::Loaded => self.lacks_to_load(host),
            ModuleState::BuiltIn => Ok(Some(never_built_in())),
            ModuleState::Absent => Ok(Some(match self.read(host)? {
                ModuleState::BuiltIn => Unsupported::new(
                    UnsupportedKind::ReadOnly,
                    "it is built into the kernel and cannot be unloaded",
                )
                .hint("request the state Absent only on kernels where it is a module"),
                _ => Unsupported::new(
                    UnsupportedKind::OneWay,
                    "the parameters with which it was loaded are unknown, so unloading it could not be reverted",
                )
                .hint(format!("unload it manually: modprobe -r {}", self.name)),
            })),
        }
    }

    fn show(&self, state: &ModuleState) -> String {
        match state {
            ModuleState::Absent => "not loaded",
            ModuleState::Loaded => "loaded",
            ModuleState::BuiltIn => "built in",
        }
        .to_owned()
    }
}

fn never_built_in() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::ValueUnavailable,
        "whether a module is built in is decided when the kernel is compiled",
    )
    .hint("request the state Loaded instead")
}

/// Whether a module that is not loaded is built in, as far as that can be determined.
fn is_built_in_if_not_loaded(host: &Host, name: &str) -> Result<bool, HostError> {
    // A built-in module has a directory there only if it has parameters or a version.
    if host.exists(of_loaded(name))? {
        return Ok(true);
    }
    is_listed_as_built_in(host, name)
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use hosttune_core::testing::{CrashPoint, Memory};

    use super::*;

    #[test]
    fn names_and_parameters_that_no_module_has_are_refused() {
        let host = Host::new(Memory::new().host(&CrashPoint::lives()));
        let long = "x".repeat(56);
        for name in ["", "a b", "a/b", "../a", "a\0", "ä", &long] {
            let module = KernelModule::new(name);
            let unsupported = module
                .unsupported(&host, &ModuleState::Loaded)
                .unwrap()
                .unwrap();
            assert!(
                unsupported.why.contains("not a module name"),
                "{name:?}: {unsupported}"
            );
            assert!(unsupported.hint.is_some());
        }
        for parameter in ["", "=1", "a=1\nb=2", "a=\0"] {
            let module = KernelModule::new("ifb").parameter(parameter);
            let unsupported = module
                .unsupported(&host, &ModuleState::Loaded)
                .unwrap()
                .unwrap();
            assert!(
                unsupported.why.contains("not a module parameter"),
                "{parameter:?}: {unsupported}"
            );
        }
    }

    #[test]
    fn what_is_part_of_the_kernel_counts_as_loaded_and_not_the_other_way_round() {
        let module = KernelModule::new("x");
        assert!(module.satisfies(&ModuleState::BuiltIn, &ModuleState::Loaded));
        assert!(!module.satisfies(&ModuleState::Loaded, &ModuleState::BuiltIn));
        assert!(!module.satisfies(&ModuleState::Loaded, &ModuleState::Absent));
    }
}
