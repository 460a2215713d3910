//! Whether irqbalance is running, which assigns each interrupt to a processor.
//!
//! irqbalance coordinates with no other program. Every ten seconds it measures the load and writes
//! `/proc/irq/N/smp_affinity` of every interrupt that it was not told to leave alone. An affinity that a
//! tuning sets therefore lasts ten seconds at most. It does not touch governors, frequencies or disks.
//!
//! It is detected by the traces that it leaves: the control group of its unit, its socket in
//! `/run/irqbalance` (since version 1.3) and its pid file. A trace counts only if the process still has the
//! name `irqbalance`. A search of `/proc/*/comm` would also find one that was started by hand without a
//! socket, but costs three system calls per process in every plan.

use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Tuning};

const NAME: &str = "irqbalance";

/// The control group of its unit, with a unified hierarchy and with several hierarchies.
const UNITS: [&str; 3] = [
    "/sys/fs/cgroup/system.slice/irqbalance.service/cgroup.procs",
    "/sys/fs/cgroup/unified/system.slice/irqbalance.service/cgroup.procs",
    "/sys/fs/cgroup/systemd/system.slice/irqbalance.service/cgroup.procs",
];

/// Directory of its sockets, `irqbalancePID.sock`.
const SOCKETS: &str = "/run/irqbalance";

/// The pid files that init scripts of distributions without systemd configure.
const PID_FILES: [&str; 2] = ["/run/irqbalance.pid", "/run/irqbalance/irqbalance.pid"];

/// A running irqbalance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Irqbalance {
    /// Its process id.
    pub process: u32,
    /// The file that led to it.
    pub told_by: String,
}

impl Irqbalance {
    /// Returns the running irqbalance, if any.
    ///
    /// # Errors
    /// Fails if one of the files exists but cannot be read, except for lack of permission.
    pub fn running(host: &Host) -> Result<Option<Self>, HostError> {
        for file in UNITS.iter().chain(&PID_FILES) {
            for process in numbers(host, file)? {
                if is_called_so(host, process)? {
                    return Ok(Some(Self {
                        process,
                        told_by: (*file).to_owned(),
                    }));
                }
            }
        }
        for name in readable(host.list(SOCKETS))?.unwrap_or_default() {
            let number = name.strip_prefix(NAME).and_then(|name| {
                let number = name.strip_suffix(".sock")?;
                number.parse().ok()
            });
            if let Some(process) = number
                && is_called_so(host, process)?
            {
                return Ok(Some(Self {
                    process,
                    told_by: format!("{SOCKETS}/{name}"),
                }));
            }
        }
        Ok(None)
    }

    /// Returns a note for users who set interrupt affinities by hand.
    pub fn note(&self) -> String {
        format!(
            "irqbalance is running (process {}) and sets interrupt affinities again every ten seconds, so an affinity set here does not last; exclude the interrupt with --banirq, or stop irqbalance",
            self.process
        )
    }
}

/// Adds a note if irqbalance is running; requests nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoteIrqbalance;

impl Tuning for NoteIrqbalance {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        if let Some(running) = Irqbalance::running(at.host())? {
            at.note(running.note());
        }
        Ok(())
    }
}

fn readable<T>(answer: Result<T, HostError>) -> Result<Option<T>, HostError> {
    match answer {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied) => {
            Ok(None)
        }
        // ESRCH and ENODEV: the process or the control group disappeared during the read.
        Err(error) if *error.kind() == HostErrorKind::Gone || error.errno() == Some(3) => Ok(None),
        Err(error) => Err(error),
    }
}

fn numbers(host: &Host, file: &str) -> Result<Vec<u32>, HostError> {
    let text = readable(host.read_text(file))?.unwrap_or_default();
    Ok(text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect())
}

fn is_called_so(host: &Host, process: u32) -> Result<bool, HostError> {
    let name = readable(host.read_text(format!("/proc/{process}/comm")))?;
    Ok(name.is_some_and(|name| name.trim() == NAME))
}
