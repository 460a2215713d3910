//! The keys of the metadata `settings` that are settings of the clock.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SampleRate;

/// A key of the metadata `settings`, subject 0 (`src/pipewire/settings.c`).
///
/// Every daemon has all of them from its start, with an empty type. `log.level`, which is there too,
/// is no setting of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SettingKey {
    /// The rates in Hz at which graphs may run, as a list: `[ 44100, 48000 ]`. At most 32.
    #[serde(rename = "clock.allowed-rates")]
    AllowedRates,
    /// The rate in Hz at which graphs run if no program asks for another, and to which the quantums
    /// refer.
    #[serde(rename = "clock.rate")]
    Rate,
    /// The rate in Hz at which all graphs run; 0 for none.
    #[serde(rename = "clock.force-rate")]
    ForceRate,
    /// The largest quantum in frames.
    #[serde(rename = "clock.max-quantum")]
    MaxQuantum,
    /// The smallest quantum in frames. If it is above the largest, the largest is used.
    #[serde(rename = "clock.min-quantum")]
    MinQuantum,
    /// The quantum in frames of a graph in which no program asks for another.
    #[serde(rename = "clock.quantum")]
    Quantum,
    /// The quantum in frames of all graphs, whatever programs ask for; 0 for none.
    #[serde(rename = "clock.force-quantum")]
    ForceQuantum,
}

/// The most rates that a daemon keeps (`MAX_RATES`).
const MOST_RATES: usize = 32;
/// The largest quantum of any configuration, in frames (`CLOCK_QUANTUM_LIMIT`).
const LARGEST_QUANTUM: u32 = 65_536;
/// The largest rate that PipeWire's own formats have, in Hz.
const LARGEST_RATE: u32 = 768_000;

impl SettingKey {
    /// All keys, in the order in which they are set: what limits a forced value comes before it.
    pub const ALL: [Self; 7] = [
        Self::Rate,
        Self::AllowedRates,
        Self::MaxQuantum,
        Self::MinQuantum,
        Self::Quantum,
        Self::ForceRate,
        Self::ForceQuantum,
    ];

    /// The key, as the metadata has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowedRates => "clock.allowed-rates",
            Self::Rate => "clock.rate",
            Self::ForceRate => "clock.force-rate",
            Self::MaxQuantum => "clock.max-quantum",
            Self::MinQuantum => "clock.min-quantum",
            Self::Quantum => "clock.quantum",
            Self::ForceQuantum => "clock.force-quantum",
        }
    }

    /// The property of the daemon's configuration that has the same meaning; `None` for the forced
    /// values, which exist in the metadata only.
    #[must_use]
    pub fn property(self) -> Option<&'static str> {
        match self {
            Self::AllowedRates => Some("default.clock.allowed-rates"),
            Self::Rate => Some("default.clock.rate"),
            Self::MaxQuantum => Some("default.clock.max-quantum"),
            Self::MinQuantum => Some("default.clock.min-quantum"),
            Self::Quantum => Some("default.clock.quantum"),
            Self::ForceRate | Self::ForceQuantum => None,
        }
    }

    /// Whether its value is a number of frames.
    #[must_use]
    pub fn is_quantum(self) -> bool {
        matches!(
            self,
            Self::MaxQuantum | Self::MinQuantum | Self::Quantum | Self::ForceQuantum
        )
    }

    fn is_force(self) -> bool {
        matches!(self, Self::ForceRate | Self::ForceQuantum)
    }

    /// Why a value cannot be meant; `None` if it can.
    ///
    /// The daemon reads numbers as `atoi(3)` does and takes what it can: `0x40` as 0 and `512.7` as
    /// 512. A number has to be in plain decimal here.
    #[must_use]
    pub fn refuse(self, value: &str) -> Option<String> {
        if self == Self::AllowedRates {
            let Some(rates) = rates(value) else {
                return Some(format!("'{}' is not a list of rates", value.escape_debug()));
            };
            if rates.is_empty() || rates.len() > MOST_RATES {
                return Some(format!(
                    "it has {} rates, and a daemon keeps 1 to {MOST_RATES}",
                    rates.len()
                ));
            }
            let outside = rates
                .iter()
                .find(|rate| !(1..=LARGEST_RATE).contains(*rate));
            return outside
                .map(|rate| format!("{rate} is not a rate in Hz from 1 to {LARGEST_RATE}"));
        }
        let (least, most, unit) = match self {
            Self::ForceRate => (0, LARGEST_RATE, "a rate in Hz"),
            Self::Rate => (1, LARGEST_RATE, "a rate in Hz"),
            Self::ForceQuantum => (0, LARGEST_QUANTUM, "a number of frames"),
            _ => (1, LARGEST_QUANTUM, "a number of frames"),
        };
        match number(value) {
            Some(number) if (least..=most).contains(&number) => None,
            _ => Some(format!(
                "'{}' is not {unit} from {least} to {most}",
                value.escape_debug()
            )),
        }
    }

    /// Whether two values mean the same: `[ 44100 48000 ]` and `[ 44100, 48000 ]` do.
    #[must_use]
    pub fn means_the_same(self, one: &str, other: &str) -> bool {
        if one == other {
            return true;
        }
        if self == Self::AllowedRates {
            return rates(one).is_some_and(|one| Some(one) == rates(other));
        }
        number(one).is_some_and(|one| Some(one) == number(other))
    }

    /// Whether a value of it means that there is none: a forced value of 0.
    #[must_use]
    pub fn is_none(self, value: &str) -> bool {
        self.is_force() && number(value) == Some(0)
    }
}

