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
/// A property comes from the kernel with the event, from a rule, or from an import. What an import
/// brings is known only from udev's database, which has what was there when all rules had been
/// carried out for the event before: so it is known behind the last rule that can set it, and before
/// the first it is not there. A rule that compares it too early never matches.
#[derive(Debug, Clone)]
pub(super) struct Properties<'d> {
    device: &'d Device<'d>,
    action: Action,
    set: BTreeMap<String, Known>,
    /// What imports can have set until now.
    imported: Vec<Names>,
    /// How many of the lines have been carried out.
    at: usize,
    /// What has been set and imported so far, and where.
    sources: Sources,
    /// The same of the whole event, from having carried it out before.
    of_event: Option<Sources>,
}

/// Where properties can come from, each with the line.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources(Vec<(usize, Names)>);

/// Names of properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// This one.
    One(String),
    /// All that match this pattern.
    Like(String),
    /// All that match any of these patterns: a program that is known, and sets them.
    Matching(&'static [&'static str]),
    /// All that match any of these patterns, as far as anybody knows.
    Perhaps(&'static [&'static str]),
}

impl Names {
    fn hold(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Like(pattern) => fnmatch::matches(pattern, name, false),
            Self::Matching(patterns) | Self::Perhaps(patterns) => {
                let mut patterns = patterns.iter();
                patterns.any(|pattern| fnmatch::matches(pattern, name, false))
            }
        }
    }
}

impl<'d> Properties<'d> {
    /// `of_event` is what carrying out all rules has found to be sources, once it has been done.
    pub(super) fn new(device: &'d Device<'d>, action: Action, of_event: Option<Sources>) -> Self {
        Self {
            device,
            action,
            set: BTreeMap::new(),
            imported: Vec::new(),
            at: 0,
            sources: Sources::default(),
            of_event,
        }
    }

    /// The next line is carried out.
    pub(super) fn next_line(&mut self, at: usize) {
        self.at = at;
    }

    /// What has been found to be sources.
    pub(super) fn into_sources(self) -> Sources {
        self.sources
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
        if !self.imported.iter().any(|names| names.hold(name)) {
            return Known::empty();
        }
        let Some(database) = &self.device.database else {
            return Known::Unknown(format!(
                "ENV{{{name}}} comes from an import, and udev's database does not have this device"
            ));
        };
        let Some(value) = database.get(name) else {
            return Known::empty();
        };
        let is_open = match &self.of_event {
            Some(sources) => {
                let mut behind = sources.0.iter().filter(|(at, _)| *at > self.at);
                behind.any(|(_, names)| names.hold(name))
            }
            // What is not known to set it may have left it to one behind.
            None => {
                let perhaps = |names: &&Names| matches!(names, Names::Perhaps(_));
                let mut known = self.imported.iter().filter(|names| !perhaps(names));
                !known.any(|names| names.hold(name))
            }
        };
        if is_open {
            return Known::Unknown(format!(
                "ENV{{{name}}} comes from an import, and it cannot be told whether from one before or behind this"
            ));
        }
        Known::Text(value.clone())
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
        self.sources.0.push((self.at, Names::One(name.to_owned())));
        self.set.insert(name.to_owned(), value);
    }

    /// Something can have set all of these.
    pub(super) fn import(&mut self, names: Names) {
        // What a rule has set it may have set anew; what a rule has set is seldom imported too, so
        // only where the import says the name.
        if let Names::One(name) = &names {
            self.set.remove(name);
        }
        self.sources.0.push((self.at, names.clone()));
        self.imported.push(names);
    }
}
