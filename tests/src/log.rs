//! How often machines are started and how long tests take in them, for the table at the end of a run.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use crate::Kernel;

/// Names the file to which a line is added for each start of a machine and each test in one. Without it
/// nothing is counted.
const LOG: &str = "HOSTTUNE_MACHINE_LOG";

/// A machine is being started: `start KERNEL REASON`.
pub(crate) fn started(kernel: Kernel, reason: &str) {
    add(&format!("start {kernel} {reason}\n"));
}

/// A machine that failed before its first command is being started again: `again KERNEL`.
pub(crate) fn started_again(kernel: Kernel) {
    add(&format!("again {kernel}\n"));
}

/// A test has run in a machine: `test KERNEL SECONDS NAME`.
pub(crate) fn tested(kernel: Kernel, took: Duration, name: &str) {
    add(&format!("test {kernel} {:.1} {name}\n", took.as_secs_f64()));
}

fn add(line: &str) {
    let Some(path) = std::env::var_os(LOG) else {
        return;
    };
    // One write of a short line at the end of a file is not mixed with another process's.
    let file = File::options().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}
