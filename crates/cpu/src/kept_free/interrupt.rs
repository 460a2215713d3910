//! The knob for the processors that an interrupt may go to.

use std::fmt;

use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind, attribute,
};
use serde::{Deserialize, Serialize};

use super::list::ProcessorList;

/// The processors that an interrupt may go to: `/proc/irq/N/smp_affinity_list` (since Linux 2.6.30).
///
/// The kernel spreads the interrupts of queues over the processors itself (managed interrupts, such as
/// those of NVMe) and answers EIO to a change, or EPERM (seen on Linux 7.3): that is unsupported, and the boot parameter
/// `isolcpus=managed_irq` is the only way to keep them away.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InterruptAffinity(pub u32);

/// The affinity of an interrupt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AffinityState {
    /// There is no such interrupt.
    Missing,
    /// These processors.
    Processors(ProcessorList),
}

const EPERM: i32 = 1;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl InterruptAffinity {
    fn path(&self) -> String {
        format!("/proc/irq/{}/smp_affinity_list", self.0)
    }
}

impl fmt::Display for InterruptAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "affinity of interrupt {}", self.0)
    }
}

impl Knob for InterruptAffinity {
    const NAME: &'static str = "interrupt-affinity";
    type State = AffinityState;

    fn read(&self, host: &Host) -> Result<AffinityState, HostError> {
        let Some(text) = attribute::read(host, self.path())? else {
            return Ok(AffinityState::Missing);
        };
        let list = text.parse::<ProcessorList>();
        let list = list.map_err(|error| HostError::malformed(self.path(), error.to_string()))?;
        Ok(AffinityState::Processors(list))
    }

    fn set(&self, host: &mut Host, to: &AffinityState) -> Result<(), HostError> {
        let AffinityState::Processors(list) = to else {
            return Err(attribute::no_value(
                self.path(),
                "drivers make and remove interrupts",
            ));
        };
        let written = host.write_value(self.path(), format!("{list}\n").as_bytes());
        written.map_err(|error| {
            let unsupported = match error.errno() {
                // Whoever may not write the file at all gets EACCES.
                Some(EIO | EPERM) => Unsupported::new(
                    UnsupportedKind::Managed,
                    "the kernel assigns this interrupt itself: it belongs to a queue or to one processor",
                )
                .hint("only a boot parameter keeps such interrupts away: isolcpus=managed_irq,…"),
                Some(ENOSPC) => Unsupported::new(
                    UnsupportedKind::Busy,
                    format!("processors {list} have no interrupt vectors left"),
                )
                .hint("keep fewer processors free"),
                _ => return error,
            };
            HostError::not_applicable(Operation::Write, self.path(), unsupported)
        })
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &AffinityState,
    ) -> Result<Option<Unsupported>, HostError> {
        if matches!(to, AffinityState::Processors(list) if list.is_empty()) {
            return Ok(Some(Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                "an interrupt needs a processor",
            )));
        }
        Ok(match self.read(host)? {
            AffinityState::Missing => Some(Unsupported::new(
                UnsupportedKind::Missing,
                format!("there is no interrupt {}", self.0),
            )),
            AffinityState::Processors(_) => host.unwritable_here(self.path())?,
        })
    }

    fn is_gone(&self, seen: &AffinityState) -> bool {
        *seen == AffinityState::Missing
    }

    /// A number is given to another device once its driver has released it.
    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        let mut parts = Vec::new();
        for name in ["chip_name", "hwirq", "actions"] {
            let file = format!("/sys/kernel/irq/{}/{name}", self.0);
            match attribute::read(host, file) {
                Ok(part) => parts.extend(part),
                Err(error) if *error.kind() == HostErrorKind::Denied => {}
                Err(error) => return Err(error),
            }
        }
        Ok((!parts.is_empty()).then(|| parts.join(" ")))
    }

    fn show(&self, state: &AffinityState) -> String {
        match state {
            AffinityState::Missing => "missing".to_owned(),
            AffinityState::Processors(list) => format!("processors {list}"),
        }
    }
}
