//! Whether systemd arms a hardware watchdog.

use std::collections::BTreeMap;

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError};

use super::coverage::text;

/// Where systemd looks for `system.conf` and for its drop-ins, in `system.conf.d`; the first has priority
/// (systemd-system.conf(5)).
const DIRECTORIES: [&str; 4] = [
    "/etc/systemd",
    "/run/systemd",
    "/usr/local/lib/systemd",
    "/usr/lib/systemd",
];

/// The setting that arms a hardware watchdog, with its file; `None` if there is no watchdog, or none is armed
/// for certain.
///
/// # Errors
/// Any error from the host.
pub(super) fn armed(host: &Host) -> Result<Option<String>, HostError> {
    if host.list_if_there("/sys/class/watchdog")?.is_empty() {
        return Ok(None);
    }
    let mut found = None;
    for file in files(host)? {
        // What is masked or cannot be read sets nothing.
        let text = match is_masked(host, &file)? {
            true => continue,
            false => text(host, &file)?.unwrap_or_default(),
        };
        if let Some(value) = last_value(&text) {
            found = is_time(value).then(|| format!("RuntimeWatchdogSec={value} in {file}"));
        }
    }
    Ok(found)
}

/// Whether a file is a link to `/dev/null`.
fn is_masked(host: &Host, file: &str) -> Result<bool, HostError> {
    let entry = host.entry(file)?;
    Ok(entry.is_some_and(
        |entry| matches!(entry.kind, EntryKind::Link(target) if target == *"/dev/null"),
    ))
}

/// The files that are read, in order: `system.conf`, then the drop-ins of all directories by their names. Of
/// files of one name only that of the first directory is read.
fn files(host: &Host) -> Result<Vec<String>, HostError> {
    let mut main = None;
    let mut drop_ins = BTreeMap::new();
    for directory in DIRECTORIES {
        let path = format!("{directory}/system.conf");
        if main.is_none() && host.entry(&path)?.is_some() {
            main = Some(path);
        }
        let directory = format!("{directory}/system.conf.d");
        for name in host.list_if_there(&directory)? {
            if name.ends_with(".conf") {
                let path = format!("{directory}/{name}");
                drop_ins.entry(name).or_insert(path);
            }
        }
    }
    Ok(main.into_iter().chain(drop_ins.into_values()).collect())
}

/// The last value in the section `[Manager]`.
fn last_value(text: &str) -> Option<&str> {
    let mut is_manager = false;
    let mut last = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_manager = line == "[Manager]";
        } else if let Some((key, value)) = line.split_once('=')
            && is_manager
            && key.trim_end() == "RuntimeWatchdogSec"
        {
            last = Some(value.trim());
        }
    }
    last
}

/// Whether a value is a time above 0 (systemd.time(7)), or the time that the hardware has. Others turn the
/// watchdog off, or are refused by systemd.
fn is_time(value: &str) -> bool {
    const UNITS: [&str; 30] = [
        "", "us", "usec", "\u{b5}s", "ms", "msec", "s", "sec", "second", "seconds", "m", "min",
        "minute", "minutes", "h", "hr", "hour", "hours", "d", "day", "days", "w", "week", "weeks",
        "M", "month", "months", "y", "year", "years",
    ];
    if value == "default" {
        return true;
    }
    let mut rest = value;
    let mut is_above_zero = false;
    while !rest.is_empty() {
        let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
        let (number, behind) = split(rest, is_number);
        let (unit, behind) = split(behind.trim_start(), char::is_alphabetic);
        if number.is_empty() || !UNITS.contains(&unit) {
            return false;
        }
        is_above_zero |= number.contains(|letter: char| matches!(letter, '1'..='9'));
        rest = behind.trim_start();
    }
    is_above_zero
}

fn split(text: &str, is_of_it: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|letter| !is_of_it(letter));
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_above_zero_arms_it() {
        for value in [
            "30", "30s", "1min 30s", "0.5 min", "default", "2 weeks", "0min 1s",
        ] {
            assert!(is_time(value), "{value}");
        }
        for value in [
            "", "0", "0s", "off", "no", "infinity", "30x", "s", "-1", "0min 0s",
        ] {
            assert!(!is_time(value), "{value}");
        }
    }

    #[test]
    fn only_the_section_of_the_manager_counts() {
        let text = "[Manager]\nRuntimeWatchdogSec = 30\n#RuntimeWatchdogSec=1\n[Other]\nRuntimeWatchdogSec=2\n";
        assert_eq!(last_value(text), Some("30"));
        assert_eq!(last_value("RuntimeWatchdogSec=30\n"), None);
        assert_eq!(
            last_value(&format!("{text}[Manager]\nRuntimeWatchdogSec=\n")),
            Some("")
        );
    }
}
