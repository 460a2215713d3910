//! The record of a step in a journal, until it is reverted.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::JournalLocation;
use crate::any_knob::{AnyKnob, Key};
use crate::plan::{Before, Step};

/// A step that was done, or may have been, and is to be reverted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) apply: u64,
    pub(crate) boot: String,
    pub(crate) step: Step,
    /// Whether it is known to have been done.
    #[serde(rename = "turned")]
    pub(crate) changed: bool,
    /// What the kernel rounded the value to, if the knob's own rule does not cover it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shown: Option<Value>,
    /// Such roundings for the steps that were merged into this one: requested, shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rounded: Vec<(Value, Value)>,
    /// The states that the step left its side effects in, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Vec<Value>>,
    /// The states to restore the side effects to; the step itself is undone or about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undoing: Option<Vec<Value>>,
    /// Entries from this one on were added after `undoing` was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undoing_at: Option<u64>,
    /// The states that undoing the step left its side effects in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reset: Option<Vec<Value>>,
    /// The owner that passed it on when it reverted a step below one of this owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) giver: Option<Giver>,
    #[serde(skip, default = "volatile")]
    pub(crate) location: JournalLocation,
}

/// The origin of an entry that was passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Giver {
    pub(super) owner: String,
    /// The apply of that owner that it belonged to.
    pub(super) apply: u64,
    /// How often it has been passed on.
    pub(super) times: u32,
}

pub(super) fn volatile() -> JournalLocation {
    JournalLocation::Volatile
}

impl Entry {
    pub(crate) fn key(&self) -> Key {
        self.step.knob.key()
    }

    /// The state that it left its knob in.
    pub(crate) fn left(&self) -> &Value {
        self.shown.as_ref().unwrap_or(&self.step.to)
    }

    /// Whether it changes nothing and only records that its owner wants the knob to keep its state.
    pub(crate) fn is_hold(&self) -> bool {
        self.step.from.known() == Some(self.left())
    }

    /// The known roundings of the knob's values by the kernel: requested, shown.
    pub(crate) fn rules(&self) -> Vec<(Value, Value)> {
        let last = self.shown.iter();
        let last = last.map(|shown| (self.step.to.clone(), shown.clone()));
        self.rounded.iter().cloned().chain(last).collect()
    }

    /// The state before this entry of a knob, either its own or one of its side effects. `None` for
    /// any other knob.
    pub(crate) fn start_of(&self, knob: &AnyKnob) -> Option<&Before> {
        if self.step.knob == *knob {
            return Some(&self.step.from);
        }
        let mut side_effects = self.step.side_effects.iter();
        side_effects
            .find(|kept| kept.knob == *knob)
            .map(|kept| &kept.state)
    }

    pub(super) fn times_passed_on(&self) -> u32 {
        self.giver.as_ref().map_or(0, |giver| giver.times)
    }

    /// Whether it is an intermediate step for the end of the same apply and part.
    pub(crate) fn is_means_for(&self, end: &Self) -> bool {
        self.step.means && self.step.part == end.step.part && self.is_of_apply_of(end)
    }

    /// Whether both entries belong to the same apply.
    pub(crate) fn is_of_apply_of(&self, other: &Self) -> bool {
        (self.apply, &self.giver) == (other.apply, &other.giver)
    }
}
