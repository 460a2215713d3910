//! Faults outside the program: kills and signals at any moment, files that are not regular, values that
//! cannot be read, directories that do not exist.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hosttune_test_machine::{At, Kills, Stop, Traced};
use nix::libc::{SYS_renameat, SYS_rt_sigreturn};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{CWD, FileType, Mode};

use super::tree::{GAMING, Ran, Tree, can_be_nobody, not_run, run_as_nobody};

fn can_trace(test: &str) -> bool {
    match Traced::available() {
        Ok(()) => true,
        Err(reason) => {
            not_run(test, &reason);
            false
        }
    }
}

fn pipe(path: &Path) {
    let _ = std::fs::remove_file(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Makes a sparse file of 60 GiB, which takes no space on the disk.
fn endless(path: &Path) {
    let _ = std::fs::remove_file(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    file.set_len(60 << 30).unwrap();
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).unwrap();
}

#[test]
fn killed_at_any_moment_a_tree_goes_back_to_what_it_was() {
    if !can_trace("killed in a tree") {
        return;
    }
    let tree = Tree::with_devices();
    let value = tree.at("sys/kernel/mm/transparent_hugepage/enabled");
    std::fs::set_permissions(&value, std::fs::Permissions::from_mode(0o640)).unwrap();
    let before = tree.snapshot();
    let root = tree.root().to_str().unwrap();
    // Only the first run creates the journal directories, which exist from here on.
    assert_eq!(tree.gaming(&["apply", "--yes", "--only", "memory"]).exit, 0);
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    let kills = Kills {
        program: GAMING,
        arguments: &["--root", root, "apply", "--yes", "--only", "memory"],
        at: At::EveryWrite,
        believable: 30,
        parts: 2,
    };
    kills.each(
        || assert!(tree.snapshot() == before),
        |run| {
            let now = std::fs::read_to_string(&value).unwrap();
            assert!(
                ["[always] madvise never\n", "always [madvise] never\n"].contains(&now.as_str()),
                "{run}: {now:?}"
            );
            let reverted = tree.gaming(&["revert", "--yes"]);
            assert_eq!(reverted.exit, 0, "{run}: {reverted:?}");
            assert!(tree.snapshot() == before, "{run}");
        },
    );
    assert_eq!(std::fs::metadata(&value).unwrap().mode() & 0o7777, 0o640);
}

/// Starts the program and lets it run to the renaming with this number, counted from 1.
fn at_renaming(arguments: &[&str], number: usize) -> Traced {
    let mut traced = Traced::start(GAMING, arguments).unwrap();
    let mut renamings = 0;
    loop {
        match traced.step() {
            Stop::Enters if traced.call() == SYS_renameat => renamings += 1,
            Stop::Ended(code) => panic!("ended with {code} after {renamings} renamings"),
            Stop::Enters | Stop::Leaves => {}
        }
        if renamings == number {
            return traced;
        }
    }
}

/// Sends a signal and lets the program run until its handler has returned. Before that, the program makes the
/// call at which it is stopped.
fn send(traced: &mut Traced, signal: Signal) {
    kill(Pid::from_raw(traced.process_id().unwrap()), signal).unwrap();
    loop {
        match traced.step() {
            Stop::Enters if traced.call() == SYS_rt_sigreturn => return,
            Stop::Ended(code) => panic!("ended with {code} at the first {signal}"),
            Stop::Enters | Stop::Leaves => {}
        }
    }
}

/// Whether this process, and so every child, ignores a signal, as after `nohup` or a shell's `&`.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    mask & (1 << (signal as i32 - 1)) != 0
}

fn end(mut traced: Traced) -> i32 {
    loop {
        if let Stop::Ended(code) = traced.step() {
            return code;
        }
    }
}

#[test]
fn interrupted_an_apply_takes_back_what_it_did() {
    if !can_trace("interrupted apply") {
        return;
    }
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let root = tree.root().to_str().unwrap();
    for (signal, number) in [
        (Signal::SIGINT, 1),
        (Signal::SIGTERM, 4),
        (Signal::SIGHUP, 15),
    ] {
        if is_ignored(signal) {
            not_run("a signal", "the tests were started with this one ignored");
            continue;
        }
        let mut traced = at_renaming(&["--root", root, "apply", "--yes"], number);
        send(&mut traced, signal);
        assert_eq!(end(traced), 3, "{signal}");
        assert!(tree.snapshot() == before, "{signal}");
        assert!(!tree.journal().exists(), "{signal}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_journal_knows_the_rest() {
    if !can_trace("a second signal") {
        return;
    }
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let root = tree.root().to_str().unwrap();
    let mut traced = at_renaming(&["--root", root, "apply", "--yes"], 5);
    send(&mut traced, Signal::SIGTERM);
    kill(Pid::from_raw(traced.process_id().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(end(traced), 4);
    assert!(tree.snapshot() != before);
    let status = tree.gaming(&["status", "--json"]).document();
    assert!(status["open"].as_str().unwrap().contains("interrupted"));
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}

#[test]
fn interrupted_a_revert_says_what_is_owed() {
    if !can_trace("interrupted revert") {
        return;
    }
    let tree = Tree::new();
    let before = tree.snapshot();
    assert_eq!(tree.gaming(&["apply", "--yes"]).exit, 0);
    let root = tree.root().to_str().unwrap();
    let mut traced = at_renaming(&["--root", root, "revert", "--yes"], 3);
    send(&mut traced, Signal::SIGTERM);
    assert_eq!(end(traced), 4);
    let status = tree.gaming(&["status", "--json"]).document();
    assert_eq!(status["open"], serde_json::Value::Null);
    assert_eq!(status["pending"].as_array().unwrap().len(), 16 - 3);
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}

/// Runs the program, and fails if it takes 300 seconds, which is longer than any run.
fn soon(tree: &Tree, typed: &[&str]) -> Ran {
    let mut child = tree
        .command(typed)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(300) {
            child.kill().unwrap();
            panic!("{typed:?} waits for ever");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ran::told(child.wait_with_output().unwrap())
}

#[test]
fn what_is_no_regular_file_or_has_no_end_is_named_and_not_waited_for() {
    for make in [pipe, endless] {
        for path in ["etc/sysctl.d/50-x.conf", "run/hosttune/gaming.journal"] {
            let tree = Tree::new();
            make(&tree.at(path));
            if path.starts_with("run") {
                let mode = std::fs::Permissions::from_mode(0o700);
                std::fs::set_permissions(tree.at("run/hosttune"), mode).unwrap();
            }
            for typed in [
                &["plan", "--persist"][..],
                &["apply", "--yes", "--persist"],
                &["apply", "--yes", "--persist", "--json"],
            ] {
                soon(&tree, typed).refused(3, path);
                assert_eq!(tree.value("vm/swappiness"), "60");
            }
            if path.starts_with("etc") {
                soon(&tree, &["who-sets", "vm.swappiness"]).refused(3, path);
            } else {
                soon(&tree, &["status"]).refused(3, path);
                soon(&tree, &["revert", "--yes"]).refused(3, path);
            }
        }
        // A udev rules file that cannot be read is reported in a note and prevents nothing.
        let tree = Tree::with_devices();
        make(&tree.at("etc/udev/rules.d/50-x.rules"));
        let ran = soon(&tree, &["plan", "--only", "blockdev"]);
        assert_eq!(ran.exit, 0, "{ran:?}");
        assert!(ran.out.contains("50-x.rules"), "{ran:?}");

        // A value that cannot be read is unknown; the others are set.
        let tree = Tree::new();
        make(&tree.at("proc/sys/vm/swappiness"));
        let verify = soon(&tree, &["verify"]);
        assert_eq!(verify.exit, 1, "{verify:?}");
        assert!(verify.out.contains("unknown"), "{verify:?}");
        let apply = soon(&tree, &["apply", "--yes"]);
        assert_eq!(apply.exit, 1, "{apply:?}");
        assert!(
            apply.out.contains("1 setting could not be read"),
            "{apply:?}"
        );
        let verify = soon(&tree, &["verify", "--json"]);
        assert_eq!(verify.exit, 1, "{verify:?}");
        let document = verify.document();
        let unknown = document["items"].as_array().unwrap();
        let unknown: Vec<_> = unknown
            .iter()
            .filter(|item| item["state"] == "unknown")
            .collect();
        assert_eq!(unknown.len(), 1, "{document:#}");
        assert_eq!(unknown[0]["knob"], "vm.swappiness");
        assert_eq!(unknown[0]["seen"], serde_json::Value::Null);
        assert_eq!(soon(&tree, &["plan", "--exit-code"]).exit, 1);
        assert_eq!(soon(&tree, &["revert", "--yes"]).exit, 0);
    }
}

#[test]
fn a_value_that_nobody_may_read_is_unknown_and_no_success() {
    if !can_be_nobody("unknown values") {
        return;
    }
    let tree = Tree::new();
    assert_eq!(tree.gaming(&["apply", "--yes"]).exit, 0);
    assert_eq!(tree.gaming_as_nobody(&["verify"]).exit, 0);
    let value = tree.at("proc/sys/net/core/rmem_max");
    std::fs::set_permissions(&value, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ran = tree.gaming_as_nobody(&["verify"]);
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(ran.out.contains("CANNOT TELL"), "{ran:?}");
    assert!(ran.out.contains("1 unknown"), "{ran:?}");
    assert!(ran.out.contains("rmem_max"), "{ran:?}");
    assert_eq!(tree.gaming(&["verify"]).exit, 0);
    // Drift takes precedence in the summary.
    tree.show("vm/swappiness", "1");
    let ran = tree.gaming_as_nobody(&["verify"]);
    assert!(ran.out.contains("NOT as wanted"), "{ran:?}");
}

#[test]
fn without_root_the_running_system_is_refused_before_anything_else() {
    if !can_be_nobody("needs root") {
        return;
    }
    for typed in [&["apply", "--yes"][..], &["watch", "--yes"]] {
        let ran = run_as_nobody(typed);
        ran.refused(3, "needs root");
        assert_eq!(ran.out, "", "{ran:?}");
        assert!(ran.err.contains("sudo gaming"), "{ran:?}");
        assert!(!ran.err.contains("modprobe"), "{ran:?}");
    }
}

/// Of two rates, the later one would silently override the first.
#[test]
fn a_rate_is_given_once() {
    let tree = Tree::new();
    for direction in ["up", "down"] {
        let [rate, cake] = ["", "cake-"].map(|kind| format!("--{kind}{direction}"));
        for words in [
            "bandwidth 20mbit",
            "nat unlimited",
            "autorate-ingress",
            "bandwidth 20mbit nat",
        ] {
            let both = tree.gaming(&["plan", &rate, "38mbit", &cake, words]);
            assert_eq!(both.exit, 3, "{both:?}");
            let said = &both.err;
            assert!(said.contains("the rate is given twice"), "{said}");
            assert!(said.contains(&rate) && said.contains(&cake), "{said}");
            assert_eq!(tree.gaming(&["plan", &cake, words]).exit, 0, "{words}");
        }
        let beside = tree.gaming(&["plan", &rate, "38mbit", &cake, "nat pppoe-ptm"]);
        assert_eq!(beside.exit, 0, "{beside:?}");
        let wrong = tree.gaming(&["plan", &cake, "diffserv5"]);
        assert_eq!(wrong.exit, 2, "{wrong:?}");
        assert!(wrong.err.contains("diffserv5"), "{wrong:?}");
    }
}

#[test]
fn a_rate_is_typed_with_its_unit_and_is_no_slip() {
    let tree = Tree::new();
    let before = tree.snapshot();
    for (rate, said) in [
        ("38", "38mbit"),
        ("0.5", "0.5mbit"),
        ("32bit", "below the minimum"),
        ("38kbit", "below the minimum"),
    ] {
        for option in ["--up", "--down"] {
            for verb in [
                &["plan"][..],
                &["apply", "--yes"],
                &["measure", "--server", "x:1"],
            ] {
                let ran = tree.gaming(&[verb, &[option, rate]].concat());
                assert_eq!(ran.exit, 2, "{ran:?}");
                assert!(ran.err.contains(said), "{ran:?}");
            }
        }
    }
    assert_eq!(tree.gaming(&["plan", "--up", "38mbit"]).exit, 0);
    assert!(tree.snapshot() == before);
}

#[test]
fn an_unknown_name_is_an_error_with_the_nearest_one() {
    let tree = Tree::new();
    for (typed, nearest) in [
        (["who-sets", "swapines"], "vm.swappiness"),
        (["who-sets", "vm.swapiness"], "vm.swappiness"),
        (
            ["who-sets", "net.ipv4.conf.eth0.rp_filer"],
            "net.ipv4.conf.eth0.rp_filter",
        ),
        (["explain", "swappiness"], "vm.swappiness"),
        (["explain", "tcp_fastpoen"], "net.ipv4.tcp_fastopen"),
        (["--only=sysctls", "plan"], "sysctl"),
        (["--with=candidate", "plan"], "candidates"),
    ] {
        let ran = tree.gaming(&typed);
        ran.refused(2, &format!("nearest: {nearest}"));
    }
    let ran = tree.gaming(&["who-sets", "swapines", "--json"]);
    assert_eq!(ran.document()["error"]["exit_code"], 2);
    // A key that a file sets is shown, whether or not this kernel has it.
    tree.put("etc/sysctl.d/50-x.conf", "vm.swapines = 1");
    assert_eq!(tree.gaming(&["who-sets", "vm.swapines"]).exit, 0);
    // A key is known if this kernel or the catalogue has it.
    tree.show("vm/of_this_kernel", "1");
    for key in ["vm.of_this_kernel", "vm.laptop_mode"] {
        assert_eq!(tree.gaming(&["who-sets", key]).exit, 0, "{key}");
    }
}

#[test]
fn a_directory_made_for_our_file_is_ours() {
    for (part, made, file) in [
        ("sysctl", "etc/sysctl.d", "60-hosttune-gaming.conf"),
        ("blockdev", "etc/udev/rules.d", "61-hosttune-gaming.rules"),
    ] {
        let tree = Tree::with_devices();
        let _ = std::fs::remove_dir_all(tree.at(made));
        let before = tree.snapshot();
        let typed = ["apply", "--yes", "--persist", "--only", part];
        assert_eq!(tree.gaming(&typed).exit, 0);
        assert!(tree.at(made).join(file).exists());
        let status = tree.gaming(&["status", "--json"]).document();
        for pending in status["pending"].as_array().unwrap() {
            assert_eq!(pending["is_ours"], true, "{pending:#}");
        }
        let text = tree.gaming(&["status"]).out;
        assert!(!text.contains("another process"), "{text}");
        // A file that another program puts there is not removed.
        tree.put(&format!("{made}/99-theirs"), "theirs");
        let ran = tree.gaming(&["revert", "--yes"]);
        assert_eq!(ran.exit, 1, "{ran:?}");
        assert!(ran.out.contains("it holds 99-theirs"), "{ran:?}");
        assert!(!tree.at(made).join(file).exists());
        std::fs::remove_file(tree.at(made).join("99-theirs")).unwrap();
        let ran = tree.gaming(&["revert", "--yes"]);
        assert_eq!(ran.exit, 0, "{ran:?}");
        assert!(tree.snapshot() == before, "{part}");
    }
}

/// Other programs read what is in it, for example PipeWire as a user.
#[test]
fn a_directory_made_for_our_file_can_be_read_by_everyone_whatever_the_umask() {
    let tree = Tree::with_devices();
    let made = tree.at("etc/sysctl.d");
    let _ = std::fs::remove_dir_all(&made);
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 077; exec \"$@\"", "sh", GAMING, "--root"])
        .arg(tree.root())
        .args(["apply", "--yes", "--persist", "--only", "sysctl"])
        .stdin(Stdio::null());
    assert_eq!(Ran::of(&mut command).exit, 0);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&made), 0o755);
    assert_eq!(mode(&made.join("60-hosttune-gaming.conf")), 0o644);
}

/// Runs the program with a limit on the size of files, in bytes. `ulimit -f` counts in units of 512 bytes:
/// the room left would then depend on the length of the journal.
fn limited(tree: &Tree, longest: u64, typed: &[&str]) -> Ran {
    let script = r#"trap "" XFSZ; exec prlimit --fsize="$@""#;
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .args([&longest.to_string(), GAMING, "--root"])
        .arg(tree.root())
        .args(typed)
        .stdin(Stdio::null());
    Ran::of(&mut command)
}

#[test]
fn a_journal_that_has_no_room_for_the_end_hides_nothing() {
    let tree = Tree::new();
    let before = tree.snapshot();
    assert_eq!(tree.gaming(&["apply", "--yes"]).exit, 0);
    let length = std::fs::metadata(tree.journal()).unwrap().len();
    // Room for the first record of a revert, but not for all of its marks. Its end is then a shorter
    // journal, which has room.
    let room = length + 200;
    let ran = limited(&tree, room, &["revert", "--yes", "--json"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let document = ran.document();
    assert_eq!(document["outcome"], "reverted");
    assert_eq!(document["changed"].as_array().unwrap().len(), 16);
    assert!(tree.snapshot() == before && !tree.journal().exists());

    // An apply with room for the record of what it will do, but not for the one of what it has done.
    let ran = tree.gaming(&["apply", "--yes", "--only", "sysctl"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let text = std::fs::read_to_string(tree.journal()).unwrap();
    let intent: usize = text.split_inclusive('\n').take(2).map(str::len).sum();
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    let ran = limited(
        &tree,
        intent as u64 + 1,
        &["apply", "--yes", "--only", "sysctl", "--json"],
    );
    assert_eq!(ran.exit, 3, "{ran:?}");
    assert_eq!(ran.document()["outcome"], "rolled-back");
    assert!(tree.snapshot() == before && !tree.journal().exists());
}

#[test]
fn who_sets_names_other_programs_too() {
    let tree = Tree::new();
    tree.put(
        "usr/lib/udev/rules.d/30-zram.rules",
        "# x\nACTION==\"change\", KERNEL==\"zram0\", SYSCTL{vm.swappiness}=\"150\"",
    );
    tree.put(
        "etc/udev/rules.d/99-net.rules",
        "SUBSYSTEM==\"net\", SYSCTL{net/core/rmem_max}=\"1\", SYSCTL{vm.swappiness}==\"60\"",
    );
    tree.put(
        "etc/ufw/sysctl.conf",
        "net/ipv4/tcp_fastopen=1\nvm/swappiness=70",
    );
    tree.put("etc/credstore/sysctl.extra", "vm.swappiness=80");
    let ran = tree.gaming(&["who-sets", "vm.swappiness", "--json"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let document = ran.document();
    let others: Vec<_> = document["others"].as_array().unwrap().iter().collect();
    let told = |other: &serde_json::Value| {
        let text = |field: &str| other[field].as_str().unwrap().to_owned();
        (
            text("program"),
            text("file"),
            other["line"].as_u64().unwrap(),
            text("value"),
        )
    };
    let told: Vec<_> = others.iter().map(|other| told(other)).collect();
    let line = |program: &str, file: &str, line: u64, value: &str| {
        (program.to_owned(), file.to_owned(), line, value.to_owned())
    };
    assert_eq!(
        told,
        [
            line("ufw", "/etc/ufw/sysctl.conf", 2, "70"),
            line("systemd-sysctl", "/etc/credstore/sysctl.extra", 1, "80"),
            line("udev", "/usr/lib/udev/rules.d/30-zram.rules", 2, "150"),
        ]
    );
    let text = tree.gaming(&["who-sets", "vm.swappiness"]).out;
    assert!(
        text.contains("udev writes 150 when ACTION==\"change\", KERNEL==\"zram0\""),
        "{text}"
    );
    let text = tree.gaming(&["who-sets", "net.core.rmem_max"]).out;
    assert!(text.contains("99-net.rules:1"), "{text}");
    assert!(
        tree.gaming(&["who-sets", "net.core.wmem_max"])
            .out
            .contains("no file sets it")
    );
}
