//! Disks that are unplugged and plugged in again, and changes by other processes.

use hosttune_blockdev::{Attribute, Rule, Rules, Transport};
use hosttune_core::host::{Change, Gate};
use hosttune_core::testing::{CrashPoint, MemoryStore};
use hosttune_core::{Host, HostError, LinuxHost, Session, State, Tuning};
use hosttune_test_machine::{is_shared_out, wait_until};

use super::machine::{
    get, host_of_scsi_debug, name, process, queues, scheduled, scsi_debug, set, snapshot,
    with_all_disks,
};

fn rules() -> Rules {
    Rules::new([
        Rule::new("other")
            .transport(Transport::Sata)
            .scheduler(name("bfq"))
            .queue(Attribute::ReadAheadKb, 64),
        Rule::new("debug")
            .model("scsi_debug".parse().unwrap())
            .scheduler(name("kyber"))
            .queue(Attribute::NrRequests, 20)
            .queue(Attribute::MaxSectorsKb, 64)
            .tunable("read_lat_nsec", 1),
    ])
}

/// Deletes a SCSI disk before the n-th change of the host.
struct Deletes {
    disk: String,
    left: u64,
}

impl Gate for Deletes {
    fn before(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        if self.left == 0 {
            set(&format!("/sys/block/{}/device/delete", self.disk), "1").unwrap();
        }
        self.left = self.left.wrapping_sub(1);
        Ok(())
    }
}

fn gated(store: &MemoryStore, disk: &str, change: u64) -> Session {
    let gate = Deletes {
        disk: disk.to_owned(),
        left: change,
    };
    let host = Host::new(LinuxHost::at("/").unwrap()).gated(gate);
    Session::new(
        host,
        "blockdev-test",
        store.of(&CrashPoint::lives()),
        "boot",
    )
    .unwrap()
    .with(hosttune_blockdev::knobs)
}

/// Plugs the disk in again and returns its name.
fn scan() -> String {
    set(&host_of_scsi_debug(), "- - -").unwrap();
    scsi_debug()
}

/// Plugs it in again under its old name, which the kernel frees a little later than the disk.
fn scan_as(disk: &str) {
    wait_until(&format!("the name {disk} comes back"), || {
        let name = scan();
        name == disk || {
            set(&format!("/sys/block/{name}/device/delete"), "1").unwrap();
            false
        }
    });
}

/// During an apply, and during a revert.
pub(crate) fn a_disk_is_unplugged_at_every_write() {
    with_all_disks();
    let mut disk = scsi_debug();
    let everything = snapshot();
    let other = scheduled()
        .into_iter()
        .find(|disk| disk.transport == Transport::Sata)
        .unwrap();
    let other = other.name.as_str();
    let store = MemoryStore::new();
    let applied = rules()
        .apply(&mut process(&store, &CrashPoint::lives()))
        .unwrap();
    let changes = applied.changed.len() as u64;
    assert!(
        process(&store, &CrashPoint::lives())
            .revert()
            .unwrap()
            .is_complete()
    );
    assert!(changes >= 6);
    let others: Vec<_> = applied
        .changed
        .iter()
        .map(|step| step.knob.text.clone())
        .filter(|knob| !knob.starts_with(&format!("{disk} ")))
        .collect();
    for reverting in [false, true] {
        for change in (0..changes).filter(|change| is_shared_out(*change)) {
            let when = format!("unplugged before change {change}, reverting {reverting}");
            let was = queues(&[other]);
            let store = MemoryStore::new();
            if reverting {
                let _ = rules()
                    .apply(&mut process(&store, &CrashPoint::lives()))
                    .unwrap();
            } else {
                let applied = rules()
                    .apply(&mut gated(&store, &disk, change))
                    .unwrap_or_else(|error| {
                        panic!("{when}: {error}: {:?}", std::error::Error::source(&error))
                    });
                let changed: Vec<_> = applied
                    .changed
                    .iter()
                    .map(|step| step.knob.text.clone())
                    .filter(|knob| !knob.starts_with(&format!("{disk} ")))
                    .collect();
                assert_eq!(changed, others, "{when}");
                for finding in &applied.findings {
                    if matches!(finding.state, State::NotApplicable { .. }) {
                        assert!(finding.name.starts_with(&disk), "{when}: {finding}");
                    }
                }
            }
            let reverted = if reverting {
                gated(&store, &disk, change).revert().unwrap()
            } else {
                process(&store, &CrashPoint::lives()).revert().unwrap()
            };
            assert!(
                reverted.not_reverted.is_empty(),
                "{when}: {:#?}",
                reverted.not_reverted
            );
            was.is_still(&queues(&[other]), &when);
            assert!(store.is_empty(), "{when}: a journal is left");
            let name = scan();
            // It may come back under another name, though it rarely does.
            if name != disk {
                println!("{disk} came back as {name}");
                disk = name;
            }
        }
    }
    everything
        .except(&[(&format!("/sys/block/{disk}"), "it came anew")])
        .is_still(&snapshot(), "all other disks");
}

