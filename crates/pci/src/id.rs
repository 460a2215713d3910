//! Vendor and device ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::printable;

/// A PCI vendor or device id. Its text is four hexadecimal digits, as printed by `lspci -n`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PciId(pub u16);

impl PciId {
    /// AMD graphics, formerly ATI.
    pub const AMD: Self = Self(0x1002);
    /// Intel.
    pub const INTEL: Self = Self(0x8086);
    /// NVIDIA.
    pub const NVIDIA: Self = Self(0x10de);

    /// Returns the name of a vendor of display controllers from the PCI ID repository (pci-ids.ucw.cz), or
    /// `None` for other vendors.
    #[must_use]
    pub fn vendor_name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x1002 => "AMD",
            0x1013 => "Cirrus Logic",
            0x102b => "Matrox",
            0x10de => "NVIDIA",
            0x1234 => "QEMU",
            0x1414 => "Microsoft",
            0x15ad => "VMware",
            0x1a03 => "ASPEED",
            0x1af4 | 0x1b36 => "Red Hat",
            0x1ed5 => "Moore Threads",
            0x8086 => "Intel",
            0x80ee => "VirtualBox",
            _ => return None,
        })
    }
}

/// The error for a text that is not a PCI id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAPciId(String);

impl fmt::Display for NotAPciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not a PCI id; write four hexadecimal digits, such as 10de",
            self.0
        )
    }
}

impl std::error::Error for NotAPciId {}

impl FromStr for PciId {
    type Err = NotAPciId;

    /// Also accepts a leading `0x`, as in sysfs.
    fn from_str(text: &str) -> Result<Self, NotAPciId> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let plain = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = plain
            .then(|| u16::from_str_radix(digits, 16).ok())
            .flatten();
        number.map(Self).ok_or_else(|| NotAPciId(text.to_owned()))
    }
}

impl TryFrom<String> for PciId {
    type Error = NotAPciId;

    fn try_from(text: String) -> Result<Self, NotAPciId> {
        text.parse()
    }
}

impl From<PciId> for String {
    fn from(id: PciId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl fmt::Debug for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A vendor id with a device id, as in `lspci -nn`: `10de:2684`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Ids {
    /// The vendor.
    pub vendor: PciId,
    /// The device; its meaning depends on the vendor.
    pub device: PciId,
}

impl FromStr for Ids {
    type Err = NotIds;

    fn from_str(text: &str) -> Result<Self, NotIds> {
        let ids = text.split_once(':').and_then(|(vendor, device)| {
            Some(Self {
                vendor: vendor.parse().ok()?,
                device: device.parse().ok()?,
            })
        });
        ids.ok_or_else(|| NotIds(printable(text)))
    }
}

/// The error for a text that is not a pair of ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a pair of PCI ids; write vendor and device with four hexadecimal digits each, such as 10de:2684"
)]
pub struct NotIds(String);

impl TryFrom<String> for Ids {
    type Error = NotIds;

    fn try_from(text: String) -> Result<Self, NotIds> {
        text.parse()
    }
}

impl From<Ids> for String {
    fn from(ids: Ids) -> Self {
        ids.to_string()
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.vendor, self.device)
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_are_the_same_in_both_directions() {
        assert_eq!("0x10de".parse(), Ok(PciId::NVIDIA));
        assert_eq!(PciId(0x2a).to_string().parse(), Ok(PciId(0x2a)));
        for text in ["", "0x", "10d", "10deq", "+10d", "0x010de"] {
            let error = text.parse::<PciId>().unwrap_err().to_string();
            assert!(error.contains("10de"), "{error}");
        }
    }
}
