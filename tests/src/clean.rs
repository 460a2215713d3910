//! Checks that a test left a shared machine as it found it.
//!
//! The state of the machine is compared with its state before the first test: everything in a snapshot, and
//! also mounts, swap, processes and the files in writable directories. Some things that a test may leave,
//! because nothing depends on them, are removed first: unused modules, kernel file systems mounted below
//! `/sys`, the mount for names of network namespaces, files in `/run` and `/tmp` except hosttune's, and
//! hosttune's lock and empty directories.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::snapshot::{Seen, Snapshot, Subtree};

/// File with the state of the machine before its first test.
const BASELINE: &str = "/run/machine/baseline";

/// Watchdog for things that disappear with a delay after a test, such as a removed device or a killed process.
const SETTLES: Duration = Duration::from_secs(20);

/// Without the PCI devices: reading their configuration space takes longer than everything else, and changes of
/// their drivers show in the disks and links.
const COMPARED: [Subtree; 7] = [
    Subtree::Sysctls,
    Subtree::BlockDevices,
    Subtree::Processors,
    Subtree::Memory,
    Subtree::Links,
    Subtree::Qdiscs,
    Subtree::Modules,
];

/// Beginning of the message about a test that left something behind.
pub(crate) const LEFT_BEHIND: &str = "the test left this behind in the machine";

/// The writable directories, which persist from one test to the next.
const WRITABLE: [&str; 5] = ["/etc", "/root", "/run", "/tmp", "/var"];

/// Paths of the harness, which are expected to change.
const OURS: [&str; 1] = ["/run/machine"];

/// Files that change permanently when something is first used, and are not settings.
const FOR_GOOD: &[(&str, &str)] = &[(
    "/sys/devices/system/cpu/hotplug/states",
    "permanently lists the states that the first swap or zram after boot registers",
)];

/// The state of a machine before its first test.
#[derive(Debug)]
pub(crate) struct Clean(Snapshot);

impl Clean {
    /// Reads the state that an earlier test saved, or saves the current one. Returns `None` in a test that has
    /// started itself again, in other namespaces or with fewer privileges: its parent makes the comparison.
    pub(crate) fn before_the_first_test() -> Option<Self> {
        // By its name, because a process with fewer privileges may not read the executable of another one.
        let name = |pid: u32| stat(pid).map(|(name, ..)| name);
        let own = std::process::id();
        let is_started_by_itself = ancestors(own)
            .into_iter()
            .any(|pid| pid != own && name(pid) == name(own));
        (!is_started_by_itself).then(Self::read_or_take)
    }

    fn read_or_take() -> Self {
        if let Ok(bytes) = std::fs::read(BASELINE) {
            let baseline = Snapshot::from_bytes(&bytes);
            return Self(baseline.unwrap_or_else(|| panic!("{BASELINE} is damaged")));
        }
        let baseline = now();
        let written = std::fs::write(BASELINE, baseline.to_bytes());
        written.unwrap_or_else(|error| panic!("{BASELINE}: {error}"));
        Self(baseline)
    }

    /// Panics if a test left anything behind.
    pub(crate) fn is_clean_again(&self) {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            tidy(&self.0);
            let now = now();
            let left = self.0.differs(&now);
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < SETTLES, "{LEFT_BEHIND}: {left:#?}");
            std::thread::sleep(pause);
            // Each comparison costs half a second, so the pause is doubled.
            pause *= 2;
        }
    }
}

fn now() -> Snapshot {
    let mut snapshot = Snapshot::of(&COMPARED).except(FOR_GOOD);
    snapshot.retain(|what| !comes_anew(what));
    let swaps = std::fs::read("/proc/swaps").unwrap_or_default();
    snapshot.add("/proc/swaps", Seen::Holds(swaps));
    let mounts = std::fs::read_to_string("/proc/1/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let place = line.split(' ').nth(1).unwrap_or(line);
        snapshot.add(&mount_name(place), Seen::Holds(line.into()));
    }
    processes(&mut snapshot);
    for directory in WRITABLE {
        files(&mut snapshot, Path::new(directory));
    }
    snapshot
}

