//! The tuning for settings of the running daemon, as plain data.

use hosttune_core::{Error, Planner, Requirement, Tuning, Unsupported, UnsupportedKind, Why};
use serde::{Deserialize, Serialize};

use super::key::{SettingKey, format_rates, number, rates};
use super::pipewire::{DaemonView, socket, view};
use super::rates::{RatesState, RuntimeRates};
use super::setting::{RuntimeSetting, SettingState, SettingValue};
use crate::{Frames, SampleRate, Version};

/// From this version on, setting a forced quantum closes and opens the devices that play.
const REOPENED: Version = Version::new(0, 3, 81);

/// Settings of the running daemon.
///
/// They are in effect at once and end with the daemon.
///
/// ```
/// use hosttune_pipewire::runtime::RuntimeSettings;
/// use hosttune_pipewire::{Frames, SampleRate};
///
/// // A cycle of 1.33 ms, whatever programs ask for.
/// let settings = RuntimeSettings {
///     rate: Some(SampleRate(48_000)),
///     quantum: Some(Frames(64)),
///     min_quantum: Some(Frames(64)),
///     max_quantum: Some(Frames(64)),
///     ..RuntimeSettings::default()
/// };
/// # let _ = settings;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RuntimeSettings {
    /// The rates in Hz at which graphs may run; the rate has to be one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_rates: Option<Vec<SampleRate>>,
    /// The rate in Hz at which graphs run unless programs ask for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<SampleRate>,
    /// The rate in Hz at which all graphs run; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_rate: Option<SampleRate>,
    /// The largest quantum in frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_quantum: Option<Frames>,
    /// The smallest quantum in frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_quantum: Option<Frames>,
    /// The quantum in frames unless programs ask for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantum: Option<Frames>,
    /// The quantum in frames of all graphs; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_quantum: Option<Frames>,
    /// The reason.
    pub why: Why,
    /// What to do if it does not apply.
    pub requirement: Requirement,
}

impl RuntimeSettings {
    /// The requested values, in the order in which they are set.
    #[must_use]
    pub fn values(&self) -> Vec<(SettingKey, String)> {
        let hertz = |rate: Option<SampleRate>| rate.map(|SampleRate(hertz)| hertz.to_string());
        let frames = |frames: Option<Frames>| frames.map(|Frames(frames)| frames.to_string());
        let value = |key| match key {
            SettingKey::AllowedRates => self.allowed_rates.as_deref().map(format_rates),
            SettingKey::Rate => hertz(self.rate),
            SettingKey::ForceRate => hertz(self.force_rate),
            SettingKey::MaxQuantum => frames(self.max_quantum),
            SettingKey::MinQuantum => frames(self.min_quantum),
            SettingKey::Quantum => frames(self.quantum),
            SettingKey::ForceQuantum => frames(self.force_quantum),
        };
        let all = SettingKey::ALL.into_iter();
        all.filter_map(|key| Some((key, value(key)?))).collect()
    }

    /// The requested rate and allowed rates; what is not requested stays as it is.
    fn rates(&self, at: &mut Planner<'_>) -> RatesState {
        let knob = rates_knob(at);
        let (rate, allowed_rates) = match at.now(&knob) {
            Ok(RatesState::Set {
                rate,
                allowed_rates,
            }) => (rate, allowed_rates),
            _ => (None, None),
        };
        let requested = |value: Option<String>| value.map(SettingValue::new);
        let list = self.allowed_rates.as_deref().map(format_rates);
        RatesState::Set {
            rate: requested(self.rate.map(|SampleRate(hertz)| hertz.to_string())).or(rate),
            allowed_rates: requested(list).or(allowed_rates),
        }
    }

    /// Refuses values that contradict each other on every daemon.
    fn check(&self) -> Result<(), Error> {
        for (key, value) in self.values() {
            if let Some(why) = key.refuse(&value) {
                return Err(Error::tuning(format!("{key}: {why}"), "correct the value"));
            }
        }
        if let (Some(min), Some(max)) = (self.min_quantum, self.max_quantum)
            && min > max
        {
            return Err(Error::tuning(
                format!(
                    "clock.min-quantum {} is above clock.max-quantum {}: the daemon would use the latter",
                    min.0, max.0
                ),
                "make the smallest quantum at most the largest",
            ));
        }
        let outside = |quantum: &Frames| {
            self.min_quantum.is_some_and(|min| *quantum < min)
                || self.max_quantum.is_some_and(|max| *quantum > max)
        };
        if let Some(quantum) = self.quantum.filter(outside) {
            return Err(Error::tuning(
                format!(
                    "clock.quantum {} is not between the requested clock.min-quantum and clock.max-quantum",
                    quantum.0
                ),
                "move the limits, or the quantum",
            ));
        }
        if let (Some(rate), Some(allowed)) = (self.rate, &self.allowed_rates)
            && !allowed.contains(&rate)
        {
            return Err(Error::tuning(
                format!(
                    "clock.rate {} is not one of clock.allowed-rates: the daemon would allow its default rates instead",
                    rate.0
                ),
                format!("add {} to the allowed rates", rate.0),
            ));
        }
        Ok(())
    }
}

