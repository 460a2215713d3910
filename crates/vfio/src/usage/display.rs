//! Monitors of a display controller.

use hosttune_core::{Host, HostError};
use hosttune_pci::Address;

use super::nodes::is_absent;

/// The connectors of the DRM cards of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Connectors {
    pub(crate) total: usize,
    pub(crate) connected: usize,
}

/// Counts the connectors; none if no DRM driver is bound.
pub(crate) fn connectors(host: &Host, address: Address) -> Result<Connectors, HostError> {
    let drm = address.file("drm");
    let mut found = Connectors::default();
    for card in list(host, &drm)?
        .iter()
        .filter(|name| name.starts_with("card"))
    {
        let directory = format!("{drm}/{card}");
        for connector in list(host, &directory)? {
            if !connector.starts_with(&format!("{card}-")) {
                continue;
            }
            found.total += 1;
            match host.read(format!("{directory}/{connector}/status")) {
                Ok(status) if status.starts_with(b"connected") => found.connected += 1,
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

fn list(host: &Host, path: &str) -> Result<Vec<String>, HostError> {
    match host.list(path) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        names => names,
    }
}
