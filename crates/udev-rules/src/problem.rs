//! Problems in a line of a rules file.

use std::fmt;

use super::token::{Key, Operator, Token};

/// Why a line is not a rule. udevd ignores such a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}, at {at:?}")]
#[non_exhaustive]
pub struct SyntaxError {
    /// The problem.
    pub problem: &'static str,
    /// The text from the position of the error on, at most 40 characters.
    pub at: String,
}

/// Something in a file that its author is unlikely to have intended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The first line of the rule, counted from 1.
    pub line: usize,
    /// The kind of problem.
    pub kind: ProblemKind,
}

impl Problem {
    /// Whether udevd ignores the whole line because of it.
    pub fn leaves_out(&self) -> bool {
        match &self.kind {
            ProblemKind::Syntax(_)
            | ProblemKind::UnknownKey(_)
            | ProblemKind::Attribute { .. }
            | ProblemKind::Operator { .. }
            | ProblemKind::CaseInsensitive { .. }
            | ProblemKind::NoEffect
            | ProblemKind::TooLong
            | ProblemKind::Unread
            | ProblemKind::Unfinished => true,
            ProblemKind::TakenAsAssignment { .. }
            | ProblemKind::UnknownOption(_)
            | ProblemKind::SecondGoto(_)
            | ProblemKind::NoSuchLabel(_)
            | ProblemKind::NewPrefix
            | ProblemKind::NotUtf8 => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.kind)
    }
}

/// The kinds of problems.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A syntax error.
    Syntax(SyntaxError),
    /// A key that is not in udev(7).
    UnknownKey(String),
    /// A key with a missing, unexpected or unknown attribute in braces.
    Attribute {
        /// The key.
        key: Key,
    },
    /// An operator that the key does not accept.
    Operator {
        /// The key.
        key: Key,
        /// The operator.
        operator: Operator,
    },
    /// An operator that the key treats as `=`.
    TakenAsAssignment {
        /// The key.
        key: Key,
        /// The operator.
        operator: Operator,
    },
    /// The prefix `i` on a value that is not compared with a pattern.
    CaseInsensitive {
        /// The key.
        key: Key,
    },
    /// Any use of the prefix `i`, which only newer systemd supports; 254 ignores the line.
    NewPrefix,
    /// An option that udevd does not know; it ignores only the option.
    UnknownOption(String),
    /// A second `GOTO` in one line, which is ignored.
    SecondGoto(String),
    /// A `GOTO` to a label that no later line of the file has, which is ignored.
    NoSuchLabel(String),
    /// The rule only compares and has no effect.
    NoEffect,
    /// The line has 16 KiB or more, including its continuations.
    TooLong,
    /// A single line of 16 KiB or more: udevd does not read the rest of the file.
    Unread,
    /// The file ends after a continuation.
    Unfinished,
    /// The line is not UTF-8 text. udevd does read it; here it is preserved but not evaluated.
    NotUtf8,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => write!(f, "{error}: udevd ignores the line"),
            Self::UnknownKey(key) => write!(
                f,
                "unknown key {key:?}: udevd ignores the whole line, unless it is a newer version that supports the key"
            ),
            Self::Attribute { key } => write!(
                f,
                "{key} has a missing or invalid attribute in braces: udevd ignores the line; see udev(7) for the attributes of {key}"
            ),
            Self::Operator { key, operator } => write!(
                f,
                "{key} does not accept {operator}: udevd ignores the line"
            ),
            Self::TakenAsAssignment { key, operator } => write!(
                f,
                "{key} treats {operator} as =: a later rule can still change it"
            ),
            Self::CaseInsensitive { key } => write!(
                f,
                "the prefix i is only for comparisons, and {key} is not compared here: udevd ignores the line"
            ),
            Self::NewPrefix => {
                f.write_str("only newer systemd supports the prefix i: 254 ignores the line")
            }
            Self::UnknownOption(option) => write!(f, "unknown option {option:?}: udevd ignores it"),
            Self::SecondGoto(label) => write!(
                f,
                "a second GOTO, to {label:?}: only the first is taken"
            ),
            Self::NoSuchLabel(label) => write!(
                f,
                "no later line of this file is labelled {label:?}: the GOTO is ignored"
            ),
            Self::NoEffect => f.write_str("the rule only compares and has no effect: udevd ignores it"),
            Self::TooLong => f.write_str("16 KiB or more with its continuations: udevd ignores it"),
            Self::Unread => f.write_str(
                "a line of 16 KiB or more: udevd does not read the rest of this file",
            ),
            Self::Unfinished => f.write_str(
                "the file ends after a continuation: udevd ignores the line; remove the backslash at its end",
            ),
            Self::NotUtf8 => f.write_str("not UTF-8 text: the line is preserved but not evaluated"),
        }
    }
}

