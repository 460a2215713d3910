//! Boot loaders: which one a host has, and parameters kept in its configuration.
//!
//! [`BootParameters`] writes for GRUB where its generator reads `/etc/default/grub.d`; and it changes the
//! entry files of systemd-boot and of GRUB on Fedora, with `/etc/kernel/cmdline`, and `limine.conf`. The generators are named
//! and never run, so a change is pending until they are run and the host is rebooted. [`BootedSetting`] is the verdict.

mod booted;
mod configured;
mod detection;
mod entries;
mod entry;
mod entry_identity;
mod grub;
mod grub_defaults;
mod leftover;
mod limine;
mod line_parameter;
mod occurrence;
mod tuning;

pub use booted::{Booted, BootedSetting};
pub use configured::{Configured, configured};
pub use detection::{BootLoader, Candidate, Detection, detect};
pub(crate) use entries::{ENTRIES, is_file, only_root};
pub use entry::LoaderEntry;
pub(crate) use entry::counters;
pub(crate) use grub::render as check_for_grub;
pub use leftover::{Leftover, leftovers};
pub use line_parameter::{LineParameter, Occurrences};
pub use occurrence::{LineIn, Occurrence, Place};
pub use tuning::{BootParameters, BootSetting};
