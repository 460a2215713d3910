//! How far settings of the running daemon have come: accepted by it, loaded from its configuration,
//! or in effect on the drivers that run.

use std::fmt;
use std::time::Duration;

use hosttune_core::{Host, HostError};
use serde::{Deserialize, Serialize};

use super::key::{SettingKey, number, rates};
use super::pipewire::{DaemonView, PipeWire, RunningDriver, no_backend, view};
use super::tuning::RuntimeSettings;
use crate::Version;
use crate::profiler::DriverCycle;

/// How long [`verify`] waits for a driver to complete a cycle.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// From this version on a forced quantum is used as it is; earlier ones round it down to a power of
/// two.
const FORCED_AS_IT_IS: Version = Version::new(0, 3, 82);

/// How far a setting has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
#[non_exhaustive]
pub enum Grade {
    /// The metadata of the daemon shows something else.
    NotAccepted {
        /// What it shows; `None` if it shows nothing or no daemon runs.
        seen: Option<String>,
    },
    /// The metadata shows it, and a driver that runs does not have it.
    Accepted {
        /// The drivers that do not have it, each with the reason where one is known.
        but: Vec<String>,
    },
    /// Every driver that runs has it.
    Effective {
        /// The drivers, with what they run at.
        on: Vec<String>,
    },
    /// The metadata shows it, and no driver runs that could show whether it is in effect.
    Unverifiable {
        /// Why nothing shows it.
        why: String,
    },
}

/// The grade of one setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct KeyGrade {
    /// The setting.
    pub key: SettingKey,
    /// The requested value.
    pub wanted: String,
    /// How far it has come.
    pub grade: Grade,
    /// Whether the daemon has also loaded it from its configuration, so that its next instance has
    /// it too. False if its configuration was changed after the daemon was started: then a restart
    /// is pending.
    pub loaded: bool,
}

/// The grades of all requested settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct GradeReport {
    /// The version of the daemon; `None` if none runs.
    pub version: Option<String>,
    /// The settings, in the order in which they are set.
    pub keys: Vec<KeyGrade>,
}

impl GradeReport {
    /// Whether every setting is in effect.
    #[must_use]
    pub fn is_effective(&self) -> bool {
        let mut keys = self.keys.iter();
        keys.all(|key| matches!(key.grade, Grade::Effective { .. }))
    }
}

impl fmt::Display for KeyGrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key, wanted, grade, ..
        } = self;
        match grade {
            Grade::NotAccepted { seen: Some(seen) } => {
                write!(f, "{key} is {seen}, wanted {wanted}")
            }
            Grade::NotAccepted { seen: None } => write!(f, "{key} is not set, wanted {wanted}"),
            Grade::Accepted { but } => {
                write!(
                    f,
                    "{key} {wanted} is accepted and not in effect: {}",
                    but.join("; ")
                )
            }
            Grade::Effective { on } => write!(f, "{key} {wanted} is in effect: {}", on.join("; ")),
            Grade::Unverifiable { why } => {
                write!(
                    f,
                    "{key} {wanted} is accepted, and whether it is in effect cannot be verified: {why}"
                )
            }
        }
    }
}

/// Asks the daemon how far the settings have come, for at most [`LONGEST_WAIT`].
///
/// While it waits, every driver measures its cycles. Nothing is changed, and no daemon is started.
///
/// # Errors
/// If a daemon runs and cannot be asked.
pub fn verify(host: &Host, settings: &RuntimeSettings) -> Result<GradeReport, HostError> {
    let wanted = settings.values();
    if no_backend(host).is_some() {
        return Ok(judge(None, None, &wanted));
    }
    let view = view(host)?;
    let accepted = |(key, value): &(SettingKey, String)| {
        let seen = view.as_ref().and_then(|view| view.setting(key.as_str()));
        seen.is_some_and(|seen| key.means_the_same(seen, value))
    };
    let drivers = if wanted.iter().any(accepted) {
        host.backend::<PipeWire>()?.drivers(LONGEST_WAIT)?
    } else {
        None
    };
    Ok(judge(view.as_ref(), drivers.as_deref(), &wanted))
}

