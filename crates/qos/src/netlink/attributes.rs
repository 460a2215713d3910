//! Attributes, written one after the other and read as far as they can be read.

use crate::attribute;

/// Attributes to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more, with these bytes as its value.
    ///
    /// A value of more than 65,531 bytes cannot be said in an attribute and is cut there.
    #[must_use]
    pub fn with(mut self, number: u16, value: &[u8]) -> Self {
        let longest = usize::from(u16::MAX) - 4;
        attribute::push(&mut self.0, number, &value[..value.len().min(longest)]);
        self
    }

    /// One more, with a text and its end mark.
    #[must_use]
    pub fn with_text(self, number: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.with(number, &bytes)
    }

    /// One more, that holds others.
    #[must_use]
    pub fn with_nested(self, number: u16, nested: &Self) -> Self {
        self.with(number, &nested.0)
    }

    /// As they are sent.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// An attribute that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'b> {
    /// Its number, without the marks of the topmost two bits.
    pub number: u16,
    /// Its value.
    pub value: &'b [u8],
}

impl Attribute<'_> {
    /// Its value as a text, up to the end mark.
    pub fn text(&self) -> String {
        let end = self.value.iter().position(|byte| *byte == 0);
        let text = &self.value[..end.unwrap_or(self.value.len())];
        String::from_utf8_lossy(text).into_owned()
    }

    /// Its value as a number, where it has four bytes.
    pub fn word(&self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.value.try_into().ok()?))
    }
}

/// The attributes one after the other, up to the first that is none.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    attribute::Attributes::new(bytes).map(|attribute| Attribute {
        number: attribute.number,
        value: attribute.payload,
    })
}

/// The first attribute of this number.
pub fn find(bytes: &[u8], number: u16) -> Option<Attribute<'_>> {
    attributes(bytes).find(|attribute| attribute.number == number)
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}
