//! The text of a sysctl.d(5) file: `key = value` lines, kept byte for byte.
//!
//! A [`Document`] holds every line as it was, together with what the line means, so that an edit
//! changes the bytes of its own line and nothing else: line ends, comments, blank lines, odd
//! spacing and a missing last line end survive. Parsing never fails; what is no statement is kept
//! and reported by [`Document::problems`].
//!
//! Two programs load these files, and they differ. Measured with systemd-sysctl 252 and procps
//! `sysctl` 4.0.2; where they do, the meaning here is systemd's, because that is what runs at boot:
//!
//! | Text | systemd-sysctl | `sysctl -p` |
//! |---|---|---|
//! | `key = 30 # comment` | writes `30 # comment` | the same |
//! | `#` or `;` after leading blanks | comment | the same |
//! | CR before the line feed | stripped | the same |
//! | a CR or NUL alone | ends a line | CR: part of the value; NUL: the rest of the line is lost |
//! | `-key` after `key = 1` | the assignment is dropped | the assignment stays |
//! | `-key` with a glob in it | drops an earlier glob of the same text, nothing else | drops nothing |
//! | `-key # comment` | excludes a key of that whole name, thus nothing | the same |
//! | `- key = 1` | ignores failure | no such key |
//! | `--key = 1` | no such key | writes |
//! | `/net/ipv4/x`, `net..ipv4.x` | redundant separators dropped | works, with a warning for the latter |
//! | `vm.x. = 1` | redundant separators dropped | no such key |
//! | bytes that are not UTF-8 | written as they are | the same |
//! | `net/ipv4/../ipv4/x` | EINVAL | writes |
//! | a line without `=` and `-` | skipped, exit status 1 | skipped, exit status 0 |
//! | a missing key | skipped, exit status 0 | exit status 1 |
//! | `-key = 1` for a missing key | exit status 0 | exit status 1 |
//! | `-key = 1` refused by the kernel | exit status 0 | exit status 1 |
//! | vertical tab or form feed around a text | part of it | stripped |

use std::fmt;
use std::ops::Range;

use crate::key::{Key, KeyError, KeyPattern};
use crate::value::{Value, holds_comment};

/// What one line means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statement {
    /// Nothing but blanks.
    Blank,
    /// A line that begins with `#` or `;`.
    Comment,
    /// `key = value`.
    Assignment(Assignment),
    /// `-key`: no glob sets this key, and with systemd no earlier assignment to it either.
    Exclusion(KeyPattern),
    /// Neither; [`Document::problems`] says why.
    Unknown,
}

/// A line `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assignment {
    /// The key, or the glob over keys, that is set.
    pub pattern: KeyPattern,
    /// The text after the `=` without the blanks around it: exactly what a loader writes, a
    /// trailing comment included. It may be empty. Bytes that are not UTF-8, which a loader writes as
    /// they are, are U+FFFD here.
    pub value: String,
    /// Whether procps reads the key as systemd does; where it does not, it writes nothing.
    pub is_read_by_procps: bool,
    /// Whether a `-` before the key asks the loader to ignore a failure.
    pub ignore_failure: bool,
}

/// Something in a file that its author is unlikely to have meant.
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
    /// No `=`, and no `-` that would make it an exclusion.
    NotAnAssignment,
    /// The line is not UTF-8: a key can be none that the kernel has, and of a value the kernel reads
    /// what stands before those bytes, if anything.
    NotUtf8,
    /// The text before the `=` names no key.
    Key(KeyError),
    /// The value ends in what looks like a comment. An integer is set and the rest ignored; a
    /// word is refused by the kernel.
    CommentInValue,
    /// An exclusion followed by what looks like a comment: it excludes nothing.
    CommentInExclusion,
    /// Nothing after the `=`. The loaders write a lone line end, which most keys refuse.
    EmptyValue,
    /// The key is spelled with redundant separators or with blanks after its `-`; procps reads
    /// it otherwise or not at all.
    SpellingOfKey,
    /// The line ends in a CR or NUL without a line feed, which only systemd takes for a line end.
    LineEnd,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotAnAssignment => {
                "not an assignment: loaders skip the line and systemd-sysctl fails at the end; write key = value, or # before a comment"
            }
            Self::NotUtf8 => "not UTF-8: loaders write the bytes as they are; remove them",
            Self::Key(error) => return error.fmt(formatter),
            Self::CommentInValue => {
                "the comment is part of the value for every loader; put it on a line of its own"
            }
            Self::CommentInExclusion => {
                "the comment is part of the excluded name, so nothing is excluded; put it on a line of its own"
            }
            Self::EmptyValue => {
                "the value is empty: loaders write a lone line end, which most keys refuse; give the value or remove the line"
            }
            Self::SpellingOfKey => {
                "loaders disagree about this spelling of the key; write it like vm.swappiness"
            }
            Self::LineEnd => {
                "the line ends in a CR or NUL alone, which only systemd takes for a line end; use a line feed"
            }
        })
    }
}

