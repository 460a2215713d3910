//! The tunables of a disk's I/O scheduler, as knobs.

use std::fmt;

use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
    attribute,
};
use serde::{Deserialize, Serialize};

use crate::disk::{identity, is_there};
use crate::name::DiskName;
use crate::scheduler::{Offered, Scheduler, SchedulerName, SchedulerState, gone, is_absent};
use crate::write;

/// A tunable of one scheduler of a disk: a file in `/sys/block/NAME/queue/iosched`, which exists
/// only while the scheduler is active. It is serialized as `sda/bfq/low_latency`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SchedulerTunable {
    /// The disk.
    pub disk: DiskName,
    /// The scheduler: another one may give the same name a different meaning.
    pub scheduler: SchedulerName,
    /// The name of its file.
    pub name: String,
}

/// A text that does not name a scheduler tunable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a scheduler tunable: expected DISK/SCHEDULER/TUNABLE", .0.escape_debug())]
pub struct SchedulerTunableError(String);

impl TryFrom<String> for SchedulerTunable {
    type Error = SchedulerTunableError;

    fn try_from(text: String) -> Result<Self, SchedulerTunableError> {
        let read = |text: &str| {
            let (disk, rest) = text.split_once('/')?;
            let (scheduler, name) = rest.split_once('/')?;
            Some(Self::new(
                &disk.parse().ok()?,
                &scheduler.parse().ok()?,
                name,
            ))
        };
        read(&text).ok_or(SchedulerTunableError(text))
    }
}

impl From<SchedulerTunable> for String {
    fn from(knob: SchedulerTunable) -> Self {
        format!("{}/{}/{}", knob.disk, knob.scheduler, knob.name)
    }
}

/// The state of a tunable. It is serialized as the text of its file, or as a word in parentheses if
/// there is no value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum TunableState {
    /// The disk does not exist.
    Gone,
    /// Another scheduler is active, so this one has no tunables.
    Inactive,
    /// The scheduler is active but does not have the tunable.
    Missing,
    /// The scheduler is active and the tunable has this value.
    Value(String),
}

impl From<String> for TunableState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "(gone)" => Self::Gone,
            "(inactive)" => Self::Inactive,
            "(missing)" => Self::Missing,
            _ => Self::Value(text),
        }
    }
}

impl From<TunableState> for String {
    fn from(state: TunableState) -> Self {
        match state {
            TunableState::Gone => "(gone)".to_owned(),
            TunableState::Inactive => "(inactive)".to_owned(),
            TunableState::Missing => "(missing)".to_owned(),
            TunableState::Value(text) => text,
        }
    }
}

impl TunableState {
    /// A number as a value.
    pub fn number(number: impl Into<i128>) -> Self {
        Self::Value(number.into().to_string())
    }
}

/// The length of the longest jiffy, in ms: kernels have 100 to 1000 per second.
const JIFFY: i128 = 10;

/// How the kernel rounds a number that is written to a tunable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    /// It stores the number unchanged.
    None,
    /// 0 or 1.
    Switch,
    /// At least 1.
    Positive,
    /// Milliseconds, rounded up to whole jiffies, whose length depends on the kernel.
    Jiffies,
}

fn rounding(scheduler: &str, name: &str) -> Rounding {
    match (scheduler, name) {
        ("mq-deadline", "front_merges") | ("bfq", "low_latency" | "strict_guarantees") => {
            Rounding::Switch
        }
        ("mq-deadline", "read_expire" | "write_expire" | "prio_aging_expire")
        | ("bfq", "timeout_sync") => Rounding::Jiffies,
        ("mq-deadline", "async_depth")
        | ("bfq", "back_seek_penalty" | "fifo_expire_sync" | "fifo_expire_async") => {
            Rounding::Positive
        }
        _ => Rounding::None,
    }
}

/// Whether no other scheduler has a tunable of this name.
fn is_of_one(scheduler: &str, name: &str) -> bool {
    match scheduler {
        "mq-deadline" => matches!(
            name,
            "fifo_batch"
                | "front_merges"
                | "prio_aging_expire"
                | "read_expire"
                | "write_expire"
                | "writes_starved"
        ),
        "kyber" => matches!(name, "read_lat_nsec" | "write_lat_nsec"),
        "bfq" => matches!(
            name,
            "back_seek_max"
                | "back_seek_penalty"
                | "fifo_expire_async"
                | "fifo_expire_sync"
                | "low_latency"
                | "max_budget"
                | "slice_idle"
                | "slice_idle_us"
                | "strict_guarantees"
                | "timeout_sync"
        ),
        _ => false,
    }
}

