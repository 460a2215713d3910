//! Reading of facts: a file that cannot be read makes its own fact unknown and has no other effect.

use std::path::Path;
use std::str::FromStr;

use hosttune_core::Host;
use hosttune_core::host::EntryKind;

/// The host that facts are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a>(pub(crate) &'a Host);

impl Source<'_> {
    /// Returns all bytes of a file.
    pub(crate) fn bytes(self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.0.read(path).ok()
    }

    /// Returns a file of several lines. Invalid UTF-8 is replaced, so that one odd byte in a disk's name
    /// does not hide the rest.
    pub(crate) fn lines(self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = self.bytes(path)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the single value of a file without surrounding blanks, or `None` if it is empty.
    pub(crate) fn value(self, path: impl AsRef<Path>) -> Option<String> {
        plain(&self.lines(path)?)
    }

    /// Returns the single number of a file.
    pub(crate) fn number<N: FromStr>(self, path: impl AsRef<Path>) -> Option<N> {
        self.value(path)?.parse().ok()
    }

    /// Returns the boolean value of a file with `0` or `1`.
    pub(crate) fn flag(self, path: impl AsRef<Path>) -> Option<bool> {
        match self.value(path)?.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }

    /// Returns the names in a directory, sorted.
    pub(crate) fn names(self, directory: impl AsRef<Path>) -> Option<Vec<String>> {
        self.0.list(directory).ok()
    }

    /// Returns the target of a symlink as stored.
    pub(crate) fn link(self, path: impl AsRef<Path>) -> Option<String> {
        match self.0.entry(path).ok()??.kind {
            EntryKind::Link(target) => Some(target.to_string_lossy().into_owned()),
            _ => None,
        }
    }

    /// Returns the last component of a symlink's target, which is how sysfs names the driver of a device.
    pub(crate) fn link_name(self, path: impl AsRef<Path>) -> Option<String> {
        plain(self.link(path)?.rsplit('/').next()?)
    }

    /// Whether a path exists, as far as this process may see it.
    pub(crate) fn exists(self, path: impl AsRef<Path>) -> bool {
        self.0.exists(path).unwrap_or(false)
    }
}

/// Returns a value that is safe to print: without surrounding blanks and NUL bytes, and with control
/// characters replaced, because they would reach a terminal. `None` if nothing remains.
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
