//! The menu of systemd-boot: the order of its entries, and which one it starts without a choice for one boot
//! (`boot_entry_compare` and `config_select_default_entry` in `src/boot/boot.c`, since 250).

use std::cmp::Ordering;

use super::version_order;
use crate::boot_loader::{LoaderEntry, counters};

/// An entry as the loader lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListedEntry {
    /// The name of the file without counters, in small letters.
    pub(super) id: String,
    pub(super) sort_key: Option<String>,
    pub(super) machine_id: String,
    pub(super) version: String,
    /// How often it is tried still, if that is counted.
    pub(super) tries_left: Option<u64>,
}

impl ListedEntry {
    /// The entry in a file; `None` if the loader does not list it.
    pub(super) fn of(file: &str, entry: &LoaderEntry) -> Option<Self> {
        let name = file.to_lowercase();
        let is_listed = name.ends_with(".conf")
            && !name.starts_with('.')
            && !name.starts_with("auto-")
            && ["linux", "efi", "uki"]
                .into_iter()
                .any(|key| entry.last(key).is_some());
        let text = |key| entry.last(key).map(str::to_owned);
        let (id, tries_left) = match counters(&name) {
            Some((id, left)) => (id, Some(left)),
            None => (name, None),
        };
        is_listed.then(|| Self {
            id,
            sort_key: text("sort-key"),
            machine_id: text("machine-id").unwrap_or_default(),
            version: text("version").unwrap_or_default(),
            tries_left,
        })
    }

    /// The place in the menu: what is less is before.
    fn compare(&self, other: &Self) -> Ordering {
        let is_used_up = |entry: &Self| entry.tries_left == Some(0);
        let by_kind = is_used_up(self)
            .cmp(&is_used_up(other))
            // Entries with a sort key are before those without one.
            .then_with(|| self.sort_key.is_none().cmp(&other.sort_key.is_none()));
        let by_key = by_kind.then_with(|| match self.sort_key {
            None => Ordering::Equal,
            Some(_) => self
                .sort_key
                .cmp(&other.sort_key)
                .then_with(|| self.machine_id.cmp(&other.machine_id))
                .then_with(|| version_order::systemd(&other.version, &self.version)),
        });
        by_key.then_with(|| version_order::systemd(&other.id, &self.id))
    }
}

/// The entry that is started without a choice for one boot. The patterns are tried in turn; without a match
/// the first entry of the menu is started. `true` if a pattern matched.
pub(super) fn default<'e>(
    entries: &'e [ListedEntry],
    patterns: &[String],
) -> Option<(&'e ListedEntry, bool)> {
    let mut sorted: Vec<&ListedEntry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.compare(b));
    let matched = patterns.iter().find_map(|pattern| {
        // One that cannot be parsed matches nothing.
        let pattern = glob::Pattern::new(&pattern.to_lowercase()).ok()?;
        sorted.iter().find(|entry| pattern.matches(&entry.id))
    });
    match matched {
        Some(entry) => Some((entry, true)),
        None => sorted.first().map(|entry| (*entry, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: &str, text: &str) -> ListedEntry {
        ListedEntry::of(file, &LoaderEntry::parse(&format!("linux /v\n{text}"))).unwrap()
    }

    fn first(entries: &[ListedEntry], patterns: &[&str]) -> String {
        let patterns: Vec<String> = patterns.iter().map(|&one| one.to_owned()).collect();
        default(entries, &patterns).unwrap().0.id.clone()
    }

    /// As `bootctl list` of systemd 252 has them.
    #[test]
    fn a_sort_key_is_before_none_and_what_is_used_up_is_last() {
        let order = [
            entry("b-6.12.conf", "sort-key arch\nmachine-id 1\nversion 6.12"),
            entry("c-6.9.conf", "sort-key arch\nmachine-id 1\nversion 6.9"),
            entry("a-7.conf", "sort-key arch\nmachine-id 2\nversion 7"),
            entry("d.conf", "sort-key zz-hosttune"),
            entry("1.conf", ""),
            entry("Arch+2-1.conf", "version 9"),
            entry("arch-1.conf", "version 3"),
            entry("a--hosttune-x.conf", "version 99"),
            entry("z+0-3.conf", "sort-key a"),
            entry("z2+0.conf", ""),
        ];
        // `arch.conf` is after `arch-1.conf`, whose name is longer.
        let mut sorted = order.to_vec();
        sorted.reverse();
        sorted.sort_by(ListedEntry::compare);
        let ids = |entries: &[ListedEntry]| -> Vec<String> {
            entries.iter().map(|entry| entry.id.clone()).collect()
        };
        assert_eq!(ids(&sorted), ids(&order));
        assert_eq!(order[5].id, "arch.conf");
        assert_eq!(order[5].tries_left, Some(2));
    }

    #[test]
    fn a_pattern_is_before_the_order() {
        let entries = [entry("a.conf", "sort-key a"), entry("Fedora-6.conf", "")];
        assert_eq!(first(&entries, &[]), "a.conf");
        assert_eq!(first(&entries, &["fedora-*"]), "fedora-6.conf");
        assert_eq!(first(&entries, &["x", "FEDORA-6.conf"]), "fedora-6.conf");
        assert_eq!(first(&entries, &["*"]), "a.conf");
        assert_eq!(first(&entries, &["[", "a.c?nf"]), "a.conf");
        assert_eq!(default(&[], &[]), None);
    }

    #[test]
    fn what_is_no_entry_is_not_listed() {
        let linux = LoaderEntry::parse("linux /v\n");
        for name in [".a.conf", "auto-x.conf", "a.txt"] {
            assert_eq!(ListedEntry::of(name, &linux), None, "{name}");
        }
        assert_eq!(
            ListedEntry::of("a.conf", &LoaderEntry::parse("title x\n")),
            None
        );
    }
}
