//! A registered knob type: the methods of [`Knob`], over JSON.

use std::any::TypeId;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::any_knob::{AnyKnob, show_value};
use crate::host::{Host, HostError};
use crate::knob::{Knob, Lifetime};
use crate::unsupported::Unsupported;

/// A registered knob type. The engine, which knows no types, reads and sets every knob through it.
///
/// A method that answers with a `bool` or an `Option` answers `false` or `None` for a knob or a
/// state that this type cannot read, which is the answer that changes nothing.
pub(crate) trait KnobKind: Send + Sync {
    fn type_id(&self) -> TypeId;

    fn lifetime(&self) -> Lifetime;

    fn settle(&self) -> Duration;

    fn can_be_renamed(&self) -> bool;

    fn replaced(&self) -> &'static str;

    fn is_generated(&self) -> bool;

    fn is_same_thing(&self, identity: &str, other: &str) -> bool;

    fn read(&self, knob: &AnyKnob, host: &Host) -> Result<Value, HostError>;

    fn set(&self, knob: &AnyKnob, host: &mut Host, to: &Value) -> Result<(), HostError>;

    fn satisfies(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool;

    fn rounds(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool;

    fn unsupported(
        &self,
        knob: &AnyKnob,
        host: &Host,
        to: &Value,
    ) -> Result<Option<Unsupported>, HostError>;

    fn side_effects(
        &self,
        knob: &AnyKnob,
        host: &Host,
        to: &Value,
    ) -> Result<Vec<AnyKnob>, HostError>;

    fn destroys(&self, knob: &AnyKnob, host: &Host, to: &Value) -> Result<Vec<AnyKnob>, HostError>;

    fn is_partial_write(&self, knob: &AnyKnob, seen: &Value, from: &Value, to: &Value) -> bool;

    fn original(&self, knob: &AnyKnob, seen: &Value) -> Option<Value>;

    fn is_gone(&self, knob: &AnyKnob, seen: &Value) -> bool;

    fn rests_on(&self, knob: &AnyKnob) -> Vec<AnyKnob>;

    fn is_of_network_namespace(&self, knob: &AnyKnob) -> bool;

    fn hidden(&self, knob: &AnyKnob, seen: &Value) -> Option<String>;

    fn out_of_reach(
        &self,
        knob: &AnyKnob,
        host: &Host,
        identity: Option<&str>,
        to: &Value,
    ) -> Result<Option<String>, HostError>;

    fn identity(&self, knob: &AnyKnob, host: &Host) -> Result<Option<String>, HostError>;

    fn renamed(
        &self,
        knob: &AnyKnob,
        host: &Host,
        identity: &str,
    ) -> Result<Option<AnyKnob>, HostError>;

    fn revert_note(&self, knob: &AnyKnob, host: &Host, from: &Value) -> Option<String>;

    fn show(&self, knob: &AnyKnob, state: &Value) -> String;
}

/// The registered type `K`.
pub(crate) fn kind_of<K: Knob>() -> &'static dyn KnobKind {
    &OfType::<K>(PhantomData)
}

// A function type, so that it is Send and Sync whatever `K` is: there is no `K` in it.
struct OfType<K>(PhantomData<fn() -> K>);

impl<K: Knob> KnobKind for OfType<K> {
    fn type_id(&self) -> TypeId {
        TypeId::of::<K>()
    }

    fn lifetime(&self) -> Lifetime {
        K::LIFETIME
    }

    fn settle(&self) -> Duration {
        K::SETTLE
    }

    fn can_be_renamed(&self) -> bool {
        K::CAN_BE_RENAMED
    }

    fn replaced(&self) -> &'static str {
        K::REPLACED
    }

    fn is_generated(&self) -> bool {
        K::IS_GENERATED
    }

    fn is_same_thing(&self, identity: &str, other: &str) -> bool {
        K::is_same_thing(identity, other)
    }

    fn read(&self, knob: &AnyKnob, host: &Host) -> Result<Value, HostError> {
        let state = typed::<K>(knob)?.read(host)?;
        serde_json::to_value(state)
            .map_err(|error| HostError::malformed(K::NAME, error.to_string()))
    }

    fn set(&self, knob: &AnyKnob, host: &mut Host, to: &Value) -> Result<(), HostError> {
        let (knob, to) = (typed::<K>(knob)?, state::<K>(to)?);
        knob.set(host, &to)
    }

