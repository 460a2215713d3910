//! Programs killed while they change files: kills at every stop and kills at the calls that change something
//! both meet every intermediate state, and both ways to step through a program find the same calls.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hosttune_test_machine::inside::test_name;
use hosttune_test_machine::{At, Kills, Stop, Traced};
use nix::libc;

/// The size of the file, and the sizes of other files, whose names are random.
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
        parts: 2,
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
    // Unchanged, a new file beside it, the new file filled, the new file renamed into place.
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

/// Why these kills fail. `None` if programs cannot be traced here; a line says so.
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
        parts: 2,
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

/// Whether programs can be traced here; if not, a line says so.
fn can_trace(test: &str) -> bool {
    let available = Traced::available();
    if let Err(reason) = &available {
        println!("not run: {test}: {reason}");
    }
    available.is_ok()
}

/// The arguments of a shell that runs this script in a directory.
fn script(directory: &Path, text: &str) -> [String; 2] {
    [
        "-c".to_owned(),
        format!("cd {} || exit; {text}", directory.display()),
    ]
}

/// Programs that change files in many ways, as shell scripts. A single command replaces the shell.
const SCRIPTS: &[&str] = &[
    "exec mkdir -p one/two/three",
    "exec cp -a old copied",
    "exec sed -i s/old/newer/ old",
    "exec mv old moved",
    "exec rm old",
    "exec ln -s old link",
    "exec ln old link",
    "exec chmod 600 old",
    "exec touch -d @1000000000 old",
    "exec truncate -s 100 old",
    "exec mkfifo pipe",
    "exec dd if=old of=synchronized conv=fsync",
    "exec flock old true",
    "echo one > one; (echo two > two; mkdir three); echo four > four; wait",
    "exec unshare --net ip link set lo up",
    "exec cat old",
    "exec ls",
    "exec false",
];

fn anew(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::write(directory.join("old"), "old\n").unwrap();
}

/// Each stop at a call that can change something, with the number of the call; and the exit code.
fn sequence(mut traced: Traced) -> (Vec<(Stop, i64)>, i32) {
    let mut found = Vec::new();
    loop {
        let stop = traced.step();
        if let Stop::Ended(code) = stop {
            return (found, code);
        }
        if traced.can_change_something() {
            found.push((stop, traced.call()));
        }
    }
}

#[test]
fn through_every_call_and_up_to_the_next_change_the_same_calls_are_found() {
    let test = &test_name();
    if !can_trace(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut changes = 0;
    for text in SCRIPTS {
        let arguments = script(directory, text);
        let arguments = arguments.each_ref().map(String::as_str);
        anew(directory);
        let stepped = sequence(Traced::start("/bin/sh", &arguments).unwrap());
        let files = files(directory).into_keys().collect::<Vec<_>>();
        anew(directory);
        let filtered = sequence(Traced::start_at_changes("/bin/sh", &arguments).unwrap());
        assert_eq!(stepped, filtered, "{text}");
        assert_eq!(
            self::files(directory).into_keys().collect::<Vec<_>>(),
            files,
            "{text}"
        );
        println!("{text}: {} stops", filtered.0.len());
        changes += filtered.0.len();
    }
    assert!(changes > 50, "only {changes} stops in all");
}

/// Of a file: mode, links, size, time of its last change in nanoseconds, and what it holds.
type Shown = (u32, u64, u64, i128, Vec<u8>);

fn files(directory: &Path) -> BTreeMap<PathBuf, Shown> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let is = std::fs::symlink_metadata(&path).unwrap();
        let holds = if is.is_file() {
            std::fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let changed = i128::from(is.mtime()) * 1_000_000_000 + i128::from(is.mtime_nsec());
        if is.is_dir() {
            found.extend(files(&path));
        }
        found.insert(path, (is.mode(), is.nlink(), is.size(), changed, holds));
    }
    found
}

