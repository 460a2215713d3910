//! Commands that run tuned by the helper: what it admits, what it executes, and what is reverted when any of the
//! processes is killed. The helper works on a tree, so it changes nothing of this machine and needs no root.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::tree::{GAMING, Ran, Snapshot, Tree};

const HOSTTUNED: &str = env!("CARGO_BIN_EXE_hosttuned");

/// Longer than anything takes here on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "not in {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill(pid: i32) {
    // It may have ended.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A tree, a directory with an installed host, and a helper for both.
struct Helped {
    tree: Tree,
    before: Snapshot,
    place: tempfile::TempDir,
    helper: Child,
}

impl Helped {
    fn start() -> Self {
        let tree = Tree::with_devices();
        let place = tempfile::tempdir().unwrap();
        let hosts = place.path().join("hosts");
        std::fs::create_dir(&hosts).unwrap();
        mode(&hosts, 0o755);
        let program = hosts.join("gaming");
        // With cp: a file that this process writes may still be open in a child that another test has just
        // started, and executing it would fail with ETXTBSY.
        let copied = Command::new("cp").arg(GAMING).arg(&program).status();
        assert!(copied.unwrap().success());
        mode(&program, 0o755);
        let before = tree.snapshot();
        let helper = Self::helper(&tree, place.path());
        let mut helped = Self {
            tree,
            before,
            place,
            helper,
        };
        helped.listens();
        helped
    }

    fn helper(tree: &Tree, place: &Path) -> Child {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(place.join("log"))
            .unwrap();
        Command::new(HOSTTUNED)
            .arg("--socket")
            .arg(place.join("socket/run.sock"))
            .arg("--hosts")
            .arg(place.join("hosts"))
            .arg("--root")
            .arg(tree.root())
            // A group that every machine has.
            .args(["--group", "root"])
            // Nothing of it reaches a host program.
            .env("LD_PRELOAD_OF_NOBODY", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn listens(&mut self) {
        let socket = self.socket();
        until("the helper listens", || {
            UnixStream::connect(&socket).is_ok()
        });
        assert!(self.helper.try_wait().unwrap().is_none(), "{}", self.log());
    }

    fn restart(&mut self) {
        self.helper = Self::helper(&self.tree, self.place.path());
        self.listens();
    }

    fn kill_helper(&mut self) {
        self.helper.kill().unwrap();
        self.helper.wait().unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("socket/run.sock")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place.path().join("log")).unwrap()
    }

    fn hosts(&self) -> PathBuf {
        self.place.path().join("hosts")
    }

    /// A run through the helper.
    fn run(&self, options: &[&str], command: &[&str]) -> Command {
        let mut run = Command::new(GAMING);
        run.args(["run", "--wait", "300", "--helper"])
            .arg(self.socket())
            .args(options)
            .arg("--")
            .args(command)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        run
    }

    fn ran(&self, options: &[&str], command: &[&str]) -> (i32, String, String) {
        let output = self.run(options, command).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        let out = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap_or(-1), out, said)
    }

    /// Sends bytes, and returns what comes back until the helper closes the connection.
    fn sends(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        // The helper may have refused before everything was sent.
        let _ = stream.write_all(bytes);
        let mut back = Vec::new();
        // With a reset, if it has not read everything.
        let _ = stream.read_to_end(&mut back);
        String::from_utf8(back).unwrap()
    }

    fn is_tuned(&self) -> bool {
        std::fs::read_to_string(self.tree.at("proc/sys/vm/swappiness"))
            .is_ok_and(|text| text.trim() == "100")
    }

    fn status(&self) -> Value {
        self.tree.gaming(&["status", "--json"]).document()
    }

    /// Waits until the tree is as before and nothing of a run is left.
    #[track_caller]
    fn is_as_before(&self) {
        let records = self.tree.at("run/hosttune/gaming.run.runs");
        until("everything is reverted", || {
            !records.exists() && !self.is_tuned()
        });
        assert!(
            self.tree.snapshot() == self.before,
            "the tree is not as it was"
        );
        assert_eq!(self.status()["run_pending"], Value::Array(Vec::new()));
    }

