//! The `gaming` binary from outside, on captured trees: what it says, what it changes, how it
//! exits, and that nothing a host or a user can give it makes it panic or change half of it.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a black-box test makes trees and starts the program, and fails where it cannot"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const GAMING: &str = env!("CARGO_BIN_EXE_gaming");

/// A user who may do nothing.
const NOBODY: u32 = 65534;

/// What the kernel shows before, and what the profile makes of it (without its candidates).
const WANTED: [(&str, &str, &str); 18] = [
    ("net/core/default_qdisc", "pfifo_fast", "fq"),
    ("net/ipv4/tcp_congestion_control", "cubic", "bbr"),
    ("net/core/netdev_max_backlog", "1000", "16384"),
    ("net/ipv4/tcp_max_syn_backlog", "1024", "8192"),
    ("net/core/rmem_max", "212992", "33554432"),
    ("net/core/wmem_max", "212992", "33554432"),
    (
        "net/ipv4/tcp_rmem",
        "4096\t131072\t6291456",
        "4096 1048576 33554432",
    ),
    (
        "net/ipv4/tcp_wmem",
        "4096\t16384\t4194304",
        "4096 1048576 33554432",
    ),
    ("net/ipv4/tcp_mtu_probing", "0", "1"),
    ("net/ipv4/tcp_fastopen", "1", "3"),
    ("net/ipv4/tcp_slow_start_after_idle", "1", "0"),
    ("vm/swappiness", "60", "100"),
    ("vm/dirty_ratio", "20", "10"),
    ("vm/dirty_background_ratio", "10", "5"),
    ("vm/compaction_proactiveness", "20", "0"),
    ("kernel/split_lock_mitigate", "1", "0"),
    ("kernel/sched_autogroup_enabled", "0", "0"),
    ("kernel/numa_balancing", "1", "1"),
];

/// What else the kernel shows.
const BESIDES: [(&str, &str); 5] = [
    ("kernel/osrelease", "6.12.0-test"),
    (
        "kernel/random/boot_id",
        "7c9d9d1e-9a6c-4d0b-8a4e-0123456789ab",
    ),
    (
        "net/ipv4/tcp_available_congestion_control",
        "reno cubic bbr",
    ),
    ("vm/dirty_bytes", "0"),
    ("vm/dirty_background_bytes", "0"),
];

/// What the kernel shows of disks, processors and memory, and what the profile makes of it.
const DEVICES: [(&str, &str, &str); 6] = [
    (
        "nvme0n1/queue/scheduler",
        "[none] mq-deadline kyber bfq",
        "[none] mq-deadline kyber bfq",
    ),
    (
        "sda/queue/scheduler",
        "none [bfq] mq-deadline",
        "none bfq [mq-deadline]",
    ),
    (
        "sdb/queue/scheduler",
        "none [bfq] mq-deadline",
        "none [bfq] mq-deadline",
    ),
    ("cpu0", "powersave", "performance"),
    ("cpu1", "schedutil", "performance"),
    (
        "hugepages",
        "[always] madvise never",
        "always [madvise] never",
    ),
];

/// The file that shows it.
fn device(name: &str) -> String {
    match name.split_once('/') {
        Some((disk, file)) => format!("sys/devices/{}/{file}", place(disk)),
        None if name == "hugepages" => "sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
        None => format!(
            "sys/devices/system/cpu/cpufreq/policy{}/scaling_governor",
            name.trim_start_matches("cpu")
        ),
    }
}

/// Where a disk stands in the tree of devices.
fn place(disk: &str) -> String {
    match disk {
        "nvme0n1" => "pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1".to_owned(),
        _ => {
            let port = u32::from(disk == "sdb") + 1;
            format!(
                "pci0000:00/0000:00:17.0/ata{port}/host{port}/target{port}:0:0/{port}:0:0:0/block/{disk}"
            )
        }
    }
}

/// A captured tree.
struct Tree {
    directory: tempfile::TempDir,
}

/// Everything in a tree but the journals: what it is, whose, and its bytes.
type Snapshot = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

