//! PCI devices lent to a virtual machine through vfio-pci, and handed back.
//!
//! ```no_run
//! use hosttune_modules::Modules;
//! use hosttune_vfio::{Consent, Error, Lend, Selector, Session, Tuning};
//!
//! // The graphics card of a guest, with its audio function and whatever else is on the card.
//! let gpu = Selector::at("0000:0d:00.0".parse()?, "10de:2684".parse()?);
//! let lend = Lend::new([gpu]).consent(Consent::OnlyGpu).why("the guest's graphics card");
//!
//! let mut session = Session::live("toaster")?
//!     .with(hosttune_vfio::knobs)
//!     .with_backend(Modules::live());
//! for note in &lend.plan(&session)?.notes {
//!     println!("{note}"); // each function of the card and its IOMMU group, with a verdict
//! }
//! println!("{}", lend.apply(&mut session)?); // all of it, or an error and nothing
//! // … the guest runs …
//! println!("{}", lend.revert(&mut session)?); // the original drivers, as they were
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Vocabulary
//! - [`Lend`]: the tuning; [`LendAtBoot`]: the same from each boot on, by a udev
//!   rule; [`LendAtBootByIds`]: by the kernel command line. [`Selector`]: which device is meant, so that no other is taken.
//! - [`Assessment`]: what a lend takes and leaves, with a [`Verdict`] for each function, and each
//!   [`Refusal`]. [`Consent`]: a consequence that the user accepts.
//! - [`survey`]: what uses each device now, as a [`DeviceUse`].
//! - [`BoundDriver`], [`DriverOverride`], [`DeviceAttribute`], [`ConsoleDriver`]: the knobs.
//!
//! # First kernel version
//! | Feature | Linux |
//! | --- | --- |
//! | vfio-pci, one device node for each IOMMU group | 3.6 |
//! | binding one device and not all of its ids (`driver_override`) | 3.16 |
//! | the ways to reset a function, recorded and never forced | 5.15 |
//! | a group is viable although a bridge in it has a driver without DMA of its own | 5.19 |
//!
//! Devices are lent through their group, not through iommufd (Linux 6.2).

mod assessment;
mod at_boot;
mod at_boot_ids;
mod bound_driver;
mod card;
mod console_driver;
mod device_attribute;
mod driver_override;
mod guests;
mod lend;
mod own_settings;
mod refusal;
mod running;
mod selector;
#[cfg(feature = "testing")]
pub mod testing;
mod usage;
mod view;

pub use assessment::{Assessment, Role, Verdict};
pub use at_boot::LendAtBoot;
pub use at_boot_ids::LendAtBootByIds;
pub use bound_driver::{Binding, BoundDriver};
pub use console_driver::{ConsoleBinding, ConsoleDriver};
pub use device_attribute::{AttributeFile, AttributeState, DeviceAttribute};
pub use driver_override::{DriverOverride, Override};
pub use lend::Lend;
pub use refusal::{Consent, Refusal};
pub use selector::Selector;
pub use usage::{DeviceUse, DiskUse, Holder, InterfaceUse, RunsIn, survey};

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};

/// Registers the knob types of this crate and of those that it uses with a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    hosttune_boot::knobs(registry);
    hosttune_modules::knobs(registry);
    registry.add::<DriverOverride>();
    registry.add::<BoundDriver>();
    registry.add::<DeviceAttribute>();
    registry.add::<ConsoleDriver>();
}
