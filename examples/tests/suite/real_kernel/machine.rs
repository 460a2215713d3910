//! Exclusive use of the machine for one test: private mounts, a lock on the sysctls, a restore at the end.
//!
//! The sysctls belong to the whole machine; everything else that `gaming` writes can be made private. So a
//! test takes a lock that all processes running this file share, takes a snapshot of the sysctls and of all
//! other subtrees, and at the end restores every sysctl that differs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hosttune_test_machine::inside::is_inside;
use hosttune_test_machine::{Seen, Snapshot};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::FlockOperation;
use serde_json::Value;

pub(crate) const GAMING: &str = env!("CARGO_BIN_EXE_gaming");

const SYSCTLS: &str = "/proc/sys";

/// The directories of journals; both are on private file systems.
pub(crate) const JOURNALS: [&str; 2] = ["/run/hosttune", "/var/lib/hosttune"];

/// The directory that `--persist` writes to; a private copy of the machine's.
pub(crate) const PERSISTED: &str = "/etc/sysctl.d";

/// A snapshot of every subtree. Outside of the test machine, other programs may set up loop devices meanwhile.
pub(crate) fn everything() -> Snapshot {
    let snapshot = Snapshot::of_everything();
    if is_inside() {
        return snapshot;
    }
    let mut loops: Vec<String> = snapshot
        .iter()
        .filter_map(|(what, _)| what.strip_prefix("/sys/block/loop"))
        .filter_map(|rest| rest.split('/').next())
        .map(|number| format!("/sys/block/loop{number}"))
        .collect();
    loops.dedup();
    let why = "belongs to the program that sets it up";
    let loops: Vec<(&str, &str)> = loops.iter().map(|name| (name.as_str(), why)).collect();
    snapshot.except(&loops)
}

/// Restores every sysctl that differs from before, and fails the test if anything differs.
struct PutBack {
    before: Snapshot,
}

impl Drop for PutBack {
    fn drop(&mut self) {
        let mut found = Vec::new();
        // More than once, because writing a value can change others; the next pass finds those.
        for _ in 0..4 {
            let now = everything();
            let different = self.before.differences(&now);
            if different.is_empty() {
                break;
            }
            for difference in different {
                found.push(difference.to_string());
                // These tests set only sysctls, and writing any other file could have unknown side effects.
                if let Some(Seen::Holds(value)) = difference.was
                    && Path::new(difference.what).starts_with(SYSCTLS)
                {
                    // If writing fails, the next pass reports the value again.
                    let _ = std::fs::write(difference.what, value);
                }
            }
        }
        if found.is_empty() {
            return;
        }
        let left = self.before.differs(&everything());
        let text = format!(
            "the test left values changed and put them back: {found:#?}\nstill not as they were: {left:#?}"
        );
        if std::thread::panicking() {
            eprintln!("{text}");
        } else {
            panic!("{text}");
        }
    }
}

/// The machine, during a test that has exclusive use of it.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Everything that a snapshot holds, before the test.
    pub(crate) before: Snapshot,
    /// The sysctls that `gaming` can set here, and those that change as a side effect.
    pub(crate) keys: Vec<PathBuf>,
    /// The values of `keys` before the test.
    pub(crate) keys_before: Snapshot,
}

/// Runs a test with exclusive use of the machine, or prints in one line why it cannot run.
///
/// The namespaces belong to a thread that is started for the test, and end with it.
pub(crate) fn alone(test: &str, kind: Network, body: impl FnOnce(&Machine) + Send) {
    let outcome = std::thread::scope(|scope| scope.spawn(|| in_this_thread(kind, body)).join());
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => println!("not run: {test}: {reason}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The network namespace of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// The machine's.
    Machines,
    /// A new, empty one.
    New,
}

fn in_this_thread(network: Network, body: impl FnOnce(&Machine)) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("it needs root".to_owned());
    }
    let lock = File::open(SYSCTLS).map_err(|error| format!("{SYSCTLS} is not here: {error}"))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| format!("{SYSCTLS} cannot be locked: {error}"))?;
    let namespaces = match network {
        Network::Machines => CloneFlags::CLONE_NEWNS,
        Network::New => CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET,
    };
    unshare(namespaces).map_err(|errno| format!("no namespace can be made here: {errno}"))?;
    let copy = own_mounts().map_err(|reason| format!("the mounts cannot be made: {reason}"))?;
    writable()?;
    if is_inside() {
        modules(true);
    }

    let before = everything();
    // Created before anything is written, so that everything is restored whatever happens.
    let put_back = PutBack { before };
    let keys = keys();
    let machine = Machine {
        before: put_back.before.clone(),
        keys_before: Snapshot::of_files(&keys),
        keys,
    };
    body(&machine);
    drop(put_back);
    drop(copy);
    drop(lock);
    Ok(())
}

