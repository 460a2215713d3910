//! How a device is recognized that a step takes away and whose return brings back.

use serde::{Deserialize, Serialize};

use crate::host::{EntryKind, Host, HostError};

/// A link in sysfs that leads to a device as long as the device is there under that name:
/// `/sys/class/net/eth0`, `/sys/class/block/sda`.
///
/// Another device can get the name meanwhile, so it counts only what the link leads through.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceLink {
    /// The path of the link.
    pub link: String,
    /// A part of its target that tells the device from others: `/0000:02:00.0/`.
    pub through: String,
}

impl DeviceLink {
    /// Whether the device is there under this name.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn is_there(&self, host: &Host) -> Result<bool, HostError> {
        Ok(match host.entry(&self.link)?.map(|entry| entry.kind) {
            Some(EntryKind::Link(target)) => target.to_string_lossy().contains(&self.through),
            _ => false,
        })
    }
}
