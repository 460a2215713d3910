//! The value of a kernel variable: what a user may write, what the kernel shows, and the canonical
//! text of both.
//!
//! A [`Value`] is its canonical text. The [`ValueType`] of a key determines the canonical form when
//! the value is made (`0x1e` becomes `30`, tabs between fields become single spaces), and from
//! then on two values are equal if their texts are. The alternative, an enum of integers, vectors
//! and words, was rejected: a journal would have to tag each value with its kind to read it back
//! equal, and people read journals. So a value is a plain string in JSON, and
//! [`Value::as_integer`] and [`Value::as_vector`] give the typed view where one is needed.
//!
//! Parsing is strict in one direction only. User input ([`Value::parse_wanted`]) is rejected
//! wherever the kernel would silently do something else: the kernel accepts vectors with too few or
//! too many fields, reads `5 6` as the scalar 5 and `30 # comment` as 30, and an empty write
//! succeeds without effect. What the kernel shows ([`Value::parse_seen`]) is never rejected,
//! because a value that cannot be read cannot be restored.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::number;

/// The unit of a number. It is for display only; nothing is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// A plain number of things.
    Count,
    /// Off, on, or one of a few numbered modes.
    Mode,
    /// A bit mask.
    Mask,
    /// Bytes.
    Bytes,
    /// Units of 1024 bytes.
    Kibibytes,
    /// Memory pages, 4096 bytes on most machines.
    Pages,
    /// Seconds.
    Seconds,
    /// Hundredths of a second, `centisecs` in the kernel's names.
    Centiseconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Percent.
    Percent,
    /// Ten-thousandths.
    TenThousandths,
    /// Packets.
    Packets,
    /// A TCP or UDP port number.
    Port,
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Count => "count",
            Self::Mode => "mode",
            Self::Mask => "bit mask",
            Self::Bytes => "bytes",
            Self::Kibibytes => "KiB",
            Self::Pages => "pages",
            Self::Seconds => "seconds",
            Self::Centiseconds => "1/100 second",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Percent => "percent",
            Self::TenThousandths => "1/10000",
            Self::Packets => "packets",
            Self::Port => "port number",
        })
    }
}

/// The numbers that the kernel accepts for a key, both bounds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct IntegerRange {
    /// The smallest accepted number.
    pub minimum: i128,
    /// The largest accepted number.
    pub maximum: i128,
    /// The unit of the number.
    pub unit: Unit,
}

impl IntegerRange {
    /// The range from `minimum` to `maximum`, both included.
    pub const fn new(minimum: i128, maximum: i128, unit: Unit) -> Self {
        Self {
            minimum,
            maximum,
            unit,
        }
    }

    /// Whether the number lies in the range.
    pub const fn contains(&self, number: i128) -> bool {
        self.minimum <= number && number <= self.maximum
    }
}

impl fmt::Display for IntegerRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}..={} ({})",
            self.minimum, self.maximum, self.unit
        )
    }
}

/// The shape of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueType {
    /// One integer.
    Integer(IntegerRange),
    /// Exactly `arity` integers. The kernel itself does not check the number of fields: it leaves
    /// missing ones unchanged and ignores extra ones.
    Vector {
        /// The number of fields.
        arity: usize,
        /// The range of each field. Relations between fields (a port range must ascend) are left
        /// to the kernel to check.
        element: IntegerRange,
    },
    /// A single word, such as the name of an algorithm.
    Word,
    /// Words in no particular order. The canonical text is sorted and has no duplicates, because
    /// the kernel prints the words in the order in which their modules registered: without that,
    /// loading a module could look like a change.
    WordSet,
    /// Numbers and ranges of numbers, such as `80,9000-9003`. The canonical text is the kernel's:
    /// ascending, with adjacent numbers merged (`1,2,3` is printed back as `1-3`).
    RangeList,
    /// Any single line. This is the type of every key that is not in the catalogue; only the
    /// blanks around the line are normalized.
    Raw,
}

