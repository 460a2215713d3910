//! Numbers and lists of number ranges in the kernel's own notation.

/// The number that the kernel's sysctl handlers read from a whole field, or `None` if they would
/// reject it or stop before its end.
///
/// The base is determined as in `_parse_integer_fixup_radix` (lib/kstrtox.c): `0x` and a
/// hexadecimal digit mean base 16, any other leading `0` base 8, everything else base 10.
/// `proc_get_long` (kernel/sysctl.c) accepts a `-` but no `+`.
pub(crate) fn as_kernel_reads(field: &str) -> Option<i128> {
    let (negative, digits) = match field.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, field),
    };
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
        .filter(|rest| rest.starts_with(|digit: char| digit.is_ascii_hexdigit()));
    let (digits, radix) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(rest), _) => (rest, 16),
        (None, Some(rest)) if !rest.is_empty() => (rest, 8),
        _ => (digits, 10),
    };
    // `from_str_radix` accepts a sign itself, which would be a second one here.
    if !digits.starts_with(|digit: char| digit.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

/// Parses a number as the kernel prints it: decimal, with no leading zero and no `+`.
pub(crate) fn decimal(field: &str) -> Option<i128> {
    let digits = field.strip_prefix('-').unwrap_or(field);
    let canonical = digits == "0" && digits.len() == field.len()
        || !digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit());
    if canonical { field.parse().ok() } else { None }
}

/// Converts a list such as `80,1,2` to the kernel's form, `1-2,80`; an empty list is an empty
/// text.
///
/// Numbers are limited to 32 bits, as in the kernel's bitmaps. The error is the element that is
/// neither a number nor an ascending range.
pub(crate) fn range_list(text: &str) -> Result<String, String> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(String::new());
    }
    let mut ranges = Vec::new();
    for element in text.split(',') {
        let (low, high) = element.split_once('-').unwrap_or((element, element));
        match (port_like(low), port_like(high)) {
            (Some(low), Some(high)) if low <= high => ranges.push((low, high)),
            _ => return Err(element.to_owned()),
        }
    }
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (low, high) in ranges {
        match joined.last_mut() {
            Some(last) if low <= last.1 + 1 => last.1 = last.1.max(high),
            _ => joined.push((low, high)),
        }
    }
    let elements: Vec<String> = joined
        .into_iter()
        .map(|(low, high)| {
            if low == high {
                low.to_string()
            } else {
                format!("{low}-{high}")
            }
        })
        .collect();
    Ok(elements.join(","))
}

fn port_like(text: &str) -> Option<u64> {
    let digits_only = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let number = digits_only.then(|| text.parse::<u32>().ok())??;
    Some(u64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_in_base_zero() {
        for (field, number) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("30", Some(30)),
            ("010", Some(8)),
            ("0x1e", Some(30)),
            ("0X1E", Some(30)),
            ("-0x10", Some(-16)),
            ("-1", Some(-1)),
            ("+5", None),
            ("-+5", None),
            ("0x+5", None),
            ("08", None),
            ("0x", None),
            ("--1", None),
            ("-", None),
            ("", None),
            ("5k", None),
            ("1_0", None),
            ("999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(as_kernel_reads(field), number, "{field}");
        }
    }

    #[test]
    fn a_shown_number_is_plain_decimal() {
        for (field, number) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("18446744073692774399", Some(18_446_744_073_692_774_399)),
            ("010", None),
            ("-0", None),
            ("+1", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(decimal(field), number, "{field}");
        }
    }

    #[test]
    fn a_range_list_is_printed_ascending_and_joined_as_the_kernel_prints_it() {
        // Measured with net.ipv4.ip_local_reserved_ports.
        assert_eq!(range_list("1,2,5-7").unwrap(), "1-2,5-7");
        assert_eq!(range_list("9000-9003,80").unwrap(), "80,9000-9003");
        assert_eq!(range_list("").unwrap(), "");
        assert_eq!(range_list("5-3").unwrap_err(), "5-3");
        assert_eq!(range_list("1,,2").unwrap_err(), "");
        assert_eq!(
            range_list("4294967295,4294967294").unwrap(),
            "4294967294-4294967295"
        );
    }

    proptest! {
        #[test]
        fn every_number_reads_back_in_each_base(number in any::<i64>()) {
            let magnitude = number.unsigned_abs();
            let sign = if number < 0 { "-" } else { "" };
            let number = i128::from(number);
            prop_assert_eq!(as_kernel_reads(&format!("{sign}{magnitude}")), Some(number));
            prop_assert_eq!(as_kernel_reads(&format!("{sign}{magnitude:#x}")), Some(number));
            prop_assert_eq!(as_kernel_reads(&format!("{sign}0{magnitude:o}")), Some(number));
            prop_assert_eq!(decimal(&number.to_string()), Some(number));
        }

        #[test]
        fn a_canonical_range_list_is_its_own_canonical_form(text in "[0-9,-]{0,20}") {
            if let Ok(canonical) = range_list(&text) {
                prop_assert_eq!(range_list(&canonical).unwrap(), canonical);
            }
        }
    }
}
