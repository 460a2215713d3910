//! A shell killed while it makes files: every state in between is come upon, at every stop as well
//! as at the calls that change something.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test looks at what the program did, past any host, and fails where it cannot"
)]

use std::collections::BTreeSet;
use std::path::Path;

use hosttune_test_machine::{At, Kills, Traced};

/// Made, filled, put in its place, with a directory beside it.
const SCRIPT: &str = r#"cd "$0"; echo text >new; mkdir beside; mv new file"#;

/// Names and sizes.
fn state(directory: &Path) -> BTreeSet<(String, u64)> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let size = if metadata.is_dir() { 0 } else { metadata.len() };
            (entry.file_name().into_string().unwrap(), size)
        })
        .collect()
}

fn found(at: At) -> (usize, BTreeSet<BTreeSet<(String, u64)>>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut found = BTreeSet::new();
    let mut runs = 0;
    let shell = Kills {
        program: "/bin/sh",
        arguments: &["-c", SCRIPT, path],
        at,
        believable: 3,
    };
    let kills = shell.each(
        || {
            // What the shell started may still be at it when the shell is killed.
            while std::fs::remove_dir_all(path).is_err() {}
            std::fs::create_dir(path).unwrap();
        },
        |when| {
            assert!(when.contains("killed"), "{when}");
            runs += 1;
            found.insert(state(directory.path()));
        },
    );
    assert_eq!(
        runs,
        kills + 2,
        "the first run and the last come to their end"
    );
    (kills, found)
}

#[test]
fn at_writes_alone_the_same_states_are_found_with_fewer_kills() {
    let test = "at_writes_alone_the_same_states_are_found_with_fewer_kills";
    if let Err(reason) = Traced::available() {
        println!("not run: {test}: {reason}");
        return;
    }
    let (every, at_every_stop) = found(At::EveryStop);
    let (writes, at_writes) = found(At::EveryWrite);
    assert!(writes < every, "{writes} of {every}");
    let state = |files: &[(&str, u64)]| -> BTreeSet<(String, u64)> {
        files
            .iter()
            .map(|(name, size)| ((*name).to_owned(), *size))
            .collect()
    };
    for wanted in [
        state(&[]),
        state(&[("new", 0)]),
        state(&[("new", 5)]),
        state(&[("beside", 0), ("file", 5)]),
    ] {
        assert!(at_every_stop.contains(&wanted), "{at_every_stop:#?}");
        assert!(at_writes.contains(&wanted), "{at_writes:#?}");
    }
    println!("{test}: killed {every} and {writes} times");
}

#[test]
#[should_panic(expected = "traced only")]
fn a_program_that_does_too_little_is_not_believed() {
    if Traced::available().is_err() {
        panic!("traced only where it can be");
    }
    let nothing = Kills {
        program: "/bin/true",
        arguments: &[],
        at: At::EveryWrite,
        believable: 3,
    };
    nothing.each(|| {}, |_| {});
}

#[test]
#[should_panic(expected = "left: 1")]
fn a_program_that_fails_by_itself_is_not_killed() {
    if Traced::available().is_err() {
        panic!("left: 1 where it can be traced");
    }
    let fails = Kills {
        program: "/bin/false",
        arguments: &[],
        at: At::EveryStop,
        believable: 3,
    };
    fails.each(|| {}, |_| {});
}
