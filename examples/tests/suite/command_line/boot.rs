//! The part `boot` on captured trees of Debian with GRUB: the file that keeps kernel parameters, and trials.
//!
//! A boot is what GRUB's generated script does, written here: `next_entry` is emptied and the entry of that id is
//! started, or the first one with the line that `grub-mkconfig` would have generated.

use std::os::unix::fs::{PermissionsExt, symlink};

use hosttune::boot::boot_once::EnvironmentBlock;
use hosttune_test_machine::{At, Kills, Traced};

use super::documents::assert_keeps;
use super::tree::{GAMING, Ran, Tree, can_be_nobody, not_run};

const MENU: &str = include_str!("../../../../crates/boot/tests/grub/debian-12.cfg");
const FEDORA_MENU: &str = include_str!("../../../../crates/boot/tests/grub/fedora-41.cfg");
const FILE: &str = "etc/default/grub.d/zz-hosttune-gaming.cfg";
const CUSTOM: &str = "boot/grub/custom.cfg";
const BLOCK: &str = "boot/grub/grubenv";
const FIRST_BOOT: &str = "7c9d9d1e-9a6c-4d0b-8a4e-0123456789ab";
const LINE: &str = "BOOT_IMAGE=/boot/vmlinuz-6.12.0-1-amd64 root=UUID=0a3e1f52-5a0c-4bb3-9f7e-6a3d1c0b7e11 ro quiet";
const TOASTER: &str = env!("CARGO_BIN_EXE_toaster");
const TRY: [&str; 6] = [
    "apply",
    "--yes",
    "--persist",
    "--try-boot",
    "--only",
    "boot",
];

fn debian() -> Tree {
    let tree = Tree::new();
    for (path, text) in [
        ("proc/cmdline", LINE),
        (
            "proc/self/mountinfo",
            "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw",
        ),
        ("boot/grub/grub.cfg", MENU.trim_end()),
        ("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\""),
        ("etc/initramfs-tools/initramfs.conf", "MODULES=most"),
        ("usr/sbin/update-initramfs", "#!/bin/sh\nmkinitramfs"),
        (
            "usr/sbin/grub-mkconfig",
            "for x in ${sysconfdir}/default/grub.d/*.cfg ; do",
        ),
    ] {
        tree.put(path, text);
    }
    std::fs::create_dir_all(tree.at("etc/default/grub.d")).unwrap();
    std::fs::create_dir_all(tree.at("sys/dev/block")).unwrap();
    let disk = "../../devices/pci0000:00/0000:00:17.0/ata1/block/sda/sda1";
    symlink(disk, tree.at("sys/dev/block/8:1")).unwrap();
    tree
}

fn read(tree: &Tree, path: &str) -> String {
    std::fs::read_to_string(tree.at(path)).unwrap_or_default()
}

/// The first entry's line after update-grub.
fn generated(tree: &Tree) -> String {
    let kept = read(tree, FILE);
    let added = kept.lines().last().and_then(|line| {
        let added =
            line.strip_prefix("GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT ")?;
        added.strip_suffix('"')
    });
    match added {
        Some(added) => format!("{LINE} {added}"),
        None => LINE.to_owned(),
    }
}

/// Starts the tree's machine again; the boot has this number.
fn boot(tree: &Tree, number: u32) {
    let mut line = generated(tree);
    if let Ok(bytes) = std::fs::read(tree.at(BLOCK)) {
        let mut block = EnvironmentBlock::parse(&bytes).unwrap();
        let next = block.get("next_entry").unwrap_or_default();
        if !next.is_empty() {
            block.set("next_entry", "").unwrap();
            std::fs::write(tree.at(BLOCK), block.bytes()).unwrap();
            let custom = read(tree, CUSTOM);
            let id = format!("--id '{}'", String::from_utf8(next).unwrap());
            let entry = custom.split_once(&id).unwrap().1;
            let linux = entry
                .lines()
                .find_map(|line| line.trim().strip_prefix("linux\t"));
            line = format!("BOOT_IMAGE={}", linux.unwrap());
        }
    }
    tree.put("proc/cmdline", &line);
    let id = format!("{number:08}-9a6c-4d0b-8a4e-0123456789ab");
    tree.put("proc/sys/kernel/random/boot_id", &id);
    // What the kernel and /run had is gone.
    let _ = std::fs::remove_dir_all(tree.at("run/hosttune"));
}

