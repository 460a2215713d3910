//! Numbers followed by a unit, as `tc` reads and prints them.
//!
//! `tc` reads every quantity as a C `fake` and truncates it to a whole number of its base unit.
//! Any other way of reading, however exact, would set a different value than `tc` does for the same
//! text. A value that a `fake` can hold and the kernel's integer cannot is cast by `tc`, with a
//! result that depends on the processor; here it is an error.

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// It does not begin with a decimal number.
    #[error("not a decimal number; write one like 20, 1.5 or 1e3, followed by {units}")]
    NotANumber {
        /// The units that may follow the number.
        units: &'static str,
    },
    /// The number is negative.
    #[error("the number is negative")]
    Negative,
    /// The number is followed by something that is not a unit of this quantity.
    #[error("unknown unit `{unit}`; use {units}")]
    Unit {
        /// The text that follows the number.
        unit: String,
        /// The units that may follow it.
        units: &'static str,
    },
    /// A unit that `tc` reads as bytes per second, although nearly everybody means bits.
    #[error(
        "{bits}{prefix}bps is {bytes}{prefix}bit to tc, where `bps` means bytes per second; write {bits}{prefix}bit or {bytes}{prefix}bit"
    )]
    BitsOrBytes {
        /// The prefix of `bps`: `k`, `m`, `g` or `t`.
        prefix: char,
        /// The number as given: the rate in bits, if bits were meant.
        bits: Box<str>,
        /// Eight times the number: the rate in bits, if bytes were meant, as `tc` assumes.
        bytes: Box<str>,
    },
    /// Less than one unit of what the kernel counts in, where a value is needed.
    #[error("too small: {least} is the minimum; {instead}")]
    TooLittle {
        /// The smallest value.
        least: &'static str,
        /// What to write for no value at all.
        instead: &'static str,
    },
    /// More than the largest value.
    #[error("too large: {most} is the maximum")]
    TooMuch {
        /// The largest value.
        most: &'static str,
    },
}

/// Splits a text into the decimal number that it begins with and the rest.
///
/// The syntax is that of `strtod` except for hexadecimal numbers, `inf` and `nan`, which nobody
/// means.
pub(crate) fn number(text: &str) -> Option<(f64, &str)> {
    let digits = |from: usize| {
        let bytes = &text.as_bytes()[from..];
        from + bytes
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let start = usize::from(text.starts_with(['+', '-']));
    let mut end = digits(start);
    let mut any = end > start;
    if text[end..].starts_with('.') {
        let after = digits(end + 1);
        any |= after > end + 1;
        end = after;
    }
    if !any {
        return None;
    }
    if text[end..].starts_with(['e', 'E']) {
        let from = end + 1 + usize::from(text[end + 1..].starts_with(['+', '-']));
        let after = digits(from);
        if after > from {
            end = after;
        }
    }
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// The whole number of base units; `None` if it is negative or above `most`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "tc truncates too, and values out of range were refused"
)]
pub(crate) fn whole(number: f64, most: u64) -> Option<u64> {
    let number = number.trunc();
    // Not written as a negated comparison: NaN is in no range.
    (0.0..=most as f64)
        .contains(&number)
        .then_some(number as u64)
}

/// Formats a number as C's `%.*g` does.
pub(crate) fn general(number: f64, significant: usize) -> String {
    let scientific = format!("{number:.*e}", significant - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let before = usize::try_from(exponent).ok().filter(|x| *x < significant);
    match before {
        Some(before) => without_zeros(&format!("{number:.*}", significant - 1 - before)).to_owned(),
        None => {
            let sign = if exponent < 0 { '-' } else { '+' };
            let exponent = exponent.unsigned_abs();
            format!("{}e{sign}{exponent:02}", without_zeros(mantissa))
        }
    }
}

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_end_where_strtod_ends_them() {
        for (text, value, rest) in [
            ("20mbit", 20.0, "mbit"),
            ("1.5gbit", 1.5, "gbit"),
            (".5s", 0.5, "s"),
            ("5.", 5.0, ""),
            ("+5", 5.0, ""),
            ("-0", 0.0, ""),
            ("1e3kb", 1000.0, "kb"),
            ("1e+03s", 1000.0, "s"),
            ("1e", 1.0, "e"),
            ("1e+", 1.0, "e+"),
            ("1exbit", 1.0, "exbit"),
            ("0x10", 0.0, "x10"),
            ("1ä", 1.0, "ä"),
        ] {
            assert_eq!(number(text), Some((value, rest)), "{text}");
        }
        for text in ["", ".", "-", "+.", "mbit", "inf", "nan", "e3", "ä", " 1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_printed_as_percent_g_does() {
        for (value, significant, text) in [
            (100.0, 3, "100"),
            (1.5, 3, "1.5"),
            (1.234_567, 3, "1.23"),
            (1000.0, 3, "1e+03"),
            (999.96, 3, "1e+03"),
            (4294.967, 3, "4.29e+03"),
            (3_906_250.0, 6, "3.90625e+06"),
            (32.0, 6, "32"),
            (100_000.0, 6, "100000"),
        ] {
            assert_eq!(general(value, significant), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = number(&text);
        }

        #[test]
        fn what_rust_prints_is_read_whole(value: f64) {
            prop_assume!(value.is_finite());
            let text = format!("{value:e}x");
            prop_assert_eq!(number(&text), Some((value, "x")));
        }
    }
}
