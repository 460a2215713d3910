//! Entries of the Boot Loader Specification, type 1: one file for each entry in `loader/entries`.
//!
//! systemd-boot reads them, and GRUB where `grub.cfg` has `blscfg` (Fedora).

use crate::command_line::KernelCommandLine;

/// An entry file, kept byte for byte: an edit changes its own lines and leaves the rest as it is.
///
/// A line is a key, blanks and a value; `#` begins a comment line. Of the keys that are read here,
/// `options` may occur several times, and its values are then one kernel command line.
///
/// ```
/// use hosttune_boot::boot_loader::LoaderEntry;
///
/// let mut entry = LoaderEntry::parse("title Debian\noptions root=UUID=1\noptions quiet\n");
/// assert_eq!(entry.line().to_string(), "root=UUID=1 quiet");
/// entry.set("title", "Debian for guests");
/// assert_eq!(entry.text(), "title Debian for guests\noptions root=UUID=1\noptions quiet\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderEntry {
    /// The lines, each with its line feed where it has one.
    lines: Vec<String>,
}

impl LoaderEntry {
    /// Reads an entry. Any text is one; an entry without `linux` starts no kernel.
    pub fn parse(text: &str) -> Self {
        Self {
            lines: text.split_inclusive('\n').map(str::to_owned).collect(),
        }
    }

    /// The text; of an entry that was not changed, the one that was parsed.
    pub fn text(&self) -> String {
        self.lines.concat()
    }

    /// The values of a key, in order.
    pub fn all<'e>(&'e self, key: &'e str) -> impl Iterator<Item = &'e str> {
        self.lines.iter().filter_map(move |line| value(line, key))
    }

    /// The last value of a key, which counts where only one does.
    pub fn last(&self, key: &str) -> Option<&str> {
        let mut lines = self.lines.iter();
        lines
            .rfind(|line| value(line, key).is_some())
            .and_then(|line| value(line, key))
    }

    /// The kernel command line: the values of all `options`.
    pub fn line(&self) -> KernelCommandLine {
        KernelCommandLine::parse(self.all("options").collect::<Vec<_>>().join(" "))
    }

    /// Removes every line with a key.
    pub fn remove(&mut self, key: &str) {
        self.lines.retain(|line| value(line, key).is_none());
    }

    /// Gives a key one value: in the place of its first line, without the others, or in a new last
    /// line.
    pub fn set(&mut self, key: &str, to: &str) {
        let place = self
            .lines
            .iter()
            .position(|line| value(line, key).is_some());
        let mut number = 0;
        self.lines.retain(|line| {
            let is_other = value(line, key).is_some() && Some(number) != place;
            number += 1;
            !is_other
        });
        let line = format!("{key} {to}\n");
        match place {
            Some(place) => self.lines[place] = line,
            None => {
                if let Some(last) = self.lines.last_mut()
                    && !last.ends_with('\n')
                {
                    last.push('\n');
                }
                self.lines.push(line);
            }
        }
    }
}

/// The value of a line, if it has this key.
fn value<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    let rest = line.trim().strip_prefix(key)?;
    match rest.chars().next() {
        None => Some(""),
        Some(next) if next.is_whitespace() => Some(rest.trim_start()),
        Some(_) => None,
    }
}

/// The name of an entry file without the counters of its boots, and how often it is tried still:
/// `a+3-0.conf` is `a.conf`, three times. `None` if nothing is counted.
pub(crate) fn counters(name: &str) -> Option<(String, u64)> {
    let (stem, counters) = name.strip_suffix(".conf")?.rsplit_once('+')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (left, done) = match counters.split_once('-') {
        Some((left, done)) => (left, Some(done)),
        None => (counters, None),
    };
    let are_counters = is_number(left) && done.is_none_or(is_number);
    // A number that is too large is not 0.
    are_counters.then(|| (format!("{stem}.conf"), left.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_not_changed_stays(text in "((title|options|linux|#)?[ \t]?[a= ]{0,4}\r?\n?){0,6}", to in "[a-z=]{1,9}( [a-z]{1,3})?") {
            let entry = LoaderEntry::parse(&text);
            prop_assert_eq!(entry.text(), text);
            let mut changed = entry.clone();
            changed.set("options", &to);
            prop_assert_eq!(changed.all("options").collect::<Vec<_>>(), [&to]);
            for key in ["title", "linux"] {
                prop_assert!(changed.all(key).eq(entry.all(key)));
            }
            let again = LoaderEntry::parse(&changed.text());
            prop_assert_eq!(again.text(), changed.text());
            let line = changed.line().to_string();
            prop_assert_eq!(line, to);
            changed.remove("options");
            prop_assert_eq!(changed.last("options"), None);
            prop_assert!(changed.all("title").eq(entry.all("title")));
        }
    }
}
