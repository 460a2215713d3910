//! Checks that the excluded names exist and do not exclude settings.

use std::collections::BTreeSet;

use super::*;

const FILES: [Subtree; 5] = [
    Subtree::Sysctls,
    Subtree::BlockDevices,
    Subtree::PciDevices,
    Subtree::Processors,
    Subtree::Memory,
];

/// Returns all names in a subtree of the running kernel, without any exclusion.
fn all_names(subtree: Subtree) -> Vec<PathBuf> {
    let top = subtree.top().unwrap();
    let mut names = Vec::new();
    let Ok(metadata) = std::fs::metadata(top) else {
        return names;
    };
    let walk = Walk {
        subtree,
        top: top.to_owned(),
        called: top,
        device: metadata.dev(),
        restless: Vec::new(),
        followed: followed(subtree).map(pattern),
    };
    walk.each(&mut |within, _| names.push(within.to_owned()));
    names
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "the output shows the names that cannot be checked on this kernel"
)]
fn what_is_left_out_is_there_or_is_told() {
    let (mut here, mut told) = (0, 0);
    for subtree in FILES {
        let names = all_names(subtree);
        for (text, why) in restless::of(subtree) {
            assert!(!why.is_empty(), "{text}");
            let restless = pattern(text);
            if names.iter().any(|name| matches(&restless, name)) {
                here += 1;
            } else {
                told += 1;
                eprintln!("{subtree:?} has no file {text} on this kernel");
            }
        }
    }
    // Holds on any kernel, because sysctls and disk statistics are not removed between releases.
    assert!(
        here >= 20,
        "only {here} of {} exist on this kernel",
        here + told
    );
}

/// Patterns that exclude counters do not exclude settings too.
#[test]
fn what_can_be_set_is_left_out_only_by_name() {
    let by_name = [
        // Can be set, but the kernel changes them as well.
        "kernel/perf_event_max_sample_rate",
        "kernel/ns_last_pid",
        // A write triggers an action; there is no value.
        "vm/stat_refresh",
    ];
    for subtree in FILES {
        let top = subtree.top().unwrap();
        let patterns: Vec<Pattern> = restless::of(subtree)
            .iter()
            .map(|(text, _)| pattern(text))
            .collect();
        let left_out: BTreeSet<PathBuf> = all_names(subtree)
            .into_iter()
            .filter(|name| {
                let mut within = name.ancestors();
                within.any(|name| patterns.iter().any(|restless| matches(restless, name)))
            })
            .collect();
        for name in left_out {
            let settable = std::fs::symlink_metadata(top.join(&name)).is_ok_and(|metadata| {
                metadata.is_file() && metadata.mode() & 0o222 != 0 && metadata.mode() & 0o444 != 0
            });
            // DAMON belongs to the program that monitors memory; hosttune sets nothing of it.
            let watched = matches!(subtree, Subtree::Memory) && name.starts_with("damon");
            let known = watched
                || by_name.iter().any(|known| Path::new(known) == name)
                // Not settings: the device's memory and the tracing of a disk.
                || matches!(subtree, Subtree::BlockDevices if name.iter().nth(1) == Some("trace".as_ref()))
                || matches!(subtree, Subtree::PciDevices if name.to_string_lossy().contains("/resource"))
                || name.ends_with("rom") || name.ends_with("vpd");
            assert!(
                !settable || known,
                "{} is excluded although it can be set",
                top.join(name).display()
            );
        }
    }
}
