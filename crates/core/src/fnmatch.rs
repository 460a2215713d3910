//! Shell patterns as fnmatch(3) of the C library matches them.
//!
//! The formats that the host's configuration has, such as sysctl.d, udev rules and modprobe.d, are
//! read by programs that call fnmatch(3) or glob(3). The pattern crates differ from it in details:
//! what an unclosed `[` means, whether `^` negates, whether a backslash escapes, what a class such
//! as `[[:digit:]]` contains. Only the answer of the C library tells what these programs do.
//!
//! `*` and `?` match a slash and a leading dot too, as without `FNM_PATHNAME` and `FNM_PERIOD`.
//! Collating symbols and equivalence classes (`[[.a.]]`, `[[=a=]]`) are not supported, and classes
//! and letter case are those of the C locale.
//!
//! ```
//! use hosttune_core::fnmatch;
//!
//! assert!(fnmatch::matches("sd[a-z]*", "sda1"));
//! assert!(!fnmatch::matches("sd[!a-c]", "sda"));
//! assert!(fnmatch::matches_any_case("SD[A-Z]", "sdb"));
//! ```

/// Whether a text is a pattern: it contains `*`, `?` or `[`. systemd's `string_is_glob` and procps
/// use the same test, so a text with only backslashes is literal.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether a pattern matches a whole text.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    matches_characters(&characters(pattern), &characters(text), |character| {
        character
    })
}

/// As [`matches()`], without regard to the case of letters (`FNM_CASEFOLD`). A class such as
/// `[[:upper:]]` still is about the letter as it stands in the text.
#[must_use]
pub fn matches_any_case(pattern: &str, text: &str) -> bool {
    matches_characters(&characters(pattern), &characters(text), |character| {
        // A letter whose small form is several characters has no counterpart in C either.
        let mut small = character.to_lowercase();
        match (small.next(), small.next()) {
            (Some(one), None) => one,
            _ => character,
        }
    })
}

/// As [`matches()`], for bytes that need not be UTF-8, as in the C locale.
#[must_use]
pub fn matches_bytes(pattern: &[u8], text: &[u8]) -> bool {
    let characters =
        |bytes: &[u8]| -> Vec<char> { bytes.iter().map(|byte| char::from(*byte)).collect() };
    matches_characters(&characters(pattern), &characters(text), |character| {
        character
    })
}

fn characters(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// `fold` is applied to characters before they are compared.
///
/// The match is greedy with a single position for backtracking: a later `*` makes every earlier one
/// irrelevant, so the work is bounded by the product of the lengths, even for `*a*a*a*a`.
fn matches_characters(pattern: &[char], text: &[char], fold: fn(char) -> char) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while seen < text.len() {
        if pattern.get(at) == Some(&'*') {
            retry = Some((at + 1, seen));
            at += 1;
        } else if let Some(next) = element(pattern, at, text[seen], fold) {
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
fn element(pattern: &[char], at: usize, character: char, fold: fn(char) -> char) -> Option<usize> {
    let literal = |expected: char, next: usize| (fold(expected) == fold(character)).then_some(next);
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match bracket(pattern, at, character, fold) {
            Some((inside, next)) => inside.then_some(next),
            // An unclosed bracket is an ordinary character.
            None => literal('[', at + 1),
        },
        // A trailing backslash escapes nothing and matches nothing.
        '\\' => literal(*pattern.get(at + 1)?, at + 2),
        expected => literal(expected, at + 1),
    }
}

/// Reads the bracket expression that opens at `open`: whether it contains the character, and where
/// the pattern continues. `None` if it is not closed.
fn bracket(
    pattern: &[char],
    open: usize,
    character: char,
    fold: fn(char) -> char,
) -> Option<(bool, usize)> {
    let mut at = open + 1;
    let negated = matches!(pattern.get(at), Some('!' | '^'));
    at += usize::from(negated);
    let first = at;
    let mut inside = false;
    loop {
        // A `]` in the first position is literal, since an empty set would be useless.
        if *pattern.get(at)? == ']' && at > first {
            return Some((inside != negated, at + 1));
        }
        if let Some((found, next)) = class(pattern, at, character) {
            inside |= found;
            at = next;
            continue;
        }
        let (low, after_low) = member(pattern, at)?;
        at = after_low;
        if pattern.get(at) == Some(&'-') && pattern.get(at + 1).is_some_and(|next| *next != ']') {
            let (high, after_high) = member(pattern, at + 1)?;
            at = after_high;
            inside |= (fold(low)..=fold(high)).contains(&fold(character));
        } else {
            inside |= fold(low) == fold(character);
        }
    }
}

/// One character of a bracket expression, and the position after it; a backslash escapes here too.
fn member(pattern: &[char], at: usize) -> Option<(char, usize)> {
    match *pattern.get(at)? {
        '\\' => Some((*pattern.get(at + 1)?, at + 2)),
        literal => Some((literal, at + 1)),
    }
}

/// Reads `[:name:]`: whether the class contains the character, and the position after it. An unknown
/// class contains nothing.
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
