//! Shell patterns for one path segment, as glob(3) matches them, which both sysctl loaders call.

use hosttune_core::fnmatch;

/// Whether one segment of a pattern matches one file name. Neither contains a slash.
pub(crate) fn matches_segment(pattern: &str, name: &str) -> bool {
    // A leading dot must be matched explicitly (FNM_PERIOD, which glob(3) always uses).
    let is_hidden = name.starts_with('.');
    if is_hidden && !pattern.starts_with('.') && !pattern.starts_with("\\.") {
        return false;
    }
    fnmatch::matches(pattern, name)
}

#[cfg(test)]
mod tests {
    use super::matches_segment;

    #[test]
    fn a_leading_dot_is_matched_only_by_a_dot() {
        for (pattern, name, expected) in [
            ("*", "eth0.100", true),
            ("*", ".hidden", false),
            ("?hidden", ".hidden", false),
            ("[.]hidden", ".hidden", false),
            (".*", ".hidden", true),
            (r"\.*", ".hidden", true),
        ] {
            assert_eq!(
                matches_segment(pattern, name),
                expected,
                "{pattern} on {name}"
            );
        }
    }
}
