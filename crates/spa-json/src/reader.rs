//! A whole text, read as a PipeWire version reads it.

use std::collections::HashMap;

use crate::dialect::Dialect;
use crate::error::{Error, Reason, Remark, RemarkKind};
use crate::lexer::{Fault, Lexer, Token};
use crate::position::{Lines, Position, Span};
use crate::scalar;
use crate::value::{Data, Entry, Value};

/// How many objects and arrays may be inside each other.
///
/// PipeWire from 1.1.81 allows 513 in a section; `spa-json-dump` and versions up to 1.0 have no limit
/// but the stack.
pub const MAX_DEPTH: usize = 512;

/// A key of this many bytes, quotes and escapes included, does not fit into the buffers of PipeWire's
/// properties and is dropped.
pub const MAX_KEY: usize = 1024;

/// What is outermost in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopLevel {
    /// Nothing but spaces and comments, or a fault at the first token.
    Nothing,
    /// An object in braces.
    Braces,
    /// The entries of an object without braces around them.
    Entries,
    /// An array.
    Array,
}

/// What a PipeWire version reads in a text, and what it drops of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reading {
    /// What is read up to the end or the fault; an empty object if that is nothing.
    pub value: Value,
    /// What is outermost.
    pub top_level: TopLevel,
    /// The fault at which reading ended. [`Dialect::Checked`] then drops the value too.
    pub error: Option<Error>,
    /// Whether the last value of the outermost object or array is itself an object or an array that
    /// is not closed.
    pub is_cut: bool,
    /// What is dropped besides.
    pub remarks: Vec<Remark>,
}

impl Reading {
    /// Reads a text. Takes time in proportion to its length.
    pub fn of(text: &[u8], dialect: Dialect) -> Self {
        let mut reader = Reader {
            text,
            dialect,
            lexer: Lexer::new(text, dialect),
            frames: Vec::new(),
            remarks: Vec::new(),
            last_dropped: 0,
            is_cut: false,
        };
        let (value, top_level, fault) = reader.run();
        let is_cut = reader.is_cut;
        let mut remarks = reader.remarks;
        remarks.sort_by_key(|(offset, _)| *offset);
        // Positions are looked up only if there are any: most texts have no fault.
        let lines = (fault.is_some() || !remarks.is_empty()).then(|| Lines::of(text));
        let position = |offset| match &lines {
            Some(lines) => lines.position(offset),
            None => Position { line: 1, column: 1 },
        };
        Self {
            value,
            top_level,
            is_cut,
            error: fault.map(|(reason, offset)| Error {
                reason,
                offset,
                position: position(offset),
                dialect,
            }),
            remarks: remarks
                .into_iter()
                .map(|(offset, kind)| Remark {
                    kind,
                    offset,
                    position: position(offset),
                })
                .collect(),
        }
    }
}

/// Reads a text as PipeWire from 1.1.81 does.
///
/// # Errors
/// The first fault, with line and column.
pub fn parse(text: &str) -> Result<Value, Error> {
    let reading = Reading::of(text.as_bytes(), Dialect::Checked);
    match reading.error {
        Some(error) => Err(error),
        None => Ok(reading.value),
    }
}

/// An object or an array that is not closed yet.
#[derive(Debug)]
enum Frame {
    Object {
        start: usize,
        entries: Vec<Entry>,
        key: Option<Span>,
        /// A key was too long: up to PipeWire 1.0 nothing after it is read.
        is_cut: bool,
    },
    Array {
        start: usize,
        values: Vec<Value>,
    },
    /// Its content is dropped.
    Dropped,
}

impl Frame {
    fn object(start: usize) -> Self {
        Self::Object {
            start,
            entries: Vec::new(),
            key: None,
            is_cut: false,
        }
    }
}