    fn satisfies(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool {
        let satisfies = || -> Result<bool, HostError> {
            let knob = typed::<K>(knob)?;
            Ok(knob.satisfies(&state::<K>(seen)?, &state::<K>(wanted)?))
        };
        seen == wanted || satisfies().unwrap_or(false)
    }

    fn rounds(&self, knob: &AnyKnob, seen: &Value, wanted: &Value) -> bool {
        let rounds = || -> Result<bool, HostError> {
            let knob = typed::<K>(knob)?;
            Ok(knob.rounds(&state::<K>(seen)?, &state::<K>(wanted)?))
        };
        rounds().unwrap_or(false)
    }

    fn unsupported(
        &self,
        knob: &AnyKnob,
        host: &Host,
        to: &Value,
    ) -> Result<Option<Unsupported>, HostError> {
        typed::<K>(knob)?.unsupported(host, &state::<K>(to)?)
    }

    fn side_effects(
        &self,
        knob: &AnyKnob,
        host: &Host,
        to: &Value,
    ) -> Result<Vec<AnyKnob>, HostError> {
        typed::<K>(knob)?.side_effects(host, &state::<K>(to)?)
    }

    fn destroys(&self, knob: &AnyKnob, host: &Host, to: &Value) -> Result<Vec<AnyKnob>, HostError> {
        typed::<K>(knob)?.destroys(host, &state::<K>(to)?)
    }

    fn is_partial_write(&self, knob: &AnyKnob, seen: &Value, from: &Value, to: &Value) -> bool {
        let is_partial_write = || -> Result<bool, HostError> {
            let (knob, seen) = (typed::<K>(knob)?, state::<K>(seen)?);
            Ok(knob.is_partial_write(&seen, &state::<K>(from)?, &state::<K>(to)?))
        };
        is_partial_write().unwrap_or(false)
    }

    fn original(&self, knob: &AnyKnob, seen: &Value) -> Option<Value> {
        let (knob, shown) = (typed::<K>(knob).ok()?, state::<K>(seen).ok()?);
        match knob.original(&shown)? {
            // The value as it was read: written out again, it could differ in its form.
            original if original == shown => Some(seen.clone()),
            original => serde_json::to_value(original).ok(),
        }
    }

    fn is_gone(&self, knob: &AnyKnob, seen: &Value) -> bool {
        match (typed::<K>(knob), state::<K>(seen)) {
            (Ok(knob), Ok(seen)) => knob.is_gone(&seen),
            _ => false,
        }
    }

    fn rests_on(&self, knob: &AnyKnob) -> Vec<AnyKnob> {
        typed::<K>(knob).map_or_else(|_| Vec::new(), |knob| knob.rests_on())
    }

    fn is_of_network_namespace(&self, knob: &AnyKnob) -> bool {
        typed::<K>(knob).is_ok_and(|knob| knob.is_of_network_namespace())
    }

    fn hidden(&self, knob: &AnyKnob, seen: &Value) -> Option<String> {
        typed::<K>(knob).ok()?.hidden(&state::<K>(seen).ok()?)
    }

    fn out_of_reach(
        &self,
        knob: &AnyKnob,
        host: &Host,
        identity: Option<&str>,
        to: &Value,
    ) -> Result<Option<String>, HostError> {
        typed::<K>(knob)?.out_of_reach(host, identity, &state::<K>(to)?)
    }

    fn identity(&self, knob: &AnyKnob, host: &Host) -> Result<Option<String>, HostError> {
        typed::<K>(knob)?.identity(host)
    }

    fn renamed(
        &self,
        knob: &AnyKnob,
        host: &Host,
        identity: &str,
    ) -> Result<Option<AnyKnob>, HostError> {
        let renamed = typed::<K>(knob)?.renamed(host, identity)?;
        Ok(renamed.as_ref().map(AnyKnob::of))
    }

    fn revert_note(&self, knob: &AnyKnob, host: &Host, from: &Value) -> Option<String> {
        let knob = typed::<K>(knob).ok()?;
        knob.revert_note(host, &state::<K>(from).ok()?)
    }

    fn show(&self, knob: &AnyKnob, value: &Value) -> String {
        match (typed::<K>(knob), state::<K>(value)) {
            (Ok(knob), Ok(state)) => knob.show(&state),
            _ => show_value(value),
        }
    }
}

fn typed<K: Knob>(knob: &AnyKnob) -> Result<K, HostError> {
    K::deserialize(&knob.id).map_err(|error| {
        HostError::malformed(format!("the {} {}", K::NAME, knob.id), error.to_string())
    })
}

fn state<K: Knob>(value: &Value) -> Result<K::State, HostError> {
    K::State::deserialize(value).map_err(|error| {
        HostError::malformed(format!("the {} state {value}", K::NAME), error.to_string())
    })
}
