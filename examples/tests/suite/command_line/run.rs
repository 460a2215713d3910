//! A command that runs while the tree is tuned: its exit code, its signals and terminal, concurrent runs, and
//! what is reverted when any of the processes is killed.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::tree::{NOBODY, Snapshot, Tree, can_be_nobody};

/// Longer than anything takes here on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// A file of the tree that shows whether it is tuned, and its content then.
const SHOWS: (&str, &str) = ("vm/swappiness", "100");

/// A run. A shell that has started these tests in the background has them ignore some signals, and a run passes that
/// on as any program does; so the run is started with their defaults.
pub(super) fn run(tree: &Tree, options: &[&str], command: &[&str]) -> Command {
    let run = tree.command(&[&["run"], options, &["--"], command].concat());
    let mut reset = Command::new("env");
    reset.args(["--default-signal=INT,QUIT", super::tree::GAMING]);
    reset.args(run.get_args());
    for (name, value) in run.get_envs() {
        reset.env(name, value.unwrap_or_default());
    }
    reset.stdin(Stdio::null());
    reset
}

fn shell(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

fn of(mut command: Command) -> (Output, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output, said)
}

/// Waits until something is so.
#[track_caller]
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "not in {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn is_tuned(tree: &Tree) -> bool {
    // A file that is replaced at this moment may be absent.
    std::fs::read_to_string(tree.at("proc/sys").join(SHOWS.0))
        .is_ok_and(|text| text.trim() == SHOWS.1)
}

pub(super) fn status(tree: &Tree) -> Value {
    tree.gaming(&["status", "--json"]).document()
}

pub(super) fn pid(value: &Value) -> Pid {
    Pid::from_raw(i32::try_from(value.as_i64().unwrap()).unwrap()).unwrap()
}

/// Fails unless the tree is as before and nothing of a run is left.
#[track_caller]
pub(super) fn nothing_is_left(tree: &Tree, before: &Snapshot) {
    assert!(tree.snapshot() == *before, "the tree is not as it was");
    let status = status(tree);
    assert_eq!(status["runs"], Value::Array(Vec::new()));
    assert_eq!(status["run_pending"], Value::Array(Vec::new()));
    let records = tree.at("run/hosttune/gaming.run.runs");
    assert!(
        !records.exists(),
        "{}",
        std::fs::read_to_string(&records).unwrap()
    );
}

/// A command that ends once a file exists, and never before.
pub(super) struct Waiting {
    pub(super) child: Child,
    file: std::path::PathBuf,
}

impl Waiting {
    /// Starts one that is tuned and runs.
    pub(super) fn start(tree: &Tree, options: &[&str], directory: &Path, name: &str) -> Self {
        let (file, begun) = (
            directory.join(name),
            directory.join(format!("{name}.begun")),
        );
        // It also ends with the directory: a test may end before this has seen the file.
        let script = "touch \"$2\"; while [ -e \"$2\" ] && ! [ -e \"$1\" ]; do sleep 0.02; done";
        let (shown, shown_begun) = (file.to_str().unwrap(), begun.to_str().unwrap());
        let child = run(
            tree,
            options,
            &["sh", "-c", script, "sh", shown, shown_begun],
        )
        .spawn()
        .unwrap();
        until("the command runs", || begun.exists());
        Self { child, file }
    }

    pub(super) fn runner(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    pub(super) fn let_end(&self) {
        std::fs::write(&self.file, "").unwrap();
    }
}

#[test]
fn it_ends_as_its_command_ends() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    for code in [0, 1, 3, 7, 125, 255] {
        let (output, said) = of(run(&tree, &[], &shell(&format!("exit {code}"))));
        assert_eq!((output.status.code(), said.as_str()), (Some(code), ""));
    }
    for signal in [
        Signal::TERM,
        Signal::KILL,
        Signal::INT,
        Signal::SEGV,
        Signal::USR1,
    ] {
        let number = signal.as_raw();
        let (output, _) = of(run(&tree, &[], &shell(&format!("kill -{number} $$"))));
        assert_eq!(output.status.signal(), Some(number), "{output:?}");
        assert!(!output.status.core_dumped());
        // And as a shell shows it.
        let script = "\"$@\"; exit $?";
        let inner = run(&tree, &[], &shell(&format!("kill -{number} $$")));
        let mut outer = Command::new("sh");
        outer
            .args(["-c", script, "sh"])
            .arg(inner.get_program())
            .args(inner.get_args());
        assert_eq!(of(outer).0.status.code(), Some(128 + number));
    }
    nothing_is_left(&tree, &before);
}

