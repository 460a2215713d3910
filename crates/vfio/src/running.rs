//! What all knobs of this crate need: a running kernel and the device.

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind};
use hosttune_pci::Address;

/// Why no attribute of a device can be set on this host, or `None`.
pub(crate) fn unsupported(host: &Host, address: Address) -> Result<Option<Unsupported>, HostError> {
    if host.root_kind() != RootKind::Live {
        return Ok(Some(
            Unsupported::new(
                UnsupportedKind::NotRunning,
                "drivers are bound by a running kernel, and this is a tree of files",
            )
            .hint("run it on the running system"),
        ));
    }
    if !host.exists(address.directory())? {
        return Ok(Some(missing(address)));
    }
    let is_stuck = hosttune_pci::is_stuck(host, address)?;
    Ok(is_stuck.then(|| stuck_reason(address)))
}

/// The reason for a device whose driver does not return from an earlier change.
pub(crate) fn stuck_reason(address: Address) -> Unsupported {
    Unsupported::new(
        UnsupportedKind::Busy,
        format!("{address} is stuck: {HANGS}"),
    )
    .hint(WHAT_HELPS)
}

const HANGS: &str = "a change of its driver hangs in the kernel";
const WHAT_HELPS: &str =
    "end what still uses it and try again; if it still hangs then, only a reboot brings it back";

/// An error if an earlier change of the device hangs, after a moment of waiting for it: most of its files would hang too, and its
/// `driver` link shows what the change has not finished.
pub(crate) fn refuse_stuck(
    host: &Host,
    address: Address,
    operation: Operation,
) -> Result<(), HostError> {
    if host.child_ends(hosttune_pci::guard(address))? {
        return Ok(());
    }
    Err(
        HostError::new(operation, address.directory(), HostErrorKind::Stuck)
            .detail(HANGS)
            .with_hint(WHAT_HELPS),
    )
}

/// Writes to a file for which the kernel takes the lock of the device, in a child process.
pub(crate) fn write(
    host: &mut Host,
    address: Address,
    path: &str,
    bytes: &[u8],
) -> Result<(), HostError> {
    host.write_value_in_child(path, bytes, hosttune_pci::guard(address))
}

/// The reason for an address without a device.
pub(crate) fn missing(address: Address) -> Unsupported {
    Unsupported::new(
        UnsupportedKind::Missing,
        format!("there is no PCI device at {address}"),
    )
    .hint("lspci -D lists the devices; addresses change when cards are added or moved")
}

/// The error for setting the state of a device that does not exist.
pub(crate) fn no_device(address: Address) -> HostError {
    HostError::not_applicable(Operation::Write, address.directory(), missing(address))
}

/// The longest name that `driver_override` accepts with its newline: a page without two bytes.
const LONGEST_NAME: usize = 4096 - 2;

/// Why a text cannot be the name of a driver, or `None` if it can.
pub(crate) fn not_a_driver(name: &str) -> Option<Unsupported> {
    let usable = (1..=LONGEST_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/');
    (!usable).then(|| {
        Unsupported::new(
            UnsupportedKind::ValueUnavailable,
            format!("'{}' is not the name of a driver", name.escape_debug()),
        )
        .hint("write it as in /sys/bus/pci/drivers, such as vfio-pci")
    })
}

/// The identity of the device at an address, for the journal.
pub(crate) fn identity(host: &Host, address: Address) -> Result<Option<String>, HostError> {
    let device = hosttune_pci::Device::read(host, address)?;
    Ok(device.map(|device| device.identity()))
}
