//! PipeWire's properties: texts by key, in an order that an update can change.

use hosttune_spa_json::{Data, Dialect, Entry, Reading, Span, TopLevel};

/// Where a text comes from: the number of its file, and the byte offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) offset: usize,
}

/// A text that is read as properties, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'t> {
    pub(super) text: &'t [u8],
    pub(super) place: Place,
    /// Whether the text is as it is in the file, so that offsets in it are offsets there. A section
    /// in quotes is decoded.
    pub(super) is_literal: bool,
}

impl Source<'_> {
    /// The place of an offset in the text.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = if self.is_literal { offset } else { 0 };
        Place {
            offset: self.place.offset + offset,
            ..self.place
        }
    }
}

/// A key and its text.
#[derive(Clone, Debug)]
pub(super) struct Item<T> {
    pub(super) key: String,
    /// The text of the value: a bare word or a string as it is, decoded, and an object or an array
    /// as it is written.
    pub(super) text: Vec<u8>,
    /// Whether the text is as it is in the file.
    pub(super) is_literal: bool,
    /// Where it comes from.
    pub(super) origin: T,
}

/// `pw_properties`: keys in the order in which they were set first, except that the last one takes
/// the place of one that is removed.
#[derive(Clone, Debug)]
pub(super) struct Dictionary<T> {
    pub(super) items: Vec<Item<T>>,
}

/// A change of a dictionary: a key, and its new text or `None` if it is removed.
struct Change<T> {
    key: String,
    value: Option<(Vec<u8>, bool)>,
    origin: T,
}

impl<T> Dictionary<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new() }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Item<T>> {
        self.items.iter().find(|item| item.key == key)
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Item<T>> {
        let index = self.items.iter().position(|item| item.key == key)?;
        Some(self.items.swap_remove(index))
    }

    /// Sets what a text says, and returns how it was read.
    ///
    /// The lenient parser sets each key when it reads it. The checked one collects the changes first,
    /// and skips those that the dictionary has already: in a text that has a key twice, the first one
    /// counts if the second is what was set before (`update_string` in `pipewire/properties.c`).
    pub(super) fn update(
        &mut self,
        source: Source<'_>,
        dialect: Dialect,
        origin: impl Fn(Place) -> T,
    ) -> Reading {
        let reading = Reading::of(source.text, dialect);
        let mut entries = match (&reading.value.data, reading.top_level) {
            (Data::Object(entries), TopLevel::Braces | TopLevel::Entries) => entries.as_slice(),
            _ => &[],
        };
        // The checked parser does not set an object or an array that has a fault in it.
        if reading.is_cut && dialect == Dialect::Checked {
            entries = entries.split_last().map_or(&[], |(_, complete)| complete);
        }
        let changes = entries.iter().map(|entry| {
            let place = source.place(entry.value.span.start);
            change(entry, source.text, origin(place))
        });
        match dialect {
            Dialect::Lenient => changes.for_each(|change| self.apply(change)),
            Dialect::Checked => {
                let changes: Vec<Change<T>> = changes
                    .filter(|change| {
                        let now = self.get(&change.key);
                        let text = change.value.as_ref().map(|(text, _)| text);
                        text.is_none() || now.map(|item| &item.text) != text
                    })
                    .collect();
                changes.into_iter().for_each(|change| self.apply(change));
            }
        }
        reading
    }

    fn apply(&mut self, change: Change<T>) {
        let Change { key, value, origin } = change;
        let Some((text, is_literal)) = value else {
            self.remove(&key);
            return;
        };
        if key.is_empty() {
            return;
        }
        match self.items.iter_mut().find(|item| item.key == key) {
            // An equal text is not set again, so it stays the other file's.
            Some(item) if item.text == text => {}
            Some(item) => {
                item.text = text;
                item.is_literal = is_literal;
                item.origin = origin;
            }
            None => self.items.push(Item {
                key,
                text,
                is_literal,
                origin,
            }),
        }
    }
}

fn change<T>(entry: &Entry, text: &[u8], origin: T) -> Change<T> {
    let value = match &entry.value.data {
        _ if entry.value.is_null() => None,
        Data::Word(word) => Some((up_to_nul(word.as_bytes()), true)),
        Data::String(string) => Some((up_to_nul(string.as_bytes()), false)),
        Data::Array(_) | Data::Object(_) => {
            let Span { start, end } = entry.value.span;
            let raw = text.get(start..end).unwrap_or_default();
            Some((up_to_nul(raw), true))
        }
    };
    Change {
        key: entry.key.split('\0').next().unwrap_or_default().to_owned(),
        value,
        origin,
    }
}

/// These are C strings in PipeWire.
fn up_to_nul(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes[..end.unwrap_or(bytes.len())].to_vec()
}
