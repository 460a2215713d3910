//! The menu in a generated `grub.cfg`: its entries, and which one is started.
//!
//! Only what `grub-mkconfig` writes is understood: one command on a line, entries that begin with
//! `menuentry … {` and end with `}` on a line of its own.

use super::grub_word::{Word, words};

/// One entry or submenu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MenuEntry {
    pub(super) title: String,
    pub(super) id: Option<String>,
    /// The words between the title and `{`, as they are written, without the id.
    pub(super) options: Vec<String>,
    /// The lines between `{` and `}`.
    pub(super) body: Vec<String>,
    /// The entries of a submenu; `None` for an entry.
    pub(super) entries: Option<Vec<Self>>,
    /// The number of its first line, from 0.
    pub(super) line: usize,
    /// Whether it is within an `if`, so that the menu may not have it.
    pub(super) is_conditional: bool,
}

impl MenuEntry {
    fn is_named(&self, name: &str) -> bool {
        self.title == name || self.id.as_deref() == Some(name)
    }
}

/// A generated menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Menu {
    pub(super) entries: Vec<MenuEntry>,
    /// The value of `default` where no entry was chosen for one boot.
    pub(super) default: Option<String>,
    /// Whether the header starts `next_entry` once and empties it before.
    pub(super) starts_once: bool,
    /// The line that reads `custom.cfg`, from 0.
    pub(super) reads_custom: Option<usize>,
    /// The line, from 0, that reads entries from `loader/entries` at boot. The generated menu can have entries
    /// beside it, such as the firmware's settings or another system.
    pub(super) reads_entries: Option<usize>,
}

/// Why the entry that is started cannot be determined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoDefault(pub(super) String);

impl Menu {
    pub(super) fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let (entries, _) = entries(&lines, 0, 0);
        let has = |command: &str| lines.iter().position(|line| line.trim() == command);
        let once = has("set default=\"${next_entry}\"");
        let emptied = has("set next_entry=");
        let saved = has("save_env next_entry");
        let mut defaults = lines.iter().filter_map(|line| {
            let value = line.trim().strip_prefix("set default=\"")?;
            value.strip_suffix('"')
        });
        let reads_custom = lines.iter().position(|line| {
            let line = line.trim();
            line.starts_with("source ") && line.ends_with("/custom.cfg")
        });
        Self {
            entries,
            default: defaults
                .rfind(|value| *value != "${next_entry}")
                .map(str::to_owned),
            starts_once: matches!((once, emptied, saved), (Some(once), Some(emptied), Some(saved))
                if once < emptied && emptied < saved),
            reads_custom,
            reads_entries: lines
                .iter()
                .position(|line| line.split_whitespace().next() == Some("blscfg")),
        }
    }

    /// The value of `default` where no entry was chosen for one boot. `saved` is the variable `saved_entry` of
    /// the environment block.
    pub(super) fn default_value<'m>(&'m self, saved: Option<&'m str>) -> &'m str {
        match self.default.as_deref() {
            Some("${saved_entry}") => saved.unwrap_or_default(),
            default => default.unwrap_or_default(),
        }
    }

    /// The entry that is started if none was chosen for one boot. `saved` is as in
    /// [`default_value`](Self::default_value).
    ///
    /// # Errors
    /// If nothing in the menu has the name or the number.
    pub(super) fn default_entry(&self, saved: Option<&str>) -> Result<&MenuEntry, NoDefault> {
        let name = self.default_value(saved);
        // GRUB starts the first entry if none is named.
        let name = if name.is_empty() { "0" } else { name };
        if name.contains('$') {
            return Err(NoDefault(format!(
                "the default entry is computed at boot: {name}"
            )));
        }
        let mut among = &self.entries;
        let mut found = None;
        for part in path(name) {
            let at = match part.parse::<usize>() {
                Ok(number) => among.get(number),
                Err(_) => among.iter().find(|entry| entry.is_named(&part)),
            };
            let Some(entry) = at else {
                return Err(NoDefault(format!(
                    "the default entry '{name}' is not in the menu"
                )));
            };
            found = Some(entry);
            among = entry.entries.as_ref().unwrap_or(NO_ENTRIES);
        }
        match found {
            Some(entry) if entry.entries.is_none() => Ok(entry),
            _ => Err(NoDefault(format!(
                "the default entry '{name}' is a submenu"
            ))),
        }
    }
}

/// What an entry that is not a submenu contains.
const NO_ENTRIES: &Vec<MenuEntry> = &Vec::new();

/// The parts of `submenu>entry`; `>>` is a `>` in a name.
pub(super) fn path(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_separator = letter == '>' && letters.next_if_eq(&'>').is_none();
        match parts.last_mut() {
            Some(part) if !is_separator => part.push(letter),
            _ => parts.push(String::new()),
        }
    }
    parts
}

/// How deep submenus are read; grub-mkconfig writes one level.
const DEEPEST: usize = 16;

/// The entries from a line on, up to the `}` that closes what they are in, which is so many submenus.
fn entries(lines: &[&str], from: usize, depth: usize) -> (Vec<MenuEntry>, usize) {
    let mut found = Vec::new();
    let mut at = from;
    let mut conditions = 0_usize;
    while at < lines.len() {
        let line = lines[at].trim();
        if depth > 0 && line == "}" {
            break;
        }
        match line.split_whitespace().next() {
            Some("if") => conditions += 1,
            Some("fi") => conditions = conditions.saturating_sub(1),
            _ => {}
        }
        let Some(mut entry) = header(line, at) else {
            // A function is skipped: what it contains is run only when it is called.
            at = match line.starts_with("function ") && line.ends_with('{') {
                true => closing(lines, at + 1) + 1,
                false => at + 1,
            };
            continue;
        };
        let end = if entry.entries.is_some() {
            let (inner, end) = match depth {
                DEEPEST.. => (Vec::new(), closing(lines, at + 1)),
                depth => entries(lines, at + 1, depth + 1),
            };
            entry.entries = Some(inner);
            end
        } else {
            let end = closing(lines, at + 1);
            entry.body = lines[at + 1..end]
                .iter()
                .map(|&line| line.to_owned())
                .collect();
            end
        };
        entry.is_conditional = conditions > 0;
        found.push(entry);
        at = end + 1;
    }
    (found, at.min(lines.len()))
}

/// The line of the next `}`.
fn closing(lines: &[&str], from: usize) -> usize {
    let inner = lines.get(from..).unwrap_or_default();
    let closing = inner.iter().position(|line| line.trim() == "}");
    closing.map_or(lines.len(), |place| from + place)
}

/// An entry's first line.
fn header(line: &str, number: usize) -> Option<MenuEntry> {
    let words = words(line)?;
    let (kind, words) = words.split_first()?;
    let (last, words) = words.split_last()?;
    let (title, options) = words.split_first()?;
    if last.raw != "{" || !matches!(kind.raw, "menuentry" | "submenu") {
        return None;
    }
    let mut id = None;
    let mut kept = Vec::new();
    let mut rest = options.iter();
    while let Some(Word { raw, value }) = rest.next() {
        if matches!(
            *raw,
            "$menuentry_id_option" | "${menuentry_id_option}" | "--id"
        ) {
            id = rest.next().map(|word| word.value.clone());
        } else if let Some(inline) = value.strip_prefix("--id=") {
            id = Some(inline.to_owned());
        } else {
            kept.push((*raw).to_owned());
        }
    }
    Some(MenuEntry {
        title: title.value.clone(),
        id,
        options: kept,
        body: Vec::new(),
        entries: (kind.raw == "submenu").then(Vec::new),
        line: number,
        is_conditional: false,
    })
}
