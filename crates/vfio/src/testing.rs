//! A fake machine with a PCI bus and the modules of VFIO.
//!
//! The bus is that of `hosttune_pci::testing`, the module loader that of `hosttune_modules::testing`.
//! Loading `vfio_pci` registers the driver, which binds what an override names already; unloading
//! it unbinds its devices.

use std::fmt;

use hosttune_core::testing::{Behaviour, CrashPoint, Memory, MemoryStore, Snapshot, World};
use hosttune_core::{Error, Host, Session};
use hosttune_modules::Modules;
use hosttune_modules::testing::{Beside, Described, MemoryModules, with_modules};
use hosttune_pci::testing::{Bus, Function};

/// The modules of VFIO as in Linux 6.12 of Debian.
const MODULES: [Described; 5] = [
    Described::alone("irqbypass"),
    Described {
        name: "vfio",
        needs: &["irqbypass"],
        parameters: &[],
    },
    Described {
        name: "vfio_pci_core",
        needs: &["vfio", "irqbypass"],
        parameters: &[],
    },
    Described {
        name: "vfio_pci",
        needs: &["vfio_pci_core", "vfio", "irqbypass"],
        parameters: &["disable_idle_d3"],
    },
    Described {
        name: "vfio_iommu_type1",
        needs: &["vfio"],
        parameters: &[],
    },
];

/// A machine with a PCI bus.
#[derive(Clone)]
pub struct Machine {
    bus: Bus,
    store: MemoryStore,
}

impl Machine {
    /// A machine without devices, with an IOMMU and the modules of VFIO, none of them loaded.
    #[must_use]
    pub fn new() -> Self {
        let memory = Memory::new()
            .directory("/proc/sys")
            .directory("/sys/class/block")
            .file("/proc/self/mountinfo", "", Behaviour::takes_all())
            .file(
                "/proc/swaps",
                "Filename\tType\tSize\tUsed\tPriority",
                Behaviour::takes_all(),
            );
        Self::over(Bus::new(with_modules(memory, &MODULES, &[])).with_iommu())
    }

    /// A machine with this bus.
    #[must_use]
    pub fn over(bus: Bus) -> Self {
        Self {
            bus,
            store: MemoryStore::new(),
        }
    }

    /// A desktop: a graphics card with audio behind a port of its own (group 1), a network card
    /// (group 2), an NVMe disk (group 3), and a second display controller without a monitor
    /// (group 4).
    #[must_use]
    pub fn desktop() -> Self {
        let machine = Self::new();
        let status = "drm/card1/card1-DP-1/status";
        let bus = machine
            .bus
            .with_driver("pcieport", &["8086:1901"])
            .with_driver("nouveau", &["10de:2684"])
            .with_driver("snd_hda_intel", &["10de:22ba"])
            .with_driver("e1000e", &["8086:10d3"])
            .with_driver("nvme", &["144d:a80a"])
            .with_driver("i915", &["8086:4680"])
            .with(
                Function::new("0000:00:01.0", "8086:1901", "060400")
                    .bridge()
                    .group(1),
            )
            .with(
                Function::new("0000:01:00.0", "10de:2684", "030000")
                    .below(&["0000:00:01.0"])
                    .subsystem("1043:889d")
                    .group(1)
                    .while_bound("nouveau", "drm/card0/uevent", "DEVNAME=dri/card0")
                    .while_bound("nouveau", "drm/card0/card0-HDMI-A-1/status", "connected"),
            )
            .with(
                Function::new("0000:01:00.1", "10de:22ba", "040300")
                    .below(&["0000:00:01.0"])
                    .subsystem("1043:889d")
                    .group(1)
                    .while_bound(
                        "snd_hda_intel",
                        "sound/card0/controlC0/uevent",
                        "DEVNAME=snd/controlC0",
                    )
                    .while_bound(
                        "snd_hda_intel",
                        "sound/card0/pcmC0D3p/uevent",
                        "DEVNAME=snd/pcmC0D3p",
                    ),
            )
            .with(
                Function::new("0000:02:00.0", "8086:10d3", "020000")
                    .below(&["0000:00:01.1"])
                    .group(2)
                    .while_bound("e1000e", "net/eth0/flags", "0x1002"),
            )
            .with(
                Function::new("0000:03:00.0", "144d:a80a", "010802")
                    .below(&["0000:00:01.2"])
                    .group(3)
                    .while_bound("nvme", "nvme/nvme0/uevent", "DEVNAME=nvme0"),
            )
            .with(
                Function::new("0000:00:02.0", "8086:4680", "038000")
                    .group(4)
                    .while_bound("i915", status, "disconnected")
                    .while_bound("i915", "drm/card1/uevent", "DEVNAME=dri/card1"),
            );
        Self { bus, ..machine }
    }

    /// Its PCI bus.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The same machine with one more function.
    #[must_use]
    pub fn with(self, function: Function) -> Self {
        Self {
            bus: self.bus.with(function),
            ..self
        }
    }

    /// The same machine with one more file.
    #[must_use]
    pub fn with_file(self, path: &str, value: &str) -> Self {
        let _ = self
            .bus
            .memory()
            .clone()
            .file(path, value, Behaviour::takes_all());
        self
    }

    /// The same machine with one more link.
    #[must_use]
    pub fn with_link(self, path: &str, target: &str) -> Self {
        let _ = self.bus.memory().clone().link(path, target);
        self
    }

    /// A host for one process of this machine.
    #[must_use]
    pub fn host(&self, crash_point: &CrashPoint) -> Host {
        let modules = MemoryModules::new(self.bus.memory().clone(), VfioModules(self.bus.clone()));
        Host::new(self.bus.host(crash_point))
            .with_backend(Modules::over(modules))
            .gated(crash_point.clone())
    }
}

/// Printed when a law fails: what was bound and set before.
impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shows = ["/driver", "/driver_override", "/power/control"];
        let files = self.bus.memory().snapshot().into_iter();
        let files = files.filter(|(path, _)| {
            path.starts_with("/sys/devices/") && shows.iter().any(|name| path.ends_with(name))
        });
        f.debug_map().entries(files).finish()
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl World for Machine {
    fn fork(&self) -> Self {
        Self {
            bus: self.bus.fork(),
            store: self.store.fork(),
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let store = self.store.of(crash_point);
        let session = Session::new(self.host(crash_point), owner, store, "boot")?;
        Ok(session.with(crate::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        self.bus.memory().snapshot()
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

/// What loading and unloading the modules does to the bus.
#[derive(Debug, Clone)]
struct VfioModules(Bus);

impl Beside for VfioModules {
    fn loaded(&mut self, module: &str, _: &[String]) {
        if module == "vfio_pci" {
            self.0.register("vfio-pci", Vec::new());
        }
    }

    fn unloaded(&mut self, module: &str) {
        if module == "vfio_pci" {
            self.0.unregister("vfio-pci");
        }
    }
}
