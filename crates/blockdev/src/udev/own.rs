//! Rules of ours, as a file: udev itself tunes disks as they come.

use std::fmt::Write;

use super::call::Call;
use super::case::{self, Case};
use super::condition::Condition;
use super::pattern::Pattern;
use super::rule::Rule;
use super::token::{Key, Operator, Token, UnwritableError};
use crate::zoned::HOST_MANAGED;

/// Why our rules cannot be a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnRulesError {
    /// The grammar has no way to write it.
    #[error(transparent)]
    Unwritable(#[from] UnwritableError),
    /// What the file is to be named by.
    #[error("{0:?} cannot name a rules file: 1 to 64 of a-z, 0-9, '-' and '_'")]
    Name(String),
    /// A rule that would match every disk, virtual ones included.
    #[error(
        "a rule without a condition would tune every disk there is, RAM disks and loops too: give it one"
    )]
    NoCondition,
    /// A rule that does nothing.
    #[error("a rule sets nothing: give it an attribute")]
    NothingSet,
    /// What is no attribute of a disk.
    #[error(
        "{0:?} is no attribute of a disk that can be written: a path such as queue/scheduler, without '..', '*', '$' and '%'"
    )]
    Attribute(String),
    /// A value that udevd would not write as it is.
    #[error("{attribute} cannot be set to {value:?} by a rule: {why}")]
    Value {
        /// The attribute.
        attribute: String,
        /// The value.
        value: String,
        /// Why not.
        why: &'static str,
    },
    /// A program that udevd would not start as it is meant.
    #[error(
        "{0:?} cannot be called by a rule: a program is an absolute path, and neither it nor an argument holds a quote, a backslash or a control character"
    )]
    Program(String),
}

/// What disks of one kind are to have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskRule {
    conditions: Vec<Condition>,
    attributes: Vec<(String, String)>,
    is_device_mapper: bool,
}

impl DiskRule {
    /// For disks, none of device-mapper.
    pub fn new(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self {
            conditions: conditions.into_iter().collect(),
            ..Self::default()
        }
    }

    /// For devices of device-mapper: when they are activated, which the kernel tells as a change.
    /// When they are added they have no table yet, and no queue of their own kind.
    pub fn device_mapper(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self {
            is_device_mapper: true,
            ..Self::new(conditions)
        }
    }

    /// Sets an attribute, relative to the disk's directory: `queue/scheduler`. The scheduler is set
    /// before all others, whatever the order here.
    #[must_use]
    pub fn set(mut self, attribute: &str, value: &str) -> Self {
        self.attributes
            .push((attribute.to_owned(), value.to_owned()));
        self
    }
}

/// Rules of ours.
///
/// ```
/// use hosttune_blockdev::udev::{Condition, DiskRule, OwnRules};
///
/// let rules = OwnRules::new("gaming").rule(
///     DiskRule::new([Condition::below("nvme")])
///         .set("queue/nr_requests", "256")
///         .set("queue/scheduler", "none"),
/// );
/// assert_eq!(rules.path()?, "/etc/udev/rules.d/61-hosttune-gaming.rules");
/// let text = rules.to_text()?;
/// assert!(text.contains(r#", SUBSYSTEMS=="nvme", "#));
/// assert!(text.contains(r#", ATTR{queue/scheduler}="none""#));
/// # Ok::<(), hosttune_blockdev::udev::OwnRulesError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRules {
    name: String,
    blocks: Vec<Block>,
    call: Option<Call>,
}

/// What is written one after the other.
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