struct Reader<'t> {
    text: &'t [u8],
    dialect: Dialect,
    lexer: Lexer<'t>,
    frames: Vec<Frame>,
    remarks: Vec<(usize, RemarkKind)>,
    /// Where the last token began that was dropped with a bracket in the place of a key.
    last_dropped: usize,
    is_cut: bool,
}

impl Reader<'_> {
    fn run(&mut self) -> (Value, TopLevel, Option<Fault>) {
        let nothing = Value::from(Data::Object(Vec::new()));
        let top_level = match self.lexer.next() {
            Err(fault) => return (nothing, TopLevel::Nothing, Some(fault)),
            Ok(Token::End) => return (nothing, TopLevel::Nothing, None),
            Ok(Token::Stray(at)) => {
                self.remark(at, RemarkKind::AfterEnd { malformed: false });
                return (nothing, TopLevel::Nothing, None);
            }
            Ok(Token::Open { is_array, at }) => {
                self.frames.push(match is_array {
                    true => Frame::Array {
                        start: at,
                        values: Vec::new(),
                    },
                    false => Frame::object(at),
                });
                if is_array {
                    TopLevel::Array
                } else {
                    TopLevel::Braces
                }
            }
            Ok(_) => {
                // The same token again, as the first key.
                self.lexer = Lexer::new(self.text, self.dialect);
                self.frames.push(Frame::object(0));
                TopLevel::Entries
            }
        };
        let mut fault = None;
        let value = loop {
            match self.lexer.next() {
                Ok(Token::Scalar(span)) => self.scalar(span),
                Ok(Token::Open { at, .. }) if self.lexer.depth() > MAX_DEPTH => {
                    fault = Some((Reason::TooDeep, at));
                    break self.unwind(at);
                }
                Ok(Token::Open { is_array, at }) => self.open(is_array, at),
                Ok(Token::Close(at)) => {
                    if let Some(value) = self.close(at + 1) {
                        self.look_after_end();
                        break value;
                    }
                }
                Ok(Token::Stray(at)) => {
                    self.remark(at, RemarkKind::AfterEnd { malformed: false });
                    break self.unwind(at);
                }
                Ok(Token::End) => break self.unwind(self.text.len()),
                Err((reason, at)) => {
                    fault = Some((reason, at));
                    // The byte with the fault is the last of each value that is cut there, so that
                    // who reads its text again finds the same fault.
                    break self.unwind((at + 1).min(self.text.len()));
                }
            }
        };
        (value, top_level, fault)
    }

    fn remark(&mut self, offset: usize, kind: RemarkKind) {
        self.remarks.push((offset, kind));
    }

    /// The outermost bracket is closed: what follows is not read.
    fn look_after_end(&mut self) {
        let after = self.lexer.offset();
        match self.lexer.next() {
            Ok(Token::End) => {}
            next => self.remark(
                after,
                RemarkKind::AfterEnd {
                    malformed: next.is_err(),
                },
            ),
        }
    }

    fn scalar(&mut self, span: Span) {
        match self.frames.last_mut() {
            Some(Frame::Array { .. }) => self.attach(span, None),
            Some(Frame::Object {
                key: key @ None,
                is_cut: false,
                ..
            }) => *key = Some(span),
            Some(Frame::Object { is_cut: false, .. }) => self.attach(span, None),
            Some(Frame::Object { .. } | Frame::Dropped) | None => self.last_dropped = span.start,
        }
    }

    fn open(&mut self, is_array: bool, at: usize) {
        let frame = match self.frames.last_mut() {
            Some(Frame::Object { is_cut: true, .. } | Frame::Dropped) => {
                self.last_dropped = at;
                Frame::Dropped
            }
            Some(Frame::Object {
                key: key @ None, ..
            }) => {
                // Only the lenient parser gets here.
                *key = Some(Span {
                    start: at,
                    end: at + 1,
                });
                self.last_dropped = at + 1;
                self.remark(at, RemarkKind::BracketAsKey);
                Frame::Dropped
            }
            _ if is_array => Frame::Array {
                start: at,
                values: Vec::new(),
            },
            _ => Frame::object(at),
        };
        self.frames.push(frame);
    }

    /// Ends the innermost object or array; returns it if it is the outermost.
    fn close(&mut self, end: usize) -> Option<Value> {
        let (start, data) = match self.frames.pop()? {
            Frame::Object {
                start,
                entries,
                key,
                is_cut: _,
            } => {
                if let Some(span) = key {
                    let key = self.text(span);
                    self.remark(span.start, RemarkKind::NoValue { key });
                }
                self.repeated(&entries);
                (start, Data::Object(entries))
            }
            Frame::Array { start, values } => (start, Data::Array(values)),
            Frame::Dropped => {
                self.lexer.resume_at(self.last_dropped);
                return None;
            }
        };
        let span = Span { start, end };
        if self.frames.is_empty() {
            return Some(Value { data, span });
        }
        self.attach(span, Some(data));
        None
    }

    /// Ends all objects and arrays that are open where reading ends.
    fn unwind(&mut self, end: usize) -> Value {
        self.is_cut = self.frames.len() > 1;
        loop {
            if let Some(value) = self.close(end) {
                return value;
            }
            if self.frames.is_empty() {
                return Data::Object(Vec::new()).into();
            }
        }
    }

    /// Adds a value to the innermost object or array; without `data` it is a scalar.
    fn attach(&mut self, span: Span, data: Option<Data>) {
        let data = match data {
            Some(data) => data,
            None => match span.of(self.text) {
                token if scalar::is_string(token) => Data::String(self.text(span)),
                // A comment at the end that the lenient parser takes for a token can begin with a
                // bracket that was dropped: it is an object or an array to it, in which nothing is.
                [b'[', ..] => Data::Array(Vec::new()),
                [b'{', ..] => Data::Object(Vec::new()),
                _ => Data::Word(self.text(span)),
            },
        };
        let value = Value { data, span };
        let key_span = match self.frames.last_mut() {
            Some(Frame::Array { values, .. }) => {
                values.push(value);
                return;
            }
            Some(Frame::Object { key, .. }) => key.take(),
            Some(Frame::Dropped) | None => None,
        };
        let Some(key_span) = key_span else { return };
        let is_too_long = key_span.end - key_span.start >= MAX_KEY;
        let key = self.text(key_span);
        if is_too_long {
            self.remark(key_span.start, RemarkKind::KeyTooLong);
        }
        let cuts = is_too_long && self.dialect == Dialect::Lenient;
        if let Some(Frame::Object {
            entries, is_cut, ..
        }) = self.frames.last_mut()
        {
            *is_cut = cuts;
            if !is_too_long {
                entries.push(Entry {
                    key,
                    key_span,
                    value,
                });
            }
        }
    }

    fn text(&mut self, span: Span) -> String {
        let token = span.of(self.text);
        let bytes = if scalar::is_string(token) {
            scalar::decode(token, self.dialect)
        } else {
            token.to_vec()
        };
        String::from_utf8(bytes).unwrap_or_else(|error| {
            self.remark(span.start, RemarkKind::NotUtf8);
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        })
    }

    fn repeated(&mut self, entries: &[Entry]) {
        // A linear search is enough for few entries, and costs no allocation.
        if entries.len() < 16 {
            for (index, entry) in entries.iter().enumerate() {
                if entries[index + 1..]
                    .iter()
                    .any(|later| later.key == entry.key)
                {
                    let key = entry.key.clone();
                    self.remark(entry.key_span.start, RemarkKind::Repeated { key });
                }
            }
            return;
        }
        let mut last = HashMap::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            if let Some(earlier) = last.insert(entry.key.as_str(), index) {
                let earlier: &Entry = &entries[earlier];
                let key = earlier.key.clone();
                self.remark(earlier.key_span.start, RemarkKind::Repeated { key });
            }
        }
    }
}
