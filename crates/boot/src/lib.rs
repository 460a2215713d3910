//! What is decided when the kernel boots: parameters of the kernel command line, kept in the configuration of
//! the boot loader, tried in one boot before they are kept, and compared with what the kernel got.
//!
//! ```no_run
//! use hosttune_boot::boot_loader::{BootParameters, BootSetting};
//! use hosttune_boot::command_line::CommandLineSetting;
//! use hosttune_boot::{Session, Tuning};
//!
//! let parameters = BootParameters::new("router", [
//!     BootSetting::new(CommandLineSetting::equals("nmi_watchdog", "0"))
//!         .why("the watchdog takes a performance counter and wakes each processor"),
//! ]);
//! let mut session = Session::live("router")?.with(hosttune_boot::knobs);
//! println!("{}", parameters.apply(&mut session)?); // in effect after a reboot
//! println!("{}", parameters.verify(&session)?); // pending until then
//! println!("{}", parameters.revert(&mut session)?); // gives the files their bytes of before
//! # Ok::<(), hosttune_core::Error>(())
//! ```
//!
//! # Vocabulary
//! - [`command_line`]: reading and changing the kernel command line.
//! - [`boot_loader`]: which boot loader a host has, and parameters kept in its configuration.
//! - [`boot_once`]: parameters that are tried in one boot before they are kept.

pub mod boot_loader;
pub mod boot_once;
#[cfg(feature = "testing")]
pub mod testing;

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};
pub use hosttune_kernel_command_line as command_line;

/// Registers the knob types of this crate with a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<boot_loader::BootedSetting>();
    registry.add::<boot_loader::GrubMenu>();
    registry.add::<boot_loader::LineParameter>();
    registry.add::<boot_once::EfiVariable>();
    registry.add::<boot_once::GrubVariable>();
    registry.add::<boot_once::MarkedBlock>();
}
