//! Knobs: the smallest units of host state that can be read, set and reverted.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::host::{Host, HostError};

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

    /// Why `seen` does not tell who set the knob last: its value is kept but hidden, as that of a
    /// CPU that is offline. It cannot be reverted in that state, and no other process has set it.
    fn hidden(&self, seen: &Self::State) -> Option<String> {
        let _ = seen;
        None
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

pub(crate) fn show_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

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

    /// Names the knob, and its state, that would make it supported.
    #[must_use]
    pub fn cured_by<K: Knob>(mut self, knob: &K, state: &K::State) -> Self {
        if let Ok(state) = serde_json::to_value(state) {
            self.cure = Some((AnyKnob::of(knob), state));
        }
        self
    }
}

impl Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// A knob of any registered type, as data, in plans and journals.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnyKnob {
    /// [`Knob::NAME`] of its type.
    pub kind: String,
    /// The value that names the knob, as JSON.
    pub id: Value,
    /// The knob, for people.
    pub text: String,
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

    pub(crate) fn key(&self) -> Key {
        Key(format!("{}:{}", self.kind, self.id))
    }
}

impl PartialEq for AnyKnob {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.id == other.id
    }
}

impl Eq for AnyKnob {}

impl Display for AnyKnob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The identity of a knob: type and id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(String);

type ReadOne = fn(&Value, &Host) -> Result<Value, HostError>;
type SetState = fn(&Value, &mut Host, &Value) -> Result<(), HostError>;

/// A registered knob type, its methods over JSON.
#[derive(Clone, Copy)]
pub(crate) struct KnobKind {
    type_id: TypeId,
    pub(crate) lifetime: Lifetime,
    pub(crate) settle: Duration,
    pub(crate) can_be_renamed: bool,
    pub(crate) is_same_thing: fn(&str, &str) -> bool,
    read: ReadOne,
    set: SetState,
    satisfies: fn(&Value, &Value, &Value) -> bool,
    rounds: fn(&Value, &Value, &Value) -> bool,
    unsupported: fn(&Value, &Host, &Value) -> Result<Option<Unsupported>, HostError>,
    side_effects: fn(&Value, &Host, &Value) -> Result<Vec<AnyKnob>, HostError>,
    is_partial_write: fn(&Value, &Value, &Value, &Value) -> bool,
    original: fn(&Value, &Value) -> Option<Value>,
    is_gone: fn(&Value, &Value) -> bool,
    hidden: fn(&Value, &Value) -> Option<String>,
    identity: fn(&Value, &Host) -> Result<Option<String>, HostError>,
    renamed: fn(&Value, &Host, &str) -> Result<Option<AnyKnob>, HostError>,
    revert_note: fn(&Value, &Host, &Value) -> Option<String>,
    show: fn(&Value, &Value) -> String,
}

impl KnobKind {
    fn of<K: Knob>() -> Self {
        Self {
            type_id: TypeId::of::<K>(),
            lifetime: K::LIFETIME,
            settle: K::SETTLE,
            can_be_renamed: K::CAN_BE_RENAMED,
            is_same_thing: K::is_same_thing,
            read: |id, host| {
                let state = typed::<K>(id)?.read(host)?;
                serde_json::to_value(state)
                    .map_err(|error| HostError::malformed(K::NAME, error.to_string()))
            },
            set: |id, host, to| {
                let knob = typed::<K>(id)?;
                let to = state::<K>(to)?;
                knob.set(host, &to)
            },
            satisfies: |id, seen, wanted| match (
                typed::<K>(id),
                state::<K>(seen),
                state::<K>(wanted),
            ) {
                (Ok(knob), Ok(seen), Ok(wanted)) => knob.satisfies(&seen, &wanted),
                _ => false,
            },
            rounds: |id, seen, wanted| match (typed::<K>(id), state::<K>(seen), state::<K>(wanted))
            {
                (Ok(knob), Ok(seen), Ok(wanted)) => knob.rounds(&seen, &wanted),
                _ => false,
            },
            unsupported: |id, host, to| typed::<K>(id)?.unsupported(host, &state::<K>(to)?),
            side_effects: |id, host, to| typed::<K>(id)?.side_effects(host, &state::<K>(to)?),
            is_partial_write: |id, seen, from, to| match (
                typed::<K>(id),
                state::<K>(seen),
                state::<K>(from),
                state::<K>(to),
            ) {
                (Ok(knob), Ok(seen), Ok(from), Ok(to)) => knob.is_partial_write(&seen, &from, &to),
                _ => false,
            },
            original: |id, seen| match (typed::<K>(id), state::<K>(seen)) {
                (Ok(knob), Ok(state)) => match knob.original(&state) {
                    Some(original) if original == state => Some(seen.clone()),
                    original => serde_json::to_value(original?).ok(),
                },
                _ => None,
            },
            is_gone: |id, seen| match (typed::<K>(id), state::<K>(seen)) {
                (Ok(knob), Ok(seen)) => knob.is_gone(&seen),
                _ => false,
            },
            hidden: |id, seen| match (typed::<K>(id), state::<K>(seen)) {
                (Ok(knob), Ok(seen)) => knob.hidden(&seen),
                _ => None,
            },
            identity: |id, host| typed::<K>(id)?.identity(host),
            renamed: |id, host, identity| {
                let renamed = typed::<K>(id)?.renamed(host, identity)?;
                Ok(renamed.as_ref().map(AnyKnob::of))
            },
            revert_note: |id, host, from| match (typed::<K>(id), state::<K>(from)) {
                (Ok(knob), Ok(from)) => knob.revert_note(host, &from),
                _ => None,
            },
            show: |id, value| match (typed::<K>(id), state::<K>(value)) {
                (Ok(knob), Ok(state)) => knob.show(&state),
                _ => show_value(value),
            },
        }
    }

