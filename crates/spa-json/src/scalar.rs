//! Strings and bare words: what they mean.

use crate::dialect::Dialect;

/// Whether PipeWire takes this token for a string: it begins with a quote and is longer than that.
pub(crate) fn is_string(token: &[u8]) -> bool {
    token.len() > 1 && token.first() == Some(&b'"')
}

/// The content of a string token, as `spa_json_parse_stringn` decodes it.
///
/// `\u` without four hexadecimal digits is the letter `u`, and half of a surrogate pair is nothing.
pub(crate) fn decode(token: &[u8], dialect: Dialect) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(token.len());
    let mut at = 1;
    while let Some(&byte) = token.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            b'\\' => {
                let Some(&escaped) = token.get(at) else { break };
                at += 1;
                match escaped {
                    b'n' => decoded.push(b'\n'),
                    b'r' => decoded.push(b'\r'),
                    b'b' => decoded.push(8),
                    b't' => decoded.push(b'\t'),
                    b'f' => decoded.push(12),
                    b'u' => at = unicode(token, at, dialect, &mut decoded),
                    other => decoded.push(other),
                }
            }
            other => decoded.push(other),
        }
    }
    decoded
}

/// Decodes a `\u` escape, whose digits begin at `at`; returns where it ends.
fn unicode(token: &[u8], at: usize, dialect: Dialect, decoded: &mut Vec<u8>) -> usize {
    let Some(first) = hexadecimal(token, at) else {
        decoded.push(b'u');
        return at;
    };
    let after = at + 4;
    let code = match first {
        0xd800..=0xdbff => {
            let second = match token.get(after..after + 2) {
                Some(b"\\u") => hexadecimal(token, after + 2),
                _ => None,
            };
            let Some(second @ 0xdc00..=0xdfff) = second else {
                return after;
            };
            let code = ((first & 0x3ff) << 10) | (second & 0x3ff);
            let code = match dialect {
                // Before 1.1.81 the offset was or'ed and not added.
                Dialect::Lenient => code | 0x1_0000,
                Dialect::Checked => code + 0x1_0000,
            };
            push(code, decoded);
            return after + 6;
        }
        0xdc00..=0xdfff => return after,
        code => code,
    };
    push(code, decoded);
    after
}

fn push(code: u32, decoded: &mut Vec<u8>) {
    if let Some(character) = char::from_u32(code) {
        let mut buffer = [0; 4];
        decoded.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
    }
}

fn hexadecimal(token: &[u8], at: usize) -> Option<u32> {
    let digits = token.get(at..at + 4)?;
    digits.iter().try_fold(0, |number, digit| {
        Some(number << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// The whole number that a bare word is to `spa_json_parse_int`: as `strtol` with base 0 reads it,
/// so `0x40` is 64 and `010` is 8. A number that does not fit becomes the nearest that does.
pub(crate) fn integer(word: &str) -> Option<i64> {
    // PipeWire copies the token into a buffer of 64 bytes.
    if word.len() >= 64 {
        return None;
    }
    let (is_negative, digits) = match word.as_bytes().first()? {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty()
        || !digits
            .bytes()
            .all(|digit| char::from(digit).is_digit(radix))
    {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).unwrap_or(i128::MAX);
    let number = if is_negative { -magnitude } else { magnitude };
    let clamped = number.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(clamped).ok()
}

/// The number that a bare word is to `spa_json_parse_float`: decimal, with a point and an exponent
/// as it may have, without `inf`, `nan` and hexadecimal digits.
pub(crate) fn float(word: &str) -> Option<f64> {
    let is_allowed = |byte| matches!(byte, b'+' | b'-' | b'0'..=b'9' | b'.' | b'e' | b'E');
    // PipeWire copies the token into a buffer of 96 bytes.
    if word.len() >= 96 || !word.bytes().all(is_allowed) {
        return None;
    }
    word.parse().ok()
}

/// Whether a word is a number in JSON's notation too.
pub(crate) fn is_json_number(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
    if whole == 0 || (whole > 1 && digits.starts_with('0')) {
        return false;
    }
    let mut rest = &digits[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        return !exponent.is_empty() && exponent.bytes().all(|byte| byte.is_ascii_digit());
    }
    rest.is_empty()
}

/// Whether both dialects read this text, outside of quotes, as one bare word.
pub(crate) fn is_bare_word(text: &str) -> bool {
    let starts_well = !text.starts_with(['"', '{', '[', '#']);
    starts_well
        && !text.is_empty()
        && text.bytes().all(|byte| {
            (33..=126).contains(&byte)
                && !matches!(byte, b'"' | b'#' | b':' | b',' | b'=' | b']' | b'}' | b'\\')
        })
}
