//! The queue of one disk: how its attributes respond to writes, and what switching the scheduler
//! resets.

use std::path::PathBuf;

use hosttune_core::testing::Tree;

use super::Linux;
use super::tunables::tunables;

const EINVAL: i32 = 22;

/// The attributes that respond as the queue does, by the kernel's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    Scheduler,
    NrRequests,
    AsyncDepth,
    ReadAhead,
    MaxSectors,
    RqAffinity,
    Nomerges,
    WbtLatUsec,
    Switch(&'static str),
}

impl File {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::NrRequests => "nr_requests",
            Self::AsyncDepth => "async_depth",
            Self::ReadAhead => "read_ahead_kb",
            Self::MaxSectors => "max_sectors_kb",
            Self::RqAffinity => "rq_affinity",
            Self::Nomerges => "nomerges",
            Self::WbtLatUsec => "wbt_lat_usec",
            Self::Switch(name) => name,
        }
    }
}

/// Handles writes to the queue of one disk.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) linux: Linux,
    pub(super) directory: PathBuf,
    pub(super) unseen: PathBuf,
    pub(super) tags: u64,
    pub(super) rotational: bool,
    pub(super) max_hw_sectors_kb: u64,
    pub(super) max_sectors_kb: u64,
    pub(super) optimal_io_kb: u64,
}

/// `kstrtoul` with the restrictions of the queue's own parser: no blanks, decimal, at most 32 bits.
fn unsigned(text: &str) -> Result<u64, i32> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EINVAL);
    }
    digits
        .parse()
        .ok()
        .filter(|number| *number <= u64::from(u32::MAX))
        .ok_or(EINVAL)
}

impl Queue {
    pub(super) fn wbt_default(&self) -> u64 {
        if self.rotational { 75_000 } else { 2_000 }
    }

    pub(super) fn number(&self, tree: &Tree, file: &str) -> u64 {
        let text = tree.get(self.directory.join(file)).unwrap_or_default();
        text.parse().unwrap_or_default()
    }

    pub(super) fn set(&self, tree: &mut Tree, file: &str, value: u64) {
        tree.set(self.directory.join(file), &value.to_string());
    }

    fn active(&self, tree: &Tree) -> String {
        tree.get(self.unseen.join("active"))
            .unwrap_or_else(|| "none".to_owned())
    }

    pub(super) fn write(&self, tree: &mut Tree, file: File, value: &str) -> Result<(), i32> {
        match file {
            File::Scheduler => return self.choose(tree, value),
            File::NrRequests => {
                let wanted = unsigned(value)?.max(4);
                let none = self.active(tree) == "none";
                if wanted > if none { self.tags } else { 2048 } {
                    return Err(EINVAL);
                }
                self.resize(tree, wanted);
            }
            File::AsyncDepth => {
                let wanted = unsigned(value)?;
                if self.active(tree) == "none" || wanted == 0 {
                    return Err(EINVAL);
                }
                let most = self.number(tree, "nr_requests");
                self.set(tree, "async_depth", wanted.min(most));
            }
            File::ReadAhead => self.set(tree, "read_ahead_kb", unsigned(value)? / 4 * 4),
            File::MaxSectors => {
                let wanted = unsigned(value)?;
                let most = self.max_hw_sectors_kb;
                let made = match self.linux {
                    Linux::V6_1 if wanted < 4 || wanted > most => return Err(EINVAL),
                    Linux::V6_1 => wanted,
                    Linux::V7_2 if wanted == 0 => self.max_sectors_kb,
                    Linux::V7_2 if wanted < 4 => return Err(EINVAL),
                    Linux::V7_2 => wanted.min(most),
                };
                self.set(tree, "max_sectors_kb", made);
                self.limits_changed(tree);
            }
            File::RqAffinity => {
                // Larger values are accepted and ignored.
                if let wanted @ 0..=2 = unsigned(value)? {
                    self.set(tree, "rq_affinity", wanted);
                }
            }
            File::Nomerges => {
                let made = match unsigned(value)? {
                    0 => 0,
                    2 => 2,
                    _ => 1,
                };
                self.set(tree, "nomerges", made);
            }
            File::WbtLatUsec => {
                let wanted: i64 = value.parse().map_err(|_| EINVAL)?;
                match u64::try_from(wanted) {
                    Ok(wanted) => {
                        self.set(tree, "wbt_lat_usec", wanted);
                        tree.set(self.unseen.join("wbt"), "manual");
                    }
                    Err(_) if wanted == -1 => {
                        self.set(tree, "wbt_lat_usec", self.wbt_default());
                        tree.set(self.unseen.join("wbt"), "manual");
                    }
                    Err(_) => return Err(EINVAL),
                }
            }
            File::Switch(name) => {
                let wanted = unsigned(value)?;
                self.set(tree, name, u64::from(wanted != 0));
                self.limits_changed(tree);
            }
        }
        Ok(())
    }

