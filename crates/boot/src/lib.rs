//! What is decided when the kernel boots and loads its modules: the kernel command line, modprobe.d,
//! and kernel modules as knobs, which are loaded on request and unloaded on revert.
//!
//! ```no_run
//! use hosttune_boot::{KernelModule, ModuleState, Modules};
//! use hosttune_core::{Error, Planner, Session, Tuning};
//!
//! /// The module `ifb` without the two interfaces that it creates by default.
//! struct Ifb;
//!
//! impl Tuning for Ifb {
//!     fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
//!         let ifb = KernelModule::new("ifb").parameter("numifbs=0");
//!         for module in ifb.with_dependencies(at.host())? {
//!             at.want(&module, &ModuleState::Loaded).why("provides interfaces of type ifb");
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let mut session = Session::live("router")?
//!     .with(hosttune_boot::knobs)
//!     .with_backend(Modules::live());
//! println!("{}", Ifb.apply(&mut session)?); // modprobe, once per boot
//! println!("{}", Ifb.revert(&mut session)?); // unloads it, unless it is in use
//! # Ok::<(), hosttune_core::Error>(())
//! ```
//!
//! Not covered are the modules that systemd or OpenRC load at boot.
//!
//! # Vocabulary
//! - [`module`]: whether the running kernel has a module; only reads, and loads nothing.
//! - [`KernelModule`]: the knob: one module, loaded or not.
//! - [`Modules`]: the backend of the host that loads modules; [`ModuleLoader`] is the trait that it
//!   calls.
//! - [`ModuleOptions`]: options of modules, kept in a modprobe.d file; [`ModuleParameter`] is the
//!   value that a loaded module has.
//! - [`modprobe_d`]: reading and writing modprobe.d, and who sets an option.
//! - [`command_line`]: reading and changing the kernel command line.
//! - [`boot_loader`]: which boot loader a host has, and parameters kept in its configuration.
//! - [`boot_once`]: parameters that are tried in one boot before they are kept.

pub mod boot_loader;
pub mod boot_once;
pub mod command_line;
mod configuration;
mod initramfs;
mod kernel_module;
mod link;
mod list;
mod modprobe;
pub mod modprobe_d;
pub mod module;
mod module_options;
mod module_parameter;
mod modules;
mod nix_text;
mod nixos_module_options;
mod symbol;
#[cfg(feature = "testing")]
pub mod testing;

pub use initramfs::rebuild_command;
pub use kernel_module::{KernelModule, ModuleState};
pub use module::Availability;
pub use module_options::{LiveValue, ModuleOption, ModuleOptions, takes_effect, takes_effect_from};
pub use module_parameter::{ModuleParameter, ParameterState};
pub use modules::{ModuleLoader, Modules};

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};

/// Registers the knob types of this crate with a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<KernelModule>();
    registry.add::<ModuleParameter>();
    registry.add::<boot_loader::BootedSetting>();
    registry.add::<boot_loader::GrubMenu>();
    registry.add::<boot_loader::LineParameter>();
    registry.add::<boot_once::EfiVariable>();
    registry.add::<boot_once::GrubVariable>();
    registry.add::<boot_once::MarkedBlock>();
}
