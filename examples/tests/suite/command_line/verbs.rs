//! What each command does, and that a revert restores everything.

use serde_json::Value;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::tree::{DEVICES, Tree, WANTED, device, is_root, not_run, place};

#[test]
fn a_plan_leaves_the_tree_as_it_was() {
    let tree = Tree::new();
    let before = tree.snapshot();
    for typed in [
        &[][..],
        &["plan"],
        &["plan", "--json"],
        &["verify"],
        &["status"],
    ] {
        let ran = tree.gaming(typed);
        let drifted = i32::from(typed == ["verify"]);
        assert_eq!(
            (ran.exit, ran.err.as_str()),
            (drifted, ""),
            "{typed:?}: {ran:?}"
        );
        assert!(tree.snapshot() == before, "{typed:?}");
        assert!(!tree.at("run/hosttune").exists(), "{typed:?}");
        assert!(!tree.at("var/lib/hosttune").exists(), "{typed:?}");
    }
    let text = tree.gaming(&[]).out;
    assert!(text.starts_with("gaming on Linux 6.12.0-test"), "{text}");
    assert!(text.contains("vm.swappiness"), "{text}");
    assert!(text.contains("60 → 100"), "{text}");
}

#[test]
fn the_plan_is_the_profile() {
    let tree = Tree::new();
    let document = tree.gaming(&["plan", "--json"]).document();
    let mut planned: Vec<(String, String)> = document["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            let text = |field: &str| step[field].as_str().unwrap().to_owned();
            assert!(!text("why").is_empty(), "no reason: {step}");
            (text("knob").replace('.', "/"), text("to"))
        })
        .collect();
    planned.sort();
    let mut wanted: Vec<(String, String)> = WANTED
        .iter()
        .filter(|(_, before, after)| before != after)
        .map(|(key, _, after)| ((*key).to_owned(), (*after).to_owned()))
        .collect();
    wanted.sort();
    assert_eq!(planned, wanted);
    let with = tree.gaming(&["plan", "--json", "--with", "candidates"]);
    let more = with.document()["steps"].as_array().unwrap().len();
    assert_eq!(more, planned.len() + 2, "{with:?}");
}

#[test]
fn apply_and_revert_leave_the_tree_as_it_was() {
    let tree = Tree::new();
    let before = tree.snapshot();
    assert_eq!(tree.gaming(&["plan", "--exit-code"]).exit, 1);
    let ran = tree.gaming(&["apply", "--yes"]);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    for (key, _, after) in WANTED {
        assert_eq!(tree.value(key), after, "{key}");
    }
    assert_eq!(tree.gaming(&["verify"]).exit, 0);
    assert_eq!(tree.gaming(&["plan", "--exit-code"]).exit, 0);
    let again = tree.gaming(&["apply", "--yes", "--json"]);
    assert_eq!(again.document()["outcome"], "nothing-to-do");
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(tree.snapshot() == before);
    let ran = tree.gaming(&["revert", "--yes", "--json"]);
    assert_eq!(ran.document()["outcome"], "nothing-to-do");
}

#[test]
fn disks_processors_and_memory_are_tuned_and_go_back() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let plan = tree.gaming(&["plan", "--json"]).document();
    let changed = plan["steps"].as_array().unwrap().iter();
    let parts = |part: &str| {
        let of = |step: &&Value| step["part"].as_str().unwrap().starts_with(part);
        changed.clone().filter(of).count()
    };
    assert_eq!(
        (parts("blockdev"), parts("cpu"), parts("memory")),
        (1, 2, 1),
        "{plan:#}"
    );
    let notes = plan["notes"].to_string();
    assert!(notes.contains("rule nvme matches nvme0n1"), "{notes}");
    assert!(
        notes.contains("rule solid-state skipped sdb: rotational is true"),
        "{notes}"
    );
    let ran = tree.gaming(&["apply", "--yes"]);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    for (name, _, after) in DEVICES {
        let shown = std::fs::read_to_string(tree.at(&device(name))).unwrap();
        assert_eq!(shown.trim_end(), after, "{name}");
    }
    assert_eq!(tree.gaming(&["verify"]).exit, 0);
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(tree.snapshot() == before);
}

/// A udev rule calls the program like this for a hot-plugged disk.
#[test]
fn one_disk_is_tuned_by_its_path() {
    let tree = Tree::with_devices();
    std::fs::create_dir_all(tree.at("dev/disk/by-id")).unwrap();
    symlink("../../sda", tree.at("dev/disk/by-id/ata-x")).unwrap();
    symlink(format!("../../devices/{}/sda1", place("sda")), {
        std::fs::create_dir_all(tree.at("sys/class/block")).unwrap();
        tree.at("sys/class/block/sda1")
    })
    .unwrap();
    tree.put(
        &device("nvme0n1/queue/scheduler"),
        "none mq-deadline kyber [bfq]",
    );
    let before = tree.snapshot();
    let only = |device: &'static str| ["--only", "blockdev", "--device", device, "--yes"];
    for device in ["/dev/sda", "/dev/disk/by-id/ata-x"] {
        let ran = tree.gaming(&[&["apply"][..], &only(device)].concat());
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
        let changed = tree.snapshot();
        let changed: Vec<&PathBuf> = changed
            .iter()
            .filter(|(path, seen)| before.get(*path) != Some(seen))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert!(changed[0].ends_with("sda/queue/scheduler"));
        assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
        assert!(tree.snapshot() == before);
    }
    let ran = tree.gaming(&[&["apply"][..], &only("/dev/sda1")].concat());
    ran.refused(3, "/dev/sda1 is a partition of sda");
    assert!(ran.err.contains("use /dev/sda"), "{ran:?}");
    let ran = tree.gaming(&[&["apply"][..], &only("/dev/sdz")].concat());
    ran.refused(3, "/dev/sdz is not a block device");
    assert!(tree.snapshot() == before);
}