/// Finds calls that are missing in the list: a file differs before and after such a call.
#[test]
fn what_changes_a_file_is_in_the_list_of_calls() {
    let test = &test_name();
    if !can_trace(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut changing = BTreeSet::new();
    // With a child running at the same time, a change need not come from the program's own call.
    for text in SCRIPTS.iter().filter(|text| text.starts_with("exec ")) {
        anew(directory);
        let arguments = script(directory, text);
        let arguments = arguments.each_ref().map(String::as_str);
        let mut traced = Traced::start("/bin/sh", &arguments).unwrap();
        let mut before = files(directory);
        while !matches!(traced.step(), Stop::Ended(_)) {
            let now = files(directory);
            if now != before {
                let call = traced.call();
                assert!(
                    traced.can_change_something(),
                    "{text}: system call {call} is not in the list, and has changed {before:?} to {now:?}"
                );
                changing.insert(call);
            }
            before = now;
        }
    }
    assert!(changing.len() > 8, "changed by few calls: {changing:?}");
}

#[test]
fn a_child_is_not_killed_and_what_it_has_changed_is_a_moment_of_its_own() {
    let test = &test_name();
    if !can_trace(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let arguments = script(
        directory,
        "echo one > one; (echo two > two || echo failed > failed); echo three > three",
    );
    let mut found = BTreeSet::new();
    let kills = Kills {
        program: "/bin/sh",
        arguments: &arguments.each_ref().map(String::as_str),
        at: At::EveryWrite,
        believable: 7,
        parts: 2,
    }
    .each(
        || anew(directory),
        |_| {
            let sizes: Vec<(String, u64)> = files(directory)
                .into_iter()
                .map(|(path, (_, _, size, ..))| {
                    let name = path.file_name().unwrap();
                    (name.to_str().unwrap().to_owned(), size)
                })
                .collect();
            found.insert(sizes);
        },
    );
    // Before everything, after the program creates and fills each of its two files, and after the child.
    assert_eq!(kills, 6);
    let expected: [&[(&str, u64)]; 6] = [
        &[("old", 4)],
        &[("old", 4), ("one", 0)],
        &[("old", 4), ("one", 4)],
        &[("old", 4), ("one", 4), ("two", 4)],
        &[("old", 4), ("one", 4), ("three", 0), ("two", 4)],
        &[("old", 4), ("one", 4), ("three", 6), ("two", 4)],
    ];
    let expected = expected.map(|state| {
        let names = state.iter().map(|(name, size)| ((*name).to_owned(), *size));
        names.collect::<Vec<_>>()
    });
    assert_eq!(found, BTreeSet::from(expected));
}

/// A child inherits the seccomp filter; without a tracer its filtered calls would fail.
#[test]
fn a_child_whose_parent_was_killed_makes_its_calls_nevertheless() {
    let test = &test_name();
    if !can_trace(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let fifo = directory.join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let arguments = script(
        directory,
        "{ read -r go < fifo; mkdir made && echo child > written; } & echo $$ > parent; wait",
    );
    let arguments = arguments.each_ref().map(String::as_str);
    let mut traced = Traced::start_at_changes("/bin/sh", &arguments).unwrap();
    let calls = [Stop::Enters, Stop::Leaves, Stop::Enters, Stop::Leaves];
    assert_eq!(
        calls.map(|_| traced.step()),
        calls,
        "one file is made and filled"
    );
    let parent = std::fs::read_to_string(directory.join("parent")).unwrap();
    let parent = format!("/proc/{}/stat", parent.trim());
    assert!(Path::new(&parent).exists());
    let is_gone = move || {
        let shown = std::fs::read_to_string(&parent);
        shown.map_or(true, |shown| {
            shown.contains(") Z ") || shown.contains(") X ")
        })
    };
    let goes_on = std::thread::spawn(move || {
        while !is_gone() {
            std::thread::yield_now();
        }
        std::fs::write(fifo, "go\n").unwrap();
    });
    traced.kill();
    goes_on.join().unwrap();
    let written = std::fs::read_to_string(directory.join("written"));
    assert_eq!(written.unwrap(), "child\n");
    assert!(directory.join("made").is_dir());
}

/// The environment variable that gives the programs below their directory; set by `env`.
const DIRECTORY: &str = "HOSTTUNE_TEST_DIRECTORY";

/// Started by the tests below as a program with threads, each of which makes a directory.
#[test]
#[ignore = "a program that other tests trace"]
fn makes_directories_in_threads() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    for name in ["one", "two", "three"] {
        let path = Path::new(&directory).join(name);
        let made = std::thread::spawn(move || std::fs::create_dir(path));
        made.join().unwrap().unwrap();
    }
}

/// Started likewise, as a program of which a thread executes another program.
#[test]
#[ignore = "a program that other tests trace"]
fn becomes_another_program_from_a_thread() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let becomes = move || {
        Command::new("mkdir")
            .current_dir(directory)
            .arg("one")
            .exec()
    };
    panic!("{}", std::thread::spawn(becomes).join().unwrap());
}

/// The arguments of `env` that run only this test of this test program.
fn this_program(directory: &Path, test: &str) -> [String; 5] {
    [
        format!("{DIRECTORY}={}", directory.display()),
        std::env::current_exe()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
        "--ignored".to_owned(),
        "--exact".to_owned(),
        test.to_owned(),
    ]
}

fn makes_a_directory(call: i64) -> bool {
    #[cfg(target_arch = "x86_64")]
    if call == libc::SYS_mkdir {
        return true;
    }
    call == libc::SYS_mkdirat
}

#[test]
fn threads_of_the_program_stop_as_it_does_and_are_killed_with_it() {
    let test = &test_name();
    if !can_trace(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let arguments = this_program(directory, "kills::makes_directories_in_threads");
    let arguments = arguments.each_ref().map(String::as_str);
    let start = || Traced::start_at_changes("/usr/bin/env", &arguments).unwrap();
    let (stops, code) = sequence(start());
    let made = stops.iter().filter(|(_, call)| makes_a_directory(*call));
    let sides: Vec<Stop> = made.map(|(stop, _)| *stop).collect();
    assert_eq!(code, 0);
    assert_eq!(sides, [Stop::Enters, Stop::Leaves].repeat(3));

    for killed_at in 0..sides.len() {
        for name in ["one", "two", "three"] {
            let _ = std::fs::remove_dir(directory.join(name));
        }
        let mut traced = start();
        for _ in 0..=killed_at {
            while {
                assert!(!matches!(traced.step(), Stop::Ended(_)));
                !makes_a_directory(traced.call())
            } {}
        }
        traced.kill();
        let count = std::fs::read_dir(directory).unwrap().count();
        assert_eq!(count, killed_at.div_ceil(2), "killed at stop {killed_at}");
    }
}

#[test]
fn a_thread_that_becomes_another_program_is_traced_on() {
    let test = &test_name();
    if !can_trace(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let arguments = this_program(
        directory.path(),
        "kills::becomes_another_program_from_a_thread",
    );
    let arguments = arguments.each_ref().map(String::as_str);
    let (stops, code) = sequence(Traced::start_at_changes("/usr/bin/env", &arguments).unwrap());
    assert_eq!(code, 0);
    let made = stops.iter().filter(|(_, call)| makes_a_directory(*call));
    let sides: Vec<Stop> = made.map(|(stop, _)| *stop).collect();
    assert_eq!(sides, [Stop::Enters, Stop::Leaves]);
    assert!(directory.path().join("one").is_dir());
}

#[test]
fn the_most_memory_is_known_in_both_ways() {
    let test = &test_name();
    if !can_trace(test) {
        return;
    }
    for start in [Traced::start, Traced::start_at_changes] {
        let mut traced = start("/bin/true", &[]).unwrap();
        while !matches!(traced.step(), Stop::Ended(0)) {}
        let largest = traced.largest.unwrap();
        assert!((100..100_000).contains(&largest), "{largest} KiB");
    }
}

#[test]
fn a_program_that_is_not_there_is_not_started_in_either_way() {
    let test = &test_name();
    if !can_trace(test) {
        return;
    }
    for start in [Traced::start, Traced::start_at_changes] {
        let reason = start("/nowhere/program", &[]).unwrap_err();
        assert!(
            reason.starts_with("/nowhere/program was not started: "),
            "{reason}"
        );
    }
}

/// The program sends itself a signal that has a handler and one that stops it.
#[test]
fn signals_come_to_the_program_at_changes_too() {
    let test = &test_name();
    if !can_trace(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let arguments = script(
        directory.path(),
        "trap 'mkdir caught' USR1; kill -USR1 $$; kill -STOP $$; mkdir stopped",
    );
    let arguments = arguments.each_ref().map(String::as_str);
    let (_, code) = sequence(Traced::start_at_changes("/bin/sh", &arguments).unwrap());
    assert_eq!(code, 0);
    for name in ["caught", "stopped"] {
        assert!(directory.path().join(name).is_dir(), "{name}");
    }
}
