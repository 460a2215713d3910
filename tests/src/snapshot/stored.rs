//! Serialisation of snapshots, to compare with the snapshot of another process.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{Seen, Snapshot};

const HOLDS: u8 = 0;
const LEADS_TO: u8 = 1;
const IS: u8 = 2;
const REFUSED: u8 = 3;
const REFUSED_WITHOUT_NUMBER: u8 = 4;

impl Snapshot {
    /// Serialises the entries, without the exclusions.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut add = |piece: &[u8]| {
            bytes.extend_from_slice(&(piece.len() as u64).to_le_bytes());
            bytes.extend_from_slice(piece);
        };
        for (what, seen) in &self.seen {
            add(what.as_bytes());
            match seen {
                Seen::Holds(held) => {
                    add(&[HOLDS]);
                    add(held);
                }
                Seen::LeadsTo(path) => {
                    add(&[LEADS_TO]);
                    add(path.as_os_str().as_bytes());
                }
                Seen::Is(kind) => {
                    add(&[IS]);
                    add(kind.as_bytes());
                }
                Seen::Refused(Some(number)) => {
                    add(&[REFUSED]);
                    add(&number.to_le_bytes());
                }
                Seen::Refused(None) => {
                    add(&[REFUSED_WITHOUT_NUMBER]);
                    add(&[]);
                }
            }
        }
        bytes
    }

    /// Deserialises a snapshot. Returns `None` if the bytes are not one.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut snapshot = Self::default();
        while !bytes.is_empty() {
            let what = std::str::from_utf8(piece(&mut bytes)?).ok()?.to_owned();
            let kind = *piece(&mut bytes)?.first()?;
            let held = piece(&mut bytes)?;
            let seen = match kind {
                HOLDS => Seen::Holds(held.to_vec()),
                LEADS_TO => Seen::LeadsTo(PathBuf::from(OsStr::from_bytes(held))),
                IS => Seen::Is(std::str::from_utf8(held).ok()?.to_owned().into()),
                REFUSED => Seen::Refused(Some(i32::from_le_bytes(held.try_into().ok()?))),
                REFUSED_WITHOUT_NUMBER => Seen::Refused(None),
                _ => return None,
            };
            snapshot.seen.insert(what, seen);
        }
        Some(snapshot)
    }
}

fn piece<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (piece, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_back_as_it_was() {
        let mut snapshot = Snapshot::default();
        for (what, seen) in [
            ("a", Seen::Holds(b"\0\xff\n".to_vec())),
            ("b", Seen::LeadsTo("../c".into())),
            ("d", Seen::Refused(Some(5))),
            ("e", Seen::Refused(None)),
            ("f", Seen::Is("a directory".into())),
            ("", Seen::Holds(Vec::new())),
        ] {
            snapshot.add(what, seen);
        }
        let bytes = snapshot.to_bytes();
        let again = Snapshot::from_bytes(&bytes).unwrap();
        assert_eq!(snapshot.differs(&again), [""; 0]);
        for length in 1..bytes.len() {
            // Truncated bytes are no snapshot or an incomplete one, and never cause a panic.
            let cut = Snapshot::from_bytes(&bytes[..length]);
            assert!(cut.is_none_or(|cut| !cut.differs(&snapshot).is_empty()));
        }
    }
}
