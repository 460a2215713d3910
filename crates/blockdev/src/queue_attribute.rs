//! An attribute of a disk's request queue, as a knob.

use std::fmt;

use hosttune_core::{AnyKnob, Host, HostError, HostErrorKind, Knob, Lack, LackKind, Operation};
use serde::{Deserialize, Serialize};

use crate::attribute::Attribute;
use crate::disk::{identity, is_there};
use crate::name::DiskName;
use crate::scheduler::{Offered, Scheduler, SchedulerName, gone, is_absent};
use crate::tunable::SchedulerTunable;
use crate::write;

/// An attribute of a disk's queue. As data it is `sda/nr_requests`: there are thousands in a plan for
/// many disks, and a map of two costs as much as a page of text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueAttribute {
    /// Whose.
    pub disk: DiskName,
    /// Which.
    pub attribute: Attribute,
}

/// A text that names no attribute of a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no attribute of a disk's queue", .0.escape_debug())]
pub struct QueueAttributeError(String);

impl TryFrom<String> for QueueAttribute {
    type Error = QueueAttributeError;

    fn try_from(text: String) -> Result<Self, QueueAttributeError> {
        let read = |text: &str| {
            let (disk, file) = text.split_once('/')?;
            let attribute = Attribute::ALL.into_iter().find(|one| one.file() == file)?;
            Some(Self::new(&disk.parse().ok()?, attribute))
        };
        read(&text).ok_or(QueueAttributeError(text))
    }
}

impl From<QueueAttribute> for String {
    fn from(knob: QueueAttribute) -> Self {
        format!("{}/{}", knob.disk, knob.attribute)
    }
}

/// What an attribute is. As data it is a number, or a word where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Shown", into = "Shown")]
#[non_exhaustive]
pub enum AttributeState {
    /// There is no such disk.
    Gone,
    /// The disk, or this kernel, has no such attribute.
    Missing,
    /// It is this, in the attribute's own unit.
    Value(u64),
    /// It is this, and the device lets it be no more than `most`.
    Limited {
        /// In the attribute's own unit.
        value: u64,
        /// The largest that it can be.
        most: u64,
    },
}

/// How a state is written down.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Shown {
    Value(u64),
    Limited { value: u64, most: u64 },
    Without(Without),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Without {
    Gone,
    Missing,
}

impl From<Shown> for AttributeState {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Value(value) => Self::Value(value),
            Shown::Limited { value, most } => Self::Limited { value, most },
            Shown::Without(Without::Gone) => Self::Gone,
            Shown::Without(Without::Missing) => Self::Missing,
        }
    }
}

impl From<AttributeState> for Shown {
    fn from(state: AttributeState) -> Self {
        match state {
            AttributeState::Value(value) => Self::Value(value),
            AttributeState::Limited { value, most } => Self::Limited { value, most },
            AttributeState::Gone => Self::Without(Without::Gone),
            AttributeState::Missing => Self::Without(Without::Missing),
        }
    }
}

impl AttributeState {
    /// The number.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Value(value) | Self::Limited { value, .. } => Some(value),
            Self::Gone | Self::Missing => None,
        }
    }

    fn most(self) -> Option<u64> {
        match self {
            Self::Limited { most, .. } => Some(most),
            _ => None,
        }
    }
}

/// The size of a page, in KiB.
pub(crate) fn page() -> u64 {
    (rustix::param::page_size() as u64 / 1024).max(1)
}

impl QueueAttribute {
    /// Of a disk.
    pub fn new(disk: &DiskName, attribute: Attribute) -> Self {
        Self {
            disk: disk.clone(),
            attribute,
        }
    }

    pub(crate) fn path(&self) -> String {
        self.disk.queue(self.attribute.file())
    }

    /// The largest value that the device has, where the kernel says so.
    pub(crate) fn most(&self, host: &Host) -> Option<u64> {
        if self.attribute != Attribute::MaxSectorsKb {
            return None;
        }
        number(host, &self.disk, "max_hw_sectors_kb")
    }

    fn unavailable(why: String, hint: String) -> Lack {
        Lack::new(LackKind::ValueUnavailable, why).hint(hint)
    }

    /// Why the kernel refuses what is not wrong by itself.
    fn refused(&self, host: &Host, value: u64) -> Lack {
        let file = self.attribute.file();
        let scheduler = Scheduler::new(&self.disk).active(host).ok().flatten();
        let unscheduled = scheduler.is_some_and(|name| name.as_str() == "none");
        let (why, hint) = match self.attribute {
            Attribute::NrRequests if unscheduled => (
                format!(
                    "without a scheduler {} has no more requests than tags, and {value} is more",
                    self.disk
                ),
                "want fewer, or a scheduler".to_owned(),
            ),
            Attribute::AsyncDepth if unscheduled => (
                format!(
                    "{} has no scheduler, and it is the scheduler that has an async_depth",
                    self.disk
                ),
                "want a scheduler too".to_owned(),
            ),
            _ => (
                format!("{} does not take {value} as {file}", self.disk),
                format!("want another; now it is as in {}", self.path()),
            ),
        };
        Self::unavailable(why, hint)
    }
}

fn number(host: &Host, disk: &DiskName, file: &str) -> Option<u64> {
    host.read_text(disk.queue(file)).ok()?.trim().parse().ok()
}

