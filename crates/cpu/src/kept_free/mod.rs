//! Processors that are kept free for one program, such as a virtual machine: no other task is
//! scheduled on them and no interrupt is handled there, as far as the kernel allows it.
//!
//! - [`ProcessorList`]: a list of processors as the kernel writes it.
//! - [`Controller`], [`CpusetProcessors`], [`Partition`]: a partition of the processors, in the
//!   controllers of cgroup v2.
//! - [`InterruptAffinity`]: the processors that an interrupt may go to.
//! - [`Cores`]: the cores of a host, and which of them a guest is given.
//! - [`KeptFree`]: the tuning.

mod controller;
mod cores;
mod interrupt;
mod list;
mod partition;
mod processors;
mod tuning;

pub use controller::{Controller, ControllerState};
pub use cores::{Core, Cores};
pub use interrupt::{AffinityState, InterruptAffinity};
pub use list::{NotAList, ProcessorList};
pub use partition::{Partition, PartitionState};
pub use processors::{CpusetProcessors, CpusetState};
pub use tuning::KeptFree;

/// Where cgroup v2 is mounted, alone or by systemd beside other hierarchies.
const CGROUPS: &str = "/sys/fs/cgroup";
