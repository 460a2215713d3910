//! Which entry GRUB starts without a choice for one boot, where an entry of ours is in its menu.

use super::grub_menu::{Menu, MenuEntry};

/// The entries of a menu beside ours, in GRUB's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// Ids and titles.
    pub(super) names: Vec<String>,
    /// How many of them are before ours, for certain.
    pub(super) before: usize,
}

impl Others {
    /// Entries of a generated menu up to a line, and those behind it.
    pub(super) fn add_menu(&mut self, menu: &Menu, line: usize) {
        for entry in &menu.entries {
            self.names.extend(names(entry));
            self.before += usize::from(entry.line < line && !entry.is_conditional);
        }
    }

    /// Entries of `custom.cfg`, to whose end ours is added.
    pub(super) fn add_custom(&mut self, custom: &Menu, ours: &str) {
        for entry in &custom.entries {
            if entry.id.as_deref() != Some(ours) {
                self.names.extend(names(entry));
                self.before += usize::from(!entry.is_conditional);
            }
        }
    }
}

fn names(entry: &MenuEntry) -> impl Iterator<Item = String> {
    entry.id.clone().into_iter().chain([entry.title.clone()])
}

/// Why ours would be what GRUB starts, for people; `None` if it starts another entry. `default` is the value of
/// the variable, and `is_from_files` says that the entries are files: such a GRUB compares names before it
/// takes a value for a number, and older ones do not (`get_entry_number` in `grub-core/normal/menu.c`).
pub(super) fn objection(
    default: &str,
    ours: &[&str],
    others: &Others,
    is_from_files: bool,
) -> Option<String> {
    if default.contains('$') {
        return Some(format!(
            "the default entry is computed at boot ({default}), so it may be the new entry"
        ));
    }
    if ours.contains(&default) {
        return Some("the default entry is the new entry itself".to_owned());
    }
    let first = super::grub_menu::path(default);
    let first = first.first().map_or("", |first| &**first);
    let is_name = others.names.iter().any(|name| name == first);
    let starts_with_digit = first.starts_with(|letter: char| letter.is_ascii_digit());
    if is_name && (is_from_files || !starts_with_digit) {
        return None;
    }
    let end = first.find(|letter: char| !letter.is_ascii_digit());
    let digits = &first[..end.unwrap_or(first.len())];
    let number = match first.as_bytes() {
        // GRUB reads these as octal and hexadecimal numbers, which are not computed here.
        [b'0', b'0'..=b'9' | b'x' | b'X', ..] => None,
        _ => digits.parse::<usize>().ok(),
    };
    let is_whole = digits.len() == first.len();
    let (number, what) = match number {
        _ if first.is_empty() => (Some(0), "no default entry is set".to_owned()),
        // What is neither a name nor a number counts as 0.
        _ if !starts_with_digit || (is_from_files && !is_whole) => (
            Some(0),
            format!("the default entry '{first}' is not in the menu"),
        ),
        number => (number, format!("the default entry is a number ({first})")),
    };
    let is_before = number.is_some_and(|number| number < others.before);
    (!is_before).then(|| format!("{what}, and GRUB may take the new entry for it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(names: &[&str], before: usize) -> Others {
        Others {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            before,
        }
    }

    #[test]
    fn an_entry_of_ours_is_the_default_only_behind_all_others() {
        let two = others(&["a-2", "Linux 2", "b>c", "0ab-1"], 2);
        for (default, is_from_files, objects) in [
            ("", true, false),
            ("0", true, false),
            ("1", true, false),
            ("2", true, true),
            ("3", true, true),
            ("1>0", false, false),
            ("2>0", false, true),
            ("a-2", false, false),
            ("Linux 2", false, false),
            ("b>>c>x", false, false),
            ("removed", true, false),
            ("0ab-1", true, false),
            // GRUB without the search for names first takes this for a number.
            ("0ab-1", false, false),
            ("2ab-1", false, true),
            ("9-removed", true, false),
            ("010", true, true),
            ("${other}", true, true),
            ("ours", true, true),
        ] {
            let why = objection(default, &["ours"], &two, is_from_files);
            assert_eq!(why.is_some(), objects, "{default}: {why:?}");
        }
        for default in ["", "0", "removed"] {
            let why = objection(default, &["ours"], &others(&["a"], 0), true);
            assert!(why.unwrap().contains("may take the new entry"), "{default}");
        }
    }
}
