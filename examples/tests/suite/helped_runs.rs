//! The helper on stock kernels: who may have what tuned, and that the host is as it was after the helper and every
//! process of the leases were killed at random moments.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hosttune_test_machine::{Random, Snapshot, Subtree, inside_stock_kernels, tell, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

inside_stock_kernels!(
    users_of_the_group_have_what_is_open_and_nobody_else_has,
    a_helper_and_its_leases_killed_at_random_moments,
    two_hundred_rounds_of_kills_around_the_helper,
);

const GAMING: &str = env!("CARGO_BIN_EXE_gaming");
const HOSTTUNED: &str = env!("CARGO_BIN_EXE_hosttuned");

/// Root's alone in the test machine, unlike /run and /tmp.
const HOSTS: &str = "/opt/hosttune-test/hosts";

const SOCKET: &str = "/run/hosttune/run.sock";

/// A group that the machine has, and two users.
const GROUP: (&str, u32) = ("nogroup", 65534);
const MEMBERS: [u32; 2] = [4001, 4002];

/// A sysctl that the host changes.
const SHOWS: &str = "/proc/sys/vm/swappiness";

fn shown() -> String {
    std::fs::read_to_string(SHOWS).unwrap().trim().to_owned()
}

fn there() -> Snapshot {
    Snapshot::of(&[Subtree::Sysctls, Subtree::Processors])
}

/// A helper with an installed host. The modules that the kernel loads when their names are written are loaded
/// before, because a revert leaves them loaded.
struct Helped {
    helper: Child,
}

impl Helped {
    fn start() -> Self {
        tell(&format!(
            "set -e; modprobe -a tcp_bbr sch_fq; mkdir -p {HOSTS}; cp {GAMING} {HOSTS}/gaming; \
             chmod -R go-w /opt/hosttune-test; rm -rf /run/hosttune"
        ));
        let helped = Self {
            helper: Self::helper(),
        };
        helped.listens();
        helped
    }

