//! How much memory the process may lock that starts the guest (`RLIMIT_MEMLOCK`).
//!
//! A lent device reaches any memory of its guest at any time, so VFIO locks all of it when the guest
//! starts and counts it against the limit of the process that opens the device, which is QEMU. It does
//! not count for a process with `CAP_IPC_LOCK`, which QEMU has as root. The default of the kernel is
//! 8 MiB, and a guest that exceeds its limit does not start: QEMU says "Cannot allocate memory".
//!
//! QEMU inherits the limit. libvirt raises it for each guest, which needs `CAP_SYS_RESOURCE`; a shell
//! has what login gave it.

use std::fmt;

use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Tuning};

use crate::guest::Guest;
use crate::shared_memory::SharedMemory;

/// `CAP_SYS_RESOURCE`, which raises limits.
const CAP_SYS_RESOURCE: u32 = 24;
/// `CAP_IPC_LOCK`, for which the limit does not count.
const CAP_IPC_LOCK: u32 = 14;

/// The daemons of libvirt that start QEMU: since version 5.6 one for each driver is possible.
const LIBVIRT: [&str; 2] = ["virtqemud", "libvirtd"];

/// Whether a guest may lock its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryLock {
    /// How much it locks, in MiB: its memory and what it shares with the host.
    pub needed: u64,
    /// Who starts it.
    pub starter: Starter,
    /// The answer.
    pub verdict: Verdict,
}

/// What starts a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Starter {
    /// A daemon of libvirt that runs: process ID and name.
    Libvirt {
        /// Its process ID.
        process: u32,
        /// Its name.
        name: String,
    },
    /// No daemon of libvirt runs: a shell does, and this program was started by one.
    Shell,
}

/// Whether the limit is high enough.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is, or the process raises it.
    Enough,
    /// It is lower than that, in bytes, and the process cannot raise it.
    TooLow {
        /// The hard limit, in bytes.
        limit: u64,
    },
    /// It cannot be told; the reason.
    Unknown(String),
}

impl MemoryLock {
    /// Looks for the process that starts a guest and for its limit.
    ///
    /// # Errors
    /// If a file exists and cannot be read, except for lack of permission.
    pub fn of(host: &Host, guest: &Guest) -> Result<Self, HostError> {
        let shared = guest.shared().map_or(0, SharedMemory::mebibytes);
        let needed = guest.mebibytes().saturating_add(shared);
        Ok(match libvirt(host)? {
            Some((process, name)) => Self {
                needed,
                verdict: verdict(host, &process.to_string(), CAP_SYS_RESOURCE, needed)?,
                starter: Starter::Libvirt { process, name },
            },
            None => Self {
                needed,
                verdict: of_shell(host, needed)?,
                starter: Starter::Shell,
            },
        })
    }

    /// The command that shows or raises the limit; `None` if it is high enough.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        // libvirt adds as much for what QEMU itself needs.
        let kibibytes = self.needed.saturating_add(1024).saturating_mul(1024);
        match (&self.verdict, &self.starter) {
            (Verdict::Enough, _) => None,
            (Verdict::TooLow { .. }, Starter::Libvirt { name, .. }) => Some(format!(
                "give its unit the limit: systemctl edit {name}.service, with the lines [Service] and LimitMEMLOCK={kibibytes}K, then restart it"
            )),
            (Verdict::Unknown(_), Starter::Libvirt { process, .. }) => Some(format!(
                "look at it as root: grep 'locked memory' /proc/{process}/limits"
            )),
            (_, Starter::Shell) => Some(format!(
                "look in the shell that starts it, unless that is root's: ulimit -l must print unlimited or at least {kibibytes}; raise it for the user USER, the soft limit and the hard one: echo 'USER - memlock {kibibytes}' >/etc/security/limits.d/guest.conf, and log in again"
            )),
        }
    }
}

impl fmt::Display for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guest locks {} MiB of memory: ", self.needed)?;
        match &self.starter {
            Starter::Libvirt { process, name } => write!(f, "{name} (process {process}) ")?,
            Starter::Shell => f.write_str("QEMU from this shell ")?,
        }
        match &self.verdict {
            Verdict::Enough => f.write_str("may lock as much, or raises the limit"),
            Verdict::TooLow { limit } => {
                write!(f, "may lock {} KiB and cannot raise that", limit / 1024)
            }
            Verdict::Unknown(why) => write!(f, "has an unknown limit: {why}"),
        }
    }
}

/// Adds a note if a guest cannot lock its memory, or if that is unknown. It requests nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteMemoryLock(pub Guest);

impl Tuning for NoteMemoryLock {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        let lock = MemoryLock::of(at.host(), &self.0)?;
        if let Some(hint) = lock.hint() {
            at.note(format!("{lock}; {hint}"));
        }
        Ok(())
    }
}

