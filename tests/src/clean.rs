//! The proof that a test left a shared machine as it found it.
//!
//! Compared is everything that snapshots see, and also mounts, swap, processes and the files in what is
//! writable, with the moment before the first test of this machine. What a test may leave because nothing
//! depends on it is tidied away first: modules that nothing uses, file systems of the kernel's mounted below
//! `/sys` or for names of network namespaces, files in `/run` and `/tmp` but for hosttune's, and the empty directories and the lock that
//! hosttune keeps.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::snapshot::{Seen, Snapshot, Subtree};

/// What the machine was like before its first test.
const BASELINE: &str = "/run/machine/baseline";

/// How long it may take until what a test ended has really gone: a device that is removed, a process that
/// was killed. As a watchdog: what is clean at once is not waited for.
const SETTLES: Duration = Duration::from_secs(20);

/// Not the PCI devices: reading their configuration takes longer than all of this, and their drivers hold on to
/// the disks and links, which are compared.
const COMPARED: [Subtree; 7] = [
    Subtree::Sysctls,
    Subtree::BlockDevices,
    Subtree::Processors,
    Subtree::Memory,
    Subtree::Links,
    Subtree::Qdiscs,
    Subtree::Modules,
];

/// How it begins what it says of a test that left something.
pub(crate) const LEFT_BEHIND: &str = "the test left this behind in the machine";

/// What of the machine is writable and lasts from one test to the next.
const WRITABLE: [&str; 5] = ["/etc", "/root", "/run", "/tmp", "/var"];

/// Is there in each of them on purpose, and changes.
const OURS: [&str; 1] = ["/run/machine"];

/// Changes for good with the first use of something, whoever uses it, and is no setting.
const FOR_GOOD: &[(&str, &str)] = &[(
    "/sys/devices/system/cpu/hotplug/states",
    "lists what the first swap or the first zram of a boot registers, and keeps it",
)];

/// What a machine was like before its first test.
#[derive(Debug)]
pub(crate) struct Clean(Snapshot);

impl Clean {
    /// Read where a test before this one has taken it, taken otherwise. Nothing where this is a test that has
    /// started itself again, in other namespaces or with fewer rights: the one that started it looks.
    pub(crate) fn before_the_first_test() -> Option<Self> {
        // By its name: a process with fewer rights may not see which file another one runs.
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

    /// Fails where a test left anything behind.
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
            // A look costs half a second, so there are few.
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

/// Whether this differs from one moment to another for reasons that no later test knows of: the number of a card
/// or a disk that went and came again, and the qdisc that the kernel gives a card when it first comes up.
fn comes_anew(what: &str) -> bool {
    let mut words = what.split(' ');
    match words.next() {
        Some("link") => what.ends_with(" index") || what.ends_with(" qdisc"),
        // A qdisc that somebody set has a handle of its own.
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

/// The name of a process, its state and its parent.
fn stat(pid: u32) -> Option<(String, String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = text.rsplit_once(") ")?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split(' ');
    let state = fields.next()?.to_owned();
    let parent = fields.next()?.parse().ok()?;
    Some((name, state, parent))
}

/// A process and those that it was started by, but for the first of the machine.
fn ancestors(mut pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    while pid > 1 && found.insert(pid) {
        pid = stat(pid).map_or(0, |(.., parent)| parent);
    }
    found
}

/// Processes that are neither the kernel's, nor this one, nor what started it.
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
        // The kernel's own are children of process 2.
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

/// Names, and of regular files what they hold.
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
            // Not what is mounted there: a checkout may lie below /tmp, and mounts are compared by name.
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
        // Journals are not removed: one that is left is something that a test left.
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
            // The checkout that the machine sees may lie in there.
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
    // What one needs another one may let go.
    while unload_one(baseline) {}
}

/// Whether a module was unloaded that was not there before the first test.
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
