//! Disks that are full or read-only.

use std::process::{Command, Stdio};

use super::tree::{GAMING, Ran, Tree, WANTED, is_root, not_run};

/// Runs a shell script in a mount namespace of its own. `None` if this machine does not permit it.
fn with_mounts(test: &str, tree: &Tree, script: &str) -> Option<Ran> {
    if !is_root() {
        not_run(test, "it takes root to mount a small file system");
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(format!("ROOT=\"$1\" GAMING=\"$2\"\n{script}"))
        .arg("sh")
        .arg(tree.root())
        .arg(GAMING)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            not_run(test, &format!("unshare cannot be started: {error}"));
            return None;
        }
    };
    let ran = Ran {
        exit: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    // The scripts exit with 77 if they cannot mount.
    if ran.exit == 77 || ran.err.starts_with("unshare:") {
        not_run(test, ran.err.trim());
        return None;
    }
    assert!(
        (0..=5).contains(&ran.exit),
        "no documented exit code: {ran:?}"
    );
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    Some(ran)
}

#[test]
fn a_full_disk_leaves_the_host_as_it_was() {
    let mut refused = 0;
    let mut done = 0;
    for kilobytes in [4, 8, 12, 16, 20, 24, 32, 64, 256] {
        let tree = Tree::new();
        let before = tree.snapshot();
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k,mode=755 tmpfs \"$ROOT/run\" || exit 77\n\
             \"$GAMING\" --root \"$ROOT\" apply --yes"
        );
        let Some(ran) = with_mounts("a full disk", &tree, &script) else {
            return;
        };
        if ran.exit == 0 {
            done += 1;
            assert_eq!(tree.shows("vm/swappiness"), "100\n");
        } else {
            refused += 1;
            ran.refused(3, "run/hosttune");
            assert!(ran.err.contains("No space left"), "{ran:?}");
            assert!(tree.snapshot() == before, "{kilobytes}: {ran:?}");
        }
    }
    assert!(
        refused > 0 && done > 0,
        "both cases were met: {refused} and {done}"
    );
}

/// How many records of the revert still fit into the last page of the journal depends on its length, so trees of
/// different sizes are tried.
#[test]
fn a_disk_that_is_full_by_now_does_not_keep_the_host_from_going_back() {
    for without in 0..WANTED.len() - 2 {
        let tree = Tree::new();
        for (key, ..) in &WANTED[..without] {
            std::fs::remove_file(tree.at(&format!("proc/sys/{key}"))).unwrap();
        }
        let before = tree.snapshot();
        let script = "mount -t tmpfs -o size=1m,mode=755 tmpfs \"$ROOT/run\" || exit 77\n\
             \"$GAMING\" --root \"$ROOT\" apply --yes >&2 || exit 4\n\
             cat /dev/zero > \"$ROOT/run/ballast\" 2> /dev/null\n\
             \"$GAMING\" --root \"$ROOT\" revert --yes || exit $?\n\
             test ! -e \"$ROOT/run/hosttune/gaming.journal\"";
        let Some(ran) = with_mounts("a disk that is full by now", &tree, script) else {
            return;
        };
        assert_eq!(ran.exit, 0, "without {without}: {ran:?}");
        assert!(tree.snapshot() == before, "without {without}: {ran:?}");
    }
}

#[test]
fn a_journal_that_cannot_be_removed_is_told_and_has_its_own_exit_code() {
    let tree = Tree::new();
    let before = tree.snapshot();
    // A mount point cannot be removed, but the file is written to as before.
    let script = "JOURNAL=\"$ROOT/run/hosttune/gaming.journal\"\n\
         \"$GAMING\" --root \"$ROOT\" apply --yes >&2 || exit 4\n\
         mount --bind \"$JOURNAL\" \"$JOURNAL\" || exit 77\n\
         \"$GAMING\" --root \"$ROOT\" revert --yes; CODE=$?\n\
         cat \"$ROOT/proc/sys/vm/swappiness\"\n\
         umount \"$JOURNAL\" || exit 4\n\
         test -e \"$JOURNAL\" || exit 4\n\
         \"$GAMING\" --root \"$ROOT\" revert --yes >&2 || exit 4\n\
         test ! -e \"$JOURNAL\" || exit 4\n\
         exit $CODE";
    let Some(ran) = with_mounts("a journal that cannot be removed", &tree, script) else {
        return;
    };
    assert_eq!(ran.exit, 5, "{ran:?}");
    assert!(ran.out.ends_with("\n60\n"), "{ran:?}");
    assert!(
        ran.err
            .contains("the journal could not be cleared: cannot remove"),
        "{ran:?}"
    );
    assert!(ran.err.contains("nothing is left to revert"), "{ran:?}");
    assert!(tree.snapshot() == before, "{ran:?}");
}

#[test]
fn a_read_only_tree_is_refused_and_named() {
    let tree = Tree::new();
    let before = tree.snapshot();
    let script = "mount --bind \"$ROOT\" \"$ROOT\" && mount -o remount,ro,bind \"$ROOT\" || exit 77\n\
         \"$GAMING\" --root \"$ROOT\" apply --yes";
    let Some(ran) = with_mounts("a read-only tree", &tree, script) else {
        return;
    };
    ran.refused(3, "run/hosttune");
    assert!(tree.snapshot() == before);
}