/// The modules that the kernel loads when `gaming` names a congestion control algorithm or a qdisc. If they
/// are loaded in advance, no snapshot shows the loading.
const MODULES: [&str; 2] = ["tcp_bbr", "sch_fq"];

/// Loads or unloads all of them. Only for the test machine, which has them.
pub(crate) fn modules(loaded: bool) {
    let what = if loaded { "-a" } else { "-ra" };
    let output = Command::new("modprobe").arg(what).args(MODULES).output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "modprobe {what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Hides all modules from the test, from the processes that it starts, and from the kernel.
pub(crate) fn without_modules() -> WithoutModules {
    std::fs::write(MODPROBE, "/nowhere").unwrap();
    mount(
        Some("tmpfs"),
        "/lib/modules",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    // The lists of modules are there as usual, but empty.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let directory = Path::new("/lib/modules").join(release.trim());
    std::fs::create_dir(&directory).unwrap();
    for list in ["modules.dep", "modules.builtin"] {
        std::fs::write(directory.join(list), "").unwrap();
    }
    WithoutModules(())
}

/// The sysctl with the program that the kernel runs to load a module.
const MODPROBE: &str = "/proc/sys/kernel/modprobe";

/// Hides the modules until it is dropped.
#[derive(Debug)]
pub(crate) struct WithoutModules(());

impl Drop for WithoutModules {
    fn drop(&mut self) {
        umount2("/lib/modules", MntFlags::MNT_DETACH).unwrap();
        std::fs::write(MODPROBE, "/sbin/modprobe").unwrap();
    }
}

/// Mounts private file systems over everything that `gaming` writes except `/proc/sys`.
fn own_mounts() -> Result<tempfile::TempDir, String> {
    let none = None::<&str>;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |errno| format!("{what}: {errno}")
    };
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(failed("making / private"))?;
    let copy = tempfile::tempdir().map_err(|error| error.to_string())?;
    let inside = copy.path().join("sysctl.d");
    let copied = Command::new("cp")
        .args(["-a", PERSISTED])
        .arg(&inside)
        .output()
        .map_err(|error| format!("cp: {error}"))?;
    if !copied.status.success() {
        return Err(String::from_utf8_lossy(&copied.stderr).trim().to_owned());
    }
    mount(Some(&inside), PERSISTED, none, MsFlags::MS_BIND, none).map_err(failed(PERSISTED))?;
    for directory in ["/run", "/var/lib"] {
        mount(
            Some("tmpfs"),
            directory,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )
        .map_err(failed(directory))?;
    }
    Ok(copy)
}

/// Fails if nothing can be set, as even for root in some containers.
fn writable() -> Result<(), String> {
    let path = "/proc/sys/vm/swappiness";
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .map(drop)
        .map_err(|error| format!("{path} cannot be written: {error}"))
}

/// The keys of the profile, and those that change as a side effect.
fn keys() -> Vec<PathBuf> {
    let plan = json(&run(&["plan", "--json", "--only", SYSCTLS_ONLY]));
    let of = |list: &str| -> Vec<String> {
        let items = plan[list].as_array().unwrap().iter();
        items
            .filter_map(|item| item["knob"].as_str().or_else(|| item.as_str()))
            .map(ToOwned::to_owned)
            .collect()
    };
    let mut keys = [of("steps"), of("not_applicable"), of("as_wanted")].concat();
    keys.extend(
        [
            "vm.dirty_bytes",
            "vm.dirty_background_bytes",
            "net.ipv4.tcp_allowed_congestion_control",
        ]
        .map(ToOwned::to_owned),
    );
    keys.iter().map(|key| path_of(key)).collect()
}

/// The file of a key. No segment of the key may contain a dot.
pub(crate) fn path_of(key: &str) -> PathBuf {
    Path::new(SYSCTLS).join(key.replace('.', "/"))
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(GAMING)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The part of the profile that is applied here. Not `qos`: no test shapes the network interface of the
/// machine that runs it, which may be reachable only through that interface.
pub(crate) const SYSCTLS_ONLY: &str = "sysctl";

/// Runs the program on the sysctls only, and fails unless it exits with `code`.
#[track_caller]
pub(crate) fn exits(code: i32, arguments: &[&str], when: impl fmt::Display) -> Output {
    let mut arguments = arguments.to_vec();
    let is_about_all = matches!(arguments[..], ["revert" | "status", ..]);
    if !is_about_all && !arguments.contains(&"--only") {
        arguments.extend(["--only", SYSCTLS_ONLY]);
    }
    let output = run(&arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{when}: gaming {}\n{}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The document that the program printed.
#[track_caller]
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// The strings of one field of every item in a list.
pub(crate) fn names(list: &Value, field: &str) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

/// A file: mode, user, group, and its bytes or the target of the link.
pub(crate) type Lying = (u32, u32, u32, Vec<u8>);

/// Everything in a directory by path, including hidden files; empty if there is no directory.
pub(crate) fn listing(directory: &str) -> BTreeMap<PathBuf, Lying> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return BTreeMap::new();
    };
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let bytes = if metadata.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                target.into_os_string().into_encoded_bytes()
            } else {
                std::fs::read(&path).unwrap()
            };
            let lying = (metadata.mode(), metadata.uid(), metadata.gid(), bytes);
            (path, lying)
        })
        .collect()
}

