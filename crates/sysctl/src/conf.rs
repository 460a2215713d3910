//! The text of a sysctl.d(5) file: `key = value` lines, kept byte for byte.
//!
//! A [`Document`] keeps every line unchanged, together with its meaning, so that an edit changes
//! the bytes of its own line and nothing else: line ends, comments, blank lines, odd spacing and a
//! missing last line end are preserved. Parsing never fails; a line that is not a statement is kept
//! and reported by [`Document::problems`].
//!
//! Two programs load these files and differ in how they read them. This module follows systemd,
//! because that is what runs at boot. The differences were measured with systemd-sysctl 252 and
//! procps `sysctl` 4.0.2:
//!
//! | Text | systemd-sysctl | `sysctl -p` |
//! |---|---|---|
//! | `key = 30 # comment` | writes `30 # comment` | the same |
//! | `#` or `;` after leading blanks | comment | the same |
//! | CR before the line feed | stripped | the same |
//! | a CR or NUL alone | ends the line | CR: part of the value; NUL: the rest of the line is lost |
//! | `-key` after `key = 1` | the assignment is dropped | the assignment stays |
//! | `-key` with a glob in it | drops an earlier glob of the same text, nothing else | drops nothing |
//! | `-key # comment` | excludes a key with that whole text as its name, so nothing | the same |
//! | `- key = 1` | ignores failure | no such key |
//! | `--key = 1` | no such key | writes |
//! | `/net/ipv4/x`, `net..ipv4.x` | redundant separators dropped | works, with a warning for the latter |
//! | `vm.x. = 1` | redundant separators dropped | no such key |
//! | bytes that are not UTF-8 | written unchanged | the same |
//! | `net/ipv4/../ipv4/x` | EINVAL | writes |
//! | a line with neither `=` nor `-` | skipped, exit status 1 | skipped, exit status 0 |
//! | a missing key | skipped, exit status 0 | exit status 1 |
//! | `-key = 1` for a missing key | exit status 0 | exit status 1 |
//! | `-key = 1` refused by the kernel | exit status 0 | exit status 1 |
//! | vertical tab or form feed around a text | part of it | stripped |

use std::fmt;
use std::ops::Range;

use crate::key::{Key, KeyError, KeyPattern};
use crate::value::{Value, holds_comment};

/// The meaning of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statement {
    /// An empty line, or one that contains only blanks.
    Blank,
    /// A line that begins with `#` or `;`.
    Comment,
    /// `key = value`.
    Assignment(Assignment),
    /// `-key`: no glob sets this key, and with systemd no earlier assignment does either.
    Exclusion(KeyPattern),
    /// None of these; [`Document::problems`] gives the reason.
    Unknown,
}

/// A line `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assignment {
    /// The key, or the glob over keys, that the line sets.
    pub pattern: KeyPattern,
    /// The text after the `=` without the blanks around it: exactly what a loader writes, including
    /// a trailing comment. It may be empty. Bytes that are not UTF-8 are U+FFFD here, while a
    /// loader writes them unchanged.
    pub value: String,
    /// Whether procps reads the key as systemd does; if not, it writes nothing.
    pub is_read_by_procps: bool,
    /// Whether a `-` before the key tells the loader to ignore failures.
    pub ignore_failure: bool,
}

/// Something in a file that its author is unlikely to have intended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.kind)
    }
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The line has no `=`, and no `-` that would make it an exclusion.
    NotAnAssignment,
    /// The line is not UTF-8. No key of the kernel has such a name, and of a value the kernel reads
    /// at most the part before those bytes.
    NotUtf8,
    /// The text before the `=` is not a valid key.
    Key(KeyError),
    /// The value ends in what looks like a comment. The kernel sets an integer and ignores the
    /// rest, and it rejects a word.
    CommentInValue,
    /// The exclusion is followed by what looks like a comment, so it excludes nothing.
    CommentInExclusion,
    /// Nothing follows the `=`. The loaders write a lone line end, which most keys reject.
    EmptyValue,
    /// The key is spelled with redundant separators or with blanks after its `-`; procps reads it
    /// differently or not at all.
    SpellingOfKey,
    /// The line ends in a CR or NUL without a line feed; only systemd treats that as a line end.
    LineEnd,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotAnAssignment => {
                "not an assignment: loaders skip the line and systemd-sysctl exits with an error; write key = value, or # before a comment"
            }
            Self::NotUtf8 => "not UTF-8: loaders write the bytes unchanged; remove them",
            Self::Key(error) => return error.fmt(formatter),
            Self::CommentInValue => {
                "every loader reads the comment as part of the value; put it on a line of its own"
            }
            Self::CommentInExclusion => {
                "loaders read the comment as part of the excluded name, so nothing is excluded; put it on a line of its own"
            }
            Self::EmptyValue => {
                "the value is empty: loaders write a lone line end, which most keys reject; add a value or remove the line"
            }
            Self::SpellingOfKey => {
                "loaders differ in how they read this spelling of the key; write it like vm.swappiness"
            }
            Self::LineEnd => {
                "the line ends in a CR or NUL without a line feed, which only systemd treats as a line end; use a line feed"
            }
        })
    }
}

