//! Quoting of values: plain, where only `\"` is an escape, and `e"..."` with C escapes.

/// Whether a character ends a key.
pub(super) fn ends_key(character: char) -> bool {
    matches!(
        character,
        ' ' | '\t' | '\n' | '\r' | ',' | '=' | '{' | '+' | '-' | '!' | ':' | '\0' | '"' | '\\'
    )
}

/// The text between plain quotes; `None` if plain quotes cannot represent it.
pub(super) fn plain(text: &str) -> Option<String> {
    // A trailing backslash would escape the closing quote.
    if text.ends_with('\\') || text.contains(['\n', '\r', '\0']) {
        return None;
    }
    Some(text.replace('"', "\\\""))
}

/// The text between `e"` and `"`; `None` if it contains a NUL.
pub(super) fn escaped(text: &str) -> Option<String> {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => return None,
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' | '"' => {
                quoted.push('\\');
                quoted.push(character);
            }
            other => quoted.push(other),
        }
    }
    Some(quoted)
}

/// Reads the text between quotes: the value, and the rest after the closing quote.
pub(super) fn read(text: &str, is_escaped: bool) -> Result<(String, &str), &'static str> {
    let end = closing(text, is_escaped).ok_or("the value's closing quote is missing")?;
    let (inside, rest) = (&text[..end], &text[end + 1..]);
    let value = if is_escaped {
        unescape(inside)?
    } else {
        inside.replace("\\\"", "\"")
    };
    Ok((value, rest))
}

/// Finds the closing quote.
///
/// In plain quotes a quote directly after a backslash is always part of the value, so `\\"` does
/// not end it; with C escapes it does.
fn closing(text: &str, is_escaped: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' if is_escaped || bytes.get(at + 1) == Some(&b'"') => {
                bytes.get(at + 1)?;
                at += 2;
            }
            _ => at += 1,
        }
    }
}

fn unescape(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "the value contains an unknown escape sequence";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let kind = rest.chars().next().ok_or(WRONG)?;
        let simple = match kind {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            's' => Some(b' '),
            '\\' | '"' | '\'' => u8::try_from(kind).ok(),
            _ => None,
        };
        if let Some(byte) = simple {
            bytes.push(byte);
            rest = &rest[1..];
            continue;
        }
        let (skip, digits, radix) = match kind {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='3' => (0, 3, 8),
            _ => return Err(WRONG),
        };
        let number = rest.get(skip..skip + digits).ok_or(WRONG)?;
        // `from_str_radix` accepts a sign, C does not.
        if !number.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let number = u32::from_str_radix(number, radix).map_err(|_| WRONG)?;
        if number == 0 {
            return Err("the value contains an escaped NUL");
        }
        if matches!(kind, 'u' | 'U') {
            let character = char::from_u32(number).ok_or(WRONG)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::try_from(number).map_err(|_| WRONG)?);
        }
        rest = &rest[skip + digits..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| "the value is not UTF-8 text")
}
