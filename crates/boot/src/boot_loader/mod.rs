//! Boot loaders: which one a host has, and parameters kept in its configuration.
//!
//! [`BootParameters`] writes for GRUB where its generator reads `/etc/default/grub.d`; and it changes the
//! entry files of systemd-boot and of GRUB on Fedora, with `/etc/kernel/cmdline`, and `limine.conf`. GRUB reads a menu that is generated: [`GrubMenu`] is that menu, which
//! is generated where the host has [`Generators`], and otherwise the command is named. On a system that ostree
//! deploys, and on NixOS, nothing is changed: the plan has the commands, or the text for the configuration. A
//! change is pending until the host is rebooted. [`BootedSetting`] is the verdict.

mod argument_edit;
mod boot_setting;
mod booted;
mod comment_line;
mod configured;
mod deployment;
mod detection;
mod entries;
mod entry;
mod entry_directory;
mod entry_identity;
mod generators;
mod grub;
mod grub_defaults;
mod leftover;
mod limine;
mod limine_files;
mod line_parameter;
mod menu;
mod menu_text;
mod new_lines;
mod nixos;
mod occurrence;
mod ostree;
mod serialized;
mod start;
mod tuning;

pub use boot_setting::BootSetting;
pub use booted::{Booted, BootedSetting};
pub use configured::{Configured, configured};
pub use detection::{BootLoader, Candidate, Detection, detect};
pub(crate) use entries::{ENTRIES, is_file, only_root};
pub use entry::LoaderEntry;
pub(crate) use entry::counters;
pub(crate) use entry_directory::of_running_kernel as entry_directory;
pub(crate) use entry_identity::readable;
pub use generators::{BootGenerator, Generators};
pub(crate) use grub::render as check_for_grub;
pub use leftover::{Leftover, leftovers};
pub use line_parameter::{LineParameter, Occurrences};
pub use menu::{GrubMenu, MenuState};
pub(crate) use nixos::{REBUILD, definition as nixos_definition, next_line as nixos_line};
pub use occurrence::{LineIn, Occurrence, Place};
pub(crate) use start::Start;
pub use tuning::BootParameters;
