//! The knob that makes a control group a partition of the processors.

use std::fmt;

use hosttune_core::{Host, HostError, Knob, Unsupported, UnsupportedKind, attribute};
use serde::{Deserialize, Serialize};

use super::CGROUPS;
use super::controller::no_cpuset;

/// Whether a control group has its processors for itself: `cpuset.cpus.partition` (cgroup v2, Linux 5.0;
/// `isolated` since 6.1). The group is named by its path below the mount.
///
/// The kernel accepts a partition that it cannot make, and says so only when the file is read:
/// `root invalid (Cpu list in cpuset.cpus not exclusive)`. Such a step fails with that reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub String);

/// How the processors of a control group are shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionState {
    /// There is no such group, or it does not have the controller.
    Missing,
    /// With all other groups.
    Member,
    /// With none.
    Root,
    /// With none, and the kernel does not balance load among them: every thread needs a processor of its
    /// own.
    Isolated,
    /// As `Member`, although something else was requested; the kernel's words.
    Invalid(String),
}

impl Partition {
    fn path(&self) -> String {
        format!("{CGROUPS}/{}/cpuset.cpus.partition", self.0)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{} cpuset.cpus.partition", self.0)
    }
}

impl Knob for Partition {
    const NAME: &'static str = "cpuset-partition";
    type State = PartitionState;

    fn read(&self, host: &Host) -> Result<PartitionState, HostError> {
        let text = attribute::read(host, self.path())?;
        Ok(match text.as_deref() {
            None => PartitionState::Missing,
            Some("member") => PartitionState::Member,
            Some("root") => PartitionState::Root,
            Some("isolated") => PartitionState::Isolated,
            Some(other) => PartitionState::Invalid(other.to_owned()),
        })
    }

    fn set(&self, host: &mut Host, to: &PartitionState) -> Result<(), HostError> {
        let word = match to {
            PartitionState::Member => "member\n",
            PartitionState::Root => "root\n",
            PartitionState::Isolated => "isolated\n",
            PartitionState::Missing | PartitionState::Invalid(_) => {
                return Err(attribute::no_value(
                    self.path(),
                    "that is the kernel's verdict",
                ));
            }
        };
        host.write_value(self.path(), word.as_bytes())
    }

    /// An invalid partition is less than what was requested.
    fn rounds(&self, _: &PartitionState, _: &PartitionState) -> bool {
        false
    }

    /// Whether it would be invalid again after a change cannot be known.
    fn original(&self, seen: &PartitionState) -> Option<PartitionState> {
        match seen {
            PartitionState::Invalid(_) => None,
            seen => Some(seen.clone()),
        }
    }

    /// What a killed process leaves if the kernel has judged its write.
    fn is_partial_write(
        &self,
        seen: &PartitionState,
        _: &PartitionState,
        to: &PartitionState,
    ) -> bool {
        let word = match to {
            PartitionState::Root => "root ",
            PartitionState::Isolated => "isolated ",
            _ => return false,
        };
        matches!(seen, PartitionState::Invalid(words) if words.starts_with(word))
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &PartitionState,
    ) -> Result<Option<Unsupported>, HostError> {
        if matches!(to, PartitionState::Invalid(_) | PartitionState::Missing) {
            return Ok(Some(Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                "that is the kernel's verdict and no value",
            )));
        }
        match self.read(host)? {
            PartitionState::Missing => no_cpuset(host, &self.0).map(Some),
            _ => host.unwritable_here(self.path()),
        }
    }

    fn is_gone(&self, seen: &PartitionState) -> bool {
        *seen == PartitionState::Missing
    }

    fn show(&self, state: &PartitionState) -> String {
        match state {
            PartitionState::Missing => "missing",
            PartitionState::Member => "member",
            PartitionState::Root => "root",
            PartitionState::Isolated => "isolated",
            PartitionState::Invalid(words) => words,
        }
        .to_owned()
    }
}
