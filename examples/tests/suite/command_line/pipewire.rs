//! The file for PipeWire on captured trees, and `--user` where it is refused.

use super::tree::{Tree, can_be_nobody, is_root, not_run, run_as_nobody};

const FILE: &str = "etc/pipewire/pipewire.conf.d/92-gaming-latency.conf";

/// A tree with an installed PipeWire.
fn installed() -> Tree {
    let tree = Tree::new();
    tree.put(
        "usr/share/pipewire/pipewire.conf",
        "# for PipeWire version \"1.4.2\" #\ncontext.properties = { }",
    );
    tree
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

const PERSIST: [&str; 3] = ["--persist", "--only", "pipewire"];

#[test]
fn the_file_for_all_users_is_written_and_goes_back() {
    let tree = installed();
    let before = tree.snapshot();
    let plan = tree.gaming(&[&["plan"][..], &PERSIST].concat());
    let said = words(&plan.out);
    for part in [
        "64 frames at 48 kHz: 1.33 ms",
        "whatever programs ask for",
        "750 times a second",
        "Bluetooth",
        "virtual machine",
        "systemctl --user restart pipewire.service",
        "gaming apply --user --persist",
    ] {
        assert!(said.contains(part), "{part}: {plan:?}");
    }
    assert!(tree.snapshot() == before);
    let ran = tree.gaming(&[&["apply", "--yes", "--strict"][..], &PERSIST].concat());
    assert_eq!(ran.exit, 0, "{ran:?}");
    let file = std::fs::read_to_string(tree.at(FILE)).unwrap();
    for key in ["quantum", "min-quantum", "max-quantum"] {
        assert!(
            file.contains(&format!("\"default.clock.{key}\": 64")),
            "{file}"
        );
    }
    assert!(file.contains("\"default.clock.rate\": 48000"), "{file}");
    assert_eq!(tree.gaming(&[&["verify"][..], &PERSIST].concat()).exit, 0);
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}

#[test]
fn a_file_that_wins_is_named_and_a_broken_one_is_too() {
    let tree = installed();
    let theirs = "etc/pipewire/pipewire.conf.d/99-studio.conf";
    tree.put(
        theirs,
        "context.properties = { default.clock.max-quantum = 32 }",
    );
    assert_eq!(
        tree.gaming(&[&["apply", "--yes"][..], &PERSIST].concat())
            .exit,
        0
    );
    let ran = tree.gaming(&[&["verify"][..], &PERSIST].concat());
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(words(&ran.out).contains("99-studio.conf"), "{ran:?}");
    assert!(words(&ran.out).contains("overridden"), "{ran:?}");

    tree.put(theirs, "context.properties = { default.clock.quantum = ");
    let ran = tree.gaming(&[&["verify"][..], &PERSIST].concat());
    assert!(words(&ran.out).contains("99-studio.conf"), "{ran:?}");
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.at(theirs).exists());
    assert!(!tree.at(FILE).exists());
}

#[test]
fn without_pipewire_or_an_option_the_part_is_one_line() {
    let tree = Tree::new();
    let ran = tree.gaming(&["plan", "--strict", "--only", "pipewire"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("1 not applicable"), "{ran:?}");
    assert!(ran.out.contains("PipeWire is not installed"), "{ran:?}");
    let ran = installed().gaming(&["plan", "--only", "pipewire"]);
    assert!(ran.out.contains("nothing to do"), "{ran:?}");
    let said = words(&ran.out);
    assert!(
        said.contains("apply --persist") && said.contains("apply --user"),
        "{ran:?}"
    );
}

#[test]
fn user_is_refused_where_it_has_no_effect() {
    let tree = installed();
    for (typed, exit, named) in [
        (&["plan", "--user"][..], 2, "--root names a tree"),
        (
            &["watch", "--user", "--yes"],
            2,
            "--user has no effect on watch",
        ),
        (&["facts", "--user"], 2, "--user has no effect on facts"),
        (
            &["verify", "--probe"],
            2,
            "--probe has no effect without --user",
        ),
    ] {
        let ran = tree.gaming(typed);
        assert_eq!(ran.exit, exit, "{ran:?}");
        assert!(ran.err.contains(named), "{named}: {ran:?}");
    }
    if !can_be_nobody("--user with other options") {
        return;
    }
    for (typed, named) in [
        (
            &["plan", "--user", "--device", "eth0"][..],
            "--device has no effect with --user",
        ),
        (
            &["plan", "--user", "--with", "candidates"],
            "--with has no effect with --user",
        ),
    ] {
        let ran = run_as_nobody(typed);
        ran.refused(2, named);
    }
}

#[test]
fn root_is_not_the_user_whose_sound_it_is() {
    if !is_root() {
        return not_run("--user for root", "it takes root");
    }
    for command in ["plan", "apply", "verify", "revert", "status"] {
        let mut typed = std::process::Command::new(super::tree::GAMING);
        typed.args(["--user", command]);
        if ["apply", "revert"].contains(&command) {
            typed.arg("--yes");
        }
        // A user's runtime directory that sudo has kept.
        typed.env("XDG_RUNTIME_DIR", "/run/user/1000");
        let ran = super::tree::Ran::of(&mut typed);
        ran.refused(3, "root is another");
        assert!(ran.err.contains("without sudo"), "{ran:?}");
    }
}
