//! The smallest thing of a host that can be read, turned and turned back.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, HostError};
use crate::host::Host;

/// What takes a turned knob back when nobody reverts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// A reboot takes it back: it lives in the running kernel.
    Boot,
    /// It stays: it lives on a disk.
    Disk,
}

/// One kind of thing that can be read, turned and turned back.
///
/// The value of the implementing type *names* the knob (one sysctl, one queue
/// attribute, one config file); [`State`](Self::State) is what it can be turned
/// to. Absence is a state, not an error. Whatever the kernel resets as a whole
/// is one knob: `vm.dirty_bytes` and `vm.dirty_ratio` exclude each other, so they
/// are one knob with two kinds of state.
///
/// The engine keeps both as JSON in its journal, which outlives the program:
/// `NAME` and the serialized forms are a file format.
pub trait Knob: Debug + Display + Clone + Serialize + DeserializeOwned + 'static {
    /// The kind's name in journals: stable, and never reused for something else.
    const NAME: &'static str;

    /// Whether a reboot takes a turn back.
    const LIFETIME: Lifetime = Lifetime::Boot;

    /// How long the kernel may take to show a turn.
    const SETTLE: Duration = Duration::ZERO;

    /// Whether things of this kind can get another name, and [`renamed`](Self::renamed) finds them.
    const CAN_BE_RENAMED: bool = false;

    /// What the knob can be turned to, in canonical form: equal states compare equal.
    type State: Debug + Clone + PartialEq + Serialize + DeserializeOwned;

    /// What the host shows.
    ///
    /// # Errors
    /// Where the host would not say. A knob that is not there reads as a state.
    fn read(&self, host: &Host) -> Result<Self::State, HostError>;

    /// Turns the knob, with at most one change that the kernel can show.
    ///
    /// The engine has compared first: an equal value is not written again.
    ///
    /// # Errors
    /// Where the host refused. A part may have landed: see [`torn`](Self::torn).
    fn turn(&self, host: &mut Host, to: &Self::State) -> Result<(), HostError>;

    /// Whether `seen` is what asking for `wanted` gives: rounding and aliases are decided here.
    fn counts_as(&self, seen: &Self::State, wanted: &Self::State) -> bool {
        seen == wanted
    }

    /// Whether the kernel may have made `seen` of `wanted` by a rule that is not known here, with
    /// success: it rounds, it clamps. Then `seen` is what was set, and is taken back.
    ///
    /// Not where `seen` says that less was had than was asked for: then the step fails.
    fn rounds(&self, seen: &Self::State, wanted: &Self::State) -> bool {
        let _ = (seen, wanted);
        true
    }

    /// Why turning to `to` does not apply on this host, or `None` where it does.
    ///
    /// # Errors
    /// Where the host would not say.
    fn lacks(&self, host: &Host, to: &Self::State) -> Result<Option<Lack>, HostError> {
        let _ = (host, to);
        Ok(None)
    }

    /// The knobs that the kernel resets when this one is turned to `to`.
    ///
    /// They are kept before the turn and put back after it is undone.
    ///
    /// # Errors
    /// Where the host would not say.
    fn disturbs(&self, host: &Host, to: &Self::State) -> Result<Vec<AnyKnob>, HostError> {
        let _ = (host, to);
        Ok(Vec::new())
    }

    /// Whether `seen` is what a turn from `from` to `to` leaves when it is cut short.
    ///
    /// A torn state is ours to put back. One that is not recognised here counts
    /// as somebody else's and is left alone.
    fn torn(&self, seen: &Self::State, from: &Self::State, to: &Self::State) -> bool {
        let _ = (seen, from, to);
        false
    }

    /// The state that a change from `seen` is taken back to: `seen` itself, unless
    /// [`turn`](Self::turn) refuses to make it. Then it is what was there before the damage, where
    /// that can be told from `seen`, and `None` where it cannot.
    ///
    /// Asked when a step is planned: a state that nothing can be put back to is never an original.
    fn original(&self, seen: &Self::State) -> Option<Self::State> {
        Some(seen.clone())
    }

    /// Whether `seen` says that the thing itself is no longer there (a disk unplugged, a module
    /// unloaded), so that there is nothing left to put back.
    ///
    /// Not for knobs whose absence is one of the states they are turned to.
    fn gone(&self, seen: &Self::State) -> bool {
        let _ = seen;
        false
    }

    /// Why `seen` does not say who has set the knob last: its value is kept and not shown, as that
    /// of a processor that is offline. Nothing can be put back while it is so, and nobody else has
    /// set it.
    fn hidden(&self, seen: &Self::State) -> Option<String> {
        let _ = seen;
        None
    }

    /// What tells the very thing that has this knob from another that later has its name: a device
    /// that was pulled out and put in again. `None` where the name is enough, or nothing is there.
    ///
    /// It is kept with every turn. Where it is another by the time of a revert, what was turned
    /// went with the thing that has gone, and what shows now was never ours: nothing is put back.
    ///
    /// # Errors
    /// Where the host would not say.
    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        let _ = host;
        Ok(None)
    }

    /// Whether two identities are of the same thing. One that an earlier version has written down
    /// can say less than it would now.
    fn is_same_thing(identity: &str, other: &str) -> bool {
        identity == other
    }

    /// The same knob of the thing that had this [`identity`](Self::identity) when it was turned,
    /// where that thing has another name by now: a link that was renamed.
    ///
    /// Asked only of kinds that [can be renamed](Self::CAN_BE_RENAMED), and only where another
    /// thing, or none, has the name. `None` where the thing has gone.
    ///
    /// # Errors
    /// Where the host would not say.
    fn renamed(&self, host: &Host, identity: &str) -> Result<Option<Self>, HostError> {
        let _ = (host, identity);
        Ok(None)
    }

    /// What a person should know who has this put back to `from`: that the way back leads
    /// somewhere else than it came from, by something that is no state of this knob.
    ///
    /// Asked after it was put back. No part of the decision whether it is.
    fn remark(&self, host: &Host, from: &Self::State) -> Option<String> {
        let _ = (host, from);
        None
    }

    /// A state as a person reads it; by default its JSON, a string without its quotes.
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