/// The daemon of libvirt that runs, if one does.
fn libvirt(host: &Host) -> Result<Option<(u32, String)>, HostError> {
    let names = host.list_if_there("/proc")?;
    let mut processes: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    processes.sort_unstable();
    let mut found: Option<(usize, u32)> = None;
    for process in processes {
        let name = readable(host.read(format!("/proc/{process}/comm")))?.unwrap_or_default();
        let name = String::from_utf8_lossy(&name);
        let rank = LIBVIRT.iter().position(|daemon| *daemon == name.trim());
        if let Some(rank) = rank
            && found.is_none_or(|(first, _)| rank < first)
        {
            found = Some((rank, process));
        }
    }
    Ok(found.map(|(rank, process)| (process, LIBVIRT[rank].to_owned())))
}

/// The limit of the shell that has started this program, which inherits it. A program that root
/// started does not tell what another user's shell has, and root's own QEMU needs no limit.
fn of_shell(host: &Host, needed: u64) -> Result<Verdict, HostError> {
    let status = readable(host.read_text("/proc/self/status"))?;
    match status.as_deref().and_then(user) {
        Some(0) => Ok(Verdict::Unknown(
            "this program runs as root, for which no limit counts, and the shell of another user is not known"
                .to_owned(),
        )),
        Some(_) => verdict(host, "self", CAP_IPC_LOCK, needed),
        None => Ok(Verdict::Unknown(
            "no daemon of libvirt runs, and this tree shows no shell".to_owned(),
        )),
    }
}

/// The effective user ID in `status`: `Uid:` with the real one, the effective one and two more.
fn user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Compares the hard limit of a process, unless it has a capability with which that does not count.
fn verdict(host: &Host, process: &str, capability: u32, needed: u64) -> Result<Verdict, HostError> {
    let text = |file: &str| -> Result<Option<String>, HostError> {
        let bytes = readable(host.read(format!("/proc/{process}/{file}")))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let status = text("status")?;
    if status
        .as_deref()
        .and_then(|status| has_capability(status, capability))
        == Some(true)
    {
        return Ok(Verdict::Enough);
    }
    let Some(limits) = text("limits")? else {
        let why = "the limits of that process cannot be read without root";
        return Ok(Verdict::Unknown(why.to_owned()));
    };
    let bytes = u128::from(needed) << 20;
    Ok(match hard_limit(&limits) {
        Some(Limit::Unlimited) => Verdict::Enough,
        Some(Limit::Bytes(limit)) if u128::from(limit) >= bytes => Verdict::Enough,
        Some(Limit::Bytes(limit)) => Verdict::TooLow { limit },
        None => Verdict::Unknown(format!("/proc/{process}/limits has no such line")),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Unlimited,
    Bytes(u64),
}

/// `Max locked memory         8388608              8388608              bytes`: the soft limit and the
/// hard one.
fn hard_limit(limits: &str) -> Option<Limit> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(Limit::Unlimited),
        bytes => bytes.parse().ok().map(Limit::Bytes),
    }
}

/// Whether a process has a capability in the effective set that its `status` shows.
fn has_capability(status: &str, capability: u32) -> Option<bool> {
    let set = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    let set = u64::from_str_radix(set.trim(), 16).ok()?;
    Some(set >> capability & 1 == 1)
}

/// `None` for what is not there (any more) and what this user may not read.
fn readable<T>(answer: Result<T, HostError>) -> Result<Option<T>, HostError> {
    match answer {
        Ok(seen) => Ok(Some(seen)),
        Err(error)
            if matches!(
                error.kind(),
                HostErrorKind::Missing | HostErrorKind::Gone | HostErrorKind::Denied
            ) =>
        {
            Ok(None)
        }
        // ESRCH: the process has ended.
        Err(error) if error.errno() == Some(3) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cat /proc/PID/limits` and `grep Cap /proc/PID/status` on Linux 6.12.
    #[test]
    fn limits_and_capabilities_are_read_as_the_kernel_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max locked memory         8388608              16777216             bytes     \n\
                      Max address space         unlimited            unlimited            bytes     \n";
        assert_eq!(hard_limit(limits), Some(Limit::Bytes(16_777_216)));
        let limits = limits.replace("16777216 ", "unlimited");
        assert_eq!(hard_limit(&limits), Some(Limit::Unlimited));
        assert_eq!(hard_limit("Max locked memory"), None);
        assert_eq!(hard_limit("Max locked memory 1 x bytes"), None);
        let capable = "Uid:\t0\t1000\t0\t0\nCapEff:\t0000000000004000\n";
        assert_eq!(has_capability(capable, CAP_IPC_LOCK), Some(true));
        assert_eq!(has_capability(capable, CAP_SYS_RESOURCE), Some(false));
        assert_eq!(has_capability("Name:\tx\n", CAP_IPC_LOCK), None);
        assert_eq!((user(capable), user("Uid:\t0\n")), (Some(1000), None));
    }
}
