//! `NVreg_RegistryDwords`: numbers by key, in one text.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::number;

/// The longest text that a parameter of a module takes, in bytes (`param_set_charp`).
pub const LONGEST_TEXT: usize = 1024;

/// The pairs of `RegistryDwords`, in order.
///
/// Only `;` separates pairs. The driver drops a pair that does not have exactly one `=` or has no
/// value, reads what is not a number as 0, and stores a key that it does not know without a word. So
/// nothing shows whether a key acts, except for keys that are named like a parameter: these
/// overwrite the parameter after modprobe.d and the kernel command line.
///
/// ```
/// # use hosttune_nvidia::RegistryDwords;
/// let mut dwords = RegistryDwords::parse("EnableMSI=0; RMIntrLockingMode=1");
/// dwords.set("EnableMSI", 1)?;
/// assert_eq!(dwords.to_string(), "EnableMSI=1;RMIntrLockingMode=1");
/// # Ok::<(), hosttune_nvidia::RegistryError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct RegistryDwords {
    pairs: Vec<(String, u32)>,
    dropped: Vec<String>,
}

/// Why a pair cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The key would not be read back.
    #[error("{0:?} is not a key of RegistryDwords: use letters, digits and '_'")]
    Key(String),
    /// The text becomes too long.
    #[error("RegistryDwords would have {0} bytes, and a module takes {LONGEST_TEXT}")]
    TooLong(usize),
}

impl RegistryDwords {
    /// Reads the text as the driver does. Nothing is an error; what the driver drops is in
    /// [`dropped`](Self::dropped).
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        let plain: String = text.chars().filter(|letter| *letter != ' ').collect();
        for pair in plain.split(';').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((key, value))
                    if !key.is_empty() && !value.is_empty() && !value.contains('=') =>
                {
                    read.put(key, leading_number(value));
                }
                _ => read.dropped.push(pair.to_owned()),
            }
        }
        read
    }

    /// The value of a key. Keys are case-sensitive.
    pub fn get(&self, key: &str) -> Option<u32> {
        let pair = self.pairs.iter().find(|(known, _)| known == key);
        pair.map(|(_, value)| *value)
    }

    /// The pairs, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, u32)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), *value))
    }

    /// What the driver drops: pairs with no `=` or several, as `A=1,B=2` is.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Sets a key; one that is there keeps its place.
    ///
    /// # Errors
    /// If the key cannot be written or the text becomes too long: see [`RegistryError`].
    pub fn set(&mut self, key: &str, value: u32) -> Result<(), RegistryError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if key.is_empty() || !key.bytes().all(plain) {
            return Err(RegistryError::Key(key.to_owned()));
        }
        let mut changed = self.clone();
        changed.put(key, value);
        let length = changed.to_string().len();
        if length > LONGEST_TEXT {
            return Err(RegistryError::TooLong(length));
        }
        *self = changed;
        Ok(())
    }

    /// Both in one, because the driver takes only one text: the pairs of this one, overridden by
    /// those of the other.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn merged(&self, other: &Self) -> Result<Self, RegistryError> {
        let mut merged = self.clone();
        for (key, value) in other.pairs() {
            merged.set(key, value)?;
        }
        Ok(merged)
    }

    fn put(&mut self, key: &str, value: u32) {
        match self.pairs.iter_mut().find(|(known, _)| known == key) {
            Some((_, present)) => *present = value,
            None => self.pairs.push((key.to_owned(), value)),
        }
    }
}

/// The longest text of a number that is looked at, in bytes: 32 bits in octal have 12.
const LONGEST_NUMBER: usize = 16;

/// A number as the driver's `simple_strtoul` reads it: up to the first letter that is none, and 0
/// if there is no digit.
fn leading_number(text: &str) -> u32 {
    (1..=text.len().min(LONGEST_NUMBER))
        .rev()
        .filter_map(|end| text.get(..end))
        .find_map(number::parse)
        .unwrap_or(0)
}

impl fmt::Display for RegistryDwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (key, value)) in self.pairs.iter().enumerate() {
            let separator = if place == 0 { "" } else { ";" };
            write!(f, "{separator}{key}={value}")?;
        }
        Ok(())
    }
}

impl From<String> for RegistryDwords {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<RegistryDwords> for String {
    fn from(dwords: RegistryDwords) -> Self {
        dwords.to_string()
    }
}
