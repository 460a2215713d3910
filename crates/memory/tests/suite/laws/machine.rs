//! A machine in memory.

use std::fmt;

use hosttune_boot::Modules;
use hosttune_boot::testing::MemoryModules;
use hosttune_core::testing::laws::Death;
use hosttune_core::testing::{Fate, Memory, MemoryStore, Moment, Picture, World};
use hosttune_core::{Error, Finding, Host, Lack, Reverted, Session, State, Tuning};
use hosttune_memory::testing::MemoryZram;
use hosttune_memory::zram::Zram;
use proptest::prelude::*;

#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) memory: Memory,
    store: MemoryStore,
}

impl Machine {
    pub(crate) fn new(memory: Memory) -> Self {
        Self {
            // What a running system has: a root without it is an image.
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

    pub(crate) fn apply(&self, wanted: &impl Tuning) {
        let mut session = self.session(&Fate::lives()).unwrap();
        wanted.apply(&mut session).unwrap();
    }

    pub(crate) fn revert(&self) -> Reverted {
        let mut session = self.session(&Fate::lives()).unwrap();
        session.revert().unwrap()
    }

    pub(crate) fn findings(&self, wanted: &impl Tuning) -> Vec<Finding> {
        let session = self.session(&Fate::lives()).unwrap();
        wanted.plan(&session).unwrap().findings
    }

    pub(crate) fn notes(&self, wanted: &impl Tuning) -> Vec<String> {
        let session = self.session(&Fate::lives()).unwrap();
        wanted.plan(&session).unwrap().notes
    }

    #[track_caller]
    pub(crate) fn lack(&self, wanted: &impl Tuning) -> Lack {
        let findings = self.findings(wanted);
        let lack = |finding: &Finding| match &finding.state {
            State::NotApplicable { lack } => Some(lack.clone()),
            _ => None,
        };
        let found = findings.iter().find_map(lack);
        found.unwrap_or_else(|| panic!("{findings:#?}"))
    }

    /// An error, with everything as it was.
    #[track_caller]
    pub(crate) fn refuses(&self, wanted: &impl Tuning) -> Error {
        let was = self.picture();
        let mut session = self.session(&Fate::lives()).unwrap();
        let error = wanted.apply(&mut session).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        assert_eq!(self.picture(), was);
        assert!(self.store.is_empty());
        error
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = ["/sys/block", "/sys/kernel", "/proc/swaps", "/proc/sys/vm"];
        let mut map = f.debug_map();
        for (path, node) in self.memory.picture() {
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

    fn session_of(&self, owner: &str, fate: &Fate) -> Result<Session, Error> {
        let modules = MemoryModules::new(self.memory.clone(), self.zram());
        let host = Host::new(self.memory.host(fate))
            .plug(Modules::over(modules))
            .plug(Zram::over(self.zram()))
            .gated(fate.clone());
        let session = Session::new(host, owner, self.store.of(fate), "boot")?;
        Ok(session.with(hosttune_memory::knobs))
    }

    fn picture(&self) -> Picture {
        let mut picture = self.memory.picture();
        // Once anybody has set it, this is not given back to nobody by any kernel.
        picture.retain(|path, _| !path.ends_with("/user_min_free_kbytes"));
        // Those of one priority take turns, whichever was first.
        if let Some(swaps) = picture.get_mut("/proc/swaps") {
            let mut lines: Vec<&str> = swaps.lines().collect();
            lines.sort_unstable();
            *swaps = lines.join("\n");
        }
        picture
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(usual),
        ..ProptestConfig::default()
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

pub(crate) fn holds(law: Result<(), impl fmt::Display>) -> Result<(), TestCaseError> {
    law.map_err(|broken| TestCaseError::fail(broken.to_string()))
}
