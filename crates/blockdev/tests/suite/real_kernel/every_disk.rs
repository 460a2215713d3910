//! Every disk with every scheduler that it supports.

use hosttune_blockdev::{Attribute, Disk, DiskKind, Rule, Rules, Transport};
use hosttune_core::testing::{CrashPoint, MemoryStore, Moment};
use hosttune_core::{State, Tuning};
use hosttune_test_machine::{DISKS, drawn};

use super::machine::{
    as_they_came, get, live, name, process, queues, scheduled, set, snapshot, tell, with_all_disks,
};

pub(crate) fn the_disks_of_the_machine_are_known() {
    with_all_disks();
    let disks = Disk::all(&live()).unwrap();
    for disk in &disks {
        println!(
            "{} {} {} {:?} {:?} {:?}",
            disk.name, disk.kind, disk.transport, disk.rotational, disk.model, disk.wwid
        );
    }
    let of = |transport: Transport, kind: DiskKind| {
        let all = disks
            .iter()
            .filter(|disk| disk.transport == transport && disk.kind == kind);
        all.collect::<Vec<_>>()
    };
    assert_eq!(of(Transport::Nvme, DiskKind::Disk).len(), 2);
    for head in of(Transport::Nvme, DiskKind::Disk) {
        // QEMU's controllers are multipath to the kernel: the namespace is bio-based, its hidden path is not.
        assert_eq!(head.bio_based, Some(true));
        assert_eq!(head.paths.len(), 1, "{head:?}");
        assert!(
            head.serial
                .as_deref()
                .is_some_and(|serial| serial.starts_with("nvme-"))
        );
    }
    assert_eq!(of(Transport::Nvme, DiskKind::Path).len(), 2);
    assert_eq!(of(Transport::Sata, DiskKind::Disk).len(), 1);
    // Two from virtio-scsi, one from scsi_debug.
    let scsi = of(Transport::Scsi, DiskKind::Disk);
    assert_eq!(scsi.len(), 3);
    assert_eq!(
        scsi.iter()
            .filter(|disk| disk.rotational == Some(true))
            .count(),
        1
    );
    let virtio = of(Transport::Virtio, DiskKind::Disk);
    assert!(
        virtio
            .iter()
            .any(|disk| disk.serial.as_deref() == Some("virtio"))
    );
    assert!(!of(Transport::Virtual, DiskKind::Loop).is_empty());
    assert!(!of(Transport::Virtual, DiskKind::Zram).is_empty());
    assert!(
        disks
            .iter()
            .filter(|disk| disk.size == Some(64 << 20))
            .count()
            >= DISKS.len()
    );
    // Sequence numbers are unique.
    let mut counts: Vec<u64> = disks.iter().map(|disk| disk.diskseq.unwrap()).collect();
    counts.sort_unstable();
    counts.dedup();
    assert_eq!(counts.len(), disks.len());
}

/// All disks at once, as on a user's machine: what a switch of the scheduler resets is restored exactly.
pub(crate) fn every_disk_with_every_scheduler() {
    with_all_disks();
    // Values of an administrator, in attributes that a switch resets.
    let mut originals = Vec::new();
    for disk in scheduled() {
        let queue = format!("/sys/block/{disk}/queue");
        for (file, value) in [("nr_requests", "24"), ("wbt_lat_usec", "3000")] {
            let path = format!("{queue}/{file}");
            originals.push((path.clone(), get(&path)));
            set(&path, value).unwrap();
        }
        if get(&format!("{queue}/scheduler")).contains("[mq-deadline]") {
            set(&format!("{queue}/iosched/fifo_batch"), "9").unwrap();
        }
    }
    // The check run takes the first two, which have the most tunables.
    let schedulers = ["bfq", "mq-deadline", "kyber", "none"];
    for scheduler in schedulers.into_iter().take(drawn(schedulers.len(), 2)) {
        // null_blk does not count as hardware.
        let mut rule = Rule::new("all")
            .kind(DiskKind::Disk)
            .kind(DiskKind::Other)
            .scheduler(name(scheduler))
            .queue(Attribute::NrRequests, 20)
            .queue(Attribute::WbtLatUsec, 7000)
            .queue(Attribute::RqAffinity, 2)
            .queue(Attribute::Nomerges, 1)
            .queue(Attribute::AddRandom, 1)
            .queue(Attribute::Iostats, 0)
            .queue(Attribute::MaxSectorsKb, 64)
            .queue(Attribute::ReadAheadKb, 65);
        rule = match scheduler {
            "mq-deadline" => rule.tunable("read_expire", 101).tunable("fifo_batch", 4),
            "kyber" => rule.tunable("read_lat_nsec", 1_000_000),
            "bfq" => rule
                .tunable("slice_idle", 2)
                .tunable("strict_guarantees", 1)
                .tunable("low_latency", 0),
            _ => rule,
        };
        let rules = Rules::new([rule]);
        let before = snapshot();
        let store = MemoryStore::new();
        let mut session = process(&store, &CrashPoint::lives());
        let plan = rules.plan(&session).unwrap();
        before.is_still(&snapshot(), "planned");
        assert!(!plan.steps.is_empty());
        let started = std::time::Instant::now();
        let applied = rules.apply(&mut session).unwrap();
        println!(
            "{scheduler}: {} steps in {:?}",
            applied.changed.len(),
            started.elapsed()
        );
        let report = rules.verify(&session).unwrap();
        for item in &report.items {
            assert!(
                matches!(item.state, State::Matches | State::Rounded),
                "{scheduler}: {item}"
            );
        }
        let rounded = report
            .items
            .iter()
            .find(|item| item.name.ends_with("read_ahead_kb"));
        assert_eq!(rounded.unwrap().state, State::Rounded);
        for disk in scheduled() {
            let shown = get(&format!("/sys/block/{disk}/queue/scheduler"));
            assert!(shown.contains(&format!("[{scheduler}]")), "{disk}: {shown}");
        }
        let again = rules.plan(&session).unwrap();
        assert!(again.is_empty(), "{scheduler}: {:#?}", again.steps);
        // A loop device is not changed.
        assert!(get("/sys/block/loop0/queue/scheduler").contains("[none]"));
        let reverted = rules.revert(&mut session).unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "{scheduler}: {:#?}",
            reverted.not_reverted
        );
        before.is_still(&snapshot(), format!("{scheduler}: reverted"));
        assert!(store.is_empty());
    }
    as_they_came();
    for (path, value) in originals {
        set(&path, &value).unwrap();
    }
}

