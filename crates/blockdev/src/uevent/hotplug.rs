//! Which disk to look at, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::{Uevent, UeventAction};

/// How fast somebody who watches does things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// So long must nothing have been told of a disk before it is looked at: one that comes is told
    /// of several times, and udev's own work on it takes a while.
    pub settle: Duration,
    /// It is looked at after so long even where more is told.
    pub at_most: Duration,
}

impl Default for Pace {
    /// After 300 ms, at most 3 s.
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(300),
            at_most: Duration::from_secs(3),
        }
    }
}

/// A disk that has come or changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ComingDisk {
    /// The kernel's name, `sda`.
    pub kernel: String,
    /// The number that this disk has and none that had its name before, where the kernel tells
    /// (since 5.15): whoever acts on this looks whether it still is that one.
    pub diskseq: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Wait for what is told next, until then at most.
    Wait(Option<Duration>),
    /// Look at these, in the order of their names.
    Disks(Vec<ComingDisk>),
    /// Look at all disks: something was told and lost.
    Everything,
}

/// Which disks to look at, from what was told of them.
///
/// A storm of events about one disk is one look at it, and does not keep another waiting.
#[derive(Debug, Clone)]
pub struct Hotplug {
    pace: Pace,
    /// By path, as a name may be another's in the next moment.
    disks: BTreeMap<String, (ComingDisk, Times)>,
    everything: Option<Times>,
}

/// When something was told first, and until when nothing more must be.
#[derive(Debug, Clone, Copy)]
struct Times {
    first: Duration,
    quiet: Duration,
}

impl Times {
    fn at(now: Duration, before: Option<Self>, pace: Pace) -> Self {
        Self {
            first: before.map_or(now, |before| before.first),
            quiet: now.saturating_add(pace.settle),
        }
    }

    fn due(self, pace: Pace) -> Duration {
        self.quiet.min(self.first.saturating_add(pace.at_most))
    }
}

impl Hotplug {
    /// One that has been told nothing yet.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            disks: BTreeMap::new(),
            everything: None,
        }
    }

    /// Takes in what was told. What is about no disk, or brings none, changes nothing.
    pub fn on(&mut self, event: &Uevent, now: Duration) {
        if event.is_disk() && event.action == UeventAction::Remove {
            self.disks.remove(&event.devpath);
            return;
        }
        if !event.brings_disk() {
            return;
        }
        // A disk that was moved is told of by its new path alone.
        if let Some(before) = event.get("DEVPATH_OLD") {
            self.disks.remove(before);
        }
        let disk = ComingDisk {
            kernel: event.kernel(),
            diskseq: event.get("DISKSEQ").and_then(|number| number.parse().ok()),
        };
        let before = self.disks.get(&event.devpath);
        // Another disk at the same place has just come, however long the first has been waited for.
        let before = before.filter(|(known, _)| known.diskseq == disk.diskseq);
        let times = Times::at(now, before.map(|(_, times)| *times), self.pace);
        self.disks.insert(event.devpath.clone(), (disk, times));
    }

    /// Takes in that something was told and lost.
    pub fn lost(&mut self, now: Duration) {
        self.everything = Some(Times::at(now, self.everything, self.pace));
    }

    /// What to do now. What is handed out is not handed out again.
    pub fn due(&mut self, now: Duration) -> Due {
        let pace = self.pace;
        if let Some(everything) = self.everything {
            if everything.due(pace) <= now {
                self.everything = None;
                // All of them are looked at.
                self.disks.clear();
                return Due::Everything;
            }
            // Waited for together: each would be looked at twice.
            return Due::Wait(Some(everything.due(pace)));
        }
        let mut due = Vec::new();
        self.disks.retain(|_, (disk, times)| {
            let waits = times.due(pace) > now;
            if !waits {
                due.push(disk.clone());
            }
            waits
        });
        if due.is_empty() {
            let next = self.disks.values().map(|(_, times)| times.due(pace));
            return Due::Wait(next.min());
        }
        due.sort();
        Due::Disks(due)
    }
}
