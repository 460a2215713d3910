//! A fake of `grub-mkconfig`, for a machine in memory.

mod grub_mkconfig;

pub use grub_mkconfig::{GeneratorBehaviour, MemoryGrubMkconfig};
