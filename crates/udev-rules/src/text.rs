//! The text of one rules file, preserved byte for byte.

use super::SyntaxError;
use super::rule::Rule;
use super::token::UnwritableError;
use super::{Problem, ProblemKind};

/// udevd reads only lines shorter than this, `UDEV_LINE_SIZE`.
pub(super) const LONGEST: usize = 16 * 1024;

/// A rules file. Text that cannot be parsed is preserved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    lines: Vec<Line>,
}

/// A line, or several lines joined by continuations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The number of its first line, counted from 1. udevd's own messages give the last line.
    pub number: usize,
    /// The number of its last line.
    pub last: usize,
    /// Its bytes, including line ends and comments between continuations.
    pub bytes: Vec<u8>,
    /// The parsed content.
    pub content: Content,
}

/// The content of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Nothing.
    Blank,
    /// A line that begins with `#`. A comment has no continuation, even if it ends with a
    /// backslash.
    Comment,
    /// A rule.
    Rule(Rule),
    /// A line with a syntax error.
    Broken(SyntaxError),
    /// A line that is too long, unfinished, not read or not UTF-8, as reported by
    /// [`Document::problems`].
    Kept(ProblemKind),
}

impl Document {
    /// Parses the bytes of a file. This never fails: invalid text is preserved and reported by
    /// [`problems`](Self::problems).
    pub fn parse(bytes: &[u8]) -> Self {
        let mut lines = Vec::new();
        let mut reading = Reading::default();
        let mut rest = bytes;
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let (length, whole) = physical(rest);
            if length >= LONGEST {
                // An unfinished rule before this line is never evaluated either.
                reading.bytes.extend_from_slice(rest);
                let number = reading.first.unwrap_or(number);
                lines.push(reading.kept(number, number, ProblemKind::Unread));
                return Self { lines };
            }
            let (line, behind) = rest.split_at(whole);
            lines.extend(reading.take(number, line, &line[..length]));
            rest = behind;
        }
        if let Some(first) = reading.first {
            lines.push(reading.kept(first, number, ProblemKind::Unfinished));
        }
        Self { lines }
    }

    /// Creates a file with only these rules.
    ///
    /// # Errors
    /// If the grammar cannot express a rule.
    pub fn of<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Result<Self, UnwritableError> {
        let mut text = String::new();
        for rule in rules {
            text.push_str(&rule.to_text()?);
            text.push('\n');
        }
        Ok(Self::parse(text.as_bytes()))
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = self.lines.iter().map(|line| line.bytes.as_slice());
        bytes.collect::<Vec<_>>().concat()
    }

    /// All lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The rules with their first lines, including rules that udevd ignores.
    pub fn rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.lines.iter().filter_map(|line| match &line.content {
            Content::Rule(rule) => Some((line.number, rule)),
            _ => None,
        })
    }

    /// Reports the problems, by line.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (position, line) in self.lines.iter().enumerate() {
            let at = |kind| Problem {
                line: line.number,
                kind,
            };
            match &line.content {
                Content::Blank | Content::Comment => {}
                Content::Broken(error) => problems.push(at(ProblemKind::Syntax(error.clone()))),
                Content::Kept(kind) => problems.push(at(kind.clone())),
                Content::Rule(rule) => {
                    problems.extend(rule.problems(line.number));
                    if let Some(label) = rule.goto()
                        && self.labelled(position, label).is_none()
                    {
                        problems.push(at(ProblemKind::NoSuchLabel(label.to_owned())));
                    }
                }
            }
        }
        problems
    }

    /// The first line after `position` that has this label and is not ignored.
    pub(super) fn labelled(&self, position: usize, label: &str) -> Option<usize> {
        let behind = position + 1;
        let found = self.lines.get(behind..)?.iter().position(|line| {
            matches!(&line.content, Content::Rule(rule)
                if rule.label() == Some(label) && !rule.is_left_out())
        });
        found.map(|found| behind + found)
    }
}

/// The length of the first physical line without and with its line end.
///
/// LF, CR and NUL are line ends, and a sequence of different ones is a single end: CR LF is one, LF
/// LF are two.
fn physical(bytes: &[u8]) -> (usize, usize) {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
    let length = bytes.iter().position(is_end).unwrap_or(bytes.len());
    let mut whole = length;
    while let Some(byte) = bytes.get(whole)
        && is_end(byte)
        && !bytes[length..whole].contains(byte)
    {
        whole += 1;
    }
    (length, whole)
}

/// A line whose continuations are being joined.
#[derive(Default)]
struct Reading {
    /// The number of its first line, if there is one.
    first: Option<usize>,
    bytes: Vec<u8>,
    text: Vec<u8>,
    too_long: bool,
}

impl Reading {
    /// Adds a physical line, with and without its end; returns the line that it completes.
    fn take(&mut self, number: usize, whole: &[u8], line: &[u8]) -> Option<Line> {
        let line = line.trim_ascii_start_as_udev();
        self.bytes.extend_from_slice(whole);
        if line.first() == Some(&b'#') {
            // A comment within continuations is skipped, and the rule continues after it.
            return match self.first {
                Some(_) => None,
                None => Some(self.done(number, number, Content::Comment)),
            };
        }
        if self.first.is_some() && self.text.len() + line.len() >= LONGEST {
            self.too_long = true;
        }
        let first = *self.first.get_or_insert(number);
        if let Some(line) = line.strip_suffix(b"\\") {
            self.text.extend_from_slice(line);
            return None;
        }
        self.text.extend_from_slice(line);
        let content = if self.too_long {
            Content::Kept(ProblemKind::TooLong)
        } else {
            content(&self.text)
        };
        Some(self.done(first, number, content))
    }

    fn done(&mut self, number: usize, last: usize, content: Content) -> Line {
        let Self { bytes, .. } = std::mem::take(self);
        Line {
            number,
            last,
            bytes,
            content,
        }
    }

    fn kept(&mut self, number: usize, last: usize, kind: ProblemKind) -> Line {
        self.done(number, last, Content::Kept(kind))
    }
}

fn content(text: &[u8]) -> Content {
    if text.is_empty() {
        return Content::Blank;
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return Content::Kept(ProblemKind::NotUtf8);
    };
    match Rule::parse(text) {
        Ok(rule) => Content::Rule(rule),
        Err(error) => Content::Broken(error),
    }
}

trait Blanks {
    fn trim_ascii_start_as_udev(&self) -> &[u8];
}

impl Blanks for [u8] {
    fn trim_ascii_start_as_udev(&self) -> &[u8] {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let start = self.iter().position(|byte| !blank(byte));
        &self[start.unwrap_or(self.len())..]
    }
}
