//! One modprobe.d file, kept byte for byte.

use std::fmt;
use std::ops::Range;

use super::name_pattern::canonical;
use super::statement::{ProblemKind, Statement, understand};
use hosttune_kernel_command_line::{Argument, is_unbalanced, ranges, written};

/// Something in a file that its author is unlikely to have intended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The line, counted from 1; the first one of several that are joined.
    pub line: usize,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.kind)
    }
}

/// Why a file cannot be changed or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// modprobe or the kernel would read something else.
    #[error(
        "the option {parameter}={value} of {module} cannot be written to a modprobe.d file: use printable ASCII without quotes, and no blanks in names"
    )]
    NotWritable {
        /// The module.
        module: String,
        /// The parameter.
        parameter: String,
        /// The value.
        value: String,
    },
    /// A quote of an `options` line for the module is not closed.
    #[error(
        "line {line} has a quote that is not closed, which takes the options of later lines: close it first"
    )]
    UnclosedQuote {
        /// The line, counted from 1.
        line: usize,
    },
    /// The file ends in a backslash, so that a line that is added would become part of the last one.
    #[error("the file ends in a backslash: remove it, or end the file with a line feed")]
    BackslashAtEnd,
}

/// One option of a generated file, for [`Document::render`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The module.
    pub module: String,
    /// The parameter.
    pub parameter: String,
    /// The value.
    pub value: String,
    /// The reason: one or more lines, written as comment lines above the option.
    pub comment: Option<String>,
}

/// A modprobe.d file, preserved byte for byte.
///
/// A line that ends in a backslash continues on the next one, also if it is a comment. A backslash
/// before any other byte is dropped by modprobe, and the byte is kept.
///
/// ```
/// # use hosttune_modules::modprobe_d::Document;
/// let mut document = Document::parse("# sound\r\noptions snd-hda-intel power_save=1  model=auto\n");
/// document.set("snd_hda_intel", "power_save", "0")?;
/// assert_eq!(
///     document.bytes(),
///     b"# sound\r\noptions snd-hda-intel power_save=0  model=auto\n"
/// );
/// # Ok::<(), hosttune_modules::modprobe_d::EditError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    lines: Vec<Line>,
}

/// A logical line: one line of the file, or several that are joined by backslashes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// The bytes, with the line feed unless the file ends without one.
    raw: Vec<u8>,
    /// The number of its first line, from 1.
    number: usize,
    statement: Statement,
    problems: Vec<ProblemKind>,
    /// Where the text of the options is in the logical line.
    options: Option<Range<usize>>,
}

impl Document {
    /// Reads a file. Any bytes are a file.
    pub fn parse(bytes: impl AsRef<[u8]>) -> Self {
        let mut lines = Vec::new();
        let mut rest = bytes.as_ref();
        let mut number = 1;
        while !rest.is_empty() {
            let (raw, after) = rest.split_at(logical_length(rest));
            lines.push(Line::new(raw, number));
            number += raw.iter().filter(|byte| **byte == b'\n').count();
            rest = after;
        }
        Self { lines }
    }

    /// Generates a file: a header of comment lines, then the options in the given order, each below
    /// its comment.
    ///
    /// # Errors
    /// If modprobe or the kernel would not read an option back unchanged.
    pub fn render(header: &str, entries: &[Entry]) -> Result<Self, EditError> {
        let mut text = comment_lines(header);
        for entry in entries {
            if let Some(comment) = &entry.comment {
                text.push('\n');
                text.push_str(&comment_lines(comment));
            }
            text.push_str(&options_line(
                &entry.module,
                &entry.parameter,
                &entry.value,
            )?);
            text.push('\n');
        }
        Ok(Self::parse(text))
    }

    /// The bytes of the file; for a file that was not changed, exactly those that were parsed.
    pub fn bytes(&self) -> Vec<u8> {
        self.lines
            .iter()
            .flat_map(|line| line.raw.clone())
            .collect()
    }

    /// The meaning of each logical line, with the number of its first line, counted from 1.
    pub fn statements(&self) -> impl Iterator<Item = (usize, &Statement)> {
        self.lines.iter().map(|line| (line.number, &line.statement))
    }

