//! What a kernel boots and loads. For now that is its modules: which ones it has, loaded when they
//! are wanted, and unloaded again.
//!
//! ```no_run
//! use hosttune_boot::{KernelModule, ModuleState, Modules};
//! use hosttune_core::{Error, Planner, Session, Tuning};
//!
//! /// The module `ifb` without the two links that it makes where nobody says otherwise.
//! struct Ifb;
//!
//! impl Tuning for Ifb {
//!     fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
//!         let ifb = KernelModule::new("ifb").parameter("numifbs=0");
//!         for module in ifb.with_dependencies(at.host())? {
//!             at.want(&module, &ModuleState::Loaded).why("links of type ifb are made by it");
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let mut session = Session::live("router")?
//!     .with(hosttune_boot::knobs)
//!     .plug(Modules::live());
//! Ifb.apply(&mut session)?; // modprobe, once per boot
//! Ifb.revert(&mut session)?; // unloaded, unless somebody uses it by now
//! # Ok::<(), hosttune_core::Error>(())
//! ```
//!
//! It is not about what a module is told through `/sys/module` once it is there, nor about what
//! systemd or OpenRC load at boot.
//!
//! # Vocabulary
//! - [`module`]: whether the running kernel has a module; reads and loads nothing.
//! - [`KernelModule`]: the knob: one module, loaded or not.
//! - [`Modules`]: the wire to what loads modules, plugged into the host; [`ModuleLoader`] is its
//!   other end.

mod configuration;
mod kernel_module;
mod link;
mod list;
mod modprobe;
pub mod module;
mod modules;
mod symbol;
#[cfg(feature = "testing")]
pub mod testing;

pub use kernel_module::{KernelModule, ModuleState};
pub use module::Availability;
pub use modules::{ModuleLoader, Modules};

/// Makes this crate's kinds of knob known to a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<KernelModule>();
}
