//! Deciding which disk to handle, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::{Uevent, UeventAction};

/// Timing of handling events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// A disk is handled once it has had no event for this long: a new disk has several events, and
    /// udev needs a while to process them.
    pub settle: Duration,
    /// A disk is handled after this long even if it still has events.
    pub at_most: Duration,
}

impl Default for RetryPolicy {
    /// 300 ms, and 3 s at most.
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(300),
            at_most: Duration::from_secs(3),
        }
    }
}

/// A disk that was added or changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ComingDisk {
    /// The kernel name, `sda`.
    pub kernel: String,
    /// The kernel's sequence number of this disk, which no earlier disk of this name had, if the
    /// kernel reports it (since Linux 5.15). A caller has to check that the name still belongs to
    /// this disk.
    pub diskseq: Option<u64>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Wait for the next event, at most until this time.
    Wait(Option<Duration>),
    /// Handle these disks, in the order of their names.
    Disks(Vec<ComingDisk>),
    /// Handle all disks: events were lost.
    Everything,
}

/// Decides from events which disks to handle.
///
/// A storm of events about one disk leads to handling it once, and does not delay other disks.
#[derive(Debug, Clone)]
pub struct Hotplug {
    retry_policy: RetryPolicy,
    /// By path, because the name may belong to another disk a moment later.
    disks: BTreeMap<String, (ComingDisk, Times)>,
    everything: Option<Times>,
}

/// The time of the first event, and the end of the quiet period after the last one.
#[derive(Debug, Clone, Copy)]
struct Times {
    first: Duration,
    quiet: Duration,
}

impl Times {
    fn at(now: Duration, before: Option<Self>, retry_policy: RetryPolicy) -> Self {
        Self {
            first: before.map_or(now, |before| before.first),
            quiet: now.saturating_add(retry_policy.settle),
        }
    }

    fn due(self, retry_policy: RetryPolicy) -> Duration {
        self.quiet
            .min(self.first.saturating_add(retry_policy.at_most))
    }
}

impl Hotplug {
    /// Creates one without any events.
    pub fn new(retry_policy: RetryPolicy) -> Self {
        Self {
            retry_policy,
            disks: BTreeMap::new(),
            everything: None,
        }
    }

    /// Records an event. Events that are not about a disk, or do not bring one, change nothing.
    pub fn on(&mut self, event: &Uevent, now: Duration) {
        if event.is_disk() && event.action == UeventAction::Remove {
            self.disks.remove(&event.devpath);
            return;
        }
        if !event.brings_disk() {
            return;
        }
        // After a move, events name only the new path.
        if let Some(before) = event.get("DEVPATH_OLD") {
            self.disks.remove(before);
        }
        let disk = ComingDisk {
            kernel: event.kernel(),
            diskseq: event.get("DISKSEQ").and_then(|number| number.parse().ok()),
        };
        let before = self.disks.get(&event.devpath);
        // A different disk at the same path has only just come, so it does not inherit the waiting
        // time.
        let before = before.filter(|(known, _)| known.diskseq == disk.diskseq);
        let times = Times::at(now, before.map(|(_, times)| *times), self.retry_policy);
        self.disks.insert(event.devpath.clone(), (disk, times));
    }

    /// Records that events were lost.
    pub fn lost(&mut self, now: Duration) {
        self.everything = Some(Times::at(now, self.everything, self.retry_policy));
    }

    /// Returns what to do now. Each disk is returned only once.
    pub fn due(&mut self, now: Duration) -> Due {
        let retry_policy = self.retry_policy;
        if let Some(everything) = self.everything {
            if everything.due(retry_policy) <= now {
                self.everything = None;
                // All disks are going to be handled.
                self.disks.clear();
                return Due::Everything;
            }
            // Single disks wait for this as well; otherwise each would be handled twice.
            return Due::Wait(Some(everything.due(retry_policy)));
        }
        let mut due = Vec::new();
        self.disks.retain(|_, (disk, times)| {
            let waits = times.due(retry_policy) > now;
            if !waits {
                due.push(disk.clone());
            }
            waits
        });
        if due.is_empty() {
            let next = self
                .disks
                .values()
                .map(|(_, times)| times.due(retry_policy));
            return Due::Wait(next.min());
        }
        due.sort();
        Due::Disks(due)
    }
}
