//! The POD format, in which PipeWire's messages are written: a size, a type, the data, and padding
//! to 8 bytes. All numbers have the byte order of the machine.
//!
//! The layout is that of `spa/include/spa/pod/pod.h`. Only what the messages of this crate contain
//! can be written; any POD can be read, and what is not understood is skipped.

use std::borrow::Cow;

/// The types of `spa/include/spa/utils/type.h`.
mod kind {
    pub(super) const NONE: u32 = 1;
    pub(super) const ID: u32 = 3;
    pub(super) const INT: u32 = 4;
    pub(super) const LONG: u32 = 5;
    pub(super) const STRING: u32 = 8;
    pub(super) const FRACTION: u32 = 11;
    pub(super) const STRUCT: u32 = 14;
    pub(super) const OBJECT: u32 = 15;
}

/// The size and the type before the data, in bytes.
const HEADER: usize = 8;
/// PODs begin at multiples of this, in bytes.
const ALIGNMENT: usize = 8;

/// Why bytes are not the expected POD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PodError {
    /// The data ends within a POD, or a structure has fewer members than expected.
    #[error("it ends after {have} bytes, where {needed} are needed")]
    Truncated {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// It has another type.
    #[error("it has type {seen}, where type {wanted} is expected")]
    WrongType {
        /// Expected type, a number of `spa/utils/type.h`.
        wanted: u32,
        /// The type that it has.
        seen: u32,
    },
    /// A text does not end in a NUL.
    #[error("a text in it does not end in NUL")]
    NoEnd,
    /// A count is negative, or larger than is possible in a valid message.
    #[error("it claims to contain {0} entries")]
    Count(i32),
}

/// Writes PODs one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodWriter {
    bytes: Vec<u8>,
}

impl PodWriter {
    /// A writer without content.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn pod(&mut self, kind: u32, data: &[u8]) {
        // A message is at most 16 MiB, and what is written here is much shorter.
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&size.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(data);
        let padded = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(padded, 0);
    }

    /// Writes a None.
    pub fn none(&mut self) -> &mut Self {
        self.pod(kind::NONE, &[]);
        self
    }

    /// Writes an Int.
    pub fn int(&mut self, value: i32) -> &mut Self {
        self.pod(kind::INT, &value.to_ne_bytes());
        self
    }

    /// Writes an Int from an unsigned number: ids are unsigned and are sent as an Int.
    pub fn id(&mut self, value: u32) -> &mut Self {
        self.pod(kind::INT, &value.to_ne_bytes());
        self
    }

    /// Writes an enumeration value, which has a type of its own.
    pub fn enumerated(&mut self, value: u32) -> &mut Self {
        self.pod(kind::ID, &value.to_ne_bytes());
        self
    }

    /// Writes a Long.
    pub fn long(&mut self, value: i64) -> &mut Self {
        self.pod(kind::LONG, &value.to_ne_bytes());
        self
    }

    /// Writes a Fraction.
    pub fn fraction(&mut self, numerator: u32, denominator: u32) -> &mut Self {
        let mut data = numerator.to_ne_bytes().to_vec();
        data.extend_from_slice(&denominator.to_ne_bytes());
        self.pod(kind::FRACTION, &data);
        self
    }

    /// Writes a String, or a None for no text. A text ends at its first NUL.
    pub fn text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            None => self.none(),
            Some(text) => {
                let mut data = text
                    .split('\0')
                    .next()
                    .unwrap_or_default()
                    .as_bytes()
                    .to_vec();
                data.push(0);
                self.pod(kind::STRING, &data);
                self
            }
        }
    }

    /// Writes a Struct with the members that `members` writes.
    pub fn structure(&mut self, members: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inside = Self::new();
        members(&mut inside);
        self.pod(kind::STRUCT, &inside.bytes);
        self
    }

    /// Writes a Struct with the number of properties and each name and value.
    pub fn properties(&mut self, properties: &[(&str, &str)]) -> &mut Self {
        self.structure(|inside| {
            inside.int(i32::try_from(properties.len()).unwrap_or(i32::MAX));
            for (name, value) in properties {
                inside.text(Some(name)).text(Some(value));
            }
        })
    }

    /// Writes an Object of a type with its properties, each a key and what `value` writes.
    pub fn object(&mut self, object: u32, properties: &[(u32, &PodWriter)]) -> &mut Self {
        let mut data = object.to_ne_bytes().to_vec();
        data.extend_from_slice(&0_u32.to_ne_bytes());
        for (key, value) in properties {
            data.extend_from_slice(&key.to_ne_bytes());
            data.extend_from_slice(&0_u32.to_ne_bytes());
            data.extend_from_slice(&value.bytes);
        }
        self.pod(kind::OBJECT, &data);
        self
    }
}

/// One POD: its type and its data, in the message that contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pod<'a> {
    kind: u32,
    data: &'a [u8],
}

impl<'a> Pod<'a> {
    /// Reads the first POD of `bytes`, and returns it with what follows after its padding.
    ///
    /// Padding at the end of `bytes` may be missing.
    ///
    /// # Errors
    /// [`PodError::Truncated`] if there are fewer bytes than it claims to have.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), PodError> {
        let size = number(bytes, 0)?;
        let kind = number(bytes, 4)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let end = HEADER.saturating_add(size);
        let data = bytes.get(HEADER..end).ok_or(PodError::Truncated {
            needed: end,
            have: bytes.len(),
        })?;
        let rest = bytes
            .get(end.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Ok((Self { kind, data }, rest))
    }