/// At every write to the host and to the journal, during apply and revert, on one of the disks whose switch
/// resets the most. A crash after one write leaves the same state as a crash before the next one, so `Before` is
/// tried only for the first write.
pub(crate) fn killed_before_and_after_every_write() {
    with_all_disks();
    let disk = scheduled()
        .into_iter()
        .find(|disk| disk.transport == Transport::Sata)
        .unwrap();
    let queue = format!("/sys/block/{disk}/queue");
    set(&format!("{queue}/nr_requests"), "24").unwrap();
    set(&format!("{queue}/iosched/fifo_batch"), "9").unwrap();
    let rules = Rules::new([Rule::new("one")
        .scheduler(name("bfq"))
        .queue(Attribute::NrRequests, 20)
        .queue(Attribute::MaxSectorsKb, 64)
        .tunable("slice_idle", 2)])
    .only(format!("/dev/{disk}"));
    let before = snapshot();
    let queue_before = queues(&[disk.name.as_str()]);
    let mut kills = 0;
    for reverting in [false, true] {
        let first = [(Moment::Before, 0)];
        let after = (0..).map(|write| (Moment::After, write));
        for (moment, write) in first.into_iter().chain(after) {
            let when = format!("{moment:?} write {write}, reverting {reverting}");
            let store = MemoryStore::new();
            let crash_point = CrashPoint::dies_at(write, moment);
            if reverting {
                let _ = rules
                    .apply(&mut process(&store, &CrashPoint::lives()))
                    .unwrap();
                let _ = process(&store, &crash_point).revert();
            } else {
                let _ = rules.apply(&mut process(&store, &crash_point));
            }
            let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
            assert!(
                reverted.not_reverted.is_empty(),
                "{when}: {:#?}",
                reverted.not_reverted
            );
            queue_before.is_still(&queues(&[disk.name.as_str()]), &when);
            assert!(store.is_empty(), "{when}: a journal is left");
            if !crash_point.is_dead() {
                assert!(write > 10, "{when}: only so many writes?");
                break;
            }
            kills += 1;
        }
    }
    println!("killed {kills} times");
    before.is_still(&snapshot(), "all other disks");
    as_they_came();
}

/// While a module is loaded, each disk lists its scheduler as well. The revert unloads the modules.
pub(crate) fn modules_come_and_go() {
    tell("modprobe -qr bfq; modprobe -qr kyber-iosched; true");
    let loaded = tell("cat /proc/modules");
    assert!(
        !loaded.contains("bfq ") && !loaded.contains("kyber"),
        "{loaded}"
    );
    let before = snapshot();
    let rules = Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .scheduler(name("kyber")),
        Rule::new("sata")
            .transport(Transport::Sata)
            .scheduler(name("bfq"))
            .tunable("low_latency", 0),
    ]);
    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    let _ = rules.apply(&mut session).unwrap();
    assert!(rules.verify(&session).unwrap().is_as_wanted());
    assert!(rules.plan(&session).unwrap().is_empty());
    let reverted = rules.revert(&mut session).unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    before.is_still(&snapshot(), "reverted");
    let loaded = tell("cat /proc/modules");
    assert!(
        !loaded.contains("bfq ") && !loaded.contains("kyber"),
        "{loaded}"
    );
    assert!(store.is_empty());
}

pub(crate) fn values_that_do_not_fit_stop_nobody() {
    with_all_disks();
    let before = snapshot();
    let rules = Rules::new([Rule::new("all")
        .kind(DiskKind::Disk)
        .kind(DiskKind::Zram)
        .kind(DiskKind::Other)
        .scheduler(name("mq-deadline"))
        .queue(Attribute::NrRequests, 5000)
        .queue(Attribute::Nomerges, 1)
        .tunable("nonesuch", 1)]);
    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    let applied = rules.apply(&mut session).unwrap();
    for disk in scheduled() {
        assert!(
            get(&format!("/sys/block/{disk}/queue/scheduler")).contains("[mq-deadline]"),
            "{disk}"
        );
        assert_eq!(
            get(&format!("/sys/block/{disk}/queue/nomerges")),
            "1",
            "{disk}"
        );
    }
    let says = |knob: &str, what: &str| {
        let found = applied
            .findings
            .iter()
            .any(|finding| finding.name.ends_with(knob) && finding.to_string().contains(what));
        assert!(found, "{knob} {what}: {:#?}", applied.findings);
    };
    says("nr_requests", "rejects 5000");
    says("zram0 scheduler", "bio-based");
    says("nonesuch", "has no nonesuch");
    assert!(rules.verify(&session).unwrap().is_as_wanted());
    let reverted = rules.revert(&mut session).unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    before.is_still(&snapshot(), "reverted");
}
