//! A private daemon of a stock PipeWire, unpacked by `scripts/machine`.
//!
//! Each runs with its own runtime directory, configuration, session bus, and network and mount
//! namespaces, with a null sink; nothing of it reaches the user's own sound. It has a copy of the
//! shipped configuration, because the programs look for that in directories that belong to an
//! installed PipeWire.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hosttune_pipewire::daemon::{DaemonState, Remote};
use hosttune_test_machine::{PipeWire as Stock, play_again_and_again, write_silence};

/// How long a program may take to be ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A private daemon, and what runs with it.
pub(super) struct Bench {
    directory: tempfile::TempDir,
    stock: Stock,
    daemon: Option<Child>,
    others: Vec<Child>,
}

/// Waits until a condition holds.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < PATIENCE,
            "{what} takes more than {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

impl Bench {
    /// Starts a daemon; `None`, with a line that says why, where that is not possible.
    pub(super) fn start(test: &str, stock: Stock) -> Option<Self> {
        let unpacked = match stock.directory() {
            Ok(unpacked) => unpacked,
            Err(error) => {
                println!("not run: {test}: {error}");
                return None;
            }
        };
        if !rustix::process::geteuid().is_root() {
            println!("not run: {test}: namespaces of its own need root");
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
            daemon: None,
            others: Vec::new(),
        };
        let configuration = bench.path("config/pipewire");
        copy(&unpacked.join("usr/share/pipewire"), &configuration);
        copy(
            &unpacked.join("usr/share/wireplumber"),
            &bench.path("config/wireplumber"),
        );
        for made in ["run", "state", "config/pipewire/pipewire.conf.d"] {
            fs::create_dir_all(bench.path(made)).unwrap();
        }
        bench.configure(
            "10-null.conf",
            r#"context.objects = [ { factory = adapter args = { factory.name = support.null-audio-sink
                node.name = "test-sink" media.class = "Audio/Sink" object.linger = true
                audio.position = [ FL FR ] } } ]"#,
        );
        bench.start_daemon();
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Adds a drop-in, for the next start.
    pub(super) fn configure(&self, name: &str, text: &str) {
        let file = self.path("config/pipewire/pipewire.conf.d").join(name);
        fs::write(file, text).unwrap();
    }

    pub(super) fn remote(&self) -> Remote {
        Remote::at(self.path("run/pipewire-0"))
    }

    /// The socket of a daemon of this name, which need not run.
    pub(super) fn socket(&self, name: &str) -> PathBuf {
        self.path("run").join(name)
    }

    pub(super) fn state(&self) -> DaemonState {
        self.remote().state().unwrap().1
    }

    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(self.stock.environment().unwrap());
        for (name, directory) in [
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("WIREPLUMBER_DATA_DIR", "config/wireplumber"),
            ("WIREPLUMBER_CONFIG_DIR", "config/wireplumber"),
            ("HOME", ""),
        ] {
            command.env(name, self.path(directory));
        }
        let bus = self.path("run/bus").display().to_string();
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={bus}"));
        command.stdin(Stdio::null());
        command
    }

    /// Starts a program that ends with this test.
    fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = self.command("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "--mount",
            "--fork",
        ]);
        command.args(["--kill-child", program]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    pub(super) fn start_daemon(&mut self) {
        self.daemon = Some(self.spawn("pipewire", &[]));
        until("the daemon", || self.state() == DaemonState::Running);
        // It takes the lock before it listens.
        let socket = self.path("run/pipewire-0");
        until("the socket", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
    }

    /// Starts a second daemon beside the first, with a name of its own.
    pub(super) fn start_beside(&mut self, name: &str) {
        let core = format!("PIPEWIRE_CORE={name}");
        let daemon = self.spawn("env", &[&core, "pipewire"]);
        self.others.push(daemon);
        let socket = self.socket(name);
        until("the socket of the second daemon", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
    }

    /// Kills the daemon.
    pub(super) fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        until("the end of the daemon", || {
            self.state() != DaemonState::Running
        });
    }

    /// Starts the session manager and a program that plays silence and asks for 256 frames.
    pub(super) fn play(&mut self) {
        let bus = self.path("run/bus");
        let address = format!("--address=unix:path={}", bus.display());
        let arguments = ["--session", "--nofork", "--nopidfile", address.as_str()];
        self.others.push(self.spawn("dbus-daemon", &arguments));
        until("the session bus", || bus.exists());
        self.others.push(self.spawn("wireplumber", &[]));
        let silence = self.path("silence.wav");
        write_silence(&silence).unwrap();
        // WirePlumber 0.4 refuses a program that starts before it knows the sink: that ends, and starts again.
        let words = play_again_and_again(&["--latency", "256"], &silence);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.others.push(self.spawn(words[0], &words[1..]));
    }

    /// Starts a second program that plays, whose node forces a quantum.
    pub(super) fn play_forcing(&mut self, quantum: &str) {
        let words = play_again_and_again(&[], &self.path("silence.wav"));
        let mut command = self.command("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(words);
        command.env("PIPEWIRE_QUANTUM", quantum);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.others.push(command.spawn().unwrap());
    }

    /// What one of PipeWire's own programs prints.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The settings as `pw-metadata` prints them, sorted: key, value and type.
    pub(super) fn metadata(&self) -> Vec<String> {
        self.metadata_of("pipewire-0")
    }

    /// The same of the daemon with this name.
    pub(super) fn metadata_of(&self, name: &str) -> Vec<String> {
        let printed = self.run("pw-metadata", &["-r", name, "-n", "settings", "0"]);
        let mut lines: Vec<String> = printed
            .lines()
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
