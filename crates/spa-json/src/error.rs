//! Faults in a text, and what PipeWire makes of them.

use std::fmt;

use crate::dialect::Dialect;
use crate::position::Position;

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// `:` or `=` between the elements of an array.
    SeparatorInArray,
    /// A separator, an object or an array where the key of an object should be.
    ExpectedKey,
    /// The end, or a closing bracket, after a key without a value.
    ExpectedValue,
    /// More than [`MAX_DEPTH`](crate::MAX_DEPTH) objects and arrays inside each other.
    TooDeep,
    /// `}` where `]` should be.
    ExpectedArrayClose,
    /// `]` where `}` should be.
    ExpectedObjectClose,
    /// A bracket that is not closed, or a closing one without an opening one.
    MismatchedBracket,
    /// A backslash outside of a string.
    EscapeOutsideString,
    /// A byte that is not allowed there: a control character, or text that is not UTF-8 in a string,
    /// anything but ASCII outside of one.
    ByteNotAllowed,
    /// An escape other than `\" \\ \/ \b \f \n \r \t \u`.
    InvalidEscape,
    /// A string without its closing quote.
    UnfinishedString,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SeparatorInArray => "':' or '=' in an array",
            Self::ExpectedKey => "a key is missing",
            Self::ExpectedValue => "a key has no value",
            Self::TooDeep => "too many brackets inside each other",
            Self::ExpectedArrayClose => "an array is closed with '}' instead of ']'",
            Self::ExpectedObjectClose => "an object is closed with ']' instead of '}'",
            Self::MismatchedBracket => "a bracket has no counterpart",
            Self::EscapeOutsideString => "a backslash outside of a string",
            Self::ByteNotAllowed => "a byte that is not allowed here",
            Self::InvalidEscape => "an unknown escape in a string",
            Self::UnfinishedString => "a string has no closing quote",
        })
    }
}

/// A fault at which PipeWire stops reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    /// What is wrong.
    pub reason: Reason,
    /// The byte offset at which it is noticed.
    pub offset: usize,
    /// The same as line and column.
    pub position: Position,
    /// The parser that notices it.
    pub dialect: Dialect,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = match self.dialect {
            Dialect::Lenient => "PipeWire keeps what is before it and silently drops the rest",
            Dialect::Checked => "PipeWire drops the whole text",
        };
        write!(f, "{}: {}; {dropped}", self.position, self.reason)
    }
}

impl std::error::Error for Error {}

/// Something that PipeWire silently drops or changes although it is no fault to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remark {
    /// What it is.
    pub kind: RemarkKind,
    /// The byte offset where it begins.
    pub offset: usize,
    /// The same as line and column.
    pub position: Position,
}

/// The kind of a [`Remark`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemarkKind {
    /// A key at the end of an object that has no value: it is dropped.
    NoValue {
        /// The key.
        key: String,
    },
    /// A key that occurs again later in the same object: this one is dropped.
    Repeated {
        /// The key.
        key: String,
    },
    /// A key of [`MAX_KEY`](crate::MAX_KEY) bytes or more: it is dropped with its value and, up to
    /// PipeWire 1.0, with all that follows in its object.
    KeyTooLong,
    /// An object or an array in the place of a key: PipeWire up to 1.0 takes its opening bracket for
    /// the key and drops its content.
    BracketAsKey,
    /// Text after the closing bracket of the outermost object or array: it is dropped.
    AfterEnd {
        /// Whether the next token of it is malformed. It makes no difference to the daemon.
        malformed: bool,
    },
    /// Text that is not UTF-8; in the value, the replacement character stands for it.
    NotUtf8,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.position)?;
        match &self.kind {
            RemarkKind::NoValue { key } => write!(f, "'{key}' has no value and is dropped"),
            RemarkKind::Repeated { key } => {
                write!(f, "'{key}' is dropped: the same key follows in this object")
            }
            RemarkKind::KeyTooLong => {
                write!(f, "a key of {} bytes or more is dropped", crate::MAX_KEY)
            }
            RemarkKind::BracketAsKey => {
                f.write_str("an object or array in the place of a key is dropped")
            }
            RemarkKind::AfterEnd { .. } => {
                f.write_str("what follows the outermost closing bracket is dropped")
            }
            RemarkKind::NotUtf8 => f.write_str("this is not UTF-8"),
        }
    }
}
