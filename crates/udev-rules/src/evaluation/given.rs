//! The tags and links that rules have assigned to a device.

use std::collections::BTreeMap;

use super::{Known, Pattern, Token, Truth};
use crate::token::Operator;

/// A set of names assigned to a device.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// Whether each name is assigned for certain.
    names: BTreeMap<String, bool>,
    /// Whether there are more names that are unknown.
    has_unknown: bool,
}

impl Given {
    /// Evaluates an assignment; `is_open` means that it may not apply.
    pub(super) fn assign(&mut self, operator: Operator, value: Known, splits: bool, is_open: bool) {
        let words: Vec<String> = match value {
            Known::Text(text) if splits => text.split(' ').map(str::to_owned).collect(),
            Known::Text(text) => vec![text],
            Known::Unknown(_) => {
                match operator {
                    // Any of the names may be the removed one.
                    Operator::Remove => self.doubt_all(),
                    _ => self.has_unknown = true,
                }
                return;
            }
        };
        match operator {
            Operator::Remove => {
                for word in words {
                    if is_open {
                        self.names
                            .entry(word)
                            .and_modify(|certain| *certain = false);
                    } else {
                        self.names.remove(&word);
                    }
                }
                return;
            }
            Operator::Add => {}
            _ if is_open => self.doubt_all(),
            _ => *self = Self::default(),
        }
        for word in words.into_iter().filter(|word| !word.is_empty()) {
            *self.names.entry(word).or_insert(false) |= !is_open;
        }
    }

    fn doubt_all(&mut self) {
        self.names.values_mut().for_each(|certain| *certain = false);
    }

    /// Whether one of the names matches. For `!=` with existing names, versions of udev differ:
    /// newer ones require that no name matches the pattern, older ones that all names do.
    pub(super) fn matches(&self, token: &Token, pattern: Option<&Pattern>) -> Truth {
        let Some(pattern) = pattern else {
            return Truth::No;
        };
        let mut certain = self.names.iter().filter(|(_, certain)| **certain);
        if certain.any(|(name, _)| pattern.matches(name)) && token.operator == Operator::Equal {
            return Truth::Yes;
        }
        if self.has_unknown || self.names.keys().any(|name| pattern.matches(name)) {
            let why = format!("it is unknown which {} rules have assigned", token.key);
            return Truth::Perhaps(why);
        }
        if token.operator == Operator::Equal {
            return Truth::No;
        }
        if self.names.is_empty() {
            return Truth::Yes;
        }
        Truth::Perhaps(format!(
            "versions of udev evaluate {}!= differently",
            token.key
        ))
    }
}