/// Why a document cannot be made to say something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// A loader would read another value than the one given.
    #[error(
        "the value {value:?} of {key} cannot stand in a sysctl.d file: loaders would read {read:?}; a value there is one line, not empty and without blanks around it"
    )]
    Value {
        /// The key to be set.
        key: Key,
        /// The value that was wanted.
        value: String,
        /// What a loader would read, if it would read an assignment to that key at all.
        read: Option<String>,
    },
}

/// One assignment of a file of our own, for [`Document::render`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Value,
    /// Why it is set: one or more lines, printed as comment lines above it.
    pub comment: Option<String>,
    /// Whether loaders go on quietly where the kernel refuses it: a `-` before the key.
    pub ignore_failure: bool,
}

/// A sysctl.d file, losslessly.
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
    /// The line end as it was; empty at most for the last line.
    end: Vec<u8>,
    statement: Statement,
    problems: Vec<ProblemKind>,
}

impl Document {
    /// Reads a file. Any bytes are a document.
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

    /// Builds a file of our own: a header of comment lines, then the entries in the given order,
    /// each below its comment.
    ///
    /// # Errors
    ///
    /// When a value cannot stand on one line as it is.
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

    /// The file's bytes; for a parsed document that was not edited, the bytes it was read from.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in &self.lines {
            bytes.extend_from_slice(&line.content);
            bytes.extend_from_slice(&line.end);
        }
        bytes
    }

    /// What each line means, with its number counted from 1 as systemd counts.
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

    /// Everything in the file that its author is unlikely to have meant, in order.
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
    /// The last line that assigns the key by name gets the new value in place, and keeps its
    /// spacing and its `-`. Where no line does, or an exclusion of the key stands below it and
    /// would drop it, a line is added at the end. A glob that matches is left alone: an
    /// assignment by name beats it. The other names of the variable ([`Key::canonical`]) are left
    /// alone too.
    ///
    /// # Errors
    ///
    /// When loaders would not read the value back as it is.
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

    /// Removes every line that assigns `key` by name, and says how many there were.
    ///
    /// All of them, since with only the last one gone an earlier one would come into force. Globs
    /// and exclusions stay.
    pub fn remove(&mut self, key: &Key) -> usize {
        let before = self.lines.len();
        let ended = self.lines.last().is_none_or(|line| !line.end.is_empty());
        self.lines.retain(|line| {
            !(line.names(key) && matches!(line.statement, Statement::Assignment(_)))
        });
        // A file that lacked its last line end lacks it afterwards: this makes removing the exact
        // opposite of adding, whichever line comes to be the last.
        if !ended && let Some(last) = self.lines.last_mut() {
            last.end.clear();
        }
        let removed = before - self.lines.len();
        self.reread();
        removed
    }

    /// Adds a line in the style of the file: its line end, and none after the last line if there
    /// was none.
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

    /// Splits the lines anew after an edit. Two line ends that came to stand side by side, a CR and
    /// a line feed, are one from then on.
    fn reread(&mut self) {
        *self = Self::parse(&self.bytes());
    }
}

impl fmt::Display for Document {
    /// The text; bytes that are not UTF-8 are shown as U+FFFD, so use [`Document::bytes`] to write.
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

    /// Puts another value between the blanks that surround the present one.
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

/// Where the value stands in an assignment. An empty value is put right behind the `=`, or behind
/// one blank if there is one.
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

/// What systemd strips: blanks and tabs, and line ends, which no line holds. Not the vertical tab
/// and the form feed that procps strips as well.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Splits off the first line as systemd's `read_line` does: a line ends at a line feed, a CR or a
/// NUL, and different ones of these side by side are one line end, of which a NUL is the last.
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
    // Loaders read bytes. Only what names a key has to be a text, as every key of the kernel is one.
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
        // procps makes a path of the key as it stands: one that ends in a separator is no file,
        // and it drops no blanks behind the dash.
        is_read_by_procps: !(name.trim_end_matches(blanks).ends_with(['.', '/'])
            || dash && name.starts_with(blanks)),
        ignore_failure: dash,
    };
    (Statement::Assignment(assignment), problems)
}

/// The meaning of `-name`, without its `-`.
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

/// The line that assigns the value, if loaders read it back as it is.
fn assignment_line(key: &Key, value: &Value) -> Result<String, EditError> {
    let line = format!("{key} = {}", value.text());
    // Asking the parser is what makes this complete: no list of forbidden characters here has to
    // agree with how lines are split and stripped there.
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

/// A text as comment lines. Everything that ends a line for any loader begins a new comment line,
/// so that no text handed in can become an assignment.
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
