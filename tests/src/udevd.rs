//! Runs a stock systemd-udevd in the test machine.

#![expect(
    clippy::unwrap_used,
    reason = "if udevd cannot be started, the test has failed"
)]

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::inside::write_line;
use crate::script::{ask, tell};
use crate::udev::Udev;
use crate::wait_until;

/// A running udevd, which ends when this is dropped.
///
/// # Panics
///
/// All functions panic on any failure, because they are for tests.
#[derive(Debug)]
pub struct Udevd {
    process: Child,
    program: PathBuf,
}

const LOG: &str = "/run/udevd.log";

impl Udevd {
    /// Starts udevd with debug output and with the rules that it ships, those of device-mapper, and those in
    /// `/run/udev/rules.d`.
    pub fn start(udev: Udev) -> Self {
        let directory = udev.directory().unwrap_or_else(|error| panic!("{error}"));
        // udev looks for rules and their helpers in a fixed directory, which is read-only in the machine. An
        // overlay avoids a copy: the hardware database alone is ten megabytes.
        tell(&format!(
            "set -e; mkdir -p /run/udev/rules.d; modprobe overlay; \
             mount -t overlay -o lowerdir={}/lib/udev:/usr/lib/udev overlay /usr/lib/udev",
            directory.display()
        ));
        let program = udev.program().unwrap();
        let process = Command::new(&program)
            .arg0("systemd-udevd")
            .args(["--debug", "--resolve-names=never", "--children-max=4"])
            .stdin(Stdio::null())
            .stdout(File::create(LOG).unwrap())
            .stderr(File::options().append(true).open(LOG).unwrap())
            .spawn()
            .unwrap();
        let started = Self { process, program };
        wait_until("udevd accepts requests", || {
            std::path::Path::new("/run/udev/control").exists()
        });
        started
    }

    /// Runs `udevadm` of the same version.
    ///
    /// It talks to udevd through one connection at a time. Seen once in thousands of calls, on the newest kernel:
    /// udevd hung up on `udevadm settle` before it had asked everything ("Broken pipe"), although it went on
    /// running. All requests of these tests may be made twice, so such a request is made once more, and the
    /// output says so together with what udevd had logged. If udevd has ended, the test fails.
    pub fn admin(&self, arguments: &str) -> String {
        let command = format!("{} {arguments}", self.program.display());
        let (worked, said) = ask(&command);
        if worked {
            return said;
        }
        let log = self.log();
        let last: Vec<&str> = log.lines().rev().take(40).collect();
        let last: String = last.iter().rev().map(|line| format!("{line}\n")).collect();
        assert!(
            self.is_running(),
            "{command}: {said}: udevd has ended: {last}"
        );
        assert!(hung_up(&said), "{command}: {said}: {last}");
        write_line(&format!(
            "udevd hung up, asked once more: {command}: {said}: {last}"
        ));
        tell(&command)
    }

    /// Whether the process exists and is not a zombie.
    fn is_running(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let state = stat.ok().and_then(|stat| {
            let (_, after_name) = stat.rsplit_once(") ")?;
            after_name.chars().next()
        });
        state.is_some_and(|state| state != 'Z' && state != 'X')
    }

    /// Triggers an event for these disks and waits until it is processed.
    ///
    /// Seen once: `udevadm settle` returned and udevd had logged nothing of a disk, as if it had been asked before
    /// it had received the event. The second call comes after it has answered the first, so it knows of all.
    /// `udevadm trigger --settle` is no way: it waits for ever for some of these disks.
    pub fn trigger(&self, action: &str, disks: &[String]) {
        let names = disks.iter().map(|disk| format!("/sys/class/block/{disk}"));
        let names: Vec<String> = names.collect();
        self.admin(&format!("trigger --action={action} {}", names.join(" ")));
        self.admin("settle --timeout=1200");
        self.admin("settle --timeout=1200");
    }

    /// Reloads the rules.
    pub fn reload(&self) {
        self.admin("control --reload");
    }

    /// Returns its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(LOG).unwrap()
    }

    /// Clears its log.
    pub fn clear_log(&self) {
        File::options()
            .write(true)
            .open(LOG)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
}

/// Whether this is what `udevadm` says when udevd closed the connection of a request.
fn hung_up(said: &str) -> bool {
    said.contains("Broken pipe") || said.contains("Connection reset by peer")
}

impl Drop for Udevd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let (worked, said) = ask("umount /usr/lib/udev && rm -rf /run/udev");
        if !worked && !std::thread::panicking() {
            panic!("{said}");
        }
    }
}
