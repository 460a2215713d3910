//! The format of netlink attributes: a header of two native-endian `u16` (length including the
//! header, number), the value, and zeros up to a multiple of four bytes.
//!
//! This is written by hand instead of using a message crate, because the attributes may come from a
//! kernel newer than this program: a single attribute with an unknown number or size must not cost
//! the others.

/// The size of the header before each payload, in bytes.
const HEADER: usize = 4;

/// Each attribute starts at a multiple of this many bytes.
const ALIGNMENT: usize = 4;

/// The mask for the number. The two highest bits are flags for a nested payload and for network byte
/// order.
const NUMBER: u16 = 0x3fff;

/// A netlink attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'bytes> {
    /// The number, without the two flag bits at the top.
    pub number: u16,
    /// The bytes after the header, without the padding.
    pub value: &'bytes [u8],
}

impl Attribute<'_> {
    /// The value as a string, up to the null byte.
    pub fn text(&self) -> String {
        let end = self.value.iter().position(|byte| *byte == 0);
        let text = &self.value[..end.unwrap_or(self.value.len())];
        String::from_utf8_lossy(text).into_owned()
    }

    /// The value as a `u32`, if it has that size.
    pub fn u32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_ne_bytes)
    }

    /// The value as an `i32`, if it has that size.
    pub fn i32(&self) -> Option<i32> {
        self.value.try_into().ok().map(i32::from_ne_bytes)
    }

    /// The value as a `u64`, if it has that size.
    pub fn u64(&self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_ne_bytes)
    }
}

/// Iterates over attributes and stops at the first malformed one; [`AttributeIter::rest`] then
/// returns the remaining bytes.
#[derive(Clone, Debug)]
pub struct AttributeIter<'bytes> {
    rest: &'bytes [u8],
}

impl<'bytes> AttributeIter<'bytes> {
    /// Iterates over these bytes. Accepts any bytes.
    pub fn new(bytes: &'bytes [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that were not read. After the last attribute they are empty unless the data is
    /// malformed.
    pub fn rest(&self) -> &'bytes [u8] {
        self.rest
    }
}

impl<'bytes> Iterator for AttributeIter<'bytes> {
    type Item = Attribute<'bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&[length_low, length_high, number_low, number_high], _) =
            self.rest.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([length_low, length_high]));
        let number = u16::from_ne_bytes([number_low, number_high]) & NUMBER;
        let value = self.rest.get(HEADER..length)?;
        // The kernel does not pad the last attribute of a truncated message.
        let next = length.next_multiple_of(ALIGNMENT).min(self.rest.len());
        self.rest = &self.rest[next..];
        Some(Attribute { number, value })
    }
}

/// Appends one attribute with its padding.
///
/// A value longer than 65,531 bytes does not fit an attribute and is cut off there.
pub fn push_attribute(bytes: &mut Vec<u8>, number: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX) - HEADER)];
    let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&number.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_payload_is_padded_to_four_bytes_and_its_length_is_not() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 7, b"cake\0");
        push_attribute(&mut bytes, 3, &[]);
        assert_eq!(bytes.len(), 12 + 4);
        let all: Vec<_> = AttributeIter::new(&bytes).collect();
        assert_eq!((all[0].number, all[0].value), (7, &b"cake\0"[..]));
        assert_eq!((all[1].number, all[1].value), (3, &[][..]));
    }

    #[test]
    fn a_value_that_does_not_fit_is_cut_off() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 7, &[9; 65_532]);
        push_attribute(&mut bytes, 8, &[]);
        let lengths: Vec<_> = AttributeIter::new(&bytes)
            .map(|found| (found.number, found.value.len()))
            .collect();
        assert_eq!(lengths, [(7, 65_531), (8, 0)]);
    }

    #[test]
    fn flags_are_no_part_of_the_number() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 0x8000 | 10, &[]);
        let number = AttributeIter::new(&bytes).next().map(|found| found.number);
        assert_eq!(number, Some(10));
    }

    #[test]
    fn a_length_below_the_header_or_beyond_the_end_stops_the_walk() {
        for length in [0_u16, 3, 9, u16::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[1, 0, 1, 2, 3, 4]);
            let mut walk = AttributeIter::new(&bytes);
            assert_eq!(walk.next(), None);
            assert_eq!(walk.rest(), bytes);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_and_none_are_lost_silently(bytes: Vec<u8>) {
            let mut walk = AttributeIter::new(&bytes);
            let read = walk.by_ref().count();
            prop_assert!(read <= bytes.len() / HEADER);
            prop_assert!(walk.next().is_none());
        }

        #[test]
        fn what_is_written_is_read(
            all in prop::collection::vec(
                (0..=NUMBER, prop::collection::vec(any::<u8>(), 0..40)), 0..8)
        ) {
            let mut bytes = Vec::new();
            for (number, payload) in &all {
                push_attribute(&mut bytes, *number, payload);
            }
            let mut walk = AttributeIter::new(&bytes);
            let read: Vec<_> = walk.by_ref()
                .map(|found| (found.number, found.value.to_vec()))
                .collect();
            prop_assert_eq!(read, all);
            prop_assert!(walk.rest().is_empty());
        }
    }
}
