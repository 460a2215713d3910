//! Processors kept free on stock kernels: a partition of cgroup v2, and the affinities of interrupts.

use std::path::{Path, PathBuf};

use hosttune_core::testing::{CrashPoint, MemoryStore, Moment};
use hosttune_core::{Error, Host, LinuxHost, Session, State, Tuning};
use hosttune_cpu::kept_free::KeptFree;
use hosttune_test_machine::{Snapshot, inside_stock_kernels, is_one_in, tell};

const GROUPS: &str = "/sys/fs/cgroup";

fn process(store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = Host::new(LinuxHost::at("/").unwrap()).gated(crash_point.clone());
    let session = Session::new(host, "cpu-test", store.of(crash_point), "boot").unwrap();
    session.with(hosttune_cpu::knobs)
}

fn get(path: &str) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// All that is changed, and what the kernel derives from it.
fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir("/proc/irq")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("smp_affinity_list"))
        .filter(|file| file.exists())
        .collect();
    files.sort();
    files.extend(
        [
            "cgroup.subtree_control",
            "cpuset.cpus.effective",
            "guest/cgroup.controllers",
            "guest/cgroup.subtree_control",
            "guest/cpuset.cpus",
            "guest/cpuset.cpus.effective",
            "guest/cpuset.cpus.partition",
        ]
        .map(|name| Path::new(GROUPS).join(name)),
    );
    files
}

/// The processors on which a process may run that is in this group.
fn may_run_on(group: &str) -> String {
    tell(&format!(
        "sh -c 'echo $$ >{GROUPS}/{group}cgroup.procs; sed -n \"s/^Cpus_allowed_list:.//p\" /proc/$$/status'"
    ))
    .trim()
    .to_owned()
}

fn wanted(group: &str) -> KeptFree {
    KeptFree::new("1".parse().unwrap()).partition(group)
}

fn processors_are_kept_free_and_come_back() {
    tell(&format!(
        "mount -t cgroup2 none {GROUPS} && mkdir {GROUPS}/guest {GROUPS}/guest/inner"
    ));
    assert_eq!(
        (may_run_on(""), may_run_on("guest/")),
        ("0-1".into(), "0-1".into())
    );
    let before = Snapshot::of_files(&files());

    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    let applied = wanted("guest").apply(&mut session).unwrap();
    assert_eq!(
        get(&format!("{GROUPS}/guest/cpuset.cpus.partition")),
        "root"
    );
    assert_eq!(
        (may_run_on(""), may_run_on("guest/")),
        ("0".into(), "1".into())
    );
    let report = wanted("guest").verify(&session).unwrap();
    // The kernel does not let go of some interrupts, such as that of the timer; all others are off the
    // processor that is kept free.
    let mut moved = 0;
    for finding in &report.items {
        match &finding.state {
            State::Matches | State::Rounded => moved += 1,
            State::NotApplicable { .. } if finding.name.starts_with("affinity of") => {}
            _ => panic!("{finding:?}"),
        }
    }
    assert!(moved > 3, "{report:?}");
    println!(
        "{} changes, {moved} of {} settings as wanted",
        applied.changed.len(),
        report.items.len()
    );
    let reverted = session.revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:?}");
    // It keeps files open, with which nothing can be unmounted.
    drop(session);
    before.is_still(&Snapshot::of_files(&files()), "reverted");
    assert_eq!(
        (may_run_on(""), may_run_on("guest/")),
        ("0-1".into(), "0-1".into())
    );

    // A partition below a group that is none: the kernel takes the word and makes none, and says so
    // only when it is asked.
    let error = wanted("guest/inner")
        .apply(&mut process(&MemoryStore::new(), &CrashPoint::lives()))
        .unwrap_err();
    let Error::RolledBack { cause } = &error else {
        panic!("{error:?}")
    };
    let said = format!("{cause:?}");
    assert!(said.contains("root invalid"), "{said}");
    before.is_still(&Snapshot::of_files(&files()), "refused by the kernel");

    for reverting in [false, true] {
        for write in (0..).filter(|write| is_one_in(7, *write)) {
            let when = format!("write {write}, reverting {reverting}");
            let store = MemoryStore::new();
            let crash_point = CrashPoint::dies_at(write, Moment::After);
            if reverting {
                let _ = wanted("guest")
                    .apply(&mut process(&store, &CrashPoint::lives()))
                    .unwrap();
                let _ = process(&store, &crash_point).revert();
            } else {
                let _ = wanted("guest").apply(&mut process(&store, &crash_point));
            }
            let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
            assert!(reverted.not_reverted.is_empty(), "{when}: {reverted:?}");
            before.is_still(&Snapshot::of_files(&files()), &when);
            assert!(store.is_empty(), "{when}: a journal is left");
            if !crash_point.is_dead() {
                assert!(write > 3, "{when}: only so many writes?");
                break;
            }
        }
    }
    tell(&format!(
        "rmdir {GROUPS}/guest/inner {GROUPS}/guest && umount {GROUPS}"
    ));
}

inside_stock_kernels!(processors_are_kept_free_and_come_back);
