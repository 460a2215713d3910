//! A disk's I/O scheduler, as a knob.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Unsupported, UnsupportedKind, attribute,
};
use hosttune_modules::{KernelModule, ModuleState};
use serde::{Deserialize, Serialize};

use crate::attribute::Attribute;
use crate::disk::{identity, is_there};
use crate::name::DiskName;
use crate::queue_attribute::QueueAttribute;
use crate::tunable::SchedulerTunable;
use crate::write;
use crate::zoned;

/// A scheduler's name in canonical form: `none`, `mq-deadline`, `bfq`, `kyber`, or one that is
/// unknown here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SchedulerName(String);

/// A text that is not a scheduler name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a scheduler name: expected 1 to 15 characters without blanks, slashes or brackets", .0.escape_debug())]
pub struct SchedulerNameError(String);

/// `ELV_NAME_MAX` without the terminating NUL.
const LONGEST: usize = 15;

impl SchedulerName {
    /// No scheduler: requests go to the device in the order in which they arrive.
    pub fn none() -> Self {
        Self("none".to_owned())
    }

    /// Requests are sorted by sector, and none waits longer than its deadline.
    pub fn mq_deadline() -> Self {
        Self("mq-deadline".to_owned())
    }

    /// Each process gets its share of the disk's bandwidth.
    pub fn bfq() -> Self {
        Self("bfq".to_owned())
    }

    /// Limits the requests in flight to keep the latency of each kind below its target.
    pub fn kyber() -> Self {
        Self("kyber".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The module that provides it, if known.
    pub fn module(&self) -> Option<KernelModule> {
        match self.as_str() {
            "kyber" => Some(KernelModule::new("kyber-iosched")),
            "bfq" | "mq-deadline" => Some(KernelModule::new(self.as_str())),
            _ => None,
        }
    }
}

impl FromStr for SchedulerName {
    type Err = SchedulerNameError;

    /// Resolves the kernel's alias: `deadline` is `mq-deadline`. Surrounding blanks are ignored.
    fn from_str(text: &str) -> Result<Self, SchedulerNameError> {
        Self::literal(match text.trim() {
            "deadline" => "mq-deadline",
            name => name,
        })
    }
}

impl SchedulerName {
    /// A name as a scheduler file shows it. Before Linux 5.0 `deadline` was a separate scheduler of
    /// single-queue disks, and such a disk has no `mq-deadline`.
    fn literal(name: &str) -> Result<Self, SchedulerNameError> {
        let usable = !name.is_empty()
            && name.len() <= LONGEST
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'[' | b']' | b'(' | b'/'));
        if usable {
            Ok(Self(name.to_owned()))
        } else {
            Err(SchedulerNameError(name.to_owned()))
        }
    }
}

impl TryFrom<String> for SchedulerName {
    type Error = SchedulerNameError;

    fn try_from(text: String) -> Result<Self, SchedulerNameError> {
        text.parse()
    }
}

impl From<SchedulerName> for String {
    fn from(name: SchedulerName) -> Self {
        name.0
    }
}

impl fmt::Display for SchedulerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The contents of a scheduler file: `none [mq-deadline] bfq`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offered {
    /// The name in brackets. Without one nothing can be selected: a bio-based disk shows `none`.
    pub active: Option<SchedulerName>,
    /// All names, in the order of the file, which differs between kernels.
    pub names: Vec<SchedulerName>,
}

impl Offered {
    /// Parses a scheduler file.
    pub fn parse(text: &str) -> Self {
        let mut active = None;
        let mut names = Vec::new();
        for word in text.split_whitespace() {
            let inside = word
                .strip_prefix('[')
                .and_then(|word| word.strip_suffix(']'));
            if let Ok(name) = SchedulerName::literal(inside.unwrap_or(word)) {
                if inside.is_some() {
                    active = Some(name.clone());
                }
                names.push(name);
            }
        }
        Self { active, names }
    }

