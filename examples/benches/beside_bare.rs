//! Compares a command that `gaming run` runs tuned with the bare command: how much later it starts, how often our
//! processes wake up while it runs, and the memory of what waits for it.
//!
//! The parts are those that users may have tuned, `sysctl` and `cpu`, on a tree of files, so nothing of this machine
//! is changed. In a tree a value is replaced by a rename, which takes longer than a write to the kernel.
//!
//! `cargo bench --bench beside_bare`. `-- --counts` measures only the wake-ups. The exit code is 1 if there are any.
//! Exceeding the limits of time and memory, which apply to the release build on an idle machine, is a failure only with
//! `-- --check`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark starts programs, prints its results, and panics on errors"
)]

#[path = "../tests/suite/command_line/tree.rs"]
#[expect(dead_code, reason = "only the tests use all of it")]
mod tree;

#[expect(dead_code, reason = "no program is traced")]
mod beside;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use beside::{Asked, Judgement, part};
use serde_json::Value;
use tree::{GAMING, Tree};

const HOSTTUNED: &str = env!("CARGO_BIN_EXE_hosttuned");

const PAIRS: usize = 200;
const WARM_UP: usize = 10;

/// The limit on what a run adds to the time until the command starts, in milliseconds.
const ADDED: f64 = 15.0;
/// The limit on the resident memory of the helper, in KiB.
const RESIDENT: u64 = 6 << 10;

/// How long our processes are watched while a command runs.
const WATCHED: Duration = Duration::from_secs(2);

/// Started under this name, this program is the command: it prints the time and ends.
const COMMAND: &str = "prints-the-time";

/// Nanoseconds since 1970: the one clock that two processes share in the standard library.
fn now() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(300), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The time from before the program is started until its command has, in milliseconds.
fn until_started(command: &mut Command) -> f64 {
    command
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let begun = now();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let started: u128 = text.trim().parse().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "less than a minute")]
    let taken = started.saturating_sub(begun) as f64;
    taken / 1e6
}

/// Runs the two in turn; returns the median of the pairs' differences, in milliseconds.
fn added(
    name: &str,
    pairs: usize,
    mut tuned: impl FnMut() -> Command,
    mut bare: impl FnMut() -> Command,
) -> f64 {
    let (mut ours, mut theirs, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + pairs {
        let (a, b) = (until_started(&mut tuned()), until_started(&mut bare()));
        if round >= WARM_UP {
            ours.push(a);
            theirs.push(b);
            differences.push(a - b);
        }
    }
    println!("\n{name}: {pairs} pairs, in milliseconds   min   median      p90");
    for (name, values) in [("tuned", &mut ours), ("bare", &mut theirs)] {
        let [least, median, most] = [0.0, 0.5, 0.9].map(|of| part(values, of));
        println!("    {name:<24} {least:>8.2} {median:>8.2} {most:>8.2}");
    }
    part(&mut differences, 0.5)
}

/// How often the threads of these processes were given a processor, and gave it back.
fn switches(processes: &[i64]) -> u64 {
    let of_thread = |status: String| -> u64 {
        let fields = status
            .lines()
            .filter_map(|line| line.split_once("ctxt_switches:"));
        fields
            .map(|(_, number)| number.trim().parse::<u64>().unwrap())
            .sum()
    };
    let of_process = |process: &i64| -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let statuses = threads.map(|thread| thread.unwrap().path().join("status"));
        statuses
            .map(|status| of_thread(std::fs::read_to_string(status).unwrap()))
            .sum()
    };
    processes.iter().map(of_process).sum()
}