#[test]
fn a_command_that_cannot_start_is_known_before_anything_changes() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let file = tree.at("etc/passwd");
    std::fs::write(&file, "").unwrap();
    let cases = [
        ("/nonexistent/game", 127),
        ("no-such-game", 127),
        ("", 127),
        ("/", 126),
        (file.to_str().unwrap(), 126),
    ];
    for (command, code) in cases {
        let (output, said) = of(run(&tree, &[], &[command, "argument"]));
        assert_eq!(output.status.code(), Some(code), "{command}: {said}");
        assert!(said.contains(command), "{said}");
        let (output, said) = of(run(&tree, &["--explain"], &[command]));
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
    }
    // Not one of this program's own exit codes: a game's launcher would take it for the command's.
    let (output, said) = of(run(&tree, &["--as", "no-such-user"], &["true"]));
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(
        said.contains("no-such-user") && said.contains("try: "),
        "{said}"
    );
    assert!(!tree.at("run/hosttune").exists(), "a journal was begun");
    std::fs::remove_file(file).unwrap();
    nothing_is_left(&tree, &before);
}

#[test]
fn the_tree_is_tuned_while_it_runs_and_only_then() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let shown = tree.at("proc/sys").join(SHOWS.0);
    let (output, said) = of(run(&tree, &[], &["cat", shown.to_str().unwrap()]));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        SHOWS.1,
        "{said}"
    );
    nothing_is_left(&tree, &before);
    // One part of it; and nothing of the output is ours.
    let (output, said) = of(run(
        &tree,
        &["--only", "cpu"],
        &["cat", shown.to_str().unwrap()],
    ));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        "60",
        "{said}"
    );
    nothing_is_left(&tree, &before);
}

#[test]
fn what_apply_has_set_stays_when_a_run_ends() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    assert_eq!(tree.gaming(&["--only", "sysctl", "apply", "--yes"]).exit, 0);
    let applied = tree.snapshot();
    assert_eq!(of(run(&tree, &[], &["true"])).0.status.code(), Some(0));
    nothing_is_left(&tree, &applied);
    // Reverted during a run, it stays until the run ends.
    let directory = tempfile::tempdir().unwrap();
    let mut one = Waiting::start(&tree, &[], directory.path(), "one");
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(
        ran.err
            .contains("until a command that runs tuned has ended"),
        "{ran:?}"
    );
    assert!(is_tuned(&tree));
    one.let_end();
    assert!(one.child.wait().unwrap().success());
    nothing_is_left(&tree, &before);
}

#[test]
fn the_last_of_several_runs_reverts() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let directory = tempfile::tempdir().unwrap();
    let names = ["one", "two", "three"];
    let start = |name: &&str| Waiting::start(&tree, &[], directory.path(), name);
    let mut runs: Vec<Waiting> = names.iter().map(start).collect();
    let known = status(&tree);
    assert_eq!(known["runs"].as_array().unwrap().len(), 3, "{known:#}");
    assert!(!known["run_pending"].as_array().unwrap().is_empty());
    let text = tree.gaming(&["status"]).out;
    for run in &runs {
        assert!(
            text.contains(&format!("runner {}", run.child.id())),
            "{text}"
        );
    }
    // One ends, one is killed with its watchdog, and the tuning is still held.
    let mut first = runs.remove(0);
    first.let_end();
    assert!(first.child.wait().unwrap().success());
    assert!(is_tuned(&tree));
    let mut second = runs.remove(0);
    let record = &known["runs"][1];
    kill_process(pid(&record["watchdog"]), Signal::KILL).unwrap();
    kill_process(second.runner(), Signal::KILL).unwrap();
    second.child.wait().unwrap();
    assert!(is_tuned(&tree));
    assert_eq!(status(&tree)["runs"].as_array().unwrap().len(), 1);
    second.let_end();
    let mut third = runs.remove(0);
    third.let_end();
    assert!(third.child.wait().unwrap().success());
    nothing_is_left(&tree, &before);
    // A run within a run.
    let program = super::tree::GAMING;
    let root = tree.root().to_str().unwrap();
    let inner = [program, "--root", root, "run", "--", "sh", "-c", "exit 9"];
    assert_eq!(of(run(&tree, &[], &inner)).0.status.code(), Some(9));
    nothing_is_left(&tree, &before);
}

