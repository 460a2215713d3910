//! Who else manages a device, from the files that they leave for others to see.
//!
//! Three set queueing disciplines by themselves: systemd-networkd where the `.network` file of the
//! device has a section about one, `NetworkManager` where the profile of the device has a `tc`
//! setting, and sqm-scripts. Each puts its own in place of whatever is there when it configures
//! the device anew, and `NetworkManager` takes the ingress hook away as well.
//!
//! What a file says of something else is passed over: each of them has keys that no version here
//! knows. Nothing of theirs is ever changed.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, Lack, LackKind};

/// The sections of systemd.network(5) that attach a queueing discipline, up to systemd 257. Those
/// about classes need one of these beside them.
const SECTIONS: [&str; 24] = [
    "BFIFO",
    "BandMultiQueueing",
    "CAKE",
    "ClassfulMultiQueueing",
    "ControlledDelay",
    "DeficitRoundRobinScheduler",
    "EnhancedTransmissionSelection",
    "FairQueueing",
    "FairQueueingControlledDelay",
    "FlowQueuePIE",
    "GenericRandomEarlyDetection",
    "HeavyHitterFilter",
    "HierarchyTokenBucket",
    "NetworkEmulator",
    "PFIFO",
    "PFIFOFast",
    "PFIFOHeadDrop",
    "PIE",
    "QDisc",
    "QuickFairQueueing",
    "StochasticFairBlue",
    "StochasticFairnessQueueing",
    "TokenBucketFilter",
    "TrivialLinkEqualizer",
];

/// In systemd 244, one section for all of them.
const OLD_SECTION: &str = "TrafficControlQueueingDiscipline";

/// Where profiles are, the first that has one of an id counts.
const PROFILES: [&str; 3] = [
    "/etc/NetworkManager/system-connections",
    "/run/NetworkManager/system-connections",
    "/usr/lib/NetworkManager/system-connections",
];

/// Where sqm-scripts say what they shape: on Linux at large, and on `OpenWrt`, where `/var` is `/tmp`.
const SQM: [&str; 2] = ["/run/sqm", "/tmp/run/sqm"];

/// Which program manages a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// systemd-networkd.
    Networkd,
    /// `NetworkManager`.
    NetworkManager,
    /// sqm-scripts.
    Sqm,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Networkd => "systemd-networkd",
            Self::NetworkManager => "NetworkManager",
            Self::Sqm => "sqm-scripts",
        })
    }
}

/// One that manages a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// Which.
    pub program: Program,
    /// The file in which it says so.
    pub file: String,
    /// What it sets of the device's queueing disciplines, with the file; nothing where it sets none.
    pub sets: Option<String>,
    /// What could not be read, so that nobody can tell whether it sets any.
    pub unread: Option<String>,
}

impl Manager {
    fn new(program: Program, file: &str) -> Self {
        Self {
            program,
            file: file.to_owned(),
            sets: None,
            unread: None,
        }
    }

    /// All that manage the device of this name and number.
    ///
    /// # Errors
    /// Where a file is there that says who manages what, and the host would not read it.
    pub fn all_of(host: &Host, device: &str, index: u32) -> Result<Vec<Self>, HostError> {
        let found = [
            networkd(host, index)?,
            network_manager(host, index)?,
            sqm(host, device)?,
        ];
        Ok(found.into_iter().flatten().collect())
    }

    /// Why a device must not be shaped whose queueing disciplines it sets.
    pub(crate) fn lack(&self, device: &str) -> Lack {
        let sets = self.sets.as_deref().unwrap_or_default();
        Lack::new(
            LackKind::Managed,
            format!(
                "{} manages the queueing disciplines of {device} and would put its own back: {sets}",
                self.program
            ),
        )
        .hint("remove that setting, then apply again")
    }

    /// That it manages the device, for a person.
    pub(crate) fn note(&self, device: &str) -> String {
        let Self { program, file, .. } = self;
        match (&self.sets, &self.unread) {
            (Some(sets), _) => format!(
                "{program} puts its own queueing disciplines back whenever it configures {device} anew: {sets}"
            ),
            (None, Some(unread)) => format!(
                "{program} manages {device}; whether it sets queueing disciplines cannot be told: {unread} is not for this user to read"
            ),
            (None, None) if *program == Program::Sqm => format!(
                "{program} shapes {device} already ({file}): it takes away and replaces what is here when it starts or stops"
            ),
            (None, None) => {
                format!("{program} manages {device} ({file}) and sets no queueing discipline")
            }
        }
    }
}

