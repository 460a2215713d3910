//! The text of one rules file, kept byte for byte.

use super::rule::{Rule, SyntaxError};
use super::token::UnwritableError;
use super::{Problem, ProblemKind};

/// What udevd reads of a line: less than this, `UDEV_LINE_SIZE`.
pub(super) const LONGEST: usize = 16 * 1024;

/// A rules file. What is not understood is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    lines: Vec<Line>,
}

/// A line, or several that continuations join.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Where it begins, counted from 1. udevd's own messages name the line where it ends.
    pub number: usize,
    /// Where it ends.
    pub last: usize,
    /// Its bytes, ends and comments between continuations included.
    pub bytes: Vec<u8>,
    /// What it says.
    pub content: Content,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Nothing.
    Blank,
    /// A line that begins with `#`. It does not continue, whatever it ends with.
    Comment,
    /// A rule.
    Rule(Rule),
    /// No rule, for its form.
    Broken(SyntaxError),
    /// Too long, unfinished, unread or not UTF-8, as [`Document::problems`] says.
    Kept(ProblemKind),
}

impl Document {
    /// Takes in a file's bytes. Never fails: what is wrong is kept, and said by
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
                // What came before without an end is never carried out either.
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

    /// A file of these rules and nothing else.
    ///
    /// # Errors
    /// Where the grammar has no way to write one.
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

    /// The rules with the lines that they begin at, those that udevd leaves out among them.
    pub fn rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.lines.iter().filter_map(|line| match &line.content {
            Content::Rule(rule) => Some((line.number, rule)),
            _ => None,
        })
    }

    /// What is wrong in it, by line.
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

    /// The first line behind `position` that has this label and is not left out.
    pub(super) fn labelled(&self, position: usize, label: &str) -> Option<usize> {
        let behind = position + 1;
        let found = self.lines.get(behind..)?.iter().position(|line| {
            matches!(&line.content, Content::Rule(rule)
                if rule.label() == Some(label) && !rule.is_left_out())
        });
        found.map(|found| behind + found)
    }
}

/// The length of the first physical line without and with its end.
///
/// An end is LF, CR or NUL, and as many of these in a row as differ are one end: so CR LF is one and
/// LF LF are two.
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

/// A line that is being joined.
#[derive(Default)]
struct Reading {
    /// Where it began, if it did.
    first: Option<usize>,
    bytes: Vec<u8>,
    text: Vec<u8>,
    too_long: bool,
}

impl Reading {
    /// Takes in a physical line, with and without its end; the line that it completes.
    fn take(&mut self, number: usize, whole: &[u8], line: &[u8]) -> Option<Line> {
        let line = line.trim_ascii_start_as_udev();
        self.bytes.extend_from_slice(whole);
        if line.first() == Some(&b'#') {
            // Left out, a continuation that it stands in goes on.
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
