//! Lists of numbers in the kernel's format: `0-3,8`.

/// Maximum number of entries, above the processors of any kernel (`NR_CPUS` is at most 8192), so that
/// `0-4294967295` does not exhaust memory.
const MOST: usize = 1 << 16;

/// Parses a list and keeps its order. Returns `None` if it is malformed or empty, because at least one
/// processor and one node are always online.
pub(crate) fn parse(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (number(first)?, number(last)?);
        let more = last.checked_sub(first)? as usize + 1;
        if numbers.len() + more > MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    (!numbers.is_empty()).then_some(numbers)
}

/// Parses digits only; `+5` is rejected.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_numbers_are_read() {
        assert_eq!(parse("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse("7"), Some(vec![7]));
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in [
            "",
            "\n",
            "a",
            "3-1",
            "1-",
            "-1",
            "+1",
            "0-4294967295",
            "0-1-2",
            "1 2",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