/// The text of a file; `None` where there is none.
fn text(host: &Host, path: &str) -> Result<Option<String>, HostError> {
    match host.read(path) {
        // In a comment or a name may stand anything.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), HostErrorKind::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_denied(error: &HostError) -> bool {
    *error.kind() == HostErrorKind::Denied
}

fn networkd(host: &Host, index: u32) -> Result<Option<Manager>, HostError> {
    let state = format!("/run/systemd/netif/links/{index}");
    let Some(state) = text(host, &state)? else {
        return Ok(None);
    };
    let files = network_files(&state);
    let Some(main) = files.first() else {
        return Ok(None);
    };
    let mut manager = Manager::new(Program::Networkd, main);
    for file in &files {
        match text(host, file) {
            Ok(Some(text)) => {
                if let Some(section) = sections(&text).find(|name| sets_a_qdisc(name)) {
                    manager.sets = Some(format!("[{section}] in {file}"));
                    break;
                }
            }
            // It was there when the device was configured, and will not be the next time.
            Ok(None) => {}
            Err(error) if is_denied(&error) => manager.unread = Some(file.clone()),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(manager))
}

/// The `.network` file of a device and its drop-ins, from what systemd-networkd notes of the
/// device; nothing where it does not manage it.
///
/// Lines of `KEY=value`, as systemd's `env-file` reads them; the drop-ins, since systemd 254, are
/// one value with colons between, and a backslash before a colon of their own.
fn network_files(state: &str) -> Vec<String> {
    let value = |key: &str| {
        state.lines().find_map(|line| {
            let value = line.trim().strip_prefix(key)?.strip_prefix('=')?;
            Some(unquoted(value))
        })
    };
    if value("ADMIN_STATE").as_deref() == Some("unmanaged") {
        return Vec::new();
    }
    let Some(main) = value("NETWORK_FILE").filter(|file| file.starts_with('/')) else {
        return Vec::new();
    };
    let more = value("NETWORK_FILE_DROPINS").unwrap_or_default();
    let more = split(&more);
    let more = more.into_iter().filter(|file| file.starts_with('/'));
    std::iter::once(main).chain(more).collect()
}

/// What stands between colons, and what a backslash stands before as itself.
fn split(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == ':' {
            all.push(String::new());
            continue;
        }
        let itself = match character {
            '\\' => characters.next(),
            other => Some(other),
        };
        if let Some(last) = all.last_mut() {
            last.extend(itself);
        }
    }
    all
}

/// A value with or without quotes around it, and what a backslash stands before as itself.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    let mut characters = inner.chars();
    let mut text = String::with_capacity(inner.len());
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

/// The names of the sections of a file of sections, keys and comments.
fn sections(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']'))
}

fn sets_a_qdisc(section: &str) -> bool {
    SECTIONS.contains(&section) || section == OLD_SECTION
}

fn network_manager(host: &Host, index: u32) -> Result<Option<Manager>, HostError> {
    let file = format!("/run/NetworkManager/devices/{index}");
    let state = match text(host, &file) {
        Ok(Some(state)) => state,
        Ok(None) => return Ok(None),
        // Whoever may not look at it may shape nothing either.
        Err(error) if is_denied(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_true = |text: String| ["true", "yes", "on", "1"].contains(&text.as_str());
    if !value(&state, "device", "managed").is_some_and(is_true) {
        return Ok(None);
    }
    let mut manager = Manager::new(Program::NetworkManager, &file);
    let Some(id) = value(&state, "device", "connection-uuid") else {
        return Ok(Some(manager));
    };
    for directory in PROFILES {
        let names = match host.list(directory) {
            Ok(names) => names,
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            Err(error) if is_denied(&error) => {
                manager.unread = Some(directory.to_owned());
                continue;
            }
            Err(error) => return Err(error),
        };
        for name in names {
            let path = format!("{directory}/{name}");
            let profile = match text(host, &path) {
                Ok(Some(profile)) => profile,
                Err(error) if is_denied(&error) => {
                    manager.unread = Some(path);
                    continue;
                }
                // A directory, or gone since it was listed.
                Ok(None) | Err(_) => continue,
            };
            if value(&profile, "connection", "uuid").as_deref() == Some(&id) {
                manager.unread = None;
                manager.sets = tc_setting(&profile).map(|key| format!("{key} in [tc] of {path}"));
                manager.file = path;
                return Ok(Some(manager));
            }
        }
    }
    Ok(Some(manager))
}

/// The lines of one section: keys and values.
fn keys<'t>(text: &'t str, section: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
    let mut inside = false;
    text.lines().map(str::trim).filter_map(move |line| {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            inside = name == section;
            return None;
        }
        let is_key = inside && !line.starts_with(['#', ';']);
        let (key, value) = line.split_once('=').filter(|_| is_key)?;
        Some((key.trim(), value.trim()))
    })
}

/// The value of a key; the last one where there are several, as GLib has it.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let found = keys(text, section).filter(|(name, _)| *name == key).last();
    found.map(|(_, value)| value.to_owned())
}

/// The first key of a profile that sets a queueing discipline or a filter: `qdisc.root`,
/// `qdisc.ffff:`, `tfilter.1234:`, as nm-settings-keyfile(5) has them.
fn tc_setting(profile: &str) -> Option<&str> {
    keys(profile, "tc")
        .map(|(key, _)| key)
        .find(|key| key.starts_with("qdisc.") || key.starts_with("tfilter."))
}

fn sqm(host: &Host, device: &str) -> Result<Option<Manager>, HostError> {
    for directory in SQM {
        let file = format!("{directory}/{device}.state");
        if host.exists(&file)? {
            return Ok(Some(Manager::new(Program::Sqm, &file)));
        }
    }
    Ok(None)
}
