//! Commands that run while a daemon holds a power profile for them: a real message bus in the tree, and a fake of the
//! daemon on it.

use std::path::PathBuf;

use hosttune_run::power_profile::fake::{FakeDaemon, PrivateBus};
use rustix::process::{Signal, kill_process};

use super::run::{Waiting, nothing_is_left, run, status, until};
use super::tree::{Snapshot, Tree};

/// The daemon is waited for a fifth of this, so that a busy machine changes nothing.
const PATIENT: [&str; 2] = ["--wait", "300"];

const GOVERNOR: &str = "sys/devices/system/cpu/cpufreq/policy0/scaling_governor";

/// A tree with a bus.
struct Place {
    tree: Tree,
    before: Snapshot,
    socket: PathBuf,
    _bus: PrivateBus,
    files: tempfile::TempDir,
}

fn place(test: &str) -> Option<Place> {
    let tree = Tree::with_devices();
    std::fs::create_dir_all(tree.at("run/dbus")).unwrap();
    let before = tree.snapshot();
    let socket = tree.at("run/dbus/system_bus_socket");
    let Some(bus) = PrivateBus::start(&socket).unwrap() else {
        eprintln!("not run: {test}: dbus-daemon is not installed");
        return None;
    };
    Some(Place {
        tree,
        before,
        socket,
        _bus: bus,
        files: tempfile::tempdir().unwrap(),
    })
}

impl Place {
    fn governor(&self) -> String {
        let text = std::fs::read_to_string(self.tree.at(GOVERNOR)).unwrap();
        text.trim().to_owned()
    }

    fn waiting(&self, name: &str) -> Waiting {
        Waiting::start(&self.tree, &PATIENT, self.files.path(), name)
    }
}

/// What the daemon owns is not written, and the hold ends with the command or with its runner.
#[test]
fn what_a_daemon_holds_is_left_to_it() {
    let Some(place) = place("what_a_daemon_holds_is_left_to_it") else {
        return;
    };
    let original = place.governor();
    // Nobody owns power profiles: the governor is set.
    let mut waiting = place.waiting("without");
    assert_eq!(place.governor(), "performance");
    assert_eq!(
        status(&place.tree)["runs"][0]["power_profile"],
        serde_json::Value::Null
    );
    waiting.let_end();
    waiting.child.wait().unwrap();
    let daemon = FakeDaemon::start(&place.socket, false).unwrap();
    let mut waiting = place.waiting("with");
    assert_eq!(place.governor(), original);
    assert_eq!(daemon.profiles().active(), "performance");
    let document = status(&place.tree);
    assert_eq!(
        document["runs"][0]["power_profile"],
        "performance at org.freedesktop.UPower.PowerProfiles"
    );
    let shown = place.tree.gaming(&["status"]).out;
    assert!(
        shown.contains("holds the power profile performance"),
        "{shown}"
    );
    // Each of two runs has its own hold.
    let mut second = place.waiting("second");
    assert_eq!(daemon.profiles().holds.len(), 2);
    waiting.let_end();
    waiting.child.wait().unwrap();
    assert_eq!(daemon.profiles().holds.len(), 1);
    // A killed runner: the bus sees its connection end, and the watchdog reverts the rest.
    kill_process(second.runner(), Signal::KILL).unwrap();
    second.child.wait().unwrap();
    second.let_end();
    until("the hold has ended", || daemon.profiles().holds.is_empty());
    let records = place.tree.at("run/hosttune/gaming.run.runs");
    until("the watchdog has reverted", || !records.exists());
    assert_eq!(daemon.profiles().active(), "balanced");
    // Without the part that the profile stands for, nothing is held.
    let count = daemon.profiles().count;
    let output = run(
        &place.tree,
        &["--only", "sysctl", "--wait", "300"],
        &["true"],
    )
    .output()
    .unwrap();
    assert!(output.status.success(), "{output:?}");
    // What would be held is told, and is not.
    let explained =
        place
            .tree
            .gaming(&["run", "--wait", "300", "--explain", "--json", "--", "true"]);
    let document = explained.document();
    assert_eq!(
        document["command"]["power_profile"],
        "performance at org.freedesktop.UPower.PowerProfiles"
    );
    assert!(
        !document["plan"].to_string().contains("scaling_governor"),
        "{document}"
    );
    assert_eq!(daemon.profiles().count, count);
    nothing_is_left(&place.tree, &place.before);
}

/// A daemon that refuses, or a user who chooses a profile meanwhile.
#[test]
fn a_profile_that_is_not_held_is_said() {
    let Some(place) = place("a_profile_that_is_not_held_is_said") else {
        return;
    };
    let daemon = FakeDaemon::start(&place.socket, true).unwrap();
    let mut command = run(
        &place.tree,
        &PATIENT,
        &[
            "sh",
            "-c",
            "touch \"$1\"; while ! [ -e \"$2\" ]; do sleep 0.02; done",
            "sh",
        ],
    );
    let (begun, end) = (
        place.files.path().join("begun"),
        place.files.path().join("end"),
    );
    let child = command
        .args([&begun, &end])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("the command runs", || begun.exists());
    daemon.choose("power-saver");
    std::fs::write(&end, "").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("was not held until the end"), "{said}");
    assert_eq!(daemon.profiles().active(), "power-saver");
    // The governor is set then, as without the daemon.
    daemon.only(&["balanced"]);
    let shown = place.tree.at(GOVERNOR);
    let output = run(&place.tree, &PATIENT, &["cat", shown.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"performance\n", "{said}");
    assert!(
        said.contains("is not held") && said.contains("not available"),
        "{said}"
    );
    nothing_is_left(&place.tree, &place.before);
}

/// A program that offers no hold is named, by its service.
#[test]
fn what_sets_governors_by_itself_is_named() {
    let tree = Tree::with_devices();
    let planned = || tree.gaming(&["plan", "--only", "cpu"]).out;
    assert!(!planned().contains("sets the governor too"));
    std::fs::create_dir_all(tree.at("sys/fs/cgroup/system.slice/auto-cpufreq.service")).unwrap();
    let unified = "sys/fs/cgroup/unified/system.slice/tuned.service";
    std::fs::create_dir_all(tree.at(unified)).unwrap();
    let shown = planned();
    for expected in [
        "auto-cpufreq runs and sets the governor too, every few seconds",
        "systemctl stop tuned",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
}
