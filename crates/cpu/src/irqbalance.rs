//! Whether irqbalance runs, which sets on which processor each interrupt is served.
//!
//! It has no agreement with anybody: every ten seconds it looks at the load and writes
//! `/proc/irq/N/smp_affinity` of whatever interrupt it is not told to leave. So an affinity that a
//! tuning sets is gone after ten seconds at most, and what is set of governors, frequencies and
//! disks it does not touch.
//!
//! It is looked for where it leaves itself: the control group of its unit, the socket that it has
//! since version 1.3 in `/run/irqbalance`, its pid file; and what is found is believed only where
//! the process is still called so. Going through `/proc/*/comm` instead would find one that was
//! started by hand and without a socket as well, for three system calls per process of the
//! machine, in every plan.

use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Tuning};

const NAME: &str = "irqbalance";

/// The control group of its unit, where there is one hierarchy, and where there are several.
const UNITS: [&str; 3] = [
    "/sys/fs/cgroup/system.slice/irqbalance.service/cgroup.procs",
    "/sys/fs/cgroup/unified/system.slice/irqbalance.service/cgroup.procs",
    "/sys/fs/cgroup/systemd/system.slice/irqbalance.service/cgroup.procs",
];

/// Where its sockets are, `irqbalancePID.sock`.
const SOCKETS: &str = "/run/irqbalance";

/// What the init scripts of distributions without systemd have it write.
const PID_FILES: [&str; 2] = ["/run/irqbalance.pid", "/run/irqbalance/irqbalance.pid"];

/// An irqbalance that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Irqbalance {
    /// Its process.
    pub process: u32,
    /// The file that told of it.
    pub told_by: String,
}

impl Irqbalance {
    /// The one that runs here, if one does.
    ///
    /// # Errors
    /// Where one of the files is there and cannot be read, except for want of rights.
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

    /// What a person should know who sets interrupts' affinities by hand.
    pub fn note(&self) -> String {
        format!(
            "irqbalance runs (process {}): it sets the affinity of interrupts anew every ten seconds, so one that is set here does not last; ban the interrupt there, or stop it",
            self.process
        )
    }
}

/// Notes that irqbalance runs, where it does; wants nothing.
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
        // ESRCH and ENODEV: the process, or the group, went while it was being read.
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