    /// Everything in the file that its author is unlikely to have intended, in order.
    pub fn problems(&self) -> Vec<Problem> {
        let of_line = |line: &Line| {
            let number = line.number;
            let kinds = line.problems.clone().into_iter();
            kinds.map(move |kind| Problem { line: number, kind })
        };
        self.lines.iter().flat_map(of_line).collect()
    }

    /// The value that this file alone gives a parameter: that of its last occurrence. The inner
    /// `None` is a parameter without a value.
    pub fn value(&self, module: &str, parameter: &str) -> Option<Option<String>> {
        let (line, place) = self.places(module, parameter).pop()?;
        let (logical, _) = self.lines[line].logical();
        let argument = Argument::read(&logical[place]);
        Some(argument.value().map(std::borrow::Cow::into_owned))
    }

    /// Makes the file give a parameter this value. The last occurrence gets it in place; without
    /// one, a line is added at the end. Everything else stays as it is.
    ///
    /// # Errors
    /// If the value cannot be written or the file cannot be changed: see [`EditError`]. The file is
    /// then unchanged.
    pub fn set(&mut self, module: &str, parameter: &str, value: &str) -> Result<(), EditError> {
        let added = options_line(module, parameter, value)?;
        self.check_quotes(module)?;
        match self.places(module, parameter).pop() {
            Some((line, place)) => {
                if self.value(module, parameter) != Some(Some(value.to_owned())) {
                    let text = escaped(&written(parameter, Some(value)).unwrap_or_default());
                    self.lines[line].splice(place, text.as_bytes());
                }
            }
            None => self.append(&added)?,
        }
        *self = Self::parse(self.bytes());
        Ok(())
    }

    /// Removes all occurrences of a parameter, and the lines that have no options left. Returns how
    /// many occurrences there were.
    ///
    /// # Errors
    /// If the file cannot be changed: see [`EditError`].
    pub fn remove(&mut self, module: &str, parameter: &str) -> Result<usize, EditError> {
        self.check_quotes(module)?;
        let places = self.places(module, parameter);
        let ended = self.lines.last().is_none_or(Line::is_ended);
        for (line, place) in places.iter().rev() {
            let line = &mut self.lines[*line];
            line.splice(place.start.saturating_sub(1)..place.end, b"");
            *line = Line::new(&line.raw, line.number);
            if line.arguments().is_empty() {
                line.raw.clear();
            }
        }
        self.lines.retain(|line| !line.raw.is_empty());
        // A file without a line feed at its end stays without one. This makes removing a line the
        // exact inverse of adding it.
        if !ended
            && !places.is_empty()
            && let Some(last) = self.lines.last_mut()
            && last.raw.ends_with(b"\n")
        {
            last.raw.pop();
        }
        *self = Self::parse(self.bytes());
        Ok(places.len())
    }