/// The other tunables that change with one. bfq's idling is a single value in two units, and strict
/// guarantees require it.
fn along(scheduler: &str, name: &str) -> &'static [&'static str] {
    match (scheduler, name) {
        ("bfq", "slice_idle") => &["slice_idle_us"],
        ("bfq", "slice_idle_us") => &["slice_idle"],
        ("bfq", "strict_guarantees") => &["slice_idle", "slice_idle_us"],
        _ => &[],
    }
}

/// The tunables of a scheduler that change as a side effect of something else. Once a plan makes
/// the scheduler active, their values are no longer known.
const fn set_along(scheduler: &str) -> &'static [&'static str] {
    match scheduler.as_bytes() {
        b"bfq" => &["slice_idle", "slice_idle_us"],
        b"mq-deadline" => &["async_depth"],
        _ => &[],
    }
}

impl SchedulerTunable {
    /// A tunable of a scheduler of a disk.
    pub fn new(disk: &DiskName, scheduler: &SchedulerName, name: impl Into<String>) -> Self {
        Self {
            disk: disk.clone(),
            scheduler: scheduler.clone(),
            name: name.into(),
        }
    }

    /// All tunables of the active scheduler, in an order in which they can be set: a tunable that
    /// changes as a side effect comes after the one that changes it, and of bfq's idling the finer
    /// unit comes last.
    pub(crate) fn all(
        host: &Host,
        disk: &DiskName,
        active: &SchedulerName,
    ) -> Result<Vec<Self>, HostError> {
        match host.list(disk.queue("iosched")) {
            Ok(mut names) => {
                let last = set_along(active.as_str());
                names.sort_by_key(|name| last.iter().position(|one| one == name));
                let knob = |name| Self::new(disk, active, name);
                Ok(names.into_iter().map(knob).collect())
            }
            // `none` has no such directory.
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The tunables of a scheduler that is not active yet which change as a side effect of
    /// something else.
    pub(crate) fn unsettled(disk: &DiskName, scheduler: &SchedulerName) -> Vec<Self> {
        let names = set_along(scheduler.as_str()).iter();
        names
            .map(|name| Self::new(disk, scheduler, *name))
            .collect()
    }

    pub(crate) fn path(&self) -> String {
        self.disk.queue(&format!("iosched/{}", self.name))
    }

    /// Whether the name is a possible file name.
    fn is_name(&self) -> bool {
        !self.name.is_empty()
            && self
                .name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    /// The contents of its file; `None` if the file does not exist.
    fn shown(&self, host: &Host) -> Result<Option<TunableState>, HostError> {
        match host.read_text(self.path()) {
            Ok(text) => Ok(Some(TunableState::Value(text.trim().to_owned()))),
            // A value that cannot be read cannot be reverted, so it is treated as missing.
            Err(error)
                if is_absent(&error)
                    || matches!(error.kind(), HostErrorKind::Denied | HostErrorKind::Refused) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn missing(&self, host: &Host) -> Unsupported {
        let there = host.list(self.disk.queue("iosched")).unwrap_or_default();
        let unsupported = Unsupported::new(
            UnsupportedKind::Missing,
            format!("{} has no {} on this kernel", self.scheduler, self.name),
        );
        match there.as_slice() {
            [] => unsupported.hint(format!("{} has no tunables", self.scheduler)),
            there => unsupported.hint(format!("available tunables: {}", there.join(", "))),
        }
    }
}

impl fmt::Display for SchedulerTunable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.disk, self.scheduler, self.name)
    }
}

impl Knob for SchedulerTunable {
    const NAME: &'static str = "io-scheduler-tunable";
    type State = TunableState;

    fn read(&self, host: &Host) -> Result<TunableState, HostError> {
        // A name that only one scheduler has identifies the active scheduler. Within a read epoch
        // the scheduler is already known, from the knob before.
        let only = host.look().is_none() && is_of_one(self.scheduler.as_str(), &self.name);
        if only && let Some(state) = self.shown(host)? {
            return Ok(state);
        }
        match Offered::of(host, &self.disk)? {
            Some(offered) if offered.active.as_ref() == Some(&self.scheduler) => {}
            Some(_) => return Ok(TunableState::Inactive),
            None if is_there(host, &self.disk)? => return Ok(TunableState::Inactive),
            None => return Ok(TunableState::Gone),
        }
        if !self.is_name() || only {
            return Ok(TunableState::Missing);
        }
        Ok(self.shown(host)?.unwrap_or(TunableState::Missing))
    }

    fn set(&self, host: &mut Host, to: &TunableState) -> Result<(), HostError> {
        let path = self.path();
        let TunableState::Value(text) = to else {
            return Err(attribute::no_value(path, "a tunable cannot be removed"));
        };
        let active = Scheduler::new(&self.disk).active(host)?;
        if active.as_ref() != Some(&self.scheduler) || !self.is_name() {
            // The write would change another scheduler's tunable of the same name.
            let unsupported = self
                .unsupported(host, to)?
                .unwrap_or_else(|| gone(&self.disk));
            return Err(HostError::not_applicable(
                Operation::Write,
                path,
                unsupported,
            ));
        }
        write::value(host, &self.disk, &path, text, |host| {
            if self.read(host) == Ok(TunableState::Missing) {
                return Some(self.missing(host));
            }
            Some(
                Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    format!("{} rejects {text} for {}", self.scheduler, self.name),
                )
                .hint("all known tunables take numbers"),
            )
        })
    }

    fn satisfies(&self, seen: &TunableState, wanted: &TunableState) -> bool {
        let (TunableState::Value(value), TunableState::Value(asked)) = (seen, wanted) else {
            return seen == wanted;
        };
        if value == asked {
            return true;
        }
        let (Ok(value), Ok(asked)) = (value.parse::<i128>(), asked.trim().parse::<i128>()) else {
            return false;
        };
        match rounding(self.scheduler.as_str(), &self.name) {
            Rounding::None => value == asked,
            Rounding::Switch => value == i128::from(asked != 0),
            Rounding::Positive => value == asked.max(1),
            Rounding::Jiffies => asked >= 0 && (asked..asked + JIFFY).contains(&value),
        }
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &TunableState,
    ) -> Result<Option<Unsupported>, HostError> {
        let TunableState::Value(text) = to else {
            return Ok(None);
        };
        if text.trim().is_empty() || text.contains(['\n', '\0', '(']) {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    format!(
                        "'{}' is not a valid value for {}",
                        text.escape_debug(),
                        self.name
                    ),
                )
                .hint("use a single word, usually a number"),
            ));
        }
        Ok(match self.read(host)? {
            TunableState::Gone => Some(gone(&self.disk)),
            TunableState::Inactive => {
                let needed = SchedulerState::Active(self.scheduler.clone());
                let why = format!(
                    "{} is not the active scheduler of {}",
                    self.scheduler, self.disk
                );
                Some(
                    Unsupported::new(UnsupportedKind::ValueUnavailable, why)
                        .hint(format!("set the scheduler {} too", self.scheduler))
                        .cured_by(&Scheduler::new(&self.disk), &needed),
                )
            }
            TunableState::Missing => Some(self.missing(host)),
            TunableState::Value(_) => host.unwritable_here(self.path())?,
        })
    }

    fn side_effects(&self, _: &Host, _: &TunableState) -> Result<Vec<AnyKnob>, HostError> {
        let names = along(self.scheduler.as_str(), &self.name);
        let knob = |name: &&str| AnyKnob::of(&Self::new(&self.disk, &self.scheduler, *name));
        Ok(names.iter().map(knob).collect())
    }

    fn is_gone(&self, seen: &TunableState) -> bool {
        matches!(seen, TunableState::Gone | TunableState::Inactive)
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        Ok(identity(host, &self.disk))
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        crate::disk::is_same(identity, other)
    }

    fn show(&self, state: &TunableState) -> String {
        match state {
            TunableState::Gone => "gone".to_owned(),
            TunableState::Inactive => "not active".to_owned(),
            TunableState::Missing => "missing".to_owned(),
            TunableState::Value(text) => text.clone(),
        }
    }
}
