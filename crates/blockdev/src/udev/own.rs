//! Rules of ours, as a file: udev itself tunes disks as they come.

use std::fmt::Write;

use super::pattern::Pattern;
use super::rule::Rule;
use super::token::{Key, Operator, Token, UnwritableError};

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

/// What a disk has to be like.
///
/// By what it is and not by its name: names are given in the order of finding, and patterns of them
/// miss the eleventh controller and the 27th disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    key: Key,
    attribute: Option<String>,
    text: String,
    is_pattern: bool,
    negated: bool,
}

impl Condition {
    fn new(key: Key, attribute: Option<&str>, text: &str) -> Self {
        Self {
            key,
            attribute: attribute.map(str::to_owned),
            text: text.to_owned(),
            is_pattern: false,
            negated: false,
        }
    }

    /// A file of its directory holds this. A disk that does not have the file never matches, not
    /// even [`negated`](Self::negated).
    pub fn attribute(path: &str, text: &str) -> Self {
        Self::new(Key::Attr, Some(path), text)
    }

    /// A file of a directory of its own or of a parent's holds this.
    pub fn parent_attribute(path: &str, text: &str) -> Self {
        Self::new(Key::Attrs, Some(path), text)
    }

    /// A property that udev has of it is this. Most come from `60-persistent-storage.rules` and
    /// `55-dm.rules`, which [`OwnRules::file_name`] stands behind.
    pub fn property(name: &str, text: &str) -> Self {
        Self::new(Key::Env, Some(name), text)
    }

    /// A parent is of this subsystem: `nvme`, `usb`, `virtio`, `mmc`, `scsi`. A SATA disk has `scsi`
    /// too, and so has one of USB.
    pub fn below(subsystem: &str) -> Self {
        Self::new(Key::Subsystems, None, subsystem)
    }

    /// Whether it rotates, as the kernel says. A virtio disk says it does, whatever is behind it.
    pub fn rotational(rotational: bool) -> Self {
        Self::attribute("queue/rotational", if rotational { "1" } else { "0" })
    }

    /// `ID_BUS`: `ata`, `scsi`, `usb`. NVMe and virtio have none.
    pub fn bus(bus: &str) -> Self {
        Self::property("ID_BUS", bus)
    }

    /// Any of several, and shell patterns: the text as udev(7) has it, `|` and `*` included.
    #[must_use]
    pub fn as_pattern(mut self) -> Self {
        self.is_pattern = true;
        self
    }

    /// The opposite.
    #[must_use]
    pub fn negated(mut self) -> Self {
        self.negated = !self.negated;
        self
    }

    fn token(&self) -> Result<Token, UnwritableError> {
        let value = if self.is_pattern {
            self.text.clone()
        } else {
            Pattern::literal(&self.text)?
        };
        let operator = if self.negated {
            Operator::Unequal
        } else {
            Operator::Equal
        };
        if let Some(attribute) = &self.attribute
            && (attribute.is_empty()
                || attribute.contains(['$', '%'])
                || attribute.starts_with('['))
        {
            return Err(UnwritableError {
                what: "attribute",
                text: attribute.clone(),
                why: "it is empty, or udevd would take it for something else",
            });
        }
        Ok(Token {
            attribute: self.attribute.clone(),
            ..Token::new(self.key.clone(), operator, value)
        })
    }
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

/// A program that tunes one disk: called by udev for each that comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    arguments: Vec<String>,
}

impl Call {
    /// `PROGRAM apply --only blockdev --device NODE --yes`, with what a host binary understands.
    ///
    /// udev stops what takes longer than three minutes, and the event waits for it: what follows is
    /// queued behind.
    pub fn apply(program: &str) -> Self {
        let arguments = ["apply", "--only", "blockdev", "--device", "%N", "--yes"];
        let arguments = arguments.map(str::to_owned);
        Self {
            arguments: [program.to_owned()].into_iter().chain(arguments).collect(),
        }
    }

    fn text(&self) -> Result<String, OwnRulesError> {
        let mut words = Vec::new();
        for (position, argument) in self.arguments.iter().enumerate() {
            let harmful =
                |character: char| character.is_control() || matches!(character, '\'' | '"' | '\\');
            let is_program = position == 0;
            if argument.is_empty()
                || argument.contains(harmful)
                || is_program && !argument.starts_with('/')
            {
                return Err(OwnRulesError::Program(argument.clone()));
            }
            let mut word = match argument.as_str() {
                "%N" => "%N".to_owned(),
                other => other.replace('%', "%%").replace('$', "$$"),
            };
            if word.contains(' ') {
                word = format!("'{word}'");
            }
            words.push(word);
        }
        Ok(words.join(" "))
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
    rules: Vec<DiskRule>,
    call: Option<Call>,
}

impl OwnRules {
    /// None yet; the name is that of the file and of whom it belongs to.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rules: Vec::new(),
            call: None,
        }
    }

    /// With a rule. Of two that match one disk the later has the last word.
    #[must_use]
    pub fn rule(mut self, rule: DiskRule) -> Self {
        self.rules.push(rule);
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
        let mut rules = Vec::new();
        for rule in &self.rules {
            rules.extend(of_disks(rule)?);
        }
        if let Some(call) = &self.call {
            for is_device_mapper in [false, true] {
                let mut tokens = of_events(is_device_mapper);
                tokens.push(Token::new(Key::Run, Operator::Add, call.text()?));
                rules.push(Rule::new(tokens));
            }
        }
        Ok(rules)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// As [`to_rules`](Self::to_rules) and [`file_name`](Self::file_name).
    pub fn to_text(&self) -> Result<String, OwnRulesError> {
        let name = self.file_name()?;
        let mut text = format!(
            "# {name}: written by hosttune. Change what it was made from instead.\n\
             # For the disks that are there already: udevadm trigger --action=add --subsystem-match=block\n"
        );
        for rule in self.to_rules()? {
            let _ = writeln!(text, "{}", rule.to_text()?);
        }
        Ok(text)
    }
}

/// A disk that has come, or a device of device-mapper that has been activated.
fn of_events(is_device_mapper: bool) -> Vec<Token> {
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

fn of_disks(rule: &DiskRule) -> Result<Vec<Rule>, OwnRulesError> {
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
    let (scheduler, others): (Vec<_>, Vec<_>) = rule
        .attributes
        .iter()
        .partition(|(attribute, _)| attribute == "queue/scheduler");
    let mut rules = Vec::new();
    // A scheduler that is set resets what hangs on it, so it goes first, and in a rule of its own: the
    // others are set whether it had to be or not.
    for (attribute, value) in scheduler {
        let assignment = assignment(attribute, value)?;
        let mut tokens = conditions.clone();
        // Where it is active already nothing is written: a switch freezes the queue for tens of
        // milliseconds and resets what hangs on it. This matches no disk without schedulers.
        let active = format!("*{}*", Pattern::literal(&format!("[{value}]"))?);
        tokens.push(Token::new(Key::Attr, Operator::Unequal, active).of(attribute));
        tokens.push(assignment);
        rules.push(Rule::new(tokens));
    }
    let others: Result<Vec<_>, _> = others
        .into_iter()
        .map(|(attribute, value)| assignment(attribute, value))
        .collect();
    let others = others?;
    if !others.is_empty() {
        rules.push(Rule::new(conditions.into_iter().chain(others)));
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
