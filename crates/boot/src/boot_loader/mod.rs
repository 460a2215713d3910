//! Boot loaders: which one a host has, and parameters kept in its configuration.
//!
//! [`BootParameters`] writes for GRUB where its generator reads `/etc/default/grub.d`, and for
//! kernel-install where `/etc/kernel/cmdline` is there. The generators are named and never run, so a
//! change is pending until they are run and the host is rebooted. [`BootedSetting`] is the verdict.

mod booted;
mod detection;
mod entry;
mod grub;
mod tuning;

pub use booted::{Booted, BootedSetting};
pub use detection::{BootLoader, Candidate, Detection, detect};
pub use entry::LoaderEntry;
pub(crate) use grub::render as check_for_grub;
pub use tuning::{BootParameters, BootSetting};
