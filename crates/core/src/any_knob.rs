//! Knobs as data: any knob, of whatever type, as plans and journals hold it.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A knob of any registered type, as data, in plans and journals.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnyKnob {
    /// [`Knob::NAME`](crate::Knob::NAME) of its type.
    pub kind: String,
    /// The value that names the knob, as JSON.
    pub id: Value,
    /// The knob, for people.
    pub text: String,
}

impl AnyKnob {
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

pub(crate) fn show_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