    fn helper() -> Child {
        Command::new(HOSTTUNED)
            .args(["--hosts", HOSTS, "--group", GROUP.0])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn listens(&self) {
        wait_until("the helper listens", || UnixStream::connect(SOCKET).is_ok());
    }

    /// As systemd does it.
    fn restart(&mut self) {
        let _ = self.helper.kill();
        self.helper.wait().unwrap();
        self.helper = Self::helper();
        self.listens();
    }
}

impl Drop for Helped {
    fn drop(&mut self) {
        let _ = self.helper.kill();
        let _ = self.helper.wait();
        tell("modprobe -ra tcp_bbr sch_fq; rm -rf /run/hosttune /opt/hosttune-test");
    }
}

/// A run of a user, with these groups.
fn run(user: u32, groups: &str, options: &[&str], command: &[&str]) -> Command {
    let mut run = Command::new("setpriv");
    let ids = [format!("--reuid={user}"), format!("--regid={user}")];
    run.args(&ids)
        .arg(groups)
        // The copy, which every user can execute.
        .arg(format!("{HOSTS}/gaming"))
        .args(["run", "--wait", "300"])
        .args(options)
        .arg("--")
        .args(command)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    run
}

fn member(user: u32, command: &[&str]) -> Command {
    run(user, &format!("--groups={}", GROUP.1), &[], command)
}

fn status() -> Value {
    let output = Command::new(GAMING)
        .args(["status", "--json"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn of(value: &Value) -> Option<Pid> {
    Pid::from_raw(i32::try_from(value.as_i64()?).ok()?)
}

fn send(process: Option<Pid>, signal: Signal) {
    if let Some(process) = process {
        // It may have ended.
        let _ = kill_process(process, signal);
    }
}

/// Whether there is a process that the helper has started, or one that such a process has.
fn has_leases() -> bool {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes.filter_map(Result::ok).any(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        command
            .split(|&byte| byte == 0)
            .any(|word| [&b"run-hold"[..], b"run-watchdog", b"run-recover"].contains(&word))
    })
}

#[track_caller]
fn is_as_before(before: &Snapshot, original: &str, what: &str) {
    // A lease whose client was killed before it began still begins, and ends.
    wait_until("everything is reverted", || {
        !has_leases() && shown() == original && !Path::new("/run/hosttune/gaming.run.runs").exists()
    });
    let differs = before.differs(&there());
    assert!(differs.is_empty(), "{what}: {differs:#?}");
}

fn users_of_the_group_have_what_is_open_and_nobody_else_has() {
    let helped = Helped::start();
    let (before, original) = (there(), shown());
    // A user of the group: tuned, with the nice value of the host, as that user, without a capability.
    let script = format!(
        "nice; id -u; cat {SHOWS}; grep CapEff /proc/self/status; cat /sys/devices/system/cpu/cpufreq/policy0/scaling_governor; exit 5"
    );
    let mut tuned = member(MEMBERS[0], &["sh", "-c", &script]);
    let output = tuned
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let (out, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(5), "{said}");
    let expected = format!(
        "-10\n{}\n100\nCapEff:\t0000000000000000\nperformance\n",
        MEMBERS[0]
    );
    assert_eq!(out, expected, "{said}");
    is_as_before(&before, &original, "after a run of a member");
    // A lower nice value than the host opens is not set, and the run goes on.
    let lower = run(
        MEMBERS[0],
        &format!("--groups={}", GROUP.1),
        &["--nice", "-15"],
        &["nice"],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .output()
    .unwrap();
    assert_eq!(lower.stdout, b"0\n", "{lower:?}");
    let said = String::from_utf8(lower.stderr).unwrap();
    assert!(said.contains("opens nice values down to -10"), "{said}");
    // A client in a PID namespace of its own, such as Flatpak's, does not see the process that listens.
    let inside = Command::new("unshare")
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            GAMING,
            "run",
            "--require",
        ])
        .args(["--helper", SOCKET, "--wait", "300", "--", "cat", SHOWS])
        .output()
        .unwrap();
    assert_eq!(inside.stdout, b"100\n", "{inside:?}");
    is_as_before(&before, &original, "after a run in a PID namespace");
    // Another user: not tuned, and told what to type.
    let outside = run(4003, "--clear-groups", &[], &["cat", SHOWS])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(outside.stderr).unwrap();
    assert_eq!(String::from_utf8(outside.stdout).unwrap().trim(), original);
    assert!(
        said.contains("permission denied: /run/hosttune/run.sock") && said.contains("  try: "),
        "{said}"
    );
    // A user who starts the host program's side by hand gets nothing from it.
    let mut hold = Command::new(format!("{HOSTS}/gaming"));
    hold.arg("run-hold").uid(MEMBERS[0]).gid(MEMBERS[0]);
    assert!(!hold.stdin(Stdio::null()).output().unwrap().status.success());
    // A host program that a member has written is not executed, wherever it is.
    tell(&format!(
        "cp /bin/true {HOSTS}/own && chown {} {HOSTS}/own",
        MEMBERS[0]
    ));
    let mut stream = UnixStream::connect(SOCKET).unwrap();
    stream
        .write_all(b"{\"version\":1,\"host\":\"own\"}\n")
        .unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert!(back.contains("untrusted-host"), "{back}");
    is_as_before(&before, &original, "after refusals");
    drop(helped);
}

/// What is killed in a round.
const KINDS: u64 = 7;

/// One to five runs of two users, of which some process is killed at some moment; the helper is started again if
/// it was killed, as systemd does it. No further command is needed.
fn kills(rounds: u64, seed: u64) {
    let mut helped = Helped::start();
    let (before, original) = (there(), shown());
    let mut random = Random::new(seed);
    let mut killed_while_tuned = 0;
    for round in 0..rounds {
        let count = 1 + random.below(5);
        // On a slow machine, only every third is certain to be killed while the host is tuned.
        let waits = round % 3 == 2;
        let seconds = if waits { "1" } else { "0.3" };
        let mut runs: Vec<Child> = (0..count)
            .map(|number| {
                let user = MEMBERS[usize::try_from(number % 2).unwrap()];
                member(user, &["sleep", seconds]).spawn().unwrap()
            })
            .collect();
        if waits {
            wait_until("the host is tuned, or all have ended", || {
                shown() != original || runs.iter_mut().all(|run| run.try_wait().unwrap().is_some())
            });
        } else {
            std::thread::sleep(Duration::from_millis(random.below(600)));
        }
        killed_while_tuned += u64::from(shown() != original);
        let kind = random.below(KINDS);
        let held = if kind >= 3 { status() } else { Value::Null };
        let held = held["runs"].as_array().cloned().unwrap_or_default();
        let holders = || held.iter().map(|run| of(&run["runner"]));
        let watchdogs = || held.iter().map(|run| of(&run["watchdog"]));
        match kind {
            0 => {
                for run in &runs {
                    send(
                        Pid::from_raw(i32::try_from(run.id()).unwrap()),
                        Signal::KILL,
                    );
                }
            }
            // One of several clients, and the helper.
            1 => {
                send(
                    Pid::from_raw(i32::try_from(runs[0].id()).unwrap()),
                    Signal::KILL,
                );
                helped.restart();
            }
            2 => helped.restart(),
            // The leases alone: their watchdogs revert, and the clients ask again.
            3 => holders().for_each(|holder| send(holder, Signal::KILL)),
            4 => watchdogs().for_each(|watchdog| send(watchdog, Signal::KILL)),
            // Leases and watchdogs: the helper reverts.
            5 => {
                holders().for_each(|holder| send(holder, Signal::STOP));
                watchdogs().for_each(|watchdog| send(watchdog, Signal::KILL));
                holders().for_each(|holder| send(holder, Signal::KILL));
            }
            // Everything of the service at once: its next start reverts.
            _ => {
                let helper = Pid::from_raw(i32::try_from(helped.helper.id()).unwrap());
                send(helper, Signal::STOP);
                holders().for_each(|holder| send(holder, Signal::STOP));
                watchdogs().for_each(|watchdog| send(watchdog, Signal::KILL));
                holders().for_each(|holder| send(holder, Signal::KILL));
                helped.restart();
            }
        }
        for run in &mut runs {
            run.wait().unwrap();
        }
        is_as_before(
            &before,
            &original,
            &format!("round {round}, kind {kind}, {count} runs"),
        );
    }
    assert!(killed_while_tuned >= 1, "{killed_while_tuned} of {rounds}");
    println!(
        "as it was after {rounds} of {rounds} rounds, tuned at the kill in {killed_while_tuned}"
    );
}

fn a_helper_and_its_leases_killed_at_random_moments() {
    kills(5, 0x9e37_79b9_7f4a_7c15);
}

fn two_hundred_rounds_of_kills_around_the_helper() {
    kills(200, 0xd1b5_4a32_d192_ed03);
}
