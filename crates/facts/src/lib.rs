//! Hardware facts as a value: what a host is made of and what runs on it.
//!
//! ```
//! use hosttune_core::{Host, LinuxHost};
//! use hosttune_facts::{Facts, Microarchitecture};
//!
//! let facts = Facts::of(&Host::new(LinuxHost::live()?));
//! println!("{facts}"); // a line for each fact
//!
//! // A profile chooses by them.
//! let gigabytes = facts.memory.total_bytes.unwrap_or(0) >> 30;
//! let zram = if gigabytes < 32 { "half the memory" } else { "none" };
//! let is_zen4 = facts.cpu.microarchitecture == Some(Microarchitecture::Zen4);
//! if facts.has_nvidia() && !facts.is_virtual() {
//!     println!("zram {zram}, Zen 4: {is_zen4}");
//! }
//! # Ok::<(), hosttune_core::HostError>(())
//! ```
//!
//! Everything is read from files, through the [`Host`](hosttune_core::Host): `LinuxHost::at` a tree
//! that was captured on another machine gives the facts of that machine. [`Facts::sources`] is what
//! such a tree has to hold. Nothing is asked of the processor or by a system call that a tree cannot
//! answer, and no other program is started.
//!
//! It is not an inventory: no serial numbers, no sensors, nothing that changes from minute to minute.
//!
//! # Vocabulary
//! - [`Facts`]: the value. What cannot be known is `None`; an empty list says that there is none.
//! - [`Cpu`], [`Memory`], [`Disk`], [`Nic`], [`Gpu`], [`Machine`]: the hardware.
//! - [`Transport`]: what a disk is attached by, told from where it stands in sysfs.
//! - [`Kernel`], [`Boot`], [`Distribution`], [`Virtualisation`]: what runs on it.

mod amount;
mod boot;
mod cpu;
mod device_path;
mod disk;
mod distribution;
mod facts;
mod gpu;
mod kernel;
mod machine;
mod memory;
mod microarchitecture;
mod nic;
mod number_list;
mod pci;
mod privacy;
mod source;
mod transport;
mod virtualisation;
mod x86_64_level;

pub use boot::{Boot, Certainty, Firmware, Loader};
pub use cpu::{Cpu, SmtControl};
pub use disk::Disk;
pub use distribution::Distribution;
pub use facts::Facts;
pub use gpu::Gpu;
pub use kernel::{Kernel, Preemption};
pub use machine::{Form, Machine};
pub use memory::Memory;
pub use microarchitecture::Microarchitecture;
pub use nic::{Nic, NicKind};
pub use pci::{NotAPciId, PciId};
pub use transport::Transport;
pub use virtualisation::{Container, Hypervisor, Virtualisation};
pub use x86_64_level::X86_64Level;
