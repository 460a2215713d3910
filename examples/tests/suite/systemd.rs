//! What `hosttune install-units gaming` writes, on a machine whose init is systemd: the helper on its socket, started
//! again after kills, with its hardening in force; the unit that tunes the host at boot, over two boots.

mod boot;
mod helper;
mod installed;
mod service;

use std::path::Path;
use std::process::{Command, Stdio};

use hosttune_test_machine::inside::{for_tests, is_inside, part_ran, run_part, test_name};
use hosttune_test_machine::{
    Kernel, Machine, Snapshot, StateDisk, Subtree, tell, with_stock_kernels,
};

use installed::act_as_hosttune;

with_stock_kernels!(what_install_units_wrote_works, a_host_tuned_at_boot_reverts);

const GAMING: &str = env!("CARGO_BIN_EXE_gaming");
const HOSTTUNED: &str = env!("CARGO_BIN_EXE_hosttuned");

/// Where `gaming` is installed in the machine. `PATH` begins with the build's own programs.
const INSTALLED: &str = "/usr/local/bin/gaming";

/// The environment variable that says which part of a test runs in the machine.
const PART: &str = "HOSTTUNE_TEST_PART";

/// A sysctl that the host changes.
const SHOWS: &str = "/proc/sys/vm/swappiness";

fn shown() -> String {
    std::fs::read_to_string(SHOWS).unwrap().trim().to_owned()
}

fn there() -> Snapshot {
    Snapshot::of(&[
        Subtree::Sysctls,
        Subtree::Processors,
        Subtree::Memory,
        Subtree::Links,
        Subtree::Qdiscs,
    ])
    .except(&[(
        "/sys/devices/system/cpu/hotplug/states",
        "permanently lists the states that the first swap or zram after boot registers",
    )])
}

/// The output of `systemctl` with these arguments, which must succeed.
#[track_caller]
fn systemctl(arguments: &str) -> String {
    tell(&format!("systemctl {arguments}"))
}

/// A property of a unit.
fn property(unit: &str, name: &str) -> String {
    systemctl(&format!("show --value --property {name} {unit}"))
}

/// What the journal has of a unit, for messages.
fn log_of(unit: &str) -> String {
    tell(&format!(
        "journalctl --no-pager --lines 40 --unit {unit} 2>&1 || true"
    ))
}

fn on_systemd(kernel: Kernel, disk: Option<&StateDisk>) -> Machine {
    let machine = for_tests(kernel, "its init is systemd")
        .without_devices()
        .systemd();
    let machine = match disk {
        Some(disk) => machine.state(disk),
        None => machine,
    };
    machine.boot().unwrap()
}

/// All that one boot can show, so that one start is enough.
fn what_install_units_wrote_works(kernel: Kernel) {
    if is_inside() {
        match std::env::var(PART).unwrap().as_str() {
            "hosttune" => return act_as_hosttune(),
            "units" => {
                installed::install();
                helper::is_started_by_its_socket_for_users_of_the_group();
                helper::is_hardened();
                helper::is_started_again_after_a_kill();
                installed::is_accepted_by_systemd();
                service::is_stopped_and_started_again();
                boot::unit_tunes_and_its_stop_reverts_nothing();
                installed::uninstall();
            }
            other => panic!("{other}"),
        }
        return part_ran(&test_name());
    }
    let mut machine = on_systemd(kernel, None);
    run_part(&mut machine, &test_name(), &[(PART, "units")]);
    println!(
        "Linux {kernel}: systemd had started everything after {:.1} s",
        machine.start_took().as_secs_f64()
    );
}

/// Two boots from one disk, each ended as systemd ends one.
fn a_host_tuned_at_boot_reverts(kernel: Kernel) {
    if is_inside() {
        match std::env::var(PART).unwrap().as_str() {
            "hosttune" => return act_as_hosttune(),
            "record" => return boot::record(),
            "first" => {
                installed::install();
                boot::enable(kernel);
            }
            "second" => {
                boot::tuned_the_host_and_reverts_exactly();
                installed::uninstall();
            }
            other => panic!("{other}"),
        }
        return part_ran(&test_name());
    }
    // Two programs of 50 MB are copied to it, twice one of them.
    let disk = StateDisk::of_size(1 << 30).unwrap();
    for part in ["first", "second"] {
        let mut machine = on_systemd(kernel, Some(&disk));
        run_part(&mut machine, &test_name(), &[(PART, part)]);
        machine.power_off().unwrap();
    }
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

/// A program whose output is taken.
fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[track_caller]
fn gaming(arguments: &[&str]) -> String {
    let output = quiet(INSTALLED).args(arguments).output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "gaming {arguments:?}: {said}");
    said
}