#[test]
fn candidates_and_persisting_go_back_too() {
    if !is_root() {
        not_run("persisting", "it takes root to make files that are root's");
        return;
    }
    let tree = Tree::new();
    let before = tree.snapshot();
    let ran = tree.gaming(&["apply", "--yes", "--persist", "--with", "candidates"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(
        tree.snapshot().len() > before.len(),
        "nothing was made to stay: {ran:?}"
    );
    assert_eq!(
        tree.gaming(&["verify", "--persist", "--with", "candidates"])
            .exit,
        0
    );
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(tree.snapshot() == before);
}

#[test]
fn what_somebody_else_has_set_is_left_unless_forced() {
    let tree = Tree::new();
    let before = tree.snapshot();
    tree.gaming(&["apply", "--yes"]);
    tree.show("vm/swappiness", "7");
    assert_eq!(tree.gaming(&["verify"]).exit, 1);
    let ran = tree.gaming(&["revert", "--yes", "--json"]);
    assert_eq!(ran.exit, 1, "{ran:?}");
    let document = ran.document();
    assert_eq!(document["outcome"], "not-reverted");
    let left = &document["not_reverted"][0];
    assert_eq!(left["knob"], "vm.swappiness");
    assert_eq!(
        (&left["ours"], &left["original"], &left["seen"]),
        (&"100".into(), &"60".into(), &"7".into())
    );
    assert_eq!(tree.shows("vm/swappiness"), "7\n");
    assert_eq!(
        tree.shows("vm/dirty_ratio"),
        "20\n",
        "everything else goes back"
    );
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 1);
    assert!(ran.out.contains("revert --force"), "{ran:?}");
    let ran = tree.gaming(&["revert", "--yes", "--force", "--json"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(ran.document()["changed"][0]["replaced"], "7");
    assert!(tree.snapshot() == before);
    // The value that was there, and not the one that gaming had set.
    tree.gaming(&["apply", "--yes"]);
    tree.show("vm/swappiness", "7");
    let ran = tree.gaming(&["revert", "--yes", "--force"]);
    let swappiness = ran.out.lines().find(|line| line.contains("vm.swappiness"));
    assert!(swappiness.unwrap().contains("7 → 60"), "{ran:?}");
}

#[test]
fn what_does_not_apply_fails_nothing_unless_strict() {
    let tree = Tree::new();
    tree.show("net/ipv4/tcp_available_congestion_control", "reno cubic");
    std::fs::remove_file(tree.at("proc/sys/kernel/split_lock_mitigate")).unwrap();
    let before = tree.snapshot();
    let plan = tree
        .gaming(&["plan", "--json", "--only", "sysctl"])
        .document();
    let unsupported = plan["not_applicable"].as_array().unwrap();
    assert_eq!(unsupported.len(), 2, "{unsupported:?}");
    assert_eq!(unsupported[0]["module"], "tcp_bbr");
    let strict = tree.gaming(&["apply", "--yes", "--strict"]);
    assert_eq!(strict.exit, 3, "{strict:?}");
    assert!(tree.snapshot() == before);
    let ran = tree.gaming(&["apply", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(tree.shows("net/ipv4/tcp_congestion_control"), "cubic\n");
    assert_eq!(tree.gaming(&["verify"]).exit, 0);
    assert_eq!(tree.gaming(&["verify", "--strict"]).exit, 1);
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}

#[test]
fn explain_and_who_sets_answer() {
    let tree = Tree::new();
    std::fs::write(
        tree.at("usr/lib/sysctl.d/50-x.conf"),
        "# x\nvm.swappiness = 10\n",
    )
    .unwrap();
    let ran = tree.gaming(&["explain", "vm.swappiness"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("may look wrong"), "{}", ran.out);
    assert!(ran.out.contains("intentional because"), "{}", ran.out);
    let slashes = tree
        .gaming(&["explain", "vm/swappiness", "--json"])
        .document();
    assert_eq!(slashes["knob"], "vm.swappiness");
    assert!(slashes["catalogue"]["meaning"].is_string(), "{slashes:#}");
    let ran = tree.gaming(&["who-sets", "vm.swappiness", "--json"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(
        ran.document()["winner"]["file"],
        "/usr/lib/sysctl.d/50-x.conf"
    );
    assert_eq!(ran.document()["winner"]["line"], 2);
}

/// The kernel prints tabs between the numbers of a vector, so captured trees contain them.
#[test]
fn what_was_captured_with_tabs_goes_back_with_tabs() {
    let tree = Tree::new();
    tree.show("net/ipv4/tcp_rmem", "4096\t131072\t6291456");
    tree.show("net/ipv4/tcp_wmem", "4096\t16384\t4194304");
    let before = tree.snapshot();
    assert_eq!(tree.gaming(&["apply", "--yes"]).exit, 0);
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert_eq!(tree.shows("net/ipv4/tcp_rmem"), "4096\t131072\t6291456\n");
    assert!(tree.snapshot() == before);
}
