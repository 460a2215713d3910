//! A rules file of ours, with which udev itself tunes disks as they are added.

use std::fmt::Write;

use hosttune_udev_rules::{Key, Operator, Pattern, Rule, Token, UnwritableError};

use super::call::Call;
use super::case::{self, Case};
use super::condition::Condition;
use crate::zoned::HOST_MANAGED;

/// Why our rules cannot be written as a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeneratedRulesError {
    /// udev's grammar cannot express it.
    #[error(transparent)]
    Unwritable(#[from] UnwritableError),
    /// The file name.
    #[error(
        "{0:?} cannot be used in the name of a rules file: use 1 to 64 of a-z, 0-9, '-' and '_'"
    )]
    Name(String),
    /// A rule that would match every disk, including virtual ones.
    #[error(
        "a rule without a condition would tune every disk, including RAM disks and loop devices: add a condition"
    )]
    NoCondition,
    /// A rule without settings.
    #[error("a rule sets nothing: add an attribute")]
    NothingSet,
    /// The path is not a disk attribute.
    #[error(
        "{0:?} is not a writable disk attribute: use a path such as queue/scheduler, without '..', '*', '$' and '%'"
    )]
    Attribute(String),
    /// A value that udevd would not write unchanged.
    #[error("{attribute} cannot be set to {value:?} by a rule: {why}")]
    Value {
        /// The attribute.
        attribute: String,
        /// The value.
        value: String,
        /// The reason.
        why: &'static str,
    },
    /// A program that udevd would not start as intended.
    #[error(
        "{0:?} cannot be run by a rule: use the program's absolute path, and no quotes, backslashes or control characters in it or its arguments"
    )]
    Program(String),
}

/// What to set on the disks that meet some conditions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskRule {
    conditions: Vec<Condition>,
    attributes: Vec<(String, String)>,
    is_device_mapper: bool,
}

impl DiskRule {
    /// Creates a rule for disks, except device-mapper devices.
    pub fn new(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self {
            conditions: conditions.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Creates a rule for device-mapper devices. It applies when they are activated, which is a
    /// `change` event: when they are added they have no table yet, and no queue of their final
    /// kind.
    pub fn device_mapper(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self {
            is_device_mapper: true,
            ..Self::new(conditions)
        }
    }

    /// Sets an attribute, relative to the disk's directory: `queue/scheduler`. The scheduler is set
    /// before all others, whatever the order of the calls.
    #[must_use]
    pub fn set(mut self, attribute: &str, value: &str) -> Self {
        self.attributes
            .push((attribute.to_owned(), value.to_owned()));
        self
    }
}

/// Rules of ours, to be written as a udev rules file.
///
/// ```
/// use hosttune_blockdev::udev::{Condition, DiskRule, GeneratedRules};
///
/// let rules = GeneratedRules::new("gaming").rule(
///     DiskRule::new([Condition::below("nvme")])
///         .set("queue/nr_requests", "256")
///         .set("queue/scheduler", "none"),
/// );
/// assert_eq!(rules.path()?, "/etc/udev/rules.d/61-hosttune-gaming.rules");
/// let text = rules.to_text()?;
/// assert!(text.contains(r#", SUBSYSTEMS=="nvme", "#));
/// assert!(text.contains(r#", ATTR{queue/scheduler}="none""#));
/// # Ok::<(), hosttune_blockdev::udev::GeneratedRulesError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedRules {
    name: String,
    blocks: Vec<Block>,
    call: Option<Call>,
}

/// The blocks of the file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Block {
    Rule(DiskRule),
    FirstOf(Vec<Case>),
}

/// A line of the file.
pub(super) enum Written {
    Comment(String),
    Rule(Rule),
}

