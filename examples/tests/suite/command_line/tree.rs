//! Captured trees, and runs of the program on them.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const GAMING: &str = env!("CARGO_BIN_EXE_gaming");

/// An unprivileged user.
pub(crate) const NOBODY: u32 = 65534;

/// Sysctls of the profile (without its candidates): key, original value, requested value.
pub(crate) const WANTED: [(&str, &str, &str); 18] = [
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

/// Other sysctls of the kernel, with their values.
pub(crate) const BESIDES: [(&str, &str); 5] = [
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

/// Disks, processors and memory: name, original content, content after an apply.
pub(crate) const DEVICES: [(&str, &str, &str); 6] = [
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

/// The path of a name in [`DEVICES`].
pub(crate) fn device(name: &str) -> String {
    match name.split_once('/') {
        Some((disk, file)) => format!("sys/devices/{}/{file}", place(disk)),
        None if name == "hugepages" => "sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
        None => format!(
            "sys/devices/system/cpu/cpufreq/policy{}/scaling_governor",
            name.trim_start_matches("cpu")
        ),
    }
}

/// The path of a disk below `sys/devices`.
pub(crate) fn place(disk: &str) -> String {
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

pub(crate) struct Tree {
    directory: tempfile::TempDir,
}

/// Everything in a tree but the journals: mode, user, group, and bytes.
pub(crate) type Snapshot = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

impl Tree {
    pub(crate) fn new() -> Self {
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
        // Some tests run the program as the user nobody, who must be able to read the tree.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(tree.root(), open).unwrap();
        tree
    }

    /// The same with two solid-state disks, one rotational disk, two processors, and hugepages.
    pub(crate) fn with_devices() -> Self {
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

    pub(crate) fn put(&self, path: &str, value: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{value}\n")).unwrap();
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.at("run/hosttune/gaming.journal")
    }

    /// Sets the value of a sysctl in the tree.
    pub(crate) fn show(&self, key: &str, value: &str) {
        let path = self.at("proc/sys").join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{value}\n")).unwrap();
    }

    pub(crate) fn shows(&self, key: &str) -> String {
        std::fs::read_to_string(self.at("proc/sys").join(key)).unwrap()
    }

    /// The same with one space between the fields, where the kernel prints tabs.
    pub(crate) fn value(&self, key: &str) -> String {
        let fields = self.shows(key);
        fields.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What is in the tree, without the journals. A file that is removed meanwhile, by a process that the test
    /// waits for, is left out.
    pub(crate) fn snapshot(&self) -> Snapshot {
        fn there<T>(seen: std::io::Result<T>) -> Option<T> {
            match seen {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                seen => Some(seen.unwrap()),
            }
        }
        let mut found = Snapshot::new();
        let mut ahead = vec![self.root().to_owned()];
        while let Some(path) = ahead.pop() {
            let inner = path.strip_prefix(self.root()).unwrap().to_owned();
            // The last one holds the socket of a bus that a test has started.
            let not_of_the_host = ["run/hosttune", "var/lib/hosttune", "run/dbus"];
            if not_of_the_host.map(Path::new).contains(&inner.as_path()) {
                continue;
            }
            let Some(metadata) = there(std::fs::symlink_metadata(&path)) else {
                continue;
            };
            let bytes = if metadata.is_dir() {
                let Some(entries) = there(std::fs::read_dir(&path)) else {
                    continue;
                };
                for entry in entries {
                    ahead.push(entry.unwrap().path());
                }
                Some(Vec::new())
            } else if metadata.is_symlink() {
                there(std::fs::read_link(&path)).map(|to| to.into_os_string().into_encoded_bytes())
            } else {
                there(std::fs::read(&path))
            };
            let Some(bytes) = bytes else { continue };
            found.insert(
                inner,
                (metadata.mode(), metadata.uid(), metadata.gid(), bytes),
            );
        }
        found
    }

    pub(crate) fn command(&self, typed: &[&str]) -> Command {
        let mut command = Command::new(GAMING);
        command
            .arg("--root")
            .arg(self.root())
            .args(typed)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn gaming(&self, typed: &[&str]) -> Ran {
        Ran::of(&mut self.command(typed))
    }

    pub(crate) fn gaming_as_nobody(&self, typed: &[&str]) -> Ran {
        let root = self.root().to_str().unwrap();
        run_as_nobody(&[&["--root", root], typed].concat())
    }
}

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Runs the program. Whatever the input, it must exit by itself with a documented code.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::told(command.output().unwrap())
    }

    /// The outcome of a run that has ended.
    pub(crate) fn told(output: std::process::Output) -> Self {
        let ran = Self {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(
            (0..=5).contains(&ran.exit),
            "no documented exit code: {ran:?}"
        );
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        ran
    }

    /// Fails unless it was refused with this exit code and a message that contains `named` and a hint.
    #[track_caller]
    pub(crate) fn refused(&self, exit: i32, named: &str) {
        assert_eq!(self.exit, exit, "{self:?}");
        assert!(self.err.contains(named), "'{named}' is not named: {self:?}");
        assert!(self.err.contains("  try: "), "no way out: {self:?}");
    }

    /// Fails unless the command line was refused with a message that contains `named`.
    #[track_caller]
    pub(crate) fn refused_usage(&self, named: &str) {
        assert_eq!(self.exit, 2, "{self:?}");
        assert!(self.err.contains(named), "'{named}' is not named: {self:?}");
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Prints why a test was not run: no test is skipped silently.
pub(crate) fn not_run(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "not run: {test}: {reason}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a copy of the program that every user can start: the checkout may be in a home directory that other
/// users cannot enter.
pub(crate) fn run_as_nobody(typed: &[&str]) -> Ran {
    run_by_as_nobody(&[], typed)
}

/// The same by another program, which is given with its arguments and executes what follows them.
pub(crate) fn run_by_as_nobody(by: &[&str], typed: &[&str]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let program = directory.path().join("gaming");
    // With cp: a file that this process writes may still be open in a child that another test has just
    // started, and executing it would fail with ETXTBSY.
    let copied = Command::new("cp").arg(GAMING).arg(&program).status();
    assert!(copied.unwrap().success());
    let program = program.to_str().unwrap();
    let words = [by, &[program], typed].concat();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .uid(NOBODY)
        .gid(NOBODY);
    Ran::of(&mut command)
}

/// Whether this test can run the program as an unprivileged user.
pub(crate) fn can_be_nobody(test: &str) -> bool {
    if !is_root() {
        not_run(test, "it takes root to become another user");
        return false;
    }
    true
}