impl Tree {
    fn new() -> Self {
        let tree = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for directory in ["run", "var/lib", "etc/sysctl.d", "usr/lib/sysctl.d"] {
            std::fs::create_dir_all(tree.at(directory)).unwrap();
        }
        for (key, before, _) in WANTED {
            tree.show(key, before);
        }
        for (key, value) in BESIDES {
            tree.show(key, value);
        }
        // Nobody reads along too, where a test lets nobody in.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(tree.root(), open).unwrap();
        tree
    }

    /// The same with two disks that do not rotate and one that does, two processors, and hugepages.
    fn with_devices() -> Self {
        let tree = Self::new();
        std::fs::create_dir_all(tree.at("sys/block")).unwrap();
        for (disk, rotates) in [("nvme0n1", 0), ("sda", 0), ("sdb", 1)] {
            let place = place(disk);
            let link = PathBuf::from("../devices").join(&place);
            tree.put(
                &format!("sys/devices/{place}/queue/rotational"),
                &rotates.to_string(),
            );
            tree.put(&format!("sys/devices/{place}/queue/nr_requests"), "64");
            tree.put(&format!("sys/devices/{place}/mq/0/cpu_list"), "0, 1");
            symlink(link, tree.at("sys/block").join(disk)).unwrap();
        }
        for number in [0, 1] {
            let policy = format!("sys/devices/system/cpu/cpufreq/policy{number}");
            for (file, value) in [
                ("scaling_driver", "acpi-cpufreq"),
                (
                    "scaling_available_governors",
                    "performance powersave schedutil",
                ),
                ("affected_cpus", &number.to_string()),
                ("related_cpus", &number.to_string()),
                ("cpuinfo_min_freq", "800000"),
                ("cpuinfo_max_freq", "4200000"),
                ("scaling_min_freq", "800000"),
                ("scaling_max_freq", "4200000"),
            ] {
                tree.put(&format!("{policy}/{file}"), value);
            }
        }
        for (name, before, _) in DEVICES {
            tree.put(&device(name), before);
        }
        tree
    }