/// The kind of thing that is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LackKind {
    /// This kernel has no such knob.
    Missing,
    /// The knob is here, this value is not: a module or an option is missing.
    ValueUnavailable,
    /// It can be read and not written.
    ReadOnly,
    /// It can be written only outside this namespace.
    NotInThisNamespace,
    /// It can be written and not read: there would be no way back.
    WriteOnly,
    /// The kernel does not take it back: there would be no way back.
    OneWay,
    /// It changes more than the knob (addresses, routes, sessions), which no revert restores, and
    /// nobody has consented to that.
    SideEffects,
    /// The transport to it is not there: a daemon, a driver.
    NoWire,
    /// Something else manages it, and would undo or refuse the change.
    Managed,
    /// It cannot be turned just now, and can be later: a refusal that is not remembered.
    Busy,
    /// It lives in the running kernel only, and this root is an image.
    NotRunning,
    /// The knob's crate found another reason; `why` says which.
    Other,
}

/// Why a wish does not apply on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// What kind of thing is lacking, for a program.
    pub kind: LackKind,
    /// The reason, for a person.
    pub why: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The kernel module that has it, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The knob and state that cure it; when a step of the plan turns it so, the wish becomes a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<(AnyKnob, Value)>,
}

impl Lack {
    /// A reason.
    pub fn new(kind: LackKind, why: impl Into<String>) -> Self {
        Self {
            kind,
            why: why.into(),
            hint: None,
            module: None,
            cure: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the kernel module that has it.
    #[must_use]
    pub fn module(mut self, module: impl Into<String>) -> Self {
        self.module = Some(module.into());
        self
    }

    /// Names the knob that cures it, and the state that does.
    #[must_use]
    pub fn cured_by<K: Knob>(mut self, knob: &K, state: &K::State) -> Self {
        if let Ok(state) = serde_json::to_value(state) {
            self.cure = Some((AnyKnob::of(knob), state));
        }
        self
    }
}

impl Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// A knob of some registered kind, as data: what plans and journals hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnyKnob {
    /// [`Knob::NAME`] of its kind.
    pub kind: String,
    /// The knob's own value as JSON.
    pub id: Value,
    /// The knob as a person reads it.
    pub text: String,
}

impl AnyKnob {
    /// A knob as data.
    pub fn of<K: Knob>(knob: &K) -> Self {
        Self {
            kind: K::NAME.to_owned(),
            // A knob that cannot be serialized would be a defect of its crate; as Null it
            // cannot be read back either, and the registry says so before anything is turned.
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

/// What tells two knobs apart: kind and id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(String);

type ReadOne = fn(&Value, &Host) -> Result<Value, HostError>;
type TurnOne = fn(&Value, &mut Host, &Value) -> Result<(), HostError>;

/// One registered kind of knob, its methods over JSON.
#[derive(Clone, Copy)]
pub(crate) struct KnobKind {
    type_id: TypeId,
    pub(crate) lifetime: Lifetime,
    pub(crate) settle: Duration,
    pub(crate) can_be_renamed: bool,
    pub(crate) is_same_thing: fn(&str, &str) -> bool,
    read: ReadOne,
    turn: TurnOne,
    counts_as: fn(&Value, &Value, &Value) -> bool,
    rounds: fn(&Value, &Value, &Value) -> bool,
    lacks: fn(&Value, &Host, &Value) -> Result<Option<Lack>, HostError>,
    disturbs: fn(&Value, &Host, &Value) -> Result<Vec<AnyKnob>, HostError>,
    torn: fn(&Value, &Value, &Value, &Value) -> bool,
    original: fn(&Value, &Value) -> Option<Value>,
    gone: fn(&Value, &Value) -> bool,
    hidden: fn(&Value, &Value) -> Option<String>,
    identity: fn(&Value, &Host) -> Result<Option<String>, HostError>,
    renamed: fn(&Value, &Host, &str) -> Result<Option<AnyKnob>, HostError>,
    remark: fn(&Value, &Host, &Value) -> Option<String>,
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
            turn: |id, host, to| {
                let knob = typed::<K>(id)?;
                let to = state::<K>(to)?;
                knob.turn(host, &to)
            },
            counts_as: |id, seen, wanted| match (
                typed::<K>(id),
                state::<K>(seen),
                state::<K>(wanted),
            ) {
                (Ok(knob), Ok(seen), Ok(wanted)) => knob.counts_as(&seen, &wanted),
                _ => false,
            },
            rounds: |id, seen, wanted| match (typed::<K>(id), state::<K>(seen), state::<K>(wanted))
            {
                (Ok(knob), Ok(seen), Ok(wanted)) => knob.rounds(&seen, &wanted),
                _ => false,
            },
            lacks: |id, host, to| typed::<K>(id)?.lacks(host, &state::<K>(to)?),
            disturbs: |id, host, to| typed::<K>(id)?.disturbs(host, &state::<K>(to)?),
            torn: |id, seen, from, to| match (
                typed::<K>(id),
                state::<K>(seen),
                state::<K>(from),
                state::<K>(to),
            ) {
                (Ok(knob), Ok(seen), Ok(from), Ok(to)) => knob.torn(&seen, &from, &to),
                _ => false,
            },
            original: |id, seen| match (typed::<K>(id), state::<K>(seen)) {
                (Ok(knob), Ok(state)) => match knob.original(&state) {
                    Some(original) if original == state => Some(seen.clone()),
                    original => serde_json::to_value(original?).ok(),
                },
                _ => None,
            },
            gone: |id, seen| match (typed::<K>(id), state::<K>(seen)) {
                (Ok(knob), Ok(seen)) => knob.gone(&seen),
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
            remark: |id, host, from| match (typed::<K>(id), state::<K>(from)) {
                (Ok(knob), Ok(from)) => knob.remark(host, &from),
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

    pub(crate) fn turn(
        &self,
        knob: &AnyKnob,
        host: &mut Host,
        to: &Value,
    ) -> Result<(), HostError> {
        (self.turn)(&knob.id, host, to)
    }

    pub(crate) fn counts_as(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool {
        seen == wanted || (self.counts_as)(&knob.id, seen, wanted)
    }

    pub(crate) fn rounds(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool {
        (self.rounds)(&knob.id, seen, wanted)
    }

    pub(crate) fn lacks(
        &self,
        knob: &AnyKnob,
        host: &Host,
        to: &Value,
    ) -> Result<Option<Lack>, HostError> {
        (self.lacks)(&knob.id, host, to)
    }

    pub(crate) fn disturbs(
        &self,
        knob: &AnyKnob,
        host: &Host,
        to: &Value,
    ) -> Result<Vec<AnyKnob>, HostError> {
        (self.disturbs)(&knob.id, host, to)
    }

    pub(crate) fn torn(&self, knob: &AnyKnob, seen: &Value, from: &Value, to: &Value) -> bool {
        (self.torn)(&knob.id, seen, from, to)
    }

    pub(crate) fn original(&self, knob: &AnyKnob, seen: &Value) -> Option<Value> {
        (self.original)(&knob.id, seen)
    }

    pub(crate) fn gone(&self, knob: &AnyKnob, seen: &Value) -> bool {
        (self.gone)(&knob.id, seen)
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

    pub(crate) fn remark(&self, knob: &AnyKnob, host: &Host, from: &Value) -> Option<String> {
        (self.remark)(&knob.id, host, from)
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

/// The kinds of knob a program knows, by name.
///
/// Every crate has one `fn knobs(registry: &mut Registry)`. A tuning whose kind
/// was forgotten fails when it is planned, not after a crash.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, KnobKind>,
    clash: Option<&'static str>,
}

impl Registry {
    /// Makes a kind of knob known. Two types under one name make every plan fail.
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

    /// What the kinds say of what counts as what: the knob, what is seen, what is wanted.
    pub(crate) fn counts_as(&self) -> impl Fn(&AnyKnob, &Value, &Value) -> bool + '_ {
        |knob, seen, wanted| {
            let kind = self.find(&knob.kind);
            kind.is_ok_and(|kind| kind.counts_as(knob, seen, wanted))
        }
    }

    /// What the knobs of a host show, where they can be read.
    pub(crate) fn shows<'a>(&'a self, host: &'a Host) -> impl Fn(&AnyKnob) -> Option<Value> + 'a {
        |knob| self.find(&knob.kind).ok()?.read(knob, host).ok()
    }

    pub(crate) fn find(&self, name: &str) -> Result<KnobKind, Error> {
        let kind = self.kinds.get(name).filter(|_| self.clash != Some(name));
        kind.copied().ok_or_else(|| Error::Unregistered {
            name: name.to_owned(),
        })
    }

    /// The kind of `K`, checked to be this very type and not another of the same name.
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
