//! The disks, from `/sys/block`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::amount::Bytes;
use crate::source::Source;
use crate::transport::Transport;

const DIRECTORY: &str = "/sys/block";

/// The files that are read; see [`Facts::sources`](crate::Facts::sources).
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

/// The unit of `size` in bytes, which does not depend on the disk's own sector size.
const SECTOR: u64 = 512;

/// The SCSI peripheral device type of CD, DVD and Blu-ray drives (SPC-4, table 147).
const TYPE_ROM: u32 = 5;

/// A disk: real hardware, or hardware emulated by a hypervisor.
///
/// Not counted are devices on top of other disks, memory or files (dm, md, zram, loop), optical drives,
/// drives without a medium, and the individual paths that NVMe multipath hides behind one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Disk {
    /// The kernel's name, such as `nvme0n1`. It may belong to another disk after the next boot.
    pub name: String,
    /// How it is attached; never [`Transport::Virtual`].
    pub transport: Transport,
    /// Whether it reports that it rotates. A virtio disk does so by default if the hypervisor does not set
    /// it.
    pub rotational: Option<bool>,
    /// Whether its medium is removable.
    pub removable: Option<bool>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The model as the disk reports it; a virtio disk reports none.
    pub model: Option<String>,
}

impl Disk {
    /// Returns all disks by name, or `None` if the kernel does not show them.
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
        // `nvme0c1n1` is the path of the disk `nvme0n1` through controller 1. It has no device node.
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
            // Their `device` directory has no model.
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
