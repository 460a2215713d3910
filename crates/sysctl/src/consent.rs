//! Values that are set only with explicit consent in the tuning.

use hosttune_core::{Unsupported, UnsupportedKind};

use crate::catalogue;
use crate::key::Key;
use crate::set::Wanted;
use crate::value::Value;

/// Why a value is not set: the consent that it needs is missing. `None` if it may be set.
pub(crate) fn unsupported(wanted: &Wanted, key: &Key, value: &Value) -> Option<Unsupported> {
    let is_one_way = || {
        let entry = catalogue::find(key)?;
        Some(entry.is_one_way(value.as_integer()?))
    };
    if !wanted.one_way && is_one_way() == Some(true) {
        let why = format!("{value} cannot be changed again before a reboot");
        let unsupported = Unsupported::new(UnsupportedKind::OneWay, why);
        return Some(unsupported.hint("to consent to it, call Wanted::one_way() in the tuning"));
    }
    if wanted.accept_side_effects {
        return None;
    }
    let what = catalogue::side_effects(key, value)?;
    let why = format!("{value} has side effects: {what}");
    let unsupported = Unsupported::new(UnsupportedKind::SideEffects, why);
    Some(unsupported.hint("to consent to them, call Wanted::accept_side_effects() in the tuning"))
}