    /// Starts a run whose command has begun and ends once a file exists.
    fn waiting(&self, name: &str) -> Waiting {
        let end = self.place.path().join(name);
        let begun = self.place.path().join(format!("{name}.begun"));
        // It also ends with the directory: a test may end before this has seen the file.
        let script =
            "touch \"$2\"; while [ -e \"$2\" ] && ! [ -e \"$1\" ]; do sleep 0.02; done; exit 7";
        let words = [
            "sh",
            "-c",
            script,
            "sh",
            end.to_str().unwrap(),
            begun.to_str().unwrap(),
        ];
        let child = self
            .run(&[], &words)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("the command runs", || begun.exists());
        Waiting { child, end }
    }
}

impl Drop for Helped {
    fn drop(&mut self) {
        let _ = self.helper.kill();
        let _ = self.helper.wait();
    }
}

struct Waiting {
    child: Child,
    end: PathBuf,
}

impl Waiting {
    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Lets the command end; the exit code and what was said.
    fn ended(self) -> (Option<i32>, String) {
        std::fs::write(&self.end, "").unwrap();
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        (output.status.code(), said)
    }
}

#[test]
fn the_host_is_tuned_for_the_command_and_only_as_far_as_it_is_open() {
    let helped = Helped::start();
    let shown = |path: &str| format!("cat {}", helped.tree.at(path).display());
    let script = [
        shown("proc/sys/vm/swappiness"),
        shown("sys/devices/system/cpu/cpufreq/policy0/scaling_governor"),
        shown("sys/block/sda/queue/scheduler"),
        "nice".to_owned(),
        "exit 9".to_owned(),
    ];
    let (code, out, said) = helped.ran(&["--nice", "0"], &["sh", "-c", &script.join(";")]);
    assert_eq!(code, 9, "{said}");
    let lines: Vec<&str> = out.lines().collect();
    // The scheduler is not open, and stays.
    assert_eq!(lines[..2], ["100", "performance"], "{out}");
    assert_eq!(lines[2], "none [bfq] mq-deadline", "{out}");
    assert_eq!(said, "");
    helped.is_as_before();
    // A command that does not exist is found before anything is asked.
    let log = helped.log();
    let (code, _, said) = helped.ran(&[], &["/nonexistent/game"]);
    assert_eq!(code, 127, "{said}");
    assert_eq!(helped.log(), log);
}

#[test]
fn what_is_not_open_leaves_the_command_untuned_and_says_so() {
    let helped = Helped::start();
    let cases: [(&[&str], &str); 4] = [
        (&["--only", "qos"], "gaming does not open the part qos"),
        (&["--only", "nothing"], "does not open the part nothing"),
        (&["--with", "candidates"], "does not open the optional part"),
        (&["--device", "/dev/sda"], "does not open the option device"),
    ];
    for (options, why) in cases {
        let (code, out, said) = helped.ran(options, &["sh", "-c", "echo ran; exit 4"]);
        assert_eq!((code, out.as_str()), (4, "ran\n"), "{said}");
        for part in [why, "  try: ", "the command is started without the tuning"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let options = [options, &["--require"]].concat();
        let (code, out, said) = helped.ran(&options, &["echo", "ran"]);
        assert_eq!((code, out.as_str()), (125, ""), "{said}");
    }
    helped.is_as_before();
}

#[test]
fn a_host_that_others_could_have_written_is_not_executed() {
    let helped = Helped::start();
    let program = helped.hosts().join("gaming");
    let refused = |why: &str| {
        let (code, out, said) = helped.ran(&[], &["sh", "-c", "echo ran; exit 4"]);
        assert_eq!((code, out.as_str()), (4, "ran\n"), "{said}");
        assert!(said.contains(why), "{why}: {said}");
    };
    mode(&program, 0o775);
    refused("others can write to it");
    mode(&program, 0o644);
    refused("it is not executable");
    mode(&program, 0o755);
    mode(&helped.hosts(), 0o777);
    refused("others can write to it");
    mode(&helped.hosts(), 0o1777);
    refused("others can write to it");
    mode(&helped.hosts(), 0o755);
    let elsewhere = helped.place.path().join("elsewhere");
    std::fs::rename(&program, &elsewhere).unwrap();
    refused("does not exist");
    symlink(&elsewhere, &program).unwrap();
    refused("it is a symlink");
    std::fs::remove_file(&program).unwrap();
    std::fs::create_dir(&program).unwrap();
    refused("it is not a regular file");
    std::fs::remove_dir(&program).unwrap();
    std::fs::write(&program, "#!/bin/sh\ntouch /nonexistent/x\n").unwrap();
    mode(&program, 0o755);
    refused("it is a script");
    std::fs::remove_file(&program).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&program)
            .status()
            .unwrap()
            .success()
    );
    mode(&program, 0o755);
    refused("it is not a regular file");
    std::fs::remove_file(&program).unwrap();
    std::fs::rename(&elsewhere, &program).unwrap();
    // A symlink in the place of the directory.
    std::fs::rename(helped.hosts(), helped.place.path().join("moved")).unwrap();
    symlink("moved", helped.hosts()).unwrap();
    refused("it is a symlink or no directory");
    helped.is_as_before();
}