/// Why a text is not a valid value to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The text is empty or contains only blanks.
    #[error(
        "the value is empty; the kernel reports success for an empty write and changes nothing, so specify a value"
    )]
    Empty,
    /// The value contains a line end or NUL.
    #[error(
        "the value {text:?} contains a line end or NUL at byte {offset}; write one value on one line"
    )]
    LineBreak {
        /// The whole text.
        text: String,
        /// The offset of the character, in bytes.
        offset: usize,
    },
    /// A comment follows the value.
    #[error(
        "the value {text:?} contains a comment; neither the kernel nor a sysctl.d loader supports comments after a value (an integer would be set and the rest ignored, a word would be rejected), so put the comment on a line of its own"
    )]
    Comment {
        /// The whole text.
        text: String,
    },
    /// The text is not a number that the kernel can parse.
    #[error(
        "`{text}` is not an integer; write decimal digits (30), 0x and hexadecimal digits (0x1e) or 0 and octal digits (036), with `-` before a negative number and no `+`"
    )]
    NotAnInteger {
        /// The field.
        text: String,
    },
    /// Further fields follow a single number.
    #[error(
        "expected one integer, but {text:?} has {count} fields; the kernel would set the first and ignore the rest"
    )]
    TrailingText {
        /// The whole text.
        text: String,
        /// The number of fields found.
        count: usize,
    },
    /// The number is outside of the range that the kernel accepts.
    #[error("{number} is outside of {range}")]
    OutOfRange {
        /// The number.
        number: i128,
        /// The accepted range.
        range: IntegerRange,
    },
    /// A vector has the wrong number of fields.
    #[error(
        "expected {wanted} fields, but {text:?} has {count}; the kernel would keep the old value of a missing field and ignore an extra one"
    )]
    Arity {
        /// The whole text.
        text: String,
        /// The expected number of fields.
        wanted: usize,
        /// The number of fields found.
        count: usize,
    },
    /// A field of a vector is invalid.
    #[error("field {place} of {text:?} is invalid")]
    Field {
        /// The whole text.
        text: String,
        /// The field's number, counted from 1.
        place: usize,
        /// Why the field is invalid.
        #[source]
        source: Box<ValueError>,
    },
    /// The text has several words where one is expected.
    #[error(
        "expected one word, but {text:?} has {count}; the kernel would look up all of it as one name"
    )]
    NotOneWord {
        /// The whole text.
        text: String,
        /// The number of words found.
        count: usize,
    },
    /// The text is not a list of numbers and ranges.
    #[error(
        "`{element}` in {text:?} is neither a number nor a range; write a list like 80,9000-9003"
    )]
    NotARange {
        /// The whole text.
        text: String,
        /// The element that cannot be parsed.
        element: String,
    },
}

/// The value of one kernel variable as canonical text, without a line end.
///
/// Two values made with the same [`ValueType`] are equal exactly when they mean the same to the
/// kernel. In JSON a value is a string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value {
    text: String,
}

