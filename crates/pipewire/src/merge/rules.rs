//! Rules: properties that are set if others match (`context.properties.rules`, from 1.1.81).

use hosttune_spa_json::{Data, Entry, Value};

/// Whether a rule's conditions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Matches,
    DoesNotMatch,
    /// It depends on a regular expression, which is not evaluated here, or on a property that is not
    /// known.
    Unknown,
}

/// What is known of a property when the rules are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known<'p> {
    /// It has this text.
    Text(&'p str),
    /// It is not set.
    Absent,
    /// The files do not set it, and the daemon may have set it itself.
    Unknown,
}

impl Known<'_> {
    /// What is known of a property that no file sets. At that moment a daemon has added properties of
    /// its process, and not yet the defaults of its settings.
    pub(super) fn without_file(key: &str) -> Self {
        let of_process = ["application.", "config.", "window."];
        if of_process.iter().any(|prefix| key.starts_with(prefix)) {
            Self::Unknown
        } else {
            Self::Absent
        }
    }
}

/// A rule: its conditions, and what it does if they hold.
pub(super) struct Rule<'v> {
    matches: Option<&'v Value>,
    /// The actions, each an object of properties. PipeWire does not look at their names.
    pub(super) actions: &'v [Entry],
}

/// The rules in the text of a section, up to the first element that is no object.
pub(super) fn rules(section: &Value) -> Vec<Rule<'_>> {
    let elements = section.as_array().unwrap_or_default();
    let objects = elements.iter().map_while(Value::as_object);
    objects
        .map(|entries| {
            let mut rule = Rule {
                matches: None,
                actions: &[],
            };
            for entry in entries {
                match entry.key.as_str() {
                    "matches" if entry.value.as_array().is_none() => break,
                    "matches" => rule.matches = Some(&entry.value),
                    "actions" => {
                        if let Some(actions) = entry.value.as_object() {
                            rule.actions = actions;
                        }
                    }
                    _ => {}
                }
            }
            rule
        })
        .collect()
}

impl Rule<'_> {
    /// Whether one of the conditions holds for these properties (`pw_conf_find_match`).
    pub(super) fn outcome<'p>(&self, property: impl Fn(&str) -> Known<'p>) -> Outcome {
        let conditions = self.matches.and_then(Value::as_array).unwrap_or_default();
        let mut outcome = Outcome::DoesNotMatch;
        for condition in conditions.iter().map_while(Value::as_object) {
            match all(condition, &property) {
                // Unless an earlier one is unknown, but then the rule applies in either case.
                Outcome::Matches => return Outcome::Matches,
                Outcome::Unknown => outcome = Outcome::Unknown,
                Outcome::DoesNotMatch => {}
            }
        }
        outcome
    }
}

/// Whether all keys of a condition match. One without keys never does.
fn all<'p>(condition: &[Entry], property: &impl Fn(&str) -> Known<'p>) -> Outcome {
    let mut outcome = match condition {
        [] => Outcome::DoesNotMatch,
        _ => Outcome::Matches,
    };
    for entry in condition {
        match one(&entry.value, property(&entry.key)) {
            Outcome::Matches => {}
            Outcome::DoesNotMatch => return Outcome::DoesNotMatch,
            Outcome::Unknown => outcome = Outcome::Unknown,
        }
    }
    outcome
}

/// Whether a property, or its absence, matches a pattern: the text itself, `null` for absence, `!` for
/// the opposite, `~` for a regular expression.
fn one(pattern: &Value, property: Known<'_>) -> Outcome {
    // A bracket is compared by its first character.
    let (mut text, mut may_be_null) = match &pattern.data {
        Data::Word(word) => (word.as_str(), true),
        Data::String(string) => (string.as_str(), false),
        Data::Array(_) => ("[", true),
        Data::Object(_) => ("{", true),
    };
    let mut is_negated = false;
    let mut is_expression = false;
    if let Some(rest) = text.strip_prefix('!') {
        (text, is_negated, may_be_null) = (rest, true, true);
    }
    if let Some(rest) = text.strip_prefix('~') {
        (text, is_expression, may_be_null) = (rest, true, true);
    }
    let is_null = may_be_null && text == "null";
    // After a modifier a string is decoded once more, so that `"!\"null\""` is the text `null`.
    let decoded = match text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    {
        Some(inner) if may_be_null && !inner.contains(['"', '\\']) => inner,
        _ => text,
    };
    let is_equal = match property {
        Known::Unknown => return Outcome::Unknown,
        Known::Absent => is_null,
        Known::Text(_) if is_null => false,
        Known::Text(_) if is_expression => return Outcome::Unknown,
        Known::Text(property) => property == decoded,
    };
    if is_equal != is_negated {
        Outcome::Matches
    } else {
        Outcome::DoesNotMatch
    }
}
