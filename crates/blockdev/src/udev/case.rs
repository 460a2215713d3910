//! Cases of which a disk is the first that it meets.

use super::condition::Condition;
use super::own::{Guard, OwnRulesError, Written, of_events, settings};
use super::rule::Rule;
use super::token::{Key, Operator, Token};

/// Which case a disk is. udevd passes on nothing that begins with a dot and keeps nothing of it, so it
/// is gone with the event; that of another file of ours is taken away before the first case.
const CASE: &str = ".HOSTTUNE_CASE";

/// What some disks are to have, unless an earlier case has taken them.
///
/// Of [`DiskRule`](super::DiskRule)s the last that matches has the last word; of cases the first is
/// the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    name: String,
    comments: Vec<String>,
    /// Whether of device-mapper, and all that has to hold; any of these.
    disks: Vec<(bool, Vec<Condition>)>,
    /// What has to hold beside, the attribute and its value.
    settings: Vec<(Option<Condition>, String, String)>,
}

impl Case {
    /// That no disk is yet. The name is for people who read the file.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            comments: Vec::new(),
            disks: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// Something to be said about it in the file.
    #[must_use]
    pub fn comment(mut self, text: &str) -> Self {
        self.comments.push(text.to_owned());
        self
    }

    /// Disks that meet all of these, or what was said before; none of device-mapper.
    #[must_use]
    pub fn disks(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.disks.push((false, conditions.into_iter().collect()));
        self
    }

    /// Devices of device-mapper that meet all of these, when they are activated; or what was said
    /// before.
    #[must_use]
    pub fn device_mapper(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.disks.push((true, conditions.into_iter().collect()));
        self
    }

    /// Sets an attribute, as [`DiskRule::set`](super::DiskRule::set).
    #[must_use]
    pub fn set(mut self, attribute: &str, value: &str) -> Self {
        let setting = (None, attribute.to_owned(), value.to_owned());
        self.settings.push(setting);
        self
    }

    /// Sets an attribute of those of its disks that meet this too.
    #[must_use]
    pub fn set_where(mut self, condition: Condition, attribute: &str, value: &str) -> Self {
        let setting = (Some(condition), attribute.to_owned(), value.to_owned());
        self.settings.push(setting);
        self
    }

    /// What the property is for a disk of it: no name is too strange, and no two are the same.
    fn value(&self, position: usize) -> String {
        let plain = self.name.chars().take(40).map(|one| match one {
            'A'..='Z' | 'a'..='z' | '0'..='9' => one,
            _ => '-',
        });
        format!("{}-{}", position + 1, plain.collect::<String>())
    }
}

/// The lines of cases.
pub(super) fn lines(cases: &[Case], guard: Guard) -> Result<Vec<Written>, OwnRulesError> {
    let mut lines = Vec::new();
    lines.push(Written::Rule(Rule::new([
        Token::new(Key::Subsystem, Operator::Equal, "block"),
        Token::new(Key::Env, Operator::Assign, "").of(CASE),
    ])));
    for (position, case) in cases.iter().enumerate() {
        if case.settings.is_empty() {
            return Err(OwnRulesError::NothingSet);
        }
        lines.push(Written::Comment(case.name.clone()));
        let comments = case.comments.iter().cloned();
        lines.extend(comments.map(Written::Comment));
        let value = case.value(position);
        for (is_device_mapper, conditions) in &case.disks {
            if conditions.is_empty() {
                return Err(OwnRulesError::NoCondition);
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
        // Those that stand together and ask the same are one rule.
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
