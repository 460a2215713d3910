//! Other programs that manage a device, according to the state files that they publish.
//!
//! Three programs set qdiscs on their own: systemd-networkd if the `.network` file of the device
//! has a section about one, `NetworkManager` if the profile of the device has a `tc` setting, and
//! sqm-scripts. Each replaces whatever is there with its own when it reconfigures the device, and
//! `NetworkManager` removes the ingress hook as well.
//!
//! Everything else in these files is skipped: each program has keys that no version of this crate
//! knows. Their files and settings are never changed.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, Unsupported, UnsupportedKind};

/// The sections of systemd.network(5) that attach a qdisc, up to systemd 257. The sections about
/// classes have no effect without one of these.
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

/// The single section for all of them in systemd 244.
const OLD_SECTION: &str = "TrafficControlQueueingDiscipline";

/// The directories with profiles. The first one that has a profile of an id wins.
const PROFILES: [&str; 3] = [
    "/etc/NetworkManager/system-connections",
    "/run/NetworkManager/system-connections",
    "/usr/lib/NetworkManager/system-connections",
];

/// The state directories of sqm-scripts: on most distributions, and on `OpenWrt`, where `/var` is `/tmp`.
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

/// A program that manages a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Manager {
    /// The program.
    pub program: Program,
    /// The file that says so.
    pub file: String,
    /// The setting for the device's qdiscs and its file. `None` if it sets none.
    pub sets: Option<String>,
    /// The file that could not be read, so that it is unknown whether the program sets any qdiscs.
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

    /// All programs that manage the device of this name and index.
    ///
    /// # Errors
    /// If one of the files exists and cannot be read.
    pub fn all_of(host: &Host, device: &str, index: u32) -> Result<Vec<Self>, HostError> {
        let found = [
            networkd(host, index)?,
            network_manager(host, index)?,
            sqm(host, device)?,
        ];
        Ok(found.into_iter().flatten().collect())
    }

    /// Why a device must not be shaped while this program sets its qdiscs.
    pub(crate) fn unsupported(&self, device: &str) -> Unsupported {
        let sets = self.sets.as_deref().unwrap_or_default();
        Unsupported::new(
            UnsupportedKind::Managed,
            format!(
                "{} manages the qdiscs of {device} and would restore its own: {sets}",
                self.program
            ),
        )
        .hint("remove that setting, then apply again")
    }

    /// The note for the user that this program manages the device.
    pub(crate) fn note(&self, device: &str) -> String {
        let Self { program, file, .. } = self;
        match (&self.sets, &self.unread) {
            (Some(sets), _) => format!(
                "{program} restores its own qdiscs whenever it reconfigures {device}: {sets}"
            ),
            (None, Some(unread)) => format!(
                "{program} manages {device}; cannot tell whether it sets qdiscs: no permission to read {unread}"
            ),
            (None, None) if *program == Program::Sqm => format!(
                "{program} already shapes {device} ({file}): it replaces or removes these qdiscs when it starts or stops"
            ),
            (None, None) => {
                format!("{program} manages {device} ({file}) and sets no qdisc")
            }
        }
    }
}

/// The text of a file, or `None` if it does not exist.
fn text(host: &Host, path: &str) -> Result<Option<String>, HostError> {
    match host.read(path) {
        // Comments and names may contain any bytes.
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
            // It existed when the device was configured, and will be missing the next time.
            Ok(None) => {}
            Err(error) if is_denied(&error) => manager.unread = Some(file.clone()),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(manager))
}

/// The `.network` file of a device and its drop-ins, from the state that systemd-networkd keeps of
/// the device. Empty if it does not manage the device.
///
/// The state is lines of `KEY=value`, as systemd's `env-file` reads them. The drop-ins (since
/// systemd 254) are one value separated by colons, with a backslash before a literal colon.
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

/// Splits at colons; a backslash makes the next character literal.
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

/// The value without surrounding quotes; a backslash makes the next character literal.
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

/// The section names of a file in INI format.
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
        // A process that may not read this may not shape anything either.
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
                // It is a directory, or was removed after listing.
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

/// The keys and values of one section.
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

/// The value of a key. The last one wins if there are several, as in GLib.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let found = keys(text, section).filter(|(name, _)| *name == key).last();
    found.map(|(_, value)| value.to_owned())
}

/// The first key of a profile that sets a qdisc or a filter: `qdisc.root`, `qdisc.ffff:`,
/// `tfilter.1234:`, as in nm-settings-keyfile(5).
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
