//! The program `gaming`, killed at a moment that nothing in it knows.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether the program ended by itself before it was killed.
pub(super) fn killed_after(applies: bool, milliseconds: u64) -> bool {
    let verb: &[&str] = if applies {
        &[
            "apply", "--only", "sysctl", "--only", "cpu", "--only", "blockdev",
        ]
    } else {
        &["revert"]
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_gaming"))
        .args(verb)
        .arg("--yes")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(milliseconds) {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}
