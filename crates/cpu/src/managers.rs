//! Programs that set governors by themselves, known by the control groups of their services.

use hosttune_core::host::EntryKind;
use hosttune_core::{Error, Host, HostError, Planner, Tuning};

/// A service that sets governors, and when it does.
const MANAGERS: [(&str, &str); 3] = [
    ("auto-cpufreq", "every few seconds"),
    ("power-profiles-daemon", "when the power profile changes"),
    ("tuned", "when its profile changes"),
];

/// Where systemd has the groups of system services: with control groups of version 2, and beside those of version 1.
const GROUPS: [&str; 3] = [
    "/sys/fs/cgroup/system.slice",
    "/sys/fs/cgroup/unified/system.slice",
    "/sys/fs/cgroup/systemd/system.slice",
];

/// The services that run and set governors by themselves, each with when it does. A program that was started by hand is
/// not seen.
///
/// # Errors
/// Any error from the host but a missing path.
pub fn running(host: &Host) -> Result<Vec<(&'static str, &'static str)>, HostError> {
    let mut found = Vec::new();
    for manager in MANAGERS {
        for group in GROUPS {
            let entry = host.entry(format!("{group}/{}.service", manager.0))?;
            // It is removed when the service has ended.
            if entry.is_some_and(|entry| entry.kind == EntryKind::Directory) {
                found.push(manager);
                break;
            }
        }
    }
    Ok(found)
}

/// A note for each of [`running`], beside a tuning that sets governors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoteManagers;

impl Tuning for NoteManagers {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        for (name, when) in running(at.host())? {
            at.note(format!(
                "{name} runs and sets the governor too, {when}: systemctl stop {name} keeps this one"
            ));
        }
        Ok(())
    }
}