/// What the daemon will use once everything is set, for working out what becomes of a value.
struct Later<'v> {
    view: &'v DaemonView,
    requested: &'v [(SettingKey, String)],
}

/// The setting of the daemon that is asked now.
fn setting_knob(at: &Planner<'_>, key: SettingKey) -> Option<RuntimeSetting> {
    Some(RuntimeSetting::new(key)?.at(socket(at.host())))
}

/// The rates of the daemon that is asked now.
fn rates_knob(at: &Planner<'_>) -> RuntimeRates {
    RuntimeRates::new().at(socket(at.host()))
}

/// The value of the metadata as the earlier steps leave it.
fn shown(at: &mut Planner<'_>, key: SettingKey) -> Option<String> {
    let Some(setting) = setting_knob(at, key) else {
        let knob = rates_knob(at);
        let RatesState::Set {
            rate,
            allowed_rates,
        } = at.now(&knob).ok()?
        else {
            return None;
        };
        let found = match key {
            SettingKey::Rate => rate,
            _ => allowed_rates,
        };
        return found.map(|found| found.value);
    };
    match at.now(&setting).ok()? {
        SettingState::Set(found) => Some(found.value),
        _ => None,
    }
}

impl Later<'_> {
    /// The requested value, else the one of the metadata as the earlier steps leave it, else the
    /// configured one, which the daemon also uses where the metadata has 0.
    fn value(&self, at: &mut Planner<'_>, key: SettingKey) -> Option<String> {
        let requested = self.requested.iter().find(|(known, _)| *known == key);
        let value = match requested {
            Some((_, value)) => Some(value.clone()),
            None => shown(at, key),
        };
        let value = value.filter(|value| number(value) != Some(0));
        value.or_else(|| Some(self.view.core.property(key.property()?)?.to_owned()))
    }

    fn number(&self, at: &mut Planner<'_>, key: SettingKey) -> Option<u32> {
        number(&self.value(at, key)?)
    }

    /// Why the daemon would take the value for another or ignore it, although it keeps it in the
    /// metadata. The rates are judged by their knob.
    fn refused(&self, at: &mut Planner<'_>, key: SettingKey, value: &str) -> Option<Unsupported> {
        let of_kind = |kind| move |why: String| Unsupported::new(kind, why);
        let wanted = number(value)?;
        let why = match key {
            SettingKey::Rate | SettingKey::AllowedRates => None,
            SettingKey::ForceRate => self.ignored(at, key, wanted),
            _ if key.is_none(value) => None,
            _ => self
                .beyond_limits(wanted)
                .or_else(|| self.beyond_bounds(at, key, wanted))
                .or_else(|| self.ignored(at, key, wanted)),
        };
        if let Some(why) = why {
            return Some(of_kind(UnsupportedKind::ValueUnavailable)(why));
        }
        // A revert writes the present value, and the limits of that moment may be ours or another
        // program's. Only 0 is never ignored.
        let present = shown(at, key).as_deref().and_then(number)?;
        let check = match key {
            SettingKey::ForceQuantum => "settings.check-quantum",
            SettingKey::ForceRate => "settings.check-rate",
            _ => return None,
        };
        let is_safe = present == 0 || present == wanted || !self.is_true(check);
        (!is_safe).then(|| {
            of_kind(UnsupportedKind::OneWay)(format!(
                "it is {present}, which this daemon might ignore on revert, because its {check} is true"
            ))
            .hint("revert what has set it first, or set it to 0")
        })
    }

    fn is_true(&self, property: &str) -> bool {
        self.view.core.property(property) == Some("true")
    }

    /// Why the daemon would ignore a forced value, by a check that is off by default.
    fn ignored(&self, at: &mut Planner<'_>, key: SettingKey, value: u32) -> Option<String> {
        if value == 0 {
            return None;
        }
        if key == SettingKey::ForceQuantum && self.is_true("settings.check-quantum") {
            let min = self.number(at, SettingKey::MinQuantum)?;
            let max = self.number(at, SettingKey::MaxQuantum)?;
            return (!(min..=max).contains(&value)).then(|| {
                format!("this daemon's settings.check-quantum is true, and it ignores a value outside of {min} to {max}")
            });
        }
        if key == SettingKey::ForceRate && self.is_true("settings.check-rate") {
            let allowed = self.value(at, SettingKey::AllowedRates)?;
            return (!rates(&allowed)?.contains(&value)).then(|| {
                format!("this daemon's settings.check-rate is true, and it ignores a rate that is not in clock.allowed-rates, {allowed}")
            });
        }
        None
    }

    fn beyond_limits(&self, wanted: u32) -> Option<String> {
        for (name, is_beyond) in [
            (
                "default.clock.quantum-limit",
                u32::gt as fn(&u32, &u32) -> bool,
            ),
            ("default.clock.quantum-floor", u32::lt),
        ] {
            let limit = self.view.core.property(name).and_then(number);
            if let Some(limit) = limit.filter(|limit| is_beyond(&wanted, limit)) {
                return Some(format!(
                    "this daemon's {name} is {limit}, and it would use that"
                ));
            }
        }
        None
    }

    /// Why the daemon would use a limit instead of a quantum. The largest quantum wins where the
    /// smallest is above it.
    fn beyond_bounds(&self, at: &mut Planner<'_>, key: SettingKey, wanted: u32) -> Option<String> {
        let used = |name: SettingKey, limit: u32| {
            Some(format!("{name} is {limit}, and the daemon would use that"))
        };
        if !matches!(key, SettingKey::Quantum | SettingKey::MinQuantum) {
            return None;
        }
        let max = self.number(at, SettingKey::MaxQuantum);
        if let Some(max) = max.filter(|max| wanted > *max) {
            return used(SettingKey::MaxQuantum, max);
        }
        let min = self.number(at, SettingKey::MinQuantum)?;
        if key == SettingKey::Quantum && wanted < min {
            return used(SettingKey::MinQuantum, min);
        }
        None
    }

    /// The forced value that hides another, unless it is requested too.
    fn hidden_by(&self, at: &mut Planner<'_>, key: SettingKey, value: &str) -> Option<String> {
        let by = match key {
            SettingKey::Rate => SettingKey::ForceRate,
            SettingKey::Quantum | SettingKey::MinQuantum | SettingKey::MaxQuantum => {
                SettingKey::ForceQuantum
            }
            _ => return None,
        };
        if self.requested.iter().any(|(known, _)| *known == by) {
            return None;
        }
        let forced = self.number(at, by)?;
        (number(value) != Some(forced)).then(|| format!("{by}, which is {forced}"))
    }
}

