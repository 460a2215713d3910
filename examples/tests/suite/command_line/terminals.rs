//! The lock, the confirmation at a terminal, and colour.

use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use super::journals::applied;
use super::tree::{Ran, Tree};

#[test]
fn a_second_process_is_told_who_is_at_work() {
    let (tree, _, _) = applied();
    let applied = tree.snapshot();
    let lock = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(tree.at("run/hosttune/lock"))
        .unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    for typed in [&["apply", "--yes"][..], &["revert", "--yes"]] {
        tree.gaming(typed).refused(3, "gaming");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
    let ran = tree.gaming(&["revert", "--yes", "--json"]);
    assert_eq!(ran.document()["outcome"], "refused");
    let begun = std::time::Instant::now();
    tree.gaming(&["apply", "--yes", "--wait", "1"])
        .refused(3, "gaming");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));
    assert!(tree.snapshot() == applied);
    // --wait requires --yes.
    assert_eq!(tree.gaming(&["apply", "--wait", "1"]).exit, 2);
    // Reading takes no lock.
    assert_eq!(tree.gaming(&["plan"]).exit, 0);
    assert_eq!(tree.gaming(&["verify"]).exit, 0);
    let waiting = tree
        .command(&["apply", "--yes", "--wait", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(lock);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
}

/// A pseudoterminal: the user's end and the program's end.
pub(super) fn terminal() -> (std::fs::File, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        // Not the terminal of these tests, which would hang them up at its end.
        .custom_flags(rustix::fs::OFlags::NOCTTY.bits().cast_signed())
        .open(name.to_str().unwrap())
        .unwrap();
    (std::fs::File::from(ours), theirs)
}

#[test]
fn while_one_waits_for_an_answer_the_other_is_refused() {
    let tree = Tree::new();
    let before = tree.snapshot();
    for (answer, exit) in [("n\n", 3), ("y\n", 0)] {
        let (mut ours, theirs) = terminal();
        let child = tree
            .command(&["apply"])
            .stdin(theirs.try_clone().unwrap())
            .stderr(theirs)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut shown = Vec::new();
        while !String::from_utf8_lossy(&shown).contains("[y/N]") {
            let mut byte = [0];
            ours.read_exact(&mut byte).unwrap();
            shown.extend(byte);
        }
        assert!(
            tree.snapshot() == before,
            "it waits, and has changed nothing"
        );
        let second = tree.gaming(&["apply", "--yes"]);
        second.refused(3, &format!("process {}", child.id()));
        ours.write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{out}");
        assert!(out.contains("60 → 100"), "the plan was shown before: {out}");
        assert_eq!(tree.snapshot() == before, exit == 3, "{out}");
    }
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let tree = Tree::new();
    for (term, no_color, coloured) in [
        ("xterm-256color", "", true),
        ("xterm-256color", "1", false),
        ("dumb", "", false),
    ] {
        let (mut ours, theirs) = terminal();
        let mut child = tree
            .command(&["plan"])
            .env("TERM", term)
            .env("NO_COLOR", no_color)
            .stdout(theirs)
            .spawn()
            .unwrap();
        let mut shown = Vec::new();
        // Reading fails with EIO once the program's end is closed.
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = ours.read(&mut bytes) {
            shown.extend_from_slice(&bytes[..count]);
        }
        assert!(child.wait().unwrap().success());
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("vm.swappiness"), "{shown}");
        assert_eq!(
            shown.contains('\u{1b}'),
            coloured,
            "{term} {no_color}: {shown}"
        );
    }
    let mut plain = tree.command(&["plan"]);
    plain.env("LC_ALL", "C");
    let ran = Ran::of(&mut plain);
    assert!(
        ran.out.contains("60 -> 100") && !ran.out.contains('→'),
        "{ran:?}"
    );
    assert!(!ran.out.contains('\u{1b}'), "{ran:?}");
}

#[test]
fn killed_while_it_asks_it_leaves_nothing_behind() {
    let tree = Tree::new();
    let before = tree.snapshot();
    let (mut ours, theirs) = terminal();
    let mut child = tree
        .command(&["apply"])
        .stdin(theirs.try_clone().unwrap())
        .stderr(theirs)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    ours.read_exact(&mut [0; 5]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(tree.snapshot() == before);
    let status = tree.gaming(&["status", "--json"]).document();
    assert_eq!(
        (&status["pending"], &status["open"]),
        (&Value::Array(Vec::new()), &Value::Null)
    );
    assert_eq!(tree.gaming(&["apply", "--yes"]).exit, 0, "the lock is free");
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}
