//! Why a request is unsupported on this host.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::any_knob::AnyKnob;

/// Why something is unsupported, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UnsupportedKind {
    /// This kernel does not have the knob.
    Missing,
    /// The knob exists but does not support this value: a module or an option is missing.
    ValueUnavailable,
    /// It can be read but not written.
    ReadOnly,
    /// It can be written only outside this namespace.
    NotInThisNamespace,
    /// It can be written but not read, so it could not be reverted.
    WriteOnly,
    /// The kernel does not allow changing it back, so it could not be reverted.
    OneWay,
    /// Setting it changes more than the knob (addresses, routes, sessions), which no revert
    /// restores, and nobody has consented to that.
    SideEffects,
    /// Its backend is missing: a daemon, a driver.
    #[serde(alias = "no-wire")]
    NoBackend,
    /// Another program manages it and would undo or refuse the change.
    Managed,
    /// It cannot be changed now but may be later. This refusal is not remembered.
    Busy,
    /// It exists only in a running kernel, and this root is an image.
    NotRunning,
    /// Another reason, found by the knob's crate; see `why`.
    Other,
}

/// Why a request is unsupported on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unsupported {
    /// The kind of reason, for programs.
    pub kind: UnsupportedKind,
    /// The reason, for people.
    pub why: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The kernel module that provides it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The knob and state that would make it supported; if a step of the plan sets these, the
    /// request becomes a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<(AnyKnob, Value)>,
}

impl Unsupported {
    /// A reason.
    pub fn new(kind: UnsupportedKind, why: impl Into<String>) -> Self {
        Self {
            kind,
            why: why.into(),
            hint: None,
            module: None,
            cure: None,
        }
    }

    /// Adds a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the kernel module that provides it.
    #[must_use]
    pub fn module(mut self, module: impl Into<String>) -> Self {
        self.module = Some(module.into());
        self
    }
}

impl Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
