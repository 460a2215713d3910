//! Exit codes and messages of what is rarely typed: a trial that is not there, a wrong command line of `run`, a
//! journal of ended runs that is refused, text that is not seen, and a plan in a user namespace.

use std::process::Command;

use rustix::process::{Signal, kill_process};

use super::run::{Waiting, is_tuned, pid, status};
use super::tree::{Tree, can_be_nobody, not_run, run_by_as_nobody};

#[test]
fn a_trial_that_is_not_there_is_nothing_to_revert() {
    let tree = Tree::with_devices();
    for typed in [&["revert", "--yes"][..], &["status"]] {
        let ran = tree.gaming(&[typed, &["--only", "trial"]].concat());
        assert_eq!(ran.exit, 0, "{ran:?}");
        let says = ["nothing to revert", "no changes in effect"];
        assert!(says.iter().any(|says| ran.out.contains(says)), "{ran:?}");
    }
    tree.gaming(&["revert", "--yes", "--only", "trail"])
        .refused(2, "trial");
}

/// What the command's launcher sees is never one of this program's own codes, as with `env(1)`.
#[test]
fn a_wrong_command_line_of_run_ends_as_that_of_env_does() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let wrong: [&[&str]; 8] = [
        &["run"],
        &["run", "--nice", "70", "--", "true"],
        &["run", "--no-such-option", "--", "true"],
        &["--no-such-option", "run", "--", "true"],
        &["run", "--with", "everything", "--", "true"],
        &["run", "--persist", "--", "true"],
        &["run", "--json", "--", "true"],
        &["--json", "run", "--latency", "x", "--", "true"],
    ];
    for typed in wrong {
        let output = tree.command(typed).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{typed:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{typed:?}");
        assert!(output.stdout.is_empty(), "{typed:?}: {output:?}");
    }
    let reference = Command::new("env")
        .arg("--no-such-option")
        .output()
        .unwrap();
    assert_eq!(reference.status.code(), Some(125));
    // What only explains is a command of this program.
    for typed in [
        &["run", "--explain"][..],
        &["run", "--explain", "--nice", "70", "--", "true"],
        &["run", "--explain", "--with", "everything", "--", "true"],
        &["rum", "--", "true"],
    ] {
        assert_eq!(tree.gaming(typed).exit, 2, "{typed:?}");
    }
    assert_eq!(tree.gaming(&["run", "--help"]).exit, 0);
    assert!(tree.snapshot() == before);
}

#[test]
fn what_ended_runs_have_left_and_cannot_be_reverted_is_not_done() {
    let tree = Tree::with_devices();
    let directory = tempfile::tempdir().unwrap();
    let mut one = Waiting::start(&tree, &[], directory.path(), "one");
    let record = &status(&tree)["runs"][0];
    let (watchdog, command) = (pid(&record["watchdog"]), pid(&record["pid"]));
    // The runner is stopped first, so that it does not replace the watchdog.
    kill_process(one.runner(), Signal::STOP).unwrap();
    for process in [watchdog, one.runner(), command] {
        kill_process(process, Signal::KILL).unwrap();
    }
    one.child.wait().unwrap();
    let journal = tree.at("run/hosttune/gaming.run.journal");
    let kept = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &kept[..kept.len() / 2]).unwrap();
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 4, "{ran:?}");
    let says = "what runs that have ended left could not be reverted";
    assert_eq!(ran.err.matches(says).count(), 1, "{ran:?}");
    assert!(ran.err.contains("gaming.run.journal"), "{ran:?}");
    let ran = tree.gaming(&["revert", "--yes", "--json"]);
    assert_eq!(ran.exit, 4, "{ran:?}");
    let document = ran.document();
    assert_eq!(document["outcome"], "rollback-incomplete", "{document:#}");
    assert_eq!(document["error"]["exit_code"], 4, "{document:#}");
    assert!(is_tuned(&tree));
    std::fs::write(&journal, &kept).unwrap();
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(!is_tuned(&tree));
}

/// One value cannot look like another, or like a line of this program.
#[test]
fn text_that_is_not_seen_or_turned_around_is_escaped() {
    let tree = Tree::with_devices();
    assert_eq!(tree.gaming(&["apply", "--yes", "--only", "sysctl"]).exit, 0);
    tree.show("net/core/default_qdisc", "\u{202e}qf\u{202c}\u{200b}");
    for typed in [&["status"][..], &["revert", "--yes"]] {
        let ran = tree.gaming(typed);
        assert!(ran.out.contains("\\u{202e}qf"), "{ran:?}");
        let hidden = ['\u{202e}', '\u{202c}', '\u{200b}'];
        assert!(!(ran.out + &ran.err).contains(hidden), "{typed:?}");
    }
}

/// Root of a user's own namespace is not root of the machine: no key of the machine is promised.
#[test]
fn a_plan_in_a_user_namespace_promises_no_key_of_the_machine() {
    let test = "a_plan_in_a_user_namespace_promises_no_key_of_the_machine";
    // Root of the machine that makes one stays the user whom the kernel asks for.
    if !can_be_nobody(test) {
        return;
    }
    let plan = ["plan", "--json", "--only", "sysctl"];
    // Journals of the machine would be another user's there.
    let inside = "mount -t tmpfs none /run && mount -t tmpfs none /var/lib && exec \"$@\"";
    let enter = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        inside,
        "sh",
    ];
    let ran = run_by_as_nobody(&enter, &plan);
    if ran.out.is_empty() {
        return not_run(test, "no user namespace can be made here");
    }
    let document = ran.document();
    // Not even one of `net`: the network namespace is the machine's.
    assert_eq!(document["steps"], serde_json::json!([]), "{document:#}");
    let confined = document["not_applicable"].to_string();
    // Where something is to be done at all, and a container has not mounted the keys read-only.
    let outside = run_by_as_nobody(&[], &plan).document();
    assert!(
        outside["steps"] == document["steps"]
            || confined.contains("it is not of this user namespace"),
        "{document:#}"
    );
}