    fn is(self, wanted: u32) -> Result<Self, PodError> {
        if self.kind == wanted {
            Ok(self)
        } else {
            Err(PodError::WrongType {
                wanted,
                seen: self.kind,
            })
        }
    }

    /// The members of a Struct.
    ///
    /// # Errors
    /// [`PodError::WrongType`] if it is none.
    pub fn members(self) -> Result<Members<'a>, PodError> {
        Ok(Members {
            rest: self.is(kind::STRUCT)?.data,
        })
    }

    /// The properties of an Object: key and value. They end at the first that is damaged.
    ///
    /// # Errors
    /// [`PodError::WrongType`] if it is none or an Object of another type.
    pub fn object(self, wanted: u32) -> Result<impl Iterator<Item = (u32, Pod<'a>)>, PodError> {
        let data = self.is(kind::OBJECT)?.data;
        let seen = number(data, 0)?;
        if seen != wanted {
            return Err(PodError::WrongType { wanted, seen });
        }
        let mut rest = data.get(HEADER..).unwrap_or_default();
        Ok(std::iter::from_fn(move || {
            let key = number(rest, 0).ok()?;
            let (value, after) = Pod::read(rest.get(HEADER..)?).ok()?;
            rest = after;
            Some((key, value))
        }))
    }
}

/// The members of a Struct, read one after the other.
///
/// A newer daemon may add members at the end, so a structure may have more than are read.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    /// The members of the Struct that `bytes` begin with. What follows it is ignored: a message
    /// may have a footer.
    ///
    /// # Errors
    /// If it is no Struct, or shorter than it claims.
    pub fn of(bytes: &'a [u8]) -> Result<Self, PodError> {
        Pod::read(bytes)?.0.members()
    }

    /// Whether all members have been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next member, whatever its type.
    ///
    /// # Errors
    /// [`PodError::Truncated`] if there is none.
    pub fn pod(&mut self) -> Result<Pod<'a>, PodError> {
        let (pod, rest) = Pod::read(self.rest)?;
        self.rest = rest;
        Ok(pod)
    }

    /// The next member as an Int.
    ///
    /// # Errors
    /// If it has another type or is missing.
    pub fn int(&mut self) -> Result<i32, PodError> {
        Ok(i32::from_ne_bytes(array(self.pod()?.is(kind::INT)?.data)?))
    }

    /// The next member as an Int that is an unsigned number.
    ///
    /// # Errors
    /// If it has another type or is missing.
    pub fn id(&mut self) -> Result<u32, PodError> {
        number(self.pod()?.is(kind::INT)?.data, 0)
    }

    /// The next member as an enumeration value.
    ///
    /// # Errors
    /// If it has another type or is missing.
    pub fn enumerated(&mut self) -> Result<u32, PodError> {
        number(self.pod()?.is(kind::ID)?.data, 0)
    }

    /// The next member as a Long.
    ///
    /// # Errors
    /// If it has another type or is missing.
    pub fn long(&mut self) -> Result<i64, PodError> {
        Ok(i64::from_ne_bytes(array(self.pod()?.is(kind::LONG)?.data)?))
    }

    /// The next member as a Fraction: numerator and denominator.
    ///
    /// # Errors
    /// If it has another type or is missing.
    pub fn fraction(&mut self) -> Result<(u32, u32), PodError> {
        let data = self.pod()?.is(kind::FRACTION)?.data;
        Ok((number(data, 0)?, number(data, 4)?))
    }

    /// The bytes of the next member, a String without its NUL; `None` for a None.
    ///
    /// # Errors
    /// If it has another type, is missing, or does not end in a NUL.
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, PodError> {
        let pod = self.pod()?;
        if pod.kind == kind::NONE {
            return Ok(None);
        }
        let data = pod.is(kind::STRING)?.data;
        match data.iter().position(|byte| *byte == 0) {
            Some(end) => Ok(data.get(..end)),
            None => Err(PodError::NoEnd),
        }
    }

    /// The next member as text; what is not UTF-8 is replaced. `None` for a None.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub fn text(&mut self) -> Result<Option<Cow<'a, str>>, PodError> {
        Ok(self.bytes()?.map(String::from_utf8_lossy))
    }

    /// The next member as properties, at most `most`: names and values. One without a value is left
    /// out.
    ///
    /// # Errors
    /// If it is no Struct of this form, or claims more entries than `most`.
    pub fn properties(&mut self, most: usize) -> Result<Vec<(String, String)>, PodError> {
        let mut members = self.pod()?.members()?;
        let count = members.int()?;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= most)
            .ok_or(PodError::Count(count))?;
        let mut properties = Vec::new();
        for _ in 0..count {
            let (name, value) = (members.text()?, members.text()?);
            if let (Some(name), Some(value)) = (name, value) {
                properties.push((name.into_owned(), value.into_owned()));
            }
        }
        Ok(properties)
    }
}

fn array<const N: usize>(data: &[u8]) -> Result<[u8; N], PodError> {
    data.first_chunk().copied().ok_or(PodError::Truncated {
        needed: N,
        have: data.len(),
    })
}

fn number(data: &[u8], at: usize) -> Result<u32, PodError> {
    let bytes = data.get(at..).unwrap_or_default();
    Ok(u32::from_ne_bytes(array(bytes)?))
}
