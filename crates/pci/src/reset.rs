//! How the kernel can reset a function.

use std::fmt;

use hosttune_core::{Host, HostError};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::attribute::text;

/// A way to reset a function, from `reset_method` (Linux 5.15).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum ResetMethod {
    /// A cure for this very device.
    DeviceSpecific,
    /// The firmware's `_RST`.
    Acpi,
    /// A Function Level Reset.
    Flr,
    /// A Function Level Reset of a conventional PCI function (Advanced Features).
    AfFlr,
    /// From D3hot to D0.
    Pm,
    /// A reset of the bus, offered only to a function that is alone on it.
    Bus,
    /// A reset of the bus of a CXL device.
    CxlBus,
    /// A method of a newer kernel.
    Other(String),
}

impl ResetMethod {
    /// The kernel's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::DeviceSpecific => "device_specific",
            Self::Acpi => "acpi",
            Self::Flr => "flr",
            Self::AfFlr => "af_flr",
            Self::Pm => "pm",
            Self::Bus => "bus",
            Self::CxlBus => "cxl_bus",
            Self::Other(word) => word,
        }
    }

    /// The methods of a function in the order in which the kernel tries them; empty if it cannot be
    /// reset by itself, `None` if this kernel does not say.
    ///
    /// Without `bus` a card of several functions can still be reset as a whole, by VFIO, if all of
    /// them are bound to it.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn of(host: &Host, address: Address) -> Result<Option<Vec<Self>>, HostError> {
        let words = text(host, address, "reset_method")?;
        Ok(words.map(|words| {
            let words = words.split_whitespace();
            words.map(|word| Self::from(word.to_owned())).collect()
        }))
    }
}

impl From<String> for ResetMethod {
    fn from(word: String) -> Self {
        match word.as_str() {
            "device_specific" => Self::DeviceSpecific,
            "acpi" => Self::Acpi,
            "flr" => Self::Flr,
            "af_flr" => Self::AfFlr,
            "pm" => Self::Pm,
            "bus" => Self::Bus,
            "cxl_bus" => Self::CxlBus,
            _ => Self::Other(word),
        }
    }
}

impl From<ResetMethod> for String {
    fn from(method: ResetMethod) -> Self {
        method.as_str().to_owned()
    }
}

impl fmt::Display for ResetMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
