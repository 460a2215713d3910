//! The settings of the clock, as requested, and their texts in a configuration file.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use hosttune_spa_json::{Entry, Value};
use serde::{Deserialize, Serialize};

use crate::frames::{Frames, Period, SampleRate};
use crate::version::Version;

/// The frames that a quantum or a limit may have: PipeWire's hard limits from 1.0.4
/// (`CLOCK_QUANTUM_FLOOR` and `CLOCK_QUANTUM_LIMIT` in `pipewire/private.h`); up to 1.0.3 the lower
/// one is 4.
pub const QUANTUMS: RangeInclusive<u32> = 1..=65536;

/// The rates, in hertz, that ALSA has names for (`SNDRV_PCM_RATE_*`). PipeWire itself has no limit.
pub const RATES: RangeInclusive<u32> = 5512..=768_000;

/// How many allowed rates PipeWire reads (`MAX_RATES`); it ignores all after them.
pub const MAX_ALLOWED_RATES: usize = 32;

/// The settings of the daemon's clock, in `context.properties` of `pipewire.conf`. What is `None` is
/// left to other files and the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClockSettings {
    /// `default.clock.rate`: the rate of the graph, and the one that quantums are given at. Default
    /// 48000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<SampleRate>,
    /// `default.clock.allowed-rates`: the rates that the graph may switch to. Default only 48000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_rates: Option<Vec<SampleRate>>,
    /// `default.clock.quantum`: the quantum if no program asks for another. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantum: Option<Frames>,
    /// `default.clock.min-quantum`: the smallest that programs get. Default 32, in the shipped file of
    /// 0.3.65 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_quantum: Option<Frames>,
    /// `default.clock.max-quantum`: the largest that programs get. Default 2048.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_quantum: Option<Frames>,
    /// `default.clock.quantum-limit`: the largest that is possible at all, for a forced quantum too;
    /// buffers have this size. Default 8192.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantum_limit: Option<Frames>,
    /// `default.clock.quantum-floor`, from 1.0.4: the smallest that is possible at all. Default 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantum_floor: Option<Frames>,
    /// `clock.power-of-two-quantum`: round a quantum down to a power of two. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_of_two: Option<bool>,
}

impl ClockSettings {
    /// A rate, and one quantum for all programs: as default, minimum and maximum.
    ///
    /// The maximum too, because a program that asks for more would raise the quantum of the graph as
    /// long as no other asks for less, and because a `min-quantum` of another file, such as the 1024
    /// for virtual machines, yields to the maximum.
    pub fn fixed(rate: SampleRate, quantum: Frames) -> Self {
        Self {
            rate: Some(rate),
            quantum: Some(quantum),
            min_quantum: Some(quantum),
            max_quantum: Some(quantum),
            ..Self::default()
        }
    }