/// Why a document cannot be edited or rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// A loader would read a different value.
    #[error(
        "the value {value:?} of {key} cannot be written to a sysctl.d file: loaders would read {read:?}; a value there is one line, not empty and without blanks around it"
    )]
    Value {
        /// The key to set.
        key: Key,
        /// The value to set.
        value: String,
        /// What a loader would read; `None` if it would read no assignment to that key.
        read: Option<String>,
    },
}

/// One assignment of a generated file, for [`Document::render`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Value,
    /// The reason for the value: one or more lines, written as comment lines above it.
    pub comment: Option<String>,
    /// Whether loaders ignore a failure to set it; written as a `-` before the key.
    pub ignore_failure: bool,
}

/// A sysctl.d file, preserved byte for byte.
///
/// ```
/// # use hosttune_sysctl::{Document, Key, Value};
/// let mut document = Document::parse(b"# ours\r\nvm.swappiness=60  \r\nkernel.panic = 5");
/// document.set(&"vm.swappiness".parse()?, &Value::integer(10))?;
/// assert_eq!(document.bytes(), b"# ours\r\nvm.swappiness=10  \r\nkernel.panic = 5");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    content: Vec<u8>,
    /// The original line end; it can be empty only on the last line.
    end: Vec<u8>,
    statement: Statement,
    problems: Vec<ProblemKind>,
}

impl Document {
    /// Parses a file. Any bytes are a valid document.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (content, end, after) = split_line(rest);
            lines.push(Line::new(content, end));
            rest = after;
        }
        Self { lines }
    }

    /// Generates a file: a header of comment lines, then the entries in the given order, each below
    /// its comment.
    ///
    /// # Errors
    ///
    /// When loaders would not read a value back unchanged.
    pub fn render(header: &str, entries: &[Entry]) -> Result<Self, EditError> {
        let mut text = comment_lines(header);
        for entry in entries {
            if let Some(comment) = &entry.comment {
                text.push('\n');
                text.push_str(&comment_lines(comment));
            }
            if entry.ignore_failure {
                text.push('-');
            }
            text.push_str(&assignment_line(&entry.key, &entry.value)?);
            text.push('\n');
        }
        Ok(Self::parse(text.as_bytes()))
    }

    /// The bytes of the file; for a parsed document that was not edited, exactly the bytes that were
    /// parsed.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in &self.lines {
            bytes.extend_from_slice(&line.content);
            bytes.extend_from_slice(&line.end);
        }
        bytes
    }

    /// The meaning of each line, with its number counted from 1 as systemd counts lines.
    pub fn statements(&self) -> impl Iterator<Item = (usize, &Statement)> {
        self.lines
            .iter()
            .enumerate()
            .map(|(place, line)| (place + 1, &line.statement))
    }

    /// The assignments in order, each with its line number.
    pub fn assignments(&self) -> impl Iterator<Item = (usize, &Assignment)> {
        self.statements()
            .filter_map(|(line, statement)| match statement {
                Statement::Assignment(assignment) => Some((line, assignment)),
                _ => None,
            })
    }

    /// The exclusions in order, each with its line number.
    pub fn exclusions(&self) -> impl Iterator<Item = (usize, &KeyPattern)> {
        self.statements()
            .filter_map(|(line, statement)| match statement {
                Statement::Exclusion(pattern) => Some((line, pattern)),
                _ => None,
            })
    }

    /// Everything in the file that its author is unlikely to have intended, in order.
    pub fn problems(&self) -> Vec<Problem> {
        let of_line = |(place, line): (usize, &Line)| {
            let kinds = line.problems.clone();
            kinds.into_iter().map(move |kind| Problem {
                line: place + 1,
                kind,
            })
        };
        self.lines.iter().enumerate().flat_map(of_line).collect()
    }

    /// Makes the file assign `value` to `key`.
    ///
    /// The last line that assigns the key by name gets the new value in place and keeps its spacing
    /// and its `-`. If there is none, or an exclusion of the key further down would drop it, a line
    /// is added at the end. A glob that matches is left alone, because an assignment by name takes
    /// precedence. The other names of the variable ([`Key::canonical`]) are left alone too.
    ///
    /// # Errors
    ///
    /// When loaders would not read the value back unchanged.
    pub fn set(&mut self, key: &Key, value: &Value) -> Result<(), EditError> {
        let added = assignment_line(key, value)?;
        let last = self.lines.iter_mut().rev().find(|line| line.names(key));
        match last {
            Some(line) if matches!(line.statement, Statement::Assignment(_)) => {
                line.replace_value(value.text());
            }
            _ => self.append(&added),
        }
        self.reread();
        Ok(())
    }

    /// Removes every line that assigns `key` by name, and returns how many there were.
    ///
    /// All of them are removed because an earlier assignment would otherwise take effect. Globs and
    /// exclusions stay.
    pub fn remove(&mut self, key: &Key) -> usize {
        let before = self.lines.len();
        let ended = self.lines.last().is_none_or(|line| !line.end.is_empty());
        self.lines.retain(|line| {
            !(line.names(key) && matches!(line.statement, Statement::Assignment(_)))
        });
        // A file without a last line end stays without one, whichever line is the last now. This
        // makes removing a line the exact inverse of adding it.
        if !ended && let Some(last) = self.lines.last_mut() {
            last.end.clear();
        }
        let removed = before - self.lines.len();
        self.reread();
        removed
    }

    /// Adds a line in the style of the file: with its kind of line end, and without a last line end
    /// if there was none.
    fn append(&mut self, content: &str) {
        let style = self
            .lines
            .iter()
            .rev()
            .find(|line| !line.end.is_empty())
            .map_or(b"\n".as_slice(), |line| line.end.as_slice());
        let style = if style == b"\r\n" {
            b"\r\n".to_vec()
        } else {
            b"\n".to_vec()
        };
        let end = match self.lines.last_mut() {
            Some(last) if last.end.is_empty() => {
                last.end.clone_from(&style);
                Vec::new()
            }
            _ => style,
        };
        self.lines.push(Line::new(content.as_bytes(), &end));
    }

    /// Splits the lines again after an edit, because a CR and a line feed that have become adjacent
    /// are one line end now.
    fn reread(&mut self) {
        *self = Self::parse(&self.bytes());
    }
}

