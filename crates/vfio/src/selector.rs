//! Which device is meant, so that another card at the same address is not taken.

use std::fmt;

use hosttune_core::{Unsupported, UnsupportedKind};
use hosttune_pci::{Address, Class, Device, Devices, Ids, SlotPath};
use serde::{Deserialize, Serialize};

/// Which device is meant.
///
/// An address alone is not enough: adding a card or changing a setting of the firmware gives the
/// address to another device. Ids alone are enough only if one device has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Selector {
    /// The vendor and device id that it must have.
    ids: Ids,
    /// Where it must be; `None` for the only device with these ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subsystem: Option<Ids>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<SlotPath>,
}

impl Selector {
    /// The device at an address, which must have these ids.
    #[must_use]
    pub fn at(address: Address, ids: Ids) -> Self {
        Self {
            address: Some(address),
            ..Self::unique(ids)
        }
    }

    /// The only device with these ids.
    #[must_use]
    pub fn unique(ids: Ids) -> Self {
        Self {
            ids,
            address: None,
            subsystem: None,
            class: None,
            slot: None,
        }
    }

    /// Also requires these subsystem ids, which tell cards of different makers apart.
    #[must_use]
    pub fn subsystem(mut self, ids: Ids) -> Self {
        self.subsystem = Some(ids);
        self
    }

    /// Also requires this class.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// Also requires that it is plugged in here, whatever the numbers of the buses are: this tells
    /// identical cards apart.
    #[must_use]
    pub fn slot(mut self, slot: SlotPath) -> Self {
        self.slot = Some(slot);
        self
    }

    /// The first of the requirements that a device does not meet, as "wanted" and "is".
    fn differs(&self, device: &Device) -> Option<(String, String)> {
        let differs = |what: &str, wanted: String, is: String| {
            (wanted != is).then(|| (format!("{what} {wanted}"), is))
        };
        let ids = differs("ids", self.ids.to_string(), device.ids.to_string());
        let subsystem = || {
            let wanted = self.subsystem?.to_string();
            let is = device
                .subsystem
                .map_or_else(|| "none".to_owned(), |ids| ids.to_string());
            differs("subsystem ids", wanted, is)
        };
        let class = || differs("class", self.class?.to_string(), device.class.to_string());
        let slot = || {
            differs(
                "slot",
                self.slot.as_ref()?.to_string(),
                device.slot.to_string(),
            )
        };
        ids.or_else(subsystem).or_else(class).or_else(slot)
    }

    /// The address of the selected device.
    ///
    /// # Errors
    /// If no device, another one or several are there.
    pub fn select(&self, devices: &Devices) -> Result<Address, Box<Unsupported>> {
        let refused =
            |kind, why: String, hint: String| Err(Box::new(Unsupported::new(kind, why).hint(hint)));
        let matching: Vec<Address> = devices
            .iter()
            .filter(|device| self.differs(device).is_none())
            .map(|device| device.address)
            .collect();
        let Some(address) = self.address else {
            return match matching[..] {
                [only] => Ok(only),
                [] => refused(
                    UnsupportedKind::Missing,
                    format!("no PCI device matches {self}"),
                    "lspci -Dnn lists the devices with their ids".to_owned(),
                ),
                _ => refused(
                    UnsupportedKind::Other,
                    format!("several PCI devices match {self}: {}", list(&matching)),
                    format!(
                        "select one of them by its address as well: {}@{}",
                        self.ids, matching[0]
                    ),
                ),
            };
        };
        let elsewhere = || match matching[..] {
            [] => "check the ids with lspci -Dnn".to_owned(),
            _ => format!(
                "it is at {} now: select {}@{}",
                list(&matching),
                self.ids,
                matching[0]
            ),
        };
        match devices.get(address) {
            None => refused(
                UnsupportedKind::Missing,
                format!("there is no PCI device at {address}"),
                elsewhere(),
            ),
            Some(device) => match self.differs(device) {
                None => Ok(address),
                Some((wanted, is)) => refused(
                    UnsupportedKind::Other,
                    format!("another device is at {address}: wanted {wanted}, found {is}"),
                    elsewhere(),
                ),
            },
        }
    }
}

fn list(addresses: &[Address]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ids)?;
        if let Some(address) = self.address {
            write!(f, " at {address}")?;
        }
        if let Some(subsystem) = self.subsystem {
            write!(f, " subsystem {subsystem}")?;
        }
        if let Some(class) = self.class {
            write!(f, " class {class}")?;
        }
        if let Some(slot) = &self.slot {
            write!(f, " in slot {slot}")?;
        }
        Ok(())
    }
}
