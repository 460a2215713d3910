//! Rates on the command line.

use hosttune_qos::Rate;

/// The minimum rate. A full packet takes a fifth of a second at this rate and no link is sold that slow,
/// so a lower rate means a mistyped unit.
const LEAST: Rate = Rate::kbit(64);

/// Parses a rate from the command line; for the check of a [`Setting`](super::Setting).
///
/// The format is that of [`Rate`], but the unit is required: a number without a unit is bits per second to
/// `tc`, while a user who types `38` means megabits.
///
/// # Errors
/// What is wrong with the text, and what to type instead.
pub fn rate(text: &str) -> Result<Rate, String> {
    let typed = text.trim();
    if typed.ends_with(|last: char| last.is_ascii_digit() || last == '.') {
        return Err(format!("a rate needs a unit: {typed}mbit or {typed}kbit"));
    }
    let rate: Rate = typed
        .parse()
        .map_err(|error: hosttune_qos::QuantityError| error.to_string())?;
    if rate < LEAST {
        return Err(format!(
            "{rate} is below the minimum of {LEAST}; check the unit: 38mbit, for example"
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
            assert!(error.contains("needs a unit"), "{text}: {error}");
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
