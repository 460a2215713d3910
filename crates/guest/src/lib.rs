//! The guest's side of lent PCI devices: what a virtual machine is given, as text for libvirt and
//! QEMU.
//!
//! ```
//! use hosttune_guest::{Guest, LookingGlass, Name, Resolution, SharedMemory, Version};
//!
//! let screen = Resolution::new(3840, 2160).ok_or("not a resolution")?;
//! let glass = LookingGlass::new(screen, Version::B7 { hdr: false });
//! assert_eq!(glass.mebibytes(), 128);
//!
//! let guest = Guest::new(Name::new("windows11")?, 8, 16_384)
//!     .devices(["0000:0d:00.0".parse()?, "0000:0d:00.1".parse()?])
//!     .shared_memory(SharedMemory::looking_glass(glass));
//! let arguments = hosttune_guest::qemu::arguments(&guest);
//! assert!(arguments.iter().any(|word| word.starts_with("vfio-pci,host=0000:0d:00.1")));
//! println!("{}", hosttune_guest::libvirt::domain(&guest));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate prints and reads, and changes nothing. Lending the devices is in `hosttune-vfio`.
//!
//! # Vocabulary
//! - [`Guest`]: name, cores, memory, devices, shared memory.
//! - [`LookingGlass`]: how large the shared memory of a guest without a monitor must be.
//! - [`MemoryLock`]: whether the process that starts it may lock its memory.
//! - [`libvirt`], [`qemu`], [`hook`], [`tmpfiles`]: the texts.

mod guest;
pub mod hook;
pub mod libvirt;
mod looking_glass;
mod memory_lock;
pub mod qemu;
mod shared_memory;
pub mod tmpfiles;

pub use guest::{Guest, HugePages, Name, NotAName};
pub use looking_glass::{LookingGlass, NotAResolution, Resolution, Version};
pub use memory_lock::{MemoryLock, NoteMemoryLock, Starter, Verdict};
pub use shared_memory::{FileState, SharedMemory};