impl Tuning for RuntimeSettings {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        self.check()?;
        let values = self.values();
        if values.is_empty() || !at.is_selected() {
            return Ok(());
        }
        // If the daemon cannot be asked, each request says why.
        let view = view(at.host()).ok().flatten();
        let later = view.as_ref().map(|view| Later {
            view,
            requested: &values,
        });
        for (key, value) in &values {
            let (refused, hidden_by) = match &later {
                Some(later) => (
                    later.refused(at, *key, value),
                    later.hidden_by(at, *key, value),
                ),
                None => (None, None),
            };
            let request = match (setting_knob(at, *key), refused) {
                (Some(knob), Some(unsupported)) => at.skip(&knob.to_string(), unsupported),
                (Some(knob), None) => at.want(&knob, &SettingState::value(value.clone())),
                // The two are requested together.
                (None, _) if *key == SettingKey::AllowedRates && self.rate.is_some() => continue,
                (None, _) => {
                    let to = self.rates(at);
                    at.want(&rates_knob(at), &to)
                }
            };
            let request = request.overridden_by(hidden_by).why(self.why.clone());
            request.requirement(self.requirement);
        }
        let Some(view) = view else { return Ok(()) };
        at.note("these settings end with the PipeWire daemon: after its next start its configuration applies");
        if self
            .force_quantum
            .is_some_and(|quantum| quantum != Frames(0))
            && view.is_at_least(REOPENED)
        {
            at.note("setting clock.force-quantum closes and opens the devices that play: there is a short gap in the sound");
        }
        if let Some(machine) = view.core.property("cpu.vm.name") {
            at.note(format!("PipeWire runs in a virtual machine ({machine}): a small quantum can make the sound break up there"));
        }
        Ok(())
    }
}
