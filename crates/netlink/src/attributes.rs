//! Writing and reading sequences of netlink attributes.

use crate::attribute::{Attribute, AttributeIter, push_attribute};

/// Attributes to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// No attributes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute with these bytes as its value.
    ///
    /// A value longer than 65,531 bytes does not fit an attribute and is cut off there.
    #[must_use]
    pub fn with(mut self, number: u16, value: &[u8]) -> Self {
        push_attribute(&mut self.0, number, value);
        self
    }

    /// Adds an attribute with a null-terminated string.
    #[must_use]
    pub fn with_text(self, number: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.with(number, &bytes)
    }

    /// Adds an attribute that contains others.
    #[must_use]
    pub fn with_nested(self, number: u16, nested: &Self) -> Self {
        self.with(number, &nested.0)
    }

    /// The bytes to send.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The attributes in sequence, up to the first malformed one.
pub fn attributes(bytes: &[u8]) -> AttributeIter<'_> {
    AttributeIter::new(bytes)
}

/// The first attribute with this number.
pub fn find(bytes: &[u8], number: u16) -> Option<Attribute<'_>> {
    attributes(bytes).find(|attribute| attribute.number == number)
}

/// The four-byte number at this offset in bytes, or `None` if the bytes end before it does.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}