/// It has the name, the values and the serial number of the disk that we tuned.
pub(crate) fn a_disk_that_comes_back_is_another() {
    with_all_disks();
    let disk = scsi_debug();
    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    let _ = rules().apply(&mut session).unwrap();
    set(&format!("/sys/block/{disk}/device/delete"), "1").unwrap();
    assert!(rules().verify(&session).unwrap().is_as_wanted());
    scan_as(&disk);
    // A process that has files of the old disk open sees the new one.
    let report = rules().verify(&session).unwrap();
    assert!(!report.is_as_wanted(), "{report:#?}");
    let applied = rules().apply(&mut session).unwrap();
    assert!(!applied.changed.is_empty());
    assert!(
        applied
            .changed
            .iter()
            .all(|step| step.knob.text.starts_with(&disk))
    );
    assert!(rules().verify(&session).unwrap().is_as_wanted());
    // Again, with our values set on the new disk.
    set(&format!("/sys/block/{disk}/device/delete"), "1").unwrap();
    scan_as(&disk);
    let queue = format!("/sys/block/{disk}/queue");
    set(&format!("{queue}/scheduler"), "kyber").unwrap();
    set(&format!("{queue}/nr_requests"), "20").unwrap();
    let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    assert!(get(&format!("{queue}/scheduler")).contains("[kyber]"));
    assert_eq!(get(&format!("{queue}/nr_requests")), "20");
    assert!(store.is_empty());
    set(&format!("{queue}/scheduler"), "mq-deadline").unwrap();
}

/// Even if the revert would reset it.
pub(crate) fn a_strangers_change_survives() {
    with_all_disks();
    let disk = scheduled()
        .into_iter()
        .find(|disk| disk.transport == Transport::Sata)
        .unwrap();
    let queue = format!("/sys/block/{disk}/queue");
    for (file, value) in [
        ("nr_requests", "31"),
        ("read_ahead_kb", "96"),
        ("nomerges", "2"),
    ] {
        let path = format!("{queue}/{file}");
        let original = get(&path);
        let before = snapshot();
        let store = MemoryStore::new();
        let _ = rules()
            .apply(&mut process(&store, &CrashPoint::lives()))
            .unwrap();
        set(&path, value).unwrap();
        let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
        assert_eq!(get(&path), value, "{reverted:#?}");
        set(&path, &original).unwrap();
        let now = snapshot();
        let moved = format!("{queue}/async_depth");
        let depth = format!("{queue}/iosched/async_depth");
        before
            .except(&[
                (&moved, "it follows nr_requests"),
                (&depth, "it follows nr_requests"),
            ])
            .is_still(&now, file);
        // Reverts the rest, now that the other process's value is gone.
        assert!(
            process(&store, &CrashPoint::lives())
                .revert()
                .unwrap()
                .is_complete()
        );
    }
    // If it was the scheduler, nothing that depends on it is touched.
    let store = MemoryStore::new();
    let was = get(&format!("{queue}/scheduler"));
    let _ = rules()
        .apply(&mut process(&store, &CrashPoint::lives()))
        .unwrap();
    set(&format!("{queue}/scheduler"), "kyber").unwrap();
    let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
    assert!(
        get(&format!("{queue}/scheduler")).contains("[kyber]"),
        "{reverted:#?}"
    );
    assert_eq!(reverted.not_reverted.len(), 1, "{reverted:#?}");
    let active = was.split(['[', ']']).nth(1).unwrap();
    set(&format!("{queue}/scheduler"), active).unwrap();
    assert!(
        process(&store, &CrashPoint::lives())
            .revert()
            .unwrap()
            .is_complete()
    );
    assert!(store.is_empty());
}
