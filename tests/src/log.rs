//! Logs the starts of machines and the durations of tests in them, for the summary at the end of a run.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use crate::Kernel;

/// Environment variable with the path of the log, which gets a line for each start of a machine and each test in
/// one. If it is not set, nothing is logged.
const LOG: &str = "HOSTTUNE_MACHINE_LOG";

/// Logs the start of a machine: `start KERNEL REASON`.
pub(crate) fn started(kernel: Kernel, reason: &str) {
    add(&format!("start {kernel} {reason}\n"));
}

/// Logs the repeated start of a machine that failed before its first command: `again KERNEL`.
pub(crate) fn started_again(kernel: Kernel) {
    add(&format!("again {kernel}\n"));
}

/// Logs a test that ran in a machine: `test KERNEL SECONDS NAME`.
pub(crate) fn tested(kernel: Kernel, took: Duration, name: &str) {
    add(&format!("test {kernel} {:.1} {name}\n", took.as_secs_f64()));
}

fn add(line: &str) {
    let Some(path) = std::env::var_os(LOG) else {
        return;
    };
    // A short line appended by a single write is not mixed with those of other processes.
    let file = File::options().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}