    /// Whether nothing is requested.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The keys and the values for `context.properties`, in a fixed order.
    pub fn entries(&self) -> Vec<Entry> {
        let number = |key: &str, number: Option<u32>| number.map(|number| Entry::new(key, number));
        let frames = |key: &str, frames: Option<Frames>| number(key, frames.map(|frames| frames.0));
        let rates = self.allowed_rates.as_ref().map(|rates| {
            let rates: Value = rates.iter().map(|rate| Value::from(rate.0)).collect();
            Entry::new("default.clock.allowed-rates", rates)
        });
        [
            number("default.clock.rate", self.rate.map(|rate| rate.0)),
            rates,
            frames("default.clock.quantum", self.quantum),
            frames("default.clock.min-quantum", self.min_quantum),
            frames("default.clock.max-quantum", self.max_quantum),
            frames("default.clock.quantum-limit", self.quantum_limit),
            frames("default.clock.quantum-floor", self.quantum_floor),
            self.power_of_two
                .map(|truth| Entry::new("clock.power-of-two-quantum", truth)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Checks the settings by themselves: PipeWire would silently clamp or replace what this refuses.
    ///
    /// # Errors
    /// The first value that is out of range, or contradicts another.
    pub fn check(&self, version: Option<Version>) -> Result<(), SettingError> {
        let frames = [
            ("default.clock.quantum", self.quantum),
            ("default.clock.min-quantum", self.min_quantum),
            ("default.clock.max-quantum", self.max_quantum),
            ("default.clock.quantum-limit", self.quantum_limit),
            ("default.clock.quantum-floor", self.quantum_floor),
        ];
        let has_floor = version.is_none_or(|version| version >= crate::effective::FLOOR_SINCE);
        let smallest = if has_floor { *QUANTUMS.start() } else { 4 };
        for (key, frames) in frames {
            if let Some(frames) = frames {
                in_range(key, frames.0, smallest..=*QUANTUMS.end(), "frames")?;
            }
        }
        if self.quantum_floor.is_some()
            && let Some(version) = version.filter(|_| !has_floor)
        {
            return Err(SettingError::Unknown {
                key: "default.clock.quantum-floor",
                since: crate::effective::FLOOR_SINCE,
                version,
            });
        }
        let ordered = [
            (frames[4], frames[3]),
            (frames[4], frames[1]),
            (frames[4], frames[0]),
            (frames[1], frames[2]),
            (frames[1], frames[0]),
            (frames[0], frames[2]),
            (frames[2], frames[3]),
        ];
        for ((low_key, low), (high_key, high)) in ordered {
            if let (Some(low), Some(high)) = (low, high)
                && low > high
            {
                return Err(SettingError::Order {
                    low_key,
                    low,
                    high_key,
                    high,
                });
            }
        }
        if let Some(rate) = self.rate {
            in_range("default.clock.rate", rate.0, RATES, "hertz")?;
        }
        let Some(allowed) = &self.allowed_rates else {
            return Ok(());
        };
        for rate in allowed {
            in_range("default.clock.allowed-rates", rate.0, RATES, "hertz")?;
        }
        if allowed.is_empty() || allowed.len() > MAX_ALLOWED_RATES {
            return Err(SettingError::Rates {
                count: allowed.len(),
            });
        }
        match self.rate {
            Some(rate) if !allowed.contains(&rate) => Err(SettingError::NotAllowed {
                rate,
                allowed: allowed.clone(),
            }),
            _ => Ok(()),
        }
    }
}

fn in_range(
    key: &'static str,
    value: u32,
    range: RangeInclusive<u32>,
    unit: &'static str,
) -> Result<(), SettingError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(SettingError::Range {
        key,
        value,
        low: *range.start(),
        high: *range.end(),
        unit,
    })
}

/// The least latency that PulseAudio programs get, in `pulse.properties` of `pipewire-pulse.conf`.
///
/// These limit what such a program gets for itself. The quantum of the graph is not below
/// `min_quantum` because of such a program, but another program may still lower it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PulseSettings {
    /// `pulse.min.req`: the smallest piece that is requested from a playing program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_req: Option<Period>,
    /// `pulse.min.frag`: the smallest piece that is given to a recording program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_frag: Option<Period>,
    /// `pulse.min.quantum`: the smallest quantum that a program can ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_quantum: Option<Period>,
}

impl PulseSettings {
    /// All three at one period.
    pub fn fixed(rate: SampleRate, quantum: Frames) -> Self {
        let period = Some(Period { quantum, rate });
        Self {
            min_req: period,
            min_frag: period,
            min_quantum: period,
        }
    }

    /// Whether nothing is requested.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn keys(&self) -> [(&'static str, Option<Period>); 3] {
        [
            ("pulse.min.req", self.min_req),
            ("pulse.min.frag", self.min_frag),
            ("pulse.min.quantum", self.min_quantum),
        ]
    }

