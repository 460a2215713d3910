//! From requested to effective: what a version of PipeWire makes of its settings.
//!
//! Nothing here reads a file or asks a daemon. The rules are those of `pw_settings_init` in
//! `pipewire/settings.c` and of the recalculation of the graph in `pipewire/context.c`, read at the
//! tags 0.3.65, 1.0.3, 1.0.4, 1.4.2 and 1.6.8.

use hosttune_spa_json::{Data, Reading, RemarkKind, TopLevel};

use crate::frames::{Frames, Period, SampleRate};
use crate::settings::MAX_ALLOWED_RATES;
use crate::version::Version;

/// `default.clock.quantum-floor` exists from this version; before, the floor is 4 frames and does not
/// apply to the quantum that a graph runs with.
pub const FLOOR_SINCE: Version = Version::new(1, 0, 4);

/// From this version a forced quantum is not rounded to a power of two.
const FORCED_AS_IT_IS_SINCE: Version = Version::new(0, 3, 82);

/// From this version scaling by the rate is done in 64 bits.
const WIDE_SCALING_SINCE: Version = Version::new(1, 3, 82);

const DEFAULT_RATE: u32 = 48000;
const LARGEST_LIMIT: u32 = 65536;

/// The clock settings that a daemon has after it has read its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The default rate.
    pub rate: SampleRate,
    /// The rates that the graph may switch to.
    pub allowed_rates: Vec<SampleRate>,
    /// The quantum if no program asks for another.
    pub quantum: Frames,
    /// The smallest quantum that programs get.
    pub min_quantum: Frames,
    /// The largest quantum that programs get.
    pub max_quantum: Frames,
    /// The largest quantum at all.
    pub limit: Frames,
    /// The smallest quantum at all.
    pub floor: Frames,
    /// Whether a quantum is rounded down to a power of two.
    pub power_of_two: bool,
}

/// What is forced for the whole graph: `clock.force-quantum` and `clock.force-rate` of the metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forced {
    /// The quantum; `None` if it is not forced, as with the value 0.
    pub quantum: Option<Frames>,
    /// The rate; `None` if it is not forced, as with the value 0.
    pub rate: Option<SampleRate>,
}

impl Clock {
    /// What a daemon of this version loads from the texts of its properties, by key.
    ///
    /// A number that is none is what `atoi` makes of it: 0, or the digits at its beginning.
    pub fn loaded<'p>(version: Version, property: impl Fn(&str) -> Option<&'p str>) -> Self {
        // The value is an int that is stored without its sign, so -1 is the largest number.
        let number =
            |key, default| property(key).map_or(default, |text| atoi(text).cast_unsigned());
        let rate = number("default.clock.rate", DEFAULT_RATE);
        let allowed = property("default.clock.allowed-rates");
        let has_floor = version >= FLOOR_SINCE;
        let smallest = if has_floor { 1 } else { 4 };
        let limit = clamp(
            number("default.clock.quantum-limit", 8192),
            smallest,
            LARGEST_LIMIT,
        );
        let floor = if has_floor {
            clamp(number("default.clock.quantum-floor", 4), smallest, limit)
        } else {
            smallest
        };
        let max = clamp(number("default.clock.max-quantum", 2048), floor, limit);
        let min = clamp(number("default.clock.min-quantum", 32), floor, max);
        let quantum = clamp(number("default.clock.quantum", 1024), min, max);
        let power_of_two = property("clock.power-of-two-quantum");
        Self {
            rate: SampleRate(rate),
            allowed_rates: allowed_rates(version, allowed, rate),
            quantum: Frames(quantum),
            min_quantum: Frames(min),
            max_quantum: Frames(max),
            limit: Frames(limit),
            floor: Frames(floor),
            power_of_two: power_of_two.is_none_or(|text| matches!(text, "true" | "1")),
        }
    }

    /// The text that a daemon of this version adds to its properties if its files do not set the key,
    /// or unset it (`get_default_int` in `pipewire/settings.c`).
    #[must_use]
    pub fn filled_in(version: Version, key: &str) -> Option<&'static str> {
        Some(match key {
            "default.clock.rate" => "48000",
            "default.clock.quantum" => "1024",
            "default.clock.min-quantum" => "32",
            "default.clock.max-quantum" => "2048",
            "default.clock.quantum-limit" => "8192",
            "default.clock.quantum-floor" if version >= FLOOR_SINCE => "4",
            "clock.power-of-two-quantum" => "true",
            _ => return None,
        })
    }

    /// What a graph runs with, at the rate `graph_rate` and if the program that asks for the least
    /// asks for `latency` (`node.latency`); `None` if none asks.
    ///
    /// The rate is that of the driver's device, which is not always the default rate: quantums are
    /// scaled with it. Not considered, because they belong to a node and not to these settings: a
    /// node that forces or locks a quantum, `node.max-latency`, and devices that dictate their own
    /// period.
    pub fn running(
        &self,
        version: Version,
        forced: Forced,
        graph_rate: SampleRate,
        latency: Option<Period>,
    ) -> Period {
        let rate = forced.rate.unwrap_or(graph_rate).0;
        let scale = |number: u32, by: u32| {
            let by = by.max(1);
            if version >= WIDE_SCALING_SINCE {
                let scaled = u64::from(number) * u64::from(rate) / u64::from(by);
                u32::try_from(scaled & u64::from(u32::MAX)).unwrap_or(u32::MAX)
            } else {
                number.wrapping_mul(rate) / by
            }
        };
        let (default, min, max) = match forced.quantum {
            Some(Frames(forced)) => (forced, forced, forced),
            None if rate == self.rate.0 || self.rate.0 == 0 => {
                (self.quantum.0, self.min_quantum.0, self.max_quantum.0)
            }
            None => (
                scale(self.quantum.0, self.rate.0),
                scale(self.min_quantum.0, self.rate.0),
                scale(self.max_quantum.0, self.rate.0),
            ),
        };
        let wanted = match latency {
            Some(latency) if latency.rate.0 != 0 => scale(latency.quantum.0, latency.rate.0),
            _ => default,
        };
        let mut quantum = clamp(wanted, min, max);
        quantum = if version >= FLOOR_SINCE {
            clamp(quantum, self.floor.0, self.limit.0)
        } else {
            quantum.min(self.limit.0)
        };
        let is_rounded = forced.quantum.is_none() || version < FORCED_AS_IT_IS_SINCE;
        if self.power_of_two && is_rounded {
            quantum = power_of_two_below(quantum);
        }
        Period {
            quantum: Frames(quantum),
            rate: SampleRate(rate),
        }
    }
}

