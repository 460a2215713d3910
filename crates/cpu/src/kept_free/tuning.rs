//! The tuning that keeps processors free.

use hosttune_core::{Error, HostError, Planner, Tuning, Unsupported, UnsupportedKind, attribute};
use serde::{Deserialize, Serialize};

use super::controller::{Controller, ControllerState};
use super::interrupt::{AffinityState, InterruptAffinity};
use super::list::ProcessorList;
use super::partition::{Partition, PartitionState};
use super::processors::{CpusetProcessors, CpusetState};
use crate::irqbalance::NoteIrqbalance;

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Processors that are kept free for the tasks of one control group: they become a partition of it, and
/// interrupts move to the others.
///
/// ```
/// use hosttune_cpu::kept_free::KeptFree;
///
/// // For the virtual machines of libvirt, which are below this slice.
/// let guest = KeptFree::new("2-7".parse()?).partition("machine.slice");
/// # let _ = guest;
/// # Ok::<(), hosttune_cpu::kept_free::NotAList>(())
/// ```
///
/// # What stays there
/// - Interrupts that the kernel assigns itself: those are named as unsupported and nothing fails.
/// - Interrupts that a driver requests later, such as those of the devices of a virtual machine.
/// - Threads of the kernel that belong to one processor.
/// - Without a partition, all tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeptFree {
    processors: ProcessorList,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default)]
    isolated: bool,
}

impl KeptFree {
    /// Keeps these processors free of interrupts.
    #[must_use]
    pub fn new(processors: ProcessorList) -> Self {
        Self {
            processors,
            group: None,
            isolated: false,
        }
    }

    /// Gives them to this control group alone, a path below the mount of cgroup v2. Its parent must be the
    /// root or a partition itself.
    #[must_use]
    pub fn partition(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Has the kernel not balance load among them: each thread has to be pinned to a processor, or all
    /// pile up on one.
    #[must_use]
    pub fn isolated(mut self) -> Self {
        self.isolated = true;
        self
    }

    fn refuse(&self, at: &mut Planner<'_>, why: String, hint: &str) {
        let unsupported = Unsupported::new(UnsupportedKind::ValueUnavailable, why).hint(hint);
        at.skip(&format!("processors {}", self.processors), unsupported)
            .required();
    }

    fn request_partition(&self, at: &mut Planner<'_>, group: &str) {
        // A group has what its parent gives to its children, from the root on.
        let ends = group.match_indices('/').map(|(end, _)| end);
        for end in std::iter::once(0).chain(ends) {
            at.want(
                &Controller(group[..end].to_owned()),
                &ControllerState::Enabled,
            )
            .required()
            .why("the control group needs the controller of processors");
        }
        let processors = CpusetState::Processors(self.processors.clone());
        at.want(&CpusetProcessors(group.to_owned()), &processors)
            .required()
            .why("the processors of the partition");
        let kind = match self.isolated {
            true => PartitionState::Isolated,
            false => PartitionState::Root,
        };
        at.want(&Partition(group.to_owned()), &kind)
            .required()
            .why("no task of another control group is scheduled on them");
        if self.isolated {
            at.note(format!(
                "load is not balanced among processors {}: pin each thread that runs there, as with <vcpupin> of libvirt",
                self.processors
            ));
        }
    }
}

impl Tuning for KeptFree {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        let Some(online) = attribute::read(at.host(), ONLINE)? else {
            return Ok(());
        };
        let online: ProcessorList = online
            .parse()
            .map_err(|error| HostError::malformed(ONLINE, format!("{error}")))?;
        let others = online.without(&self.processors);
        if self.processors.is_empty() || !self.processors.is_within(&online) {
            let why = format!("the processors of this host that are online are {online}");
            self.refuse(at, why, "name some of these");
            return Ok(());
        }
        if others.is_empty() {
            let why = "no processor is left for the host".to_owned();
            self.refuse(at, why, "keep at least one for it");
            return Ok(());
        }
        if let Some(group) = &self.group {
            self.request_partition(at, group);
        }
        let names = at.host().list_if_there("/proc/irq")?;
        let mut interrupts: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        interrupts.sort_unstable();
        for number in interrupts {
            let interrupt = InterruptAffinity(number);
            let AffinityState::Processors(seen) = at.now(&interrupt)? else {
                continue;
            };
            let kept = seen.without(&self.processors);
            let to = if kept.is_empty() {
                others.clone()
            } else {
                kept
            };
            at.want(&interrupt, &AffinityState::Processors(to))
                .optional()
                .why("an interrupt interrupts whatever runs on its processor");
        }
        NoteIrqbalance.declare(at)
    }
}