/// How a key may be used.
struct Usage {
    /// Whether it requires or excludes an attribute in braces; `None` if the attribute is optional.
    attribute: Option<bool>,
    /// Whether it can be compared.
    compares: bool,
    /// The operators that it accepts for assignment.
    assigns: &'static [Operator],
    /// The operators that it treats as `=`.
    taken_as_assignment: &'static [Operator],
}

fn usage(key: &Key) -> Option<Usage> {
    use Operator::{Add, Assign, Final, Remove};
    let usage = |attribute, compares, assigns, taken_as_assignment| {
        Some(Usage {
            attribute,
            compares,
            assigns,
            taken_as_assignment,
        })
    };
    match key {
        Key::Action
        | Key::Devpath
        | Key::Kernel
        | Key::Subsystem
        | Key::Driver
        | Key::Kernels
        | Key::Subsystems
        | Key::Drivers
        | Key::Tags
        | Key::Result => usage(Some(false), true, &[], &[]),
        Key::Attrs | Key::Const => usage(Some(true), true, &[], &[]),
        Key::Test => usage(None, true, &[], &[]),
        Key::Symlink => usage(Some(false), true, &[Assign, Add, Remove, Final], &[]),
        Key::Name => usage(Some(false), true, &[Assign, Final], &[Add]),
        Key::Env => usage(Some(true), true, &[Assign, Add], &[Final]),
        Key::Tag => usage(Some(false), true, &[Assign, Add, Remove], &[Final]),
        Key::Attr | Key::Sysctl => usage(Some(true), true, &[Assign], &[Add, Final]),
        Key::Program => usage(Some(false), true, &[Assign, Add, Final], &[]),
        Key::Import => usage(Some(true), true, &[Assign, Add, Final], &[]),
        Key::Options => usage(Some(false), false, &[Assign, Add, Final], &[]),
        Key::Owner | Key::Group | Key::Mode => usage(Some(false), false, &[Assign, Final], &[Add]),
        Key::Seclabel => usage(Some(true), false, &[Assign, Add], &[Final]),
        Key::Run => usage(None, false, &[Assign, Add, Final], &[]),
        Key::Goto | Key::Label => usage(Some(false), false, &[Assign], &[]),
        Key::Other(_) => None,
    }
}

const OPTIONS: [&str; 6] = [
    "dump",
    "string_escape=none",
    "string_escape=replace",
    "db_persist",
    "watch",
    "nowatch",
];
const OPTIONS_WITH_VALUES: [&str; 3] = ["static_node=", "link_priority=", "log_level="];

/// Collects the problems of one token.
pub(super) fn of_token(token: &Token, kinds: &mut Vec<ProblemKind>) {
    let Token {
        key,
        attribute,
        operator,
        value,
    } = token;
    let Some(usage) = usage(key) else {
        kinds.push(ProblemKind::UnknownKey(key.name().to_owned()));
        return;
    };
    let attribute = attribute.as_deref();
    let fits = match usage.attribute {
        Some(true) => attribute.is_some_and(|attribute| !attribute.is_empty()),
        Some(false) => attribute.is_none(),
        None => true,
    };
    let known = match (key, attribute) {
        (Key::Import, Some(kind)) => {
            ["builtin", "cmdline", "db", "file", "parent", "program"].contains(&kind)
        }
        (Key::Run, Some(kind)) => ["builtin", "program"].contains(&kind),
        (Key::Const, Some(name)) => ["arch", "virt", "cvm"].contains(&name),
        (Key::Test, Some(mode)) => mode.is_empty() || u32::from_str_radix(mode, 8).is_ok(),
        _ => true,
    };
    if !fits || !known {
        kinds.push(ProblemKind::Attribute { key: key.clone() });
    }
    if operator.is_match() {
        if !usage.compares {
            kinds.push(ProblemKind::Operator {
                key: key.clone(),
                operator: *operator,
            });
        }
    } else if usage.taken_as_assignment.contains(operator) {
        kinds.push(ProblemKind::TakenAsAssignment {
            key: key.clone(),
            operator: *operator,
        });
    } else if !usage.assigns.contains(operator) {
        kinds.push(ProblemKind::Operator {
            key: key.clone(),
            operator: *operator,
        });
    }
    if value.case_insensitive {
        let compares = operator.is_match() && usage.compares;
        if !compares || matches!(key, Key::Test | Key::Program | Key::Import) {
            kinds.push(ProblemKind::CaseInsensitive { key: key.clone() });
        } else {
            kinds.push(ProblemKind::NewPrefix);
        }
    }
    if *key == Key::Options {
        let option = value.text.as_str();
        let mut with_values = OPTIONS_WITH_VALUES.iter();
        if !OPTIONS.contains(&option) && !with_values.any(|known| option.starts_with(known)) {
            kinds.push(ProblemKind::UnknownOption(option.to_owned()));
        }
    }
}
