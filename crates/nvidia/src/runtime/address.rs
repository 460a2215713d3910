//! The PCI address of a GPU.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The PCI address of a GPU, as sysfs spells it: `0000:01:00.0`, in lower case.
///
/// It is the name by which NVML is asked: looking a GPU up by UUID or index may initialize others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GpuAddress(String);

/// A text that is no PCI address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no PCI address of a GPU: write it as 0000:01:00.0")]
pub struct AddressError(String);

impl GpuAddress {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GpuAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let is_hexadecimal = |part: &str, digits: std::ops::RangeInclusive<usize>| {
            digits.contains(&part.len())
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let parts = || {
            let (slot, function) = text.split_once('.')?;
            let mut slot = slot.split(':');
            let (domain, bus, device) = (slot.next()?, slot.next()?, slot.next()?);
            // Domains of more than four digits exist behind Intel's VMD.
            let is_address = slot.next().is_none()
                && is_hexadecimal(domain, 4..=8)
                && is_hexadecimal(bus, 2..=2)
                && is_hexadecimal(device, 2..=2)
                && matches!(function.as_bytes(), [b'0'..=b'7']);
            is_address.then(|| Self(text.to_owned()))
        };
        parts().ok_or_else(|| AddressError(text.escape_debug().to_string()))
    }
}

impl TryFrom<String> for GpuAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<GpuAddress> for String {
    fn from(address: GpuAddress) -> Self {
        address.0
    }
}

impl fmt::Display for GpuAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
