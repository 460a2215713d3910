//! Settings of a running GPU: persistence mode, power limit, locked clocks, clock offsets, PowerMizer mode.
//!
//! They are made through the driver's management library, NVML. A program that is linked dynamically
//! loads it itself (`GpuManagement::library`, with the feature `nvml`). One that is linked statically
//! cannot, and starts the program `hosttune-nvml` for each call ([`GpuManagement::program`]).
//!
//! ```no_run
//! use hosttune_core::{Error, Session, Tuning};
//! use hosttune_nvidia::runtime::{GpuManagement, GpuSelection, GpuSettings, PowerMizerMode};
//!
//! // No_run: it needs a GPU, its driver, and root.
//! let mut session = Session::live("desk")?
//!     .with(hosttune_nvidia::knobs)
//!     .with_backend(GpuManagement::program());
//! let quiet = GpuSettings::new(GpuSelection::Index(0))
//!     .persistence_mode()
//!     .power_limit(250_000)
//!     .power_mizer_mode(PowerMizerMode::Adaptive)
//!     .why("250 W are enough for this desk");
//! println!("{}", quiet.apply(&mut session)?);
//! println!("{}", quiet.verify(&session)?);
//! println!("{}", session.revert()?); // persistence mode last
//! # Ok::<(), Error>(())
//! ```
//!
//! # What the driver forgets
//! While persistence mode is off, the driver forgets limits, clocks and modes when the last program
//! closes the GPU. Which programs have it open cannot be relied upon, so persistence mode is set first and
//! reverted last, and without it the other settings are not applicable. A reboot and a reload of the
//! driver reset all of them; a suspend resets some, so verify after a resume.
//!
//! # What is not known
//! Locked clocks have no getter. What is reported is what was locked from here, as recorded in a file of
//! `/run`, unless the clock is seen above the range. Clocks that another program locked are unknown: a
//! revert resets to unlocked, and nothing is locked where another program is seen to do it
//! ([`others_that_lock_clocks`]).
//!
//! # Sleeping GPUs
//! A GPU is asked by its PCI address, which initializes no other, and only while the kernel says that it
//! is awake. One that sleeps is left asleep, and its settings are unknown, unless the backend
//! [wakes GPUs](GpuManagement::waking).
//!
//! # Not here
//! `ForceFullCompositionPipeline` is a setting of the X server's screen, not of the GPU: it is set in the
//! `metamodes` of `xorg.conf` or with `nvidia-settings --assign CurrentMetaMode=…`, by the user of that X
//! server. Wayland has none, because the compositor does that work.

mod address;
mod call;
mod clock_offset;
mod identity;
mod library;
mod library_error;
#[cfg(feature = "nvml")]
mod loaded_library;
mod locked_clocks;
mod management;
mod maximum_performance;
mod other_lockers;
mod persistence_mode;
mod power_limit;
mod power_mizer_mode;
mod presence;
mod program;
mod selection;
mod settings;
mod state;
#[cfg(feature = "testing")]
pub mod testing;

pub use address::{AddressError, GpuAddress};
pub use call::{Call, PROTOCOL};
pub use clock_offset::GpuClockOffset;
pub use library::{
    ClockOffset, ClockRange, GpuClock, ManagementLibrary, PowerLimits, PowerMizer, PowerMizerMode,
};
pub use library_error::LibraryError;
#[cfg(feature = "nvml")]
pub use loaded_library::LoadedLibrary;
pub use locked_clocks::{ClockLock, LockedClocks};
pub use management::GpuManagement;
pub use maximum_performance::MaximumPerformance;
pub use other_lockers::others_that_lock_clocks;
pub use persistence_mode::PersistenceMode;
pub use power_limit::PowerLimit;
pub use power_mizer_mode::GpuPowerMizerMode;
pub use program::{ManagementProgram, PROGRAMS};
pub use selection::{GpuSelection, SelectionError};
pub use settings::GpuSettings;
pub use state::GpuState;

/// Registers the knob types of run-time settings.
pub(crate) fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<PersistenceMode>();
    registry.add::<PowerLimit>();
    registry.add::<LockedClocks>();
    registry.add::<GpuClockOffset>();
    registry.add::<GpuPowerMizerMode>();
}
