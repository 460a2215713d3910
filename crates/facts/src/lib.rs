//! Hardware and system facts of a host, as a value.
//!
//! ```
//! use hosttune_core::{Host, LinuxHost};
//! use hosttune_facts::{Facts, Microarchitecture};
//!
//! let facts = Facts::of(&Host::new(LinuxHost::live()?));
//! println!("{facts}"); // one line per fact
//!
//! // A profile selects settings by facts.
//! let gigabytes = facts.memory.total_bytes.unwrap_or(0) >> 30;
//! let zram = if gigabytes < 32 { "half the memory" } else { "none" };
//! let is_zen4 = facts.cpu.microarchitecture == Some(Microarchitecture::Zen4);
//! if facts.has_nvidia() && !facts.is_virtual() {
//!     println!("zram {zram}, Zen 4: {is_zen4}");
//! }
//! # Ok::<(), hosttune_core::HostError>(())
//! ```
//!
//! All facts are read from files through the [`Host`](hosttune_core::Host). `LinuxHost::at` a tree that was
//! captured on another machine gives the facts of that machine; [`Facts::sources`] lists the files that
//! such a tree must contain. No processor instruction, no system call that a tree cannot answer and no
//! other program is used.
//!
//! This is not an inventory: there are no serial numbers, no sensors and no values that change from minute
//! to minute.
//!
//! # Vocabulary
//! - [`Facts`]: the value. An unknown fact is `None`; an empty list means that there are none.
//! - [`Cpu`], [`Memory`], [`Disk`], [`Nic`], [`Gpu`], [`Machine`]: the hardware.
//! - [`Transport`]: how a disk is attached, derived from its path in sysfs.
//! - [`Kernel`], [`Boot`], [`Distribution`], [`Virtualisation`]: the software.

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
pub use transport::Transport;
pub use virtualisation::{Container, Hypervisor, Virtualisation};
pub use x86_64_level::X86_64Level;

// Types of the values above.
pub use hosttune_pci::{NotAPciId, PciId};