/// The runner is killed at moments that are spread over the whole run; its watchdog reverts.
#[test]
fn a_killed_runner_is_replaced_by_its_watchdog() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let mut killed_while_tuned = 0;
    for moment in 0..24_u64 {
        // On a slow machine, only these four are certain to be killed while the host is tuned.
        let waits = moment % 6 == 5;
        let seconds = if waits { "1" } else { "0.25" };
        let mut child = run(&tree, &[], &["sleep", seconds])
            .process_group(0)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if waits {
            until("the host is tuned", || is_tuned(&tree));
        } else {
            std::thread::sleep(Duration::from_millis(moment * 12));
        }
        let was_tuned = is_tuned(&tree);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        // The end of the output says that the watchdog has ended too, and so has the command.
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        killed_while_tuned += u32::from(was_tuned && status.signal() == Some(9));
        assert!(tree.snapshot() == before, "killed after {moment}: {said}");
        nothing_is_left(&tree, &before);
    }
    assert!(killed_while_tuned >= 3, "{killed_while_tuned}");
}

#[test]
fn killed_with_its_watchdog_the_next_command_reverts() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let directory = tempfile::tempdir().unwrap();
    let next: [&[&str]; 4] = [
        &["revert", "--yes"],
        &["apply", "--yes", "--only", "blockdev"],
        &["run", "--only", "cpu", "--", "true"],
        &["revert", "--yes", "--force"],
    ];
    for (number, typed) in next.iter().enumerate() {
        let name = number.to_string();
        let mut one = Waiting::start(&tree, &[], directory.path(), &name);
        let record = &status(&tree)["runs"][0];
        let (watchdog, command) = (pid(&record["watchdog"]), pid(&record["pid"]));
        // The runner is stopped first, so that it does not replace the watchdog.
        kill_process(one.runner(), Signal::STOP).unwrap();
        for process in [watchdog, one.runner(), command] {
            kill_process(process, Signal::KILL).unwrap();
        }
        one.child.wait().unwrap();
        assert!(is_tuned(&tree));
        // Reading changes nothing, and tells of it.
        assert_eq!(tree.gaming(&["plan"]).exit, 0);
        let ran = tree.gaming(&["status"]);
        assert!(ran.out.contains("left by runs that have ended"), "{ran:?}");
        assert!(is_tuned(&tree));
        let ran = tree.command(typed).output().unwrap();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert!(!is_tuned(&tree), "{typed:?}");
        assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
        nothing_is_left(&tree, &before);
    }
}

#[test]
fn a_killed_watchdog_is_replaced() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let directory = tempfile::tempdir().unwrap();
    let mut one = Waiting::start(&tree, &[], directory.path(), "one");
    let watchdog = || status(&tree)["runs"][0]["watchdog"].clone();
    let first = watchdog();
    kill_process(pid(&first), Signal::KILL).unwrap();
    until("another watchdog is recorded", || watchdog() != first);
    kill_process(one.runner(), Signal::KILL).unwrap();
    one.child.wait().unwrap();
    until("the watchdog has reverted", || tree.snapshot() == before);
    one.let_end();
    until("the records are removed", || {
        !tree.at("run/hosttune/gaming.run.runs").exists()
    });
    nothing_is_left(&tree, &before);
}

