//! Whether the runner of a recorded run still runs, as far as this process can see.
//!
//! The number of a process means something only within its PID namespace. A container that shares the
//! directory of the journals with the host sees other processes under the same numbers, or none.

use std::path::Path;

use crate::process::{ProcessId, Stat, boot_id, own_kernel};
use crate::record::RunRecord;

/// The initial PID namespace: `PROC_PID_INIT_INO` in `include/linux/proc_ns.h`, the same in every
/// kernel since 3.8. Only there all processes are seen.
const INITIAL: &str = "pid:[4026531836]";

/// Whether a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs, or is stopped.
    Alive,
    /// It has ended.
    Ended,
    /// It is in a PID namespace that is not seen from here.
    Unknown,
}

/// The processes that this one sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenProcesses {
    boot: String,
    /// The PID namespace whose numbers `/proc` shows; `None` if that is not known, or the kernel has
    /// no such namespaces.
    namespace: Option<String>,
    /// Whether `/proc` shows every process of the machine.
    is_all: bool,
}

impl SeenProcesses {
    /// Those of this process.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn now() -> std::io::Result<Self> {
        let namespace = namespace_of_proc();
        // Who may look at the first process, which is root's, may look at all: it depends on `hidepid`, an
        // option of the mount.
        let sees_first = own_kernel("/proc/1/status").is_ok();
        Ok(Self {
            boot: boot_id()?,
            is_all: namespace.as_deref() == Some(INITIAL) && sees_first,
            namespace,
        })
    }

    /// Whether the runner of a run lives.
    pub fn liveness(&self, run: &RunRecord) -> Liveness {
        if run.runner.boot != self.boot {
            return Liveness::Ended;
        }
        let here = self.namespace.as_deref();
        match run.pid_namespace.as_deref() {
            of if of == here => {
                if run.runner.is_alive(&self.boot) {
                    Liveness::Alive
                } else {
                    Liveness::Ended
                }
            }
            // A record of an earlier release, which knew of no namespaces.
            None if run.runner.is_alive(&self.boot) => Liveness::Alive,
            None if here == Some(INITIAL) => Liveness::Ended,
            None => Liveness::Unknown,
            Some(of) => self.among_all(&run.runner, of),
        }
    }

    /// Whether the numbers in the record of a run are those of `/proc` here.
    pub fn has_numbers_of(&self, run: &RunRecord) -> bool {
        run.pid_namespace.is_none() || run.pid_namespace == self.namespace
    }

    /// A process of another PID namespace. Those of the namespaces beneath this one are seen here, under
    /// other numbers.
    fn among_all(&self, process: &ProcessId, namespace: &str) -> Liveness {
        let mut is_all = self.is_all;
        let Ok(entries) = rustix::fs::open(
            "/proc",
            rustix::fs::OFlags::RDONLY
                | rustix::fs::OFlags::DIRECTORY
                | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .and_then(rustix::fs::Dir::new) else {
            return Liveness::Unknown;
        };
        for entry in entries {
            let Ok(entry) = entry else {
                return Liveness::Unknown;
            };
            let Some(number) = entry.file_name().to_str().ok().and_then(number) else {
                continue;
            };
            match own_kernel(&format!("/proc/{number}/status")) {
                Ok(status) if number_beneath(&status) == Some(process.pid) => {}
                Ok(_) => continue,
                Err(error) if has_ended(&error) => continue,
                Err(_) => {
                    is_all = false;
                    continue;
                }
            }
            let is_it = |stat: Stat| stat.start_ticks == process.start_ticks && !stat.has_ended();
            if !Stat::of(number).is_some_and(is_it) {
                continue;
            }
            // What was seen above can be read by every user, and this cannot.
            match namespace_at(format!("/proc/{number}/ns/pid")) {
                Some(of) if of == namespace => return Liveness::Alive,
                Some(_) => {}
                None => is_all = false,
            }
        }
        if is_all {
            Liveness::Ended
        } else {
            Liveness::Unknown
        }
    }
}

