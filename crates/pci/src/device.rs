//! One function, as sysfs shows it.

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::attribute::{is_absent, link_name, parsed, text};
use crate::class::Class;
use crate::config_space::ConfigSpace;
use crate::id::{Ids, PciId};
use crate::power::PowerState;
use crate::slot_path::SlotPath;
use crate::stuck::is_stuck;

/// A PCI function, as sysfs shows it. Reading it does not wake a sleeping device: everything here
/// is kept by the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Its address.
    pub address: Address,
    /// Its vendor and device id.
    pub ids: Ids,
    /// The ids that the maker of the card chose; `None` for bridges.
    pub subsystem: Option<Ids>,
    /// What kind of device it is.
    pub class: Class,
    /// The bound driver.
    pub driver: Option<String>,
    /// The driver that `driver_override` allows; `None` if any may bind.
    pub driver_override: Option<String>,
    /// The number of its IOMMU group; `None` without an IOMMU.
    pub group: Option<u32>,
    /// Where it is plugged in.
    pub slot: SlotPath,
    /// The functions between it and the root, the nearest one first.
    pub parents: Vec<Address>,
    /// Its power state.
    pub power: PowerState,
    /// Whether it is a PCI or CardBus bridge, so that it has buses below it.
    pub has_bus_below: bool,
    /// Whether a change of its driver hangs in the kernel: see [`is_stuck`]. `driver` and
    /// `driver_override` are not known then.
    #[serde(default)]
    pub is_stuck: bool,
}

impl Device {
    /// Reads a function; `None` if there is none at this address.
    ///
    /// # Errors
    /// If a file exists and cannot be read or understood.
    pub fn read(host: &Host, address: Address) -> Result<Option<Self>, HostError> {
        let directory = address.directory();
        let Some(entry) = host.entry(&directory)? else {
            return Ok(None);
        };
        let EntryKind::Link(target) = entry.kind else {
            return Err(HostError::malformed(
                directory,
                "it is not a link into /sys/devices",
            ));
        };
        let Some((slot, mut parents)) = SlotPath::parse(&target.to_string_lossy()) else {
            return Err(HostError::malformed(
                directory,
                format!("its target {} has no PCI address in it", target.display()),
            ));
        };
        parents.pop();
        parents.reverse();
        let vendor = parsed::<PciId>(host, address, "vendor")?;
        let device = parsed::<PciId>(host, address, "device")?;
        let class = parsed::<Class>(host, address, "class")?;
        let (Some(vendor), Some(device), Some(class)) = (vendor, device, class) else {
            return match host.exists(&directory)? {
                // Unplugged while it was read.
                false => Ok(None),
                true => Err(HostError::malformed(
                    directory,
                    "it has no vendor, device or class",
                )),
            };
        };
        let subsystem = parsed::<PciId>(host, address, "subsystem_vendor")?
            .zip(parsed::<PciId>(host, address, "subsystem_device")?)
            // Bridges and devices without the register show zeros.
            .filter(|(vendor, _)| *vendor != PciId(0))
            .map(|(vendor, device)| Ids { vendor, device });
        let is_stuck = is_stuck(host, address)?;
        let group = link_name(host, address, "iommu_group")?;
        let group = group.map(|number| {
            number.parse::<u32>().map_err(|_| {
                HostError::malformed(
                    address.file("iommu_group"),
                    format!("'{number}' is not the number of a group"),
                )
            })
        });
        Ok(Some(Self {
            address,
            ids: Ids { vendor, device },
            subsystem,
            class,
            driver: driver(host, address)?,
            driver_override: match is_stuck {
                // Reading it would hang too.
                true => None,
                false => driver_override(host, address)?,
            },
            group: group.transpose()?,
            slot,
            parents,
            power: text(host, address, "power_state")?
                .map_or(PowerState::Unknown, |word| PowerState::parse(&word)),
            has_bus_below: host.exists(address.file("secondary_bus_number"))?,
            is_stuck,
        }))
    }

    /// What tells this very card from another at the same address: slot, ids, subsystem ids.
    ///
    /// It stays the same when buses are renumbered. Two identical cards that change places cannot
    /// be told apart by it: see [`ConfigSpace::serial_number`].
    #[must_use]
    pub fn identity(&self) -> String {
        let subsystem = self.subsystem.map(|ids| format!(" subsystem {ids}"));
        format!(
            "{} {}{}",
            self.slot,
            self.ids,
            subsystem.unwrap_or_default()
        )
    }

    /// Reads the configuration space, unless that would wake the device.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn config_space(&self, host: &Host) -> Result<ConfigReading, HostError> {
        if !self.power.is_awake() {
            return Ok(ConfigReading::Asleep(self.power));
        }
        match host.read(self.address.file("config")) {
            Ok(bytes) if bytes.is_empty() => Ok(ConfigReading::Unavailable),
            Ok(bytes) => Ok(match ConfigSpace::parse(&bytes) {
                Some(space) => ConfigReading::Read(space),
                None => ConfigReading::NoAnswer,
            }),
            Err(error) if is_absent(&error) || *error.kind() == HostErrorKind::Denied => {
                Ok(ConfigReading::Unavailable)
            }
            Err(error) => Err(error),
        }
    }

    /// What it is, for people: class, ids and address.
    #[must_use]
    pub fn describe(&self) -> String {
        let class = match self.class.name() {
            Some(name) => name.to_owned(),
            None => format!("device of class {}", self.class),
        };
        format!("{class} [{}] at {}", self.ids, self.address)
    }
}

/// What reading a configuration space gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigReading {
    /// The device answered.
    Read(ConfigSpace),
    /// It was not read, because that would wake the device.
    Asleep(PowerState),
    /// All ones: the device is dead or was unplugged.
    NoAnswer,
    /// This process may not read it, or the tree does not contain it.
    Unavailable,
}

/// The driver that is bound to a function.
///
/// # Errors
/// Any error from the host.
pub fn driver(host: &Host, address: Address) -> Result<Option<String>, HostError> {
    link_name(host, address, "driver")
}

/// The driver that `driver_override` allows. The kernel shows `(null)` if there is none.
///
/// The read takes the lock of the device: it hangs while the device [is stuck](crate::is_stuck).
///
/// # Errors
/// Any error from the host.
pub fn driver_override(host: &Host, address: Address) -> Result<Option<String>, HostError> {
    let shown = text(host, address, "driver_override")?;
    Ok(shown.filter(|name| name != "(null)" && !name.is_empty()))
}