#[test]
fn a_host_that_is_replaced_during_a_run_reverts_as_it_was() {
    let helped = Helped::start();
    let waiting = helped.waiting("a");
    assert!(helped.is_tuned());
    let program = helped.hosts().join("gaming");
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "something else").unwrap();
    let (code, said) = waiting.ended();
    assert_eq!((code, said.as_str()), (Some(7), ""));
    helped.is_as_before();
}

#[test]
fn garbage_is_refused_and_the_helper_goes_on() {
    let helped = Helped::start();
    let long = vec![b'x'; 100_000];
    let cases: [(&[u8], &str); 8] = [
        (b"\n", "\"code\":\"request\""),
        (b"{}\n", "missing field `version`"),
        (b"\xff\xfe\x00\n", "\"code\":\"request\""),
        (b"{\"version\":2,\"host\":\"gaming\"}\n", "is of version 2"),
        (
            b"{\"version\":1,\"host\":\"../../bin/sh\"}\n",
            "is not the name",
        ),
        (
            b"{\"version\":1,\"host\":\"gaming\",\"env\":{}}\n",
            "unknown field",
        ),
        (
            b"{\"version\":1,\"host\":\"gaming\"}\n{\"version\":1}\n",
            "longer than one line",
        ),
        // Refused with the rest unread, so that the answer may be lost with the connection.
        (&long, ""),
    ];
    for (bytes, why) in cases {
        let back = helped.sends(bytes);
        assert!(back.contains(why), "{why}: {back}");
        assert!(!back.contains("tuned"), "{back}");
    }
    let (code, _, said) = helped.ran(&[], &["true"]);
    assert_eq!((code, said.as_str()), (0, ""));
    helped.is_as_before();
}

#[test]
fn clients_that_stall_shut_nobody_out_for_good() {
    let helped = Helped::start();
    // More than one user may have. Those that are too many are told at once; the others are in 5 seconds.
    let stalled: Vec<UnixStream> = (0..40)
        .map(|_| UnixStream::connect(helped.socket()).unwrap())
        .collect();
    let mut busy = 0;
    for mut stream in stalled {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert!(back.contains("\"refused\""), "{back}");
        busy += u32::from(back.contains("\"busy\""));
    }
    // On a slow machine the first ones are refused before the last ones connect.
    assert!(busy <= 32, "{busy}");
    let (code, _, said) = helped.ran(&[], &["true"]);
    assert_eq!((code, said.as_str()), (0, ""));
    helped.is_as_before();
}