/// A record of a process that has ended is not taken for one of a process that has its number now.
#[test]
fn a_recycled_process_id_holds_nothing() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let directory = tempfile::tempdir().unwrap();
    let mut one = Waiting::start(&tree, &[], directory.path(), "one");
    let file = tree.at("run/hosttune/gaming.run.runs");
    let records = std::fs::read_to_string(&file).unwrap();
    let record = &status(&tree)["runs"][0];
    kill_process(one.runner(), Signal::STOP).unwrap();
    for process in [pid(&record["watchdog"]), one.runner()] {
        kill_process(process, Signal::KILL).unwrap();
    }
    one.child.wait().unwrap();
    one.let_end();
    // This process is alive and has started at another time.
    let changed = records.replace(
        &format!("\"runner\":{{\"pid\":{}", one.child.id()),
        &format!("\"runner\":{{\"pid\":{}", std::process::id()),
    );
    assert_ne!(changed, records);
    std::fs::write(&file, changed).unwrap();
    assert_eq!(status(&tree)["runs"], Value::Array(Vec::new()));
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    nothing_is_left(&tree, &before);
}

#[test]
fn without_the_tuning_it_is_started_unless_that_is_required() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    // Not everything is applicable in a tree.
    let (output, said) = of(run(&tree, &["--strict"], &shell("echo played; exit 4")));
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert_eq!(output.stdout, b"played\n");
    assert!(said.contains("started without the tuning"), "{said}");
    let (output, said) = of(run(
        &tree,
        &["--strict", "--require"],
        &shell("echo played"),
    ));
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(125), &b""[..]),
        "{said}"
    );
    nothing_is_left(&tree, &before);
    // The records are damaged, or could be another user's.
    let file = tree.at("run/hosttune/gaming.run.runs");
    std::fs::write(&file, "{").unwrap();
    let (output, said) = of(run(&tree, &["--require"], &["true"]));
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(
        said.contains("gaming.run.runs") && said.contains("  try: "),
        "{said}"
    );
    // Another command says so and goes on, and a revert has left what the runs have.
    for (typed, exit) in [
        (&["apply", "--yes", "--only", "cpu"][..], 0),
        (&["revert", "--yes"], 4),
    ] {
        let ran = tree.gaming(typed);
        assert!(
            ran.exit == exit && ran.err.contains("gaming.run.runs"),
            "{ran:?}"
        );
    }
    std::fs::remove_file(&file).unwrap();
    nothing_is_left(&tree, &before);
}

#[test]
fn a_lock_that_another_process_holds_delays_the_command_only_so_long() {
    let tree = Tree::with_devices();
    assert_eq!(of(run(&tree, &[], &["true"])).0.status.code(), Some(0));
    let before = tree.snapshot();
    for name in ["lock", "runs.lock"] {
        let file = std::fs::File::open(tree.at("run/hosttune").join(name)).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        let begun = Instant::now();
        let (output, said) = of(run(&tree, &["--wait", "1"], &shell("exit 6")));
        assert_eq!(output.status.code(), Some(6), "{said}");
        assert!(said.contains("started without the tuning"), "{said}");
        assert!(begun.elapsed() >= Duration::from_secs(1));
        drop(file);
        nothing_is_left(&tree, &before);
    }
}

#[test]
fn what_the_command_changes_itself_stays_and_is_said() {
    let tree = Tree::with_devices();
    let shown = tree.at("proc/sys").join(SHOWS.0);
    let script = format!("echo 33 >{}", shown.display());
    let (output, said) = of(run(&tree, &[], &shell(&script)));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("vm.swappiness") && said.contains("another process"),
        "{said}"
    );
    assert_eq!(tree.value(SHOWS.0), "33");
    let left = status(&tree);
    assert_eq!(left["run_pending"].as_array().unwrap().len(), 1, "{left:#}");
    // It is not reverted without --force, by the next run either.
    assert_eq!(of(run(&tree, &[], &["true"])).0.status.code(), Some(0));
    assert_eq!(tree.value(SHOWS.0), "33");
    // The report and the exit code of a revert have it, as if this host had set it itself.
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(ran.out.contains("vm.swappiness"), "{ran:?}");
    assert!(ran.out.contains("revert --force"), "{ran:?}");
    let document = tree.gaming(&["revert", "--yes", "--json"]).document();
    assert_eq!(
        document["not_reverted"].as_array().unwrap().len(),
        1,
        "{document:#}"
    );
    assert_eq!(tree.value(SHOWS.0), "33");
    assert_eq!(tree.gaming(&["revert", "--yes", "--force"]).exit, 0);
    assert_eq!(tree.value(SHOWS.0), "60");
    assert_eq!(status(&tree)["run_pending"], Value::Array(Vec::new()));
}

