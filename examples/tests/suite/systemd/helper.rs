//! The helper under systemd: who may have what tuned, what its unit leaves to it, and what systemd does when it is
//! killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use hosttune_test_machine::{Snapshot, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::installed::{MEMBER, OTHER};
use super::{INSTALLED, gaming, log_of, property, quiet, shown, systemctl, there};

const HELPER: &str = "hosttuned.service";

/// A sysctl of the network namespace: in an empty one, which `PrivateNetwork=` makes, it would be another value.
const OF_THE_NETWORK: &str = "/proc/sys/net/core/rmem_max";

const GOVERNOR: &str = "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor";

/// `CAP_NET_ADMIN`, `CAP_SYS_MODULE` and `CAP_SYS_NICE` (`linux/capability.h`).
const CAPABILITIES: u64 = 1 << 12 | 1 << 16 | 1 << 23;

/// A run of a user, with the groups that `/etc/group` lists.
fn run(user: &str, command: &[&str]) -> Command {
    let mut run = quiet("setpriv");
    run.args([
        &format!("--reuid={user}"),
        &format!("--regid={user}"),
        "--init-groups",
    ])
    .args([INSTALLED, "run", "--wait", "300", "--"])
    .args(command)
    .current_dir("/");
    run
}

fn out(output: &std::process::Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// The processes of the one run that there is: its holder and its watchdog; `None` if there is none.
fn lease() -> Option<[Pid; 2]> {
    let status: Value = serde_json::from_str(&gaming(&["status", "--json"])).unwrap();
    let run = status["runs"].get(0)?;
    let of = |value: &Value| Pid::from_raw(i32::try_from(value.as_i64()?).ok()?);
    Some([of(&run["runner"])?, of(&run["watchdog"])?])
}

fn main_process() -> Option<Pid> {
    Pid::from_raw(property(HELPER, "MainPID").parse().unwrap())
}

/// A command of a member that runs tuned until it is killed.
struct Tuned(Child);

impl Tuned {
    fn start(original: &str) -> Self {
        let run = run(MEMBER, &["sleep", "100000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let run = Self(run);
        wait_until("the host is tuned", || {
            shown() != original && lease().is_some()
        });
        run
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Kills the client; nothing else is told.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[track_caller]
fn is_as_before(before: &Snapshot, original: &str, what: &str) {
    wait_until(&format!("everything is reverted {what}"), || {
        shown() == original && !Path::new("/run/hosttune/gaming.run.runs").exists()
    });
    let differs = before.differs(&there());
    assert!(differs.is_empty(), "{what}: {differs:#?}");
}

pub(super) fn is_started_by_its_socket_for_users_of_the_group() {
    let (before, original) = (there(), shown());
    let (network, governor) = (read(OF_THE_NETWORK), read(GOVERNOR));
    assert_ne!(network, "33554432");
    assert_ne!(governor, "performance");
    // One who is not in the group is refused by the kernel, and nothing is started.
    let refused = run(OTHER, &["cat", "/proc/sys/vm/swappiness"]).output();
    let (text, said) = out(&refused.unwrap());
    assert_eq!(text, original, "{said}");
    assert!(
        said.contains("permission denied: /run/hosttune/run.sock"),
        "{said}"
    );
    assert_eq!(main_process(), None);
    // The command is a process of this machine and not of the unit: it sees what the host has.
    let script =
        format!("nice; id -un; cat /proc/sys/vm/swappiness {OF_THE_NETWORK} {GOVERNOR}; exit 5");
    let tuned = run(MEMBER, &["sh", "-c", &script]).output().unwrap();
    let (text, said) = out(&tuned);
    let expected = format!("-10\n{MEMBER}\n100\n33554432\nperformance");
    assert_eq!(text, expected, "{said}\n{}", log_of(HELPER));
    assert_eq!(tuned.status.code(), Some(5), "{said}");
    is_as_before(&before, &original, "after a run of a member");
    assert_eq!(property(HELPER, "ActiveState"), "active");
    assert!(main_process().is_some());
}

/// What the unit says is what the kernel has for the helper and for the host program of a lease.
pub(super) fn is_hardened() {
    let (before, original) = (there(), shown());
    let mut run = Tuned::start(&original);
    let [holder, watchdog] = lease().unwrap();
    for process in [main_process().unwrap(), holder, watchdog] {
        let pid = process.as_raw_pid();
        let status = read(&format!("/proc/{pid}/status"));
        let field = |name: &str| {
            let mut fields = status.lines().filter_map(|line| line.split_once(":\t"));
            let found = fields.find(|(field, _)| *field == name);
            found.map(|(_, value)| value.trim().to_owned())
        };
        assert_eq!(field("NoNewPrivs").as_deref(), Some("1"), "{status}");
        // 2: a filter (proc_pid_status(5)).
        assert_eq!(field("Seccomp").as_deref(), Some("2"), "{status}");
        for set in ["CapBnd", "CapPrm"] {
            let held = field(set).and_then(|set| u64::from_str_radix(&set, 16).ok());
            assert_eq!(held, Some(CAPABILITIES), "{set}: {status}");
        }
        // A mount namespace of its own, and the network of the host.
        let namespace =
            |of: &str, kind: &str| std::fs::read_link(format!("/proc/{of}/ns/{kind}")).unwrap();
        let pid = pid.to_string();
        assert_ne!(namespace(&pid, "mnt"), namespace("1", "mnt"));
        assert_eq!(namespace(&pid, "net"), namespace("1", "net"));
    }
    run.kill();
    is_as_before(&before, &original, "after the client was killed");
}

pub(super) fn is_started_again_after_a_kill() {
    let (before, original) = (there(), shown());
    // Only the helper: the lease goes on.
    let mut run = Tuned::start(&original);
    let (old, held) = (main_process().unwrap(), lease());
    kill_process(old, Signal::KILL).unwrap();
    wait_until("systemd has started the helper again", || {
        main_process().is_some_and(|new| new != old) && property(HELPER, "SubState") == "running"
    });
    assert_ne!(shown(), original);
    assert_eq!(lease(), held, "{}", log_of(HELPER));
    assert!(run.is_running());
    // All of the unit: the client asks again, and its command goes on tuned.
    systemctl(&format!("kill --signal KILL {HELPER}"));
    wait_until("another process holds the host tuned", || {
        let now = lease();
        shown() != original && now.is_some() && now.map(|now| now[0]) != held.map(|held| held[0])
    });
    assert!(run.is_running());
    // All of the unit, and the client before that: nobody asks again, and systemd starts what reverts.
    run.kill();
    is_as_before(&before, &original, "after the client was killed");
    let mut run = Tuned::start(&original);
    let restarts = |text: String| text.parse::<u64>().unwrap();
    let so_far = restarts(property(HELPER, "NRestarts"));
    run.0.kill().unwrap();
    systemctl(&format!("kill --signal KILL {HELPER}"));
    run.0.wait().unwrap();
    is_as_before(&before, &original, "after everything was killed");
    wait_until("systemd has started the helper again", || {
        restarts(property(HELPER, "NRestarts")) > so_far
            && property(HELPER, "SubState") == "running"
    });
    // Stopping it ends no lease.
    let mut run = Tuned::start(&original);
    systemctl(&format!("stop {HELPER}"));
    assert_ne!(shown(), original);
    assert!(run.is_running());
    run.kill();
    is_as_before(
        &before,
        &original,
        "after the helper was stopped and the client killed",
    );
}
