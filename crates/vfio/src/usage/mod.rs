//! What uses a device now: processes, interfaces, disks, a monitor.
//!
//! All of it is read from files. What the kernel does not show there is listed in the
//! documentation of [`Lend`](crate::Lend).

mod console;
mod disks;
mod display;
mod mounts;
mod network;
mod nodes;
mod nvidia;
mod processes;
mod runs_in;
mod survey;

use hosttune_core::{Host, HostError};
use hosttune_pci::Address;

pub use disks::DiskUse;
pub use network::InterfaceUse;
pub use processes::Holder;
pub use runs_in::RunsIn;
pub use survey::{DeviceUse, survey};

pub(crate) use console::Consoles;
pub(crate) use disks::{disk_names, disk_uses};
pub(crate) use display::{Connectors, connectors};
pub(crate) use mounts::needed_over_network;
pub(crate) use network::{has_hidden_interface, interface_names, interface_uses};
pub(crate) use nvidia::{Nvidia, Unbinding};
pub(crate) use processes::{Holders, holders, holders_of_all};

/// The processes that would make unbinding wait for ever.
///
/// # Errors
/// Any error from the host.
pub(crate) fn blocking_holders(host: &Host, address: Address) -> Result<Vec<Holder>, HostError> {
    let mut found = holders(host, address)?.found;
    found.retain(|holder| !holder.lets_go);
    Ok(found)
}
