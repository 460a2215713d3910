//! The value of a kernel variable: what a user may write, what the kernel shows, and the one text
//! that stands for both.
//!
//! A [`Value`] is its canonical text. The [`ValueType`] of a key decides what is canonical when
//! the value is made (`0x1e` becomes `30`, tabs between fields become single spaces), and from
//! then on equality is equality of text. The alternative, an enum of integers, vectors and words,
//! was rejected: a journal would have to tag each value with its kind to read it back equal, and
//! people read journals. So a value is a plain string in JSON, and [`Value::as_integer`] and
//! [`Value::as_vector`] give the typed view where one is needed.
//!
//! Reading is strict in one direction only. What a user writes ([`Value::parse_wanted`]) is
//! refused wherever the kernel would take it in silence and do something else: the kernel accepts
//! vectors with too few or too many fields, takes `5 6` for the scalar 5, reads `30 # comment` as
//! 30, and an empty write succeeds without effect. What the kernel shows ([`Value::parse_seen`])
//! is never refused, because a value that cannot be read cannot be put back.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::number;

/// What a number counts. Only for people to read; nothing is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// A plain number of things.
    Count,
    /// Off, on, or one of a few numbered modes.
    Mode,
    /// A set of bits.
    Mask,
    /// Bytes.
    Bytes,
    /// Units of 1024 bytes.
    Kibibytes,
    /// Memory pages, 4096 bytes on most machines.
    Pages,
    /// Seconds.
    Seconds,
    /// Hundredths of a second, which the kernel calls centisecs.
    Centiseconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Parts of a hundred.
    Percent,
    /// Parts of ten thousand.
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

/// The numbers that the kernel accepts for a key, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntegerRange {
    /// The least accepted number.
    pub minimum: i128,
    /// The greatest accepted number.
    pub maximum: i128,
    /// What the number counts.
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
    /// Exactly `arity` integers. The kernel itself does not insist on the number of fields: it
    /// leaves missing ones as they were and ignores the rest.
    Vector {
        /// The number of fields.
        arity: usize,
        /// What each field accepts. Relations between fields (a port range must ascend) are the
        /// kernel's to check.
        element: IntegerRange,
    },
    /// One word without blanks, such as the name of an algorithm.
    Word,
    /// Words in no particular order. The canonical text sorts them and drops repetitions,
    /// because the kernel prints them in the order in which their modules registered: two equal
    /// sets must be equal texts, or each load of a module would read as a change.
    WordSet,
    /// Numbers and ranges of numbers, as `80,9000-9003`. The canonical text is the kernel's own:
    /// ascending, neighbours joined (`1,2,3` is printed back as `1-3`).
    RangeList,
    /// Any one line. The type of every key that the catalogue does not know: nothing is
    /// canonicalised except the blanks around it.
    Raw,
}

/// Why a text is no value that may be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Nothing but blanks.
    #[error(
        "the value is empty; the kernel reports success for an empty write and changes nothing, so give the value itself"
    )]
    Empty,
    /// The value holds a line end or NUL.
    #[error(
        "the value {text:?} holds a line end or NUL at byte {offset}; give one value on one line"
    )]
    LineBreak {
        /// The whole text.
        text: String,
        /// Where the character stands, in bytes.
        offset: usize,
    },
    /// A comment after the value.
    #[error(
        "the value {text:?} carries a comment; neither the kernel nor a sysctl.d loader knows comments after a value (an integer would be set and the rest ignored, a word would be refused), so put the comment on a line of its own"
    )]
    Comment {
        /// The whole text.
        text: String,
    },
    /// Not a number as the kernel reads numbers.
    #[error(
        "`{text}` is not an integer; write decimal digits (30), 0x and hexadecimal digits (0x1e) or 0 and octal digits (036), with `-` before a negative number and no `+`"
    )]
    NotAnInteger {
        /// The field.
        text: String,
    },
    /// Something follows a number where one number was wanted.
    #[error(
        "one integer was wanted and {text:?} holds {count} fields; the kernel would set the first and ignore the rest"
    )]
    TrailingText {
        /// The whole text.
        text: String,
        /// The number of fields found.
        count: usize,
    },
    /// A number outside of the range that the kernel accepts.
    #[error("{number} is outside of {range}")]
    OutOfRange {
        /// The number.
        number: i128,
        /// The range that it must lie in.
        range: IntegerRange,
    },
    /// A vector with another number of fields.
    #[error(
        "{wanted} fields were wanted and {text:?} holds {count}; the kernel would keep the old value of a missing field and ignore one too many"
    )]
    Arity {
        /// The whole text.
        text: String,
        /// The number of fields wanted.
        wanted: usize,
        /// The number of fields found.
        count: usize,
    },
    /// One field of a vector is wrong.
    #[error("field {place} of {text:?} cannot be used")]
    Field {
        /// The whole text.
        text: String,
        /// Which field, counted from 1.
        place: usize,
        /// What is wrong with it.
        #[source]
        source: Box<ValueError>,
    },
    /// Several words where one was wanted.
    #[error(
        "one word was wanted and {text:?} holds {count}; the kernel would look for all of it as one name"
    )]
    NotOneWord {
        /// The whole text.
        text: String,
        /// The number of words found.
        count: usize,
    },
    /// Not a list of numbers and ranges.
    #[error("`{element}` in {text:?} is no number and no range; write a list like 80,9000-9003")]
    NotARange {
        /// The whole text.
        text: String,
        /// The element that cannot be read.
        element: String,
    },
}

