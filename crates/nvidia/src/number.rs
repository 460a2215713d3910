//! Numbers of driver parameters.
//!
//! The driver prints its parameters as unsigned numbers, but the kernel reads them as signed: a
//! module does not load if 4294967295 is written, which has to be `-1`.

/// Reads a number in any base that the kernel knows, signed or unsigned, as its 32 bits.
pub fn parse(text: &str) -> Option<u32> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let (digits, base) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(digits, base).ok()?;
    if negative {
        i32::try_from(-i64::from(number))
            .ok()
            .map(i32::cast_unsigned)
    } else {
        Some(number)
    }
}

/// The number as the kernel reads it in a module option: signed.
pub fn to_option(number: u32) -> String {
    number.cast_signed().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_signs_are_the_same_bits_and_minus_one_is_written() {
        assert_eq!(parse("4294967295"), Some(u32::MAX));
        assert_eq!(parse("-1"), Some(u32::MAX));
        assert_eq!(to_option(u32::MAX), "-1");
        assert_eq!(parse("0x12"), Some(0x12));
        assert_eq!(parse("0666"), Some(0o666));
        assert_eq!(parse("-2147483648"), Some(0x8000_0000));
        for text in [
            "",
            "-",
            "0x",
            "4294967296",
            "-2147483649",
            "1 ",
            "+1",
            "--1",
            "0x1g",
            "08",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