#[test]
fn the_lease_ends_with_the_client_and_not_with_what_the_command_leaves() {
    let helped = Helped::start();
    // A process that outlives its command, and would hold every descriptor that it has inherited.
    let pid = helped.place.path().join("pid");
    let script = format!("sleep 1000 & echo $! >{}", pid.display());
    let mut left = helped.run(&[], &["sh", "-c", &script]);
    assert!(left.stdout(Stdio::null()).status().unwrap().success());
    helped.is_as_before();
    kill(
        std::fs::read_to_string(&pid)
            .unwrap()
            .trim()
            .parse()
            .unwrap(),
    );
    // A client that sends more than its request, or only says that it has finished.
    for finish in [true, false] {
        let mut stream = UnixStream::connect(helped.socket()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = b"{\"version\":1,\"host\":\"gaming\",\"wait\":300}\n";
        stream.write_all(request).unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        assert!(helped.is_tuned());
        if finish {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        } else {
            stream.write_all(b"more").unwrap();
        }
        let mut back = String::new();
        let _ = stream.read_to_string(&mut back);
        assert!(back.contains("\"tuned\""), "{back}");
        helped.is_as_before();
    }
}

#[test]
fn several_runs_share_one_tuning_with_those_of_root() {
    let helped = Helped::start();
    let one = helped.waiting("one");
    let two = helped.waiting("two");
    let status = helped.status();
    let runs = status["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2, "{status}");
    let us = rustix::process::getuid().as_raw();
    assert_eq!(runs[0]["user"], us);
    assert_eq!(runs[0]["pid"], one.pid());
    assert!(runs[0]["command"].as_str().unwrap().starts_with("sh -c"));
    // One of root's own, which is the last to end.
    let own = helped.tree.command(&[
        "run",
        "--only",
        "sysctl,cpu",
        "--wait",
        "300",
        "--",
        "sh",
        "-c",
        "read x",
    ]);
    let mut own = own_started(own);
    until("three hold it", || {
        helped.status()["runs"].as_array().unwrap().len() == 3
    });
    assert_eq!(one.ended().0, Some(7));
    assert_eq!(two.ended().0, Some(7));
    assert!(helped.is_tuned());
    drop(own.stdin.take());
    own.wait().unwrap();
    helped.is_as_before();
}

fn own_started(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_client_that_is_killed_leaves_the_host_as_it_was() {
    let helped = Helped::start();
    let mut waiting = helped.waiting("a");
    waiting.child.kill().unwrap();
    waiting.child.wait().unwrap();
    helped.is_as_before();
    std::fs::write(&waiting.end, "").unwrap();
}

#[test]
fn a_helper_that_is_killed_ends_no_run() {
    let mut helped = Helped::start();
    let waiting = helped.waiting("a");
    helped.kill_helper();
    assert!(helped.is_tuned());
    helped.restart();
    assert!(helped.is_tuned());
    let (code, said) = waiting.ended();
    assert_eq!((code, said.as_str()), (Some(7), ""));
    helped.is_as_before();
}

/// The host program that holds the lease is killed: its watchdog reverts, and the client asks again.
#[test]
fn a_run_whose_lease_is_killed_is_tuned_again() {
    let helped = Helped::start();
    let waiting = helped.waiting("a");
    let holder = |helped: &Helped| helped.status()["runs"][0]["runner"].as_i64();
    let first = holder(&helped).unwrap();
    kill(i32::try_from(first).unwrap());
    until("another one holds it", || {
        holder(&helped).is_some_and(|now| now != first) && helped.is_tuned()
    });
    let (code, said) = waiting.ended();
    assert_eq!(code, Some(7), "{said}");
    helped.is_as_before();
}

/// Holder, watchdog and helper are killed at once, and the run's client too: the next start of the helper reverts.
#[test]
fn the_next_helper_reverts_what_a_killed_one_has_left() {
    let mut helped = Helped::start();
    let mut waiting = helped.waiting("a");
    let status = helped.status();
    let of = |name: &str| i32::try_from(status["runs"][0][name].as_i64().unwrap()).unwrap();
    let (runner, watchdog) = (of("runner"), of("watchdog"));
    helped.kill_helper();
    // Stopped, so that it does not replace its watchdog.
    kill_process(Pid::from_raw(runner).unwrap(), Signal::STOP).unwrap();
    kill(watchdog);
    kill(runner);
    waiting.child.kill().unwrap();
    waiting.child.wait().unwrap();
    std::fs::write(&waiting.end, "").unwrap();
    assert!(helped.is_tuned());
    helped.restart();
    helped.is_as_before();
}

#[test]
fn a_helper_that_does_not_answer_costs_one_deadline() {
    let helped = Helped::start();
    kill_process(
        Pid::from_raw(i32::try_from(helped.helper.id()).unwrap()).unwrap(),
        Signal::STOP,
    )
    .unwrap();
    let mut run = Command::new(GAMING);
    run.args(["run", "--wait", "1", "--helper"])
        .arg(helped.socket())
        .args(["--", "sh", "-c", "echo ran; exit 6"]);
    let output = run.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert_eq!(output.stdout, b"ran\n");
    assert!(said.contains("did not answer in 1 s"), "{said}");
    kill_process(
        Pid::from_raw(i32::try_from(helped.helper.id()).unwrap()).unwrap(),
        Signal::CONT,
    )
    .unwrap();
    let (code, _, said) = helped.ran(&[], &["true"]);
    assert_eq!((code, said.as_str()), (0, ""));
    helped.is_as_before();
}

/// A helper that is upgraded is ended between the connection and the answer. The next one has the same socket.
#[test]
fn a_helper_that_ends_before_it_answers_is_asked_again() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("run.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut run = Command::new(GAMING);
    run.args(["run", "--wait", "300", "--require", "--helper"])
        .arg(&socket)
        .args(["--", "sh", "-c", "exit 4"])
        .stderr(Stdio::piped());
    let run = run.spawn().unwrap();
    // With the request unread, which is a reset, and with it read.
    drop(listener.accept().unwrap());
    let (mut stream, _) = listener.accept().unwrap();
    let mut line = [0; 4096];
    assert!(stream.read(&mut line).unwrap() > 0);
    drop(stream);
    let (mut stream, _) = listener.accept().unwrap();
    assert!(stream.read(&mut line).unwrap() > 0);
    let tuned = b"{\"version\":1,\"tuned\":{\"changes\":0,\"not_in_effect\":0,\"nice\":null,\"notes\":[]}}\n";
    stream.write_all(tuned).unwrap();
    // The lease ends with the command.
    assert_eq!(stream.read(&mut line).unwrap(), 0);
    drop(stream);
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(4), ""));
}

#[test]
fn without_a_helper_the_command_runs_and_what_to_type_is_said() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("run.sock");
    let ran = |options: &[&str]| {
        let mut run = Command::new(GAMING);
        run.args(["run", "--helper"]).arg(&socket).args(options);
        let output = run.args(["--", "sh", "-c", "exit 3"]).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said) = ran(&[]);
    assert_eq!(code, Some(3));
    assert!(
        said.contains("there is no helper") && said.contains("hosttune install-units gaming"),
        "{said}"
    );
    assert_eq!(ran(&["--require"]).0, Some(125));
    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (code, said) = ran(&[]);
    assert_eq!(code, Some(3));
    assert!(
        said.contains("systemctl restart hosttuned.socket"),
        "{said}"
    );
    // Something else in its place.
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "").unwrap();
    let (code, said) = ran(&[]);
    assert_eq!(code, Some(3));
    assert!(said.contains("no helper listens"), "{said}");
}

