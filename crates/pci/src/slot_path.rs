//! Where a function is plugged in, without bus numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::Address;

/// The way from the root of the PCI tree to a function: the host bridge, then device and function
/// at each bus, such as `pci0000:00/01.0/00.1`.
///
/// Bus numbers change when a card, a firmware setting or another bridge is added; this does not
/// while the card keeps its slot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotPath(String);

impl SlotPath {
    /// The way and the functions on it, from a path below `/sys/devices`, such as
    /// `../../../devices/pci0000:00/0000:00:01.0/0000:0d:00.1`. The last function is the device
    /// itself. `None` if the path has no function in it.
    ///
    /// A host bridge within the path (Intel's VMD: `pci10000:e0` below `0000:00:0e.0`) is left out,
    /// because the functions below it name their place in it.
    #[must_use]
    pub fn parse(target: &str) -> Option<(Self, Vec<Address>)> {
        let mut text = String::new();
        let mut functions = Vec::new();
        let names = target.split('/').skip_while(|name| *name != "devices");
        for name in names.skip(1) {
            if let Ok(address) = name.parse::<Address>() {
                text.push_str(&format!(
                    "/{:02x}.{:x}",
                    address.device(),
                    address.function()
                ));
                functions.push(address);
            } else if functions.is_empty() && name.starts_with("pci") {
                name.clone_into(&mut text);
            }
        }
        (!functions.is_empty()).then_some((Self(text), functions))
    }

    /// The text, such as `pci0000:00/01.0/00.1`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SlotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SlotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
