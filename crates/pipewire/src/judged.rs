//! What becomes of requested settings when all files are merged.

use std::path::Path;

use hosttune_spa_json::{Entry, Value};

use crate::effective::{Clock, Forced};
use crate::frames::SampleRate;
use crate::merge::{Merged, Properties, Property};
use crate::version::Version;

/// What is requested of one daemon.
pub(crate) struct Daemon<'d> {
    /// Its main configuration file.
    pub(crate) main: &'d str,
    /// The section that the settings are in.
    pub(crate) section: &'d str,
    /// The settings.
    pub(crate) entries: Vec<Entry>,
    /// Its version, if it is known.
    pub(crate) version: Option<Version>,
}

/// What becomes of the requested settings when all files are merged.
pub(crate) struct Judged {
    /// All settings of the section, as they will be.
    pub(crate) properties: Properties,
    /// What wins over the file.
    pub(crate) overridden: Option<String>,
    /// What else is to be known.
    pub(crate) notes: Vec<String>,
}

impl Judged {
    /// Judges the settings that the file at `path` has, with all other files.
    pub(crate) fn of(
        path: &Path,
        daemon: &Daemon<'_>,
        merged: &Merged,
        properties: Properties,
    ) -> Self {
        let version = merged.version();
        let mut notes = Vec::new();
        let mut overridden = Vec::new();
        if let Some(failure) = &merged.failure {
            notes.push(format!(
                "PipeWire {version} does not start with {}: {failure}",
                daemon.main
            ));
        }
        for dropped in &merged.dropped {
            if dropped.path == path {
                overridden.push(dropped.what.clone());
            } else {
                notes.push(format!("without effect: {dropped}"));
            }
        }
        let loaded = Clock::loaded(version, |key| properties.get(key));
        for entry in &daemon.entries {
            let key = entry.key.as_str();
            let limit = match daemon.section {
                "context.properties" => limit(&loaded, entry),
                _ if properties.get(key) == entry.value.as_text() => None,
                _ => Some(key),
            };
            let other = properties
                .property(key)
                .filter(|property| property.origin.path != path);
            match (limit, other) {
                (None, Some(Property { origin, value, .. })) if *value != text(&entry.value) => {
                    notes.push(format!(
                        "{origin} sets {key} = {value}, which has no effect on the value that is requested"
                    ));
                }
                (None, _) => {}
                (Some(_), Some(Property { origin, value, .. })) => {
                    overridden.push(format!("{origin}, which sets {key} = {value}"));
                }
                (Some(limit), None) => overridden.push(match properties.property(limit) {
                    _ if properties.get(key).is_none() => {
                        format!("another file, which unsets {key}")
                    }
                    Some(Property { origin, value, .. }) => {
                        format!("{origin}, which sets {limit} = {value}")
                    }
                    None => format!("PipeWire's default of {limit}"),
                }),
            }
        }
        for (path, why) in &merged.unread {
            notes.push(format!(
                "{} was not read, and what it sets is not known: {why}",
                path.display()
            ));
        }
        for rule in &properties.undetermined {
            let of_clock = |key: &&String| {
                let mut entries = daemon.entries.iter();
                entries.any(|entry| entry.key == **key)
            };
            if rule.keys.iter().any(|key| of_clock(&key)) {
                notes.push(format!(
                    "{} may set {}: whether it applies depends on a regular expression, or on a property that only the running daemon has, and was not determined",
                    rule.origin,
                    rule.keys.join(", ")
                ));
            }
        }
        // With a rule that may apply, what will run is not known.
        let is_known = |entry: &Entry| !properties.may_be_set(&entry.key);
        if daemon.section == "context.properties" && daemon.entries.iter().all(is_known) {
            notes.extend(effects(version, &loaded));
        }
        Self {
            properties,
            overridden: (!overridden.is_empty()).then(|| overridden.join("; ")),
            notes,
        }
    }
}

/// The key of the setting because of which a requested one is not in effect; `None` if it is, which
/// it can be although another file sets it to something that is clamped to the same.
fn limit<'e>(loaded: &Clock, entry: &'e Entry) -> Option<&'e str> {
    let key = entry.key.as_str();
    let requested = entry
        .value
        .as_text()
        .and_then(|text| text.parse::<u32>().ok());
    let limited = |is: u32, least: &'e str, most: &'e str| match requested {
        Some(requested) if is > requested => Some(least),
        Some(requested) if is < requested => Some(most),
        _ => None,
    };
    let (floor, limit) = ("default.clock.quantum-floor", "default.clock.quantum-limit");
    let (min, max) = ("default.clock.min-quantum", "default.clock.max-quantum");
    match key {
        "default.clock.rate" => limited(loaded.rate.0, key, key),
        "default.clock.quantum" => limited(loaded.quantum.0, min, max),
        "default.clock.min-quantum" => limited(loaded.min_quantum.0, floor, max),
        "default.clock.max-quantum" => limited(loaded.max_quantum.0, floor, limit),
        "default.clock.quantum-limit" => limited(loaded.limit.0, key, key),
        "default.clock.quantum-floor" => limited(loaded.floor.0, key, limit),
        "default.clock.allowed-rates" => {
            let requested = entry.value.as_array().unwrap_or_default().iter();
            let is_same = requested.map(Value::as_i64).eq(loaded
                .allowed_rates
                .iter()
                .map(|rate| Some(i64::from(rate.0))));
            // A list that is ours is replaced if the rate is not in it.
            (!is_same).then_some("default.clock.rate")
        }
        _ => (entry.value.as_bool() != Some(loaded.power_of_two)).then_some(key),
    }
}

/// A value as the text that a property has.
fn text(value: &Value) -> String {
    value
        .as_text()
        .map_or_else(|| value.to_json(), str::to_owned)
}

/// What graphs will run with.
fn effects(version: Version, clock: &Clock) -> Vec<String> {
    let runs = |rate| {
        let period = clock.running(version, Forced::default(), rate, None);
        format!("with PipeWire {version} a graph runs with {period}")
    };
    let (least, most) = (clock.min_quantum.0, clock.max_quantum.0);
    let programs = if least == most {
        "whatever programs ask for".to_owned()
    } else {
        format!("unless a program asks for another quantum from {least} to {most}")
    };
    let mut effects = vec![format!("{}, {programs}", runs(clock.rate))];
    // The other rate that most devices and much music have.
    let other = SampleRate(44_100);
    if clock.rate != other {
        effects.push(format!("{}, if its device has that rate", runs(other)));
    }
    effects
}
