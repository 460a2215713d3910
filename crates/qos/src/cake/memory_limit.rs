//! The memory limit for queued packets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::quantity::{self, QuantityError};

const KIBI: u32 = 1024;
const MEBI: u32 = KIBI * KIBI;
const UNITS: &str =
    "b, kb, mb or gb (bytes, in 1024s), kbit, mbit or gbit (1024s of bits), or nothing for bytes";

/// The maximum number of bytes that queued packets may use, or the kernel's choice.
///
/// The text form is `tc`'s: `32mb`, `500kb`; a bare number is bytes. JSON has `automatic` for the
/// kernel's choice: a quarter of the bytes sent in a round-trip time and at least 4 MiB.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct MemoryLimit(u32);

impl MemoryLimit {
    /// The kernel chooses. The default.
    pub const AUTOMATIC: Self = Self(0);

    /// The limit of this many bytes. Zero means [`MemoryLimit::AUTOMATIC`] to the kernel.
    pub const fn bytes(number: u32) -> Self {
        Self(number)
    }

    /// The limit in bytes as the kernel stores it, with zero for automatic.
    pub const fn as_bytes(self) -> u32 {
        self.0
    }

    /// The limit as `tc` prints it: rounded if it is within a kilobyte of whole megabytes, or within
    /// 16 bytes of whole kilobytes.
    pub(crate) fn shown(self) -> String {
        let size = f64::from(self.0);
        let near = |unit: u32, tolerance: f64| {
            let number = (size / f64::from(unit)).round_ties_even();
            (self.0 >= unit && (f64::from(unit) * number - size).abs() < tolerance)
                .then(|| quantity::general(number, 6))
        };
        if let Some(number) = near(MEBI, 1024.0) {
            format!("{number}Mb")
        } else if let Some(number) = near(KIBI, 16.0) {
            format!("{number}Kb")
        } else {
            format!("{}b", self.0)
        }
    }
}

impl FromStr for MemoryLimit {
    type Err = QuantityError;

    /// `0` is automatic: `tc` accepts it and sends nothing, which has the same effect on a new qdisc.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (number, unit) =
            quantity::number(text).ok_or(QuantityError::NotANumber { units: UNITS })?;
        if number < 0.0 {
            return Err(QuantityError::Negative);
        }
        let kibi = f64::from(KIBI);
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => kibi,
            "m" | "mb" => kibi * kibi,
            "g" | "gb" => kibi * kibi * kibi,
            "kbit" => kibi / 8.0,
            "mbit" => kibi * kibi / 8.0,
            "gbit" => kibi * kibi * kibi / 8.0,
            _ => {
                return Err(QuantityError::Unit {
                    unit: unit.to_owned(),
                    units: UNITS,
                });
            }
        };
        quantity::whole(number * scale, u32::MAX.into())
            .and_then(|number| u32::try_from(number).ok())
            .map(Self)
            .ok_or(QuantityError::TooMuch {
                most: "4294967295b, a byte less than 4gb,",
            })
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => formatter.write_str("automatic"),
            bytes if bytes.is_multiple_of(MEBI) => write!(formatter, "{}mb", bytes / MEBI),
            bytes if bytes.is_multiple_of(KIBI) => write!(formatter, "{}kb", bytes / KIBI),
            bytes => write!(formatter, "{bytes}b"),
        }
    }
}

impl TryFrom<String> for MemoryLimit {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        if text == "automatic" {
            return Ok(Self::AUTOMATIC);
        }
        text.parse()
    }
}

impl From<MemoryLimit> for String {
    fn from(limit: MemoryLimit) -> Self {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<u32, QuantityError> {
        text.parse().map(MemoryLimit::as_bytes)
    }

    #[test]
    fn units_are_1024s_and_bits_too() {
        for (text, expected) in [
            ("0", 0),
            ("500", 500),
            ("500b", 500),
            ("1k", 1024),
            ("1KB", 1024),
            ("32mb", 32 << 20),
            ("1.5m", 3 << 19),
            ("3g", 3 << 30),
            ("8kbit", 1024),
            ("8mbit", 1 << 20),
            ("1gbit", 1 << 27),
            ("3.90625e+06Kb", 4_000_000_000),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for text in ["4gb", "-1", "4294967296", "1kib", "1mbps", "", "b", "1e300"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shown_is_rounded_as_tc_does() {
        for (bytes, shown) in [
            (32 << 20, "32Mb"),
            ((32 << 20) + 1000, "32Mb"),
            (1500, "1500b"),
            (10_250, "10Kb"),
            (4_000_000_000, "3.90625e+06Kb"),
        ] {
            assert_eq!(MemoryLimit(bytes).shown(), shown);
        }
    }

    proptest! {
        #[test]
        fn any_limit_is_read_back_from_its_json(bytes: u32) {
            let json = serde_json::to_string(&MemoryLimit(bytes))?;
            prop_assert_eq!(serde_json::from_str::<MemoryLimit>(&json)?, MemoryLimit(bytes));
        }
    }
}
