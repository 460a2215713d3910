//! What a journal holds of one step, until it is put back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Place;
use crate::knob::{AnyKnob, Key};
use crate::plan::{Before, Step};

/// One step that was turned, or may have been, and is to be put back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) apply: u64,
    pub(crate) boot: String,
    pub(crate) step: Step,
    /// Whether it is known to have been turned.
    pub(crate) turned: bool,
    /// What the kernel made of it, where that is not what the knob's own rule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shown: Option<Value>,
    /// What it made of what the steps asked for that have become one with this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rounded: Vec<(Value, Value)>,
    /// What the turn left of the knobs it disturbs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Vec<Value>>,
    /// What the disturbed knobs are put back to; the turn back is made, or about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undoing: Option<Vec<Value>>,
    /// The entries from this one on came after that was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undoing_at: Option<u64>,
    /// What the turn back left of the knobs it disturbs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reset: Option<Vec<Value>>,
    /// Which owner passed it on, when that one reverted what stands beneath a step of this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) giver: Option<Giver>,
    #[serde(skip, default = "boot_place")]
    pub(crate) place: Place,
}

/// Where an entry that was passed on came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Giver {
    pub(super) owner: String,
    /// The apply of that owner's that it belonged to.
    pub(super) apply: u64,
    /// How often it has been passed on.
    pub(super) times: u32,
}

pub(super) fn boot_place() -> Place {
    Place::Boot
}

impl Entry {
    pub(crate) fn key(&self) -> Key {
        self.step.knob.key()
    }

    /// What it left of its knob.
    pub(crate) fn left(&self) -> &Value {
        self.shown.as_ref().unwrap_or(&self.step.to)
    }

    /// Whether it changes nothing: it says only that its owner wants the knob to stay so.
    pub(crate) fn is_hold(&self) -> bool {
        self.step.from.known() == Some(self.left())
    }

    /// What the kernel is known to make of what its knob is asked for: asked for, shown.
    pub(crate) fn rules(&self) -> Vec<(Value, Value)> {
        let last = self.shown.iter();
        let last = last.map(|shown| (self.step.to.clone(), shown.clone()));
        self.rounded.iter().cloned().chain(last).collect()
    }

    /// What a knob showed before this entry was turned: its own, or one that it disturbs. `None`
    /// where this entry is about neither.
    pub(crate) fn start_of(&self, knob: &AnyKnob) -> Option<&Before> {
        if self.step.knob == *knob {
            return Some(&self.step.from);
        }
        let mut disturbs = self.step.disturbs.iter();
        disturbs
            .find(|kept| kept.knob == *knob)
            .map(|kept| &kept.state)
    }

    pub(super) fn times_passed_on(&self) -> u32 {
        self.giver.as_ref().map_or(0, |giver| giver.times)
    }

    /// Whether it is of the same apply as another.
    pub(crate) fn is_of_apply_of(&self, other: &Self) -> bool {
        (self.apply, &self.giver) == (other.apply, &other.giver)
    }
}