    /// Reads the scheduler file of a disk; `None` if it has none.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn of(host: &Host, disk: &DiskName) -> Result<Option<Self>, HostError> {
        match host.read_text(disk.queue("scheduler")) {
            Ok(text) => Ok(Some(Self::parse(&text))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a scheduler can be selected.
    pub fn offers(&self, name: &SchedulerName) -> bool {
        self.active.is_some() && self.names.contains(name)
    }
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names.iter().map(SchedulerName::as_str).collect();
        f.write_str(&names.join(", "))
    }
}

/// Whether the file does not exist, or its device has disappeared.
pub(crate) fn is_absent(error: &HostError) -> bool {
    matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone)
}

/// The I/O scheduler of a disk.
///
/// A switch freezes the queue for tens of milliseconds and resets `nr_requests`, `async_depth`,
/// with bfq `wbt_lat_usec`, and every tunable of the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scheduler {
    /// The disk.
    pub disk: DiskName,
}

/// The state of a disk's scheduler. It is serialized as its name, or as a word in parentheses if
/// there is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum SchedulerState {
    /// The disk does not exist.
    Gone,
    /// The disk has no requests to schedule.
    BioBased,
    /// The active scheduler, possibly `none`.
    Active(SchedulerName),
}

impl TryFrom<String> for SchedulerState {
    type Error = SchedulerNameError;

    fn try_from(text: String) -> Result<Self, SchedulerNameError> {
        match text.as_str() {
            "(gone)" => Ok(Self::Gone),
            "(bio-based)" => Ok(Self::BioBased),
            name => SchedulerName::literal(name).map(Self::Active),
        }
    }
}

impl From<SchedulerState> for String {
    fn from(state: SchedulerState) -> Self {
        match state {
            SchedulerState::Gone => "(gone)".to_owned(),
            SchedulerState::BioBased => "(bio-based)".to_owned(),
            SchedulerState::Active(name) => name.0,
        }
    }
}

impl Scheduler {
    /// The scheduler of a disk.
    pub fn new(disk: &DiskName) -> Self {
        Self { disk: disk.clone() }
    }

    /// The active scheduler; `None` if the disk has none.
    ///
    /// # Errors
    /// If the host cannot be read.
    pub fn active(&self, host: &Host) -> Result<Option<SchedulerName>, HostError> {
        Ok(Offered::of(host, &self.disk)?.and_then(|offered| offered.active))
    }

    fn not_offered(name: &SchedulerName, offered: &Offered) -> Unsupported {
        let why = format!("the kernel offers {offered} for this disk, but not {name}");
        let unsupported = Unsupported::new(UnsupportedKind::ValueUnavailable, why);
        match name.module() {
            Some(module) => unsupported
                .hint(format!(
                    "load the module, if this kernel has it: modprobe {}; or use one of {offered}",
                    module.name()
                ))
                .module(module.name())
                .cured_by(&module, &ModuleState::Loaded),
            None => unsupported.hint(format!("use one of {offered}")),
        }
    }
}

/// The reason when a disk does not exist.
pub(crate) fn gone(disk: &DiskName) -> Unsupported {
    Unsupported::new(UnsupportedKind::Missing, format!("there is no disk {disk}"))
        .hint("list the disks with: lsblk -d")
}

/// The reason when a disk has no requests to schedule.
fn bio_based(disk: &DiskName) -> Unsupported {
    let why = format!("{disk} is bio-based: it passes bios on and has no requests to schedule");
    Unsupported::new(UnsupportedKind::Missing, why)
        .hint("set the scheduler of the disks below it: see lsblk -s, and for NVMe the hidden paths in /sys/block")
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} scheduler", self.disk)
    }
}

impl Knob for Scheduler {
    const NAME: &'static str = "io-scheduler";
    /// A switch is complete when the write returns; under load the queue may take a while to drain.
    const SETTLE: Duration = Duration::ZERO;
    type State = SchedulerState;

    fn read(&self, host: &Host) -> Result<SchedulerState, HostError> {
        match Offered::of(host, &self.disk)? {
            Some(Offered {
                active: Some(name), ..
            }) => Ok(SchedulerState::Active(name)),
            Some(_) => Ok(SchedulerState::BioBased),
            None if is_there(host, &self.disk)? => Ok(SchedulerState::BioBased),
            None => Ok(SchedulerState::Gone),
        }
    }

