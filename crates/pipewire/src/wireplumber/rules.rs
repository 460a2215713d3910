//! Rules of WirePlumber from 0.5.

use hosttune_spa_json::{Data, Dialect, Entry, Reading, TopLevel, Value};

use super::{DeviceSetting, DeviceSettings, Generation, Text, is_of_period, line_of};

/// The sections with rules that set properties of nodes.
const SECTIONS: [&str; 2] = ["monitor.alsa.rules", "stream.rules"];

/// A section with this before its name replaces those before it.
const OVERRIDE: &str = "override.";

/// The rules of a section, as far as it is merged.
#[derive(Debug, Default)]
struct Section {
    /// Whether it is a list, an object, or neither; `None` before the first.
    kind: Option<Kind>,
    settings: Vec<DeviceSetting>,
    /// Whether an element was no object: the rules after it are not applied, those of other files too.
    is_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    List,
    Object,
    Other,
}

impl Section {
    /// Adds the value that a file has. Lists are joined and objects are merged; if one does not go with
    /// the other, both are lost, and the next one counts as the first (seen in 0.5.8).
    fn add(&mut self, file: &Text, value: &Value, replaces: bool) {
        let kind = match value.data {
            Data::Array(_) => Kind::List,
            Data::Object(_) => Kind::Object,
            _ => Kind::Other,
        };
        let is_first = replaces || self.kind.is_none();
        if !is_first && (self.kind != Some(kind) || kind == Kind::Other) {
            *self = Self::default();
            return;
        }
        if is_first {
            *self = Self::default();
        }
        self.kind = Some(kind);
        for rule in value.as_array().unwrap_or_default() {
            self.is_ended |= rule.as_object().is_none();
            if !self.is_ended {
                self.settings.extend(setting(file, rule));
            }
        }
    }
}

impl DeviceSettings {
    /// Adds what the rules of files set, in their order. A section of several files is one list.
    pub(super) fn add_rules(&mut self, files: &[Text]) {
        let mut sections: [Section; SECTIONS.len()] = Default::default();
        for file in files {
            let reading = Reading::of(&file.bytes, Dialect::Checked);
            let entries = match (&reading.value.data, reading.top_level) {
                (Data::Object(entries), TopLevel::Entries | TopLevel::Braces) => entries.as_slice(),
                _ => &[],
            };
            if let Some(what) = whole_file(file, entries, &reading) {
                self.dropped.push((file.path.clone(), what));
                continue;
            }
            if let Some(error) = &reading.error {
                let line = error.position.line;
                let what =
                    format!("WirePlumber ignores the rest of the file: line {line}: {error}");
                self.dropped.push((file.path.clone(), what));
            }
            for entry in entries {
                let name = entry.key.strip_prefix(OVERRIDE).unwrap_or(&entry.key);
                if let Some(known) = SECTIONS.iter().position(|known| *known == name) {
                    sections[known].add(file, &entry.value, name != entry.key);
                }
            }
        }
        let settings = sections.into_iter().flat_map(|section| section.settings);
        self.settings.extend(settings);
    }
}

/// Why WirePlumber ignores a file as a whole; `None` if it does not.
fn whole_file(file: &Text, entries: &[Entry], reading: &Reading) -> Option<String> {
    let line = |offset| line_of(&file.bytes, offset);
    // A section that is not closed is one without a value.
    if let Some(error) = reading.error.filter(|_| reading.is_cut) {
        let line = error.position.line;
        return Some(format!(
            "WirePlumber ignores the file: line {line}: {error}"
        ));
    }
    let is_no_name = |entry: &&Entry| {
        let is_quoted = file.bytes.get(entry.key_span.start) == Some(&b'"');
        let key = entry.key.as_str();
        !is_quoted && (matches!(key, "true" | "false" | "null") || key.parse::<f64>().is_ok())
    };
    let entry = entries.iter().find(is_no_name)?;
    Some(format!(
        "WirePlumber ignores the file: line {}: '{}' is no name of a section",
        line(entry.key_span.start),
        entry.key
    ))
}

/// What a rule sets, if that changes the period of a device.
fn setting(file: &Text, rule: &Value) -> Option<DeviceSetting> {
    let conditions: Vec<&[Entry]> = rule
        .get("matches")?
        .as_array()?
        .iter()
        .filter_map(Value::as_object)
        .collect();
    let update = rule.get("actions")?.get("update-props")?;
    let properties: Vec<(String, String)> = update
        .as_object()?
        .iter()
        .filter(|entry| is_of_period(&entry.key))
        .map(|entry| (entry.key.clone(), text(&entry.value)))
        .collect();
    let is_for_machines = |condition: &&[Entry]| {
        let mut keys = condition.iter();
        keys.any(|entry| entry.key == "cpu.vm.name")
    };
    let condition = |condition: &[Entry]| {
        let each: Vec<String> = condition
            .iter()
            .map(|entry| format!("{} = {}", entry.key, text(&entry.value)))
            .collect();
        each.join(" and ")
    };
    (!properties.is_empty() && !conditions.is_empty()).then(|| DeviceSetting {
        path: file.path.clone(),
        line: line_of(&file.bytes, update.span.start),
        properties,
        is_for_virtual_machines: conditions.iter().all(is_for_machines),
        matches: conditions.into_iter().map(condition).collect(),
        generation: Generation::Rules,
    })
}

fn text(value: &Value) -> String {
    value
        .as_text()
        .map_or_else(|| value.to_json(), str::to_owned)
}
