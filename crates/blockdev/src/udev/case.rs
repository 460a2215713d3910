//! Alternatives of which each disk takes the first that matches.

use hosttune_udev_rules::{Key, Operator, Rule, Token};

use super::condition::Condition;
use super::generated::{GeneratedRulesError, Guard, Written, of_events, settings};

/// The property that holds which case a disk takes. udevd neither passes on nor stores properties
/// that begin with a dot, so it disappears with the event; a value from another file of ours is
/// cleared before the first case.
const CASE: &str = ".HOSTTUNE_CASE";

/// What a group of disks is set to, unless an earlier case matches.
///
/// Of several [`DiskRule`](super::DiskRule)s the last match takes precedence; of cases only the
/// first match applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    name: String,
    comments: Vec<String>,
    /// Alternatives: whether it is for device-mapper devices, and conditions that all have to hold.
    disks: Vec<(bool, Vec<Condition>)>,
    /// An additional condition, the attribute and its value.
    settings: Vec<(Option<Condition>, String, String)>,
}

impl Case {
    /// Creates a case that matches no disk yet. The name is for people who read the file.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            comments: Vec::new(),
            disks: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// Adds a comment to the file.
    #[must_use]
    pub fn comment(mut self, text: &str) -> Self {
        self.comments.push(text.to_owned());
        self
    }

    /// Adds an alternative: disks that meet all of these conditions, except device-mapper devices.
    #[must_use]
    pub fn disks(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.disks.push((false, conditions.into_iter().collect()));
        self
    }

    /// Adds an alternative: device-mapper devices that meet all of these conditions, once they are
    /// activated.
    #[must_use]
    pub fn device_mapper(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.disks.push((true, conditions.into_iter().collect()));
        self
    }

    /// Sets an attribute, like [`DiskRule::set`](super::DiskRule::set).
    #[must_use]
    pub fn set(mut self, attribute: &str, value: &str) -> Self {
        let setting = (None, attribute.to_owned(), value.to_owned());
        self.settings.push(setting);
        self
    }

    /// Sets an attribute only on disks of the case that also meet this condition.
    #[must_use]
    pub fn set_where(mut self, condition: Condition, attribute: &str, value: &str) -> Self {
        let setting = (Some(condition), attribute.to_owned(), value.to_owned());
        self.settings.push(setting);
        self
    }

    /// The value of the property for a disk of this case: restricted to safe characters, and unique
    /// through the position.
    fn value(&self, position: usize) -> String {
        let plain = self.name.chars().take(40).map(|one| match one {
            'A'..='Z' | 'a'..='z' | '0'..='9' => one,
            _ => '-',
        });
        format!("{}-{}", position + 1, plain.collect::<String>())
    }
}

/// The lines for cases.
pub(super) fn lines(cases: &[Case], guard: Guard) -> Result<Vec<Written>, GeneratedRulesError> {
    let mut lines = Vec::new();
    lines.push(Written::Rule(Rule::new([
        Token::new(Key::Subsystem, Operator::Equal, "block"),
        Token::new(Key::Env, Operator::Assign, "").of(CASE),
    ])));
    for (position, case) in cases.iter().enumerate() {
        if case.settings.is_empty() {
            return Err(GeneratedRulesError::NothingSet);
        }
        lines.push(Written::Comment(case.name.clone()));
        let comments = case.comments.iter().cloned();
        lines.extend(comments.map(Written::Comment));
        let value = case.value(position);
        for (is_device_mapper, conditions) in &case.disks {
            if conditions.is_empty() {
                return Err(GeneratedRulesError::NoCondition);
            }
            let mut tokens = of_events(*is_device_mapper);
            for condition in conditions {
                tokens.push(condition.token()?);
            }
            tokens.extend([
                Token::new(Key::Env, Operator::Equal, "").of(CASE),
                Token::new(Key::Env, Operator::Assign, value.clone()).of(CASE),
            ]);
            lines.push(Written::Rule(Rule::new(tokens)));
        }
        let is_it = Token::new(Key::Env, Operator::Equal, value).of(CASE);
        // Consecutive settings with the same condition share one rule.
        let same =
            |one: &(Option<Condition>, _, _), next: &(Option<Condition>, _, _)| one.0 == next.0;
        for group in case.settings.chunk_by(same) {
            let mut tokens = vec![is_it.clone()];
            if let Some(condition) = group.first().and_then(|(beside, ..)| beside.as_ref()) {
                tokens.push(condition.token()?);
            }
            let attributes = group.iter();
            let attributes: Vec<(String, String)> = attributes
                .map(|(_, attribute, value)| (attribute.clone(), value.clone()))
                .collect();
            lines.extend(
                settings(&tokens, &attributes, guard)?
                    .into_iter()
                    .map(Written::Rule),
            );
        }
    }
    Ok(lines)
}
