//! The bits of a packet's firewall mark that select its tin.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text is not a mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a mask of 32 bits; write one like 0xff, 255 or 0377")]
pub struct MarkError;

/// A mask for the firewall mark: if the masked bits are not zero, they are the number of the tin.
/// Zero, the kernel's default, leaves the choice to the DSCP. Linux 5.1 and later.
///
/// The text form is a number as in C, so that `010` is 8. It is printed as `0xff`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MarkMask(u32);

impl MarkMask {
    /// Marks are ignored.
    pub const NONE: Self = Self(0);

    /// The mask with these bits.
    pub const fn new(mask: u32) -> Self {
        Self(mask)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for MarkMask {
    type Err = MarkError;

    fn from_str(text: &str) -> Result<Self, MarkError> {
        let number = text.strip_prefix('+').unwrap_or(text);
        let hexadecimal = number
            .strip_prefix("0x")
            .or_else(|| number.strip_prefix("0X"));
        let (digits, radix) = match (hexadecimal, number.strip_prefix('0')) {
            (Some(digits), _) => (digits, 16),
            (None, Some(digits)) if !digits.is_empty() => (digits, 8),
            _ => (number, 10),
        };
        // `from_str_radix` accepts a sign itself, which would be a second one here.
        if digits.starts_with(['+', '-']) {
            return Err(MarkError);
        }
        u32::from_str_radix(digits, radix)
            .map(Self)
            .map_err(|_| MarkError)
    }
}

impl fmt::Display for MarkMask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

impl TryFrom<String> for MarkMask {
    type Error = MarkError;

    fn try_from(text: String) -> Result<Self, MarkError> {
        text.parse()
    }
}

impl From<MarkMask> for String {
    fn from(mask: MarkMask) -> Self {
        mask.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_numbers_as_c_has_them() {
        for (text, expected) in [
            ("0", 0),
            ("255", 255),
            ("0xff", 255),
            ("0XFF", 255),
            ("0377", 255),
            ("+1", 1),
            ("0xffffffff", u32::MAX),
        ] {
            assert_eq!(text.parse(), Ok(MarkMask(expected)), "{text}");
        }
        for text in [
            "",
            "0x",
            "08",
            "-1",
            "0x100000000",
            "+-1",
            "0x+1",
            "f",
            "1 ",
        ] {
            assert_eq!(text.parse::<MarkMask>(), Err(MarkError), "{text}");
        }
    }
}