impl Value {
    /// Makes a value from a text without validating it.
    ///
    /// This is for values that were validated elsewhere; use [`Value::parse_wanted`] for user
    /// input.
    pub fn raw(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// A single number.
    pub fn integer(number: i128) -> Self {
        Self {
            text: number.to_string(),
        }
    }

    /// Several numbers.
    pub fn vector(numbers: &[i128]) -> Self {
        let fields: Vec<String> = numbers.iter().map(i128::to_string).collect();
        Self {
            text: fields.join(" "),
        }
    }

    /// Parses the value that a user wants to set, and rejects what the kernel would accept without
    /// doing it. Blanks around the text are dropped, as by both sysctl.d loaders.
    ///
    /// # Errors
    ///
    /// When the text is empty, contains a line end or a comment, is not of the type, or contains a
    /// number out of range; see [`ValueError`].
    pub fn parse_wanted(value_type: &ValueType, text: &str) -> Result<Self, ValueError> {
        if let Some(offset) = text.find(['\n', '\r', '\0']) {
            return Err(ValueError::LineBreak {
                text: text.to_owned(),
                offset,
            });
        }
        let trimmed = text.trim_matches(is_blank);
        if trimmed.is_empty() {
            return Err(ValueError::Empty);
        }
        if holds_comment(trimmed) {
            return Err(ValueError::Comment {
                text: trimmed.to_owned(),
            });
        }
        canonical(value_type, trimmed, Reading::Wanted).map(|text| Self { text })
    }

    /// Parses what the kernel printed. A text that does not have the expected shape is kept
    /// unchanged rather than rejected, because a snapshot must be able to hold it.
    pub fn parse_seen(value_type: &ValueType, text: &str) -> Self {
        Self::try_parse_seen(value_type, text).unwrap_or_else(|_| Self::raw(without_line_end(text)))
    }

    /// Like [`Value::parse_seen`], but fails if the text does not have the expected shape.
    ///
    /// A number out of range is not an error, because ranges describe what the kernel accepts on a
    /// write.
    ///
    /// # Errors
    ///
    /// When the text is not of the type; see [`ValueError`].
    pub fn try_parse_seen(value_type: &ValueType, text: &str) -> Result<Self, ValueError> {
        canonical(value_type, without_line_end(text), Reading::Seen).map(|text| Self { text })
    }

    /// The canonical text, without a line end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes for the one write(2) that sets this value: the text and its line end.
    ///
    /// The line end is in the same buffer because the kernel treats each write as a whole value: a
    /// line end written separately is a second, empty value, which some keys reject. The numbers of
    /// a vector are separated by tabs, as the kernel prints them. It accepts spaces too, but a
    /// captured tree must be restored byte for byte.
    pub fn bytes_to_write(&self, value_type: &ValueType) -> Vec<u8> {
        let mut bytes = self.text.clone().into_bytes();
        if matches!(value_type, ValueType::Vector { .. }) && self.as_vector().is_some() {
            for byte in bytes.iter_mut().filter(|byte| **byte == b' ') {
                *byte = b'\t';
            }
        }
        bytes.push(b'\n');
        bytes
    }

    /// Whether the kernel would parse the two texts to the same value: the amount of blanks between
    /// fields does not matter, and fields that are numbers are compared as numbers.
    pub(crate) fn reads_as(&self, other: &Self) -> bool {
        self.fields().count() == other.fields().count()
            && self
                .fields()
                .zip(other.fields())
                .all(|(own, other)| same_field(own, other))
    }

    /// Whether `seen` is what a partial write of `to` leaves of the numbers in `from`: missing
    /// fields are unchanged, extra ones are ignored, and a field that is not a number ends the
    /// write. A key that contains words is never partially written.
    pub(crate) fn is_partial_write_as_read(seen: &Self, from: &Self, to: &Self) -> bool {
        let numbers = |value: &Self| value.fields().all(|f| number::as_kernel_reads(f).is_some());
        let to: Vec<&str> = to.fields().collect();
        numbers(from)
            && numbers(seen)
            && seen.fields().count() == from.fields().count()
            && !seen.reads_as(from)
            && seen
                .fields()
                .zip(from.fields())
                .enumerate()
                .all(|(place, (seen, from))| {
                    same_field(seen, from) || to.get(place).is_some_and(|to| same_field(seen, to))
                })
    }

    /// The number, if the text is one decimal number.
    pub fn as_integer(&self) -> Option<i128> {
        number::decimal(&self.text)
    }

    /// The numbers, if the text is one or more decimal numbers.
    pub fn as_vector(&self) -> Option<Vec<i128>> {
        let numbers: Option<Vec<i128>> = self.fields().map(number::decimal).collect();
        numbers.filter(|numbers| !numbers.is_empty())
    }

    /// The words of the text.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.text.split_ascii_whitespace()
    }

