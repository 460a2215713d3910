//! irqbalance stopped for the time of a run, and until a revert. The unit has its name; what it runs does not matter to
//! systemd.

use std::process::{Command, Stdio};

use hosttune_test_machine::{tell, wait_until};

use super::{INSTALLED, gaming, property, quiet, systemctl};

const UNIT: &str = "irqbalance.service";

/// As the package has it, but for a stop that takes a moment.
const TEXT: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\nExecStop=/usr/bin/sleep 1\n";

const WITH: [&str; 4] = ["--only", "cpu", "--with", "stop-irqbalance"];

fn state() -> String {
    property(UNIT, "ActiveState")
}

fn with(arguments: &[&str]) -> Vec<String> {
    let all = WITH.iter().chain(arguments);
    all.map(|word| (*word).to_owned()).collect()
}

#[track_caller]
fn done(arguments: &[&str]) -> String {
    let all = with(arguments);
    gaming(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

fn started(arguments: &[&str]) -> Command {
    let mut command = quiet(INSTALLED);
    command.args(with(arguments));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

pub(super) fn is_stopped_and_started_again() {
    std::fs::write(format!("/etc/systemd/system/{UNIT}"), TEXT).unwrap();
    systemctl("daemon-reload");
    // One that was stopped before is not started.
    done(&["apply", "--yes"]);
    done(&["verify"]);
    gaming(&["revert", "--yes"]);
    assert_eq!(state(), "inactive");
    systemctl(&format!("start {UNIT}"));

    let said = done(&[
        "run",
        "--",
        "systemctl",
        "show",
        "--value",
        "--property=ActiveState",
        UNIT,
    ]);
    assert!(said.lines().any(|line| line == "inactive"), "{said}");
    assert_eq!(state(), "active");

    done(&["apply", "--yes"]);
    assert_eq!(state(), "inactive");
    done(&["verify"]);
    let said = gaming(&["revert", "--yes"]);
    assert!(said.contains(UNIT), "{said}");
    assert_eq!(state(), "active");

    // The runner is killed: its watchdog starts the service.
    let mut run = started(&[
        "run",
        "--",
        "sh",
        "-c",
        "echo $$ >/run/machine/command; exec sleep 100000",
    ]);
    let mut run = run.spawn().unwrap();
    wait_until("the command runs", || {
        std::fs::read_to_string("/run/machine/command").is_ok_and(|pid| pid.ends_with('\n'))
    });
    assert_eq!(state(), "inactive");
    run.kill().unwrap();
    run.wait().unwrap();
    wait_until("the watchdog has started it", || state() == "active");
    tell("kill $(cat /run/machine/command); rm /run/machine/command");

    // The program is killed in the middle of a stop, which goes on without it.
    let mut apply = started(&["apply", "--yes"]).spawn().unwrap();
    wait_until("it is being stopped", || {
        state() == "deactivating" || state() == "inactive"
    });
    apply.kill().unwrap();
    apply.wait().unwrap();
    gaming(&["revert", "--yes"]);
    assert_eq!(state(), "active");
    systemctl(&format!("stop {UNIT}"));
    tell(&format!("rm /etc/systemd/system/{UNIT}"));
}