/// Decides the grades from what a daemon shows. `drivers` is `None` if it has no profiler.
#[must_use]
pub fn judge(
    view: Option<&DaemonView>,
    drivers: Option<&[RunningDriver]>,
    wanted: &[(SettingKey, String)],
) -> GradeReport {
    let grade = |key: SettingKey, value: &str| {
        let seen = view.and_then(|view| view.setting(key.as_str()));
        let Some(view) = view.filter(|_| seen.is_some_and(|seen| key.means_the_same(seen, value)))
        else {
            return Grade::NotAccepted {
                seen: seen.map(str::to_owned),
            };
        };
        let Some(drivers) = drivers else {
            return Grade::Unverifiable {
                why: "the daemon has no profiler (libpipewire-module-profiler)".to_owned(),
            };
        };
        on_drivers(&InForce::of(view), drivers, key, value)
    };
    let loaded = |key: SettingKey, value: &str| {
        let property = key.property().and_then(|name| view?.core.property(name));
        property.is_some_and(|property| key.means_the_same(property, value))
    };
    let keys = wanted.iter().map(|(key, value)| KeyGrade {
        key: *key,
        wanted: value.clone(),
        grade: grade(*key, value),
        loaded: loaded(*key, value),
    });
    GradeReport {
        version: view.map(|view| view.core.version.clone()),
        keys: keys.collect(),
    }
}

fn on_drivers(
    in_force: &InForce,
    drivers: &[RunningDriver],
    key: SettingKey,
    value: &str,
) -> Grade {
    let real: Vec<&RunningDriver> = drivers.iter().filter(|driver| !driver.is_dummy()).collect();
    if real.is_empty() {
        let why = match drivers.first() {
            Some(dummy) => format!("only {} runs, which is no device", dummy.cycle.name),
            None => "no device runs: play something, and verify again".to_owned(),
        };
        return Grade::Unverifiable { why };
    }
    let (mut on, mut but) = (Vec::new(), Vec::new());
    for driver in real {
        if in_force.is_on(driver, key, value) {
            on.push(driver.to_string());
        } else {
            but.push(format!("{driver}{}", in_force.reason(driver, key)));
        }
    }
    if but.is_empty() {
        Grade::Effective { on }
    } else {
        Grade::Accepted { but }
    }
}

/// The settings that a daemon goes by, from its metadata and its configuration.
struct InForce {
    force_quantum: Option<u32>,
    min: u32,
    max: u32,
    rate: u32,
    allowed: Vec<u32>,
    limit: u32,
    floor: u32,
    power_of_two: bool,
    forced_as_it_is: bool,
}

impl InForce {
    fn of(view: &DaemonView) -> Self {
        let property = |name: &str| view.core.property(name).and_then(number);
        let setting = |key: SettingKey, default| {
            let shown = view.setting(key.as_str()).and_then(number);
            let shown = shown.filter(|shown| *shown != 0);
            shown
                .or_else(|| property(key.property()?))
                .unwrap_or(default)
        };
        let forced = view.setting(SettingKey::ForceQuantum.as_str());
        Self {
            force_quantum: forced.and_then(number).filter(|forced| *forced != 0),
            min: setting(SettingKey::MinQuantum, 32),
            max: setting(SettingKey::MaxQuantum, 2048),
            rate: setting(SettingKey::Rate, 48_000),
            allowed: view
                .setting(SettingKey::AllowedRates.as_str())
                .and_then(rates)
                .unwrap_or_default(),
            limit: property("default.clock.quantum-limit").unwrap_or(8192),
            // Before 1.0.4 there was no such setting.
            floor: property("default.clock.quantum-floor").unwrap_or(1),
            power_of_two: view.core.property("clock.power-of-two-quantum") != Some("false"),
            forced_as_it_is: view.is_at_least(FORCED_AS_IT_IS),
        }
    }

