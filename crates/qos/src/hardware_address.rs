//! Hardware addresses, which identify a card whatever its interface is called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest address that the kernel stores, in bytes (`MAX_ADDR_LEN`).
const LONGEST: usize = 32;

/// A hardware address. Its text form is two hexadecimal digits per byte, separated by colons:
/// `52:54:00:12:34:56`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HardwareAddress(Vec<u8>);

/// The text is not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a hardware address: expected 1 to 32 bytes as two hexadecimal digits each, separated by colons and not all zero, such as 52:54:00:12:34:56"
)]
pub struct NotAnAddress(String);

impl HardwareAddress {
    /// The address with these bytes. Returns `None` for no bytes, more than 32, or all zeros, which
    /// is how the kernel shows that there is no address.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let is_one = (1..=LONGEST).contains(&bytes.len()) && bytes.iter().any(|byte| *byte != 0);
        is_one.then(|| Self(bytes.to_vec()))
    }

    /// The bytes of the address.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for HardwareAddress {
    type Err = NotAnAddress;

    /// Also accepts upper case and dashes as separators, as printed on some labels.
    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let byte = |digits: &str| {
            let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
        };
        let between = if text.contains('-') { '-' } else { ':' };
        let bytes: Option<Vec<u8>> = text.split(between).map(byte).collect();
        bytes
            .and_then(|bytes| Self::new(&bytes))
            .ok_or_else(|| NotAnAddress(text.to_owned()))
    }
}

impl TryFrom<String> for HardwareAddress {
    type Error = NotAnAddress;

    fn try_from(text: String) -> Result<Self, NotAnAddress> {
        text.parse()
    }
}

impl From<HardwareAddress> for String {
    fn from(address: HardwareAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, byte) in self.0.iter().enumerate() {
            let between = if number == 0 { "" } else { ":" };
            write!(f, "{between}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_the_same_in_both_directions() {
        let address = HardwareAddress::new(&[0x52, 0x54, 0, 0x12, 0x34, 0xfe]).unwrap();
        assert_eq!(address.to_string(), "52:54:00:12:34:fe");
        for text in [
            "52:54:00:12:34:fe",
            "52:54:00:12:34:FE",
            "52-54-00-12-34-FE",
        ] {
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
        }
        let long = HardwareAddress::new(&[7; 20]).unwrap();
        assert_eq!(long.to_string().parse(), Ok(long));
    }

    #[test]
    fn what_is_none_is_told_apart() {
        for text in [
            "",
            ":",
            "52",
            "5:54:00:12:34:fe",
            "52:54:00:12:34:+e",
            "52:54-00:12:34:fe",
            "52:54:00:12:34:fe:",
            "52:54:00:12:34:zz",
            "00:00:00:00:00:00",
            "é",
        ] {
            assert_eq!(
                text.parse::<HardwareAddress>().is_err(),
                text != "52",
                "{text}"
            );
        }
        assert_eq!(HardwareAddress::new(&[0; 6]), None);
        assert_eq!(HardwareAddress::new(&[1; 33]), None);
        assert_eq!(HardwareAddress::new(&[]), None);
        let error = "eth0".parse::<HardwareAddress>().unwrap_err().to_string();
        assert!(
            error.contains("'eth0'") && error.contains("52:54:00:12:34:56"),
            "{error}"
        );
    }
}
