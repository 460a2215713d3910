//! A host-managed zoned disk, emulated by null_blk.

use std::collections::BTreeSet;

use hosttune_blockdev::{Disk, DiskKind, Rule, Rules};
use hosttune_core::Tuning;
use hosttune_core::testing::{CrashPoint, MemoryStore};

use super::machine::{get, live, name, process, tell};

const CONFIGURED: &str = "/sys/kernel/config/nullb/zoned";

/// Created for one test and removed again, so that no other test sees it.
struct Zoned(String);

impl Zoned {
    fn made() -> Self {
        let names = || -> BTreeSet<String> {
            let disks = Disk::all(&live()).unwrap();
            disks.iter().map(|disk| disk.name.to_string()).collect()
        };
        tell("modprobe null_blk nr_devices=0");
        tell("mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config");
        let before = names();
        tell(&format!(
            "mkdir {CONFIGURED} && cd {CONFIGURED} && echo 64 >size && echo 16 >zone_size && \
             echo 1 >zoned && echo 1 >power"
        ));
        let new = names().difference(&before).next().cloned();
        Self(new.unwrap())
    }
}

impl Drop for Zoned {
    fn drop(&mut self) {
        tell(&format!("echo 0 >{CONFIGURED}/power; rmdir {CONFIGURED}"));
    }
}

pub(crate) fn a_host_managed_disk_keeps_its_scheduler_where_the_order_of_writes_needs_it() {
    let disk = Zoned::made();
    let path = format!("/sys/block/{}/queue/scheduler", disk.0);
    assert_eq!(
        get(&format!("/sys/block/{}/queue/zoned", disk.0)),
        "host-managed"
    );
    tell(&format!("echo mq-deadline >{path}"));
    let release = get("/proc/sys/kernel/osrelease");
    let mut numbers = release.split(|one: char| !one.is_ascii_digit());
    let mut next = || numbers.next().unwrap().parse::<u32>().unwrap();
    let keeps_order = (next(), next()) >= (6, 10);
    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    // By its place it is not hardware, so the rule names its kind.
    let rules = Rules::new([Rule::new("zoned")
        .kind(DiskKind::Other)
        .kernel_name(disk.0.parse().unwrap())
        .scheduler(name("none"))]);
    let plan = rules.plan(&session).unwrap();
    let text = format!("{plan:?}");
    assert_eq!(plan.is_empty(), !keeps_order, "{release}: {text}");
    assert_eq!(text.contains("host-managed zoned disk"), !keeps_order);
    let _ = rules.apply(&mut session).unwrap();
    let active = get(&path);
    assert_eq!(active.contains("[none]"), keeps_order, "{release}");
    assert!(session.revert().unwrap().is_complete());
    assert!(get(&path).contains("[mq-deadline]"));
    // A rule that does not name its kind requests nothing of it.
    let all = Rules::new([Rule::new("all")
        .kernel_name(disk.0.parse().unwrap())
        .scheduler(name("none"))]);
    assert!(all.plan(&session).unwrap().is_empty());
}
