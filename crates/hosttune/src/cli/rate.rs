//! A rate as somebody types it.

use hosttune_qos::Rate;

/// Below this a full packet is on its way for a fifth of a second, and no line is sold so slow: it
/// is a slip of the unit.
const LEAST: Rate = Rate::kbit(64);

/// Reads a rate from the command line: for the check of a [`Setting`](super::Setting).
///
/// It is [`Rate`]'s text with a unit. A number without one is bits per second to `tc`, and to whoever types
/// `38` it is megabits.
///
/// # Errors
/// What is wrong with it, and what to type instead.
pub fn rate(text: &str) -> Result<Rate, String> {
    let typed = text.trim();
    if typed.ends_with(|last: char| last.is_ascii_digit() || last == '.') {
        return Err(format!(
            "a rate needs its unit: {typed}mbit, or {typed}kbit"
        ));
    }
    let rate: Rate = typed
        .parse()
        .map_err(|error: hosttune_qos::QuantityError| error.to_string())?;
    if rate < LEAST {
        return Err(format!(
            "{rate} is slower than any line, {LEAST} at least: 38mbit, for example"
        ));
    }
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_typed_with_its_unit() {
        for text in ["38", "38.5", "1e6", "0", " 38 "] {
            let error = rate(text).unwrap_err();
            assert!(error.contains("needs its unit"), "{text}: {error}");
        }
        assert!(rate("38").unwrap_err().contains("38mbit"));
        assert_eq!(rate("38mbit"), Ok(Rate::mbit(38)));
        assert_eq!(rate("38Mbit"), Ok(Rate::mbit(38)));
    }

    #[test]
    fn what_no_line_is_as_slow_as_is_a_slip() {
        for text in ["32bit", "38kbit", "1bps", "63999bit"] {
            let error = rate(text).unwrap_err();
            assert!(error.contains("64kbit"), "{text}: {error}");
        }
        assert_eq!(rate("64kbit"), Ok(Rate::kbit(64)));
        for text in ["", "mbit", "-5mbit", "100mbps", "5 lightyears", "nan"] {
            rate(text).unwrap_err();
        }
    }
}
