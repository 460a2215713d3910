//! A run that is looked at from another PID namespace, as in a container that shares the directories of the
//! journals: it is never reverted while it may live.

use std::process::{Command, Stdio};

use rustix::process::{Signal, kill_process};

use super::run::{Waiting, is_tuned, nothing_is_left, pid, status, until};
use super::tree::{GAMING, Ran, Tree, not_run};

/// What enters a new PID namespace with a `/proc` of its own.
const ELSEWHERE: [&str; 5] = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"];

/// A command of `gaming` in another PID namespace; `None` where none can be made, which is said.
fn elsewhere(test: &str) -> Option<impl Fn(&Tree, &[&str]) -> Command> {
    let mut tried = Command::new(ELSEWHERE[0]);
    tried.args(&ELSEWHERE[1..]).arg("true");
    match tried.output() {
        Ok(output) if output.status.success() => {}
        _ => {
            not_run(test, "it takes root to make a PID namespace");
            return None;
        }
    }
    Some(|tree: &Tree, typed: &[&str]| {
        let mut command = Command::new(ELSEWHERE[0]);
        command.args(&ELSEWHERE[1..]).arg(GAMING);
        command.arg("--root").arg(tree.root()).args(typed);
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command
    })
}

#[test]
fn a_run_outside_of_this_pid_namespace_is_not_taken_for_dead() {
    let Some(there) = elsewhere("a_run_outside_of_this_pid_namespace_is_not_taken_for_dead") else {
        return;
    };
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let directory = tempfile::tempdir().unwrap();
    let mut one = Waiting::start(&tree, &[], directory.path(), "one");
    let records = std::fs::read(tree.at("run/hosttune/gaming.run.runs")).unwrap();
    let verbs: [&[&str]; 4] = [
        &["status"],
        &["apply", "--yes", "--only", "blockdev"],
        &["revert", "--yes"],
        &["revert", "--yes", "--force"],
    ];
    for typed in verbs {
        let ran = Ran::of(&mut there(&tree, typed));
        assert!(is_tuned(&tree), "{typed:?}: {ran:?}");
        // Something is kept of which it is not known whether it is needed.
        let is_revert = typed[0] == "revert";
        assert_eq!(ran.exit, i32::from(is_revert), "{typed:?}: {ran:?}");
        if is_revert {
            for part in ["cannot be known from this PID namespace", "  try: "] {
                assert!(ran.err.contains(part), "{part}: {ran:?}");
            }
        }
    }
    let ran = Ran::of(&mut there(&tree, &["status"]));
    assert!(
        ran.out.contains("whether it still runs cannot be known"),
        "{ran:?}"
    );
    let seen = Ran::of(&mut there(&tree, &["status", "--json"])).document();
    assert_eq!(seen["runs"][0]["is_known_to_run"], false, "{seen:#}");
    // A run there ends before this one.
    let output = there(&tree, &["run", "--only", "cpu", "--", "true"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(is_tuned(&tree), "{output:?}");
    assert_eq!(
        std::fs::read(tree.at("run/hosttune/gaming.run.runs")).unwrap(),
        records
    );
    assert_eq!(status(&tree)["runs"][0]["is_known_to_run"], true);
    one.let_end();
    assert!(one.child.wait().unwrap().success());
    nothing_is_left(&tree, &before);
}

/// The host sees the processes of its containers, under other numbers.
#[test]
fn a_run_in_a_pid_namespace_beneath_is_seen() {
    let test = "a_run_in_a_pid_namespace_beneath_is_seen";
    let Some(there) = elsewhere(test) else {
        return;
    };
    let own = rustix::fs::readlink("/proc/self/ns/pid", Vec::new());
    if own.map(std::ffi::CString::into_bytes) != Ok(b"pid:[4026531836]".to_vec()) {
        not_run(
            test,
            "only in the initial PID namespace all processes are seen",
        );
        return;
    }
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let directory = tempfile::tempdir().unwrap();
    let (end, begun) = (directory.path().join("end"), directory.path().join("begun"));
    let script = "touch \"$2\"; while [ -e \"$2\" ] && ! [ -e \"$1\" ]; do sleep 0.02; done";
    let words = ["run", "--", "sh", "-c", script, "sh"];
    let mut child = there(&tree, &words).arg(&end).arg(&begun).spawn().unwrap();
    until("the command runs", || begun.exists());
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(is_tuned(&tree), "{ran:?}");
    assert_eq!(status(&tree)["runs"][0]["is_known_to_run"], true);
    // The container is killed as a whole, with the watchdog.
    let text = tree.gaming(&["status"]).out;
    assert!(!text.contains("cannot be known"), "{text}");
    let init = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let init: i64 = init.trim().parse().unwrap();
    kill_process(pid(&init.into()), Signal::KILL).unwrap();
    child.wait().unwrap();
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    nothing_is_left(&tree, &before);
}
