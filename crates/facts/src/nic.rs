//! The network interfaces, from `/sys/class/net`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device_path::DevicePath;
use crate::privacy::Privacy;
use crate::source::{Source, plain};

const DIRECTORY: &str = "/sys/class/net";

/// The files that are read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[
    DIRECTORY,
    "/sys/class/net/*",
    "/sys/class/net/*/address",
    "/sys/class/net/*/device/driver",
    "/sys/class/net/*/operstate",
    "/sys/class/net/*/phy80211",
    "/sys/class/net/*/speed",
    "/sys/class/net/*/wireless",
];

/// A network interface of the network namespace whose `/sys` was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Nic {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Its kind.
    pub kind: NicKind,
    /// The hardware address. Only set if identifiers were requested, see
    /// [`Facts::with_identifiers`](crate::Facts::with_identifiers).
    pub hardware_address: Option<String>,
    /// The driver of its device, such as `e1000e`; `None` for a virtual interface.
    pub driver: Option<String>,
    /// Speed in megabits (1,000,000 bits) per second, if it is up and reports one.
    pub speed_megabits: Option<u64>,
    /// The address of its device: a USB interface such as `1-1:1.0`, or else a PCI function such as
    /// `0000:03:00.0`.
    pub bus_address: Option<String>,
}

/// The kind of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NicKind {
    /// A wired device, or one that a hypervisor emulates.
    Physical,
    /// An IEEE 802.11 device.
    Wireless,
    /// A software interface: loopback, bridge, VLAN, tunnel, veth.
    Virtual,
}

impl Nic {
    /// Returns all interfaces by name, or `None` if the kernel does not show them.
    pub(crate) fn all(source: Source<'_>, privacy: Privacy) -> Option<Vec<Self>> {
        let names = source.names(DIRECTORY)?;
        let named = |name: &String| Self::named(source, privacy, name);
        Some(names.iter().filter_map(named).collect())
    }

    fn named(source: Source<'_>, privacy: Privacy, name: &str) -> Option<Self> {
        let directory = format!("{DIRECTORY}/{name}");
        // `bonding_masters` in this directory is a file.
        let target = source.link(&directory)?;
        let path = DevicePath::new(&target);
        let kind = if path.is_virtual() {
            NicKind::Virtual
        } else if source.exists(format!("{directory}/phy80211"))
            || source.exists(format!("{directory}/wireless"))
        {
            NicKind::Wireless
        } else {
            NicKind::Physical
        };
        let is_virtual = kind == NicKind::Virtual;
        let driver = || source.link_name(format!("{directory}/device/driver"));
        // The kernel answers EINVAL if the interface is down, and -1 or its unsigned equivalent if the
        // speed is unknown.
        let speed = || {
            let is_up = source.value(format!("{directory}/operstate"))? == "up";
            let speed = is_up.then(|| source.number(format!("{directory}/speed")))?;
            speed.filter(|speed| (1..u64::from(u32::MAX)).contains(speed))
        };
        Some(Self {
            name: plain(name)?,
            kind,
            hardware_address: (privacy == Privacy::Identified)
                .then(|| source.value(format!("{directory}/address")))
                .flatten(),
            driver: if is_virtual { None } else { driver() },
            speed_megabits: if is_virtual { None } else { speed() },
            bus_address: path.bus_address().and_then(plain),
        })
    }
}

impl fmt::Display for NicKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Physical => "physical",
            Self::Wireless => "wireless",
            Self::Virtual => "virtual",
        })
    }
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.kind)?;
        if let Some(driver) = &self.driver {
            write!(f, ", {driver}")?;
        }
        if let Some(address) = &self.bus_address {
            write!(f, " at {address}")?;
        }
        if let Some(speed) = self.speed_megabits {
            write!(f, ", {speed} Mbit/s")?;
        }
        if let Some(address) = &self.hardware_address {
            write!(f, ", {address}")?;
        }
        Ok(())
    }
}
