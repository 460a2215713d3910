//! Names of modules and patterns over them: `-` and `_` are the same, and fnmatch(3) without flags.

/// The spelling with `_`, as kmod makes it; `-` stays within a bracket expression. `None` if a
/// bracket is not closed or not opened, for which kmod ignores the line.
pub(super) fn canonical(name: &[u8]) -> Option<Vec<u8>> {
    let mut canonical = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        match first {
            b']' => return None,
            b'[' => {
                let length = rest.iter().position(|byte| *byte == b']')? + 1;
                canonical.extend_from_slice(&rest[..length]);
                rest = &rest[length..];
                continue;
            }
            b'-' => canonical.push(b'_'),
            byte => canonical.push(*byte),
        }
        rest = after;
    }
    Some(canonical)
}

/// Whether a pattern matches a whole name, as `fnmatch(pattern, name, 0)` answers in the C locale.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // One place for trying again is enough: a later `*` makes every earlier one irrelevant.
    let mut retry: Option<(usize, usize)> = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&b'*') {
            retry = Some((at + 1, seen));
            at += 1;
        } else if let Some(next) = element(pattern, at, name[seen]) {
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
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Where the pattern continues if its element at `at` matches the byte.
fn element(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => match bracket(pattern, at, byte) {
            Some((matched, next)) => matched.then_some(next),
            // An unclosed bracket is an ordinary character.
            None => (byte == b'[').then_some(at + 1),
        },
        b'\\' => (*pattern.get(at + 1)? == byte).then_some(at + 2),
        literal => (literal == byte).then_some(at + 1),
    }
}

/// Whether a bracket expression contains the byte, and where the pattern continues; `None` if the
/// bracket is not closed.
fn bracket(pattern: &[u8], open: usize, byte: u8) -> Option<(bool, usize)> {
    let mut at = open + 1;
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let first = at;
    let mut inside = false;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((inside != negated, at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                inside |= (low..=*high).contains(&byte);
                at += 3;
            }
            _ => {
                inside |= low == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_stays_only_within_brackets() {
        assert_eq!(canonical(b"snd-hda-[a-z]-x").unwrap(), b"snd_hda_[a-z]_x");
        for broken in [&b"a]"[..], b"[a", b"x[a-"] {
            assert_eq!(canonical(broken), None);
        }
    }

    /// Each answer is that of glibc's `fnmatch(pattern, name, 0)`.
    #[test]
    fn patterns_match_as_fnmatch_matches() {
        for (pattern, name, answer) in [
            ("nvidia*", "nvidia_drm", true),
            ("nvidia", "nvidia_drm", false),
            ("*_drm", "nvidia_drm", true),
            ("s?d", "snd", true),
            ("s?d", "sd", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]a]x", "]x", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*", "", true),
            ("", "a", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ] {
            let matched = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(matched, answer, "{pattern} {name}");
        }
    }
}
