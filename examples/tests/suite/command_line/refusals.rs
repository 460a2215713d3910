//! Refusals: invalid command lines and roots, missing permissions, and invalid values.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::tree::{GAMING, Ran, Tree, can_be_nobody};

#[test]
fn a_wrong_command_line_names_what_would_be_right() {
    let tree = Tree::new();
    let before = tree.snapshot();
    tree.gaming(&["explain", "vm.swapiness"])
        .refused(2, "vm.swappiness");
    tree.gaming(&["plan", "--with", "everything"])
        .refused(2, "candidates");
    let ran = tree.gaming(&["apply", "--yes", "--only", "sysctls"]);
    ran.refused(2, "'sysctls'");
    tree.gaming(&["apply"]).refused(2, "apply --yes");
    tree.gaming(&["revert"]).refused(2, "revert --yes");
    tree.gaming(&["who-sets", ".."]).refused(2, "'..'");
    let ran = tree.gaming(&["appply"]);
    assert_eq!(ran.exit, 2, "{ran:?}");
    assert!(
        ran.err.contains("appply") && ran.err.contains("apply"),
        "{ran:?}"
    );
    let ran = tree.gaming(&["plan", "--rot", "/"]);
    assert_eq!(ran.exit, 2, "{ran:?}");
    let ran = tree.gaming(&["appply", "--json"]);
    assert_eq!(ran.document()["error"]["exit_code"], 2);
    assert!(tree.snapshot() == before);
}

#[test]
fn a_root_that_is_none_is_refused() {
    let tree = Tree::new();
    let before = tree.snapshot();
    for (root, command) in [
        ("proc/sys/vm/swappiness", "plan"),
        ("not/there", "plan"),
        ("proc/sys/vm/swappiness", "apply"),
        ("not/there", "revert"),
        ("", "verify"),
    ] {
        let root = if root.is_empty() {
            PathBuf::new()
        } else {
            tree.at(root)
        };
        let mut typed = vec![command];
        if command != "plan" && command != "verify" {
            typed.push("--yes");
        }
        let mut gaming = Command::new(GAMING);
        gaming
            .arg("--root")
            .arg(&root)
            .args(&typed)
            .stdin(Stdio::null());
        let ran = Ran::of(&mut gaming);
        if root.as_os_str().is_empty() {
            assert!([2, 3].contains(&ran.exit), "{ran:?}");
        } else {
            ran.refused(3, root.to_str().unwrap());
        }
    }
    assert!(tree.snapshot() == before);
}

#[test]
fn nothing_outside_the_root_is_touched() {
    for target in ["absolute", "relative"] {
        let tree = Tree::new();
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("swappiness");
        std::fs::write(&victim, "60\n").unwrap();
        let knob = tree.at("proc/sys/vm/swappiness");
        std::fs::remove_file(&knob).unwrap();
        let link = match target {
            "absolute" => victim.clone(),
            _ => PathBuf::from("../../../../../../../../../..")
                .join(victim.strip_prefix("/").unwrap()),
        };
        symlink(link, &knob).unwrap();
        let before = tree.snapshot();
        for typed in [
            &["plan"][..],
            &["apply", "--yes"],
            &["verify"],
            &["revert", "--yes"],
        ] {
            let ran = tree.gaming(typed);
            assert!(
                ran.out.contains("vm.swappiness") || typed[0] == "revert",
                "{ran:?}"
            );
            assert_eq!(
                std::fs::read_to_string(&victim).unwrap(),
                "60\n",
                "{typed:?}"
            );
        }
        assert!(tree.snapshot() == before, "{target}");
    }
}

#[test]
fn without_root_a_plan_is_shown_and_nothing_else_done() {
    if !can_be_nobody("without root") {
        return;
    }
    let tree = Tree::new();
    let before = tree.snapshot();
    let ran = tree.gaming_as_nobody(&["plan"]);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.contains("as root"), "{ran:?}");
    let ran = tree.gaming_as_nobody(&["apply", "--yes"]);
    ran.refused(3, "run/hosttune");
    assert!(ran.err.contains("root"), "{ran:?}");
    assert!(tree.snapshot() == before);
    // The same with a journal that only root can read.
    tree.gaming(&["apply", "--yes"]);
    let applied = tree.snapshot();
    let ran = tree.gaming_as_nobody(&["plan"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("only root can read"), "{ran:?}");
    assert_eq!(tree.gaming_as_nobody(&["verify"]).exit, 0);
    for typed in [&["status"][..], &["revert", "--yes"], &["apply", "--yes"]] {
        tree.gaming_as_nobody(typed).refused(3, "hosttune");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
}

#[test]
fn values_nobody_expects_are_reported_and_not_obeyed() {
    for value in [
        "",
        "\u{1b}[2J\u{1b}[31mred",
        "not a number",
        "-99999999999999999999999999999999",
        "60 60",
        "\u{0}",
    ] {
        let tree = Tree::new();
        std::fs::write(tree.at("proc/sys/vm/swappiness"), value).unwrap();
        let before = tree.snapshot();
        let plan = tree.gaming(&["plan"]);
        assert!(!plan.out.contains('\u{1b}'), "{plan:?}");
        tree.gaming(&["apply", "--yes"]);
        tree.gaming(&["revert", "--yes"]);
        if !value.trim().is_empty() {
            assert_eq!(
                tree.shows("vm/swappiness").trim(),
                value.trim(),
                "{value:?}"
            );
        }
        let (mut after, mut before) = (tree.snapshot(), before);
        for snapshot in [&mut after, &mut before] {
            snapshot.remove(Path::new("proc/sys/vm/swappiness"));
        }
        assert!(after == before, "{value:?}");
    }
    // A directory where a value is expected.
    let tree = Tree::new();
    std::fs::remove_file(tree.at("proc/sys/vm/dirty_ratio")).unwrap();
    std::fs::create_dir(tree.at("proc/sys/vm/dirty_ratio")).unwrap();
    let before = tree.snapshot();
    tree.gaming(&["plan"]);
    tree.gaming(&["apply", "--yes"]);
    tree.gaming(&["revert", "--yes"]);
    assert!(tree.snapshot() == before);
}

#[test]
fn bytes_that_are_no_text_go_back_as_they_were_or_are_not_touched() {
    let tree = Tree::new();
    std::fs::write(tree.at("proc/sys/vm/swappiness"), [0xff, 0xfe, 0x0a]).unwrap();
    let before = tree.snapshot();
    tree.gaming(&["plan"]);
    tree.gaming(&["apply", "--yes"]);
    tree.gaming(&["revert", "--yes"]);
    assert!(tree.snapshot() == before);
}
