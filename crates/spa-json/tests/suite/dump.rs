//! What `spa-json-dump` prints, made from a [`Reading`]: the two are compared byte for byte.

use hosttune_spa_json::{Data, Dialect, Entry, Reading, RemarkKind, Span, Value};

/// The output for a text that it accepts.
pub(crate) fn expected(text: &[u8], reading: &Reading, dialect: Dialect) -> Vec<u8> {
    let mut dump = Dump {
        text,
        reading,
        dialect,
        out: Vec::new(),
    };
    dump.value(&reading.value, 0);
    dump.out.push(b'\n');
    dump.out
}

struct Dump<'t> {
    text: &'t [u8],
    reading: &'t Reading,
    dialect: Dialect,
    out: Vec<u8>,
}

impl Dump<'_> {
    fn value(&mut self, value: &Value, indent: usize) {
        let token = value.span.of(self.text);
        match &value.data {
            Data::Array(values) => {
                self.out.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    self.item(index, indent);
                    self.value(value, indent + 2);
                }
                self.end(values.len(), indent, b']');
            }
            Data::Object(entries) => self.object(value.span, entries, indent),
            // Printed as a C string, which ends at a NUL. Only the lenient parser has one in a string: a comment
            // that ends the text, with all that is before it.
            Data::String(_) => {
                let end = token.iter().position(|byte| *byte == 0);
                self.out
                    .extend_from_slice(&token[..end.unwrap_or(token.len())]);
            }
            Data::Word(_)
                if value.is_null()
                    || value.as_bool().is_some()
                    || value.as_i64().is_some()
                    || value.as_f64().is_some() =>
            {
                self.out.extend_from_slice(token);
            }
            Data::Word(_) => self.quoted(token),
        }
    }

    fn object(&mut self, span: Span, entries: &[Entry], indent: usize) {
        self.out.push(b'{');
        for (index, entry) in entries.iter().enumerate() {
            self.item(index, indent);
            self.key(&entry.key);
            self.value(&entry.value, indent + 2);
        }
        let mut count = entries.len();
        // The older program prints a key before it finds that the value is missing.
        // A comment at the end of the text is such a key, together with a closing bracket before it:
        // that bracket is not part of what it closes.
        let content_end = |span: Span| {
            let last = span.of(self.text).last();
            span.end - usize::from(matches!(last, Some(b'}' | b']')))
        };
        let after = entries
            .last()
            .map_or(span.start, |last| content_end(last.value.span));
        let missing = self.reading.remarks.iter().find(|remark| {
            matches!(remark.kind, RemarkKind::NoValue { .. })
                && (after..content_end(span)).contains(&remark.offset)
        });
        if self.dialect == Dialect::Lenient
            && let Some(remark) = missing
            && let RemarkKind::NoValue { key } = &remark.kind
        {
            self.item(count, indent);
            self.key(key);
            count += 1;
        }
        self.end(count, indent, b'}');
    }

    fn item(&mut self, index: usize, indent: usize) {
        if index > 0 {
            self.out.push(b',');
        }
        self.out.push(b'\n');
        self.out.extend(std::iter::repeat_n(b' ', indent + 2));
    }

    fn end(&mut self, count: usize, indent: usize, bracket: u8) {
        if count > 0 {
            self.out.push(b'\n');
            self.out.extend(std::iter::repeat_n(b' ', indent));
        }
        self.out.push(bracket);
    }

    /// A key is a C string in that program: it ends at a NUL.
    fn key(&mut self, key: &str) {
        let key = key.split('\0').next().unwrap_or_default();
        self.quoted(key.as_bytes());
        self.out.extend_from_slice(b": ");
    }

    fn quoted(&mut self, text: &[u8]) {
        self.out.push(b'"');
        for byte in text {
            match byte {
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                8 => self.out.extend_from_slice(b"\\b"),
                12 => self.out.extend_from_slice(b"\\f"),
                b'\\' | b'"' => self.out.extend_from_slice(&[b'\\', *byte]),
                1..=31 => self.out.extend(format!("\\u{byte:04x}").bytes()),
                _ => self.out.push(*byte),
            }
        }
        self.out.push(b'"');
    }
}