    pub(crate) fn read(&self, knob: &AnyKnob, host: &Host) -> Result<Value, HostError> {
        (self.read)(&knob.id, host)
    }

    pub(crate) fn set(&self, knob: &AnyKnob, host: &mut Host, to: &Value) -> Result<(), HostError> {
        (self.set)(&knob.id, host, to)
    }

    pub(crate) fn satisfies(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool {
        seen == wanted || (self.satisfies)(&knob.id, seen, wanted)
    }

    pub(crate) fn rounds(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool {
        (self.rounds)(&knob.id, seen, wanted)
    }

    pub(crate) fn unsupported(
        &self,
        knob: &AnyKnob,
        host: &Host,
        to: &Value,
    ) -> Result<Option<Unsupported>, HostError> {
        (self.unsupported)(&knob.id, host, to)
    }

    pub(crate) fn side_effects(
        &self,
        knob: &AnyKnob,
        host: &Host,
        to: &Value,
    ) -> Result<Vec<AnyKnob>, HostError> {
        (self.side_effects)(&knob.id, host, to)
    }

    pub(crate) fn is_partial_write(
        &self,
        knob: &AnyKnob,
        seen: &Value,
        from: &Value,
        to: &Value,
    ) -> bool {
        (self.is_partial_write)(&knob.id, seen, from, to)
    }

    pub(crate) fn original(&self, knob: &AnyKnob, seen: &Value) -> Option<Value> {
        (self.original)(&knob.id, seen)
    }

    pub(crate) fn is_gone(&self, knob: &AnyKnob, seen: &Value) -> bool {
        (self.is_gone)(&knob.id, seen)
    }

    pub(crate) fn hidden(&self, knob: &AnyKnob, seen: &Value) -> Option<String> {
        (self.hidden)(&knob.id, seen)
    }

    pub(crate) fn identity(
        &self,
        knob: &AnyKnob,
        host: &Host,
    ) -> Result<Option<String>, HostError> {
        (self.identity)(&knob.id, host)
    }

    pub(crate) fn renamed(
        &self,
        knob: &AnyKnob,
        host: &Host,
        identity: &str,
    ) -> Result<Option<AnyKnob>, HostError> {
        (self.renamed)(&knob.id, host, identity)
    }

    pub(crate) fn revert_note(&self, knob: &AnyKnob, host: &Host, from: &Value) -> Option<String> {
        (self.revert_note)(&knob.id, host, from)
    }

    pub(crate) fn show(&self, knob: &AnyKnob, state: &Value) -> String {
        (self.show)(&knob.id, state)
    }
}

fn typed<K: Knob>(id: &Value) -> Result<K, HostError> {
    K::deserialize(id)
        .map_err(|error| HostError::malformed(format!("the {} {id}", K::NAME), error.to_string()))
}

fn state<K: Knob>(value: &Value) -> Result<K::State, HostError> {
    K::State::deserialize(value).map_err(|error| {
        HostError::malformed(format!("the {} state {value}", K::NAME), error.to_string())
    })
}

/// The knob types that a program knows, by name.
///
/// Every crate has one `fn knobs(registry: &mut Registry)`. A tuning with an unregistered type
/// fails when it is planned, not after a crash.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, KnobKind>,
    clash: Option<&'static str>,
}

impl Registry {
    /// Registers a knob type. If two types have the same name, every plan that uses it fails.
    pub fn add<K: Knob>(&mut self) {
        let kind = KnobKind::of::<K>();
        if let Some(known) = self.kinds.insert(K::NAME, kind)
            && known.type_id != kind.type_id
        {
            self.clash = Some(K::NAME);
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.kinds.keys().map(|name| (*name).to_owned()).collect()
    }

    /// Whether a state satisfies a request, by the rule of the type; arguments: knob, seen, wanted.
    pub(crate) fn satisfies(&self) -> impl Fn(&AnyKnob, &Value, &Value) -> bool + '_ {
        |knob, seen, wanted| {
            let kind = self.find(&knob.kind);
            kind.is_ok_and(|kind| kind.satisfies(knob, seen, wanted))
        }
    }

    /// The state that a knob of the host shows, if it can be read.
    pub(crate) fn shows<'a>(&'a self, host: &'a Host) -> impl Fn(&AnyKnob) -> Option<Value> + 'a {
        |knob| self.find(&knob.kind).ok()?.read(knob, host).ok()
    }

    pub(crate) fn find(&self, name: &str) -> Result<KnobKind, Error> {
        let kind = self.kinds.get(name).filter(|_| self.clash != Some(name));
        kind.copied().ok_or_else(|| Error::Unregistered {
            name: name.to_owned(),
        })
    }

    /// The registered type `K`, checked to be this very type and not another of the same name.
    pub(crate) fn kind_of<K: Knob>(&self) -> Result<KnobKind, Error> {
        let kind = self.find(K::NAME)?;
        if kind.type_id == TypeId::of::<K>() {
            Ok(kind)
        } else {
            Err(Error::Unregistered {
                name: K::NAME.to_owned(),
            })
        }
    }
}

impl Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}
