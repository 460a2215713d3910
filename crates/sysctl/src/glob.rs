//! Shell patterns for one path segment, as glob(7) describes them and the C library matches them.
//!
//! This is not taken from a crate because both sysctl loaders use glob(3), and the glob crates
//! differ from it in details: what an unclosed `[` means, whether `^` negates, whether a backslash
//! escapes, whether `*` matches a leading dot.

/// Whether a text is a pattern: it contains `*`, `?` or `[`. systemd's `string_is_glob` and procps
/// use the same test, so a text with only backslashes is literal.
pub(crate) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether one segment of a pattern matches one file name. Neither contains a slash.
pub(crate) fn matches_segment(pattern: &str, name: &str) -> bool {
    // A leading dot must be matched explicitly (FNM_PERIOD, which glob(3) always uses).
    if name.starts_with('.') && !pattern.starts_with('.') && !pattern.starts_with("\\.") {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // The match is greedy with a single backtracking point: a later `*` makes every earlier one
    // irrelevant, so the work is bounded by the product of the lengths, even for `*a*a*a*a`.
    let (mut at, mut seen) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&'*') {
            retry = Some((at + 1, seen));
            at += 1;
            continue;
        }
        if let Some(next) = match_one(&pattern, at, name[seen]) {
            at = next;
            seen += 1;
            continue;
        }
        match retry {
            Some((after, from)) => {
                retry = Some((after, from + 1));
                at = after;
                seen = from + 1;
            }
            None => return false,
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

/// Where the pattern continues if its element at `at` matches the character.
fn match_one(pattern: &[char], at: usize, character: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match bracket(pattern, at, character) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            None => (character == '[').then_some(at + 1),
        },
        // A trailing backslash escapes nothing and matches nothing, as in fnmatch(3).
        '\\' => (*pattern.get(at + 1)? == character).then_some(at + 2),
        literal => (literal == character).then_some(at + 1),
    }
}

/// Parses the bracket expression that opens at `open`: whether it matches the character, and where
/// the pattern continues. `None` if it is never closed; then the `[` is literal.
fn bracket(pattern: &[char], open: usize, character: char) -> Option<(bool, usize)> {
    let mut at = open + 1;
    let negated = matches!(pattern.get(at), Some('!' | '^'));
    if negated {
        at += 1;
    }
    let first = at;
    let mut inside = false;
    loop {
        let element = *pattern.get(at)?;
        // A `]` in the first position is literal, since an empty set would be useless.
        if element == ']' && at > first {
            return Some((inside != negated, at + 1));
        }
        if element == '['
            && pattern.get(at + 1) == Some(&':')
            && let Some((class, next)) = class_name(pattern, at + 2)
        {
            inside |= in_class(&class, character);
            at = next;
            continue;
        }
        let (low, after_low) = element_at(pattern, at)?;
        at = after_low;
        if pattern.get(at) == Some(&'-') && pattern.get(at + 1).is_some_and(|next| *next != ']') {
            let (high, after_high) = element_at(pattern, at + 1)?;
            at = after_high;
            inside |= (low..=high).contains(&character);
        } else {
            inside |= low == character;
        }
    }
}

/// One character of a set, and the position after it; a backslash escapes here too.
fn element_at(pattern: &[char], at: usize) -> Option<(char, usize)> {
    match *pattern.get(at)? {
        '\\' => Some((*pattern.get(at + 1)?, at + 2)),
        literal => Some((literal, at + 1)),
    }
}

/// The name in `[:name:]`, whose first letter is at `at`, and the position after the expression.
fn class_name(pattern: &[char], at: usize) -> Option<(String, usize)> {
    let length = pattern.get(at..)?.iter().position(|next| *next == ':')?;
    let name: String = pattern[at..at + length].iter().collect();
    (pattern.get(at + length + 1) == Some(&']')).then_some((name, at + length + 2))
}

/// Whether a character is in a POSIX class. Only ASCII is supported, since the kernel's names are
/// ASCII; an unknown class matches nothing.
fn in_class(class: &str, character: char) -> bool {
    match class {
        "alpha" => character.is_ascii_alphabetic(),
        "digit" => character.is_ascii_digit(),
        "alnum" => character.is_ascii_alphanumeric(),
        "lower" => character.is_ascii_lowercase(),
        "upper" => character.is_ascii_uppercase(),
        "xdigit" => character.is_ascii_hexdigit(),
        "punct" => character.is_ascii_punctuation(),
        "graph" => character.is_ascii_graphic(),
        "print" => character.is_ascii_graphic() || character == ' ',
        "blank" => matches!(character, ' ' | '\t'),
        "space" => character.is_ascii_whitespace() || character == '\u{b}',
        "cntrl" => character.is_ascii_control(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::matches_segment;
    use proptest::prelude::*;

    #[test]
    fn stars_question_marks_and_sets_match_as_in_glob_7() {
        for (pattern, name, expected) in [
            ("*", "eth0", true),
            ("*", "", true),
            ("eth*", "eth0.100", true),
            ("eth?", "eth0", true),
            ("eth?", "eth10", false),
            ("tcp_*_max", "tcp_x_max_max", true),
            ("timeou[t]", "timeout", true),
            ("timeou[!x]", "timeout", true),
            ("timeou[^t]", "timeout", false),
            ("e[a-s]0", "eh0", true),
            ("e[]x]0", "e]0", true),
            ("e[[:digit:]]", "e7", true),
            ("e[[:digit:]]", "ex", false),
            ("e[a-]", "e-", true),
            ("e[7", "e[7", true),
            ("e[7", "e7", false),
            (r"e\*", "e*", true),
            (r"e\*", "e\\x", false),
            ("e\\", "e\\", false),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(
                matches_segment(pattern, name),
                expected,
                "{pattern} on {name}"
            );
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        assert!(!matches_segment(&"*a".repeat(200), &"a".repeat(199)));
        assert!(!matches_segment(
            &format!("{}b", "*a".repeat(100)),
            &"a".repeat(5000)
        ));
    }

    proptest! {
        #[test]
        fn no_pattern_makes_the_matcher_panic(pattern in r"[\[\]!^:*?\\a-c.-]{0,12}", name in "[a-c.\\[-]{0,8}") {
            let _ = matches_segment(&pattern, &name);
        }

        #[test]
        fn a_name_without_special_characters_matches_only_itself(name in "[a-z0-9_.-]{1,12}", other in "[a-z0-9_.-]{1,12}") {
            prop_assert!(matches_segment(&name, &name));
            prop_assert_eq!(matches_segment(&name, &other), name == other);
        }
    }
}