/// The resident memory of a process, in KiB.
fn resident(process: i64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// The runner and the watchdog of the one run.
fn processes(tree: &Tree) -> Option<Vec<i64>> {
    let output = tree.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = status["runs"].get(0)?;
    Some(vec![run["runner"].as_i64()?, run["watchdog"].as_i64()?])
}

/// A helper for a tree, with an installed host.
struct Helper {
    process: Child,
    place: tempfile::TempDir,
}

impl Helper {
    fn start(tree: &Tree) -> Self {
        let place = tempfile::tempdir().unwrap();
        let hosts = place.path().join("hosts");
        std::fs::create_dir(&hosts).unwrap();
        let program = hosts.join("gaming");
        std::fs::copy(GAMING, &program).unwrap();
        for path in [&hosts, &program] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let socket = place.path().join("socket/run.sock");
        let process = Command::new(HOSTTUNED)
            .arg("--socket")
            .arg(&socket)
            .arg("--hosts")
            .arg(&hosts)
            .arg("--root")
            .arg(tree.root())
            .args(["--group", "root"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the helper listens", || {
            UnixStream::connect(&socket).is_ok()
        });
        Self { process, place }
    }

    fn run(&self, command: &[&str]) -> Command {
        let mut run = Command::new(GAMING);
        run.args(["run", "--require", "--wait", "300", "--helper"])
            .arg(self.place.path().join("socket/run.sock"))
            .arg("--")
            .args(command);
        run
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn of_root(tree: &Tree, command: &[&str]) -> Command {
    let options = [
        "--only",
        "sysctl,cpu",
        "run",
        "--require",
        "--wait",
        "300",
        "--",
    ];
    tree.command(&[&options[..], command].concat())
}

/// Watches our processes while a command runs. Returns how often they woke up, and their memory.
fn watched(tree: &Tree, mut run: Command, more: Option<i64>) -> (u64, Vec<u64>) {
    let mut run = run
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut ours = Vec::new();
    until("the command runs", || {
        let found = processes(tree);
        ours = found.unwrap_or_default();
        !ours.is_empty()
    });
    ours.push(i64::from(run.id()));
    ours.extend(more);
    ours.sort_unstable();
    ours.dedup();
    // Until what belongs to the start is done.
    let mut before = switches(&ours);
    until("our processes sleep", || {
        std::thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut before, switches(&ours)) == before
    });
    std::thread::sleep(WATCHED);
    let woken = switches(&ours) - before;
    let memory = ours.iter().map(|process| resident(*process)).collect();
    // The command is the runner's only child that is not ours: it ends as the runner forwards the signal.
    let pid = rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    run.wait().unwrap();
    until("it is reverted", || processes(tree).is_none());
    (woken, memory)
}

fn main() -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    if Path::new(&program).ends_with(COMMAND) {
        println!("{}", now());
        return ExitCode::SUCCESS;
    }
    let asked = Asked::of_process(PAIRS);
    let mut judgement = Judgement::default();
    let tree = Tree::with_devices();
    let directory = tempfile::tempdir().unwrap();
    let command = directory.path().join(COMMAND);
    std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &command).unwrap();
    let command = command.to_str().unwrap();
    let helper = Helper::start(&tree);
    if !asked.counts {
        let bare = || Command::new(command);
        let by_root = added("as root", asked.pairs, || of_root(&tree, &[command]), bare);
        let by_helper = added(
            "by the helper",
            asked.pairs,
            || helper.run(&[command]),
            bare,
        );
        for (what, taken) in [
            ("added by root, ms", by_root),
            ("added by the helper, ms", by_helper),
        ] {
            let (found, limit) = (format!("{taken:.2}"), format!("{ADDED}"));
            judgement.time_fails |= Judgement::say(what, &found, &limit, taken <= ADDED);
        }
    }
    println!();
    let sleep = ["sleep", "100000"];
    let of_helper = i64::from(helper.process.id());
    for (what, run, more) in [
        ("wake-ups as root", of_root(&tree, &sleep), None),
        (
            "wake-ups with the helper",
            helper.run(&sleep),
            Some(of_helper),
        ),
    ] {
        let (woken, memory) = watched(&tree, run, more);
        judgement.counts_fail |= Judgement::say(what, &woken.to_string(), "0", woken == 0);
        println!("        resident, KiB: {memory:?}");
    }
    let held = resident(of_helper);
    let holds = held <= RESIDENT;
    let fails = Judgement::say(
        "helper resident, KiB",
        &held.to_string(),
        &RESIDENT.to_string(),
        holds,
    );
    judgement.time_fails |= fails && !asked.counts;
    if judgement.counts_fail || (asked.check && judgement.time_fails) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