impl OwnRules {
    /// None yet; the name is that of the file and of whom it belongs to.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            blocks: Vec::new(),
            call: None,
        }
    }

    /// With a rule. Of two that match one disk the later has the last word.
    #[must_use]
    pub fn rule(mut self, rule: DiskRule) -> Self {
        self.blocks.push(Block::Rule(rule));
        self
    }

    /// With cases of which a disk is the first that it meets, and no other.
    #[must_use]
    pub fn first_of(mut self, cases: impl IntoIterator<Item = Case>) -> Self {
        self.blocks
            .push(Block::FirstOf(cases.into_iter().collect()));
        self
    }

    /// With a program that is called for each disk that comes, behind all rules.
    #[must_use]
    pub fn call(mut self, call: Call) -> Self {
        self.call = Some(call);
        self
    }

    /// The name of the file.
    ///
    /// It begins with 61: files are read in the order of their names, and `60-hosttune` would come
    /// before `60-persistent-storage.rules`, where `ID_BUS` and the like come from.
    ///
    /// # Errors
    /// Where the name cannot be part of it.
    pub fn file_name(&self) -> Result<String, OwnRulesError> {
        let good = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || "-_".contains(character)
        };
        if !(1..=64).contains(&self.name.len()) || !self.name.chars().all(good) {
            return Err(OwnRulesError::Name(self.name.clone()));
        }
        Ok(format!("61-hosttune-{}.rules", self.name))
    }

    /// Where the file belongs.
    ///
    /// # Errors
    /// As [`file_name`](Self::file_name).
    pub fn path(&self) -> Result<String, OwnRulesError> {
        Ok(format!("/etc/udev/rules.d/{}", self.file_name()?))
    }

    /// The rules, in order.
    ///
    /// # Errors
    /// Where one cannot be written or would do something else than what is meant.
    pub fn to_rules(&self) -> Result<Vec<Rule>, OwnRulesError> {
        let lines = self.lines(Guard::Active)?.into_iter();
        let rules = lines.filter_map(|line| match line {
            Written::Rule(rule) => Some(rule),
            Written::Comment(_) => None,
        });
        Ok(rules.collect())
    }

    fn lines(&self, guard: Guard) -> Result<Vec<Written>, OwnRulesError> {
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

    /// The text of the file.
    ///
    /// # Errors
    /// As [`to_rules`](Self::to_rules) and [`file_name`](Self::file_name).
    pub fn to_text(&self) -> Result<String, OwnRulesError> {
        self.text(Guard::Active)
    }

    /// Rules that leave disks at the same, to be judged and not to be written: whether a scheduler is
    /// active already hangs on what earlier rules have set, which would leave it open.
    pub(super) fn to_judge(&self) -> Result<String, OwnRulesError> {
        self.text(Guard::None)
    }

    fn text(&self, guard: Guard) -> Result<String, OwnRulesError> {
        let name = self.file_name()?;
        let mut text = format!(
            "# {name}: written by hosttune. Change what it was made from instead.\n\
             # For the disks that are there already: udevadm trigger --action=add --subsystem-match=block\n"
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

/// What keeps a scheduler from being set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// That it is active.
    Active,
    None,
}

/// A disk that has come, or a device of device-mapper that has been activated.
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
            // What its maker wants nobody else to touch.
            Token::new(Key::Env, Operator::Unequal, "1").of("DM_UDEV_DISABLE_OTHER_RULES_FLAG"),
        ]);
    } else {
        // Known by what it is, not by its name.
        tokens.push(Token::new(Key::Test, Operator::Unequal, "dm"));
    }
    tokens
}

/// What stands behind `#`: a line that is far from as long as udevd can read, whatever it was.
fn one_line(comment: &str) -> String {
    let plain = comment.chars().take(1000);
    let plain = plain.map(|one| if one.is_control() { ' ' } else { one });
    plain.collect::<String>().trim_end().to_owned()
}

fn of_disks(rule: &DiskRule, guard: Guard) -> Result<Vec<Rule>, OwnRulesError> {
    if rule.conditions.is_empty() {
        return Err(OwnRulesError::NoCondition);
    }
    if rule.attributes.is_empty() {
        return Err(OwnRulesError::NothingSet);
    }
    let mut conditions = of_events(rule.is_device_mapper);
    for condition in &rule.conditions {
        conditions.push(condition.token()?);
    }
    settings(&conditions, &rule.attributes, guard)
}

/// Rules that set attributes where all of this matches.
pub(super) fn settings(
    conditions: &[Token],
    attributes: &[(String, String)],
    guard: Guard,
) -> Result<Vec<Rule>, OwnRulesError> {
    let (scheduler, others): (Vec<_>, Vec<_>) = attributes
        .iter()
        .partition(|(attribute, _)| attribute == "queue/scheduler");
    let mut rules = Vec::new();
    // A scheduler that is set resets what hangs on it, so it goes first, and in a rule of its own: the
    // others are set whether it had to be or not.
    for (attribute, value) in scheduler {
        let assignment = assignment(attribute, value)?;
        let mut tokens = conditions.to_vec();
        // Where it is active already nothing is written: a switch freezes the queue for tens of
        // milliseconds and resets what hangs on it. This matches no disk without schedulers.
        if guard == Guard::Active {
            let active = format!("*{}*", Pattern::literal(&format!("[{value}]"))?);
            tokens.push(Token::new(Key::Attr, Operator::Unequal, active).of(attribute));
            // The file outlives the kernel that it was written under, so no release is asked for.
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

fn assignment(attribute: &str, value: &str) -> Result<Token, OwnRulesError> {
    let mut segments = attribute.split('/');
    let strange = |segment: &str| segment.is_empty() || segment.starts_with('.');
    if attribute.contains(['$', '%', '*', '?', '[', '}', '\\'])
        || attribute.contains(char::is_control)
        || segments.any(strange)
    {
        return Err(OwnRulesError::Attribute(attribute.to_owned()));
    }
    let wrong = |why| OwnRulesError::Value {
        attribute: attribute.to_owned(),
        value: value.to_owned(),
        why,
    };
    if value.is_empty() {
        return Err(wrong("an empty write succeeds and sets nothing"));
    }
    if value.contains(char::is_control) {
        return Err(wrong(
            "it holds a control character, which no attribute takes",
        ));
    }
    // UDEV_NAME_SIZE with the end; more is left out or cut, by version.
    if value.len() >= 512 {
        return Err(wrong("udevd takes less than 512 bytes"));
    }
    let value = value.replace('%', "%%").replace('$', "$$");
    Ok(Token::new(Key::Attr, Operator::Assign, value).of(attribute))
}