/// As systemd starts it, with `StandardInput=socket`.
#[test]
fn a_socket_on_standard_input_is_used() {
    let helped = Helped::start();
    let socket = helped.place.path().join("given.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let start = |stdin: Stdio| {
        let mut command = Command::new(HOSTTUNED);
        command
            .arg("--hosts")
            .arg(helped.hosts())
            .arg("--root")
            .arg(helped.tree.root())
            .env("LISTEN_FDS", "1")
            .stdin(stdin)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut helper = start(std::os::fd::OwnedFd::from(listener).into());
    let mut run = Command::new(GAMING);
    run.args(["run", "--wait", "300", "--require", "--helper"])
        .arg(&socket)
        .args(["--", "true"]);
    let output = run.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    helper.kill().unwrap();
    helper.wait().unwrap();
    // One of messages is not taken for it (ListenSequentialPacket=), nor one of the network.
    let messages = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        None,
    )
    .unwrap();
    let address = helped.place.path().join("messages.sock");
    let address = rustix::net::SocketAddrUnix::new(&address).unwrap();
    rustix::net::bind(&messages, &address).unwrap();
    rustix::net::listen(&messages, 1).unwrap();
    let of_the_network = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for wrong in [messages, of_the_network.into()] {
        let refused = start(wrong.into()).wait_with_output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(3), "{said}");
    }
    // Otherwise it says what the unit needs.
    let refused = start(Stdio::null()).wait_with_output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("add StandardInput=socket"), "{said}");
    helped.is_as_before();
}

