//! systemd through `systemctl`, which talks to it by D-Bus over a socket of its own, without a message bus.
//!
//! A D-Bus library would be some thirty crates for three calls.

use hosttune_core::child::{Child, Ended, NotRun};
use hosttune_core::{
    HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind, child_guard,
};

use crate::{ServiceManager, ServiceState};

/// The paths of systemctl.
const PROGRAMS: [&str; 3] = [
    "/usr/bin/systemctl",
    "/bin/systemctl",
    // The only one on NixOS.
    "/run/current-system/sw/bin/systemctl",
];

#[derive(Debug)]
pub(crate) struct Systemctl;

impl ServiceManager for Systemctl {
    fn state(&self, unit: &str) -> Result<ServiceState, HostError> {
        child_guard::wait(&named(unit))?;
        let properties = "--property=LoadState,ActiveState";
        let shown = ended(unit, &systemctl(&["show", properties, "--", unit]))?;
        state_of(&String::from_utf8_lossy(shown.output()))
            .ok_or_else(|| HostError::malformed(named(unit), "systemctl has shown no state of it"))
    }

    fn start(&mut self, unit: &str) -> Result<(), HostError> {
        change("start", unit)
    }

    fn stop(&mut self, unit: &str) -> Result<(), HostError> {
        change("stop", unit)
    }
}

fn named(unit: &str) -> String {
    format!("service {unit}")
}

fn change(verb: &str, unit: &str) -> Result<(), HostError> {
    let child = systemctl(&["--no-ask-password", verb, "--", unit]).makes_changes();
    ended(unit, &child).map(drop)
}

fn systemctl(arguments: &[&str]) -> Child {
    Child::new(&PROGRAMS).arguments(arguments)
}

/// A systemctl that succeeded.
fn ended(unit: &str, child: &Child) -> Result<Ended, HostError> {
    let (program, errno) = match child.run() {
        Ok(ended) if ended.is_success() => return Ok(ended),
        Ok(ended) => return Err(refused(unit, &ended.messages())),
        Err(NotRun::NotStarted { program, errno }) => (program, errno),
        Err(NotRun::NotInstalled) => return Err(not_installed(unit)),
    };
    Err(
        HostError::from_errno(Operation::Backend, named(unit), errno)
            .detail(format!("cannot start {program}")),
    )
}

fn not_installed(unit: &str) -> HostError {
    let unsupported = Unsupported::new(
        UnsupportedKind::NoBackend,
        "systemctl is not installed on this machine",
    )
    .hint("install the package systemd");
    HostError::not_applicable(Operation::Backend, named(unit), unsupported)
}

/// Converts the output of a failed systemctl into an error.
fn refused(unit: &str, said: &str) -> HostError {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines.collect::<Vec<_>>().join("; ");
    let kind = if said.contains("Access denied") || said.contains("Interactive authentication") {
        HostErrorKind::Denied
    } else {
        HostErrorKind::Other
    };
    let error = HostError::new(Operation::Backend, named(unit), kind);
    if said.is_empty() {
        return error.detail("systemctl failed without a message");
    }
    error
        .detail(format!("systemctl: {said}"))
        .with_hint(format!("see systemctl status {unit}"))
}

/// The state in the properties that `systemctl show` prints (`org.freedesktop.systemd1(5)`).
fn state_of(text: &str) -> Option<ServiceState> {
    let value = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };
    Some(match (value("LoadState")?, value("ActiveState")?) {
        // Running although its file was removed or masked: it can be stopped, and perhaps not started.
        (_, "active" | "activating" | "reloading" | "refreshing" | "maintenance") => {
            ServiceState::Running
        }
        ("not-found" | "error" | "bad-setting", _) => ServiceState::Missing,
        (_, "inactive" | "failed" | "deactivating") => ServiceState::Stopped,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_apart() {
        // `systemctl show --property=LoadState,ActiveState UNIT`, systemd 252.
        for (load, active, state) in [
            ("loaded", "active", ServiceState::Running),
            ("loaded", "activating", ServiceState::Running),
            ("masked", "active", ServiceState::Running),
            ("loaded", "inactive", ServiceState::Stopped),
            ("loaded", "failed", ServiceState::Stopped),
            ("masked", "inactive", ServiceState::Stopped),
            ("not-found", "inactive", ServiceState::Missing),
        ] {
            let text = format!("ActiveState={active}\nLoadState={load}\n");
            assert_eq!(state_of(&text), Some(state), "{text}");
        }
        assert_eq!(state_of(""), None);
        assert_eq!(state_of("LoadState=loaded\nActiveState=new-word\n"), None);
    }

    #[test]
    fn what_systemctl_says_is_told() {
        let error = refused(
            "x.service",
            "Failed to stop x.service: Access denied\nSee system logs\n",
        );
        assert_eq!(*error.kind(), HostErrorKind::Denied);
        assert!(
            error.to_string().contains("Access denied; See system logs"),
            "{error}"
        );
        assert!(
            refused("x.service", "")
                .to_string()
                .contains("without a message")
        );
    }
}
