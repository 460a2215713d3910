//! Other programs that lock clocks, as far as their configuration tells.

use hosttune_core::{Host, HostError};

use crate::gpu::optional;

/// The configuration of LACT, a program that sets clocks at each boot.
const LACT: &str = "/etc/lact/config.yaml";

/// Keys of [`LACT`] with which it locks clocks of NVIDIA's GPUs.
const LACT_KEYS: [&str; 4] = [
    "min_core_clock",
    "max_core_clock",
    "min_memory_clock",
    "max_memory_clock",
];

/// Where systemd's units of the administrator and of packages are.
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// The options of `nvidia-smi` that lock clocks.
const OPTIONS: [&str; 4] = ["-lgc", "--lock-gpu-clocks", "-lmc", "--lock-memory-clocks"];

/// The files in which another program is configured to lock clocks of GPUs: that of LACT, and units of
/// systemd that start `nvidia-smi` for it. A script that does it, or a person, is not found.
///
/// # Errors
/// If a file or a directory exists and cannot be read.
pub fn others_that_lock_clocks(host: &Host) -> Result<Vec<String>, HostError> {
    let mut found = Vec::new();
    if let Some(text) = optional(host, LACT)?
        && text.lines().any(|line| {
            let key = line.trim_start().split(':').next().unwrap_or_default();
            LACT_KEYS.contains(&key)
        })
    {
        found.push(LACT.to_owned());
    }
    for directory in UNITS {
        for name in host.list_if_there(directory)? {
            if !name.ends_with(".service") {
                continue;
            }
            let path = format!("{directory}/{name}");
            // A link to nowhere, as that of a unit whose package was removed, starts nothing.
            let Some(text) = optional(host, &path)? else {
                continue;
            };
            if text.lines().any(locks) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Whether a line of a unit starts `nvidia-smi` to lock clocks.
fn locks(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("Exec")
        && line.contains("nvidia-smi")
        && line.split_whitespace().any(|word| {
            let word = word.trim_matches(['"', '\'']);
            OPTIONS.iter().any(|option| {
                word.strip_prefix(option).is_some_and(|rest| {
                    rest.is_empty()
                        || rest.starts_with(['=', ','])
                        || rest.starts_with(char::is_numeric)
                })
            })
        })
}
