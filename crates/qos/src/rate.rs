//! Rates in whole bytes per second, which is the kernel's unit, written in the grammar of `tc`.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::quantity::{self, QuantityError};

/// The units that `tc` prints and that are used for output here, with their bits per second.
const DECIMAL: [(&str, u64); 5] = [
    ("tbit", 1_000_000_000_000),
    ("gbit", 1_000_000_000),
    ("mbit", 1_000_000),
    ("kbit", 1_000),
    ("bit", 1),
];

const UNITS: &str = "bit, kbit, mbit, gbit or tbit (thousands), kibit, mibit, gibit or tibit (1024s), bps for bytes per second, or nothing for bits";

/// A nonzero rate in bytes per second.
///
/// The text form is `tc`'s: `950mbit`, `1.5gbit`, `64kibit`; a bare number is bits per second.
/// Upper and lower case are equivalent. Bits that do not fill a byte are cut off, as in `tc`.
/// `mbps` and the like are rejected: they are bytes to `tc` and bits to nearly everybody else.
/// [`Display`](fmt::Display) prints decimal units without rounding; JSON uses the same text.
///
/// ```
/// # use hosttune_qos::Rate;
/// assert_eq!("1.5gbit".parse(), Ok(Rate::mbit(1500)));
/// let error = "100mbps".parse::<Rate>().unwrap_err();
/// assert!(error.to_string().ends_with("write 100mbit or 800mbit"));
/// # Ok::<(), hosttune_qos::QuantityError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(NonZeroU64);

impl Rate {
    /// 2⁵³ bytes per second, or 72 Pbit/s. Above it `tc`, which calculates in floating point, cannot
    /// express every number.
    pub const MAXIMUM: Self = Self(NonZeroU64::new(1 << 53).expect("it is not zero"));

    /// The rate of this many bytes per second.
    ///
    /// # Errors
    ///
    /// If it is zero or above [`Rate::MAXIMUM`].
    pub const fn bytes_per_second(bytes: u64) -> Result<Self, QuantityError> {
        match NonZeroU64::new(bytes) {
            None => Err(QuantityError::TooLittle {
                least: "8bit, one byte per second,",
                instead: "for no limit, write `unlimited`",
            }),
            Some(bytes) if bytes.get() > Self::MAXIMUM.0.get() => Err(QuantityError::TooMuch {
                most: "2^53 bytes per second, 72057594037927936bit,",
            }),
            Some(bytes) => Ok(Self(bytes)),
        }
    }

    /// The rate of this many bits per second, without those that do not fill a byte.
    ///
    /// # Errors
    ///
    /// If it is below 8 or above [`Rate::MAXIMUM`].
    pub const fn bits_per_second(bits: u64) -> Result<Self, QuantityError> {
        Self::bytes_per_second(bits / 8)
    }

    /// The rate of this many thousand bits per second, for literals in a program.
    ///
    /// # Panics
    ///
    /// If it is zero. Use [`Rate::bits_per_second`] for a number from outside.
    #[track_caller]
    pub const fn kbit(number: u32) -> Self {
        Self::literal(number, 1_000 / 8)
    }

    /// The rate of this many million bits per second, for literals in a program.
    ///
    /// # Panics
    ///
    /// If it is zero. Use [`Rate::bits_per_second`] for a number from outside.
    #[track_caller]
    pub const fn mbit(number: u32) -> Self {
        Self::literal(number, 1_000_000 / 8)
    }

    /// The rate of this many thousand million bits per second, for literals in a program.
    ///
    /// # Panics
    ///
    /// If it is zero. Use [`Rate::bits_per_second`] for a number from outside.
    #[track_caller]
    pub const fn gbit(number: u16) -> Self {
        Self::literal(number as u32, 1_000_000_000 / 8)
    }

    #[track_caller]
    const fn literal(number: u32, bytes: u64) -> Self {
        match NonZeroU64::new(number as u64 * bytes) {
            Some(bytes) => Self(bytes),
            None => panic!("a rate of zero"),
        }
    }

    /// The rate in bytes per second, the kernel's unit.
    pub const fn as_bytes_per_second(self) -> u64 {
        self.0.get()
    }

    /// The rate in bits per second.
    pub const fn as_bits_per_second(self) -> u64 {
        self.0.get() * 8
    }

