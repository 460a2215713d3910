//! The energy-performance preference of processors that choose their own frequency.

use std::fmt;
use std::str::FromStr;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

use crate::attribute::{self, Attribute};
use crate::governor::{Governor, PolicyGovernor, no_scaling};
use crate::mode::{Mode, ModeState};
use crate::policy::{Driver, PolicyNumber};

const FILE: &str = "energy_performance_preference";

/// An energy-performance preference: a hint to the processor that weighs speed against energy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum EnergyPreference {
    /// Maximum speed.
    Performance,
    /// Speed over energy.
    BalancePerformance,
    /// Energy over speed.
    BalancePower,
    /// Minimum energy.
    Power,
    /// The raw hardware value, from 0 (speed) to 255 (energy). `intel_pstate` accepts it if the processor
    /// supports more than the four words, `amd_pstate` in Linux 7.2 but not in 6.1.
    Raw(u8),
}

const WORDS: [(&str, EnergyPreference, u8); 4] = [
    ("performance", EnergyPreference::Performance, 0),
    (
        "balance_performance",
        EnergyPreference::BalancePerformance,
        0x80,
    ),
    ("balance_power", EnergyPreference::BalancePower, 0xC0),
    ("power", EnergyPreference::Power, 0xFF),
];

impl EnergyPreference {
    /// Returns the text that the kernel reads.
    pub fn word(&self) -> String {
        match self {
            Self::Raw(number) => number.to_string(),
            named => WORDS
                .iter()
                .find(|(_, one, _)| one == named)
                .map_or_else(String::new, |(word, ..)| (*word).to_owned()),
        }
    }

    /// Returns the raw value, which for the four words is that of most processors. A driver may use other
    /// values for one model, so the result is only compared, never written.
    fn number(&self) -> u8 {
        match self {
            Self::Raw(number) => *number,
            named => WORDS
                .iter()
                .find(|(_, one, _)| one == named)
                .map_or(0, |(.., number)| *number),
        }
    }
}

impl fmt::Display for EnergyPreference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word())
    }
}

impl FromStr for EnergyPreference {
    type Err = String;

    /// Rejects `default`: it selects the driver's initial value, and a read returns another word.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, preference, _)) = WORDS.iter().find(|(word, ..)| *word == text) {
            return Ok(preference.clone());
        }
        let offered = WORDS.map(|(word, ..)| word).join(", ");
        if text == "default" {
            return Err(format!(
                "'default' selects the driver's initial value and is never read back; use one of {offered}"
            ));
        }
        text.parse().map(Self::Raw).map_err(|_| {
            format!("'{text}' is not an energy-performance preference; use one of {offered}, or a number up to 255")
        })
    }
}

impl TryFrom<String> for EnergyPreference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<EnergyPreference> for String {
    fn from(preference: EnergyPreference) -> Self {
        preference.word()
    }
}

/// The energy-performance preference of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyPreference(pub PolicyNumber);

impl fmt::Display for PolicyPreference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {FILE}", self.0)
    }
}

impl Knob for PolicyPreference {
    const NAME: &'static str = "cpu-energy-performance-preference";
    type State = Attribute<EnergyPreference>;

    fn read(&self, host: &Host) -> Result<Self::State, HostError> {
        match attribute::read(host, self.0, FILE)? {
            Attribute::Missing => Ok(Attribute::Missing),
            Attribute::Offline => Ok(Attribute::Offline),
            Attribute::Value(text) => text
                .parse()
                .map(Attribute::Value)
                .map_err(|why: String| HostError::malformed(self.0.file(FILE), why)),
        }
    }

    fn set(&self, host: &mut Host, to: &Self::State) -> Result<(), HostError> {
        let Attribute::Value(preference) = to else {
            return Err(attribute::no_value(self.0, FILE));
        };
        let written = host.write_value(self.0.file(FILE), format!("{preference}\n").as_bytes());
        written.map_err(|error| match error.kind() {
            HostErrorKind::Busy => error
                .detail(
                    "the performance governor fixes it at performance, or the driver controls it",
                )
                .with_hint("also set the powersave governor"),
            _ => error,
        })
    }

    fn satisfies(&self, seen: &Self::State, wanted: &Self::State) -> bool {
        match (seen, wanted) {
            (Attribute::Value(seen), Attribute::Value(wanted)) => {
                seen == wanted
                    || matches!(wanted, EnergyPreference::Raw(_))
                        && seen.number() == wanted.number()
            }
            _ => seen == wanted,
        }
    }

    fn unsupported(&self, host: &Host, to: &Self::State) -> Result<Option<Unsupported>, HostError> {
        let Attribute::Value(preference) = to else {
            return Ok(None);
        };
        let driver = attribute::read(host, self.0, "scaling_driver")?;
        let missing = || match driver.value() {
            None => no_scaling(self.0),
            Some(driver) => no_preference(&Driver::named(driver)),
        };
        if let Some(unsupported) = attribute::unsupported(host, self.0, FILE, missing)? {
            return Ok(Some(unsupported));
        }
        let driver = Driver::named(driver.value().map_or("", String::as_str));
        let governor = PolicyGovernor(self.0);
        let pinned = driver.has_own_governors()
            && governor.read(host)?.value() == Some(&Governor::Performance);
        // Checked first because amd_pstate offers only performance in this state.
        if pinned && preference.number() != 0 {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::Managed,
                    format!(
                        "with {}, the performance governor fixes it at performance",
                        driver.name()
                    ),
                )
                .hint("also set the powersave governor, which follows the load as well")
                .cured_by(&governor, &Attribute::Value(Governor::Powersave)),
            ));
        }
        let offered = attribute::read(host, self.0, "energy_performance_available_preferences")?;
        let Some(offered) = offered.value() else {
            return Ok(None);
        };
        let word = preference.word();
        let is_offered = offered.split_whitespace().any(|offered| offered == word);
        // No file lists whether numbers are accepted, so that cannot be determined before apply.
        if is_offered || matches!(preference, EnergyPreference::Raw(_)) {
            return Ok(None);
        }
        Ok(Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!("{} supports only {}", driver.name(), offered.trim()),
            )
            .hint("use one of these"),
        ))
    }

    fn is_gone(&self, seen: &Self::State) -> bool {
        *seen == Attribute::Missing
    }

    fn hidden(&self, seen: &Self::State) -> Option<String> {
        (*seen == Attribute::Offline).then(|| attribute::offline(self.0).why)
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        self.0.identity(host)
    }

    fn show(&self, state: &Self::State) -> String {
        state.show(ToString::to_string)
    }
}

fn no_preference(driver: &Driver) -> Unsupported {
    let unsupported = Unsupported::new(
        UnsupportedKind::Missing,
        format!("{} has no energy-performance preference", driver.name()),
    );
    match (driver, driver.mode()) {
        (Driver::AmdPassive, Some(mode)) => unsupported
            .hint(format!("set {mode} to active to get it"))
            .cured_by(&mode, &ModeState::Is(Mode::Active)),
        _ => unsupported.hint("this driver has a governor and frequency limits instead"),
    }
}