#[test]
fn explain_tells_which_way_it_will_go() {
    let helped = Helped::start();
    let explained = |helped: &Helped, options: &[&str]| {
        let options = [&["--explain", "--json"], options].concat();
        let (code, out, said) = helped.ran(&options, &["true"]);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let document = explained(&helped, &[]);
    assert_eq!(document["command"]["tuned_by"], "helper", "{document}");
    let document = explained(&helped, &["--only", "qos"]);
    assert_eq!(document["command"]["tuned_by"], Value::Null, "{document}");
    let log = helped.log();
    assert!(!log.contains("begins"), "{log}");
    let tree = &helped.tree;
    let ran = tree.gaming(&["run", "--explain", "--json", "--", "true"]);
    assert_eq!(ran.document()["command"]["tuned_by"], "this-process");
    std::fs::remove_file(helped.socket()).unwrap();
    let (_, out, _) = helped.ran(&["--explain"], &["true"]);
    assert!(
        out.contains("tuned by     nothing") && out.contains("there is no helper"),
        "{out}"
    );
}

/// The helper decides, with the host program that is installed, and nothing is tuned for the answer.
#[test]
fn explain_tells_what_the_helper_would_refuse() {
    let helped = Helped::start();
    let explained = |options: &[&str]| {
        let options = [&["--explain", "--json"], options].concat();
        let (code, out, said) = helped.ran(&options, &["true"]);
        assert_eq!(code, 0, "{said}");
        let document: Value = serde_json::from_str(&out).unwrap();
        (
            document["command"]["tuned_by"].clone(),
            document["command"]["notes"].to_string(),
        )
    };
    let (by, notes) = explained(&["--nice", "-11"]);
    assert_eq!(by, "helper", "{notes}");
    assert!(notes.contains("opens nice values down to -10"), "{notes}");
    let (by, notes) = explained(&["--with", "candidates"]);
    assert_eq!(by, Value::Null, "{notes}");
    assert!(notes.contains("does not open the optional part"), "{notes}");
    let program = helped.hosts().join("gaming");
    mode(&program, 0o777);
    let (by, notes) = explained(&[]);
    assert_eq!(by, Value::Null, "{notes}");
    assert!(notes.contains("others can write to it"), "{notes}");
    std::fs::remove_file(&program).unwrap();
    let (by, notes) = explained(&[]);
    assert_eq!(by, Value::Null, "{notes}");
    assert!(notes.contains("does not exist"), "{notes}");
    // With a tree the helper is not even asked.
    let ran = helped.tree.gaming(&[
        "run",
        "--explain",
        "--json",
        "--helper",
        helped.socket().to_str().unwrap(),
        "--",
        "true",
    ]);
    assert_eq!(ran.document()["command"]["tuned_by"], Value::Null);
    let log = helped.log();
    assert!(
        !log.contains("begins") && !log.contains("has ended"),
        "{log}"
    );
    helped.is_as_before();
}

#[test]
fn a_helper_for_what_does_not_exist_is_not_started() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("run.sock");
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let none = place.path().join("none");
    for root in [&none, &file] {
        let ran = Ran::of(
            Command::new(HOSTTUNED)
                .arg("--socket")
                .arg(&socket)
                .arg("--root")
                .arg(root)
                .stdin(Stdio::null()),
        );
        ran.refused(2, root.to_str().unwrap());
        assert!(!socket.exists());
    }
    let ran = Ran::of(Command::new(HOSTTUNED).arg("--no-such-option"));
    assert_eq!(ran.exit, 2, "{ran:?}");
    if rustix::process::geteuid().is_root() {
        let ran = Ran::of(
            Command::new(HOSTTUNED)
                .arg("--socket")
                .arg(&socket)
                .arg("--root")
                .arg(place.path())
                .args(["--group", "no-such-group"])
                .stdin(Stdio::null()),
        );
        ran.refused(2, "no-such-group");
    }
}

/// What a plain command line does with the commands that only the helper starts.
#[test]
fn the_commands_of_the_helper_do_nothing_for_others() {
    let tree = Tree::with_devices();
    let before = tree.snapshot();
    for typed in [&["run-hold"][..], &["run-hold", "x"]] {
        let ran = Ran::of(&mut tree.command(typed));
        assert_ne!(ran.exit, 0, "{ran:?}");
    }
    let ran = Ran::of(&mut tree.command(&["run-recover"]));
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(tree.snapshot() == before);
}

/// Otherwise Ctrl-C would not end it.
#[test]
fn the_command_has_the_signal_mask_of_the_caller() {
    let helped = Helped::start();
    let blocked = ["grep", "SigBlk", "/proc/self/status"];
    let (code, out, said) = helped.ran(&["--require"], &blocked);
    assert_eq!(code, 0, "{said}");
    let bare = Command::new(blocked[0])
        .args(&blocked[1..])
        .output()
        .unwrap();
    assert_eq!(out.as_bytes(), bare.stdout);
}
