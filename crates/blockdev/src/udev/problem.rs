//! What is wrong with a line of a rules file.

use std::fmt;

use super::rule::SyntaxError;
use super::token::{Key, Operator, Token};

/// Something in a file that its author is unlikely to have meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The line that it begins at, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl Problem {
    /// Whether udevd leaves out the whole line for it.
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

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// It is no rule.
    Syntax(SyntaxError),
    /// A key that udev(7) does not have.
    UnknownKey(String),
    /// A key that needs `{...}` and has none, has one and takes none, or takes only others.
    Attribute {
        /// The key.
        key: Key,
    },
    /// An operator that the key does not take.
    Operator {
        /// The key.
        key: Key,
        /// The operator.
        operator: Operator,
    },
    /// An operator that the key takes as `=`.
    TakenAsAssignment {
        /// The key.
        key: Key,
        /// The operator.
        operator: Operator,
    },
    /// The prefix `i` where nothing is compared with a pattern.
    CaseInsensitive {
        /// The key.
        key: Key,
    },
    /// The prefix `i` at all, which only newer systemd knows; 254 leaves out the line.
    NewPrefix,
    /// An option that udevd does not know, and leaves out alone.
    UnknownOption(String),
    /// A second `GOTO` of one line is not looked at.
    SecondGoto(String),
    /// A `GOTO` to a label that no later line of the file has is not carried out.
    NoSuchLabel(String),
    /// It compares and then does nothing.
    NoEffect,
    /// With its continuations it has 16 KiB or more.
    TooLong,
    /// A single line of 16 KiB or more: udevd reads nothing of the file behind it.
    Unread,
    /// The file ends behind a continuation.
    Unfinished,
    /// It is not UTF-8 text. udevd does read it; here it is kept and not judged.
    NotUtf8,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => write!(f, "{error}: udevd leaves the line out"),
            Self::UnknownKey(key) => write!(
                f,
                "no key {key:?}: udevd leaves the whole line out, unless it is a newer one that knows it"
            ),
            Self::Attribute { key } => write!(
                f,
                "{key} with what stands in braces behind it, or without: udevd leaves the line out; see udev(7) for what {key} takes"
            ),
            Self::Operator { key, operator } => write!(
                f,
                "{key} does not take {operator}: udevd leaves the line out"
            ),
            Self::TakenAsAssignment { key, operator } => write!(
                f,
                "{key} takes {operator} as =: a later rule still changes it"
            ),
            Self::CaseInsensitive { key } => write!(
                f,
                "the prefix i belongs to comparisons, and {key} here is none: udevd leaves the line out"
            ),
            Self::NewPrefix => {
                f.write_str("only newer systemd knows the prefix i: 254 leaves the line out")
            }
            Self::UnknownOption(option) => write!(f, "no option {option:?}: it is left out"),
            Self::SecondGoto(label) => write!(
                f,
                "a second GOTO, to {label:?}: only the first is carried out"
            ),
            Self::NoSuchLabel(label) => write!(
                f,
                "no later line of this file is labelled {label:?}: the GOTO is not carried out"
            ),
            Self::NoEffect => f.write_str("it compares and does nothing: udevd leaves it out"),
            Self::TooLong => f.write_str("16 KiB or more with its continuations: udevd leaves it out"),
            Self::Unread => f.write_str(
                "a line of 16 KiB or more: udevd reads nothing of this file from here on",
            ),
            Self::Unfinished => f.write_str(
                "the file ends behind a continuation: udevd leaves the line out; end it without a backslash",
            ),
            Self::NotUtf8 => f.write_str("not UTF-8 text: it is kept and not judged"),
        }
    }
}

/// How a key may be used.
struct Usage {
    /// Whether it stands with `{...}`; nothing for with and without.
    attribute: Option<bool>,
    /// Whether it may be compared.
    compares: bool,
    /// The operators that assign.
    assigns: &'static [Operator],
    /// Those that are taken as `=`.
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

/// What is wrong with one token.
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
