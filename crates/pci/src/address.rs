//! Addresses of PCI functions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The directory with one link per PCI function.
pub(crate) const DEVICES: &str = "/sys/bus/pci/devices";

/// The address of a PCI function, such as `0000:0d:00.1`: domain, bus, device, function.
///
/// The domain has at least four hexadecimal digits; Intel's VMD uses five (`10000:e1:00.0`). Bus
/// numbers are given out anew at each boot, so an address is no identity: see
/// [`SlotPath`](crate::SlotPath).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl Address {
    /// An address from its numbers; `None` if `device` is above 31 or `function` above 7.
    #[must_use]
    pub fn new(domain: u32, bus: u8, device: u8, function: u8) -> Option<Self> {
        (device < 32 && function < 8).then_some(Self {
            domain,
            bus,
            device,
            function,
        })
    }

    /// The domain, also called segment.
    #[must_use]
    pub fn domain(self) -> u32 {
        self.domain
    }

    /// The bus within the domain.
    #[must_use]
    pub fn bus(self) -> u8 {
        self.bus
    }

    /// The device on the bus, 0 to 31.
    #[must_use]
    pub fn device(self) -> u8 {
        self.device
    }

    /// The function of the device, 0 to 7.
    #[must_use]
    pub fn function(self) -> u8 {
        self.function
    }

    /// Whether two functions are in the same slot: equal but for the function.
    #[must_use]
    pub fn is_same_slot(self, other: Self) -> bool {
        (self.domain, self.bus, self.device) == (other.domain, other.bus, other.device)
    }

    /// The path of an attribute of this function in sysfs.
    #[must_use]
    pub fn file(self, name: &str) -> String {
        format!("{DEVICES}/{self}/{name}")
    }

    /// The path of this function's directory in sysfs; the last component is a link.
    #[must_use]
    pub fn directory(self) -> String {
        format!("{DEVICES}/{self}")
    }
}

/// Why a text is not the address of a PCI function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnAddress {
    /// The function is missing: `0000:00:1f` names a slot.
    #[error("'{0}' has no function: write the digit after a dot, such as {0}.0")]
    NoFunction(String),
    /// The domain is missing, so the address is complete only where one domain has it.
    #[error("'{0}' has no domain: write it in full, such as 0000:{0}")]
    NoDomain(String),
    /// A part is not made of hexadecimal digits, or has the wrong number of them.
    #[error(
        "'{text}' is not a PCI address: {part} '{seen}' must be {wanted}; write it like 0000:0d:00.1"
    )]
    Part {
        /// The whole text.
        text: String,
        /// Which part is wrong.
        part: &'static str,
        /// The part as written.
        seen: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// It does not have the form of an address.
    #[error("'{0}' is not a PCI address: write domain, bus, device and function like 0000:0d:00.1")]
    Form(String),
}

impl FromStr for Address {
    type Err = NotAnAddress;

    /// Parses the full form only, with digits in either case.
    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        match Written::parse(text)? {
            Written {
                domain: Some(domain),
                bus,
                device,
                function,
            } => Ok(Self {
                domain,
                bus,
                device,
                function,
            }),
            Written { domain: None, .. } => Err(NotAnAddress::NoDomain(printable(text))),
        }
    }
}

/// An address as people write it: the domain may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    domain: Option<u32>,
    bus: u8,
    device: u8,
    function: u8,
}

impl Written {
    /// Parses an address with or without a domain.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, NotAnAddress> {
        let form = || NotAnAddress::Form(printable(text));
        let (slot, function) = match text.rsplit_once('.') {
            Some((slot, function)) => (slot, Some(function)),
            None => (text, None),
        };
        let parts: Vec<&str> = slot.split(':').collect();
        let (domain, bus, device) = match parts[..] {
            [bus, device] => (None, bus, device),
            [domain, bus, device] => (Some(domain), bus, device),
            _ => return Err(form()),
        };
        let number = |part, seen: &str, digits: std::ops::RangeInclusive<usize>, most, wanted| {
            let plain =
                digits.contains(&seen.len()) && seen.bytes().all(|byte| byte.is_ascii_hexdigit());
            let value = plain.then(|| u32::from_str_radix(seen, 16).ok()).flatten();
            value
                .filter(|value| *value <= most)
                .ok_or_else(|| NotAnAddress::Part {
                    text: printable(text),
                    part,
                    seen: printable(seen),
                    wanted,
                })
        };
        let domain = domain
            .map(|domain| {
                number(
                    "the domain",
                    domain,
                    4..=8,
                    u32::MAX,
                    "4 to 8 hexadecimal digits",
                )
            })
            .transpose()?;
        let bus = number("the bus", bus, 2..=2, 0xff, "2 hexadecimal digits")?;
        let device = number(
            "the device",
            device,
            2..=2,
            0x1f,
            "2 hexadecimal digits, 00 to 1f",
        )?;
        let Some(function) = function else {
            return Err(NotAnAddress::NoFunction(printable(text)));
        };
        let function = number("the function", function, 1..=1, 7, "one digit, 0 to 7")?;
        // The ranges are checked above.
        let byte = |number: u32| u8::try_from(number).map_err(|_| form());
        Ok(Self {
            domain,
            bus: byte(bus)?,
            device: byte(device)?,
            function: byte(function)?,
        })
    }

    /// Whether an address is meant by this text.
    #[must_use]
    pub fn admits(self, address: Address) -> bool {
        self.domain.is_none_or(|domain| domain == address.domain)
            && (self.bus, self.device, self.function)
                == (address.bus, address.device, address.function)
    }
}

/// A text from outside, safe to print in a message.
pub(crate) fn printable(text: &str) -> String {
    const LONGEST: usize = 64;
    text.chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

impl TryFrom<String> for Address {
    type Error = NotAnAddress;

    fn try_from(text: String) -> Result<Self, NotAnAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.device, self.function
        )
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
