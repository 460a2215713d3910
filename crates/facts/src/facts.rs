//! All facts together.

use std::fmt;

use hosttune_core::Host;
use serde::{Deserialize, Serialize};

use crate::boot::Boot;
use crate::cpu::{Cpu, CpuInfo};
use crate::disk::Disk;
use crate::distribution::Distribution;
use crate::gpu::Gpu;
use crate::kernel::Kernel;
use crate::machine::{Form, Machine};
use crate::memory::Memory;
use crate::nic::{Nic, NicKind};
use crate::pci::PciId;
use crate::privacy::Privacy;
use crate::source::Source;
use crate::virtualisation::{Container, Hypervisor, Virtualisation};

/// What a host is made of and what runs on it.
///
/// What cannot be known is `None`, in JSON `null`; an empty list says that there is none of it. In
/// JSON it keeps `docs/schemas/facts.schema.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The processors.
    pub cpu: Cpu,
    /// How much memory there is.
    pub memory: Memory,
    /// The disks, by name.
    pub disks: Option<Vec<Disk>>,
    /// The network interfaces, by name.
    pub nics: Option<Vec<Nic>>,
    /// The display controllers, by address.
    pub gpus: Option<Vec<Gpu>>,
    /// The kernel that runs.
    pub kernel: Kernel,
    /// How the machine was started.
    pub boot: Boot,
    /// The distribution.
    pub distribution: Option<Distribution>,
    /// What stands between this system and the hardware.
    pub virtualisation: Virtualisation,
    /// What the machine is.
    pub machine: Machine,
}

impl Facts {
    /// Reads them, without what tells one machine from another of its kind: no serial numbers, no
    /// hardware addresses, and `…` for the UUIDs of the kernel's command line.
    ///
    /// It does not fail: a file that is missing, may not be read or holds something odd leaves a
    /// fact unknown, and no other one.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        Self::read(host, Privacy::Anonymous)
    }

    /// The same with the hardware addresses of network interfaces, and the kernel's command line as
    /// it is. Serial numbers are in neither.
    #[must_use]
    pub fn with_identifiers(host: &Host) -> Self {
        Self::read(host, Privacy::Identified)
    }

    fn read(host: &Host, privacy: Privacy) -> Self {
        let source = Source(host);
        let cpu = CpuInfo::of(source);
        Self {
            cpu: Cpu::of(source, &cpu),
            memory: Memory::of(source),
            disks: Disk::all(source),
            nics: Nic::all(source, privacy),
            gpus: Gpu::all(source),
            kernel: Kernel::of(source, &cpu, privacy),
            boot: Boot::of(source, &cpu),
            distribution: Distribution::of(source),
            virtualisation: Virtualisation::of(source, &cpu),
            machine: Machine::of(source),
        }
    }

    /// Every file, link and directory that is looked at, as paths and globs (`*` and `?`, neither
    /// for a `/`), sorted: a tree with all of them that a machine has gives the machine's facts.
    ///
    /// A symlink has to be one in the tree as well, with the same target. One that leads to a file
    /// needs the file; what one to a directory leads to is needed only as far as other paths of the
    /// list go through it. What may not be read can be an empty file in the tree.
    #[must_use]
    pub fn sources() -> Vec<&'static str> {
        let parts = [
            crate::boot::SOURCES,
            crate::cpu::SOURCES,
            crate::disk::SOURCES,
            crate::distribution::SOURCES,
            crate::gpu::SOURCES,
            crate::kernel::SOURCES,
            crate::machine::SOURCES,
            crate::memory::SOURCES,
            crate::nic::SOURCES,
        ];
        let mut all: Vec<&str> = parts
            .into_iter()
            .chain(crate::virtualisation::SOURCES)
            .flatten()
            .copied()
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether it is known to be a virtual machine.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        !matches!(
            self.virtualisation.hypervisor,
            None | Some(Hypervisor::None)
        )
    }

    /// Whether it is known to be a container.
    #[must_use]
    pub fn is_container(&self) -> bool {
        !matches!(self.virtualisation.container, None | Some(Container::None))
    }

    /// Whether it is known to be a laptop.
    #[must_use]
    pub fn is_laptop(&self) -> bool {
        self.machine.form == Some(Form::Laptop)
    }

    /// Whether a display controller of NVIDIA's is there, whatever its driver.
    #[must_use]
    pub fn has_nvidia(&self) -> bool {
        let mut gpus = self.gpus.iter().flatten();
        gpus.any(|gpu| gpu.vendor_id == Some(PciId::NVIDIA))
    }
}

/// A line for each fact, with its name in front.
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows(f);
        rows.row("machine", &self.machine)?;
        rows.row("virtualisation", &self.virtualisation)?;
        rows.row("processor", &self.cpu)?;
        rows.row("memory", &self.memory)?;
        rows.list("disks", self.disks.as_deref(), 0)?;
        // Containers and bridges make dozens of virtual ones, which say little about the machine.
        let is_real = |nic: &&Nic| nic.kind != NicKind::Virtual;
        let real = self
            .nics
            .as_ref()
            .map(|nics| nics.iter().filter(is_real).collect::<Vec<_>>());
        let all = self.nics.as_ref().map_or(0, Vec::len);
        let virtuals = all - real.as_ref().map_or(0, Vec::len);
        rows.list("network", real.as_deref(), virtuals)?;
        rows.list("graphics", self.gpus.as_deref(), 0)?;
        match &self.distribution {
            Some(distribution) => rows.row("distribution", distribution)?,
            None => rows.row("distribution", "unknown")?,
        }
        rows.row("kernel", &self.kernel)?;
        rows.row(
            "command line",
            self.kernel.command_line.as_deref().unwrap_or("unknown"),
        )?;
        rows.row("boot", &self.boot)
    }
}

/// How many of a list are shown; what is more is counted. A storage server has hundreds of disks.
const SHOWN: usize = 12;

struct Rows<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Rows<'_, '_> {
    fn row(&mut self, name: &str, value: impl fmt::Display) -> fmt::Result {
        writeln!(self.0, "{name:<15} {value}")
    }

    /// A row for each, with the name before the first.
    fn list(
        &mut self,
        name: &str,
        all: Option<&[impl fmt::Display]>,
        virtuals: usize,
    ) -> fmt::Result {
        let Some(all) = all else {
            return self.row(name, "unknown");
        };
        let mut name = name;
        for one in all.iter().take(SHOWN) {
            self.row(std::mem::take(&mut name), one)?;
        }
        match all.len().saturating_sub(SHOWN) {
            0 => {}
            more => self.row("", format_args!("and {more} more"))?,
        }
        match virtuals {
            0 if all.is_empty() => self.row(name, "none"),
            0 => Ok(()),
            virtuals => self.row(name, format_args!("{virtuals} virtual")),
        }
    }
}
