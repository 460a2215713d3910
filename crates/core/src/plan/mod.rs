//! What will be done, as data: printing it is the dry run, storing it is the review.

mod arrange;
mod declared;
mod findings;
mod planner;
mod sight;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use planner::Refusal;
pub use planner::{Planner, Wish};
pub(crate) use sight::Journalled;

use crate::knob::{AnyKnob, Lifetime};
use crate::report::Finding;

/// Why somebody wants a knob turned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The reason, in one line.
    pub text: String,
    /// Why it looks wrong to one who knows the field, where it does; `text` then says why it is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks_wrong: Option<String>,
    /// Where the reason comes from: a document, a measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What one gives up for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<String>,
}

impl Why {
    /// A reason.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Says why it looks wrong.
    #[must_use]
    pub fn looks_wrong(mut self, because: impl Into<String>) -> Self {
        self.looks_wrong = Some(because.into());
        self
    }

    /// Names where the reason comes from.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says what one gives up for it.
    #[must_use]
    pub fn risk(mut self, risk: impl Into<String>) -> Self {
        self.risk = Some(risk.into());
        self
    }
}

impl<T: Into<String>> From<T> for Why {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.looks_wrong.is_some() {
            f.write_str(" (looks wrong, is right)")?;
        }
        Ok(())
    }
}

/// What must happen before a value takes effect that cannot be turned now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// The next boot.
    Reboot,
    /// The driver or daemon is loaded or started anew.
    Reload,
    /// The initramfs is made anew, and booted.
    Initramfs,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reboot => "reboot",
            Self::Reload => "reload",
            Self::Initramfs => "initramfs",
        })
    }
}

/// What becomes of a wish that does not apply on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// It is skipped and reported; under strict it is an error.
    #[default]
    Plain,
    /// It is an error.
    Required,
    /// It is skipped and reported, under strict too.
    Optional,
}

/// A state that a plan starts from.
///
/// Its own type and not an `Option`: a knob whose state is `null` is known to be
/// `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// The host shows this.
    Known(Value),
    /// An earlier step of the same plan resets it; it is read when its turn comes.
    Unsettled,
}

impl Before {
    /// The state, where it is known.
    pub fn known(&self) -> Option<&Value> {
        match self {
            Self::Known(state) => Some(state),
            Self::Unsettled => None,
        }
    }
}

/// A knob that a step disturbs, and the state it had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The disturbed knob.
    pub knob: AnyKnob,
    /// What it is put back to after the step is undone.
    pub state: Before,
}

/// One turn of one knob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The part of the tuning that wants it, names joined by `/`.
    pub part: String,
    /// What is turned.
    pub knob: AnyKnob,
    /// The state it starts from.
    pub from: Before,
    /// The state it is turned to.
    pub to: Value,
    /// `from` as a person reads it.
    pub from_text: String,
    /// `to` as a person reads it.
    pub to_text: String,
    /// Why.
    pub why: Why,
    /// What takes it back when nobody reverts it.
    pub lifetime: Lifetime,
    /// A means to another step's end; verify is silent about it.
    #[serde(default)]
    pub means: bool,
    /// What becomes of it when the host turns out to lack something.
    #[serde(default)]
    pub requirement: Requirement,
    /// What the kernel resets with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disturbs: Vec<Kept>,
    /// What tells the thing that is turned from another that later has its name, as
    /// [`Knob::identity`](crate::Knob::identity) says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// Ordered steps, and what was found beside them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Whose plan it is.
    pub owner: String,
    /// What will be turned, in this order.
    pub steps: Vec<Step>,
    /// The wishes that are no step: as wanted already, not applicable, pending, unreadable.
    pub findings: Vec<Finding>,
    /// What a person should know beside it.
    pub notes: Vec<String>,
    /// What is as wanted because another owner has turned it: nothing is turned, but the journal says
    /// that it is to stay so when that owner reverts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Step>,
    /// What an earlier run left open and the next apply or revert does first.
    ///
    /// While there is something, the steps are provisional: they start from a host
    /// that is about to be put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<String>,
}

impl Plan {
    /// Whether there is nothing to turn.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