impl Machine {
    /// Fails if a key of the profile differs from before, or if anything but the lock is left of a journal.
    #[track_caller]
    pub(crate) fn is_as_it_was(&self, when: impl fmt::Display) {
        self.keys_before
            .is_still(&Snapshot::of_files(&self.keys), &when);
        for directory in JOURNALS {
            let left: Vec<PathBuf> = listing(directory)
                .into_keys()
                .filter(|path| !path.ends_with("lock"))
                .collect();
            assert!(left.is_empty(), "{when}: left behind: {left:?}");
        }
    }

    /// The same for every value in every subtree of a snapshot.
    #[track_caller]
    pub(crate) fn is_wholly_as_it_was(&self, when: impl fmt::Display) {
        self.is_as_it_was(&when);
        self.before.is_still(&everything(), &when);
    }

    /// How many keys of the profile differ from before.
    pub(crate) fn changed(&self) -> usize {
        self.keys_before.distance(&Snapshot::of_files(&self.keys))
    }
}

/// Removes the journal directories, as on a machine where the program has never run.
pub(crate) fn never_seen() {
    for directory in JOURNALS {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                panic!("{directory}: {error}")
            }
            _ => {}
        }
    }
}

/// Keeps `/proc/sys` mounted read-only until it is dropped.
#[derive(Debug)]
pub(crate) struct ReadOnly(());

impl ReadOnly {
    /// Mounts it read-only in the namespace of this thread.
    pub(crate) fn mounted() -> Self {
        let none = None::<&str>;
        mount(Some(SYSCTLS), SYSCTLS, none, MsFlags::MS_BIND, none).unwrap();
        let mounted = Self(());
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(none, SYSCTLS, none, flags, none).unwrap();
        mounted
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        umount2(SYSCTLS, MntFlags::MNT_DETACH).unwrap();
    }
}

/// Long enough for values that change by themselves to show it.
pub(crate) const A_WHILE: Duration = Duration::from_secs(1);
