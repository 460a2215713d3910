//! Runs shell scripts, with which tests act as other programs on the machine.

use std::process::Command;

/// Runs a script with `sh`. Returns whether it succeeded, and its trimmed output from both streams.
///
/// # Panics
///
/// Panics if `sh` cannot be started.
pub fn ask(script: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", script]).output();
    let output = output.unwrap_or_else(|error| panic!("sh: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    (output.status.success(), said)
}

/// Runs a script with `sh`. Returns its trimmed output from both streams.
///
/// # Panics
///
/// Panics if the script fails.
#[track_caller]
pub fn tell(script: &str) -> String {
    let (worked, said) = ask(script);
    assert!(worked, "{script}: {said}");
    said
}
