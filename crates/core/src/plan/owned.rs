//! What the journals say is in effect, for a tuning that has to know it.

use serde::{Deserialize, Serialize};

use super::Step;
use crate::any_knob::AnyKnob;
use crate::knob::Lifetime;

/// A change that is in effect according to a journal, of this owner or another one.
///
/// The knob is data: its type need not be registered with the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OwnedChange {
    /// The owner of the journal.
    pub owner: String,
    /// The part of the owner's tuning that requested it, with the parts around it: `qos/uplink`.
    pub part: String,
    /// The knob.
    pub knob: AnyKnob,
    /// Whether the owner is that of this session.
    #[serde(default)]
    pub is_own: bool,
    /// Whether it is only an intermediate step for another change.
    pub is_intermediate: bool,
    /// How long it lasts.
    pub lifetime: Lifetime,
    /// Whether it was made since the system was booted. Only a change on disk can be older.
    pub is_of_this_boot: bool,
}

impl OwnedChange {
    pub(crate) fn of(owner: &str, is_own: bool, step: &Step, is_of_this_boot: bool) -> Self {
        Self {
            owner: owner.to_owned(),
            part: step.part.clone(),
            knob: step.knob.clone(),
            is_own,
            is_intermediate: step.means,
            lifetime: step.lifetime,
            is_of_this_boot,
        }
    }

    /// The outermost part, as `--only` takes it; empty if the tuning has no parts.
    #[must_use]
    pub fn outermost_part(&self) -> &str {
        self.part.split('/').next().unwrap_or_default()
    }
}
