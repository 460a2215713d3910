//! All facts of a host.

use std::fmt;

use hosttune_core::Host;
use hosttune_pci::PciId;
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
use crate::privacy::Privacy;
use crate::source::Source;
use crate::virtualisation::{Container, Hypervisor, Virtualisation};

/// The hardware and software of a host.
///
/// An unknown fact is `None`, in JSON `null`; an empty list means that there are none. The JSON follows
/// `docs/schemas/facts.schema.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Facts {
    /// The processors.
    pub cpu: Cpu,
    /// The memory.
    pub memory: Memory,
    /// The disks, by name.
    pub disks: Option<Vec<Disk>>,
    /// The network interfaces, by name.
    pub nics: Option<Vec<Nic>>,
    /// The display controllers, by address.
    pub gpus: Option<Vec<Gpu>>,
    /// The running kernel.
    pub kernel: Kernel,
    /// The firmware and the boot loader.
    pub boot: Boot,
    /// The distribution.
    pub distribution: Option<Distribution>,
    /// Virtual machine and container.
    pub virtualisation: Virtualisation,
    /// Manufacturer, product and form of the machine.
    pub machine: Machine,
}

impl Facts {
    /// Reads the facts without identifiers of the machine: no serial numbers, no hardware addresses, and
    /// `…` for UUIDs in the kernel command line.
    ///
    /// This never fails: a file that is missing, unreadable or malformed makes only its own fact unknown.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        Self::read(host, Privacy::Anonymous)
    }

    /// Reads the facts with the hardware addresses of network interfaces and the full kernel command line.
    /// Serial numbers are not included either.
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

    /// Returns every file, link and directory that is read, as sorted paths and globs (`*` and `?` do not
    /// match `/`). A tree with those of them that a machine has gives the machine's facts.
    ///
    /// A symlink must be a symlink in the tree, with the same target. The target is needed if it is a file;
    /// of a target directory only the part is needed that other paths in the list go through. An unreadable
    /// file may be empty in the tree.
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

    /// Whether the host is known to be a virtual machine.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        !matches!(
            self.virtualisation.hypervisor,
            None | Some(Hypervisor::None)
        )
    }

    /// Whether the host is known to be a container.
    #[must_use]
    pub fn is_container(&self) -> bool {
        !matches!(self.virtualisation.container, None | Some(Container::None))
    }

    /// Whether the host is known to be a laptop.
    #[must_use]
    pub fn is_laptop(&self) -> bool {
        self.machine.form == Some(Form::Laptop)
    }

    /// Whether the host has an NVIDIA display controller, with any driver.
    #[must_use]
    pub fn has_nvidia(&self) -> bool {
        let mut gpus = self.gpus.iter().flatten();
        gpus.any(|gpu| gpu.vendor_id == Some(PciId::NVIDIA))
    }
}

/// Formats one line per fact that begins with the name of the fact.
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows(f);
        rows.row("machine", &self.machine)?;
        rows.row("virtualisation", &self.virtualisation)?;
        rows.row("processor", &self.cpu)?;
        rows.row("memory", &self.memory)?;
        rows.list("disks", self.disks.as_deref(), 0)?;
        // Containers and bridges create dozens of virtual interfaces, which say little about the machine.
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

/// Number of list entries to show; the rest is only counted. A storage server has hundreds of disks.
const SHOWN: usize = 12;

struct Rows<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Rows<'_, '_> {
    fn row(&mut self, name: &str, value: impl fmt::Display) -> fmt::Result {
        writeln!(self.0, "{name:<15} {value}")
    }

    /// Writes one row per entry, with the name before the first.
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