/// PipeWire's `SPA_CLAMP`: if the limits contradict each other, the upper one wins.
fn clamp(value: u32, low: u32, high: u32) -> u32 {
    value.max(low).min(high)
}

/// The largest power of two that is not above a number; 0 for 0.
fn power_of_two_below(number: u32) -> u32 {
    match number.checked_ilog2() {
        Some(exponent) => 1 << exponent,
        None => 0,
    }
}

/// The C function `atoi`: spaces, a sign and digits at the beginning; everything after them is
/// ignored, and without digits it is 0. What does not fit is cut to 32 bits, as glibc does.
pub(crate) fn atoi(text: &str) -> i32 {
    let text = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (is_negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = digits.bytes().take_while(u8::is_ascii_digit);
    // `atoi` is `strtol`, whose result stays in the range of 64 bits, cut to an int.
    let magnitude = digits.fold(0_i128, |number, digit| {
        (number * 10 + i128::from(digit - b'0')).min(i128::from(i64::MAX) + 1)
    });
    let number = if is_negative { -magnitude } else { magnitude };
    let number = number.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    let bytes = number.to_le_bytes();
    i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The allowed rates that a daemon has: those of the property if the rate is among them, else the
/// default list if it is among these, else the rate alone.
fn allowed_rates(version: Version, property: Option<&str>, rate: u32) -> Vec<SampleRate> {
    let mut rates = property.map_or_else(Vec::new, |text| rates_in(version, text));
    if !rates.contains(&rate) {
        // The default list is [ 48000 ], which has the rate or is replaced by it.
        rates = vec![rate];
    }
    rates.into_iter().map(SampleRate).collect()
}

/// The rates in a text: an array, with or without brackets. What is no number is skipped; other than
/// in the other settings, `0xbb80` is one.
fn rates_in(version: Version, text: &str) -> Vec<u32> {
    let reading = Reading::of(text.as_bytes(), version.dialect());
    let mut texts = Vec::new();
    match (&reading.value.data, reading.top_level) {
        (Data::Array(values), _) => texts.extend(values.iter().map(|value| value.as_text())),
        (Data::Object(entries), TopLevel::Entries) => {
            for entry in entries {
                texts.extend([Some(entry.key.as_str()), entry.value.as_text()]);
            }
            texts.extend(reading.remarks.iter().map(|remark| match &remark.kind {
                RemarkKind::NoValue { key } => Some(key.as_str()),
                _ => None,
            }));
        }
        _ => {}
    }
    let numbers = texts.into_iter().flatten().filter_map(unsigned);
    numbers.take(MAX_ALLOWED_RATES).collect()
}

/// PipeWire's `spa_atou32` with base 0: the whole text is a decimal, octal or hexadecimal number.
fn unsigned(text: &str) -> Option<u32> {
    let word = hosttune_spa_json::Value::word(text)?;
    u32::try_from(word.as_i64()?).ok()
}