impl fmt::Display for QueueAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.disk, self.attribute)
    }
}

impl Knob for QueueAttribute {
    const NAME: &'static str = "queue-attribute";
    type State = AttributeState;

    fn read(&self, host: &Host) -> Result<AttributeState, HostError> {
        let text = match host.read_text(self.path()) {
            Ok(text) => text,
            // A queue that has the file and not the thing: wbt_lat_usec of what is bio-based.
            Err(error) if *error.kind() == HostErrorKind::Refused => {
                return Ok(AttributeState::Missing);
            }
            Err(error) if is_absent(&error) => {
                let there = Offered::of(host, &self.disk)?.is_some() || is_there(host, &self.disk)?;
                return Ok(if there {
                    AttributeState::Missing
                } else {
                    AttributeState::Gone
                });
            }
            Err(error) => return Err(error),
        };
        // A capture of a file that the kernel refused to be read: copying it leaves an empty one.
        if text.trim().is_empty() {
            return Ok(AttributeState::Missing);
        }
        let value = text.trim().parse().map_err(|_| {
            HostError::malformed(self.path(), format!("'{}' is no number", text.trim()))
        })?;
        Ok(match self.most(host) {
            Some(most) => AttributeState::Limited { value, most },
            None => AttributeState::Value(value),
        })
    }

    fn turn(&self, host: &mut Host, to: &AttributeState) -> Result<(), HostError> {
        let path = self.path();
        let Some(wanted) = to.value() else {
            return Err(
                HostError::new(Operation::Write, path, HostErrorKind::Refused)
                    .detail("an attribute cannot be taken away"),
            );
        };
        let refuse = |lack| HostError::not_applicable(Operation::Write, path.clone(), lack);
        let most = self.most(host).filter(|most| wanted > *most);
        // Clamped here, as older kernels refuse what newer ones clamp.
        let written = most.unwrap_or(wanted);
        if self.attribute == Attribute::AsyncDepth
            && let Some(most) = number(host, &self.disk, Attribute::NrRequests.file())
            && wanted > most
        {
            return Err(refuse(Self::unavailable(
                format!("async_depth is at most nr_requests, and that is {most}"),
                format!("want {most} or less, or more nr_requests"),
            )));
        }
        write::value(host, &self.disk, &path, &written.to_string(), |host| {
            Some(self.refused(host, wanted))
        })
    }

    fn counts_as(&self, seen: &AttributeState, wanted: &AttributeState) -> bool {
        match (seen.value(), wanted.value()) {
            (Some(value), Some(asked)) => {
                let made = self.attribute.predict(asked, page(), seen.most());
                value == asked || made.is_ok_and(|made| made == value)
            }
            _ => seen == wanted,
        }
    }

    fn lacks(&self, host: &Host, to: &AttributeState) -> Result<Option<Lack>, HostError> {
        let Some(wanted) = to.value() else {
            return Ok(None);
        };
        if let Err(refused) = self.attribute.predict(wanted, page(), None) {
            return Ok(Some(Self::unavailable(refused.why, refused.hint)));
        }
        Ok(match self.read(host)? {
            AttributeState::Gone => Some(gone(&self.disk)),
            AttributeState::Missing => Some(
                Lack::new(
                    LackKind::Missing,
                    format!("{} has no {}", self.disk, self.attribute),
                )
                .hint("it depends on the kernel, and on whether the disk has requests"),
            ),
            AttributeState::Value(_) | AttributeState::Limited { .. } => {
                host.read_only_mount(self.path())?
            }
        })
    }

    fn disturbs(&self, host: &Host, _: &AttributeState) -> Result<Vec<AnyKnob>, HostError> {
        match self.attribute {
            // The depth follows in proportion; up to 6.18 it is mq-deadline's own.
            Attribute::NrRequests => {
                let depth = Self::new(&self.disk, Attribute::AsyncDepth);
                if host.exists(depth.path())? {
                    return Ok(vec![AnyKnob::of(&depth)]);
                }
                let scheduler = SchedulerName::mq_deadline();
                let depth =
                    SchedulerTunable::new(&self.disk, &scheduler, Attribute::AsyncDepth.file());
                Ok(vec![AnyKnob::of(&depth)])
            }
            // The limits are worked out as a whole by newer kernels, whichever is set, and read-ahead is
            // raised to 128 KiB at least, and to twice what is best to read at a time.
            Attribute::MaxSectorsKb | Attribute::Iostats | Attribute::AddRandom => {
                let ahead = Self::new(&self.disk, Attribute::ReadAheadKb);
                Ok(vec![AnyKnob::of(&ahead)])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn gone(&self, seen: &AttributeState) -> bool {
        *seen == AttributeState::Gone
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        Ok(identity(host, &self.disk))
    }

    fn is_same_thing(identity: &str, other: &str) -> bool {
        crate::disk::is_same(identity, other)
    }

    fn show(&self, state: &AttributeState) -> String {
        match (state, self.attribute.unit()) {
            (AttributeState::Gone, _) => "gone".to_owned(),
            (AttributeState::Missing, _) => "missing".to_owned(),
            (AttributeState::Value(value) | AttributeState::Limited { value, .. }, "") => {
                value.to_string()
            }
            (AttributeState::Value(value) | AttributeState::Limited { value, .. }, unit) => {
                format!("{value} {unit}")
            }
        }
    }
}
