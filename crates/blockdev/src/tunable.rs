//! What a scheduler itself can be told, as knobs.

use std::fmt;

use hosttune_core::{AnyKnob, Host, HostError, HostErrorKind, Knob, Lack, LackKind, Operation};
use serde::{Deserialize, Serialize};

use crate::disk::{identity, is_there};
use crate::name::DiskName;
use crate::scheduler::{Offered, Scheduler, SchedulerName, SchedulerState, gone, is_absent};
use crate::write;

/// A tunable of one scheduler of a disk: a file beneath `/sys/block/NAME/queue/iosched`, which is
/// there for as long as the scheduler is the active one. As data it is `sda/bfq/low_latency`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SchedulerTunable {
    /// Whose.
    pub disk: DiskName,
    /// Of which scheduler: the same name may mean something else to another one.
    pub scheduler: SchedulerName,
    /// The name of its file.
    pub name: String,
}

/// A text that names no tunable of a disk's scheduler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no tunable of a disk's scheduler", .0.escape_debug())]
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

/// What a tunable is. As data it is its text, and what is none stands in parentheses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum TunableState {
    /// There is no such disk.
    Gone,
    /// Another scheduler is active, and this one has no tunables.
    Inactive,
    /// The scheduler is active and has no such tunable.
    Missing,
    /// The scheduler is active, and it is this.
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

/// The longest that a jiffy is, in ms: kernels have 100 to 1000 in a second.
const JIFFY: i128 = 10;

/// What the kernel makes of the numbers that a tunable is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    /// Itself.
    None,
    /// 0 or 1.
    Switch,
    /// At least 1.
    Positive,
    /// Milliseconds, rounded up to whole jiffies: how long those are depends on the kernel.
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

/// Whether no other scheduler has a tunable of that name.
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

/// Which other tunables of a scheduler one sets along. bfq's idling is one value in two units, and
/// strict guarantees are not given without it.
fn along(scheduler: &str, name: &str) -> &'static [&'static str] {
    match (scheduler, name) {
        ("bfq", "slice_idle") => &["slice_idle_us"],
        ("bfq", "slice_idle_us") => &["slice_idle"],
        ("bfq", "strict_guarantees") => &["slice_idle", "slice_idle_us"],
        _ => &[],
    }
}

/// The tunables of a scheduler that something else sets along. Once it is planned that the scheduler
/// becomes the active one, what they are is not known any more.
const fn set_along(scheduler: &str) -> &'static [&'static str] {
    match scheduler.as_bytes() {
        b"bfq" => &["slice_idle", "slice_idle_us"],
        b"mq-deadline" => &["async_depth"],
        _ => &[],
    }
}

impl SchedulerTunable {
    /// Of a scheduler of a disk.
    pub fn new(disk: &DiskName, scheduler: &SchedulerName, name: impl Into<String>) -> Self {
        Self {
            disk: disk.clone(),
            scheduler: scheduler.clone(),
            name: name.into(),
        }
    }

    /// All that the scheduler has which is active now, in an order in which they can be set: what is
    /// set along comes after what sets it, and of bfq's idling the finer unit is the last word.
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
            // `none` has no directory.
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Those of a scheduler that is not active yet which something else will set along.
    pub(crate) fn unsettled(disk: &DiskName, scheduler: &SchedulerName) -> Vec<Self> {
        let names = set_along(scheduler.as_str()).iter();
        names
            .map(|name| Self::new(disk, scheduler, *name))
            .collect()
    }

    pub(crate) fn path(&self) -> String {
        self.disk.queue(&format!("iosched/{}", self.name))
    }

    /// Whether the name can be a file's.
    fn is_name(&self) -> bool {
        !self.name.is_empty()
            && self
                .name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    /// What its file holds; `None` where there is no such file.
    fn shown(&self, host: &Host) -> Result<Option<TunableState>, HostError> {
        match host.read_text(self.path()) {
            Ok(text) => Ok(Some(TunableState::Value(text.trim().to_owned()))),
            // What cannot be read cannot be put back: as good as not there.
            Err(error)
                if is_absent(&error)
                    || matches!(error.kind(), HostErrorKind::Denied | HostErrorKind::Refused) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn missing(&self, host: &Host) -> Lack {
        let there = host.list(self.disk.queue("iosched")).unwrap_or_default();
        let lack = Lack::new(
            LackKind::Missing,
            format!("{} has no {} on this kernel", self.scheduler, self.name),
        );
        match there.as_slice() {
            [] => lack.hint(format!("{} has no tunables", self.scheduler)),
            there => lack.hint(format!("it has {}", there.join(", "))),
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
        // A name that only one scheduler has tells by itself which one is active. In a look the
        // scheduler is known anyway, from the knob before.
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

    fn turn(&self, host: &mut Host, to: &TunableState) -> Result<(), HostError> {
        let path = self.path();
        let TunableState::Value(text) = to else {
            return Err(
                HostError::new(Operation::Write, path, HostErrorKind::Refused)
                    .detail("a tunable cannot be taken away"),
            );
        };
        let active = Scheduler::new(&self.disk).active(host)?;
        if active.as_ref() != Some(&self.scheduler) || !self.is_name() {
            // It would be another scheduler's, if there is one of that name.
            let lack = self.lacks(host, to)?.unwrap_or_else(|| gone(&self.disk));
            return Err(HostError::not_applicable(Operation::Write, path, lack));
        }
        write::value(host, &self.disk, &path, text, |host| {
            if self.read(host) == Ok(TunableState::Missing) {
                return Some(self.missing(host));
            }
            Some(
                Lack::new(
                    LackKind::ValueUnavailable,
                    format!("{} does not take {text} as {}", self.scheduler, self.name),
                )
                .hint("all that are known here take numbers"),
            )
        })
    }

    fn counts_as(&self, seen: &TunableState, wanted: &TunableState) -> bool {
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

    fn lacks(&self, host: &Host, to: &TunableState) -> Result<Option<Lack>, HostError> {
        let TunableState::Value(text) = to else {
            return Ok(None);
        };
        if text.trim().is_empty() || text.contains(['\n', '\0', '(']) {
            return Ok(Some(
                Lack::new(
                    LackKind::ValueUnavailable,
                    format!("'{}' is no value of {}", text.escape_debug(), self.name),
                )
                .hint("want one word, a number as a rule"),
            ));
        }
        Ok(match self.read(host)? {
            TunableState::Gone => Some(gone(&self.disk)),
            TunableState::Inactive => {
                let needed = SchedulerState::Active(self.scheduler.clone());
                let why = format!("{} is not the scheduler of {}", self.scheduler, self.disk);
                Some(
                    Lack::new(LackKind::ValueUnavailable, why)
                        .hint(format!("want the scheduler {} too", self.scheduler))
                        .cured_by(&Scheduler::new(&self.disk), &needed),
                )
            }
            TunableState::Missing => Some(self.missing(host)),
            TunableState::Value(_) => host.read_only_mount(self.path())?,
        })
    }

    fn disturbs(&self, _: &Host, _: &TunableState) -> Result<Vec<AnyKnob>, HostError> {
        let names = along(self.scheduler.as_str(), &self.name);
        let knob = |name: &&str| AnyKnob::of(&Self::new(&self.disk, &self.scheduler, *name));
        Ok(names.iter().map(knob).collect())
    }

    fn gone(&self, seen: &TunableState) -> bool {
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
