//! Reading for facts: whatever cannot be read is not known, and nothing more.

use std::path::Path;
use std::str::FromStr;

use hosttune_core::Host;
use hosttune_core::host::EntryKind;

/// A host, as facts are read from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a>(pub(crate) &'a Host);

impl Source<'_> {
    /// All bytes of a file.
    pub(crate) fn bytes(self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.0.read(path).ok()
    }

    /// A file of several lines. What is not UTF-8 in it is replaced: one odd byte in a disk's name
    /// must not hide the rest.
    pub(crate) fn lines(self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = self.bytes(path)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The one value of a file, without the blanks around it; nothing where there is none.
    pub(crate) fn value(self, path: impl AsRef<Path>) -> Option<String> {
        plain(&self.lines(path)?)
    }

    /// The one number of a file.
    pub(crate) fn number<N: FromStr>(self, path: impl AsRef<Path>) -> Option<N> {
        self.value(path)?.parse().ok()
    }

    /// `0` or `1`.
    pub(crate) fn flag(self, path: impl AsRef<Path>) -> Option<bool> {
        match self.value(path)?.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }

    /// The names in a directory, sorted.
    pub(crate) fn names(self, directory: impl AsRef<Path>) -> Option<Vec<String>> {
        self.0.list(directory).ok()
    }

    /// Where a symlink leads to, as it is written.
    pub(crate) fn link(self, path: impl AsRef<Path>) -> Option<String> {
        match self.0.entry(path).ok()??.kind {
            EntryKind::Link(target) => Some(target.to_string_lossy().into_owned()),
            _ => None,
        }
    }

    /// The last name of where a symlink leads to: how sysfs says which driver a device has.
    pub(crate) fn link_name(self, path: impl AsRef<Path>) -> Option<String> {
        plain(self.link(path)?.rsplit('/').next()?)
    }

    /// Whether anything stands at a path, as far as this process may see.
    pub(crate) fn exists(self, path: impl AsRef<Path>) -> bool {
        self.0.exists(path).unwrap_or(false)
    }
}

/// A value as it may be shown: without blanks and zero bytes around it, and with no control
/// characters, which would reach a person's terminal. Nothing where nothing is left.
pub(crate) fn plain(text: &str) -> Option<String> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let shown: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_nothing_in_it_that_a_terminal_obeys() {
        assert_eq!(plain("  QEMU HARDDISK   \n"), Some("QEMU HARDDISK".into()));
        assert_eq!(plain("a\x1b[2Jb\0"), Some("a\u{fffd}[2Jb".into()));
        for nothing in ["", " \n", "\0\0"] {
            assert_eq!(plain(nothing), None);
        }
    }
}
