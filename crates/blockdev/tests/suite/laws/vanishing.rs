//! Disks that are unplugged while they are tuned, and other disks that take their names.

use hosttune_blockdev::Rules;
use hosttune_blockdev::testing::{Linux, MemoryDisk, unplug, with_disk};
use hosttune_core::host::{Change, Gate};
use hosttune_core::testing::{CrashPoint, Machine, Memory, MemoryStore, World};
use hosttune_core::{Host, HostError, Session, State, Tuning};

use super::support::{Seen, disks, everywhere, machine, memory};

/// Unplugs a disk before or after the n-th change.
struct Unplugs {
    memory: Memory,
    disk: MemoryDisk,
    left: u64,
    after: bool,
}

impl Unplugs {
    fn count(&mut self) {
        if self.left == 0 {
            unplug(&self.memory, &self.disk);
        }
        self.left = self.left.wrapping_sub(1);
    }
}

impl Gate for Unplugs {
    fn before(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        if !self.after {
            self.count();
        }
        Ok(())
    }

    fn after(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        if self.after {
            self.count();
        }
        Ok(())
    }
}

fn session(memory: &Memory, store: &MemoryStore, gate: Option<Unplugs>) -> Session {
    let crash_point = CrashPoint::lives();
    let mut host = Host::new(memory.host(&crash_point));
    if let Some(gate) = gate {
        host = host.gated(gate);
    }
    Session::new(host, "laws", store.of(&crash_point), "boot")
        .unwrap()
        .with(hosttune_blockdev::knobs)
}

/// The files of all disks but one.
fn without(memory: &Memory, disk: &MemoryDisk) -> std::collections::BTreeMap<String, String> {
    let mut snapshot = memory.snapshot();
    let device = format!("/sys/devices/{}", disk.device);
    snapshot.retain(|path, _| {
        !path.starts_with(&device)
            && !path.starts_with("/unseen")
            && !path.ends_with(&format!("/{}", disk.name))
    });
    snapshot
}

fn sda(linux: Linux) -> MemoryDisk {
    disks(linux)
        .into_iter()
        .find(|disk| disk.name == "sda")
        .unwrap()
}

/// At any time: the other disks get the same settings, in the same order, and are reverted.
#[test]
fn a_disk_that_goes_in_an_apply_neither_stops_nor_reorders_the_others() {
    let rules = Rules::new([everywhere()]);
    for linux in [Linux::V6_1, Linux::V7_2] {
        let gone = sda(linux);
        let whole = memory(linux);
        let mut all = session(&whole, &MemoryStore::new(), None);
        let applied = rules.apply(&mut all).unwrap();
        let others: Vec<String> = applied
            .changed
            .iter()
            .map(|step| step.knob.text.clone())
            .filter(|knob| !knob.starts_with("sda "))
            .collect();
        for after in [false, true] {
            for change in 0..applied.changed.len() as u64 {
                let memory = memory(linux);
                let was = without(&memory, &gone);
                let store = MemoryStore::new();
                let gate = Unplugs {
                    memory: memory.clone(),
                    disk: gone.clone(),
                    left: change,
                    after,
                };
                let when = format!("{linux:?}: unplugged at change {change}, after it: {after}");
                let mut session = session(&memory, &store, Some(gate));
                let applied = rules
                    .apply(&mut session)
                    .unwrap_or_else(|error| panic!("{when}: {error}"));
                let changed: Vec<String> = applied
                    .changed
                    .iter()
                    .map(|step| step.knob.text.clone())
                    .filter(|knob| !knob.starts_with("sda "))
                    .collect();
                assert_eq!(changed, others, "{when}");
                for finding in &applied.findings {
                    if let State::NotApplicable { unsupported } = &finding.state {
                        assert!(finding.name.starts_with("sda "), "{when}: {finding}");
                        assert!(
                            unsupported.why.contains("no disk sda")
                                || unsupported.why.contains("gone"),
                            "{when}: {finding}"
                        );
                    }
                }
                let reverted = session.revert().unwrap();
                assert!(
                    reverted.not_reverted.is_empty(),
                    "{when}: {:?}",
                    reverted.not_reverted
                );
                assert_eq!(without(&memory, &gone), was, "{when}");
                assert!(store.is_empty(), "{when}");
            }
        }
    }
}

