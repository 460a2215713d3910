//! The knob types that a program knows, by name.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use serde_json::Value;

use crate::any_knob::AnyKnob;
use crate::error::Error;
use crate::host::Host;
use crate::knob::Knob;
use crate::knob_kind::{self, KnobKind};

/// The knob types that a program knows, by name.
///
/// Every crate has one `fn knobs(registry: &mut Registry)`. A tuning with an unregistered type
/// fails when it is planned, not after a crash.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, &'static dyn KnobKind>,
    clash: Option<&'static str>,
}

impl Registry {
    /// Registers a knob type. If two types have the same name, every plan that uses it fails.
    pub fn add<K: Knob>(&mut self) {
        let kind = knob_kind::kind_of::<K>();
        if let Some(known) = self.kinds.insert(K::NAME, kind)
            && known.type_id() != kind.type_id()
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

    pub(crate) fn find(&self, name: &str) -> Result<&'static dyn KnobKind, Error> {
        let kind = self.kinds.get(name).filter(|_| self.clash != Some(name));
        kind.copied().ok_or_else(|| Error::Unregistered {
            name: name.to_owned(),
        })
    }

    /// The registered type `K`, checked to be this very type and not another of the same name.
    pub(crate) fn kind_of<K: Knob>(&self) -> Result<&'static dyn KnobKind, Error> {
        let kind = self.find(K::NAME)?;
        if kind.type_id() == TypeId::of::<K>() {
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
