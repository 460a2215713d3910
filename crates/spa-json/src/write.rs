//! Values as text.

use crate::scalar;
use crate::value::{Data, Value};

impl Value {
    /// The value as strict JSON on one line, which every PipeWire version and every JSON parser reads.
    ///
    /// Bare words that are no number, `true`, `false` or `null` become strings, and so do numbers that
    /// do not fit. Numbers in another notation become decimal: `0x40` is 64, as it is to
    /// [`as_i64`](Self::as_i64). All entries of an object are written, also those with the same key.
    pub fn to_json(&self) -> String {
        let mut text = String::new();
        write(self, Style::Json, None, &mut text);
        text
    }

    /// As [`to_json`](Self::to_json), one entry or element a line, indented by two spaces.
    pub fn to_pretty_json(&self) -> String {
        let mut text = String::new();
        write(self, Style::Json, Some(0), &mut text);
        text
    }

    /// The value as SPA-JSON on one line, which gives the same value when it is read: bare words stay
    /// as they are.
    pub fn to_spa_json(&self) -> String {
        let mut text = String::new();
        write(self, Style::Spa, None, &mut text);
        text
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Json,
    Spa,
}

fn write(value: &Value, style: Style, indent: Option<usize>, text: &mut String) {
    match &value.data {
        Data::Word(word) if style == Style::Spa && scalar::is_bare_word(word) => {
            text.push_str(word);
        }
        Data::Word(word) if style == Style::Json => match number_or_name(value, word) {
            Some(bare) => text.push_str(&bare),
            None => quote(word, text),
        },
        Data::Word(string) | Data::String(string) => quote(string, text),
        Data::Array(values) => {
            list(values, ('[', ']'), indent, text, |value, indent, text| {
                write(value, style, indent, text);
            });
        }
        Data::Object(entries) => {
            list(entries, ('{', '}'), indent, text, |entry, indent, text| {
                quote(&entry.key, text);
                text.push_str(": ");
                write(&entry.value, style, indent, text);
            });
        }
    }
}

/// A word that JSON has without quotes.
fn number_or_name(value: &Value, word: &str) -> Option<String> {
    if matches!(word, "true" | "false" | "null") {
        return Some(word.to_owned());
    }
    let float = value.as_f64().filter(|number| number.is_finite());
    if scalar::is_json_number(word) {
        return float.map(|_| word.to_owned());
    }
    if let Some(number) = value.as_i64() {
        return Some(number.to_string());
    }
    float.map(|number| format!("{number:?}"))
}

fn list<T>(
    items: &[T],
    (open, close): (char, char),
    indent: Option<usize>,
    text: &mut String,
    mut item: impl FnMut(&T, Option<usize>, &mut String),
) {
    let inner = indent.map(|indent| indent + 2);
    text.push(open);
    for (index, one) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match inner {
            Some(inner) => new_line(inner, text),
            None => text.push(' '),
        }
        item(one, inner, text);
    }
    if !items.is_empty() {
        match indent {
            Some(indent) => new_line(indent, text),
            None => text.push(' '),
        }
    }
    text.push(close);
}

fn new_line(indent: usize, text: &mut String) {
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', indent));
}

fn quote(string: &str, text: &mut String) {
    text.push('"');
    // What needs no escape is copied in one piece.
    let mut rest = string;
    while let Some(at) = rest.bytes().position(needs_escape) {
        text.push_str(&rest[..at]);
        let byte = rest.as_bytes()[at];
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x08 => text.push_str("\\b"),
            0x0c => text.push_str("\\f"),
            control => {
                text.push_str("\\u00");
                let digits = [control >> 4, control & 15];
                text.extend(
                    digits.map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')),
                );
            }
        }
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
    text.push('"');
}

/// PipeWire up to 1.0 refuses DEL as it does control characters.
fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x7f)
}
