//! What is known of a device's properties while its rules are carried out.

use std::collections::BTreeMap;

use super::evaluation::Action;
use super::{Device, fnmatch};

/// What is known of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// It is this; empty where it is not there.
    Text(String),
    /// It cannot be told, and why.
    Unknown(String),
}

impl Known {
    pub(super) fn empty() -> Self {
        Self::Text(String::new())
    }
}

/// What the kernel adds to some events and not to others.
const OF_SINGLE_EVENTS: [&str; 7] = [
    "DISK_MEDIA_CHANGE",
    "DISK_EJECT_REQUEST",
    "DISK_RO",
    "RESIZE",
    "DM_COOKIE",
    "SYNTH_UUID",
    "EVENT",
];

/// The properties of a device during one event.
///
/// A property comes from the kernel with the event, from a rule, or from an import. Before the
/// first import that can set it, one that neither has set is not there, whatever udev's database
/// has of it from the event before: a rule that compares it too early never matches.
#[derive(Debug, Clone)]
pub(super) struct Properties<'d> {
    device: &'d Device<'d>,
    action: Action,
    set: BTreeMap<String, Known>,
    /// What imports can have set, as patterns of names.
    imported: Vec<&'static str>,
    imported_names: Vec<String>,
}

impl<'d> Properties<'d> {
    pub(super) fn new(device: &'d Device<'d>, action: Action) -> Self {
        Self {
            device,
            action,
            set: BTreeMap::new(),
            imported: Vec::new(),
            imported_names: Vec::new(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Known {
        if let Some(known) = self.set.get(name) {
            return known.clone();
        }
        if let Some(text) = self.of_event(name) {
            return Known::Text(text);
        }
        if self.action == Action::Change && OF_SINGLE_EVENTS.contains(&name) {
            return Known::Unknown(format!("ENV{{{name}}} differs from event to event"));
        }
        let imported = self
            .imported
            .iter()
            .any(|pattern| fnmatch::matches(pattern, name, false));
        if !imported && !self.imported_names.iter().any(|imported| imported == name) {
            return Known::empty();
        }
        match &self.device.database {
            Some(database) => Known::Text(database.get(name).cloned().unwrap_or_default()),
            None => Known::Unknown(format!(
                "ENV{{{name}}} comes from an import, and udev's database does not have this device"
            )),
        }
    }

    fn of_event(&self, name: &str) -> Option<String> {
        Some(match name {
            "ACTION" => self.action.name().to_owned(),
            "DEVPATH" => self.device.path().strip_prefix("/sys")?.to_owned(),
            "SUBSYSTEM" => self.device.levels.first()?.subsystem.clone()?,
            "DEVNAME" => format!("/dev/{}", self.device.uevent.get(name)?),
            _ => self.device.uevent.get(name)?.clone(),
        })
    }

    /// A rule sets one; whether it is carried out may be open, and why.
    pub(super) fn set(&mut self, name: &str, value: Known, open: Option<&str>) {
        let value = match open {
            Some(why) if self.get(name) != value => Known::Unknown(format!(
                "ENV{{{name}}} is set by a rule that perhaps applies: {why}"
            )),
            _ => value,
        };
        self.set.insert(name.to_owned(), value);
    }

    /// Something can have set all that match this pattern.
    pub(super) fn import_any(&mut self, pattern: &'static str) {
        self.imported.push(pattern);
    }

    /// Something can have set this one.
    pub(super) fn import(&mut self, name: &str) {
        self.imported_names.push(name.to_owned());
    }
}