/// The PID namespace of this process, as `pid:[4026531836]`, for the record of a run; `None` if the kernel
/// has none.
///
/// # Errors
/// If `/proc` is that of another PID namespace, so that it shows other processes under these numbers.
pub fn own_pid_namespace() -> std::io::Result<Option<String>> {
    if is_proc_of_this_process() {
        return Ok(namespace_at("/proc/self/ns/pid"));
    }
    Err(std::io::Error::other(
        "/proc is that of another PID namespace: unshare --pid needs --mount-proc, or mount -t proc proc /proc",
    ))
}

fn namespace_of_proc() -> Option<String> {
    let of = match is_proc_of_this_process() {
        true => "/proc/self/ns/pid",
        false => "/proc/1/ns/pid",
    };
    namespace_at(of)
}

/// Whether `/proc` shows this process under the number that it has for itself.
fn is_proc_of_this_process() -> bool {
    let shown = rustix::fs::readlink("/proc/self", Vec::new());
    let shown = shown
        .ok()
        .and_then(|link| link.to_str().ok().and_then(number));
    shown == Some(rustix::process::getpid().as_raw_pid())
}

fn namespace_at(path: impl AsRef<Path>) -> Option<String> {
    let link = rustix::fs::readlink(path.as_ref(), Vec::new()).ok()?;
    link.into_string().ok()
}

fn number(name: &str) -> Option<i32> {
    name.parse().ok().filter(|&number| number > 0)
}

/// The number of a process in its own PID namespace, if that is one beneath the namespace of `/proc`: the last
/// of several in `NSpid` of `/proc/PID/status` (`proc_pid_status(5)`, since Linux 4.1).
fn number_beneath(status: &str) -> Option<i32> {
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers
        .split_ascii_whitespace()
        .skip(1)
        .last()
        .and_then(number)
}

/// Whether a file of a process cannot be read because it has ended.
fn has_ended(error: &std::io::Error) -> bool {
    matches!(
        rustix::io::Errno::from_io_error(error),
        Some(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pid_namespace: Option<&str>) -> RunRecord {
        RunRecord {
            runner: ProcessId::own().unwrap(),
            watchdog: None,
            command_pid: 0,
            command: String::new(),
            user: None,
            network_namespace: None,
            pid_namespace: pid_namespace.map(str::to_owned),
            power_profile: None,
        }
    }

    #[test]
    fn a_process_of_another_namespace_is_not_taken_for_ended() {
        let own = own_pid_namespace().unwrap();
        let seen = SeenProcesses::now().unwrap();
        assert_eq!(seen.namespace, own);
        let mut here = run(own.as_deref());
        assert_eq!(seen.liveness(&here), Liveness::Alive);
        here.runner.start_ticks += 1;
        assert_eq!(seen.liveness(&here), Liveness::Ended);
        // The same numbers elsewhere: this process is not it.
        let there = run(Some("pid:[1]"));
        assert!(seen.has_numbers_of(&here) && !seen.has_numbers_of(&there));
        let part = SeenProcesses {
            is_all: false,
            ..seen.clone()
        };
        assert_eq!(part.liveness(&there), Liveness::Unknown);
        // Of another boot.
        let mut earlier = there;
        earlier.runner.boot = "another".to_owned();
        assert_eq!(seen.liveness(&earlier), Liveness::Ended);
    }

    #[test]
    fn a_record_without_a_namespace_is_of_this_one_or_unknown() {
        let seen = |namespace: &str| SeenProcesses {
            namespace: Some(namespace.to_owned()),
            ..SeenProcesses::now().unwrap()
        };
        let mut old = run(None);
        for namespace in [INITIAL, "pid:[7]"] {
            assert_eq!(seen(namespace).liveness(&old), Liveness::Alive);
        }
        old.runner.start_ticks += 1;
        assert_eq!(seen(INITIAL).liveness(&old), Liveness::Ended);
        assert_eq!(seen("pid:[7]").liveness(&old), Liveness::Unknown);
    }

    #[test]
    fn the_number_of_a_process_in_a_namespace_beneath() {
        // `grep NSpid /proc/PID/status` on Linux 6.18, of a process two namespaces beneath.
        assert_eq!(number_beneath("Name:\tx\nNSpid:\t4242\t17\t3\n"), Some(3));
        // The last one is of this namespace.
        for none in ["", "NSpid:", "NSpid:\t4242\n", "NSpid:\t4242\tx"] {
            assert_eq!(number_beneath(none), None, "{none}");
        }
    }
}