    /// The rate as `tc` prints it: at most about four digits, the rest is cut off.
    pub(crate) fn shown(self) -> String {
        let mut rate = self.as_bits_per_second();
        let mut units = ["", "K", "M", "G", "T"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        for larger in units {
            if rate < 1000 || (!rate.is_multiple_of(1000) && rate < 1_000_000) {
                break;
            }
            rate /= 1000;
            unit = larger;
        }
        format!("{rate}{unit}bit")
    }
}

impl FromStr for Rate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (number, unit) =
            quantity::number(text).ok_or(QuantityError::NotANumber { units: UNITS })?;
        if number < 0.0 {
            return Err(QuantityError::Negative);
        }
        const KIBI: f64 = 1024.0;
        let lowercase = unit.to_ascii_lowercase();
        let bits = match lowercase.as_str() {
            "" | "bit" => 1.0,
            "kbit" => 1e3,
            "mbit" => 1e6,
            "gbit" => 1e9,
            "tbit" => 1e12,
            "kibit" => KIBI,
            "mibit" => KIBI * KIBI,
            "gibit" => KIBI * KIBI * KIBI,
            "tibit" => KIBI * KIBI * KIBI * KIBI,
            "bps" => 8.0,
            // Kibibytes per second; nobody uses this suffix for kibibits.
            "kibps" => 8.0 * KIBI,
            "mibps" => 8.0 * KIBI * KIBI,
            "gibps" => 8.0 * KIBI * KIBI * KIBI,
            "tibps" => 8.0 * KIBI * KIBI * KIBI * KIBI,
            "kbps" | "mbps" | "gbps" | "tbps" => {
                return Err(QuantityError::BitsOrBytes {
                    prefix: lowercase.chars().next().unwrap_or_default(),
                    bits: number.to_string().into(),
                    bytes: (number * 8.0).to_string().into(),
                });
            }
            _ => {
                return Err(QuantityError::Unit {
                    unit: unit.to_owned(),
                    units: UNITS,
                });
            }
        };
        // A value beyond `u64` is also above the maximum.
        Self::bytes_per_second(
            quantity::whole(number * bits / 8.0, u64::MAX - 1).unwrap_or(u64::MAX),
        )
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.as_bits_per_second();
        let (unit, scale) = DECIMAL
            .into_iter()
            .find(|(_, scale)| bits.is_multiple_of(*scale))
            .unwrap_or(("bit", 1));
        write!(formatter, "{}{unit}", bits / scale)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Rate({self})")
    }
}

impl TryFrom<String> for Rate {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Result<u64, QuantityError> {
        text.parse().map(Rate::as_bytes_per_second)
    }

    #[test]
    fn units_are_tcs() {
        for (text, expected) in [
            ("8", 1),
            ("1001", 125),
            ("8bit", 1),
            ("8kbit", 1000),
            ("1mbit", 125_000),
            ("1Mbit", 125_000),
            ("1GBIT", 125_000_000),
            ("1tbit", 125_000_000_000),
            ("8Kibit", 1024),
            ("8mibit", 1 << 20),
            ("8gibit", 1 << 30),
            ("8TIbit", 1 << 40),
            ("100bps", 100),
            ("1KiBps", 1024),
            ("1mibps", 1 << 20),
            ("1.5gbit", 187_500_000),
            ("0.0095mbit", 1187),
            ("1e3kbit", 125_000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn prefixed_bps_is_refused_with_both_readings() {
        for text in ["100mbps", "1GBps", "5kbps", "1tbps"] {
            assert!(
                matches!(bytes(text), Err(QuantityError::BitsOrBytes { .. })),
                "{text}"
            );
        }
        assert_eq!(
            bytes("100mbps").unwrap_err().to_string(),
            "100mbps is 800mbit to tc, where `bps` means bytes per second; write 100mbit or 800mbit"
        );
    }

    #[test]
    fn zero_negative_and_immense_are_refused() {
        for text in ["0", "0mbit", "7bit", "0.0001kbit", "-0"] {
            assert!(
                matches!(bytes(text), Err(QuantityError::TooLittle { .. })),
                "{text}"
            );
        }
        assert_eq!(bytes("-5mbit"), Err(QuantityError::Negative));
        for text in ["72057594037927945", "1e30", "1e999", "100000tbit"] {
            assert!(
                matches!(bytes(text), Err(QuantityError::TooMuch { .. })),
                "{text}"
            );
        }
        assert_eq!(bytes("72057594037927936"), Ok(1 << 53));
        for text in [
            "", "mbit", "inf", "nan", "0x10mbit", "10 mbit", "10mb", "10m", "1e",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shown_is_cut_off_as_tc_does() {
        for (text, shown) in [
            ("950mbit", "950Mbit"),
            ("8bit", "8bit"),
            ("1001kbit", "1001Kbit"),
            ("1234567kbit", "1234Mbit"),
            ("10gbit", "10Gbit"),
            ("1234567890bit", "1234Mbit"),
            ("72057tbit", "72057Tbit"),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().shown(), shown);
        }
    }

    proptest! {
        #[test]
        fn any_rate_is_read_back_from_its_text(
            bytes in prop_oneof![1..=1_u64 << 53, 1..=1_000_000_u64, (1..=72_000_u64).prop_map(|n| n * 125_000)]
        ) {
            let rate = Rate::bytes_per_second(bytes)?;
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            let json = serde_json::to_string(&rate)?;
            prop_assert_eq!(serde_json::from_str::<Rate>(&json)?, rate);
        }

        #[test]
        fn no_text_panics_and_what_is_read_is_printed_to_the_same(text in "[-+0-9.eE]{0,9}[a-zA-Zµ]{0,5}") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        }
    }
}
