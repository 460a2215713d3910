//! Shell scripts: what else happens on a machine while something is tested on it.

use std::process::Command;

/// Runs a script with `sh`: whether it worked, and what it printed on both streams, without blanks
/// around it.
///
/// # Panics
///
/// Where there is no `sh`.
pub fn ask(script: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", script]).output();
    let output = output.unwrap_or_else(|error| panic!("sh: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    (output.status.success(), said)
}

/// Runs a script with `sh`: what it printed.
///
/// # Panics
///
/// Where it fails.
#[track_caller]
pub fn tell(script: &str) -> String {
    let (worked, said) = ask(script);
    assert!(worked, "{script}: {said}");
    said
}
