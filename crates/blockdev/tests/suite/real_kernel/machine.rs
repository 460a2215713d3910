//! The test machine, its disks, and processes on it.

use hosttune_blockdev::{Disk, DiskKind, SchedulerName};
use hosttune_core::testing::{CrashPoint, MemoryStore};
use hosttune_core::{Host, LinuxHost, Session};
use hosttune_modules::Modules;
pub(crate) use hosttune_test_machine::tell;
use hosttune_test_machine::{Snapshot, Subtree, wait_until};

pub(crate) fn live() -> Host {
    Host::new(LinuxHost::at("/").unwrap())
}

pub(crate) fn get(path: &str) -> String {
    std::fs::read_to_string(path).unwrap().trim_end().to_owned()
}

/// Does a single `write(2)`; the error is its errno.
pub(crate) fn set(path: &str, value: &str) -> Result<(), i32> {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().write(true).open(path);
    let written = file.and_then(|mut file| file.write(value.as_bytes()));
    written
        .map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// Loads the modules for more kinds of disks and more schedulers.
pub(crate) fn with_all_disks() {
    tell("modprobe null_blk nr_devices=1; modprobe -a loop zram bfq kyber-iosched");
    scsi_debug();
}

/// Creates a disk that can be unplugged and plugged in again, and returns its name.
pub(crate) fn scsi_debug() -> String {
    tell("modprobe scsi_debug dev_size_mb=8");
    let find = || {
        let disks = Disk::all(&live()).unwrap();
        let is = |disk: &&Disk| disk.model.as_deref() == Some("scsi_debug");
        disks.iter().find(is).map(|disk| disk.name.to_string())
    };
    // sysfs shows a queue before it accepts a value.
    wait_until("scsi_debug has a disk", || {
        find().is_some_and(|disk| switches_and_returns(&disk))
    });
    find().unwrap()
}

pub(crate) fn host_of_scsi_debug() -> String {
    let said = tell("grep -l scsi_debug /sys/class/scsi_host/host*/proc_name");
    let host = said.split('/').nth(4).unwrap();
    format!("/sys/class/scsi_host/{host}/scan")
}

/// Disks with requests, whose scheduler can be chosen.
pub(crate) fn scheduled() -> Vec<Disk> {
    let disks = Disk::all(&live()).unwrap();
    let has = |disk: &Disk| disk.bio_based == Some(false) && disk.kind != DiskKind::Loop;
    disks.into_iter().filter(has).collect()
}

/// Resets on every disk what a switch of the scheduler resets.
pub(crate) fn as_they_came() {
    for disk in scheduled() {
        assert!(switches_and_returns(disk.name.as_str()), "{disk}");
    }
}

/// Switches to no scheduler and back to the active one; whether the kernel accepted both.
fn switches_and_returns(disk: &str) -> bool {
    let scheduler = format!("/sys/block/{disk}/queue/scheduler");
    // The disk itself is shown before its queue.
    let shown = std::fs::read_to_string(&scheduler).unwrap_or_default();
    let Some(active) = shown.split(['[', ']']).nth(1) else {
        return false;
    };
    set(&scheduler, "none").is_ok() && set(&scheduler, active).is_ok()
}

pub(crate) fn snapshot() -> Snapshot {
    Snapshot::of(&[Subtree::BlockDevices])
}

/// Only the queues of these disks, because it is called often.
pub(crate) fn queues(disks: &[&str]) -> Snapshot {
    let mut files = Vec::new();
    for disk in disks {
        for directory in [
            format!("/sys/block/{disk}/queue"),
            format!("/sys/block/{disk}/queue/iosched"),
        ] {
            // With `none` this directory is missing, which is a state too.
            files.push(directory.clone().into());
            let entries = std::fs::read_dir(&directory).into_iter().flatten();
            files.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    Snapshot::of_files(&files)
}

pub(crate) fn process(store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = live()
        .with_backend(Modules::live())
        .gated(crash_point.clone());
    let session = Session::new(host, "blockdev-test", store.of(crash_point), "boot").unwrap();
    session.with(hosttune_blockdev::knobs)
}

pub(crate) fn name(text: &str) -> SchedulerName {
    text.parse().unwrap()
}
