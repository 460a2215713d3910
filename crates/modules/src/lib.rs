//! Kernel modules: which the running kernel has, loading them on request and unloading them on revert, and
//! their options in modprobe.d.
//!
//! ```no_run
//! # #[cfg(feature = "loading")] {
//! use hosttune_core::{Error, Planner, Session, Tuning};
//! use hosttune_modules::{KernelModule, ModuleState, Modules};
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
//!     .with(hosttune_modules::knobs)
//!     .with_backend(Modules::live());
//! println!("{}", Ifb.apply(&mut session)?); // modprobe, once per boot
//! println!("{}", Ifb.revert(&mut session)?); // unloads it, unless it is in use
//! # }
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
//! - [`initramfs`]: what builds the initramfs, which has its own copy of modprobe.d; [`InitramfsOptions`] is the
//!   options that are in the copy, and [`GeneratedImage`](hosttune_initramfs::GeneratedImage) the image that is made anew.
//!
//! # Features
//! A crate that only asks which modules there are needs none of the default features: without `initramfs` the
//! copies of modprobe.d in images are not read; without `loading` there
//! is [`module`] alone, and without `configuration` a kernel that can have no modules is asked for its symbols
//! instead of `/proc/config.gz`.

#[cfg(feature = "configuration")]
mod configuration;
#[cfg(feature = "loading")]
mod dependency;
#[cfg(feature = "loading")]
pub mod initramfs;
#[cfg(feature = "initramfs")]
mod initramfs_copy;
#[cfg(feature = "loading")]
mod initramfs_images;
#[cfg(feature = "loading")]
mod kernel_module;
#[cfg(feature = "loading")]
mod link;
mod list;
#[cfg(feature = "loading")]
mod modprobe;
#[cfg(feature = "loading")]
pub mod modprobe_d;
pub mod module;
#[cfg(feature = "loading")]
mod module_option;
#[cfg(feature = "loading")]
mod module_options;
#[cfg(feature = "loading")]
mod module_parameter;
#[cfg(feature = "loading")]
mod modules;
#[cfg(feature = "loading")]
pub mod nix_text;
#[cfg(feature = "loading")]
mod nixos_module_options;
mod symbol;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "initramfs")]
pub use initramfs_copy::{InitramfsCopy, InitramfsOptions};
#[cfg(feature = "loading")]
pub use kernel_module::{KernelModule, ModuleState};
pub use module::Availability;
#[cfg(feature = "loading")]
pub use module_option::{LiveValue, ModuleOption, takes_effect, takes_effect_from};
#[cfg(feature = "loading")]
pub use module_options::ModuleOptions;
#[cfg(feature = "loading")]
pub use module_parameter::{ModuleParameter, ParameterState};
#[cfg(feature = "loading")]
pub use modules::{ModuleLoader, Modules};

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};

/// Registers the knob types of this crate with a session.
#[cfg(feature = "loading")]
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<KernelModule>();
    registry.add::<ModuleParameter>();
    #[cfg(feature = "initramfs")]
    {
        registry.add::<InitramfsOptions>();
        hosttune_initramfs::knobs(registry);
    }
}
