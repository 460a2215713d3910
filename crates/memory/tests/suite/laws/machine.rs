//! A fake machine.

use std::fmt;

use hosttune_core::testing::laws::Death;
use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Moment, Snapshot, World};
use hosttune_core::{Error, Finding, Host, Reverted, Session, State, Tuning, Unsupported};
use hosttune_memory::testing::MemoryZram;
use hosttune_memory::zram::Zram;
use hosttune_modules::Modules;
use hosttune_modules::testing::MemoryModules;
pub(crate) use hosttune_test_machine::cases;
use proptest::prelude::*;

#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) memory: Memory,
    store: MemoryStore,
}

impl Machine {
    pub(crate) fn new(memory: Memory) -> Self {
        Self {
            // Every running system has it; a root without it is an image.
            memory: memory.directory("/proc/sys"),
            store: MemoryStore::new(),
        }
    }

    pub(crate) fn zram(&self) -> MemoryZram {
        MemoryZram(self.memory.clone())
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.memory.get(path).unwrap_or_else(|| panic!("no {path}"))
    }

    pub(crate) fn host(&self, crash_point: &CrashPoint) -> Host {
        let modules = MemoryModules::new(self.memory.clone(), self.zram());
        Host::new(self.memory.host(crash_point))
            .with_backend(Modules::over(modules))
            .with_backend(Zram::over(self.zram()))
            .gated(crash_point.clone())
    }

    pub(crate) fn apply(&self, wanted: &impl Tuning) {
        let mut session = self.session(&CrashPoint::lives()).unwrap();
        let _ = wanted.apply(&mut session).unwrap();
    }

    pub(crate) fn revert(&self) -> Reverted {
        let mut session = self.session(&CrashPoint::lives()).unwrap();
        session.revert().unwrap()
    }

    pub(crate) fn findings(&self, wanted: &impl Tuning) -> Vec<Finding> {
        let session = self.session(&CrashPoint::lives()).unwrap();
        wanted.plan(&session).unwrap().findings
    }

    pub(crate) fn notes(&self, wanted: &impl Tuning) -> Vec<String> {
        let session = self.session(&CrashPoint::lives()).unwrap();
        wanted.plan(&session).unwrap().notes
    }

    #[track_caller]
    pub(crate) fn unsupported(&self, wanted: &impl Tuning) -> Unsupported {
        let findings = self.findings(wanted);
        let unsupported = |finding: &Finding| match &finding.state {
            State::NotApplicable { unsupported } => Some(unsupported.clone()),
            _ => None,
        };
        let found = findings.iter().find_map(unsupported);
        found.unwrap_or_else(|| panic!("{findings:#?}"))
    }

    /// Returns the error of an apply that changes nothing.
    #[track_caller]
    pub(crate) fn refuses(&self, wanted: &impl Tuning) -> Error {
        let was = self.snapshot();
        let mut session = self.session(&CrashPoint::lives()).unwrap();
        let error = wanted.apply(&mut session).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        assert_eq!(self.snapshot(), was);
        assert!(self.store.is_empty());
        error
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = ["/sys/block", "/sys/kernel", "/proc/swaps", "/proc/sys/vm"];
        let mut map = f.debug_map();
        for (path, node) in self.memory.snapshot() {
            if shown.iter().any(|start| path.starts_with(start)) && node != "directory" {
                map.entry(&path, &node);
            }
        }
        map.finish()
    }
}

impl World for Machine {
    fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork(),
            store: self.store.fork(),
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let session = Session::new(
            self.host(crash_point),
            owner,
            self.store.of(crash_point),
            "boot",
        )?;
        Ok(session.with(hosttune_memory::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.memory.snapshot();
        // The kernel remembers that a user has set `min_free_kbytes`, and nothing can undo that.
        snapshot.retain(|path, _| !path.ends_with("/user_min_free_kbytes"));
        // Swap areas of equal priority are used in turn, so their order does not matter.
        if let Some(swaps) = snapshot.get_mut("/proc/swaps") {
            let mut lines: Vec<&str> = swaps.lines().collect();
            lines.sort_unstable();
            *swaps = lines.join("\n");
        }
        snapshot
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

pub(crate) fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let moment = prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ];
    proptest::collection::vec((0u64..30, moment), 1..4)
}