    /// Newer kernels recompute all limits, whether anything has changed or not, and raise
    /// read-ahead to twice the optimal I/O size, or the largest request if the disk is rotational.
    fn limits_changed(&self, tree: &mut Tree) {
        if self.linux >= Linux::V7_2 {
            let best = match self.optimal_io_kb {
                0 if self.rotational => self.number(tree, "max_sectors_kb"),
                best => best,
            };
            let ahead = self.number(tree, "read_ahead_kb");
            self.set(tree, "read_ahead_kb", ahead.max(2 * best / 4 * 4).max(128));
        }
    }

    /// The kernel compares only the first four letters of `none`, up to 6.1 before it strips
    /// blanks.
    fn choose(&self, tree: &mut Tree, value: &str) -> Result<(), i32> {
        let stripped = value.trim();
        let first = match self.linux {
            Linux::V6_1 => value,
            Linux::V7_2 => stripped,
        };
        let name = match stripped {
            _ if first.starts_with("none") => "none",
            "deadline" => "mq-deadline",
            other => other,
        };
        let modules = tree.get(self.unseen.join("modules")).unwrap_or_default();
        let known = name == "none" && first.starts_with("none")
            || name != "none" && modules.split(' ').any(|one| one == name);
        if !known {
            return Err(EINVAL);
        }
        // Newer kernels perform a complete switch even from none to none, and reset what depends on
        // it.
        if self.active(tree) != name || self.linux >= Linux::V7_2 && name == "none" {
            self.switch(tree, name);
        }
        Ok(())
    }

    pub(super) fn switch(&self, tree: &mut Tree, name: &str) {
        let before = self.active(tree);
        for (tunable, ..) in tunables(&before, self.linux) {
            tree.remove(self.directory.join("iosched").join(tunable));
        }
        tree.remove(self.directory.join("iosched"));
        tree.set(self.unseen.join("active"), name);
        tree.set(
            self.unseen.join("queue"),
            &self.directory.display().to_string(),
        );
        let modules = tree.get(self.unseen.join("modules")).unwrap_or_default();
        let modules: Vec<&str> = modules.split(' ').collect();
        let none_first = self.linux >= Linux::V7_2 || name == "none";
        tree.set(
            self.directory.join("scheduler"),
            &list(&modules, name, none_first),
        );
        // With `none` the queue has as many requests as tags, with a scheduler twice as many, up to
        // 256. A scheduler that replaces another one starts from the default again.
        let requests = if name == "none" {
            self.tags
        } else {
            2 * self.tags.min(128)
        };
        self.set(tree, "nr_requests", requests);
        if self.linux >= Linux::V7_2 {
            let depth = match name {
                "bfq" | "kyber" => requests * 3 / 4,
                _ => requests,
            };
            self.set(tree, "async_depth", depth);
            // bfq disables writeback throttling; unless it was set manually, the next scheduler
            // restores it.
            let manual = tree.get(self.unseen.join("wbt")).as_deref() == Some("manual");
            if !manual {
                let wanted = if name == "bfq" { 0 } else { self.wbt_default() };
                self.set(tree, "wbt_lat_usec", wanted);
            }
        }
        for (tunable, value, _) in tunables(name, self.linux) {
            let value = if tunable == "async_depth" {
                requests.to_string()
            } else {
                value.to_owned()
            };
            tree.set(self.directory.join("iosched").join(tunable), &value);
        }
    }

    fn resize(&self, tree: &mut Tree, wanted: u64) {
        let was = self.number(tree, "nr_requests");
        if was == wanted {
            return;
        }
        self.set(tree, "nr_requests", wanted);
        if self.linux >= Linux::V7_2 {
            let depth = self.number(tree, "async_depth");
            self.set(tree, "async_depth", (depth * wanted / was).max(1));
        } else if self.active(tree) == "mq-deadline" {
            // mq-deadline is notified before the number changes, and takes the old one.
            self.set(tree, "iosched/async_depth", was);
        }
    }
}

/// Formats a scheduler file: since 6.12 `none` is always first, before that only while it is
/// active.
pub(super) fn list(schedulers: &[&str], active: &str, none_first: bool) -> String {
    let mut names: Vec<&str> = schedulers.to_vec();
    if none_first {
        names.insert(0, "none");
    } else {
        names.push("none");
    }
    let shown = names.iter().map(|name| {
        if *name == active {
            format!("[{name}]")
        } else {
            (*name).to_owned()
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}
