//! Names of modules and patterns over them, in which `-` and `_` are the same.

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
}
