//! Parameters in the entries of Limine's configuration, `limine.conf` (Limine 8 and later).
//!
//! A line that begins with slashes begins an entry, whose depth is their number; other lines are
//! `key: value`, and `#` begins a comment line. Source: `CONFIG.md` of Limine.

use std::ops::Range;

use crate::command_line::KernelCommandLine;

/// An entry that starts Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LimineEntry {
    /// The titles that lead to it, each behind a slash.
    pub(super) path: String,
    /// Where its kernel command line is in the text, with the blanks before it.
    pub(super) line: Vec<Range<usize>>,
    /// Its other lines, as `key: value`.
    pub(super) others: Vec<String>,
}

/// The entries that start Linux, in order.
pub(super) fn entries(text: &str) -> Vec<LimineEntry> {
    let mut found: Vec<(LimineEntry, bool)> = Vec::new();
    let mut titles: Vec<&str> = Vec::new();
    let mut offset = 0;
    for whole in text.split_inclusive('\n') {
        let start = offset;
        offset += whole.len();
        let content = whole.trim_end_matches(['\r', '\n']);
        let line = content.trim_start();
        let from = start + content.len() - line.len();
        let depth = line.len() - line.trim_start_matches('/').len();
        if depth > 0 {
            titles.truncate(depth - 1);
            titles.push(line[depth..].trim_start_matches('+').trim());
            let path: String = titles.iter().map(|title| format!("/{title}")).collect();
            let entry = LimineEntry {
                path,
                line: Vec::new(),
                others: Vec::new(),
            };
            found.push((entry, false));
        } else if let Some((key, value)) = line.split_once(':')
            && !line.starts_with('#')
            && let Some((entry, is_linux)) = found.last_mut()
        {
            let end = start + content.len();
            match key.trim().to_ascii_lowercase().as_str() {
                "cmdline" | "kernel_cmdline" => {
                    entry.line.push(from + key.len() + 1..end);
                    continue;
                }
                "protocol" => *is_linux = value.trim() == "linux",
                _ => {}
            }
            let key = key.trim().to_ascii_lowercase();
            entry.others.push(format!("{key}: {}", value.trim()));
        }
    }
    let linux = found.into_iter().filter(|(_, is_linux)| *is_linux);
    linux.map(|(entry, _)| entry).collect()
}

/// The line of an entry, if there is one entry of that path with one line.
pub(super) fn range(text: &str, path: &str) -> Option<Range<usize>> {
    let all = entries(text);
    let mut of_path = all.iter().filter(|entry| entry.path == path);
    match (of_path.next(), of_path.next()) {
        (Some(entry), None) => match &entry.line[..] {
            [range] => Some(range.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// How many entries have these titles.
pub(super) fn count(text: &str, path: &str) -> usize {
    let all = entries(text);
    all.iter().filter(|entry| entry.path == path).count()
}

/// Whether the line of an entry has a macro, which Limine replaces.
pub(super) fn has_macro(line: &KernelCommandLine) -> bool {
    line.to_string().contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "timeout: 3\n# /no entry\n/+Arch\n//linux\n    protocol: linux\n    path: boot():/vmlinuz\n    cmdline: root=UUID=1 rw quiet\n//other\n    protocol: efi\n    cmdline: x\n/Arch\n    PROTOCOL: linux\n    cmdline:a=1\r\n";

    #[test]
    fn entries_are_found_by_their_path() {
        let found = entries(TEXT);
        let paths: Vec<&str> = found.iter().map(|entry| &*entry.path).collect();
        assert_eq!(paths, ["/Arch/linux", "/Arch"]);
        assert_eq!(
            &TEXT[range(TEXT, "/Arch/linux").unwrap()],
            " root=UUID=1 rw quiet"
        );
        assert_eq!(&TEXT[range(TEXT, "/Arch").unwrap()], "a=1");
        assert_eq!(range(&TEXT.repeat(2), "/Arch"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(/{0,2}[a+ ]{0,2}|cmdline:|protocol: linux|#|[ \r]|\n){0,12}") {
            for entry in entries(&text) {
                prop_assert!(entry.line.iter().all(|range| text.get(range.clone()).is_some()));
            }
        }
    }
}
