//! An editor killed while it replaces a file: every state in between is come upon, at every stop as
//! well as at the calls that change something.

use std::collections::BTreeSet;
use std::path::Path;

use hosttune_test_machine::inside::test_name;
use hosttune_test_machine::{At, Kills, Traced};

/// Sizes, the file's own and those of others, whose names are drawn at random.
type State = (Option<u64>, Vec<u64>);

const FILE: &str = "file";

fn state(directory: &Path) -> State {
    let mut state: State = (None, Vec::new());
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let size = entry.metadata().unwrap().len();
        if entry.file_name() == FILE {
            state.0 = Some(size);
        } else {
            state.1.push(size);
        }
    }
    state
}

fn found(at: At) -> (usize, BTreeSet<State>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let file = path.join(FILE);
    let mut found = BTreeSet::new();
    let mut runs = 0;
    let editor = Kills {
        program: "/bin/sed",
        arguments: &["-i", "s/old/newer/", file.to_str().unwrap()],
        at,
        believable: 5,
    };
    let kills = editor.each(
        || {
            for entry in std::fs::read_dir(path).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
            std::fs::write(&file, "old\n").unwrap();
        },
        |when| {
            assert!(when.contains("killed"), "{when}");
            runs += 1;
            found.insert(state(path));
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
    let test = &test_name();
    if let Err(reason) = Traced::available() {
        println!("not run: {test}: {reason}");
        return;
    }
    let (every, at_every_stop) = found(At::EveryStop);
    let (writes, at_writes) = found(At::EveryWrite);
    assert!(writes < every, "{writes} of {every}");
    // Untouched, a new file beside it, that one filled, and in its place.
    let states = [
        (Some(4), vec![]),
        (Some(4), vec![0]),
        (Some(4), vec![6]),
        (Some(6), vec![]),
    ];
    assert_eq!(at_every_stop, BTreeSet::from(states));
    assert_eq!(at_writes, at_every_stop);
    println!("{test}: killed {every} and {writes} times");
}

/// Why these kills come to nothing; nothing where nothing can be traced, which a line says.
fn refused(test: &str, program: &str) -> Option<String> {
    if let Err(reason) = Traced::available() {
        println!("not run: {test}: {reason}");
        return None;
    }
    let kills = Kills {
        program,
        arguments: &[],
        at: At::EveryWrite,
        believable: 3,
    };
    let panic = std::panic::catch_unwind(|| kills.each(|| {}, |_| {})).unwrap_err();
    Some(panic.downcast_ref::<String>().unwrap().clone())
}

#[test]
fn a_program_that_does_too_little_is_not_believed() {
    let test = &test_name();
    if let Some(why) = refused(test, "/bin/true") {
        assert_eq!(why, "/bin/true []: traced only 0 stops");
    }
}

#[test]
fn a_program_that_fails_by_itself_is_not_killed() {
    let test = &test_name();
    if let Some(why) = refused(test, "/bin/false") {
        assert!(
            why.contains("/bin/false []") && why.contains("left: 1"),
            "{why}"
        );
    }
}