#[test]
fn a_signal_to_the_runner_reaches_the_command_once() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::USR1, "USR1"),
    ] {
        let _ = std::fs::remove_file(&ready);
        let script = format!(
            "trap 'echo {name}' {name}; touch {}; for i in 1 2 3 4 5 6; do sleep 0.1; done; exit 5",
            ready.display()
        );
        let child = run(&tree, &[], &shell(&script))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        until("the command runs", || ready.exists());
        let runner = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(runner, signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(5));
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{name}\n")
        );
        nothing_is_left(&tree, &before);
    }
    // A command that the signal ends ends the runner.
    let mut one = Waiting::start(&tree, &[], directory.path(), "one");
    kill_process(one.runner(), Signal::TERM).unwrap();
    assert_eq!(one.child.wait().unwrap().signal(), Some(15));
    nothing_is_left(&tree, &before);
}

/// Bytes that are typed at a terminal whose foreground job is a run under a shell with job control.
#[test]
fn a_terminal_interrupts_stops_and_continues_the_command() {
    use std::io::{Read, Write};
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let (mut ours, theirs) = super::terminals::terminal();
    let root = tree.root().display();
    let program = super::tree::GAMING;
    // Without a child process: one that is stopped between vfork and exec would stop its parent for ever.
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let inner = format!(
        "trap \"echo got-INT\" INT; exec 3<>{}; echo begun; while :; do read line <&3; done",
        pipe.display()
    );
    let script = format!(
        "set -m; trap : INT; {program} --root {root} run -- sh -c '{inner}'; echo stopped:$?; fg; echo ended:$?"
    );
    // A shell that has started these tests in the background has them ignore these signals, and no shell can
    // trap a signal that was ignored when it started.
    let mut shell = Command::new("env")
        .args([
            "--default-signal=INT,QUIT,TSTP",
            "setsid",
            "--ctty",
            "--wait",
        ])
        .args(["bash", "--norc", "-c", &script])
        .env("TERM", "dumb")
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .spawn()
        .unwrap();
    let mut shown = String::new();
    let mut until_shown = |ours: &mut std::fs::File, wanted: &str| {
        let begun = Instant::now();
        while !shown.contains(wanted) {
            assert!(begun.elapsed() < LIMIT, "{wanted} is not in: {shown}");
            let mut bytes = [0; 256];
            let count = ours.read(&mut bytes).unwrap();
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        shown.clone()
    };
    until_shown(&mut ours, "begun");
    let state = |process: Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_pid()));
        let stat = stat.unwrap_or_default();
        stat.rsplit(')').next().unwrap_or("").trim().chars().next()
    };
    let record = status(&tree)["runs"][0].clone();
    let (runner, command) = (pid(&record["runner"]), pid(&record["pid"]));
    // Ctrl-C: the command handles it, and gets it once.
    ours.write_all(b"\x03").unwrap();
    until_shown(&mut ours, "got-INT");
    // Ctrl-Z: both stop, and the shell says so.
    ours.write_all(b"\x1a").unwrap();
    let said = until_shown(&mut ours, "stopped:");
    assert_eq!(
        said.matches("got-INT").count(),
        1 + said.matches("echo got-INT").count(),
        "{said}"
    );
    // The shell continues both, and they may run already.
    until("both run again", || {
        [runner, command]
            .iter()
            .all(|process| state(*process) != Some('T'))
    });
    assert!(is_tuned(&tree));
    // Stopped by another process, the command alone is stopped. More than once, because the runner may only now
    // get to continue it after the shell has continued both.
    until("the command is stopped", || {
        kill_process(command, Signal::STOP).unwrap();
        state(command) == Some('T')
    });
    std::thread::sleep(Duration::from_millis(50));
    assert_ne!(state(runner), Some('T'));
    kill_process(command, Signal::CONT).unwrap();
    // Ctrl-\ ends the command, and the run with it.
    ours.write_all(b"\x1c").unwrap();
    until_shown(&mut ours, "ended:131");
    shell.wait().unwrap();
    nothing_is_left(&tree, &before);
}

