//! Knobs: the smallest units of host state that can be read, set and reverted.

use std::fmt::{Debug, Display};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::any_knob::{AnyKnob, show_value};
use crate::host::{Host, HostError};
use crate::unsupported::Unsupported;

/// How long a change lasts if nobody reverts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// Until the next reboot: the state is in the running kernel.
    Boot,
    /// Across reboots: the state is on a disk.
    Disk,
}

/// A type of knob: something that can be read, set and reverted.
///
/// A value of the implementing type *names* one knob (a sysctl, a queue attribute, a config file);
/// [`State`](Self::State) is what it can be set to. Absence is a state, not an error. Whatever the
/// kernel resets as a whole is one knob: `vm.dirty_bytes` and `vm.dirty_ratio` exclude each other,
/// so they are one knob with two kinds of state.
///
/// The engine stores both as JSON in its journal, which outlives the program: `NAME` and the
/// serialized forms are a file format.
pub trait Knob: Debug + Display + Clone + Serialize + DeserializeOwned + 'static {
    /// The name of the type in journals: stable, and never reused for another type.
    const NAME: &'static str;

    /// Whether a reboot undoes a change.
    const LIFETIME: Lifetime = Lifetime::Boot;

    /// How long the kernel may take to show a change.
    const SETTLE: Duration = Duration::ZERO;

    /// Whether devices of this type can be renamed, so that [`renamed`](Self::renamed) finds them.
    const CAN_BE_RENAMED: bool = false;

    /// What the status says of a change if another device has the name by now, because the
    /// [`identity`](Self::identity) differs.
    const REPLACED: &'static str = "another device has its name now";

    /// Whether a program makes the state from what other knobs set, as a boot menu is made from its
    /// configuration. A revert comes to such knobs last, so that the program finds the configuration
    /// as it was.
    const IS_GENERATED: bool = false;

    /// What the knob can be set to, in canonical form: equal states compare equal.
    type State: Debug + Clone + PartialEq + Serialize + DeserializeOwned;

    /// What the host shows.
    ///
    /// # Errors
    /// If the host does not provide it. A knob that does not exist reads as a state.
    fn read(&self, host: &Host) -> Result<Self::State, HostError>;

    /// Sets the knob, with at most one change that is visible in the kernel.
    ///
    /// The engine compares first and does not write an equal value again.
    ///
    /// # Errors
    /// If the host refuses. A part may have been applied: see [`is_partial_write`](Self::is_partial_write).
    fn set(&self, host: &mut Host, to: &Self::State) -> Result<(), HostError>;

    /// Whether `seen` satisfies a request for `wanted`: rounding and aliases are decided here.
    fn satisfies(&self, seen: &Self::State, wanted: &Self::State) -> bool {
        seen == wanted
    }

    /// Whether the kernel may have successfully changed `wanted` to `seen` by a rule that is not
    /// known here, such as rounding or clamping. If so, `seen` counts as the value that was set,
    /// and is reverted.
    ///
    /// False if `seen` means that less was granted than requested: then the step fails.
    fn rounds(&self, seen: &Self::State, wanted: &Self::State) -> bool {
        let _ = (seen, wanted);
        true
    }

    /// Why setting the knob to `to` is unsupported on this host, or `None` if it is supported.
    ///
    /// # Errors
    /// If the host does not provide the information.
    fn unsupported(&self, host: &Host, to: &Self::State) -> Result<Option<Unsupported>, HostError> {
        let _ = (host, to);
        Ok(None)
    }

    /// The knobs that the kernel resets as a side effect when this one is set to `to`.
    ///
    /// Their states are saved before the change and restored after it is undone.
    ///
    /// # Errors
    /// If the host does not provide the information.
    fn side_effects(&self, host: &Host, to: &Self::State) -> Result<Vec<AnyKnob>, HostError> {
        let _ = (host, to);
        Ok(Vec::new())
    }

    /// The knobs whose values are lost for good when this one is set to `to`: what is stored on a
    /// device that is removed, or attached to it.
    ///
    /// Unlike the values of [`side_effects`](Self::side_effects), they cannot be restored. If a
    /// revert leaves one of them, because another process has set it or for any other reason, this
    /// knob is left as well unless the revert is forced.
    ///
    /// # Errors
    /// If the host does not provide the information.
    fn destroys(&self, host: &Host, to: &Self::State) -> Result<Vec<AnyKnob>, HostError> {
        let _ = (host, to);
        Ok(Vec::new())
    }

    /// Whether `seen` is what an interrupted change from `from` to `to` leaves behind.
    ///
    /// Such a partial write is ours to revert. A state that is not recognised here is taken for
    /// another process's and is left alone.
    fn is_partial_write(&self, seen: &Self::State, from: &Self::State, to: &Self::State) -> bool {
        let _ = (seen, from, to);
        false
    }

    /// The state to which a change from `seen` is reverted: `seen` itself, unless
    /// [`set`](Self::set) refuses to set it. Then it is the state before the damage, if that can
    /// be derived from `seen`, and `None` if it cannot.
    ///
    /// Asked when a step is planned: a state that cannot be set is never an original.
    fn original(&self, seen: &Self::State) -> Option<Self::State> {
        Some(seen.clone())
    }

    /// Whether `seen` means that the device itself no longer exists (a disk was unplugged, a module
    /// unloaded), so that there is nothing to revert.
    ///
    /// Not for knobs for which absence is a state that can be set.
    fn is_gone(&self, seen: &Self::State) -> bool {
        let _ = seen;
        false
    }

    /// The knobs that must exist for this one, such as the directories above a file.
    ///
    /// If one of them cannot be reverted because it is in use, and another owner has a later change of
    /// this knob, it stays for that owner, who reverts it instead.
    fn rests_on(&self) -> Vec<AnyKnob> {
        Vec::new()
    }

    /// Whether the knob is one per network namespace: the same name in another namespace is another
    /// knob, or none.
    ///
    /// The namespace in which it is set is recorded, and it is reverted only there. `Host` backends
    /// must act in the network namespace of the calling thread.
    fn is_of_network_namespace(&self) -> bool {
        false
    }

    /// Why `seen` does not tell who set the knob last: its value is kept but hidden, as that of a
    /// CPU that is offline. It cannot be reverted in that state, and no other process has set it.
    fn hidden(&self, seen: &Self::State) -> Option<String> {
        let _ = seen;
        None
    }

    /// Why it cannot be told what became of a change to `to`: what was changed is not here now, and may
    /// come back, as a file of a file system that is not mounted. `None` if the state that the knob shows
    /// tells it. `identity` is the [`identity`](Self::identity) at the time of the change.
    ///
    /// Asked before a revert. The step is then left and stays in the journal, unless the user forces
    /// the revert: then it is given up.
    ///
    /// # Errors
    /// If the host does not provide the information.
    fn out_of_reach(
        &self,
        host: &Host,
        identity: Option<&str>,
        to: &Self::State,
    ) -> Result<Option<String>, HostError> {
        let _ = (host, identity, to);
        Ok(None)
    }

    /// The identity of the device instance behind this name, for telling it from another that has
    /// the same name later, such as a device that was unplugged and plugged in again. `None` if the
    /// name is enough or no device is there.
    ///
    /// It is saved with every change. If it differs at the time of a revert, the change is gone
    /// with the old device, and the current value was never ours: nothing is reverted.
    ///
    /// # Errors
    /// If the host does not provide it.
    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        let _ = host;
        Ok(None)
    }

    /// Whether two identities belong to the same device. An identity that an earlier version wrote
    /// can contain less than a new one.
    fn is_same_thing(identity: &str, other: &str) -> bool {
        identity == other
    }

    /// The same knob of the device that had this [`identity`](Self::identity) when it was changed,
    /// if that device has another name now, such as a renamed network interface.
    ///
    /// Asked only for types that [can be renamed](Self::CAN_BE_RENAMED), and only if another
    /// device, or none, has the name. `None` if the device is gone.
    ///
    /// # Errors
    /// If the host does not provide it.
    fn renamed(&self, host: &Host, identity: &str) -> Result<Option<Self>, HostError> {
        let _ = (host, identity);
        Ok(None)
    }

    /// A note for people after a revert to `from`: that the device did not return to its previous
    /// condition, for a reason that is not a state of this knob.
    ///
    /// Asked after the revert. It does not influence whether the knob is reverted.
    fn revert_note(&self, host: &Host, from: &Self::State) -> Option<String> {
        let _ = (host, from);
        None
    }

    /// Formats a state for people; by default as JSON, strings without quotes.
    fn show(&self, state: &Self::State) -> String {
        match serde_json::to_value(state) {
            Ok(value) => show_value(&value),
            Err(_) => format!("{state:?}"),
        }
    }
}

impl AnyKnob {
    /// Converts a knob to data.
    pub fn of<K: Knob>(knob: &K) -> Self {
        Self {
            kind: K::NAME.to_owned(),
            // A knob that cannot be serialized is a bug in its crate. As Null it cannot be
            // deserialized either, and the registry reports that before anything is changed.
            id: serde_json::to_value(knob).unwrap_or(Value::Null),
            text: knob.to_string(),
        }
    }
}

impl Unsupported {
    /// Names the knob, and its state, that would make it supported.
    #[must_use]
    pub fn cured_by<K: Knob>(mut self, knob: &K, state: &K::State) -> Self {
        if let Ok(state) = serde_json::to_value(state) {
            self.cure = Some((AnyKnob::of(knob), state));
        }
        self
    }
}
