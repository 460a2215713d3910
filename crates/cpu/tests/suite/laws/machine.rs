//! A fake machine with frequency scaling.

use std::fmt;

use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Snapshot, World};
use hosttune_core::{Error, Host, Session};
use hosttune_cpu::testing::{GovernorModules, HIDDEN, Scaling};
use hosttune_modules::Modules;
use hosttune_modules::testing::MemoryModules;
pub(crate) use hosttune_test_machine::cases;

#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) memory: Memory,
    store: MemoryStore,
    /// Whether a snapshot includes state that the kernel does not show.
    sees_hidden: bool,
}

impl Machine {
    pub(crate) fn new(scaling: Scaling, policies: u32) -> Self {
        Self {
            memory: hosttune_cpu::testing::machine(scaling, policies),
            store: MemoryStore::new(),
            // The initial minimum of amd_pstate cannot be requested again: it is shown as the lowest
            // efficient frequency, and the revert requests that.
            sees_hidden: scaling == Scaling::Acpi,
        }
    }

    /// The same machine with more files.
    pub(crate) fn with(self, more: impl FnOnce(Memory) -> Memory) -> Self {
        Self {
            memory: more(self.memory),
            ..self
        }
    }

    /// With values that an administrator has set before.
    pub(crate) fn having(self, values: &[(&str, &str)]) -> Self {
        for (file, value) in values {
            let path = format!("/sys/devices/system/cpu/{file}");
            let written = self.memory.write(&path, value);
            assert_eq!(written, Ok(()), "{file}");
        }
        self.let_time_pass();
        self
    }

    /// Waits until written values are shown.
    pub(crate) fn let_time_pass(&self) {
        let host = Host::new(self.memory.host(&CrashPoint::lives()));
        host.pause(std::time::Duration::from_millis(10));
    }

    pub(crate) fn get(&self, file: &str) -> String {
        let value = self.memory.get(format!("/sys/devices/system/cpu/{file}"));
        value.unwrap_or_else(|| panic!("no {file}"))
    }
}

/// Printed when a law fails: the values with which to reproduce it by hand.
impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_map();
        for (path, node) in self.memory.snapshot() {
            if node != "directory" && (path.contains("/policy") || path.starts_with(HIDDEN)) {
                shown.entry(&path, &node);
            }
        }
        shown.finish()
    }
}

impl World for Machine {
    fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork(),
            store: self.store.fork(),
            sees_hidden: self.sees_hidden,
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let modules = MemoryModules::new(self.memory.clone(), GovernorModules(self.memory.clone()));
        let host = Host::new(self.memory.host(crash_point))
            .with_backend(Modules::over(modules))
            .gated(crash_point.clone());
        let session = Session::new(host, owner, self.store.of(crash_point), "boot")?;
        Ok(session.with(hosttune_cpu::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.memory.snapshot();
        if !self.sees_hidden {
            snapshot.retain(|path, _| !path.starts_with(HIDDEN));
        }
        snapshot
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}