impl fmt::Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number in plain decimal.
pub(super) fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// A list of numbers in brackets, separated by blanks and commas, which are the same in PipeWire's
/// notation.
pub(super) fn rates(text: &str) -> Option<Vec<u32>> {
    let inside = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let words = inside.split(|separator: char| separator == ',' || separator.is_ascii_whitespace());
    words.filter(|word| !word.is_empty()).map(number).collect()
}

/// A list in the daemon's own form.
pub(super) fn format_rates(rates: &[SampleRate]) -> String {
    let rates: Vec<String> = rates.iter().map(|rate| rate.0.to_string()).collect();
    format!("[ {} ]", rates.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_the_daemon_would_take_for_something_else_are_refused() {
        for value in [
            "0x40",
            "512.7",
            "-1",
            "",
            " 64",
            "64;",
            "abc",
            "99999",
            "0",
            "4294967296",
        ] {
            let why = SettingKey::Quantum.refuse(value).unwrap();
            assert!(why.contains("frames from 1 to 65536"), "{value}: {why}");
        }
        assert_eq!(SettingKey::Quantum.refuse("64"), None);
        assert_eq!(SettingKey::ForceQuantum.refuse("0"), None);
        assert!(SettingKey::Rate.refuse("0").unwrap().contains("Hz"));
        assert!(SettingKey::Rate.refuse("48 000").is_some());
        assert_eq!(SettingKey::Rate.refuse("48000"), None);
    }

    #[test]
    fn lists_of_rates_are_read_in_both_forms_and_have_a_limit() {
        let key = SettingKey::AllowedRates;
        assert!(key.means_the_same("[ 44100 48000 ]", "[44100,48000]"));
        assert!(!key.means_the_same("[ 44100 48000 ]", "[ 48000, 44100 ]"));
        assert!(!key.means_the_same("[ 44100", "[ 44100 ]"));
        assert_eq!(
            key.refuse(&format_rates(&[SampleRate(44_100), SampleRate(48_000)])),
            None
        );
        for value in ["48000", "[ ]", "[ 48000 x ]", "[ 0 ]", "[ 800000 ]", ""] {
            assert!(key.refuse(value).is_some(), "{value}");
        }
        assert!(
            key.refuse(&format_rates(&[SampleRate(48_000); 33]))
                .unwrap()
                .contains("33 rates")
        );
    }

    #[test]
    fn the_names_in_journals_are_those_of_the_metadata() {
        for key in SettingKey::ALL {
            let name = serde_json::to_value(key).unwrap();
            assert_eq!(name, key.as_str());
        }
    }
}
