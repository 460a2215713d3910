//! A private daemon of a stock PipeWire, unpacked by `scripts/machine`, and `gaming` run by its user.
//!
//! Every program runs in a mount namespace of its own with the shipped configuration at its usual
//! place, and in a user namespace in which it is not root.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hosttune_test_machine::{PipeWire as Stock, play_again_and_again, write_silence};

use rustix::process::Signal;

use crate::command_line::tree::{GAMING, Ran, is_root, not_run};

/// How long a program may take to be ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Mounts the shipped configuration (`$0`) at its usual place and becomes a user who is not root.
const INSIDE: &str = "mount -t tmpfs none /usr/share && cp -a \"$0\"/usr/share/pipewire \"$0\"/usr/share/wireplumber /usr/share && \
    exec unshare --user --map-user=1000 --map-group=1000 \"$@\"";

/// Shows a file of accounts (`$0`) as `/etc/passwd` and becomes its user.
const WITH_ACCOUNTS: &str = "{ [ -e /etc/passwd ] || : >/etc/passwd; } && mount --bind \"$0\" /etc/passwd && exec unshare --user --map-user=1000 --map-group=1000 \"$@\"";

/// A private daemon, and what runs with it.
pub(super) struct Bench {
    directory: tempfile::TempDir,
    stock: Stock,
    /// The highest real-time priority that programs may have, if that is set.
    priority: Option<u32>,
    daemon: Option<Child>,
    others: Vec<Child>,
}

impl Bench {
    /// Starts a daemon with a null sink; `None`, with a line that says why, where that is not possible.
    pub(super) fn start(test: &str, stock: Stock) -> Option<Self> {
        Self::start_limited(test, stock, None)
    }

