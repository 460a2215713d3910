//! Values in the serialization format of GLib (GVariant), as far as a file of ostree needs it: a dictionary
//! from names to values of any type, with lists of strings and pairs of strings among them.
//!
//! Source: the GVariant specification (<https://docs.gtk.org/glib/gvariant-specification-1.0.html>). The
//! file is written in the byte order of the machine; only little-endian machines are read.

/// A value with its type, as the format writes both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serialized<'b> {
    kind: &'b [u8],
    bytes: &'b [u8],
}

/// How long a number in the table at the end of a container is.
fn offset_length(container: &[u8]) -> usize {
    match container.len() {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    }
}

/// The number of this length that begins here.
fn offset(container: &[u8], at: usize) -> Option<usize> {
    let bytes = container.get(at..at.checked_add(offset_length(container))?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)),
    )
}

/// The elements of an array whose elements have no fixed length. `alignment` is that of an element.
fn elements(array: &[u8], alignment: usize) -> Option<Vec<&[u8]>> {
    if array.is_empty() {
        return Some(Vec::new());
    }
    let length = offset_length(array);
    let table = offset(array, array.len().checked_sub(length)?)?;
    let ends = array.len().checked_sub(table)?;
    if ends % length != 0 {
        return None;
    }
    let mut found = Vec::new();
    let mut start = 0_usize;
    for number in 0..ends / length {
        let end = offset(array, table + number * length)?;
        let element = array.get(start.next_multiple_of(alignment)..end)?;
        if end > table {
            return None;
        }
        found.push(element);
        start = end;
    }
    Some(found)
}

/// A string with the byte that ends it.
fn string(bytes: &[u8]) -> Option<String> {
    let text = bytes.strip_suffix(&[0])?;
    String::from_utf8(text.to_vec()).ok()
}

/// The key of a dictionary's entry, and the bytes of its value.
fn pair(entry: &[u8], alignment: usize) -> Option<(String, &[u8])> {
    let table = entry.len().checked_sub(offset_length(entry))?;
    let end = offset(entry, table)?;
    let value = entry.get(end.next_multiple_of(alignment)..table)?;
    Some((string(entry.get(..end)?)?, value))
}

impl<'b> Serialized<'b> {
    /// A dictionary from names to values of any type (`a{sv}`), as a whole file is one.
    pub(super) fn dictionary(bytes: &'b [u8]) -> Option<Vec<(String, Self)>> {
        let entries = elements(bytes, 8)?.into_iter();
        entries
            .map(|entry| {
                let (key, value) = pair(entry, 8)?;
                // The type is behind the value and a zero.
                let zero = value.iter().rposition(|byte| *byte == 0)?;
                let (bytes, kind) = (&value[..zero], &value[zero + 1..]);
                Some((key, Self { kind, bytes }))
            })
            .collect()
    }

    /// A list of strings; `None` if it is something else.
    pub(super) fn strings(&self) -> Option<Vec<String>> {
        if self.kind != b"as" {
            return None;
        }
        elements(self.bytes, 1)?.into_iter().map(string).collect()
    }

    /// A dictionary from strings to strings; `None` if it is something else.
    pub(super) fn pairs(&self) -> Option<Vec<(String, String)>> {
        if self.kind != b"a{ss}" {
            return None;
        }
        let entries = elements(self.bytes, 1)?.into_iter();
        entries
            .map(|entry| {
                let (key, value) = pair(entry, 1)?;
                Some((key, string(value)?))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAGED: &[u8] = include_bytes!("../../tests/ostree/staged-deployment");

    #[test]
    fn what_glib_has_written_is_read() {
        let read = Serialized::dictionary(STAGED).unwrap();
        let names: Vec<&str> = read.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names,
            ["target", "merge-deployment", "kargs", "bootconfig-extra"]
        );
        assert_eq!(
            read[2].1.strings().unwrap(),
            ["root=UUID=1", "rw", "quiet", "nmi_watchdog=0"]
        );
        let extra = read[3].1.pairs().unwrap();
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            extra,
            [
                of("x-options-source-tuned", "nohz=full isolcpus=1-3"),
                of("x-options-source-hosttune-laws", "nmi_watchdog=0")
            ]
        );
        assert_eq!(read[2].1.pairs(), None);
        assert_eq!(read[0].1.strings(), None);
        assert_eq!(Serialized::dictionary(&[]), Some(Vec::new()));
    }

    proptest! {
        /// A file that was cut or damaged is read as something or as nothing, and never panics.
        #[test]
        fn damaged_files_are_read_without_a_panic(cut in 0..STAGED.len(), at in 0..STAGED.len(), byte: u8) {
            let mut bytes = STAGED.to_vec();
            bytes[at] = byte;
            for bytes in [&bytes[..], &bytes[..cut], &STAGED[..cut]] {
                for (_, value) in Serialized::dictionary(bytes).unwrap_or_default() {
                    let _ = (value.strings(), value.pairs());
                }
            }
        }
    }
}