#[test]
fn the_command_gets_its_priority_and_nothing_else_of_ours() {
    let tree = Tree::with_devices();
    let own = rustix::process::getpriority_process(None).unwrap();
    let script = "nice; ls /proc/self/fd | wc -l; grep -E 'SigBlk|SigIgn' /proc/self/status";
    let bare = Command::new("env")
        .args(["--default-signal=INT,QUIT", "sh", "-c", script])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let bare = String::from_utf8(bare.stdout).unwrap();
    let (output, said) = of(run(&tree, &["--nice", "7"], &shell(script)));
    let tuned = String::from_utf8(output.stdout).unwrap();
    assert_eq!(tuned.lines().next(), Some("7"), "{said}");
    let rest = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        rest(&tuned),
        rest(&bare),
        "descriptors and signals are as without us"
    );
    assert_eq!(rustix::process::getpriority_process(None).unwrap(), own);
    let latency = ["--latency", "256/48000"];
    let (output, _) = of(run(&tree, &latency, &shell("echo $PIPEWIRE_LATENCY")));
    assert_eq!(output.stdout, b"256/48000\n");
    for wrong in [["--latency", "fast"], ["--nice", "-21"]] {
        let (output, said) = of(run(&tree, &wrong, &["true"]));
        assert_eq!(output.status.code(), Some(125), "{said}");
    }
}

#[test]
fn it_runs_as_the_user_who_called() {
    if !can_be_nobody("command_line::run::it_runs_as_the_user_who_called") {
        return;
    }
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let script =
        "id -u; id -g; echo $HOME $SUDO_UID; grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status";
    let expected = format!("{NOBODY}\n{NOBODY}\n/nonexistent\n");
    let mut by_sudo = run(&tree, &["--nice", "-5"], &shell(script));
    by_sudo
        .env("SUDO_UID", NOBODY.to_string())
        .env("SUDO_GID", NOBODY.to_string());
    let (output, said) = of(by_sudo);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&expected), "{text}{said}");
    assert_eq!(
        text.matches("0000000000000000").count(),
        4,
        "no capability: {text}"
    );
    let (output, said) = of(run(&tree, &["--as", "nobody"], &shell("id -u; nice")));
    assert_eq!(
        output.stdout,
        format!("{NOBODY}\n-10\n").as_bytes(),
        "{said}"
    );
    // What that user may not execute is found before anything is changed.
    let directory = tempfile::tempdir().unwrap();
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(directory.path(), closed).unwrap();
    let file = directory.path().join("game");
    std::fs::copy("/bin/true", &file).unwrap();
    let (output, said) = of(run(&tree, &["--as", "nobody"], &[file.to_str().unwrap()]));
    assert_eq!(output.status.code(), Some(126), "{said}");
    nothing_is_left(&tree, &before);
}

#[test]
fn what_would_happen_is_shown_and_does_not_happen() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    let (output, said) = of(run(&tree, &["--explain"], &["sleep", "1000"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in ["sleep 1000", "/sleep", "nice", "vm.swappiness", "60 → 100"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(tree.snapshot() == before && !tree.at("run/hosttune").exists());
    // Without --explain the output is the command's.
    let (output, said) = of(run(&tree, &["--json"], &["true"]));
    assert_eq!(output.status.code(), Some(125), "{said}");
}
