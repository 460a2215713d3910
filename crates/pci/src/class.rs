//! Class codes: what kind of device a function is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::printable;

/// A class code: base class, subclass and programming interface, 24 bits.
///
/// Its text has six hexadecimal digits, such as `030000`; sysfs has `0x` before them. The numbers
/// are from the PCI Code and ID Assignment Specification.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Class(u32);

impl Class {
    /// The class from a number; `None` above 24 bits.
    #[must_use]
    pub fn new(code: u32) -> Option<Self> {
        (code < 1 << 24).then_some(Self(code))
    }

    /// The base class with the subclass, such as `0x0300`.
    #[must_use]
    pub fn kind(self) -> u16 {
        // A class has 24 bits, so the value always fits.
        u16::try_from(self.0 >> 8).unwrap_or(u16::MAX)
    }

    /// The base class, such as `0x03`.
    #[must_use]
    pub fn base(self) -> u8 {
        self.kind().to_be_bytes()[0]
    }

    /// A display controller of any kind: VGA (0300), XGA, 3D (0302) or other (0380).
    #[must_use]
    pub fn is_display(self) -> bool {
        self.base() == 0x03
    }

    /// A VGA compatible controller. The kernel removes a conflicting firmware framebuffer only for
    /// this class.
    #[must_use]
    pub fn is_vga(self) -> bool {
        self.kind() == 0x0300
    }

    /// An audio device: 0401 or 0403 (HD audio).
    #[must_use]
    pub fn is_audio(self) -> bool {
        matches!(self.kind(), 0x0401 | 0x0403)
    }

    /// A network controller.
    #[must_use]
    pub fn is_network(self) -> bool {
        self.base() == 0x02
    }

    /// A USB controller, 0c03.
    #[must_use]
    pub fn is_usb(self) -> bool {
        self.kind() == 0x0c03
    }

    /// A bridge of any kind, base class 06.
    #[must_use]
    pub fn is_bridge(self) -> bool {
        self.base() == 0x06
    }

    /// An encryption controller, 1080: in the slot of a display it is the security processor of an
    /// AMD processor with integrated graphics.
    #[must_use]
    pub fn is_encryption(self) -> bool {
        self.kind() == 0x1080
    }

    /// What such a device is called, or `None` for classes that have no name here.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self.kind() {
            0x0100 => "SCSI storage controller",
            0x0101 => "IDE interface",
            0x0104 => "RAID bus controller",
            0x0106 => "SATA controller",
            0x0107 => "SAS controller",
            0x0108 => "NVMe controller",
            0x0200 => "Ethernet controller",
            0x0280 => "network controller",
            0x0300 => "VGA controller",
            0x0302 => "3D controller",
            0x0380 => "display controller",
            0x0401 | 0x0403 => "audio device",
            0x0600 => "host bridge",
            0x0601 => "ISA bridge",
            0x0604 => "PCI bridge",
            0x0c03 => "USB controller",
            0x0c05 => "SMBus",
            0x0c80 => "serial bus controller",
            0x1080 => "encryption controller",
            _ => return None,
        })
    }
}

/// The error for a text that is not a class code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a PCI class; write six hexadecimal digits, such as 030000")]
pub struct NotAClass(String);

impl FromStr for Class {
    type Err = NotAClass;

    /// Also accepts a leading `0x`, as in sysfs.
    fn from_str(text: &str) -> Result<Self, NotAClass> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let plain = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let code = plain
            .then(|| u32::from_str_radix(digits, 16).ok())
            .flatten();
        code.map(Self).ok_or_else(|| NotAClass(printable(text)))
    }
}

impl TryFrom<String> for Class {
    type Error = NotAClass;

    fn try_from(text: String) -> Result<Self, NotAClass> {
        text.parse()
    }
}

impl From<Class> for String {
    fn from(class: Class) -> Self {
        class.to_string()
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