    /// The keys and the values for `pulse.properties`: fractions such as `64/48000`.
    pub fn entries(&self) -> Vec<Entry> {
        let wanted = self.keys().into_iter();
        wanted
            .filter_map(|(key, period)| {
                let period = period?;
                let fraction = format!("{}/{}", period.quantum.0, period.rate.0);
                Some(Entry::new(key, fraction))
            })
            .collect()
    }

    /// Checks the settings. PipeWire would replace a fraction that it cannot read with the default.
    ///
    /// # Errors
    /// The first value that is out of range.
    pub fn check(&self) -> Result<(), SettingError> {
        for (key, period) in self.keys() {
            if let Some(period) = period {
                in_range(key, period.quantum.0, QUANTUMS, "frames")?;
                in_range(key, period.rate.0, RATES, "hertz")?;
            }
        }
        Ok(())
    }
}

/// Why settings are refused before anything is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// A number is out of range.
    #[error("{key} = {value} is out of range: use {low} to {high} {unit}")]
    Range {
        /// The key.
        key: &'static str,
        /// The value.
        value: u32,
        /// The smallest value.
        low: u32,
        /// The largest value.
        high: u32,
        /// The unit.
        unit: &'static str,
    },
    /// Two limits contradict each other.
    #[error("{low_key} = {} is above {high_key} = {}: PipeWire would silently use {} for both", .low.0, .high.0, .high.0)]
    Order {
        /// The key that must be lower or equal.
        low_key: &'static str,
        /// Its value.
        low: Frames,
        /// The key that must be higher or equal.
        high_key: &'static str,
        /// Its value.
        high: Frames,
    },
    /// The rate is not one of the allowed ones.
    #[error(
        "default.clock.rate = {} is not in default.clock.allowed-rates = [ {} ]: PipeWire would silently replace the list; add the rate to it",
        .rate.0, list(.allowed)
    )]
    NotAllowed {
        /// The rate.
        rate: SampleRate,
        /// The allowed rates.
        allowed: Vec<SampleRate>,
    },
    /// No allowed rates, or too many.
    #[error("default.clock.allowed-rates has {count} rates: use 1 to {MAX_ALLOWED_RATES}")]
    Rates {
        /// How many there are.
        count: usize,
    },
    /// This version of PipeWire does not have the key.
    #[error("PipeWire {version} ignores {key}, which exists from {since}: leave it out")]
    Unknown {
        /// The key.
        key: &'static str,
        /// The first version that has it.
        since: Version,
        /// The version on this host.
        version: Version,
    },
}

fn list(rates: &[SampleRate]) -> String {
    let rates: Vec<String> = rates.iter().map(|rate| rate.0.to_string()).collect();
    rates.join(" ")
}

/// A text that is not a plain decimal number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a number of {unit}: use decimal digits, {low} to {high}; PipeWire would silently read {read}"
)]
pub struct NumberError {
    text: String,
    unit: &'static str,
    low: u32,
    high: u32,
    read: u32,
}

fn number(text: &str, range: RangeInclusive<u32>, unit: &'static str) -> Result<u32, NumberError> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| range.contains(number));
    match number {
        // `064` would be read as 64 here and in one place as an octal number there.
        Some(number) if is_decimal && !text.starts_with('0') => Ok(number),
        _ => Err(NumberError {
            text: text.to_owned(),
            unit,
            low: *range.start(),
            high: *range.end(),
            read: crate::effective::atoi(text).cast_unsigned(),
        }),
    }
}

/// Plain decimal digits, 1 to 65536: PipeWire reads `0x40` as 0 and `512.7` as 512.
impl FromStr for Frames {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        number(text, QUANTUMS, "frames").map(Self)
    }
}

/// Plain decimal digits, in hertz.
impl FromStr for SampleRate {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        number(text, RATES, "hertz").map(Self)
    }
}

/// The keys and values as in a configuration file, separated by commas.
impl fmt::Display for ClockSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.entries().iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} = {}", entry.key, entry.value.to_json())?;
        }
        Ok(())
    }
}
