//! The knob for the processors of a control group.

use std::fmt;

use hosttune_core::{Host, HostError, Knob, Unsupported, attribute};
use serde::{Deserialize, Serialize};

use super::CGROUPS;
use super::controller::no_cpuset;
use super::list::ProcessorList;

/// The processors that a control group asks for: `cpuset.cpus` (cgroup v2, Linux 5.0). The group is named
/// by its path below the mount, such as `machine.slice`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpusetProcessors(pub String);

/// The processors of a control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpusetState {
    /// There is no such group, or it does not have the controller.
    Missing,
    /// These; none are the default, those of its parent.
    Processors(ProcessorList),
}

impl CpusetProcessors {
    fn path(&self) -> String {
        format!("{CGROUPS}/{}/cpuset.cpus", self.0)
    }
}

impl fmt::Display for CpusetProcessors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{} cpuset.cpus", self.0)
    }
}

impl Knob for CpusetProcessors {
    const NAME: &'static str = "cpuset-processors";
    type State = CpusetState;

    fn read(&self, host: &Host) -> Result<CpusetState, HostError> {
        let Some(text) = attribute::read(host, self.path())? else {
            return Ok(CpusetState::Missing);
        };
        let list = text.parse::<ProcessorList>();
        let list = list.map_err(|error| HostError::malformed(self.path(), error.to_string()))?;
        Ok(CpusetState::Processors(list))
    }

    fn set(&self, host: &mut Host, to: &CpusetState) -> Result<(), HostError> {
        let CpusetState::Processors(list) = to else {
            return Err(attribute::no_value(
                self.path(),
                "the controller makes this file",
            ));
        };
        host.write_value(self.path(), format!("{list}\n").as_bytes())
    }

    fn unsupported(&self, host: &Host, _: &CpusetState) -> Result<Option<Unsupported>, HostError> {
        match self.read(host)? {
            CpusetState::Missing => no_cpuset(host, &self.0).map(Some),
            CpusetState::Processors(_) => host.unwritable_here(self.path()),
        }
    }

    fn is_gone(&self, seen: &CpusetState) -> bool {
        *seen == CpusetState::Missing
    }

    fn show(&self, state: &CpusetState) -> String {
        match state {
            CpusetState::Missing => "missing".to_owned(),
            CpusetState::Processors(list) if list.is_empty() => "those of the parent".to_owned(),
            CpusetState::Processors(list) => list.to_string(),
        }
    }
}
