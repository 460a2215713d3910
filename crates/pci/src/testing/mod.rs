//! A fake of the kernel's PCI bus, on a machine in memory.
//!
//! [`Bus`] answers writes to `driver_override`, `bind`, `unbind`, `new_id` and `drivers_probe` as
//! Linux 6.12 does (`drivers/base/bus.c`, `dd.c`, `driver.c`, `drivers/pci/pci-driver.c`): a driver
//! binds what its ids or an override match, a probe that no driver claims succeeds, a bound device
//! refuses a second driver, a group that user space owns refuses ordinary drivers, vfio-pci changes
//! `power/control`. All that the kernel shows is in the files of the machine; the rest is in the
//! `Bus` and copied with it.

mod fault;
mod function;
mod host;
mod kernel;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hosttune_core::testing::{Behaviour, CrashPoint, Memory};

use crate::address::Address;
use crate::id::Ids;

pub use fault::Fault;
pub use function::Function;
pub use host::BusHost;

use kernel::Kernel;

/// A PCI bus with its drivers. Clones share it; [`fork`](Self::fork) copies it.
#[derive(Debug, Clone)]
pub struct Bus {
    memory: Memory,
    kernel: Arc<Mutex<Kernel>>,
}

impl Bus {
    /// Adds an empty bus to a machine.
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        let memory = memory
            .directory("/sys/bus/pci/devices")
            .directory("/sys/bus/pci/drivers")
            .directory("/sys/kernel/iommu_groups")
            .directory("/dev/vfio")
            .file("/sys/bus/pci/drivers_probe", "", Behaviour::takes_all())
            .mode("/sys/bus/pci/drivers_probe", 0o200);
        Self {
            memory,
            kernel: Arc::default(),
        }
    }

    /// The files of the machine.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// An independent copy of the whole machine.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork(),
            kernel: Arc::new(Mutex::new(self.kernel().clone())),
        }
    }

    /// The files of a host for one process of this machine.
    #[must_use]
    pub fn host(&self, crash_point: &CrashPoint) -> BusHost {
        BusHost::new(self.clone(), self.memory.host(crash_point))
    }

    /// Adds an IOMMU, without which there are no groups.
    #[must_use]
    pub fn with_iommu(self) -> Self {
        let _ = self.memory.clone().directory("/sys/class/iommu/dmar0");
        self
    }

    /// Plugs a function in. A registered driver that matches it binds it.
    #[must_use]
    pub fn with(self, function: Function) -> Self {
        self.kernel().plug(&self.memory, function);
        self
    }

    /// Registers a driver with the ids that it claims. It binds the functions that it matches.
    #[must_use]
    pub fn with_driver(self, name: &str, ids: &[&str]) -> Self {
        let ids = ids.iter().map(|ids| ids.parse::<Ids>());
        let ids = ids.collect::<Result<Vec<Ids>, _>>();
        self.register(name, ids.unwrap_or_default());
        self
    }

    /// Registers a driver, as loading its module does: it binds what it matches.
    pub fn register(&self, name: &str, ids: Vec<Ids>) {
        self.kernel().register(&self.memory, name, ids);
    }

    /// Removes a driver, as unloading its module does: its functions are unbound.
    pub fn unregister(&self, name: &str) {
        self.kernel().unregister(&self.memory, name);
    }

    /// Writes to a file, as another process would.
    ///
    /// # Errors
    /// Returns the errno that the kernel answers with; `i32::MIN` if the write does not return.
    pub fn write(&self, path: &str, bytes: &str) -> Result<(), i32> {
        if bytes.is_empty() {
            // write(2) of nothing does not reach the kernel's handler.
            return Ok(());
        }
        self.kernel().write(&self.memory, path, bytes)
    }

    /// Makes the bus fail in this way from now on.
    pub fn fail(&self, fault: Fault) {
        self.kernel().faults.push(fault);
    }

    /// Lets a change of a function return that hangs, as closing the file does for which its driver
    /// waits.
    pub fn release(&self, address: Address) {
        self.kernel().release(&self.memory, address);
    }

    /// Whether a change of a function does not return.
    #[must_use]
    pub fn hangs(&self, address: Address) -> bool {
        self.kernel().hanging.contains_key(&address)
    }

    /// Ends all faults.
    pub fn repair(&self) {
        self.kernel().faults.clear();
    }

    /// Opens a group for user space, as a virtual machine does.
    ///
    /// # Errors
    /// EPERM if a member has a driver that does not allow that, ENOENT without such a group.
    pub fn open_group(&self, group: u32) -> Result<(), i32> {
        self.kernel().open(group)
    }

    /// Closes a group.
    pub fn close_group(&self, group: u32) {
        self.kernel().owned.remove(&group);
    }

    /// Starts a process that has these files open.
    pub fn start_process(&self, pid: u32, name: &str, files: &[&str]) {
        let memory = self.memory.clone();
        let mut memory = memory
            .file(format!("/proc/{pid}/comm"), name, Behaviour::takes_all())
            .directory(format!("/proc/{pid}/fd"));
        for (number, file) in files.iter().enumerate() {
            memory = memory.link(format!("/proc/{pid}/fd/{}", number + 3), file);
        }
    }

    /// Ends a process.
    pub fn end_process(&self, pid: u32) {
        let directory = format!("/proc/{pid}");
        let below = format!("{directory}/");
        let mut paths: Vec<String> = self.memory.snapshot().into_keys().collect();
        paths.retain(|path| *path == directory || path.starts_with(&below));
        self.memory.change(|tree| {
            for path in paths {
                tree.remove(path);
            }
        });
    }

    /// Unplugs a function: its files vanish.
    pub fn unplug(&self, address: Address) {
        self.kernel().unplug(&self.memory, address);
    }

    /// Lets time pass, so that what is late lands.
    pub(crate) fn pass_time(&self, time: Duration) {
        self.kernel().pass_time(&self.memory, time);
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