fn done(ran: Ran) -> String {
    assert_eq!(ran.exit, 0, "{ran:?}");
    ran.out
}

#[test]
fn kernel_parameters_are_kept_in_a_file_and_a_boot_decides() {
    let tree = debian();
    let before = tree.snapshot();
    let told = done(tree.gaming(&["plan", "--only", "boot"]));
    assert!(told.contains("gaming plan --persist shows them"), "{told}");
    let typed = ["--persist", "--only", "boot"];
    let told = done(tree.gaming(&[&["plan"], &typed[..]].concat()));
    for said in [FILE, "run update-grub", "a security trade-off"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(tree.snapshot() == before);
    done(tree.gaming(&[&["apply", "--yes"], &typed[..]].concat()));
    assert!(read(&tree, FILE).ends_with(
        "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT mitigations=off nmi_watchdog=0 transparent_hugepage=madvise\"\n"
    ));
    let plan = tree.gaming(&[&["plan", "--json"], &typed[..]].concat());
    assert_eq!(plan.document()["steps"].as_array().unwrap().len(), 0);
    let verified = tree.gaming(&[&["verify"], &typed[..]].concat());
    assert!(verified.out.contains("pending"), "{verified:?}");
    boot(&tree, 2);
    let verified = tree.gaming(&[&["verify"], &typed[..]].concat());
    assert_eq!(verified.exit, 0, "{verified:?}");
    assert!(!verified.out.contains("pending"), "{verified:?}");
    // One more parameter, and another program's file that sets the line anew.
    done(tree.gaming(&[&["apply", "--yes", "--with", "candidates"], &typed[..]].concat()));
    assert!(read(&tree, FILE).contains(" skew_tick=1\""));
    tree.put(
        "etc/default/grub.d/zzz.cfg",
        "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"",
    );
    let verified = tree.gaming(&[&["verify", "--with", "candidates"], &typed[..]].concat());
    assert_eq!(verified.exit, 1, "{verified:?}");
    assert!(
        verified.out.contains("etc/default/grub.d/zzz.cfg:1"),
        "{verified:?}"
    );
    std::fs::remove_file(tree.at("etc/default/grub.d/zzz.cfg")).unwrap();
    done(tree.gaming(&["revert", "--yes"]));
    boot(&tree, 3);
    tree.put("proc/sys/kernel/random/boot_id", FIRST_BOOT);
    assert!(tree.snapshot() == before);
}

#[test]
fn a_trial_is_kept_only_in_the_boot_that_tries_it() {
    let tree = debian();
    let before = tree.snapshot();
    let told = done(tree.gaming(&["plan", "--persist", "--try-boot", "--only", "boot"]));
    for said in [
        "next_entry in /boot/grub/grubenv",
        "emergency.target",
        "gaming confirm",
        "hangs",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(tree.snapshot() == before);
    tree.gaming(&["apply", "--yes", "--try-boot"])
        .refused_usage("--persist");
    tree.gaming(&["revert", "--yes", "--try-boot"])
        .refused_usage("--try-boot has no effect");
    let others = [
        "apply",
        "--yes",
        "--persist",
        "--try-boot",
        "--only",
        "sysctl",
    ];
    tree.gaming(&others).refused(2, "--only does not name boot");
    tree.gaming(&["confirm"]).refused(2, "--yes");
    tree.gaming(&["confirm", "--yes"])
        .refused(3, "no kernel parameters are tried");

    done(tree.gaming(&TRY));
    assert!(!tree.at(FILE).exists());
    let again = tree.gaming(&[
        "plan",
        "--json",
        "--persist",
        "--try-boot",
        "--only",
        "boot",
    ]);
    assert_eq!(again.document()["steps"].as_array().unwrap().len(), 0);
    let trial = |tree: &Tree| {
        let status = tree.gaming(&["status", "--json"]);
        assert_keeps("status", &status);
        status.document()["trial"].clone()
    };
    assert_eq!(trial(&tree)["state"], "waiting");
    let ran = tree.gaming(&["confirm", "--yes"]);
    ran.refused(3, "not booted yet");
    assert!(ran.err.contains("try: reboot"), "{ran:?}");

    boot(&tree, 2);
    assert_eq!(trial(&tree)["state"], "running");
    assert!(done(tree.gaming(&["status"])).contains("keep it: gaming confirm"));
    tree.gaming(&TRY).refused(3, "is running");
    tree.gaming(&["confirm", "--yes", "--with", "candidates"])
        .refused(3, "skew_tick");
    let told = done(tree.gaming(&["confirm", "--yes"]));
    assert!(told.contains(FILE), "{told}");
    assert!(tree.at(FILE).exists() && !tree.at(CUSTOM).exists() && !tree.at(BLOCK).exists());
    let told = done(tree.gaming(&["status"]));
    assert!(told.contains("which is over: it has panic=10"), "{told}");
    tree.gaming(&["confirm", "--yes"])
        .refused(3, "no kernel parameters are tried");
    // Another trial is refused while the file is there.
    tree.gaming(&TRY).refused(3, FILE);
    boot(&tree, 3);
    let verified = tree.gaming(&["verify", "--persist", "--only", "boot"]);
    assert_eq!(verified.exit, 0, "{verified:?}");
    done(tree.gaming(&["revert", "--yes"]));

    // A trial that fails, and its words in the entry of a kernel that was installed meanwhile.
    done(tree.gaming(&TRY));
    boot(&tree, 4);
    let leaked = "boot/loader/entries/new.conf";
    tree.put(
        leaked,
        &format!("options {}", read(&tree, "proc/cmdline").trim()),
    );
    boot(&tree, 5);
    assert_eq!(trial(&tree)["state"], "failed");
    let told = tree.gaming(&["status", "--json"]).document()["notes"].to_string();
    for said in ["it failed", "new.conf:1 contains words of a trial"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    tree.gaming(&["confirm", "--yes"]).refused(3, "it failed");
    let told = done(tree.gaming(&["revert", "--yes", "--only", "trial"]));
    assert!(!told.contains("not reverted"), "{told}");
    let plan = tree.gaming(&["plan", "--json", "--persist", "--only", "boot"]);
    let told = plan.document()["notes"].to_string();
    assert!(
        told.contains("new.conf:1 contains words of a trial"),
        "{told}"
    );
    std::fs::remove_dir_all(tree.at("boot/loader")).unwrap();
    tree.put("proc/sys/kernel/random/boot_id", FIRST_BOOT);
    assert!(tree.snapshot() == before);
}

#[test]
fn where_grub_could_not_end_a_trial_nothing_is_applied() {
    let tree = debian();
    tree.put(
        "proc/self/mountinfo",
        "22 1 0:25 /@ / rw - btrfs /dev/sda1 rw",
    );
    let before = tree.snapshot();
    // The other parts are not applied either.
    let ran = tree.gaming(&["apply", "--yes", "--persist", "--try-boot"]);
    ran.refused(3, "stay the default for ever: /boot/grub is on btrfs");
    assert!(tree.snapshot() == before);
    let none = Tree::new();
    none.gaming(&TRY).refused(3, "no known boot loader");
}

/// A person has written into the lines of the trial.
#[test]
fn a_damaged_entry_is_told_and_left() {
    let tree = debian();
    done(tree.gaming(&TRY));
    let damaged = read(&tree, CUSTOM).replace("# END hosttune gaming trial\n", "");
    std::fs::write(tree.at(CUSTOM), &damaged).unwrap();
    let told = tree.gaming(&["status", "--json"]);
    assert_eq!(told.exit, 0, "{told:?}");
    let notes = told.document()["notes"].to_string();
    assert!(notes.contains("the trial cannot be read"), "{notes}");
    let reverted = tree.gaming(&["revert", "--yes"]);
    assert_ne!(reverted.exit, 0, "{reverted:?}");
    // It is not started any more, and the lines are left.
    assert_eq!(read(&tree, CUSTOM), damaged);
    assert!(!tree.at(BLOCK).exists());
    std::fs::write(tree.at(CUSTOM), damaged + "# END hosttune gaming trial\n").unwrap();
    done(tree.gaming(&["revert", "--yes"]));
    assert!(!tree.at(CUSTOM).exists());
}

/// The revert has ended the choice, and leaves the entry that another program has edited.
#[test]
fn after_an_incomplete_revert_of_a_trial_its_own_part_is_told() {
    let tree = debian();
    done(tree.gaming(&TRY));
    let edited = read(&tree, CUSTOM).replace("quiet", "quiet splash");
    std::fs::write(tree.at(CUSTOM), &edited).unwrap();
    let reverted = tree.gaming(&["revert", "--yes"]);
    assert_eq!(reverted.exit, 1, "{reverted:?}");
    assert!(!tree.at(BLOCK).exists());
    // In this boot and in the next one.
    for number in [0, 1] {
        if number > 0 {
            boot(&tree, number);
        }
        let told = tree.gaming(&["status", "--json"]).document();
        assert_eq!(told["trial"]["state"], "not-chosen", "{told}");
        let told = done(tree.gaming(&["status"]));
        let expected = "only its entry is left, of a revert or an apply that ended";
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("another program has chosen"), "{told}");
    }
    done(tree.gaming(&["revert", "--yes", "--force"]));
    assert!(!tree.at(CUSTOM).exists());
}

fn can_trace(test: &str) -> bool {
    let available = Traced::available();
    if let Err(reason) = &available {
        not_run(test, reason);
    }
    available.is_ok()
}

#[test]
fn killed_at_any_write_a_trial_goes_back_to_what_it_was() {
    if !can_trace("killed in a trial") {
        return;
    }
    let tree = debian();
    done(tree.gaming(&TRY));
    done(tree.gaming(&["revert", "--yes"]));
    let before = tree.snapshot();
    let root = tree.root().to_str().unwrap();
    let arguments = [&["--root", root], &TRY[..]].concat();
    let kills = Kills {
        program: GAMING,
        arguments: &arguments,
        at: At::EveryWrite,
        believable: 20,
        parts: 1,
    };
    let killed = kills.each(
        || assert!(tree.snapshot() == before),
        |run| {
            let reverted = tree.gaming(&["revert", "--yes"]);
            assert_eq!(reverted.exit, 0, "{run}: {reverted:?}");
            assert!(tree.snapshot() == before, "{run}");
        },
    );
    assert!(killed > 20, "{killed}");
}

#[test]
fn killed_at_any_write_a_confirmation_can_be_repeated() {
    if !can_trace("killed in a confirmation") {
        return;
    }
    let tree = debian();
    done(tree.gaming(&TRY));
    boot(&tree, 2);
    done(tree.gaming(&["confirm", "--yes"]));
    let kept = tree.snapshot();
    let root = tree.root().to_str().unwrap();
    let kills = Kills {
        program: GAMING,
        arguments: &["--root", root, "confirm", "--yes"],
        at: At::EveryWrite,
        believable: 20,
        parts: 1,
    };
    let killed = kills.each(
        || {
            done(tree.gaming(&["revert", "--yes"]));
            tree.put("proc/cmdline", LINE);
            tree.put("proc/sys/kernel/random/boot_id", FIRST_BOOT);
            done(tree.gaming(&TRY));
            boot(&tree, 2);
        },
        |run| {
            let again = tree.gaming(&["confirm", "--yes"]);
            // It may have been killed after its last write.
            assert!([0, 3].contains(&again.exit), "{run}: {again:?}");
            assert!(tree.snapshot() == kept, "{run}: {again:?}");
        },
    );
    assert!(killed > 20, "{killed}");
    done(tree.gaming(&["revert", "--yes"]));
}

const MODE: [&str; 5] = ["--persist", "--with", "vfio-mode", "--only", "vfio-mode"];

/// Fedora with the directories that only root can read.
fn fedora() -> Tree {
    const ENTRY: &str = "title Fedora Linux (6.12.0) 41\nversion 6.12.0\nlinux /vmlinuz-6.12.0\ninitrd /initramfs-6.12.0.img\noptions root=UUID=1 ro rhgb quiet";
    let tree = Tree::new();
    for (path, text) in [
        (
            "proc/cmdline",
            "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.12.0 root=UUID=1 ro rhgb quiet",
        ),
        ("boot/grub2/grub.cfg", FEDORA_MENU.trim_end()),
        ("boot/loader/entries/ab34-6.12.0.conf", ENTRY),
        ("usr/sbin/grub2-mkconfig", "#!/bin/sh"),
    ] {
        tree.put(path, text);
    }
    tree
}

fn only_for_root(tree: &Tree, path: &str, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(tree.at(path), mode).unwrap();
}

#[test]
fn a_user_who_cannot_read_the_menu_is_told_so_and_sees_the_rest() {
    if !can_be_nobody("a user who cannot read the menu") {
        return;
    }
    for (path, mode) in [("boot/grub2", 0o700), ("boot/grub2/grub.cfg", 0o600)] {
        let tree = fedora();
        only_for_root(&tree, path, mode);
        for typed in [&["plan", "--persist"][..], &["verify", "--persist"]] {
            let ran = tree.gaming_as_nobody(typed);
            assert!(matches!(ran.exit, 0 | 1), "{ran:?}");
            assert!(ran.out.contains("only root can read /boot"), "{ran:?}");
            assert!(ran.out.contains("vm.swappiness"), "{ran:?}");
            assert!(!ran.out.contains("default/grub.d"), "{ran:?}");
        }
        let ran = tree.gaming_as_nobody(&["plan", "--persist", "--try-boot"]);
        ran.refused(3, "only root can read /boot");
    }
}

fn toaster(tree: &Tree, typed: &[&str]) -> Ran {
    let mut command = std::process::Command::new(TOASTER);
    command.arg("--root").arg(tree.root()).args(typed);
    Ran::of(&mut command)
}

#[test]
fn toaster_has_a_boot_entry_for_its_guest() {
    let tree = debian();
    let before = tree.snapshot();
    done(toaster(&tree, &[&["apply", "--yes"], &MODE[..]].concat()));
    let text = read(&tree, CUSTOM);
    assert!(
        text.contains("ro  quiet iommu=pt hugepagesz=2M hugepages=8192\n"),
        "{text}"
    );
    let told = done(toaster(&tree, &[&["plan", "--json"], &MODE[..]].concat()));
    assert!(told.contains("grub-reboot hosttune-toaster-vfio"), "{told}");
    done(toaster(&tree, &["revert", "--yes"]));
    assert!(tree.snapshot() == before);
}

#[test]
fn toaster_starts_its_mode_once() {
    let tree = debian();
    let before = tree.snapshot();
    let listed = |tree: &Tree| {
        let listed = toaster(tree, &["boot", "--list", "--json"]);
        assert_keeps("boot", &listed);
        let mode = listed.document()["modes"][0].clone();
        let told = (
            mode["state"].clone(),
            mode["is_next"].clone(),
            mode["is_met"].clone(),
        );
        serde_json::to_string(&told).unwrap()
    };
    assert_eq!(listed(&tree), r#"["absent",false,false]"#);
    let told = done(toaster(&tree, &["boot"]));
    let adds = "toaster --root";
    assert!(
        told.contains("to add it: ") && told.contains(adds),
        "{told}"
    );
    toaster(&tree, &["boot", "vfio", "--once", "--yes"]).refused(3, "no entry for the mode vfio");
    done(toaster(&tree, &[&["apply", "--yes"], &MODE[..]].concat()));
    let added = tree.snapshot();
    assert_eq!(listed(&tree), r#"["current",false,false]"#);
    toaster(&tree, &["boot", "vfio"]).refused(2, "needs --once");
    toaster(&tree, &["boot", "vfoi", "--once", "--yes"]).refused(2, "nearest: vfio");
    toaster(&tree, &["boot", "vfio", "--once"]).refused(2, "use --yes");
    toaster(&tree, &["boot", "--once"]).refused_usage("MODE");
    toaster(&tree, &["boot", "--list", "--cancel"]).refused_usage("--list");
    tree.gaming(&["boot"])
        .refused(2, "gaming has no boot modes");
    assert!(tree.snapshot() == added);

    let told = done(toaster(&tree, &["boot", "vfio", "--once", "--yes"]));
    assert!(told.contains("starts the mode vfio once"), "{told}");
    assert_eq!(listed(&tree), r#"["current",true,false]"#);
    let again = done(toaster(
        &tree,
        &["boot", "vfio", "--once", "--yes", "--json"],
    ));
    assert!(again.contains("\"changed\": []"), "{again}");
    done(toaster(&tree, &["boot", "--cancel", "--yes"]));
    assert!(tree.snapshot() == added);
    // There is nothing to take back, and that is no failure.
    done(toaster(&tree, &["boot", "--cancel", "--yes"]));

    done(toaster(&tree, &["boot", "vfio", "--once", "--yes"]));
    boot(&tree, 2);
    assert_eq!(listed(&tree), r#"["current",false,true]"#);
    boot(&tree, 3);
    assert_eq!(listed(&tree), r#"["current",false,false]"#);
    done(toaster(&tree, &["boot", "--cancel", "--yes"]));
    tree.put("proc/cmdline", LINE);
    tree.put("proc/sys/kernel/random/boot_id", FIRST_BOOT);
    assert!(tree.snapshot() == added);
    done(toaster(&tree, &["revert", "--yes"]));
    assert!(tree.snapshot() == before);
}

#[test]
fn killed_at_any_write_the_start_of_a_mode_goes_back() {
    if !can_trace("killed in a start of a mode") {
        return;
    }
    let tree = debian();
    done(toaster(&tree, &[&["apply", "--yes"], &MODE[..]].concat()));
    done(toaster(&tree, &["boot", "vfio", "--once", "--yes"]));
    done(toaster(&tree, &["boot", "--cancel", "--yes"]));
    let before = tree.snapshot();
    let root = tree.root().to_str().unwrap();
    let kills = Kills {
        program: TOASTER,
        arguments: &["--root", root, "boot", "vfio", "--once", "--yes"],
        at: At::EveryWrite,
        believable: 10,
        parts: 1,
    };
    let killed = kills.each(
        || assert!(tree.snapshot() == before),
        |run| {
            let reverted = toaster(&tree, &["boot", "--cancel", "--yes"]);
            assert_eq!(reverted.exit, 0, "{run}: {reverted:?}");
            assert!(tree.snapshot() == before, "{run}");
        },
    );
    assert!(killed > 10, "{killed}");
    done(toaster(&tree, &["revert", "--yes"]));
}

#[test]
fn what_a_revert_cannot_take_back_is_said_until_it_is_done() {
    let tree = debian();
    let typed = ["apply", "--yes", "--persist", "--only", "boot"];
    let _ = done(tree.gaming(&typed));
    // update-grub
    let menu = MENU.replace(" ro  quiet", " ro  quiet mitigations=off");
    tree.put("boot/grub/grub.cfg", menu.trim_end());
    for arguments in [&["revert", "--yes"][..], &["status"]] {
        let told = done(tree.gaming(arguments));
        let expected = "/boot/grub/grub.cfg still has mitigations=off: run update-grub";
        assert!(told.contains(expected), "{told}");
    }
    tree.put("boot/grub/grub.cfg", MENU.trim_end());
    let told = done(tree.gaming(&["status"]));
    assert!(!told.contains("still has"), "{told}");
}

#[test]
fn a_boot_partition_that_is_not_mounted_is_incomplete_and_kept() {
    let tree = debian();
    let _ = done(tree.gaming(&TRY));
    let block = std::fs::read(tree.at(BLOCK)).unwrap();
    std::fs::rename(tree.at("boot"), tree.at("boot.away")).unwrap();
    std::fs::create_dir(tree.at("boot")).unwrap();
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(ran.out.contains("it cannot be reverted now"), "{ran:?}");
    std::fs::remove_dir(tree.at("boot")).unwrap();
    std::fs::rename(tree.at("boot.away"), tree.at("boot")).unwrap();
    assert_eq!(std::fs::read(tree.at(BLOCK)).unwrap(), block);
    let _ = done(tree.gaming(&["revert", "--yes"]));
    assert!(!tree.at(BLOCK).exists());
}