impl GeneratedRules {
    /// Creates a file without rules; the name is part of the file name and identifies the owner.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            blocks: Vec::new(),
            call: None,
        }
    }

    /// Adds a rule. If two rules match one disk, the later one takes precedence.
    #[must_use]
    pub fn rule(mut self, rule: DiskRule) -> Self {
        self.blocks.push(Block::Rule(rule));
        self
    }

    /// Adds cases, of which each disk takes only the first that matches.
    #[must_use]
    pub fn first_of(mut self, cases: impl IntoIterator<Item = Case>) -> Self {
        self.blocks
            .push(Block::FirstOf(cases.into_iter().collect()));
        self
    }

    /// Adds a program that udev runs for each new disk, after all rules.
    #[must_use]
    pub fn call(mut self, call: Call) -> Self {
        self.call = Some(call);
        self
    }

    /// Returns the name of the file.
    ///
    /// It begins with 61 because udev reads files in the order of their names: `60-hosttune` would
    /// come before `60-persistent-storage.rules`, which sets `ID_BUS` and similar properties.
    ///
    /// # Errors
    /// If the name cannot be part of a file name.
    pub fn file_name(&self) -> Result<String, GeneratedRulesError> {
        let good = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || "-_".contains(character)
        };
        if !(1..=64).contains(&self.name.len()) || !self.name.chars().all(good) {
            return Err(GeneratedRulesError::Name(self.name.clone()));
        }
        Ok(format!("61-hosttune-{}.rules", self.name))
    }

    /// Returns the path of the file.
    ///
    /// # Errors
    /// As [`file_name`](Self::file_name).
    pub fn path(&self) -> Result<String, GeneratedRulesError> {
        Ok(format!("/etc/udev/rules.d/{}", self.file_name()?))
    }

    /// Returns the rules, in order.
    ///
    /// # Errors
    /// If a rule cannot be written, or would not do what it is meant to do.
    pub fn to_rules(&self) -> Result<Vec<Rule>, GeneratedRulesError> {
        let lines = self.lines(Guard::Active)?.into_iter();
        let rules = lines.filter_map(|line| match line {
            Written::Rule(rule) => Some(rule),
            Written::Comment(_) => None,
        });
        Ok(rules.collect())
    }

    fn lines(&self, guard: Guard) -> Result<Vec<Written>, GeneratedRulesError> {
        let mut lines = Vec::new();
        for block in &self.blocks {
            match block {
                Block::Rule(rule) => {
                    lines.extend(of_disks(rule, guard)?.into_iter().map(Written::Rule));
                }
                Block::FirstOf(cases) => lines.extend(case::lines(cases, guard)?),
            }
        }
        if let Some(call) = &self.call {
            for is_device_mapper in [false, true] {
                let mut tokens = of_events(is_device_mapper);
                tokens.push(Token::new(Key::Run, Operator::Add, call.text()?));
                lines.push(Written::Rule(Rule::new(tokens)));
            }
        }
        Ok(lines)
    }

    /// Returns the text of the file.
    ///
    /// # Errors
    /// As [`to_rules`](Self::to_rules) and [`file_name`](Self::file_name).
    pub fn to_text(&self) -> Result<String, GeneratedRulesError> {
        self.text(Guard::Active)
    }

    /// Rules with the same result, for evaluation only: whether a scheduler is already active
    /// depends on what earlier rules have set, so the check for it would make the result uncertain.
    pub(super) fn to_judge(&self) -> Result<String, GeneratedRulesError> {
        self.text(Guard::None)
    }

    fn text(&self, guard: Guard) -> Result<String, GeneratedRulesError> {
        let name = self.file_name()?;
        let mut text = format!(
            "# {name}: written by hosttune. Do not edit it; edit its source instead.\n\
             # To apply it to existing disks: udevadm trigger --action=add --subsystem-match=block\n"
        );
        for line in self.lines(guard)? {
            let _ = match line {
                Written::Comment(comment) => writeln!(text, "# {}", one_line(&comment)),
                Written::Rule(rule) => writeln!(text, "{}", rule.to_text()?),
            };
        }
        Ok(text)
    }
}

/// A check that keeps a scheduler from being set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// Skip a scheduler that is already active.
    Active,
    None,
}

/// Matches of an added disk, or of an activated device-mapper device.
pub(super) fn of_events(is_device_mapper: bool) -> Vec<Token> {
    let action = if is_device_mapper { "change" } else { "add" };
    let mut tokens = vec![
        Token::new(Key::Action, Operator::Equal, action),
        Token::new(Key::Subsystem, Operator::Equal, "block"),
        Token::new(Key::Env, Operator::Equal, "disk").of("DEVTYPE"),
    ];
    if is_device_mapper {
        tokens.extend([
            Token::new(Key::Env, Operator::Equal, "1").of("DM_ACTIVATION"),
            // The creator of the device has disabled other rules.
            Token::new(Key::Env, Operator::Unequal, "1").of("DM_UDEV_DISABLE_OTHER_RULES_FLAG"),
        ]);
    } else {
        // Matches by what the device is, not by its name.
        tokens.push(Token::new(Key::Test, Operator::Unequal, "dm"));
    }
    tokens
}

