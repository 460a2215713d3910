//! Booting a changed kernel command line once, so that a machine that does not come up with it boots the
//! old line by itself.
//!
//! With [`BootParameters::trial`](crate::boot_loader::BootParameters::trial) the loader gets one more entry,
//! which is started by the next boot and by no other. In that boot [`Trial::of`] says that it runs, and
//! the parameters can then be kept by applying them without a trial. [`leaks`] finds words of a trial that
//! another program has copied into its configuration.
//!
//! ```no_run
//! use hosttune_boot::boot_once::{Trial, TrialState};
//! use hosttune_core::Session;
//!
//! let session = Session::live("gaming")?.with(hosttune_boot::knobs);
//! if let Some(trial) = Trial::of(session.host(), "gaming")? {
//!     println!("{trial}");
//!     assert!(trial.state != TrialState::Failed);
//! }
//! # Ok::<(), hosttune_core::Error>(())
//! ```
//!
//! # Vocabulary
//! - [`EnvironmentBlock`]: the variables that GRUB and the running system share; [`GrubVariable`] is one
//!   of them as a knob.
//! - [`EfiVariable`]: a variable of the firmware that the loader and the running system share, as a knob.
//! - [`MarkedBlock`]: lines of ours in a file of other programs, as a knob.
//! - [`BootMode`]: an entry beside the normal one, which stays; [`ModeOnce`] starts it at the next boot
//!   only, and [`ModeState`] is what the loader has of it.
//! - [`Trial`]: what became of the entry.

mod coverage;
mod default_entry;
mod efi_variable;
mod entry_file;
mod environment_block;
mod file_part;
mod grub_default;
mod grub_menu;
mod grub_storage;
mod grub_variable;
mod grub_word;
mod leaked;
mod marked_block;
mod mode;
mod mode_of_nixos;
mod mode_once;
mod mode_state;
mod next_boot;
mod systemd_menu;
mod trial;
mod trial_entry;
mod trial_in_entries;
mod trial_state;
mod version_order;
mod watchdog;

pub use efi_variable::{EfiValue, EfiVariable};
pub(crate) use entry_file::is_ours;
pub use environment_block::{BLOCK_LENGTH, EnvironmentBlock, EnvironmentBlockError};
pub use file_part::FilePart;
pub use grub_variable::GrubVariable;
pub use leaked::{Leak, leaks};
pub use marked_block::{MarkedBlock, MarkedBlockError};
pub use mode::BootMode;
pub use mode_once::{BOOT_ONCE, ModeOnce};
pub use mode_state::{EntryState, ModeState};
pub use trial::TRIAL;
pub(crate) use trial::{TrialOf, reads_entries};
pub(crate) use trial_entry::described;
pub(crate) use trial_in_entries::TrialInEntries;
pub use trial_state::{Trial, TrialState, running_mark};