/// Whether a difference in this is of no consequence for later tests: the number of a card or disk that was
/// removed and added again, and the qdisc that the kernel gives a card when it is first brought up.
fn comes_anew(what: &str) -> bool {
    let mut words = what.split(' ');
    match words.next() {
        Some("link") => what.ends_with(" index") || what.ends_with(" qdisc"),
        // A qdisc that was set explicitly has a handle.
        Some("qdisc") => words.nth(1) == Some("0:"),
        _ => {
            what.starts_with("/sys/block/")
                && ["/diskseq", "/uevent", "/queue/bsg"]
                    .iter()
                    .any(|file| what.ends_with(file))
        }
    }
}

fn mount_name(place: &str) -> String {
    format!("mount {place}")
}

/// Returns name, state and parent of a process.
fn stat(pid: u32) -> Option<(String, String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = text.rsplit_once(") ")?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split(' ');
    let state = fields.next()?.to_owned();
    let parent = fields.next()?.parse().ok()?;
    Some((name, state, parent))
}

/// Returns a process and its ancestors, except process 1.
fn ancestors(mut pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    while pid > 1 && found.insert(pid) {
        pid = stat(pid).map_or(0, |(.., parent)| parent);
    }
    found
}

/// Adds all processes except kernel threads, this process and its ancestors.
fn processes(snapshot: &mut Snapshot) {
    let own = ancestors(std::process::id());
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Kernel threads are children of process 2.
        match stat(pid) {
            Some((name, state, parent))
                if pid != 2 && parent != 2 && state != "Z" && !own.contains(&pid) =>
            {
                snapshot.add(&format!("process {pid}"), Seen::Holds(name.into_bytes()));
            }
            _ => {}
        }
    }
}

/// Adds the names in a directory, and the contents of regular files.
fn files(snapshot: &mut Snapshot, directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        if OURS.iter().any(|ours| path.starts_with(ours)) {
            continue;
        }
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let seen = if kind.is_symlink() {
            Seen::LeadsTo(std::fs::read_link(&path).unwrap_or_default())
        } else if kind.is_file() {
            Seen::Holds(std::fs::read(&path).unwrap_or_default())
        } else if kind.is_dir() {
            // Does not cross mount points: a checkout may be below /tmp, and mounts are compared by name.
            if device(&path) == device(directory) {
                files(snapshot, &path);
            }
            Seen::Is("a directory".into())
        } else {
            Seen::Is("neither a file nor a directory".into())
        };
        snapshot.add(&path.display().to_string(), seen);
    }
}

fn device(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path);
    metadata.ok().map(|metadata| metadata.dev())
}

fn tidy(baseline: &Snapshot) {
    for directory in ["/run/hosttune", "/var/lib/hosttune"] {
        // Journals are not removed, because a remaining journal means that a test left something behind.
        let _ = std::fs::remove_file(Path::new(directory).join("lock"));
        let _ = std::fs::remove_dir(directory);
    }
    let mounts = std::fs::read_to_string("/proc/1/mounts").unwrap_or_default();
    for place in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let was_there = baseline.get(&mount_name(place)).is_some();
        if (place.starts_with("/sys/") || place == "/run/netns") && !was_there {
            let _ = Command::new("umount").arg(place).status();
        }
    }
    for directory in ["/run", "/tmp"] {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            // The shared checkout may be mounted there.
            if device(&path) != device(Path::new(directory)) {
                continue;
            }
            let was_there = baseline.get(&path.display().to_string()).is_some();
            if was_there || OURS.iter().any(|ours| path.starts_with(ours)) {
                continue;
            }
            if path.ends_with("hosttune") {
                continue;
            }
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
        }
    }
    // Unloading a module can make another one unused.
    while unload_one(baseline) {}
}

/// Unloads the unused modules that were not loaded before the first test. Returns whether it unloaded any.
fn unload_one(baseline: &Snapshot) -> bool {
    let text = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let unused = text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let name = fields.next()?;
        let users = fields.nth(1)?;
        (users == "0" && baseline.get(&format!("module {name}")).is_none()).then_some(name)
    });
    let unused: Vec<&str> = unused.collect();
    if unused.is_empty() {
        return false;
    }
    let mut command = Command::new("rmmod");
    command.args(&unused).stderr(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