    /// Where a parameter of a module occurs: the index of the line, and the place in the logical
    /// line.
    fn places(&self, module: &str, parameter: &str) -> Vec<(usize, Range<usize>)> {
        let mut places = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            if !line.is_for(module) {
                continue;
            }
            let (logical, _) = line.logical();
            for place in line.arguments() {
                if Argument::read(&logical[place.clone()]).is_named(parameter) {
                    places.push((index, place));
                }
            }
        }
        places
    }

    fn check_quotes(&self, module: &str) -> Result<(), EditError> {
        let unclosed = self.lines.iter().find(|line| {
            line.is_for(module) && line.problems.contains(&ProblemKind::UnclosedQuote)
        });
        unclosed.map_or(Ok(()), |line| {
            Err(EditError::UnclosedQuote { line: line.number })
        })
    }

    /// Adds a line at the end, without a line feed if the file ends without one.
    fn append(&mut self, content: &str) -> Result<(), EditError> {
        let mut raw = content.as_bytes().to_vec();
        match self.lines.last_mut() {
            Some(last) if last.problems.contains(&ProblemKind::BackslashAtEnd) => {
                return Err(EditError::BackslashAtEnd);
            }
            Some(last) if !last.is_ended() => last.raw.push(b'\n'),
            _ => raw.push(b'\n'),
        }
        self.lines.push(Line::new(&raw, 0));
        Ok(())
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
    fn new(raw: &[u8], number: usize) -> Self {
        let (logical, _) = joined(raw);
        let meaning = understand(&logical);
        let mut problems = meaning.problems;
        if meaning.statement == Statement::Comment && raw.windows(2).any(|pair| pair == b"\\\n") {
            problems.push(ProblemKind::ContinuedComment);
        }
        if ends_in_backslash(raw) {
            problems.push(ProblemKind::BackslashAtEnd);
        }
        Self {
            raw: raw.to_vec(),
            number,
            statement: meaning.statement,
            problems,
            options: meaning.options,
        }
    }

    /// Whether the line ends in a line feed that is not part of a continuation.
    fn is_ended(&self) -> bool {
        let content = self.raw.strip_suffix(b"\n");
        content.is_some_and(|content| !ends_in_backslash(content))
    }

    fn logical(&self) -> (Vec<u8>, Vec<Range<usize>>) {
        joined(&self.raw)
    }

    fn is_for(&self, module: &str) -> bool {
        let wanted = canonical(module.as_bytes());
        matches!(&self.statement, Statement::Options { module, .. }
            if wanted.as_deref() == Some(module.as_bytes()))
    }

    /// Where the options are in the logical line.
    fn arguments(&self) -> Vec<Range<usize>> {
        let Some(options) = self.options.clone() else {
            return Vec::new();
        };
        let (logical, _) = self.logical();
        let start = options.start;
        ranges(&logical[options])
            .map(|range| range.start + start..range.end + start)
            .collect()
    }

    /// Replaces a part of the logical line, with the continuations within it.
    fn splice(&mut self, part: Range<usize>, text: &[u8]) {
        let (_, bytes) = self.logical();
        let Some((first, last)) = bytes
            .get(part.start)
            .zip(part.end.checked_sub(1).and_then(|last| bytes.get(last)))
        else {
            return;
        };
        self.raw.splice(first.start..last.end, text.iter().copied());
    }
}

/// The length of the first logical line, with its line feed.
fn logical_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\n' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The logical line without its line feed, and where each of its bytes comes from.
fn joined(raw: &[u8]) -> (Vec<u8>, Vec<Range<usize>>) {
    let (mut bytes, mut places) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < raw.len() {
        let (byte, length) = match (raw[at], raw.get(at + 1)) {
            (b'\n', _) => break,
            (b'\\', Some(b'\n')) => {
                at += 2;
                continue;
            }
            (b'\\', Some(next)) => (*next, 2),
            (b'\\', None) => break,
            (byte, _) => (byte, 1),
        };
        bytes.push(byte);
        places.push(at..at + length);
        at += length;
    }
    (bytes, places)
}

/// Whether the last byte is a backslash that has nothing to act on.
fn ends_in_backslash(raw: &[u8]) -> bool {
    let backslashes = raw.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
}

/// The line for one option, provided that it is read back unchanged.
fn options_line(module: &str, parameter: &str, value: &str) -> Result<String, EditError> {
    let refused = || EditError::NotWritable {
        module: module.to_owned(),
        parameter: parameter.to_owned(),
        value: value.to_owned(),
    };
    let named = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic())
            && !name.contains(['[', ']', '"', '\\', '#'])
    };
    if !named(module) || !named(parameter) {
        return Err(refused());
    }
    let option = written(parameter, Some(value)).ok_or_else(refused)?;
    let line = format!("options {module} {}", escaped(&option));
    // The reader itself is the check.
    let read = Document::parse(&line);
    let same = read.lines.len() == 1
        && read.lines[0].problems.is_empty()
        && read.lines[0].arguments().len() == 1
        && read.value(module, parameter) == Some(Some(value.to_owned()))
        && !is_unbalanced(line.as_bytes());
    if same { Ok(line) } else { Err(refused()) }
}

/// Formats a text as comment lines. A backslash at the end of one would make the next line part of
/// it, so it is followed by a dot.
fn comment_lines(text: &str) -> String {
    let mut lines = String::new();
    for line in text.split(['\n', '\r', '\0']) {
        lines.push_str(if line.is_empty() { "#" } else { "# " });
        lines.push_str(line);
        if line.ends_with('\\') {
            lines.push('.');
        }
        lines.push('\n');
    }
    lines
}
