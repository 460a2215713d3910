//! Names of vendors and devices, from the system's copy of the PCI ID repository.

use std::collections::HashMap;

use hosttune_core::{Host, HostError};

use crate::attribute::is_absent;
use crate::id::{Ids, PciId};

/// Where distributions keep the file: Debian and Arch, Fedora.
const FILES: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

/// The names of the ids that were asked for.
///
/// The file has some 40,000 lines, so only the names of the ids of this host are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    vendors: HashMap<PciId, String>,
    devices: HashMap<Ids, String>,
}

impl Names {
    /// Looks up the names of these ids; without the file there are no names.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn read(host: &Host, ids: impl IntoIterator<Item = Ids>) -> Result<Self, HostError> {
        for file in FILES {
            match host.read(file) {
                Ok(bytes) => return Ok(Self::parse(&String::from_utf8_lossy(&bytes), ids)),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self::default())
    }

    /// Finds these ids in the text of `pci.ids`: vendors at the beginning of a line, their devices
    /// after one tab, subsystems after two.
    #[must_use]
    pub fn parse(text: &str, ids: impl IntoIterator<Item = Ids>) -> Self {
        let mut wanted: HashMap<PciId, Vec<PciId>> = HashMap::new();
        for Ids { vendor, device } in ids {
            wanted.entry(vendor).or_default().push(device);
        }
        let mut names = Self::default();
        let mut vendor: Option<(PciId, &Vec<PciId>)> = None;
        for line in text.lines() {
            if line.starts_with(['#', '\t']) && !is_device(line) || line.is_empty() {
                continue;
            }
            // The classes at the end begin with `C `.
            if line.starts_with("C ") {
                break;
            }
            let Some((id, name)) = line.trim_start_matches('\t').split_once("  ") else {
                continue;
            };
            let Ok(id) = id.parse::<PciId>() else {
                continue;
            };
            let name = crate::address::printable(name.trim());
            match (is_device(line), vendor) {
                (true, Some((of, devices))) if devices.contains(&id) => {
                    let ids = Ids {
                        vendor: of,
                        device: id,
                    };
                    names.devices.insert(ids, name);
                }
                (true, _) => {}
                (false, _) => {
                    vendor = wanted.get(&id).map(|devices| (id, devices));
                    if vendor.is_some() {
                        names.vendors.insert(id, name);
                    }
                }
            }
        }
        names
    }

    /// The name of a vendor.
    #[must_use]
    pub fn vendor(&self, id: PciId) -> Option<&str> {
        self.vendors.get(&id).map(String::as_str)
    }

    /// The name of a device.
    #[must_use]
    pub fn device(&self, ids: Ids) -> Option<&str> {
        self.devices.get(&ids).map(String::as_str)
    }
}

fn is_device(line: &str) -> bool {
    line.starts_with('\t') && !line.starts_with("\t\t")
}
