//! What is known of a device's properties during the evaluation of rules.

use std::collections::BTreeMap;

use hosttune_core::fnmatch;

use super::Device;
use super::evaluation::Action;

/// What is known of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// The text; empty if the property does not exist.
    Text(String),
    /// The text is unknown, and why.
    Unknown(String),
}

impl Known {
    pub(super) fn empty() -> Self {
        Self::Text(String::new())
    }
}

/// The properties that the kernel adds only to some events.
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
/// A property comes from the kernel with the event, from a rule, or from an import. The result of
/// an import is known only from udev's database, which holds the properties after all rules were
/// processed for the previous event. Such a property is therefore known after the last rule that
/// can set it, and does not exist before the first one. A rule that compares it too early never
/// matches.
#[derive(Debug, Clone)]
pub(super) struct Properties<'d> {
    device: &'d Device<'d>,
    action: Action,
    set: BTreeMap<String, Known>,
    /// The names that imports may have set so far.
    imported: Vec<Names>,
    /// How many lines have been evaluated.
    at: usize,
    /// What has been set and imported so far, and on which line.
    sources: Sources,
    /// The same for the whole event, from an earlier evaluation.
    of_event: Option<Sources>,
}

/// Where properties can come from, each with its line.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources(Vec<(usize, Names)>);

/// A set of property names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// This name.
    One(String),
    /// All names that match this pattern.
    Like(String),
    /// All names that match any of these patterns, set by a known program.
    Matching(&'static [&'static str]),
    /// All names that match any of these patterns, as far as is known.
    Perhaps(&'static [&'static str]),
}

impl Names {
    fn hold(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Like(pattern) => fnmatch::matches(pattern, name),
            Self::Matching(patterns) | Self::Perhaps(patterns) => {
                let mut patterns = patterns.iter();
                patterns.any(|pattern| fnmatch::matches(pattern, name))
            }
        }
    }
}

impl<'d> Properties<'d> {
    /// `of_event` is the result of [`into_sources`](Self::into_sources) after an earlier evaluation
    /// of all rules, if there was one.
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

    /// Moves on to the next line.
    pub(super) fn next_line(&mut self, at: usize) {
        self.at = at;
    }

    /// Where properties came from.
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
                "ENV{{{name}}} comes from an import, and this device is not in udev's database"
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
            // An import that only may set the property may have left that to a later one.
            None => {
                let perhaps = |names: &&Names| matches!(names, Names::Perhaps(_));
                let mut known = self.imported.iter().filter(|names| !perhaps(names));
                !known.any(|names| names.hold(name))
            }
        };
        if is_open {
            return Known::Unknown(format!(
                "ENV{{{name}}} comes from an import, and it is unknown whether that is before or after this line"
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

    /// Evaluates an assignment by a rule; `open` is the reason if it may not apply.
    pub(super) fn set(&mut self, name: &str, value: Known, open: Option<&str>) {
        let value = match open {
            Some(why) if self.get(name) != value => Known::Unknown(format!(
                "ENV{{{name}}} is set by a rule that may not apply: {why}"
            )),
            _ => value,
        };
        self.sources.0.push((self.at, Names::One(name.to_owned())));
        self.set.insert(name.to_owned(), value);
    }

    /// Evaluates an import that can set any of these.
    pub(super) fn import(&mut self, names: Names) {
        // An import may overwrite what a rule has set. A property that a rule sets is seldom
        // imported as well, so this counts only if the import gives the name.
        if let Names::One(name) = &names {
            self.set.remove(name);
        }
        self.sources.0.push((self.at, names.clone()));
        self.imported.push(names);
    }
}
