//! Which GPU is at an address.

use hosttune_core::{Host, HostError};

use super::address::GpuAddress;
use super::presence::Presence;
use crate::gpu::{DEVICES, OF_DRIVER, information, optional};

/// The UUID of a GPU that is awake, from the driver's files; `None` if the driver does not know it yet.
pub(crate) fn uuid(host: &Host, gpu: &GpuAddress) -> Result<Option<String>, HostError> {
    // Reading `information` may wake the GPU.
    if Presence::of(host, gpu)? != Presence::Awake {
        return Ok(None);
    }
    let text = optional(host, &format!("{OF_DRIVER}/{gpu}/information"))?;
    let uuid = information(&text.unwrap_or_default()).remove("GPU UUID");
    Ok(uuid.filter(|uuid| uuid.starts_with("GPU-") && !uuid.contains('?')))
}

/// The device at the address: its PCI device id, and its UUID as far as that is known without waking it.
/// `None` if there is none.
pub(crate) fn identity(host: &Host, gpu: &GpuAddress) -> Result<Option<String>, HostError> {
    let device = optional(host, &format!("{DEVICES}/{gpu}/device"))?;
    let Some(device) = device else {
        return Ok(None);
    };
    let device = device.trim().to_owned();
    Ok(Some(match uuid(host, gpu)? {
        Some(uuid) => format!("{device} {uuid}"),
        None => device,
    }))
}

/// Whether two identities are of the same GPU: a UUID that was not known is no difference.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let parts = |identity: &str| {
        let (device, uuid) = identity.split_once(' ').unzip();
        (
            device.unwrap_or(identity).to_owned(),
            uuid.map(str::to_owned),
        )
    };
    let ((device, uuid), (of_other, uuid_of_other)) = (parts(one), parts(other));
    device == of_other && (uuid.is_none() || uuid_of_other.is_none() || uuid == uuid_of_other)
}