    /// The same with a limit of the real-time priority, and of the nice value where the priority may be
    /// above 0.
    pub(super) fn start_limited(test: &str, stock: Stock, priority: Option<u32>) -> Option<Self> {
        if let Err(error) = stock.directory() {
            not_run(test, &error.to_string());
            return None;
        }
        if !is_root() {
            not_run(test, "a mount namespace of its own needs root");
            return None;
        }
        // In memory, and with a path that is short enough for a socket.
        let directory = tempfile::Builder::new()
            .prefix("pw.")
            .tempdir_in("/dev/shm")
            .unwrap();
        let mut bench = Self {
            directory,
            stock,
            priority,
            daemon: None,
            others: Vec::new(),
        };
        let drop_ins = bench.at("home/.config/pipewire/pipewire.conf.d");
        std::fs::create_dir_all(&drop_ins).unwrap();
        for made in ["run", "state"] {
            std::fs::create_dir(bench.at(made)).unwrap();
        }
        std::fs::write(
            drop_ins.join("10-null.conf"),
            r#"context.objects = [ { factory = adapter args = { factory.name = support.null-audio-sink
                node.name = "test-sink" media.class = "Audio/Sink" object.linger = true
                audio.position = [ FL FR ] } } ]"#,
        )
        .unwrap();
        bench.start_daemon();
        Some(bench)
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command line that runs a program as the user.
    fn words(&self, variables: &[(&str, &str)], program: &[&str]) -> Vec<String> {
        let path = |name: &str| self.at(name).display().to_string();
        let mut words: Vec<String> = ["env".to_owned()].into();
        let environment = self.stock.environment().unwrap();
        let mut set = |name: &str, value: &str| words.push(format!("{name}={value}"));
        for (name, value) in &environment {
            set(name, value);
        }
        for (name, directory) in [
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_STATE_HOME", "state"),
            ("HOME", "home"),
        ] {
            set(name, &path(directory));
        }
        let data = self
            .stock
            .directory()
            .unwrap()
            .join("usr/share/wireplumber");
        set("WIREPLUMBER_DATA_DIR", &data.display().to_string());
        set("WIREPLUMBER_CONFIG_DIR", &data.display().to_string());
        set(
            "DBUS_SESSION_BUS_ADDRESS",
            &format!("unix:path={}", path("run/bus")),
        );
        set("LC_ALL", "C.UTF-8");
        for (name, value) in variables {
            set(name, value);
        }
        let unpacked = self.stock.directory().unwrap().display().to_string();
        for word in ["unshare", "--mount", "sh", "-c", INSIDE, &unpacked] {
            words.push(word.to_owned());
        }
        words.extend(program.iter().map(|word| (*word).to_owned()));
        words
    }

    fn command(words: &[String]) -> Command {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// Starts a program that ends with this test.
    fn spawn(&self, variables: &[(&str, &str)], program: &[&str]) -> Child {
        let killed = [&["setpriv", "--pdeathsig", "KILL"], program].concat();
        // While it is still root, which may raise them.
        let limits = self.priority.map(|priority| {
            let nice = if priority > 0 { 40 } else { 0 };
            [
                "prlimit".to_owned(),
                format!("--rtprio={priority}"),
                format!("--nice={nice}"),
            ]
        });
        let words = limits.into_iter().flatten();
        let words: Vec<String> = words.chain(self.words(variables, &killed)).collect();
        let mut command = Self::command(&words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// A script that runs `gaming` as the user.
    pub(super) fn script(&self) -> PathBuf {
        let quoted = |word: &String| format!("'{}'", word.replace('\'', "'\\''"));
        let words: Vec<String> = self.words(&[], &[GAMING]).iter().map(quoted).collect();
        let path = self.at("gaming");
        let text = format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "));
        std::fs::write(&path, text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&path, mode).unwrap();
        path
    }

    pub(super) fn gaming(&self, typed: &[&str]) -> Ran {
        self.gaming_with(&[], typed)
    }

    /// The same with more variables.
    pub(super) fn gaming_with(&self, variables: &[(&str, &str)], typed: &[&str]) -> Ran {
        let words = self.words(variables, &[&[GAMING], typed].concat());
        Ran::of(&mut Self::command(&words))
    }

    pub(super) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(
                began.elapsed() < PATIENCE,
                "{what} takes more than {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn start_daemon(&mut self) {
        let _ = std::fs::remove_file(self.at("run/pipewire-0"));
        self.daemon = Some(self.spawn(&[], &["pipewire"]));
        let socket = self.at("run/pipewire-0");
        self.until("the socket", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        self.until("the settings", || self.metadata().len() > 5);
    }

    /// Limits the real-time priority of the programs that are started next.
    pub(super) fn limit(&mut self, priority: u32) {
        self.priority = Some(priority);
    }

    pub(super) fn signal_daemon(&self, signal: Signal) {
        let id = self.daemon.as_ref().unwrap().id();
        let id = rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    pub(super) fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// Starts the session manager, which connects what plays to the sink.
    pub(super) fn start_session(&mut self) {
        let bus = self.at("run/bus");
        let address = format!("--address=unix:path={}", bus.display());
        let arguments = [
            "dbus-daemon",
            "--session",
            "--nofork",
            "--nopidfile",
            &address,
        ];
        // It needs the files that the others do not see, and an entry for its user.
        let accounts = self.at("passwd");
        std::fs::write(&accounts, "user:x:1000:1000::/:/bin/sh\n").unwrap();
        let accounts = accounts.display().to_string();
        let user = ["unshare", "--mount", "sh", "-c", WITH_ACCOUNTS, &accounts];
        let killed = ["setpriv", "--pdeathsig", "KILL"];
        let words = [&user[..], &killed, &arguments].concat();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        self.others
            .push(Self::command(&words).stdout(Stdio::null()).spawn().unwrap());
        self.until("the session bus", || bus.exists());
        self.others.push(self.spawn(&[], &["wireplumber"]));
        let known = || {
            self.run(&["wpctl", "inspect", "@DEFAULT_AUDIO_SINK@"])
                .contains("test-sink")
        };
        self.until("the session manager", known);
    }

    /// Starts a program that plays silence.
    pub(super) fn play(&mut self) {
        self.play_with(&[]);
    }

    /// Starts a program that plays silence, and whose node forces a quantum.
    pub(super) fn play_forcing(&mut self, quantum: &str) {
        self.play_with(&[("PIPEWIRE_QUANTUM", quantum)]);
    }

    fn play_with(&mut self, variables: &[(&str, &str)]) {
        let silence = self.at("silence.wav");
        write_silence(&silence).unwrap();
        let words = play_again_and_again(&[], &silence);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.others.push(self.spawn(variables, &words));
    }

    /// What a program prints.
    fn run(&self, program: &[&str]) -> String {
        let output = Self::command(&self.words(&[], program)).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The settings as `pw-metadata` prints them, sorted: key, value and type.
    pub(super) fn metadata(&self) -> Vec<String> {
        let printed = self.run(&["pw-metadata", "-n", "settings", "0"]);
        let lines = printed.lines();
        let mut lines: Vec<String> = lines
            .filter_map(|line| line.strip_prefix("update: id:0 "))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain(&mut self.daemon) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