impl fmt::Display for Document {
    /// Prints the text with U+FFFD for bytes that are not UTF-8; use [`Document::bytes`] to write
    /// the file.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.bytes()))
    }
}

impl Line {
    fn new(content: &[u8], end: &[u8]) -> Self {
        let (statement, mut problems) = understand(content);
        let says_something = !matches!(statement, Statement::Blank | Statement::Comment);
        if says_something && !end.is_empty() && !end.contains(&b'\n') {
            problems.push(ProblemKind::LineEnd);
        }
        Self {
            content: content.to_vec(),
            end: end.to_vec(),
            statement,
            problems,
        }
    }

    /// Whether the line assigns or excludes this key by name.
    fn names(&self, key: &Key) -> bool {
        let pattern = match &self.statement {
            Statement::Assignment(assignment) => &assignment.pattern,
            Statement::Exclusion(pattern) => pattern,
            Statement::Blank | Statement::Comment | Statement::Unknown => return false,
        };
        !pattern.is_glob() && pattern.matches(key)
    }

    /// Replaces the value and keeps the blanks around it.
    fn replace_value(&mut self, value: &str) {
        let Some(Range { start, end }) = value_range(&self.content) else {
            return;
        };
        let mut content = self.content[..start].to_vec();
        content.extend_from_slice(value.as_bytes());
        content.extend_from_slice(&self.content[end..]);
        self.content = content;
    }
}

/// The range of the value in an assignment. An empty value goes directly after the `=`, or after
/// the first blank if there is one.
fn value_range(content: &[u8]) -> Option<Range<usize>> {
    let after = content.iter().position(|byte| *byte == b'=')? + 1;
    let text = &content[after..];
    let leading = text.iter().take_while(|byte| is_blank(**byte)).count();
    if leading == text.len() {
        let place = after + leading.min(1);
        return Some(place..content.len());
    }
    let trailing = text
        .iter()
        .rev()
        .take_while(|byte| is_blank(**byte))
        .count();
    Some(after + leading..content.len() - trailing)
}

/// Whether systemd strips this byte around a text. It also strips line ends, which no line
/// contains, but not the vertical tab and the form feed that procps strips.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Splits off the first line as systemd's `read_line` does: a line ends at a line feed, a CR or a
/// NUL. Adjacent ones that differ form a single line end, which ends after a NUL.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
    let length = bytes.iter().position(ends).unwrap_or(bytes.len());
    let mut end = length;
    while let Some(byte) = bytes.get(end)
        && ends(byte)
        && !bytes[length..end].contains(byte)
        && !bytes[length..end].contains(&0)
    {
        end += 1;
    }
    (&bytes[..length], &bytes[length..end], &bytes[end..])
}