/// The value of one kernel variable as canonical text, without a line end.
///
/// Two values made under one [`ValueType`] are equal exactly when the kernel means the same by
/// them. In JSON it is a string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value {
    text: String,
}

impl Value {
    /// Takes a text as it stands, without judging it.
    ///
    /// For values that were already judged elsewhere; what a user wrote belongs into
    /// [`Value::parse_wanted`].
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

    /// Reads what a user wants a key to hold, refusing whatever the kernel would accept and not
    /// do. Blanks around the text are dropped, as both sysctl.d loaders do.
    ///
    /// # Errors
    ///
    /// When the text is empty, holds a line end or a comment, is not of the type, or holds a
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

    /// Reads what the kernel printed. What does not have the expected shape is kept as it is
    /// instead of refused, since a snapshot must be able to hold it.
    pub fn parse_seen(value_type: &ValueType, text: &str) -> Self {
        Self::try_parse_seen(value_type, text).unwrap_or_else(|_| Self::raw(without_line_end(text)))
    }

    /// Like [`Value::parse_seen`], but says when the text does not have the expected shape.
    ///
    /// A number out of range is no such case: the kernel holds what it holds, and ranges are
    /// about what it accepts on a write.
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
    /// The line end is in the same buffer because the kernel takes each write as a whole value,
    /// so that a line end written by itself is a second, empty value, which some keys refuse.
    /// Between the numbers of a vector stand tabs, which is how the kernel prints them: it takes either, but a
    /// captured tree is to hold again what was captured.
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

    /// Whether the kernel would read the two texts as the same: blanks between fields are one, and
    /// fields that are numbers are compared as numbers.
    pub(crate) fn reads_as(&self, other: &Self) -> bool {
        self.fields().count() == other.fields().count()
            && self
                .fields()
                .zip(other.fields())
                .all(|(own, other)| same_field(own, other))
    }

    /// Whether `seen` is what a write of `to` leaves of the numbers `from` when it is taken in part:
    /// too few fields leave the others, too many are not looked at, and one that is no number ends
    /// it. The words of a key that holds words are never torn.
    pub(crate) fn torn_as_read(seen: &Self, from: &Self, to: &Self) -> bool {
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

    /// The number, when the text is one decimal number.
    pub fn as_integer(&self) -> Option<i128> {
        number::decimal(&self.text)
    }

    /// The numbers, when the text is one or more decimal numbers.
    pub fn as_vector(&self) -> Option<Vec<i128>> {
        let numbers: Option<Vec<i128>> = self.fields().map(number::decimal).collect();
        numbers.filter(|numbers| !numbers.is_empty())
    }

    /// The words of the text.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.text.split_ascii_whitespace()
    }

    /// Whether `seen` is what remains of a write of `to` over `from` that broke off.
    ///
    /// The kernel sets the fields of a vector one by one, so a write that it refuses at the third
    /// field has set the first two (measured with tcp_rmem: `5000 88888 banana` reports EINVAL
    /// and leaves 5000 and 88888 behind). Torn is therefore a vector of which every field is one
    /// of the two at its place, and which is neither as a whole. A single number is set at once
    /// and never torn.
    ///
    /// An empty `seen` is torn too when neither end is empty: in a captured tree keys are
    /// ordinary files, and those are truncated before they are written.
    #[must_use]
    pub fn torn(seen: &Self, from: &Self, to: &Self) -> bool {
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

/// Whose text is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Wanted,
    Seen,
}

/// What both loaders strip around a value and the kernel skips before a number.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

/// Whether a `#` or `;` begins the text or follows a blank. Without the blank it may belong to
/// the value: kernel.core_pattern and file names hold any character.
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

/// The text without the line end that the kernel puts after every value. Only one is taken: what
/// stands before it is the value.
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
