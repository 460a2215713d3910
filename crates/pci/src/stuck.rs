//! Devices whose driver does not return from a change.
//!
//! While a driver is bound or unbound, the kernel holds the lock of the device (`device_lock`), and
//! some drivers never return: snd_hda_intel waits until its files are closed, vfio-pci for the
//! virtual machine. Whoever needs the lock then hangs too, also for *reading* `driver_override`,
//! `uevent` (measured on Linux 6.1) and `sriov_numvfs` of the device. The `driver` link is no help: the kernel removes it before
//! it asks the driver to release the device, and makes it before it asks the driver to bind.

use hosttune_core::{Host, HostError};

use crate::address::Address;

/// The file that is locked while a change is made with
/// [`Host::write_value_in_child`](hosttune_core::Host::write_value_in_child). Only root can open it, so no other user can make
/// a device look stuck; it is never written.
#[must_use]
pub fn guard(address: Address) -> String {
    address.file("remove")
}

/// Whether a change of a device that was made with its [`guard`] has not returned: it hangs in
/// the kernel, or the process that made it was killed a moment ago.
///
/// False if this process is not root, and if another program's write hangs, which the kernel does
/// not show.
///
/// # Errors
/// Any error from the host.
pub fn is_stuck(host: &Host, address: Address) -> Result<bool, HostError> {
    host.child_is_writing(guard(address))
}
