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
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            // PipeWire up to 1.0 refuses DEL as it does control characters.
            '\0'..='\u{1f}' | '\u{7f}' => {
                text.push_str("\\u00");
                let code = u32::from(character);
                text.extend(
                    [code >> 4, code & 15].map(|digit| char::from_digit(digit, 16).unwrap_or('0')),
                );
            }
            other => text.push(other),
        }
    }
    text.push('"');
}