/// Also during a revert.
#[test]
fn a_disk_that_goes_in_a_revert_is_gone_and_no_error() {
    let rules = Rules::new([everywhere()]);
    for linux in [Linux::V6_1, Linux::V7_2] {
        let gone = sda(linux);
        for after in [false, true] {
            for change in 0..60 {
                let memory = memory(linux);
                let was = without(&memory, &gone);
                let store = MemoryStore::new();
                let _ = rules.apply(&mut session(&memory, &store, None)).unwrap();
                let gate = Unplugs {
                    memory: memory.clone(),
                    disk: gone.clone(),
                    left: change,
                    after,
                };
                let reverted = session(&memory, &store, Some(gate)).revert().unwrap();
                let when = format!("{linux:?}: unplugged at change {change}, after it: {after}");
                assert!(
                    reverted.not_reverted.is_empty(),
                    "{when}: {:?}",
                    reverted.not_reverted
                );
                assert_eq!(without(&memory, &gone), was, "{when}");
                assert!(store.is_empty(), "{when}");
            }
        }
    }
}

/// It has the same name, but we never changed it.
#[test]
fn another_disk_under_the_same_name_is_not_touched() {
    for other_is_same_model in [false, true] {
        let machine = machine(Linux::V7_2);
        let memory = machine.0.memory();
        let rules = Rules::new([everywhere()]);
        let _ = rules
            .apply(&mut machine.session(&CrashPoint::lives()).unwrap())
            .unwrap();
        let mut other = sda(Linux::V7_2);
        unplug(memory, &other);
        other.diskseq = 99;
        if !other_is_same_model {
            other.wwid = Some("naa.5000".to_owned());
        }
        // With exactly the values that we had set.
        let _ = with_disk(memory.clone(), Linux::V7_2, &other);
        for (file, value) in [
            ("scheduler", "bfq"),
            ("nr_requests", "64"),
            ("rq_affinity", "2"),
        ] {
            memory
                .write(format!("/sys/block/sda/queue/{file}"), value)
                .unwrap();
        }
        let theirs = |snapshot: hosttune_core::testing::Snapshot| {
            let mut snapshot = snapshot;
            snapshot.retain(|path, _| path.starts_with("/sys/") && path.contains("/sda"));
            snapshot
        };
        let before = theirs(machine.snapshot());
        let reverted = machine
            .session(&CrashPoint::lives())
            .unwrap()
            .revert()
            .unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "{:?}",
            reverted.not_reverted
        );
        assert_eq!(theirs(machine.snapshot()), before);
        assert!(machine.store().is_empty());
    }
}

/// A disk that was plugged in again counts as new, whatever was recorded about it before.
#[test]
fn a_disk_that_comes_back_gets_its_own_again() {
    let memory = memory(Linux::V7_2);
    let machine = Seen(Machine::new(memory, hosttune_blockdev::knobs));
    let rules = Rules::new([everywhere()]);
    let gone = sda(Linux::V7_2);
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let _ = rules.apply(&mut session).unwrap();
    unplug(machine.0.memory(), &gone);
    let report = rules.verify(&session).unwrap();
    assert!(report.is_as_wanted());
    assert!(!report.items.iter().any(|item| item.name.starts_with("sda")));
    let again = MemoryDisk {
        diskseq: 77,
        ..gone
    };
    let _ = with_disk(machine.0.memory().clone(), Linux::V7_2, &again);
    let applied = rules.apply(&mut session).unwrap();
    assert!(!applied.changed.is_empty());
    assert!(
        applied
            .changed
            .iter()
            .all(|step| step.knob.text.starts_with("sda "))
    );
    assert!(rules.verify(&session).unwrap().is_as_wanted());
    let reverted = session.revert().unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:?}",
        reverted.not_reverted
    );
    assert!(machine.store().is_empty());
}
