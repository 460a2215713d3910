//! An attribute of a disk's request queue, as a knob.

use std::fmt;

use hosttune_core::{
    AnyKnob, Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
    attribute,
};
use serde::{Deserialize, Serialize};

use crate::attribute::Attribute;
use crate::disk::{identity, is_there};
use crate::name::DiskName;
use crate::scheduler::{Offered, Scheduler, SchedulerName, gone, is_absent};
use crate::tunable::SchedulerTunable;
use crate::write;

/// An attribute of a disk's queue. It is serialized as a string, `sda/nr_requests`: a plan for many
/// disks has thousands of them, and a map with two entries would take far more space.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueAttribute {
    /// The disk.
    pub disk: DiskName,
    /// The attribute.
    pub attribute: Attribute,
}

/// A text that does not name a queue attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a queue attribute: expected DISK/ATTRIBUTE", .0.escape_debug())]
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

/// The state of an attribute. It is serialized as a number, or as a word if there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Shown", into = "Shown")]
#[non_exhaustive]
pub enum AttributeState {
    /// The disk does not exist.
    Gone,
    /// The disk or this kernel does not have the attribute.
    Missing,
    /// The value, in the attribute's own unit.
    Value(u64),
    /// The value, which the device limits to `most`.
    Limited {
        /// In the attribute's own unit.
        value: u64,
        /// The largest possible value.
        most: u64,
    },
}

/// The serialized form of a state.
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
    /// The value, if there is one.
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

/// The page size, in KiB.
pub(crate) fn page() -> u64 {
    (rustix::param::page_size() as u64 / 1024).max(1)
}

impl QueueAttribute {
    /// The attribute of a disk.
    pub fn new(disk: &DiskName, attribute: Attribute) -> Self {
        Self {
            disk: disk.clone(),
            attribute,
        }
    }

    pub(crate) fn path(&self) -> String {
        self.disk.queue(self.attribute.file())
    }

    /// The device's limit, if the kernel reports one.
    pub(crate) fn most(&self, host: &Host) -> Option<u64> {
        if self.attribute != Attribute::MaxSectorsKb {
            return None;
        }
        number(host, &self.disk, "max_hw_sectors_kb")
    }

    fn unavailable(why: String, hint: String) -> Unsupported {
        Unsupported::new(UnsupportedKind::ValueUnavailable, why).hint(hint)
    }

    /// Why the kernel refused a value that is in the valid range.
    fn refused(&self, host: &Host, value: u64) -> Unsupported {
        let file = self.attribute.file();
        let scheduler = Scheduler::new(&self.disk).active(host).ok().flatten();
        let unscheduled = scheduler.is_some_and(|name| name.as_str() == "none");
        let (why, hint) = match self.attribute {
            Attribute::NrRequests if unscheduled => (
                format!(
                    "without a scheduler, {} has only as many requests as tags, and {value} is more",
                    self.disk
                ),
                "use a smaller value, or set a scheduler".to_owned(),
            ),
            Attribute::AsyncDepth if unscheduled => (
                format!(
                    "{} has no scheduler, and async_depth applies only with one",
                    self.disk
                ),
                "set a scheduler too".to_owned(),
            ),
            _ => (
                format!("{} rejects {value} for {file}", self.disk),
                format!("use another value; the current one is in {}", self.path()),
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
            // The file exists although the queue lacks the feature: `wbt_lat_usec` of a bio-based
            // disk.
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
        // In a captured tree, a file that could not be read is empty.
        if text.trim().is_empty() {
            return Ok(AttributeState::Missing);
        }
        let value = text.trim().parse().map_err(|_| {
            HostError::malformed(self.path(), format!("'{}' is not a number", text.trim()))
        })?;
        Ok(match self.most(host) {
            Some(most) => AttributeState::Limited { value, most },
            None => AttributeState::Value(value),
        })
    }

    fn set(&self, host: &mut Host, to: &AttributeState) -> Result<(), HostError> {
        let path = self.path();
        let Some(wanted) = to.value() else {
            return Err(attribute::no_value(path, "an attribute cannot be removed"));
        };
        let refuse =
            |unsupported| HostError::not_applicable(Operation::Write, path.clone(), unsupported);
        let most = self.most(host).filter(|most| wanted > *most);
        // Clamped here, because older kernels refuse what newer ones clamp.
        let written = most.unwrap_or(wanted);
        if self.attribute == Attribute::AsyncDepth
            && let Some(most) = number(host, &self.disk, Attribute::NrRequests.file())
            && wanted > most
        {
            return Err(refuse(Self::unavailable(
                format!("async_depth cannot exceed nr_requests, which is {most}"),
                format!("use {most} or less, or raise nr_requests"),
            )));
        }
        write::value(host, &self.disk, &path, &written.to_string(), |host| {
            Some(self.refused(host, wanted))
        })
    }

    fn satisfies(&self, seen: &AttributeState, wanted: &AttributeState) -> bool {
        match (seen.value(), wanted.value()) {
            (Some(value), Some(asked)) => {
                let made = self.attribute.predict(asked, page(), seen.most());
                value == asked || made.is_ok_and(|made| made == value)
            }
            _ => seen == wanted,
        }
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &AttributeState,
    ) -> Result<Option<Unsupported>, HostError> {
        let Some(wanted) = to.value() else {
            return Ok(None);
        };
        if let Err(refused) = self.attribute.predict(wanted, page(), None) {
            return Ok(Some(Self::unavailable(refused.why, refused.hint)));
        }
        Ok(match self.read(host)? {
            AttributeState::Gone => Some(gone(&self.disk)),
            AttributeState::Missing => Some(
                Unsupported::new(
                    UnsupportedKind::Missing,
                    format!("{} has no {}", self.disk, self.attribute),
                )
                .hint("it depends on the kernel version and configuration, and on whether the disk is bio-based"),
            ),
            AttributeState::Value(_) | AttributeState::Limited { .. } => {
                host.unwritable_here(self.path())?
            }
        })
    }

    fn side_effects(&self, host: &Host, _: &AttributeState) -> Result<Vec<AnyKnob>, HostError> {
        match self.attribute {
            // The kernel scales the depth in proportion; up to 6.18 the depth is a tunable of
            // mq-deadline.
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
            // Newer kernels recompute all limits when any of these is set, and raise read-ahead to
            // at least 128 KiB and to at least twice the optimal I/O size.
            Attribute::MaxSectorsKb | Attribute::Iostats | Attribute::AddRandom => {
                let ahead = Self::new(&self.disk, Attribute::ReadAheadKb);
                Ok(vec![AnyKnob::of(&ahead)])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn is_gone(&self, seen: &AttributeState) -> bool {
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
