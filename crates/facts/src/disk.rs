//! The disks, by what `/sys/block` shows of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::amount::Bytes;
use crate::source::Source;
use crate::transport::Transport;

const DIRECTORY: &str = "/sys/block";

/// What is read; see [`Facts::sources`](crate::Facts::sources).
pub(crate) const SOURCES: &[&str] = &[
    DIRECTORY,
    "/sys/block/*",
    "/sys/block/*/hidden",
    "/sys/block/*/size",
    "/sys/block/*/removable",
    "/sys/block/*/queue/rotational",
    "/sys/block/*/device/model",
    "/sys/block/*/device/name",
    "/sys/block/*/device/type",
];

/// The size of what `size` counts, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// The SCSI peripheral device type of CD, DVD and Blu-ray drives (SPC-4, table 147).
const TYPE_ROM: u32 = 5;

/// A disk: of hardware, or of what a hypervisor shows as hardware.
///
/// What is made of other disks, of memory or of files (dm, md, zram, loop) is none, nor is a drive
/// of optical media, one without a medium, and one path of several to a disk that NVMe multipath
/// hides behind the disk itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The kernel's name, as in `nvme0n1`. It may be another disk's after the next boot.
    pub name: String,
    /// What it is attached by; never [`Transport::Virtual`].
    pub transport: Transport,
    /// Whether it says that it rotates. A virtio disk says so where the hypervisor does not know
    /// better.
    pub rotational: Option<bool>,
    /// Whether its medium can be taken out of it.
    pub removable: Option<bool>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The model, as it says itself; a virtio disk says none.
    pub model: Option<String>,
}

impl Disk {
    /// All of them, by name; nothing where the kernel does not show them.
    pub(crate) fn all(source: Source<'_>) -> Option<Vec<Self>> {
        let names = source.names(DIRECTORY)?;
        Some(
            names
                .iter()
                .filter_map(|name| Self::named(source, name))
                .collect(),
        )
    }

    fn named(source: Source<'_>, name: &str) -> Option<Self> {
        let directory = format!("{DIRECTORY}/{name}");
        let target = source.link(&directory)?;
        let transport = Transport::of_device(&target);
        if transport == Transport::Virtual {
            return None;
        }
        let size_bytes = source
            .number::<u64>(format!("{directory}/size"))
            .and_then(|sectors| sectors.checked_mul(SECTOR))
            .filter(|bytes| *bytes > 0)?;
        // `nvme0c1n1`: the disk `nvme0n1` by the controller 1. The kernel gives it no device node.
        if source.flag(format!("{directory}/hidden")) == Some(true) {
            return None;
        }
        let is_scsi = matches!(
            transport,
            Transport::Scsi | Transport::Sata | Transport::Usb
        );
        if is_scsi && source.number(format!("{directory}/device/type")) == Some(TYPE_ROM) {
            return None;
        }
        let model = match transport {
            // Its `device` says neither.
            Transport::Virtio | Transport::Xen => None,
            Transport::Mmc => source.value(format!("{directory}/device/name")),
            _ => source.value(format!("{directory}/device/model")),
        };
        Some(Self {
            name: crate::source::plain(name)?,
            transport,
            rotational: source.flag(format!("{directory}/queue/rotational")),
            removable: source.flag(format!("{directory}/removable")),
            size_bytes,
            model,
        })
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, {}",
            self.name,
            Bytes(self.size_bytes),
            self.transport
        )?;
        if let Some(model) = &self.model {
            write!(f, ", {model}")?;
        }
        match self.rotational {
            Some(true) => f.write_str(", rotational")?,
            Some(false) => f.write_str(", not rotational")?,
            None => {}
        }
        if self.removable == Some(true) {
            f.write_str(", removable")?;
        }
        Ok(())
    }
}
