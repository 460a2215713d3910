//! systemd through `systemctl`, which talks to it by D-Bus over a socket of its own, without a message bus.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use hosttune_core::{
    HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind, child_guard,
};
use rustix::io::Errno;

use crate::{ServiceManager, ServiceState};

/// The paths of systemctl. `PATH` is not searched, because the caller may have set it.
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
        let output = started(unit, &["show", properties, "--", unit], Stdio::null())?;
        state_of(&String::from_utf8_lossy(&output.stdout))
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
    let arguments = ["--no-ask-password", verb, "--", unit];
    started(unit, &arguments, child_guard::stdin()).map(drop)
}

/// The output of a systemctl that succeeded.
fn started(unit: &str, arguments: &[&str], input: Stdio) -> Result<Output, HostError> {
    let mut input = Some(input);
    for program in PROGRAMS {
        if rustix::fs::stat(program).is_err() {
            continue;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "systemctl is the client of systemd's own D-Bus socket; a D-Bus library would be some thirty crates for three calls"
        )]
        let mut command = Command::new(program);
        let output = command
            // Ctrl-C signals the foreground process group. In its own group, systemctl waits for the job, and
            // the caller stops after that.
            .process_group(0)
            .env_clear()
            .args(arguments)
            .stdin(input.take().unwrap_or_else(Stdio::null))
            .output();
        return match output {
            Ok(output) if output.status.success() => Ok(output),
            Ok(output) => Err(refused(unit, &String::from_utf8_lossy(&output.stderr))),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
                Err(
                    HostError::from_errno(Operation::Backend, named(unit), errno)
                        .detail(format!("cannot start {program}")),
                )
            }
        };
    }
    let unsupported = Unsupported::new(
        UnsupportedKind::NoBackend,
        "systemctl is not installed on this machine",
    )
    .hint("install the package systemd");
    Err(HostError::not_applicable(
        Operation::Backend,
        named(unit),
        unsupported,
    ))
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
