//! A disk's I/O scheduler, as a knob.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hosttune_boot::{KernelModule, ModuleState};
use hosttune_core::{AnyKnob, Host, HostError, HostErrorKind, Knob, Lack, LackKind, Operation};
use serde::{Deserialize, Serialize};

use crate::attribute::Attribute;
use crate::disk::{identity, is_there};
use crate::name::DiskName;
use crate::queue_attribute::QueueAttribute;
use crate::tunable::SchedulerTunable;
use crate::write;
use crate::zoned;

/// A scheduler's name in canonical form: `none`, `mq-deadline`, `bfq`, `kyber`, or one that is not
/// known here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SchedulerName(String);

/// A text that names no scheduler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no scheduler's name: 1 to 15 characters without blanks, slashes and brackets", .0.escape_debug())]
pub struct SchedulerNameError(String);

/// `ELV_NAME_MAX` without the end mark.
const LONGEST: usize = 15;

impl SchedulerName {
    /// No scheduler: requests go to the device as they come.
    pub fn none() -> Self {
        Self("none".to_owned())
    }

    /// Requests are sorted by place, and none waits longer than its deadline.
    pub fn mq_deadline() -> Self {
        Self("mq-deadline".to_owned())
    }

    /// Each process gets its share of the disk.
    pub fn bfq() -> Self {
        Self("bfq".to_owned())
    }

    /// So many requests at once as keep the latency of each kind below its target.
    pub fn kyber() -> Self {
        Self("kyber".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The module that has it, where that is known.
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

    /// With the kernel's own alias: `deadline` is `mq-deadline`. Blanks around it are passed over.
    fn from_str(text: &str) -> Result<Self, SchedulerNameError> {
        Self::literal(match text.trim() {
            "deadline" => "mq-deadline",
            name => name,
        })
    }
}

impl SchedulerName {
    /// As a scheduler file has it. Before Linux 5.0 `deadline` was one of its own, of disks with a single
    /// queue, and such a disk has no `mq-deadline`.
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

/// What a scheduler file holds: `none [mq-deadline] bfq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The one in brackets. Without one nothing can be chosen: a bio-based disk says `none`.
    pub active: Option<SchedulerName>,
    /// All of them, in the file's order, which differs from kernel to kernel.
    pub names: Vec<SchedulerName>,
}

impl Offered {
    /// Reads a scheduler file.
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

    /// Of a disk; `None` where it has no scheduler file.
    ///
    /// # Errors
    /// Where it is there and cannot be read.
    pub fn of(host: &Host, disk: &DiskName) -> Result<Option<Self>, HostError> {
        match host.read_text(disk.queue("scheduler")) {
            Ok(text) => Ok(Some(Self::parse(&text))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a scheduler can be chosen.
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

/// Nothing is there by that name, or what was there has gone.
pub(crate) fn is_absent(error: &HostError) -> bool {
    matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone)
}

/// The I/O scheduler of a disk.
///
/// Switching costs tens of milliseconds, in which the queue stands still, and resets
/// `nr_requests`, `async_depth`, with bfq `wbt_lat_usec`, and every tunable of the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scheduler {
    /// Whose.
    pub disk: DiskName,
}

/// What a disk's scheduler is. As data it is its name, and what is none stands in parentheses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum SchedulerState {
    /// There is no such disk.
    Gone,
    /// The disk has no requests, and so nothing to schedule.
    BioBased,
    /// This one; `none` is one too.
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
    /// Of a disk.
    pub fn new(disk: &DiskName) -> Self {
        Self { disk: disk.clone() }
    }

    /// The scheduler that is active; `None` where there is none to be.
    ///
    /// # Errors
    /// Where the host would not say.
    pub fn active(&self, host: &Host) -> Result<Option<SchedulerName>, HostError> {
        Ok(Offered::of(host, &self.disk)?.and_then(|offered| offered.active))
    }

    fn not_offered(name: &SchedulerName, offered: &Offered) -> Lack {
        let why = format!("the kernel offers {offered} here, and not {name}");
        let lack = Lack::new(LackKind::ValueUnavailable, why);
        match name.module() {
            Some(module) => lack
                .hint(format!(
                    "load what has it if this kernel does, modprobe {}, or want one of {offered}",
                    module.name()
                ))
                .module(module.name())
                .cured_by(&module, &ModuleState::Loaded),
            None => lack.hint(format!("want one of {offered}")),
        }
    }
}

/// Why nothing can be had of a disk that is not there.
pub(crate) fn gone(disk: &DiskName) -> Lack {
    Lack::new(LackKind::Missing, format!("there is no disk {disk}"))
        .hint("see what there is: lsblk -d")
}

/// Why a disk without requests has no scheduler.
fn bio_based(disk: &DiskName) -> Lack {
    let why =
        format!("{disk} is bio-based: it passes on what it gets and has no requests to schedule");
    Lack::new(LackKind::Missing, why)
        .hint("set the scheduler of the disks that it stands on: lsblk -s, and for NVMe the hidden paths beneath /sys/block")
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} scheduler", self.disk)
    }
}

impl Knob for Scheduler {
    const NAME: &'static str = "io-scheduler";
    /// A switch is done when it is answered; under load the queue may take a while to empty.
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

    fn turn(&self, host: &mut Host, to: &SchedulerState) -> Result<(), HostError> {
        let path = self.disk.queue("scheduler");
        let SchedulerState::Active(name) = to else {
            return Err(
                HostError::new(Operation::Write, path, HostErrorKind::Refused)
                    .detail("what a disk is cannot be set"),
            );
        };
        write::value(host, &self.disk, &path, name.as_str(), |host| {
            let offered = Offered::of(host, &self.disk).ok().flatten()?;
            Some(Self::not_offered(name, &offered))
        })
    }

    fn lacks(&self, host: &Host, to: &SchedulerState) -> Result<Option<Lack>, HostError> {
        let SchedulerState::Active(name) = to else {
            return Ok(None);
        };
        Ok(match Offered::of(host, &self.disk)? {
            Some(offered) if offered.offers(name) => {
                match host.read_only_mount(self.disk.queue("scheduler"))? {
                    Some(lack) => Some(lack),
                    None => zoned::lack(host, &self.disk, name)?,
                }
            }
            Some(offered) if offered.active.is_some() => Some(Self::not_offered(name, &offered)),
            None if !is_there(host, &self.disk)? => Some(gone(&self.disk)),
            _ => Some(bio_based(&self.disk)),
        })
    }

    /// In the order in which they are put back: `nr_requests` moves the depths that follow it.
    fn disturbs(&self, host: &Host, to: &SchedulerState) -> Result<Vec<AnyKnob>, HostError> {
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

    fn gone(&self, seen: &SchedulerState) -> bool {
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
            // Bio-based, on 6.1: any write is taken and does nothing.
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
