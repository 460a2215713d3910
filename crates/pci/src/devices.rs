//! All functions of a host.

use hosttune_core::{Host, HostError};
use serde::{Deserialize, Serialize};

use crate::address::{Address, DEVICES, NotAnAddress, Written};
use crate::attribute::is_absent;
use crate::device::Device;

/// All PCI functions of a host, by address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Devices(Vec<Device>);

impl Devices {
    /// Reads all functions; empty on a host without PCI.
    ///
    /// # Errors
    /// If a file exists and cannot be read or understood.
    pub fn read(host: &Host) -> Result<Self, HostError> {
        let names = match host.list(DEVICES) {
            Ok(names) => names,
            Err(error) if is_absent(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut devices = Vec::with_capacity(names.len());
        for name in names {
            if let Ok(address) = name.parse::<Address>() {
                devices.extend(Device::read(host, address)?);
            }
        }
        devices.sort_unstable_by_key(|device: &Device| device.address);
        Ok(Self(devices))
    }

    /// The function at an address.
    #[must_use]
    pub fn get(&self, address: Address) -> Option<&Device> {
        let found = self
            .0
            .binary_search_by_key(&address, |device| device.address);
        found.ok().map(|place| &self.0[place])
    }

    /// The functions, by address.
    pub fn iter(&self) -> std::slice::Iter<'_, Device> {
        self.0.iter()
    }

    /// The functions in the same slot as this one, which is among them.
    pub fn in_slot_of(&self, address: Address) -> impl Iterator<Item = &Device> {
        let same = move |device: &&Device| device.address.is_same_slot(address);
        self.0.iter().filter(same)
    }

    /// The address of the function that a person means; the domain may be left out if only one
    /// domain has such a function.
    ///
    /// # Errors
    /// If the text is not an address, no function has it, or several domains have it.
    pub fn find(&self, text: &str) -> Result<Address, NotFound> {
        let written = Written::parse(text)?;
        let mut meant = self.0.iter().map(|device| device.address);
        let mut meant = meant.by_ref().filter(|address| written.admits(*address));
        match (meant.next(), meant.next()) {
            (Some(address), None) => Ok(address),
            (Some(first), Some(second)) => Err(NotFound::Ambiguous {
                text: text.to_owned(),
                first,
                second,
            }),
            (None, _) => Err(NotFound::None {
                text: text.to_owned(),
            }),
        }
    }
}

impl<'a> IntoIterator for &'a Devices {
    type Item = &'a Device;
    type IntoIter = std::slice::Iter<'a, Device>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Why a text names no function of this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFound {
    /// It is not an address.
    #[error(transparent)]
    Text(#[from] NotAnAddress),
    /// No function has this address.
    #[error("there is no PCI device at {text}; lspci -D lists them")]
    None {
        /// The text.
        text: String,
    },
    /// Several domains have such a function.
    #[error("'{text}' is ambiguous: both {first} and {second} exist; write the domain as well")]
    Ambiguous {
        /// The text.
        text: String,
        /// The first match.
        first: Address,
        /// The second match.
        second: Address,
    },
}
