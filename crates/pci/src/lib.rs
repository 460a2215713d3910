//! PCI devices, read from sysfs through a [`Host`](hosttune_core::Host).
//!
//! ```
//! use hosttune_core::{Host, LinuxHost};
//! use hosttune_pci::{Devices, Groups};
//!
//! let host = Host::new(LinuxHost::live()?);
//! let devices = Devices::read(&host)?; // wakes no sleeping device
//! for (number, members) in Groups::of(&devices).iter() {
//!     println!("group {number}");
//!     for device in members.iter().filter_map(|address| devices.get(*address)) {
//!         let driver = device.driver.as_deref().unwrap_or("no driver");
//!         println!("  {}: {driver}", device.describe());
//!     }
//! }
//! # Ok::<(), hosttune_core::HostError>(())
//! ```
//!
//! This crate only reads. Binding drivers is in `hosttune-vfio`.
//!
//! # Vocabulary
//! - [`Address`]: where a function is now; [`SlotPath`]: where it is plugged in, whatever the
//!   numbers of the buses are.
//! - [`Device`]: one function; [`Devices`]: all of them. [`Ids`], [`Class`]: what it is.
//! - [`ConfigReading`]: its configuration space, unless reading it would wake the device.
//! - [`Groups`]: what the IOMMU keeps apart; [`ViabilityRule`]: when the kernel gives a group to
//!   user space. [`Iommu`]: why there are no groups.
//! - [`is_stuck`]: whether a change of its driver hangs in the kernel.
//! - [`Sriov`], [`ResetMethod`], [`Names`]: read on request, one function at a time.
//!
//! # First kernel version
//! | Feature | Linux |
//! | --- | --- |
//! | IOMMU groups in sysfs | 3.6 |
//! | `driver_override` | 3.16 |
//! | the power state without waking the device (`power_state`) | 5.11 |
//! | the ways to reset a function (`reset_method`) | 5.15 |
//! | drivers that manage DMA themselves decide whether a group is viable | 5.19 |

mod address;
mod attribute;
mod class;
mod config_space;
mod device;
mod devices;
mod group;
mod id;
mod names;
mod numa;
mod power;
mod reset;
mod slot_path;
mod stuck;
#[cfg(feature = "testing")]
pub mod testing;
mod virtual_functions;

pub use address::{Address, NotAnAddress, Written};
pub use class::{Class, NotAClass};
pub use config_space::{Acs, ConfigSpace};
pub use device::{ConfigReading, Device, driver, driver_override};
pub use devices::{Devices, NotFound};
pub use group::{Groups, Iommu, ReservedRegion, ViabilityRule, is_vfio_driver, reserved_regions};
pub use id::{Ids, NotAPciId, NotIds, PciId};
pub use names::Names;
pub use numa::numa_node;
pub use power::PowerState;
pub use reset::ResetMethod;
pub use slot_path::SlotPath;
pub use stuck::{guard, is_stuck};
pub use virtual_functions::Sriov;
