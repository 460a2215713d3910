//! The planned changes, as data: print the plan for a dry run, store it for a review.

mod arrange;
mod builder;
mod declared;
mod device_link;
mod findings;
mod owned;
mod planner;
mod view;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use device_link::DeviceLink;
pub use owned::OwnedChange;
pub use planner::{Planner, Request};
pub(crate) use planner::{Refusal, Scope};
pub(crate) use view::Journalled;

use crate::any_knob::AnyKnob;
use crate::knob::Lifetime;
use crate::report::Finding;

/// Why a setting is requested.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Why {
    /// The reason, in one line.
    pub text: String,
    /// Why it looks wrong to an expert, if it does; `text` then says why it is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks_wrong: Option<String>,
    /// The source of the reason: a document, a measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The disadvantage of the setting.
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

    /// Adds why it looks wrong.
    #[must_use]
    pub fn looks_wrong(mut self, because: impl Into<String>) -> Self {
        self.looks_wrong = Some(because.into());
        self
    }

    /// Adds the source of the reason.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the disadvantage.
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
            f.write_str(" (intentional; see explain)")?;
        }
        Ok(())
    }
}

/// The event after which a value takes effect that cannot be set now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// The next boot.
    Reboot,
    /// The driver is reloaded, or the daemon restarted.
    Reload,
    /// The initramfs is rebuilt and booted.
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

/// How a request is treated that is unsupported on this host.
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

/// The state that a step starts from.
///
/// This is not an `Option`, because a knob whose state is `null` is known to be `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// The host shows this.
    Known(Value),
    /// An earlier step of the same plan resets it; it is read when the step is reached.
    #[serde(rename = "unsettled")]
    DependsOnEarlierStep,
}

impl Before {
    /// The state, if it is known.
    pub fn known(&self) -> Option<&Value> {
        match self {
            Self::Known(state) => Some(state),
            Self::DependsOnEarlierStep => None,
        }
    }
}

/// A side effect of a step: a knob that it resets, and the state saved from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedState {
    /// The knob that the step resets.
    pub knob: AnyKnob,
    /// The state to restore after the step is undone.
    pub state: Before,
    /// The device that the knob is on, if the step takes that device away: the state is restored
    /// once the device is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceLink>,
}

/// A change of one knob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// The part of the tuning that requests it, names joined by `/`.
    pub part: String,
    /// The knob to change.
    pub knob: AnyKnob,
    /// The state before the step.
    pub from: Before,
    /// What the knob showed when the step was planned, if an earlier step only makes the step possible. A
    /// journal that has lost the state before the step is reverted to this one. The state to set stands for a
    /// step without which nothing is lost: the knob showed that state, or an earlier step resets it and restores
    /// it. `None` if `from` is known, or if the knob did not exist yet or could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_from: Option<Value>,
    /// The state to set.
    pub to: Value,
    /// `from`, for people.
    pub from_text: String,
    /// `to`, for people.
    pub to_text: String,
    /// Why it is requested.
    pub why: Why,
    /// How long the change lasts if nobody reverts it.
    pub lifetime: Lifetime,
    /// An intermediate step for another one; verify does not check it.
    #[serde(default)]
    pub means: bool,
    /// How it is treated if it turns out to be unsupported.
    #[serde(default)]
    pub requirement: Requirement,
    /// Its side effects: the knobs that the kernel resets with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "disturbs")]
    pub side_effects: Vec<SavedState>,
    /// The identity of the device behind the knob's name, from
    /// [`Knob::identity`](crate::Knob::identity).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The network namespace that the knob or a side effect belongs to, as `net:[4026531840]`;
    /// `None` for other knobs, and in journals and plans of earlier releases. See
    /// [`Knob::is_of_network_namespace`](crate::Knob::is_of_network_namespace).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<String>,
}

/// Ordered steps, and the findings about the other requests.
#[must_use = "a plan changes nothing: pass it to Session::apply, or print it"]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The owner of the plan.
    pub owner: String,
    /// The changes to make, in this order.
    pub steps: Vec<Step>,
    /// The requests that need no step: as requested already, unsupported, pending, unreadable.
    pub findings: Vec<Finding>,
    /// Notes for people.
    pub notes: Vec<String>,
    /// Settings that are as requested because another owner has set them. Nothing is changed, but
    /// the journal records that they must stay when that owner reverts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Step>,
    /// The interrupted run that the next apply or revert recovers first.
    ///
    /// If there is one, the steps are provisional: they start from a host whose state is about to
    /// be reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<String>,
}

impl Plan {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
