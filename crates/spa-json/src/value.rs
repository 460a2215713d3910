//! The tree of a text.

use crate::position::Span;
use crate::scalar;

/// A value, with its place in the text that it was read from.
///
/// Two values are equal if they mean the same to every reader: their places are not compared.
#[derive(Clone, Debug)]
pub struct Value {
    /// What it is.
    pub data: Data,
    /// Where it is; `0..0` for a value that was not read from a text.
    pub span: Span,
}

/// The content of a [`Value`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A bare word: a number, `true`, `false`, `null`, or any text without spaces and quotes.
    ///
    /// PipeWire decides where it is used whether a word is a number. In a section of properties it
    /// is text.
    Word(String),
    /// A string in quotes, decoded.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object: its entries in order, with all that have the same key. The last one counts.
    Object(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key, decoded.
    pub key: String,
    /// Where the key is, quotes included.
    pub key_span: Span,
    /// The value.
    pub value: Value,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl Eq for Value {}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.value == other.value
    }
}

impl Eq for Entry {}

impl Entry {
    /// An entry that is in no text.
    pub fn new(key: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            key_span: Span::default(),
            value: value.into(),
        }
    }
}

impl Value {
    /// A bare word; `None` if the text has to be in quotes, because of a space, a separator, a
    /// bracket, a quote, `#`, a backslash, or a character that is not ASCII.
    pub fn word(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        scalar::is_bare_word(&text).then(|| Data::Word(text).into())
    }

    /// The word `null`.
    pub fn null() -> Self {
        Data::Word("null".to_owned()).into()
    }

    /// Whether this is the word `null`, with which a key is unset. `"null"` is a string.
    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Word(word) if word == "null")
    }

    /// The text of a word or a string.
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Word(text) | Data::String(text) => Some(text),
            Data::Array(_) | Data::Object(_) => None,
        }
    }

    /// `true` or `false`, if it is one of these words.
    pub fn as_bool(&self) -> Option<bool> {
        match &self.data {
            Data::Word(word) if word == "true" => Some(true),
            Data::Word(word) if word == "false" => Some(false),
            _ => None,
        }
    }

    /// The whole number that this word is to PipeWire's `spa_json_parse_int`: `0x40` is 64, `010` is
    /// 8, and a number that does not fit is the nearest that does.
    ///
    /// The clock settings of the daemon are not read with that function but with `atoi`, to which
    /// `0x40` is 0.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.data {
            Data::Word(word) => scalar::integer(word),
            _ => None,
        }
    }

    /// The number that this word is to PipeWire's `spa_json_parse_float`.
    pub fn as_f64(&self) -> Option<f64> {
        match &self.data {
            Data::Word(word) => scalar::float(word),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match &self.data {
            Data::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The entries of an object.
    pub fn as_object(&self) -> Option<&[Entry]> {
        match &self.data {
            Data::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key of an object: the last one, if there are several.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entries = self.as_object()?;
        let entry = entries.iter().rev().find(|entry| entry.key == key)?;
        Some(&entry.value)
    }
}

impl From<Data> for Value {
    fn from(data: Data) -> Self {
        Self {
            data,
            span: Span::default(),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Data::Word(value.to_string()).into()
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Data::Word(value.to_string()).into()
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Data::Word(value.to_string()).into()
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        u64::from(value).into()
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Data::String(value.to_owned()).into()
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Data::String(value).into()
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<T: IntoIterator<Item = Self>>(values: T) -> Self {
        Data::Array(values.into_iter().collect()).into()
    }
}

impl FromIterator<Entry> for Value {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        Data::Object(entries.into_iter().collect()).into()
    }
}