/// The meaning of one line's content.
fn understand(content: &[u8]) -> (Statement, Vec<ProblemKind>) {
    let unknown = |problem| (Statement::Unknown, vec![problem]);
    let stripped = {
        let start = content.iter().take_while(|byte| is_blank(**byte)).count();
        &content[start..]
    };
    match stripped.first() {
        None => return (Statement::Blank, Vec::new()),
        Some(b'#' | b';') => return (Statement::Comment, Vec::new()),
        Some(_) => {}
    }
    // Loaders read bytes. Only the key must be text, because every key of the kernel is text.
    let is_text = std::str::from_utf8(stripped).is_ok();
    let name_end = stripped.iter().position(|byte| *byte == b'=');
    if std::str::from_utf8(&stripped[..name_end.unwrap_or(stripped.len())]).is_err() {
        return unknown(ProblemKind::NotUtf8);
    }
    let text = &*String::from_utf8_lossy(stripped);
    let blanks: &[char] = &[' ', '\t'];
    let text = text.trim_end_matches(blanks);
    let (dash, named) = match text.strip_prefix('-') {
        Some(named) => (true, named),
        None => (false, text),
    };
    let Some((name, value)) = named.split_once('=') else {
        return if dash {
            exclusion(named)
        } else {
            unknown(ProblemKind::NotAnAssignment)
        };
    };
    let pattern = match KeyPattern::as_systemd_reads(name.trim_matches(blanks)) {
        Ok(pattern) => pattern,
        Err(error) => return unknown(ProblemKind::Key(error)),
    };
    let mut problems = Vec::new();
    if name.trim_end_matches(blanks).parse::<KeyPattern>().is_err() {
        problems.push(ProblemKind::SpellingOfKey);
    }
    if !is_text {
        problems.push(ProblemKind::NotUtf8);
    }
    let value = value.trim_matches(blanks);
    if value.is_empty() {
        problems.push(ProblemKind::EmptyValue);
    } else if holds_comment(value) {
        problems.push(ProblemKind::CommentInValue);
    }
    let assignment = Assignment {
        pattern,
        value: value.to_owned(),
        // procps builds the path from the key without simplifying it: a key that ends in a
        // separator is not a file, and blanks after the dash are not dropped.
        is_read_by_procps: !(name.trim_end_matches(blanks).ends_with(['.', '/'])
            || dash && name.starts_with(blanks)),
        ignore_failure: dash,
    };
    (Statement::Assignment(assignment), problems)
}

/// The meaning of an exclusion; `name` is the text after the `-`.
fn exclusion(name: &str) -> (Statement, Vec<ProblemKind>) {
    let name = name.trim_start_matches([' ', '\t']);
    match KeyPattern::as_systemd_reads(name) {
        Ok(pattern) => {
            let redundant = name.parse::<KeyPattern>().is_err();
            let problems = redundant.then_some(ProblemKind::SpellingOfKey);
            (
                Statement::Exclusion(pattern),
                problems.into_iter().collect(),
            )
        }
        Err(_) if holds_comment(name) => {
            (Statement::Unknown, vec![ProblemKind::CommentInExclusion])
        }
        Err(error) => (Statement::Unknown, vec![ProblemKind::Key(error)]),
    }
}

/// The line that assigns the value, provided that loaders read it back unchanged.
fn assignment_line(key: &Key, value: &Value) -> Result<String, EditError> {
    let line = format!("{key} = {}", value.text());
    // The parser itself is the check, so there is no list of forbidden characters here that would
    // have to match how the parser splits and strips lines.
    let read = Document::parse(line.as_bytes());
    let mut assignments = read.assignments();
    match (assignments.next(), assignments.next()) {
        (Some((1, only)), None)
            if read.lines.len() == 1
                && only.value == value.text()
                && !only.value.is_empty()
                && only.pattern.as_key().as_ref() == Some(key) =>
        {
            Ok(line)
        }
        (first, _) => Err(EditError::Value {
            key: key.clone(),
            value: value.text().to_owned(),
            read: first.map(|(_, assignment)| assignment.value.clone()),
        }),
    }
}

/// Formats a text as comment lines. Everything that any loader treats as a line end begins a new
/// comment line, so that no part of the text can become an assignment.
fn comment_lines(text: &str) -> String {
    let mut lines = String::new();
    for line in text.replace("\r\n", "\n").split(['\n', '\r', '\0']) {
        lines.push_str(if line.is_empty() { "#" } else { "# " });
        lines.push_str(line);
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
#[path = "conf_tests.rs"]
mod tests;
