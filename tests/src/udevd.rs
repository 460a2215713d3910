//! A stock systemd-udevd, started in the test machine and stopped again.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose udevd cannot be started has failed"
)]

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::script::{ask, tell};
use crate::udev::Udev;
use crate::wait_until;

/// A running one; it ends with this.
///
/// # Panics
///
/// All of its functions do where something does not work: it is for tests.
#[derive(Debug)]
pub struct Udevd {
    process: Child,
    program: PathBuf,
}

const LOG: &str = "/run/udevd.log";

impl Udevd {
    /// Started with its own rules, those of device-mapper, and what is in `/run/udev/rules.d`; says
    /// everything that it does.
    pub fn start(udev: Udev) -> Self {
        let directory = udev.directory().unwrap_or_else(|error| panic!("{error}"));
        // Rules and the programs that they call are looked for at a fixed place, which the machine
        // shares read-only. Not copied: the hardware database alone is ten megabytes.
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
        wait_until("udevd can be asked", || {
            std::path::Path::new("/run/udev/control").exists()
        });
        started
    }

    /// `udevadm`, of the same version.
    pub fn admin(&self, arguments: &str) -> String {
        tell(&format!("{} {arguments}", self.program.display()))
    }

    /// Has an event done for these, again.
    pub fn trigger(&self, action: &str, disks: &[String]) {
        let names = disks.iter().map(|disk| format!("/sys/class/block/{disk}"));
        let names: Vec<String> = names.collect();
        self.admin(&format!("trigger --action={action} {}", names.join(" ")));
        self.admin("settle --timeout=1200");
    }

    /// Has the rules read anew.
    pub fn reload(&self) {
        self.admin("control --reload");
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(LOG).unwrap()
    }

    /// Forgets what it has said.
    pub fn clear_log(&self) {
        File::options()
            .write(true)
            .open(LOG)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
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