/// The text after `#`: a single line, cut far below the longest line that udevd reads.
fn one_line(comment: &str) -> String {
    let plain = comment.chars().take(1000);
    let plain = plain.map(|one| if one.is_control() { ' ' } else { one });
    plain.collect::<String>().trim_end().to_owned()
}

fn of_disks(rule: &DiskRule, guard: Guard) -> Result<Vec<Rule>, GeneratedRulesError> {
    if rule.conditions.is_empty() {
        return Err(GeneratedRulesError::NoCondition);
    }
    if rule.attributes.is_empty() {
        return Err(GeneratedRulesError::NothingSet);
    }
    let mut conditions = of_events(rule.is_device_mapper);
    for condition in &rule.conditions {
        conditions.push(condition.token()?);
    }
    settings(&conditions, &rule.attributes, guard)
}

/// Rules that set attributes where all conditions match.
pub(super) fn settings(
    conditions: &[Token],
    attributes: &[(String, String)],
    guard: Guard,
) -> Result<Vec<Rule>, GeneratedRulesError> {
    let (scheduler, others): (Vec<_>, Vec<_>) = attributes
        .iter()
        .partition(|(attribute, _)| attribute == "queue/scheduler");
    let mut rules = Vec::new();
    // Setting a scheduler resets other attributes, so it comes first. It is a rule of its own, so
    // that the others are set whether or not the scheduler had to be.
    for (attribute, value) in scheduler {
        let assignment = assignment(attribute, value)?;
        let mut tokens = conditions.to_vec();
        // If the scheduler is already active nothing is written: a switch freezes the queue for
        // tens of milliseconds and resets other attributes. This does not match disks without
        // schedulers.
        if guard == Guard::Active {
            let active = format!("*{}*", Pattern::literal(&format!("[{value}]"))?);
            tokens.push(Token::new(Key::Attr, Operator::Unequal, active).of(attribute));
            // The file outlives the kernel under which it was written, so the kernel release is not
            // checked.
            if value != "mq-deadline" && value != "deadline" {
                let zoned = Token::new(Key::Attr, Operator::Unequal, HOST_MANAGED);
                tokens.push(zoned.of("queue/zoned"));
            }
        }
        tokens.push(assignment);
        rules.push(Rule::new(tokens));
    }
    let others: Result<Vec<_>, _> = others
        .into_iter()
        .map(|(attribute, value)| assignment(attribute, value))
        .collect();
    let others = others?;
    if !others.is_empty() {
        rules.push(Rule::new(conditions.iter().cloned().chain(others)));
    }
    Ok(rules)
}

fn assignment(attribute: &str, value: &str) -> Result<Token, GeneratedRulesError> {
    let mut segments = attribute.split('/');
    let strange = |segment: &str| segment.is_empty() || segment.starts_with('.');
    if attribute.contains(['$', '%', '*', '?', '[', '}', '\\'])
        || attribute.contains(char::is_control)
        || segments.any(strange)
    {
        return Err(GeneratedRulesError::Attribute(attribute.to_owned()));
    }
    let wrong = |why| GeneratedRulesError::Value {
        attribute: attribute.to_owned(),
        value: value.to_owned(),
        why,
    };
    if value.is_empty() {
        return Err(wrong("an empty write succeeds and sets nothing"));
    }
    if value.contains(char::is_control) {
        return Err(wrong(
            "it contains a control character, which no attribute accepts",
        ));
    }
    // `UDEV_NAME_SIZE` including the NUL; a longer value is ignored or truncated, depending on the
    // version.
    if value.len() >= 512 {
        return Err(wrong("udevd accepts fewer than 512 bytes"));
    }
    let value = value.replace('%', "%%").replace('$', "$$");
    Ok(Token::new(Key::Attr, Operator::Assign, value).of(attribute))
}
