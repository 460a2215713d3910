//! The round-trip time that CAKE expects, and the target delay derived from it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::quantity::{self, QuantityError};

const UNITS: &str = "s, ms or us, or nothing for microseconds";

/// How long the peers of most traffic take to answer, in microseconds: 1 to 4,294,967,295.
///
/// The text form is `tc`'s: `100ms`, `1.5s`, and **a bare number is microseconds**. Upper and lower
/// case are equivalent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoundTripTime(NonZeroU32);

impl RoundTripTime {
    /// 100 µs: within a rack or a machine room.
    pub const DATACENTRE: Self = Self::literal(100);
    /// 1 ms: a local network.
    pub const LAN: Self = Self::literal(1_000);
    /// 10 ms: a city.
    pub const METRO: Self = Self::literal(10_000);
    /// 30 ms: a country.
    pub const REGIONAL: Self = Self::literal(30_000);
    /// 100 ms: the Internet at large. The kernel's default.
    pub const INTERNET: Self = Self::literal(100_000);
    /// 300 ms: the Internet seen from Australia or New Zealand.
    pub const OCEANIC: Self = Self::literal(300_000);
    /// 1 s: over a geostationary satellite.
    pub const SATELLITE: Self = Self::literal(1_000_000);
    /// 1000 s: farther than any network reaches. It nearly disables queue management. The manual
    /// page says 3600 s; `tc` sets 1000.
    pub const INTERPLANETARY: Self = Self::literal(1_000_000_000);

    /// 4,294,967,295 µs.
    pub const MAXIMUM: Self = Self(NonZeroU32::MAX);

    /// `tc`'s keywords for these constants.
    pub const PRESETS: [(&str, Self); 8] = [
        ("datacentre", Self::DATACENTRE),
        ("lan", Self::LAN),
        ("metro", Self::METRO),
        ("regional", Self::REGIONAL),
        ("internet", Self::INTERNET),
        ("oceanic", Self::OCEANIC),
        ("satellite", Self::SATELLITE),
        ("interplanetary", Self::INTERPLANETARY),
    ];

    const fn literal(microseconds: u32) -> Self {
        Self(NonZeroU32::new(microseconds).expect("it is not zero"))
    }

    /// The round-trip time of this many microseconds.
    ///
    /// # Errors
    ///
    /// If it is zero. `tc` accepts `rtt 0` and sets the target to 1 µs, but not the round-trip time.
    pub const fn microseconds(number: u32) -> Result<Self, QuantityError> {
        match NonZeroU32::new(number) {
            Some(number) => Ok(Self(number)),
            None => Err(QuantityError::TooLittle {
                least: "1us",
                instead: "leave `rtt` out for the default 100ms",
            }),
        }
    }

    /// The round-trip time in microseconds.
    pub const fn as_microseconds(self) -> u32 {
        self.0.get()
    }

    /// The standing delay that CAKE tolerates, in microseconds: a twentieth, and at least 1.
    ///
    /// The kernel does not derive it. `tc` sends it along with the round-trip time, and so does this
    /// crate; each preset of `tc` is a twentieth as well.
    pub const fn target(self) -> u32 {
        match self.0.get() / 20 {
            0 => 1,
            target => target,
        }
    }

    /// The time as `tc` prints it, truncated to three digits.
    pub(crate) fn shown(self) -> String {
        let microseconds = f64::from(self.0.get());
        if microseconds >= 1e6 {
            format!("{}s", quantity::general(microseconds / 1e6, 3))
        } else if microseconds >= 1e3 {
            format!("{}ms", quantity::general(microseconds / 1e3, 3))
        } else {
            format!("{}us", self.0)
        }
    }
}

impl Default for RoundTripTime {
    fn default() -> Self {
        Self::INTERNET
    }
}

impl FromStr for RoundTripTime {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (number, unit) =
            quantity::number(text).ok_or(QuantityError::NotANumber { units: UNITS })?;
        if number < 0.0 {
            return Err(QuantityError::Negative);
        }
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "us" | "usec" | "usecs" => 1.0,
            "ms" | "msec" | "msecs" => 1e3,
            "s" | "sec" | "secs" => 1e6,
            _ => {
                return Err(QuantityError::Unit {
                    unit: unit.to_owned(),
                    units: UNITS,
                });
            }
        };
        quantity::whole(number * scale, u32::MAX.into())
            .and_then(|number| u32::try_from(number).ok())
            .ok_or(QuantityError::TooMuch {
                most: "4294967295us, more than an hour,",
            })
            .and_then(Self::microseconds)
    }
}

impl fmt::Display for RoundTripTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = self.0.get();
        if microseconds.is_multiple_of(1_000_000) {
            write!(formatter, "{}s", microseconds / 1_000_000)
        } else if microseconds.is_multiple_of(1_000) {
            write!(formatter, "{}ms", microseconds / 1_000)
        } else {
            write!(formatter, "{microseconds}us")
        }
    }
}

impl fmt::Debug for RoundTripTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RoundTripTime({self})")
    }
}

impl TryFrom<String> for RoundTripTime {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl From<RoundTripTime> for String {
    fn from(time: RoundTripTime) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<u32, QuantityError> {
        text.parse().map(RoundTripTime::as_microseconds)
    }

    #[test]
    fn a_bare_number_is_microseconds() {
        for (text, expected) in [
            ("200", 200),
            ("200us", 200),
            ("200usecs", 200),
            ("20ms", 20_000),
            ("20MSEC", 20_000),
            ("1.5s", 1_500_000),
            ("1e+03s", 1_000_000_000),
            ("1.9us", 1),
            ("4294967295", u32::MAX),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_tc_would_wrap_or_lose_is_refused() {
        for text in [
            "0",
            "0.9us",
            "-1ms",
            "4294967296",
            "4295s",
            "1e300s",
            "20m",
            "inf",
            "",
            "5 ms",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_target_of_every_preset_is_tcs() {
        let targets: Vec<u32> = RoundTripTime::PRESETS
            .iter()
            .map(|(_, time)| time.target())
            .collect();
        assert_eq!(
            targets,
            [5, 50, 500, 1_500, 5_000, 15_000, 50_000, 50_000_000]
        );
        assert_eq!(RoundTripTime::literal(19).target(), 1);
    }

    #[test]
    fn shown_has_three_digits() {
        for (microseconds, shown) in [
            (999, "999us"),
            (1_234, "1.23ms"),
            (30_000, "30ms"),
            (999_960, "1e+03ms"),
            (1_000_000_000, "1e+03s"),
            (u32::MAX, "4.29e+03s"),
        ] {
            assert_eq!(RoundTripTime::literal(microseconds).shown(), shown);
        }
    }

    proptest! {
        #[test]
        fn any_time_is_read_back_from_its_text(microseconds in 1..=u32::MAX) {
            let time = RoundTripTime::literal(microseconds);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
            prop_assert!(time.shown().parse::<RoundTripTime>().is_ok() || microseconds > 4_294_000_000);
        }
    }
}
