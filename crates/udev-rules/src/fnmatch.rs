//! Shell patterns as fnmatch(3) matches them with no flags, or with `FNM_CASEFOLD`.
//!
//! Unlike in glob(3), `*` and `?` also match a slash and a leading dot, since the text is not a
//! path.

/// Whether a pattern matches the whole of a text.
pub(super) fn matches(pattern: &str, text: &str, folds_case: bool) -> bool {
    let characters = |text: &str| -> Vec<char> {
        if folds_case {
            text.chars().flat_map(char::to_lowercase).collect()
        } else {
            text.chars().collect()
        }
    };
    let (pattern, text) = (characters(pattern), characters(text));
    // A greedy match with one position for backtracking: a later `*` makes every earlier one
    // irrelevant.
    let (mut at, mut seen) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while seen < text.len() {
        if pattern.get(at) == Some(&'*') {
            retry = Some((at + 1, seen));
            at += 1;
        } else if let Some(next) = one(&pattern, at, text[seen]) {
            at = next;
            seen += 1;
        } else if let Some((after, from)) = retry {
            retry = Some((after, from + 1));
            at = after;
            seen = from + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

/// Where the pattern continues if its element at `at` matches the character.
fn one(pattern: &[char], at: usize, character: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match bracket(pattern, at, character) {
            Some((inside, next)) => inside.then_some(next),
            // An unclosed bracket is an ordinary character.
            None => (character == '[').then_some(at + 1),
        },
        '\\' => (*pattern.get(at + 1)? == character).then_some(at + 2),
        literal => (literal == character).then_some(at + 1),
    }
}

/// Reads a bracket expression: whether it contains the character, and where the pattern continues;
/// `None` if the bracket is not closed.
fn bracket(pattern: &[char], open: usize, character: char) -> Option<(bool, usize)> {
    let mut at = open + 1;
    let negated = matches!(pattern.get(at), Some('!' | '^'));
    at += usize::from(negated);
    let first = at;
    let mut inside = false;
    loop {
        let element = *pattern.get(at)?;
        if element == ']' && at > first {
            return Some((inside != negated, at + 1));
        }
        if let Some((found, next)) = class(pattern, at, character) {
            inside |= found;
            at = next;
            continue;
        }
        let (low, behind) = element_at(pattern, at)?;
        at = behind;
        if pattern.get(at) == Some(&'-') && pattern.get(at + 1).is_some_and(|next| *next != ']') {
            let (high, behind) = element_at(pattern, at + 1)?;
            at = behind;
            inside |= (low..=high).contains(&character);
        } else {
            inside |= low == character;
        }
    }
}

fn element_at(pattern: &[char], at: usize) -> Option<(char, usize)> {
    match *pattern.get(at)? {
        '\\' => Some((*pattern.get(at + 1)?, at + 2)),
        literal => Some((literal, at + 1)),
    }
}

/// Reads `[:name:]`, limited to ASCII like the kernel's names.
fn class(pattern: &[char], at: usize, character: char) -> Option<(bool, usize)> {
    let inside = pattern.get(at..)?.strip_prefix(&['[', ':'])?;
    let length = inside.iter().position(|next| *next == ':')?;
    if inside.get(length + 1) != Some(&']') {
        return None;
    }
    let name: String = inside[..length].iter().collect();
    let found = match name.as_str() {
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
    };
    Some((found, at + length + 4))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_fnmatch_3() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "a/b", true),
            ("?", "/", true),
            ("*", ".hidden", true),
            ("sd[a-z]", "sda", true),
            ("sd[a-z]", "sdaa", false),
            ("sd[!a-c]", "sdd", true),
            ("sd[^a-c]", "sda", false),
            ("nvme[0-9]*", "nvme0", true),
            ("nvme[0-9]n[0-9]", "nvme10n1", false),
            ("*\\[bfq\\]*", "none mq-deadline [bfq]", true),
            ("*\\[bfq\\]*", "none mq-deadline bfq", false),
            ("vd*[!0-9]", "vda", true),
            ("vd*[!0-9]", "vda1", false),
            ("a[]b]", "a]", true),
            ("a[", "a[", true),
            ("a\\", "a\\", false),
            ("[[:digit:]]x", "7x", true),
        ] {
            assert_eq!(
                matches(pattern, text, false),
                expected,
                "{pattern} on {text}"
            );
        }
        assert!(matches("SD[A-Z]", "sdb", true));
        assert!(!matches("SD[A-Z]", "sdb", false));
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199), false));
    }
}
