//! Tokens, found as PipeWire's tokenizer (`spa_json_next` in `spa/utils/json.h`) finds them.
//!
//! PipeWire's has one iterator for each object or array that the caller enters. This one is a single
//! pass with a stack, which gives the same tokens: what a bracket or a separator means depends only
//! on the bracket that it is in.

use crate::dialect::Dialect;
use crate::error::Reason;
use crate::position::Span;

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A string with its quotes, or a bare word.
    Scalar(Span),
    /// `{` or `[` at this offset.
    Open { is_array: bool, at: usize },
    /// The closing bracket at this offset.
    Close(usize),
    /// A closing bracket without an opening one: the end of the text to the lenient parser.
    Stray(usize),
    /// The end of the text.
    End,
}

/// A fault, and the offset at which it is noticed.
pub(crate) type Fault = (Reason, usize);

/// What the checked parser knows about the bracket that it is in.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    is_array: bool,
    /// A key was read whose value is missing.
    has_key: bool,
    /// This cannot be a text of a single value: it is inside a bracket, or a separator or a second
    /// token was read.
    is_sequence: bool,
}

#[derive(Debug)]
pub(crate) struct Lexer<'t> {
    text: &'t [u8],
    dialect: Dialect,
    at: usize,
    outer: Vec<Level>,
    level: Level,
    /// Where the previous token ended or, after a closing bracket, where that bracket is. The
    /// lenient parser takes a comment at the end of the text, and all from here, for a token.
    resumed: usize,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t [u8], dialect: Dialect) -> Self {
        Self {
            text,
            dialect,
            at: 0,
            outer: Vec::new(),
            level: Level::default(),
            resumed: 0,
        }
    }

    /// How many brackets are open.
    pub(crate) fn depth(&self) -> usize {
        self.outer.len()
    }

    /// Where the next token is looked for.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Sets from where a comment at the end of the text is a token of the lenient parser.
    pub(crate) fn resume_at(&mut self, at: usize) {
        self.resumed = at;
    }

    /// The next token. After a fault, or the end, there is no other.
    pub(crate) fn next(&mut self) -> Result<Token, Fault> {
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                return self.end();
            };
            match byte {
                b'\0' | b'\t' | b' ' | b'\r' | b'\n' | b',' => self.at += 1,
                b':' | b'=' => self.separator()?,
                b'#' => {
                    // Most of a shipped file is comments.
                    match memchr::memchr2(b'\n', b'\r', &self.text[self.at..]) {
                        Some(length) => self.at += length + 1,
                        None => return self.end_in_comment(),
                    }
                }
                b'"' => return self.string(),
                b'{' | b'[' => return self.open(byte == b'['),
                b'}' | b']' => return self.close(byte == b']'),
                _ => return self.bare(),
            }
        }
    }

    fn is_checked(&self) -> bool {
        self.dialect == Dialect::Checked
    }

    fn separator(&mut self) -> Result<(), Fault> {
        if self.is_checked() {
            if self.level.is_array {
                return Err((Reason::SeparatorInArray, self.at));
            }
            if !self.level.has_key {
                return Err((Reason::ExpectedKey, self.at));
            }
            self.level.is_sequence = true;
        }
        self.at += 1;
        Ok(())
    }

    /// A token begins: it is a key, or the value of one, or an element.
    fn begin(&mut self) {
        if self.level.has_key {
            self.level.is_sequence = true;
        }
        if !self.level.is_array {
            self.level.has_key = !self.level.has_key;
        }
    }

    fn scalar(&mut self, start: usize, end: usize) -> Token {
        self.at = end;
        self.resumed = end;
        Token::Scalar(Span { start, end })
    }

    fn open(&mut self, is_array: bool) -> Result<Token, Fault> {
        if self.is_checked()
            && !self.level.is_array
            && self.level.is_sequence
            && !self.level.has_key
        {
            return Err((Reason::ExpectedKey, self.at));
        }
        self.level.has_key = false;
        self.outer.push(self.level);
        self.level = Level {
            is_array,
            has_key: false,
            is_sequence: true,
        };
        let at = self.at;
        self.at += 1;
        self.resumed = self.at;
        Ok(Token::Open { is_array, at })
    }

    fn close(&mut self, closes_array: bool) -> Result<Token, Fault> {
        let at = self.at;
        if self.is_checked() {
            match (self.level.is_array, closes_array) {
                (true, false) => return Err((Reason::ExpectedArrayClose, at)),
                (false, true) => return Err((Reason::ExpectedObjectClose, at)),
                _ if self.level.has_key => return Err((Reason::ExpectedValue, at)),
                _ => {}
            }
        }
        let Some(outer) = self.outer.pop() else {
            return match self.dialect {
                Dialect::Lenient => Ok(Token::Stray(at)),
                Dialect::Checked => Err((Reason::MismatchedBracket, at)),
            };
        };
        self.level = Level {
            is_sequence: true,
            ..outer
        };
        self.at += 1;
        self.resumed = at;
        Ok(Token::Close(at))
    }

    fn string(&mut self) -> Result<Token, Fault> {
        self.begin();
        let start = self.at;
        let mut at = start + 1;
        // The bytes that are missing of a character of several bytes.
        let mut missing = 0;
        let mut is_escape = false;
        while let Some(&byte) = self.text.get(at) {
            if missing > 0 {
                if !(128..192).contains(&byte) {
                    return Err((Reason::ByteNotAllowed, at));
                }
                missing -= 1;
            } else if is_escape {
                if !matches!(
                    byte,
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u'
                ) {
                    return Err((Reason::InvalidEscape, at));
                }
                is_escape = false;
            } else {
                match byte {
                    b'"' => return Ok(self.scalar(start, at + 1)),
                    b'\\' => is_escape = true,
                    32..=126 => {}
                    127 if self.is_checked() => {}
                    192..=223 => missing = 1,
                    224..=239 => missing = 2,
                    240..=247 => missing = 3,
                    _ => return Err((Reason::ByteNotAllowed, at)),
                }
            }
            at += 1;
        }
        match self.dialect {
            Dialect::Lenient => Ok(self.scalar(start, at)),
            Dialect::Checked if !self.outer.is_empty() => Err((Reason::MismatchedBracket, at)),
            Dialect::Checked => Err((Reason::UnfinishedString, at)),
        }
    }

    fn bare(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        // The first byte is checked before it counts as the beginning of a token, as the others are.
        let mut at = start;
        self.begin();
        while let Some(&byte) = self.text.get(at) {
            match byte {
                b'\t' | b' ' | b'\r' | b'\n' | b':' | b',' | b'=' | b']' | b'}' => {
                    return Ok(self.scalar(start, at));
                }
                _ if !self.is_checked() => {}
                b'\0' | b'"' | b'#' => return Ok(self.scalar(start, at)),
                b'\\' => return Err((Reason::EscapeOutsideString, at)),
                32..=126 => {}
                _ => return Err((Reason::ByteNotAllowed, at)),
            }
            at += 1;
        }
        if self.is_checked() {
            // The end follows this token at once, and is checked first.
            self.at = at;
            self.end()?;
        }
        Ok(self.scalar(start, at))
    }

    fn end(&self) -> Result<Token, Fault> {
        let is_incomplete = self.level.is_sequence && self.level.has_key;
        if !self.outer.is_empty() {
            Err((Reason::MismatchedBracket, self.text.len()))
        } else if self.is_checked() && is_incomplete {
            Err((Reason::ExpectedValue, self.text.len()))
        } else {
            Ok(Token::End)
        }
    }

    fn end_in_comment(&mut self) -> Result<Token, Fault> {
        let end = self.text.len();
        match self.dialect {
            Dialect::Lenient => Ok(self.scalar(self.resumed, end)),
            Dialect::Checked if !self.outer.is_empty() => Err((Reason::MismatchedBracket, end)),
            // A key without a value is not noticed before a comment that ends the text.
            Dialect::Checked => Ok(Token::End),
        }
    }
}
