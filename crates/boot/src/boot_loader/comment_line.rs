//! Comment lines in `/etc/kernel/cmdline`.
//!
//! kernel-install knows none: its `90-loaderentry.install` and `60-ukify.install` make one line of all words. For
//! mkinitcpio a line is a comment if it begins with `#`. What is written to the other lines is read by both.

use std::ops::Range;

use crate::command_line::{Argument, is_unbalanced, ranges};

fn is_comment(line: &str) -> bool {
    line.starts_with('#')
}

/// The ranges of a text between its comment lines.
pub(super) fn without(text: &str) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut offset = 0;
    let mut is_new = true;
    for line in text.split_inclusive('\n') {
        let range = offset..offset + line.len();
        offset = range.end;
        match parts.last_mut() {
            _ if is_comment(line) => is_new = true,
            Some(last) if !is_new => last.end = range.end,
            _ => {
                is_new = false;
                parts.push(range);
            }
        }
    }
    if parts.is_empty() && (text.is_empty() || text.ends_with('\n')) {
        parts.push(text.len()..text.len());
    }
    parts
}

/// Why these parameters cannot be set for both readers: a comment line has one of them, or it has what changes
/// the rest of the line for kernel-install.
pub(super) fn objection(text: &str, names: &[String]) -> Option<String> {
    let is_read = |line: &&str| {
        let is_one_of_them = |range: Range<usize>| {
            let argument = Argument::read(&line.as_bytes()[range]);
            argument.is_end() || names.iter().any(|name| argument.is_named(name))
        };
        is_unbalanced(line.as_bytes()) || ranges(line.as_bytes()).any(is_one_of_them)
    };
    let mut comments = text.lines().filter(|line| is_comment(line));
    let line = comments.find(is_read)?;
    Some(format!(
        "kernel-install reads its line '{line}' as parameters, and mkinitcpio as a comment"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_between_the_comments() {
        for (text, lines) in [
            ("a b\nc\n", &["a b\nc\n"][..]),
            ("a\n# b\nc\nd\n", &["a\n", "c\nd\n"]),
            ("# b\na\n# c", &["a\n"]),
            ("a\n# c\n\n", &["a\n", "\n"]),
            ("# c\n\n", &["\n"]),
            ("# c", &[]),
            ("# c\n", &[""]),
            (" # c\n", &[" # c\n"]),
            ("", &[""]),
        ] {
            let found = without(text).into_iter();
            let found: Vec<&str> = found.map(|range| &text[range]).collect();
            assert_eq!(found, lines, "{text:?}");
        }
    }
}
