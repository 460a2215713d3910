//! A process that is not confused with a later one of the same number.

use serde::{Deserialize, Serialize};

/// A process: its number, when it started, and in which boot.
///
/// The kernel gives the number of a process that ended to another one later, at the earliest after all
/// other numbers. The time of the start tells the two apart (`/proc/PID/stat`, field 22, in clock ticks
/// since boot, `proc_pid_stat(5)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// The boot, as in `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
}

impl ProcessId {
    /// The process of a number, or `None` if there is none or it has ended and only waits for its parent.
    pub fn of(pid: i32, boot: &str) -> Option<Self> {
        // The kernel's other meanings of 0 and of negative numbers are groups of processes.
        if pid <= 0 {
            return None;
        }
        let stat = Stat::of(pid)?;
        (!stat.has_ended()).then(|| Self {
            pid,
            start_ticks: stat.start_ticks,
            boot: boot.to_owned(),
        })
    }

    /// This process.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn own() -> std::io::Result<Self> {
        let boot = boot_id()?;
        let pid = rustix::process::getpid().as_raw_pid();
        Self::of(pid, &boot).ok_or_else(|| {
            std::io::Error::other(format!(
                "/proc/{pid}/stat cannot be read: is /proc mounted?"
            ))
        })
    }

    /// Whether this process runs, given the boot that runs now. A stopped one does.
    pub fn is_alive(&self, boot: &str) -> bool {
        self.boot == boot && Self::of(self.pid, boot).as_ref() == Some(self)
    }
}

/// The identifier of the boot that runs now.
///
/// # Errors
/// If `/proc` is not mounted.
pub fn boot_id() -> std::io::Result<String> {
    Ok(own_kernel("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// A file of the kernel that this process runs on.
#[expect(
    clippy::disallowed_methods,
    reason = "it describes processes and not the tuned host, so --root does not apply"
)]
pub(crate) fn own_kernel(path: &str) -> std::io::Result<String> {
    let bytes = std::fs::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What this crate needs of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) parent: i32,
    pub(crate) start_ticks: u64,
}

impl Stat {
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::parse(&own_kernel(&format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name of the program stands in parentheses and may contain spaces and parentheses itself, so
    /// the fields are counted from the last one.
    fn parse(text: &str) -> Option<Self> {
        let fields = text.get(text.rfind(')')? + 1..)?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // The state is field 3 and the parent field 4; field 22 is 17 fields behind the next one.
        let parent = fields.next()?.parse().ok()?;
        let start_ticks = fields.nth(17)?.parse().ok()?;
        Some(Self {
            state,
            parent,
            start_ticks,
        })
    }

    /// Whether it is a zombie or dead. A process whose first thread has ended while others run is shown
    /// as a zombie too; a runner has one thread.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether it is stopped by a signal.
    pub(crate) fn is_stopped(self) -> bool {
        self.state == 'T'
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cat /proc/self/stat` on Linux 6.18, with another name.
    const LINE: &str = "4242 (a) b (c) T 1 4242 1 34816 4242 4194304 95 0 0 0 0 0 0 0 20 0 1 0 987654 \
                        2977792 221 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n";

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = Stat::parse(LINE).unwrap();
        let fields = (stat.state, stat.parent, stat.start_ticks);
        assert_eq!(fields, ('T', 1, 987_654));
        assert!(stat.is_stopped() && !stat.has_ended());
        for broken in ["", "1 (x", "1 (x) S", "1 (x) S 1 2 3"] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn this_process_is_itself_and_no_other() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive(&own.boot));
        assert!(!own.is_alive("another boot"));
        let recycled = ProcessId {
            start_ticks: own.start_ticks + 1,
            ..own.clone()
        };
        assert!(!recycled.is_alive(&own.boot));
        for none in [0, -1, i32::MAX] {
            assert_eq!(ProcessId::of(none, &own.boot), None);
        }
    }
}
