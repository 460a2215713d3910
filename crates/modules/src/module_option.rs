//! One requested option of a module: whether it can act on a host, and when it takes effect.

use hosttune_core::file::ConfigFile;
use hosttune_core::host::RootKind;
use hosttune_core::{
    AnyKnob, Error, Host, HostError, HostErrorKind, Planner, Request, Requirement, Unsupported,
    UnsupportedKind, When, Why,
};
use serde::{Deserialize, Serialize};

use crate::modprobe_d::ModprobeConfiguration;
use crate::module::{Availability, canonical, find, is_built_in, of_loaded};
use crate::module_parameter::{ModuleParameter, ParameterState, is_same_value};

/// Where the value of a parameter in the running kernel is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiveValue {
    /// In `/sys/module/MODULE/parameters`.
    #[default]
    Sysfs,
    /// By another knob, which knows where the driver shows it.
    Elsewhere,
}

/// A requested value of one parameter of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleOption {
    /// The module, as its file is named; `-` and `_` are the same.
    pub module: String,
    /// The parameter.
    pub parameter: String,
    /// The value, as text in one line without quotes.
    pub value: String,
    /// The reason for the value.
    #[serde(default)]
    pub why: Why,
    /// Whether it is an error if the request does not apply.
    #[serde(default)]
    pub requirement: Requirement,
    /// Where the value in the running kernel is checked.
    #[serde(default)]
    pub live: LiveValue,
}

hosttune_core::why_and_requirement!(ModuleOption);

impl ModuleOption {
    /// Requests a value.
    pub fn new(
        module: impl Into<String>,
        parameter: impl Into<String>,
        value: impl std::fmt::Display,
    ) -> Self {
        Self {
            module: module.into(),
            parameter: parameter.into(),
            value: value.to_string(),
            why: Why::default(),
            requirement: Requirement::Plain,
            live: LiveValue::Sysfs,
        }
    }

    /// Leaves checking the value in the running kernel to another knob.
    #[must_use]
    pub fn checked_elsewhere(mut self) -> Self {
        self.live = LiveValue::Elsewhere;
        self
    }

    pub(crate) fn text(&self) -> String {
        format!("{} {}={}", self.module, self.parameter, self.value)
    }

    pub(crate) fn is_same_parameter(&self, other: &Self) -> bool {
        canonical(&self.module) == canonical(&other.module)
            && canonical(&self.parameter) == canonical(&other.parameter)
    }

    pub(crate) fn on<'p, 'a>(&self, request: Request<'p, 'a>) -> Request<'p, 'a> {
        request.why(self.why.clone()).requirement(self.requirement)
    }
}

/// Expects the value of an option in the running kernel.
pub(crate) fn expect_value(at: &mut Planner<'_>, option: &ModuleOption, when: When) {
    let knob = ModuleParameter::new(&option.module, &option.parameter);
    // The kernel's spelling of the same value, such as Y for 1, is not a rounded value.
    let wanted = match at.now(&knob) {
        Ok(ParameterState::Value(seen)) if is_same_value(&seen, &option.value) => seen,
        _ => option.value.clone(),
    };
    option.on(at.expect(&knob, &ParameterState::Value(wanted), when));
}

/// Why an option cannot act on this host.
pub(crate) fn unsupported_option(
    host: &Host,
    option: &ModuleOption,
) -> Result<Option<Unsupported>, HostError> {
    if host.root_kind() == RootKind::Image {
        return Ok(None);
    }
    let ModuleOption {
        module,
        parameter,
        value,
        ..
    } = option;
    if is_built_in(host, module)? {
        return Ok(Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!("{module} is built into this kernel, and modprobe.d does not act on it"),
            )
            .hint(format!(
                "put {module}.{parameter}={value} on the kernel command line"
            ))
            .module(module),
        ));
    }
    if find(host, module)? == Availability::Absent && !is_loaded_by_command(host, module)? {
        return Ok(Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!("the module {module} is not available"),
            )
            .hint(format!("install a kernel or a package that has {module}"))
            .module(module),
        ));
    }
    Ok(None)
}

/// Whether an `alias` or `install` line loads another module of this kernel in place of one that it does
/// not have, as Debian's `nvidia` loads `nvidia-current`.
fn is_loaded_by_command(host: &Host, module: &str) -> Result<bool, HostError> {
    let configuration = ModprobeConfiguration::read(host)?;
    for target in configuration.aliased(module) {
        if find(host, target)? != Availability::Absent {
            return Ok(true);
        }
    }
    for load in configuration.loaded_instead(module) {
        if load.passes_options && find(host, &load.module)? != Availability::Absent {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When a file that is written now takes effect: a module that is in use is not reloaded before the
/// next boot.
///
/// # Errors
/// Any error from the host.
pub fn takes_effect(host: &Host, module: &str) -> Result<When, HostError> {
    let directory = of_loaded(module);
    let count = match host.read_text(format!("{directory}/refcnt")) {
        Ok(count) => count.trim().parse().unwrap_or(0),
        Err(error) if *error.kind() == HostErrorKind::Missing => 0_i64,
        Err(error) => return Err(error),
    };
    Ok(if count == 0 {
        When::Reload
    } else {
        When::Reboot
    })
}

/// As [`takes_effect`], for the value of a module that is expected of the file at `path`.
///
/// A module that is loaded was loaded in this boot. If this owner has written the file before, the
/// load should have brought the value, even where the module could be loaded again: the answer is
/// then [`When::Reboot`], with which a value that no reboot has brought is reported as overridden
/// and not as pending.
///
/// # Errors
/// Any error from the host.
pub fn takes_effect_from(at: &Planner<'_>, path: &str, module: &str) -> Result<When, Error> {
    let when = takes_effect(at.host(), module)?;
    let is_loaded = || at.host().exists(format!("{}/initstate", of_loaded(module)));
    if when == When::Reload && is_loaded()? {
        let file = AnyKnob::of(&ConfigFile::new(path)?);
        let changes = at.changes_in_effect().iter();
        let mut own = changes.filter(|change| change.is_own && change.knob == file);
        if own.next_back().is_some_and(|last| !last.is_of_this_boot) {
            return Ok(When::Reboot);
        }
    }
    Ok(when)
}
