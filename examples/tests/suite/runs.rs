//! Commands that run tuned on stock kernels: reverted exactly whichever of their processes is killed, and when
//! the whole control group of the caller is.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hosttune_run::weight::weight_of_nice;
use hosttune_test_machine::{Random, Snapshot, Subtree, inside_stock_kernels, tell, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

inside_stock_kernels!(
    killed_at_random_moments_everything_is_as_it_was,
    two_hundred_rounds_of_kills_around_runs,
    the_callers_control_group_is_killed_and_the_watchdog_is_not_in_it,
    a_control_group_of_its_own_gets_the_weight_of_the_nice_value,
);

const GAMING: &str = env!("CARGO_BIN_EXE_gaming");

/// What a run tunes here: both kinds are set in a moment.
const ONLY: &str = "sysctl,cpu";

/// A sysctl that the host changes.
const SHOWS: &str = "/proc/sys/vm/swappiness";

/// How many rounds of kills; each takes part of a second under emulation.
const ROUNDS: u64 = 24;

/// The modules that the kernel loads when their names are written, and that a revert leaves loaded: they are
/// loaded before the test and unloaded after it. The directory of the locks goes too.
struct Prepared;

impl Prepared {
    fn load() -> Self {
        tell("modprobe -a tcp_bbr sch_fq");
        Self
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        tell("modprobe -ra tcp_bbr sch_fq; rm -rf /run/hosttune");
    }
}

fn there() -> Snapshot {
    Snapshot::of(&[Subtree::Sysctls, Subtree::Processors])
}

fn shown() -> String {
    std::fs::read_to_string(SHOWS).unwrap().trim().to_owned()
}

fn run(command: &[&str]) -> Command {
    let mut run = Command::new(GAMING);
    run.args(["run", "--only", ONLY, "--wait", "60", "--"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    run
}

fn status() -> Value {
    let output = Command::new(GAMING)
        .args(["status", "--json"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The processes of all runs: runner, watchdog and command of each.
fn processes() -> Vec<[Option<Pid>; 3]> {
    let of = |value: &Value| Pid::from_raw(i32::try_from(value.as_i64()?).ok()?);
    let status = status();
    let runs = status["runs"].as_array().unwrap();
    runs.iter()
        .map(|run| [of(&run["runner"]), of(&run["watchdog"]), of(&run["pid"])])
        .collect()
}

fn kill(process: Option<Pid>) {
    if let Some(process) = process {
        let _ = kill_process(process, Signal::KILL);
    }
}

/// One to three runs, of which some process is killed at some moment. Where a watchdog is left, it reverts by
/// itself; otherwise the next command does.
fn killed_at_random_moments_everything_is_as_it_was() {
    let killed_while_tuned = kills(ROUNDS, 3, 5, 0x9e37_79b9_7f4a_7c15);
    assert!(killed_while_tuned >= 5, "{killed_while_tuned} of {ROUNDS}");
}

/// One to five runs, and also their watchdogs alone.
fn two_hundred_rounds_of_kills_around_runs() {
    let killed_while_tuned = kills(200, 5, 6, 0xd1b5_4a32_d192_ed03);
    assert!(killed_while_tuned >= 40, "{killed_while_tuned} of 200");
}

/// Rounds of one to `most` runs, and the first `kinds` ways to kill them. Returns in how many rounds the host was tuned
/// at that moment.
fn kills(rounds: u64, most: u64, kinds: u64, seed: u64) -> u32 {
    let _prepared = Prepared::load();
    let (before, original) = (there(), shown());
    let mut random = Random::new(seed);
    let mut killed_while_tuned = 0;
    for round in 0..rounds {
        let count = 1 + random.below(most);
        // On a slow machine, only every third is certain to be killed while the host is tuned.
        let waits = round % 3 == 2;
        let seconds = if waits { "1" } else { "0.3" };
        let mut runs: Vec<Child> = (0..count)
            .map(|_| run(&["sleep", seconds]).spawn().unwrap())
            .collect();
        if waits {
            wait_until("the host is tuned, or all have ended", || {
                shown() != original || runs.iter_mut().all(|run| run.try_wait().unwrap().is_some())
            });
        } else {
            // From the first instruction to after the command has started.
            std::thread::sleep(Duration::from_millis(random.below(450)));
        }
        let was_tuned = shown() != original;
        let kind = random.below(kinds);
        for run in &runs {
            let runner = Pid::from_raw(i32::try_from(run.id()).unwrap());
            match kind {
                0 | 1 => kill(runner),
                // One of several, and the others go on.
                2 => {
                    kill(runner);
                    break;
                }
                _ => {}
            }
        }
        if kind >= 3 {
            for [runner, watchdog, command] in processes() {
                match kind {
                    // The command alone: the run ends as it does.
                    3 => kill(command),
                    // The runner starts another one.
                    5 => kill(watchdog),
                    // All at once; stopped first, so that nobody is replaced meanwhile.
                    _ => {
                        if let Some(runner) = runner {
                            let _ = kill_process(runner, Signal::STOP);
                        }
                        [watchdog, runner, command].into_iter().for_each(kill);
                    }
                }
            }
        }
        killed_while_tuned += u32::from(was_tuned);
        for run in &mut runs {
            run.wait().unwrap();
        }
        let needs_a_command = kind == 4;
        if needs_a_command {
            let output = Command::new(GAMING)
                .args(["revert", "--yes"])
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        } else {
            let begun = Instant::now();
            while shown() != original && begun.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        wait_until("the records are removed", || {
            !Path::new("/run/hosttune/gaming.run.runs").exists()
        });
        let differs = before.differs(&there());
        assert!(
            differs.is_empty(),
            "round {round}, kind {kind}, {count} runs: {differs:#?}"
        );
    }
    println!(
        "as it was after {rounds} of {rounds} rounds, tuned at the kill in {killed_while_tuned}"
    );
    killed_while_tuned
}

/// As a logout or `systemctl stop` of a scope does it. The watchdog reverts without a further command.
fn the_callers_control_group_is_killed_and_the_watchdog_is_not_in_it() {
    let _prepared = Prepared::load();
    let (before, original) = (there(), shown());
    let mount = "/run/hosttune-test-cgroup";
    tell(&format!(
        "mkdir -p {mount} && mount -t cgroup2 none {mount} && mkdir {mount}/caller"
    ));
    let script = format!("echo 0 >{mount}/caller/cgroup.procs && exec \"$@\"");
    let inner = run(&["sleep", "100"]);
    let mut caller = Command::new("sh");
    caller
        .args(["-c", &script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let mut caller = caller.stderr(Stdio::null()).spawn().unwrap();
    wait_until("the command runs tuned", || {
        shown() != original && processes().len() == 1
    });
    let [runner, watchdog, command] = processes()[0];
    let inside = std::fs::read_to_string(format!("{mount}/caller/cgroup.procs")).unwrap();
    let is_inside = |process: Option<Pid>| {
        let pid = process.unwrap().as_raw_pid().to_string();
        inside.lines().any(|line| line == pid)
    };
    assert!(is_inside(runner) && is_inside(command), "{inside}");
    assert!(!is_inside(watchdog), "{inside}");
    std::fs::write(format!("{mount}/caller/cgroup.kill"), "1").unwrap();
    caller.wait().unwrap();
    wait_until("the watchdog has reverted", || shown() == original);
    wait_until("the records are removed", || {
        !Path::new("/run/hosttune/gaming.run.runs").exists()
    });
    wait_until("the group is empty", || {
        std::fs::remove_dir(format!("{mount}/caller")).is_ok()
    });
    tell(&format!("umount {mount} && rmdir {mount}"));
    let differs = before.differs(&there());
    assert!(differs.is_empty(), "{differs:#?}");
}

/// In a control group with the controller: nice counts only within it, so it gets the weight; a group that is shared
/// keeps its weight; and in the root the session counts.
fn a_control_group_of_its_own_gets_the_weight_of_the_nice_value() {
    let _prepared = Prepared::load();
    let mount = "/run/hosttune-test-cgroup";
    let group = format!("{mount}/game");
    tell(&format!(
        "mkdir -p {mount} && mount -t cgroup2 none {mount} && echo +cpu >{mount}/cgroup.subtree_control && mkdir {group}"
    ));
    let weight = || std::fs::read_to_string(format!("{group}/cpu.weight")).unwrap();
    // The kernel's own table. Weights below 4 are too coarse to be told apart.
    for nice in -20..=14 {
        let (file, shown) = (
            format!("{group}/cpu.weight"),
            format!("{group}/cpu.weight.nice"),
        );
        std::fs::write(&file, weight_of_nice(nice).to_string()).unwrap();
        let shown = std::fs::read_to_string(shown).unwrap();
        assert_eq!(shown.trim(), nice.to_string());
    }
    std::fs::write(format!("{group}/cpu.weight"), "150").unwrap();
    let (before, original) = (there(), weight());
    let inside = |script: &str| {
        let script = format!("echo 0 >{group}/cgroup.procs && {script}");
        let inner = run(&["sleep", "100"]);
        let mut caller = Command::new("sh");
        caller.args(["-c", &script, "sh"]).arg(inner.get_program());
        caller.args(inner.get_args()).stderr(Stdio::null());
        caller.spawn().unwrap()
    };
    let of_run = |name: &str| status()["runs"][0][name].clone();
    let ends = |mut caller: Child| {
        kill(processes()[0][2]);
        caller.wait().unwrap();
        wait_until("the records are removed", || {
            !Path::new("/run/hosttune/gaming.run.runs").exists()
        });
        assert_eq!(weight(), original);
        let differs = before.differs(&there());
        assert!(differs.is_empty(), "{differs:#?}");
    };
    // The process has the nice value before the weight is set, and becomes the command after that.
    let is_running = || {
        wait_until("the command runs", || {
            let pid = processes().first().and_then(|run| run[2]);
            let comm =
                pid.map(|pid| std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_pid())));
            comm.is_some_and(|comm| comm.is_ok_and(|comm| comm.trim() == "sleep"))
        });
        assert_eq!(of_run("nice"), -10);
    };

    let caller = inside("exec \"$@\"");
    is_running();
    assert_eq!(weight(), "932\n");
    assert_eq!(of_run("weight"), 932);
    let counts = of_run("nice_counts");
    assert!(counts.as_str().unwrap().contains("/game"), "{counts}");
    ends(caller);

    // The shell is a process of the group, and not one of the run.
    let caller = inside("\"$@\"; true");
    is_running();
    assert_eq!(weight(), original);
    ends(caller);

    // In the root, the session is a group, unless the kernel was told otherwise.
    let autogroup = "/proc/sys/kernel/sched_autogroup_enabled";
    let was = std::fs::read_to_string(autogroup).unwrap();
    for (value, word) in [("1", "of its session"), ("0", "against all processes")] {
        std::fs::write(autogroup, value).unwrap();
        let mut runner = run(&["sleep", "100"]);
        let runner = runner.spawn().unwrap();
        is_running();
        let counts = of_run("nice_counts");
        assert!(counts.as_str().unwrap().contains(word), "{counts}");
        assert_eq!(of_run("weight"), Value::Null);
        std::fs::write(autogroup, &was).unwrap();
        ends(runner);
    }
    wait_until("the group is empty", || std::fs::remove_dir(&group).is_ok());
    tell(&format!(
        "echo -cpu >{mount}/cgroup.subtree_control && umount {mount} && rmdir {mount}"
    ));
}
