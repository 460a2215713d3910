//! Values in comparisons.

use hosttune_core::fnmatch;

use super::token::{UnwritableError, Value};

/// A value as used in a comparison: alternatives separated by `|`, with shell patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    form: Form,
    folds_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// `""`, or its opposite `?*`.
    Empty { negated: bool },
    /// Alternatives that are all literal or all patterns: patterns if any of them has a `*`, `?` or
    /// `[`.
    Any {
        alternatives: Vec<String>,
        are_globs: bool,
        or_empty: bool,
    },
}

impl Pattern {
    /// The value of a comparison whose key allows alternatives.
    pub fn new(value: &Value) -> Self {
        let text = value.text.as_str();
        let form = match text {
            "" => Form::Empty { negated: false },
            "?*" => Form::Empty { negated: true },
            _ => Form::Any {
                alternatives: text
                    .split('|')
                    .filter(|alternative| !alternative.is_empty())
                    .map(str::to_owned)
                    .collect(),
                are_globs: text.contains(['*', '?', '[']),
                or_empty: text.split('|').any(str::is_empty),
            },
        };
        Self {
            form,
            folds_case: value.case_insensitive,
        }
    }

    /// Whether the pattern matches; a missing text is the same as an empty one.
    pub fn matches(&self, text: &str) -> bool {
        match &self.form {
            Form::Empty { negated } => text.is_empty() != *negated,
            Form::Any {
                alternatives,
                are_globs,
                or_empty,
            } => {
                (*or_empty && text.is_empty())
                    || alternatives.iter().any(|alternative| {
                        if *are_globs && self.folds_case {
                            fnmatch::matches_any_case(alternative, text)
                        } else if *are_globs {
                            fnmatch::matches(alternative, text)
                        } else if self.folds_case {
                            alternative.eq_ignore_ascii_case(text)
                        } else {
                            alternative == text
                        }
                    })
            }
        }
    }

    /// The alternatives that contain pattern characters.
    pub fn globs(&self) -> impl Iterator<Item = &str> {
        let alternatives = match &self.form {
            Form::Any {
                alternatives,
                are_globs: true,
                ..
            } => alternatives.as_slice(),
            _ => &[],
        };
        let is_glob = |text: &&String| text.contains(['*', '?', '[']);
        alternatives.iter().filter(is_glob).map(String::as_str)
    }

    /// Returns a value that matches this text and nothing else.
    ///
    /// # Errors
    /// If the text contains a `|`, which cannot be escaped, or is empty.
    pub fn literal(text: &str) -> Result<String, UnwritableError> {
        let unwritable = |why| UnwritableError {
            what: "pattern",
            text: text.to_owned(),
            why,
        };
        if text.contains('|') {
            return Err(unwritable("| separates alternatives and cannot be escaped"));
        }
        if text.is_empty() {
            return Err(unwritable("it is empty, which would match a missing value"));
        }
        // A backslash escapes only in patterns; in literal values it is an ordinary character.
        if !text.contains(['*', '?', '[']) {
            return Ok(text.to_owned());
        }
        let mut escaped = String::with_capacity(text.len() + 4);
        for character in text.chars() {
            if matches!(character, '*' | '?' | '[' | '\\') {
                escaped.push('\\');
            }
            escaped.push(character);
        }
        Ok(escaped)
    }
}