    /// The quantum that is used where this one is asked for, by a graph at a rate in Hz.
    fn used(&self, quantum: u32, hertz: u32) -> u64 {
        let scaled = |frames: u32| match hertz {
            0 => u64::from(frames),
            hertz => u64::from(frames) * u64::from(hertz) / u64::from(self.rate.max(1)),
        };
        // In this order, the largest wins where the smallest is above it.
        let quantum = scaled(quantum).max(scaled(self.min)).min(scaled(self.max));
        self.in_limits(quantum, self.power_of_two)
    }

    fn in_limits(&self, quantum: u64, power_of_two: bool) -> u64 {
        let quantum = quantum.max(self.floor.into()).min(self.limit.into());
        match quantum.checked_ilog2() {
            Some(exponent) if power_of_two => 1 << exponent,
            _ => quantum,
        }
    }

    fn is_on(&self, driver: &RunningDriver, key: SettingKey, value: &str) -> bool {
        let (duration, hertz) = (driver.cycle.duration, driver.cycle.hertz());
        let wanted = number(value).unwrap_or(0);
        match key {
            // Nothing is forced, so the other settings are in effect.
            SettingKey::ForceQuantum if wanted == 0 => {
                (self.used(0, hertz)..=self.used(u32::MAX, hertz)).contains(&duration)
            }
            SettingKey::ForceRate if wanted == 0 => {
                self.allowed.is_empty() || self.allowed.contains(&hertz)
            }
            SettingKey::ForceQuantum => {
                let rounds = self.power_of_two && !self.forced_as_it_is;
                duration == self.in_limits(wanted.into(), rounds)
            }
            SettingKey::Quantum => duration == self.used(wanted, hertz),
            SettingKey::MinQuantum => duration >= self.used(wanted, hertz),
            SettingKey::MaxQuantum => duration <= self.used(wanted, hertz),
            SettingKey::Rate | SettingKey::ForceRate => hertz == wanted,
            SettingKey::AllowedRates => rates(value).is_some_and(|rates| rates.contains(&hertz)),
        }
    }

    /// Why a driver does not have a setting, as far as it is known.
    fn reason(&self, driver: &RunningDriver, key: SettingKey) -> String {
        let is = |name: &str, value: &str| {
            driver.properties.get(name).map(String::as_str) == Some(value)
        };
        if !key.is_quantum() {
            return ", and the rate of a device changes only while it is not in use".to_owned();
        }
        if let Some(forced) = self
            .force_quantum
            .filter(|_| key != SettingKey::ForceQuantum)
        {
            return format!(", because clock.force-quantum is {forced}");
        }
        if !driver.fixed_by.is_empty() {
            return format!(
                ", and these may fix its quantum: {}",
                driver.fixed_by.join(", ")
            );
        }
        if is("device.profile.name", "pro-audio") || is("api.alsa.disable-tsched", "true") {
            return ", because the device uses its own period until it is closed (pro-audio)"
                .to_owned();
        }
        if let Some(latency) = driver.properties.get("node.max-latency") {
            return format!(", and the device allows at most {latency} (node.max-latency)");
        }
        if key == SettingKey::Quantum && self.min != self.max {
            return format!(
                ", because a program or the device asks for it, within clock.min-quantum {} and clock.max-quantum {}",
                self.min, self.max
            );
        }
        ", which may change when the device is next opened".to_owned()
    }
}

impl RunningDriver {
    /// Whether it is one of the daemon's own drivers without a device, which run what no device
    /// plays.
    #[must_use]
    pub fn is_dummy(&self) -> bool {
        matches!(
            self.cycle.name.as_str(),
            "Dummy-Driver" | "Freewheel-Driver"
        ) || self.properties.get("factory.name").map(String::as_str) == Some("support.node.driver")
    }
}

impl fmt::Display for RunningDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DriverCycle { name, duration, .. } = &self.cycle;
        write!(
            f,
            "{name} runs {duration} frames at {} Hz",
            self.cycle.hertz()
        )?;
        match self.cycle.period() {
            Some(period) => write!(f, " ({}.{:02} ms)", period / 1000, period % 1000 / 10),
            None => Ok(()),
        }
    }
}
