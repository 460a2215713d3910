//! What is not done unless the tuning consents to it by name.

use hosttune_core::{Lack, LackKind};

use crate::catalogue;
use crate::key::Key;
use crate::set::Wanted;
use crate::value::Value;

/// Why a value is refused, where a consent to it is lacking.
pub(crate) fn lacking(wanted: &Wanted, key: &Key, value: &Value) -> Option<Lack> {
    let is_one_way = || {
        let entry = catalogue::find(key)?;
        Some(entry.is_one_way(value.as_integer()?))
    };
    if !wanted.one_way && is_one_way() == Some(true) {
        let why = format!("the kernel does not take {value} back before a reboot");
        let lack = Lack::new(LackKind::OneWay, why);
        return Some(lack.hint("consent to it in the tuning: Wanted::one_way()"));
    }
    if wanted.accept_side_effects {
        return None;
    }
    let what = catalogue::side_effects(key, value)?;
    let why = format!("{value} changes more than this setting: {what}");
    let lack = Lack::new(LackKind::SideEffects, why);
    Some(lack.hint("consent to it in the tuning: Wanted::accept_side_effects()"))
}