    /// Whether `seen` is the result of a partial write of `to` over `from`.
    ///
    /// The kernel sets the fields of a vector one by one, so a write that it rejects at the third
    /// field has already set the first two (measured with `tcp_rmem`: `5000 88888 banana` reports
    /// EINVAL and leaves 5000 and 88888 behind). A vector is therefore a partial write if each
    /// field comes from `from` or from `to`, and the whole equals neither. A single number is
    /// always set as a whole.
    ///
    /// An empty `seen` is a partial write too if neither `from` nor `to` is empty: in a captured
    /// tree keys are ordinary files, which are truncated before they are written.
    #[must_use]
    pub fn is_partial_write(seen: &Self, from: &Self, to: &Self) -> bool {
        if seen == from || seen == to {
            return false;
        }
        if seen.text.is_empty() {
            return true;
        }
        let (Some(seen), Some(from), Some(to)) =
            (seen.as_vector(), from.as_vector(), to.as_vector())
        else {
            return false;
        };
        seen.len() > 1
            && seen.len() == from.len()
            && seen.len() == to.len()
            && seen
                .iter()
                .zip(from.iter().zip(&to))
                .all(|(seen, (from, to))| seen == from || seen == to)
    }
}

fn same_field(one: &str, other: &str) -> bool {
    let number = number::as_kernel_reads;
    one == other || number(one).is_some_and(|one| number(other) == Some(one))
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Value({:?})", self.text)
    }
}

/// Whose text is being parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Wanted,
    Seen,
}

/// The characters that both loaders strip around a value and the kernel skips before a number.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

/// Whether a `#` or `;` begins the text or follows a blank. Without the blank it may be part of
/// the value: `kernel.core_pattern` and file names can contain any character.
pub(crate) fn holds_comment(text: &str) -> bool {
    let mut after_blank = true;
    for character in text.chars() {
        if after_blank && matches!(character, '#' | ';') {
            return true;
        }
        after_blank = is_blank(character);
    }
    false
}

/// The text without the line end that the kernel appends to every value. Only one line end is
/// removed; anything before it is part of the value.
fn without_line_end(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

fn canonical(value_type: &ValueType, text: &str, reading: Reading) -> Result<String, ValueError> {
    match value_type {
        ValueType::Integer(range) => integer(range, text, reading),
        ValueType::Vector { arity, element } => vector(*arity, element, text, reading),
        ValueType::Word => word(text),
        ValueType::WordSet => Ok(text
            .split_ascii_whitespace()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ")),
        ValueType::RangeList => number::range_list(text).map_err(|element| ValueError::NotARange {
            text: text.to_owned(),
            element,
        }),
        ValueType::Raw => Ok(text.to_owned()),
    }
}

fn integer(range: &IntegerRange, text: &str, reading: Reading) -> Result<String, ValueError> {
    let count = text.split_ascii_whitespace().count();
    if count > 1 {
        return Err(ValueError::TrailingText {
            text: text.to_owned(),
            count,
        });
    }
    element(range, text.trim_matches(is_blank), reading).map(|number| number.to_string())
}

fn element(range: &IntegerRange, text: &str, reading: Reading) -> Result<i128, ValueError> {
    let number = match reading {
        Reading::Wanted => number::as_kernel_reads(text),
        Reading::Seen => number::decimal(text),
    };
    let number = number.ok_or_else(|| ValueError::NotAnInteger {
        text: text.to_owned(),
    })?;
    if reading == Reading::Wanted && !range.contains(number) {
        return Err(ValueError::OutOfRange {
            number,
            range: *range,
        });
    }
    Ok(number)
}

fn vector(
    arity: usize,
    range: &IntegerRange,
    text: &str,
    reading: Reading,
) -> Result<String, ValueError> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if fields.len() != arity {
        return Err(ValueError::Arity {
            text: text.to_owned(),
            wanted: arity,
            count: fields.len(),
        });
    }
    let mut numbers = Vec::with_capacity(arity);
    for (place, field) in fields.into_iter().enumerate() {
        numbers.push(
            element(range, field, reading).map_err(|source| ValueError::Field {
                text: text.to_owned(),
                place: place + 1,
                source: Box::new(source),
            })?,
        );
    }
    Ok(Value::vector(&numbers).text)
}

fn word(text: &str) -> Result<String, ValueError> {
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(word), None) => Ok(word.to_owned()),
        (None, _) => Err(ValueError::Empty),
        (Some(_), Some(_)) => Err(ValueError::NotOneWord {
            text: text.to_owned(),
            count: text.split_ascii_whitespace().count(),
        }),
    }
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