    fn put(&self, path: &str, value: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{value}\n")).unwrap();
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn journal(&self) -> PathBuf {
        self.at("run/hosttune/gaming.journal")
    }

    /// Makes the kernel show a value.
    fn show(&self, key: &str, value: &str) {
        let path = self.at("proc/sys").join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{value}\n")).unwrap();
    }

    fn shows(&self, key: &str) -> String {
        std::fs::read_to_string(self.at("proc/sys").join(key)).unwrap()
    }

    /// The same with one blank between the fields: the kernel prints tabs there.
    fn value(&self, key: &str) -> String {
        let fields = self.shows(key);
        fields.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn snapshot(&self) -> Snapshot {
        let mut found = Snapshot::new();
        let mut ahead = vec![self.root().to_owned()];
        while let Some(path) = ahead.pop() {
            let inner = path.strip_prefix(self.root()).unwrap().to_owned();
            if [Path::new("run/hosttune"), Path::new("var/lib/hosttune")].contains(&inner.as_path())
            {
                continue;
            }
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let bytes = if metadata.is_dir() {
                for entry in std::fs::read_dir(&path).unwrap() {
                    ahead.push(entry.unwrap().path());
                }
                Vec::new()
            } else if metadata.is_symlink() {
                std::fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else {
                std::fs::read(&path).unwrap()
            };
            found.insert(
                inner,
                (metadata.mode(), metadata.uid(), metadata.gid(), bytes),
            );
        }
        found
    }

    fn command(&self, typed: &[&str]) -> Command {
        let mut command = Command::new(GAMING);
        command
            .arg("--root")
            .arg(self.root())
            .args(typed)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    fn gaming(&self, typed: &[&str]) -> Ran {
        Ran::of(&mut self.command(typed))
    }

    fn gaming_as_nobody(&self, typed: &[&str]) -> Ran {
        Ran::of(self.command(typed).uid(NOBODY).gid(NOBODY))
    }
}

/// What a run left behind.
#[derive(Debug)]
struct Ran {
    exit: i32,
    out: String,
    err: String,
}

impl Ran {
    /// Runs it. Whatever it was given, it ends by itself and with a documented code.
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let ran = Self {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(
            (0..=4).contains(&ran.exit),
            "no documented exit code: {ran:?}"
        );
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        ran
    }

    /// It was refused with this code, said so naming the thing, and showed a way out.
    #[track_caller]
    fn refused(&self, exit: i32, named: &str) {
        assert_eq!(self.exit, exit, "{self:?}");
        assert!(self.err.contains(named), "'{named}' is not named: {self:?}");
        assert!(self.err.contains("  try: "), "no way out: {self:?}");
    }

    fn document(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// No test is left out silently.
fn not_run(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "not run: {test}: {reason}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this test can act as a user who may do nothing.
fn can_be_nobody(test: &str) -> bool {
    if !is_root() {
        not_run(test, "it takes root to become another user");
        return false;
    }
    let answer = Command::new(GAMING)
        .arg("--version")
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    if answer.is_ok_and(|output| output.status.success()) {
        return true;
    }
    not_run(
        test,
        "another user may not start the program where it was built",
    );
    false
}

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
    assert!(notes.contains("the rule nvme matches nvme0n1"), "{notes}");
    assert!(
        notes.contains("the rule solid-state misses sdb by one condition: rotational is true"),
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

/// As a rule of udev calls it for a disk that has come.
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
    assert!(ran.err.contains("say /dev/sda"), "{ran:?}");
    let ran = tree.gaming(&[&["apply"][..], &only("/dev/sdz")].concat());
    ran.refused(3, "/dev/sdz is no block device");
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
    assert_eq!(document["outcome"], "left");
    let left = &document["left"][0];
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
    let ran = tree.gaming(&["revert", "--yes", "--force"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(tree.snapshot() == before);
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
    let lacking = plan["not_applicable"].as_array().unwrap();
    assert_eq!(lacking.len(), 2, "{lacking:?}");
    assert_eq!(lacking[0]["module"], "tcp_bbr");
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
    assert!(ran.out.contains("looks wrong because"), "{}", ran.out);
    assert!(ran.out.contains("right because"), "{}", ran.out);
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

/// A tree that is applied, and its journal.
fn applied() -> (Tree, Snapshot, Vec<u8>) {
    let tree = Tree::new();
    let before = tree.snapshot();
    let ran = tree.gaming(&["apply", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let journal = std::fs::read(tree.journal()).unwrap();
    (tree, before, journal)
}

#[test]
fn a_journal_that_lost_its_end_is_an_interrupted_run() {
    let (tree, before, journal) = applied();
    let applied = tree.snapshot();
    // Without its last line the journal says that the apply was never finished.
    let text = String::from_utf8(journal).unwrap();
    let end = text.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(tree.journal(), &text[..end]).unwrap();
    let plan = tree.gaming(&["plan", "--json"]).document();
    assert!(
        plan["provisional"]
            .as_str()
            .unwrap()
            .contains("interrupted"),
        "{plan}"
    );
    assert!(tree.gaming(&["status"]).out.contains("interrupted"));
    assert_eq!(tree.gaming(&["plan", "--exit-code"]).exit, 1);
    assert!(tree.snapshot() == applied);
    let ran = tree.gaming(&["apply", "--yes", "--json"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let document = ran.document();
    assert!(
        !document["recovered"]["turned"]
            .as_array()
            .unwrap()
            .is_empty(),
        "{document:#}"
    );
    assert!(tree.snapshot() == applied);
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}

#[test]
fn no_end_of_a_journal_makes_it_panic() {
    let (tree, _, journal) = applied();
    let places = (0..24).map(|part| journal.len() * part / 24);
    for cut in places.chain(journal.len().saturating_sub(40)..journal.len()) {
        std::fs::write(tree.journal(), &journal[..cut]).unwrap();
        let status = tree.gaming(&["status"]);
        let ran = tree.gaming(&["revert", "--yes"]);
        match ran.exit {
            3 => ran.refused(3, "gaming.journal"),
            // It reads as an interrupted run; what is known of that is put back, and nothing is
            // made up.
            0 => {
                for (key, before, after) in WANTED {
                    let words = |text: &str| -> Vec<String> {
                        text.split_whitespace().map(str::to_owned).collect()
                    };
                    let shows = tree.value(key);
                    assert!(
                        [words(before), words(after)].contains(&words(&shows)),
                        "{cut}: {key} is {shows}"
                    );
                }
            }
            _ => panic!("{cut}: {status:?} {ran:?}"),
        }
        for (key, _, after) in WANTED {
            tree.show(key, after);
        }
    }
}

#[test]
fn a_damaged_journal_changes_nothing() {
    let (tree, _, journal) = applied();
    let applied = tree.snapshot();
    let mut damaged = journal.clone();
    damaged[20] ^= 0x01;
    std::fs::write(tree.journal(), &damaged).unwrap();
    for typed in [
        &["plan"][..],
        &["status"],
        &["apply", "--yes"],
        &["revert", "--yes"],
        &["verify"],
    ] {
        tree.gaming(typed).refused(3, "gaming.journal");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
    let ran = tree.gaming(&["revert", "--yes", "--json"]);
    assert_eq!(ran.document()["outcome"], "refused");
    assert_eq!(ran.document()["error"]["exit_code"], 3);
    // Any one byte, anywhere: it may be noticed or be the end of an interrupted write.
    for at in (0..journal.len()).step_by(journal.len() / 60 + 1) {
        let mut damaged = journal.clone();
        damaged[at] ^= 0x80;
        std::fs::write(tree.journal(), &damaged).unwrap();
        tree.gaming(&["status"]);
    }
    std::fs::write(tree.journal(), &journal).unwrap();
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
}

#[test]
fn a_newer_journal_names_the_program_that_can_read_it() {
    let (tree, _, _) = applied();
    let applied = tree.snapshot();
    let newer =
        r#"00000000 {"record":"journal","version":99,"owner":"gaming","program":"gaming 9.1"}"#;
    std::fs::write(tree.journal(), format!("{newer}\n")).unwrap();
    for typed in [&["apply", "--yes"][..], &["revert", "--yes"], &["status"]] {
        tree.gaming(typed).refused(3, "gaming 9.1");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
}

#[test]
fn a_journal_that_others_could_have_written_is_not_believed() {
    let (tree, _, _) = applied();
    let applied = tree.snapshot();
    let commands = [&["apply", "--yes"][..], &["revert", "--yes"], &["status"]];
    let mode = |mode| {
        std::fs::set_permissions(tree.journal(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o666);
    for typed in commands {
        tree.gaming(typed).refused(3, "0666");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
    mode(0o600);
    if !is_root() {
        not_run(
            "a journal of another user",
            "it takes root to give a file away",
        );
        return;
    }
    std::os::unix::fs::chown(tree.journal(), Some(1234), Some(1234)).unwrap();
    for typed in commands {
        tree.gaming(typed).refused(3, "1234");
        assert!(tree.snapshot() == applied, "{typed:?}");
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
    // And with a journal that is root's alone.
    tree.gaming(&["apply", "--yes"]);
    let applied = tree.snapshot();
    let ran = tree.gaming_as_nobody(&["plan"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("for root to read"), "{ran:?}");
    assert_eq!(tree.gaming_as_nobody(&["verify"]).exit, 0);
    for typed in [&["status"][..], &["revert", "--yes"], &["apply", "--yes"]] {
        tree.gaming_as_nobody(typed).refused(3, "hosttune");
        assert!(tree.snapshot() == applied, "{typed:?}");
    }
}

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
    // Whoever may be asked something waits for nobody.
    assert_eq!(tree.gaming(&["apply", "--wait", "1"]).exit, 2);
    // Looking is not changing.
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

/// A terminal with somebody at it, and the program's end of it.
fn terminal() -> (std::fs::File, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
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
        // The terminal answers EIO once nobody holds its other end.
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
        (&status["owed"], &status["open"]),
        (&Value::Array(Vec::new()), &Value::Null)
    );
    assert_eq!(tree.gaming(&["apply", "--yes"]).exit, 0, "the lock is free");
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}

/// The document is what the schema of `docs/schemas` promises.
fn assert_keeps(schema: &str, ran: &Ran) {
    let path = format!(
        "{}/../docs/schemas/{schema}.schema.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let document = ran.document();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{path}: {errors:#?}\n{document:#}");
    // And the schema can say no.
    let mut other = document;
    other["unexpected"] = Value::Null;
    assert!(!validator.is_valid(&other), "{path}");
}

#[test]
fn every_document_keeps_its_schema() {
    let tree = Tree::new();
    tree.show("net/ipv4/tcp_available_congestion_control", "reno cubic");
    std::fs::write(
        tree.at("etc/sysctl.d/50-x.conf"),
        "vm.* = 10\n-vm.swappiness\n",
    )
    .unwrap();
    let verbs: [(&[&str], &str); 16] = [
        (&["plan"], "plan"),
        (&["plan", "--persist", "--with", "candidates"], "plan"),
        (&["verify"], "verify"),
        (&["status"], "status"),
        (&["who-sets", "vm.swappiness"], "who-sets"),
        (&["explain", "vm.swappiness"], "explain"),
        (&["explain", "net.ipv4.tcp_congestion_control"], "explain"),
        (&["apply", "--yes", "--strict"], "apply"),
        (&["apply", "--yes"], "apply"),
        (&["apply", "--yes"], "apply"),
        (&["apply"], "error"),
        (&["status"], "status"),
        (&["verify"], "verify"),
        (&["explain", "vm.swappiness"], "explain"),
        (&["revert", "--yes"], "revert"),
        (&["revert", "--yes"], "revert"),
    ];
    for (typed, schema) in verbs {
        assert_keeps(schema, &tree.gaming(&[typed, &["--json"]].concat()));
    }
    // With a change of somebody else's, an interrupted run and a journal that is none.
    tree.gaming(&["apply", "--yes"]);
    tree.show("vm/dirty_ratio", "33");
    let journal = std::fs::read_to_string(tree.journal()).unwrap();
    let end = journal.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(tree.journal(), &journal[..end]).unwrap();
    for (typed, schema) in [
        (&["plan"][..], "plan"),
        (&["status"], "status"),
        (&["apply", "--yes"], "apply"),
        (&["revert", "--yes"], "revert"),
    ] {
        assert_keeps(schema, &tree.gaming(&[typed, &["--json"]].concat()));
    }
    std::fs::write(tree.journal(), "no journal\n").unwrap();
    for (typed, schema) in [
        (&["plan"][..], "error"),
        (&["apply", "--yes"], "apply"),
        (&["revert", "--yes"], "revert"),
    ] {
        assert_keeps(schema, &tree.gaming(&[typed, &["--json"]].concat()));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_complain() {
    let tree = Tree::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = tree.command(&["plan"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else {
        not_run("an answer that cannot be written", "there is no /dev/full");
        return;
    };
    let output = tree.command(&["plan"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("No space left")
    );
}

/// Runs a shell script in a mount namespace of its own, where its mounts are nobody else's.
/// `None` where this machine does not let us.
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
    // 77 is the script's own word for "cannot mount"; 1 is what unshare says for itself.
    if ran.exit == 77 || ran.err.starts_with("unshare:") {
        not_run(test, ran.err.trim());
        return None;
    }
    assert!(
        (0..=4).contains(&ran.exit),
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

#[test]
fn a_disk_that_is_full_by_now_does_not_keep_the_host_from_going_back() {
    let tree = Tree::new();
    let before = tree.snapshot();
    let script = "mount -t tmpfs -o size=1m,mode=755 tmpfs \"$ROOT/run\" || exit 77\n\
         \"$GAMING\" --root \"$ROOT\" apply --yes >&2 || exit 4\n\
         cat /dev/zero > \"$ROOT/run/ballast\" 2> /dev/null\n\
         \"$GAMING\" --root \"$ROOT\" revert --yes; CODE=$?\n\
         test $CODE = 0 && exit 0\n\
         rm \"$ROOT/run/ballast\"\n\
         \"$GAMING\" --root \"$ROOT\" revert --yes || exit 4\n\
         exit $CODE";
    let Some(ran) = with_mounts("a disk that is full by now", &tree, script) else {
        return;
    };
    assert!([0, 3].contains(&ran.exit), "{ran:?}");
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

/// The kernel prints a tab between the numbers of a vector, and so does every captured tree.
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