    fn set(&self, host: &mut Host, to: &SchedulerState) -> Result<(), HostError> {
        let path = self.disk.queue("scheduler");
        let SchedulerState::Active(name) = to else {
            return Err(attribute::no_value(
                path,
                "whether a disk exists or is bio-based cannot be set",
            ));
        };
        write::value(host, &self.disk, &path, name.as_str(), |host| {
            let offered = Offered::of(host, &self.disk).ok().flatten()?;
            Some(Self::not_offered(name, &offered))
        })
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &SchedulerState,
    ) -> Result<Option<Unsupported>, HostError> {
        let SchedulerState::Active(name) = to else {
            return Ok(None);
        };
        Ok(match Offered::of(host, &self.disk)? {
            Some(offered) if offered.offers(name) => {
                match host.unwritable_here(self.disk.queue("scheduler"))? {
                    Some(unsupported) => Some(unsupported),
                    None => zoned::unsupported(host, &self.disk, name)?,
                }
            }
            Some(offered) if offered.active.is_some() => Some(Self::not_offered(name, &offered)),
            None if !is_there(host, &self.disk)? => Some(gone(&self.disk)),
            _ => Some(bio_based(&self.disk)),
        })
    }

    /// In the order in which they are reverted: `nr_requests` changes the depths that follow it.
    fn side_effects(&self, host: &Host, to: &SchedulerState) -> Result<Vec<AnyKnob>, HostError> {
        let attributes = [
            Attribute::NrRequests,
            Attribute::AsyncDepth,
            Attribute::WbtLatUsec,
        ];
        let mut knobs: Vec<AnyKnob> = attributes
            .iter()
            .map(|attribute| AnyKnob::of(&QueueAttribute::new(&self.disk, *attribute)))
            .collect();
        if let Some(active) = self.active(host)? {
            let tunables = SchedulerTunable::all(host, &self.disk, &active)?;
            knobs.extend(tunables.iter().map(AnyKnob::of));
        }
        if let SchedulerState::Active(name) = to {
            let unsettled = SchedulerTunable::unsettled(&self.disk, name);
            knobs.extend(unsettled.iter().map(AnyKnob::of));
        }
        Ok(knobs)
    }

    fn is_gone(&self, seen: &SchedulerState) -> bool {
        *seen == SchedulerState::Gone
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        Ok(identity(host, &self.disk))
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        crate::disk::is_same(identity, other)
    }

    fn show(&self, state: &SchedulerState) -> String {
        match state {
            SchedulerState::Gone => "gone".to_owned(),
            SchedulerState::BioBased => "bio-based".to_owned(),
            SchedulerState::Active(name) => name.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SchedulerName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_canonical() {
        assert_eq!(name("deadline"), name("mq-deadline"));
        assert_eq!(name(" none \n"), SchedulerName::none());
        for text in ["", " ", "a b", "[none]", "abcdefghijklmnop", "ä", "a\0"] {
            assert!(text.parse::<SchedulerName>().is_err(), "{text:?}");
        }
        // Not an alias: the kernel refuses it.
        assert_ne!(name("NONE"), SchedulerName::none());
    }

    #[test]
    fn what_a_scheduler_file_says() {
        for (text, active, count) in [
            ("[none] mq-deadline bfq kyber \n", Some("none"), 4),
            ("none [mq-deadline] bfq kyber \n", Some("mq-deadline"), 4),
            ("[mq-deadline] kyber bfq none\n", Some("mq-deadline"), 4),
            ("[none]\n", Some("none"), 1),
            // A bio-based disk, on 6.1: any write is accepted and does nothing.
            ("none\n", None, 1),
            ("", None, 0),
        ] {
            let offered = Offered::parse(text);
            assert_eq!(offered.active, active.map(name), "{text:?}");
            assert_eq!(offered.names.len(), count, "{text:?}");
            assert_eq!(offered.offers(&SchedulerName::none()), active.is_some());
        }
    }

    #[test]
    fn modules_of_schedulers() {
        let module = |text: &str| name(text).module().map(|module| module.name().to_owned());
        assert_eq!(module("none"), None);
        assert_eq!(module("cfq"), None);
        assert_eq!(module("bfq").as_deref(), Some("bfq"));
        assert_eq!(module("kyber").as_deref(), Some("kyber_iosched"));
        assert_eq!(module("deadline").as_deref(), Some("mq_deadline"));
    }
}
