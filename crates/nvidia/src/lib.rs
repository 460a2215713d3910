//! Parameters of the NVIDIA driver: which the installed driver has, what is set, what is in effect,
//! and whether the driver is right for the card.
//!
//! ```no_run
//! use hosttune_core::{Error, Session, Tuning};
//! use hosttune_nvidia::{DriverModule, NvidiaParameters, NvidiaSetting};
//!
//! let mut session = Session::live("desk")?
//!     .with(hosttune_modules::knobs)
//!     .with(hosttune_nvidia::knobs);
//! let parameters = NvidiaParameters::new("desk", [
//!     NvidiaSetting::new(DriverModule::Drm, "modeset", 1).why("Wayland needs it"),
//! ]);
//! println!("{}", parameters.apply(&mut session)?); // writes a modprobe.d file, loads and unloads nothing
//! for item in parameters.verify(&session)?.items {
//!     println!("{item}"); // pending until the driver is loaded again
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! Everything above is read from files, and nothing wakes a GPU that sleeps. What is set at run time
//! (power limit, clocks, persistence mode, PowerMizer mode) is in [`runtime`], through the driver's
//! library NVML; loading that into the own program needs the feature `nvml`.
//!
//! # Vocabulary
//! - [`NvidiaParameters`]: the tuning: [`NvidiaSetting`]s and keys of [`RegistryDwords`].
//! - [`PARAMETERS`]: the parameters that are known here, by branch; [`ModuleInfo`] is what an
//!   installed module declares.
//! - [`InstalledDriver`]: the driver on disk; [`LoadedDriver`] the one in the kernel.
//! - [`NvidiaParameter`]: the knob for the value that the loaded driver has.
//! - [`runtime`]: settings of a running GPU, and the backend that makes them.
//! - [`NvidiaFacts`]: what is known of the cards and the loaded driver.
//! - [`Gpu`], [`Generation`], [`support`]: the cards, and which driver is right for them.

mod acceptance;
mod advice;
mod candidate;
mod driver;
mod facts;
mod generation;
mod gpu;
mod left;
mod modinfo;
pub mod number;
mod parameter;
mod params;
mod registry;
pub mod runtime;
mod setting;
mod tuning;
mod version;

pub use advice::{Surroundings, objection};
pub use driver::{InstalledDriver, loaded};
pub use facts::NvidiaFacts;
pub use generation::{Generation, Support, support};
pub use gpu::{Fact, Gpu, gpus, information};
pub use modinfo::{ModuleInfo, ModuleInfoError};
pub use parameter::{DriverModule, PARAMETERS, Parameter, Values, find};
pub use params::{NvidiaParameter, PARAMS_FILE, parse as parse_params};
pub use registry::{LONGEST_TEXT, RegistryDwords, RegistryError};
pub use setting::NvidiaSetting;
pub use tuning::{NvidiaParameters, loaded_parameters};
pub use version::{DriverVersion, LoadedDriver, ModuleKind, VERSION_FILE};

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};

/// Registers the knob types of this crate with a session, and those of `hosttune-modules`, which it
/// uses.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    hosttune_modules::knobs(registry);
    registry.add::<NvidiaParameter>();
    runtime::knobs(registry);
}
