//! `gaming` on the running kernel: what it changes, and that all of it is reverted, even after a kill.
//!
//! These tests need root and set the machine's own sysctls. Everything else is private: each test has its own
//! `/run`, `/var/lib` and `/etc/sysctl.d`, so it neither reads nor writes a journal of the machine. One test
//! runs at a time. A sysctl that differs afterwards is restored, and the test fails. Only killing the test
//! itself with a signal leaves the machine tuned.
//!
//! If root, namespaces or tracing is missing, a test prints one line that begins with `not run:`, and passes.

mod machine;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hosttune_test_machine::inside::test_name;
use hosttune_test_machine::{
    At, Kills, Snapshot, Subtree, Traced, drawn, inside_every_kernel, inside_stock_kernels,
};

use machine::{
    A_WHILE, GAMING, JOURNALS, Machine, Network, PERSISTED, ReadOnly, SYSCTLS_ONLY, alone,
    everything, exits, json, listing, modules, names, never_seen, path_of,
};

// The other tests run only on this machine's kernel, where a stop costs a hundredth of what it costs under
// emulation.
inside_every_kernel!(
    apply_verify_revert_leaves_every_sysctl_as_it_was,
    killed_before_and_after_any_write_of_apply_then_revert_is_as_it_was,
    modules_that_were_not_loaded_are_and_nothing_else_is_left_of_it,
    without_the_modules_it_is_said_before_anything_is_changed,
);

inside_stock_kernels!(
    killed_before_and_after_any_write_of_revert_then_revert_is_as_it_was,
    killed_before_and_after_any_write_of_a_persisting_apply_then_revert_leaves_no_file_behind,
    persisted_then_reverted_leaves_no_file_behind,
    what_a_stranger_set_since_is_left_until_it_is_forced,
    ten_applies_at_once_are_one_apply,
    where_sysctls_cannot_be_written_nothing_is_changed,
    in_another_network_namespace_what_is_there_is_changed_and_put_back,
);

const APPLY: &[&str] = &["apply", "--yes", "--only", SYSCTLS_ONLY];
const REVERT: &[&str] = &["revert", "--yes"];
const PERSIST: &[&str] = &["apply", "--yes", "--persist", "--only", SYSCTLS_ONLY];

/// With no more stops than this, it was not the program that was traced: reading and writing a single value
/// takes four.
const STOPS: usize = 100;

/// The same for stops at calls that change something: the keys alone take that many.
const WRITES: usize = 20;

/// What was found after the kills of one program.
struct Found {
    /// How many keys an apply changes.
    set_keys: usize,
    /// The numbers of changed keys found after the kills.
    changed: BTreeSet<usize>,
    /// What was found in the directory that `--persist` writes to: names, modes and sizes.
    persisted: BTreeSet<Vec<(PathBuf, u32, usize)>>,
}

impl Found {
    /// Fails if the kills missed a moment between two keys.
    #[track_caller]
    fn every_number_of_keys(&self) {
        assert_eq!(
            self.changed,
            (0..=self.set_keys).collect(),
            "not every number of turned keys was seen after a kill"
        );
    }
}

/// Kills the program with these arguments at each of its stops. After each kill, and after each run that
/// completes, a revert must restore every key and every file.
///
/// `first` is called before each run, on a machine without journal directories. `then` is called after each
/// run, before the revert, with the number of keys that an apply changes and a description of the run.
///
/// `None` if it cannot run; a line says why.
fn killed(
    test: &str,
    arguments: &[&str],
    at: At,
    first: impl Fn() + Sync,
    then: impl Fn(&Machine, usize, &str) + Sync,
) -> Option<Found> {
    let mut outcome = None;
    alone(test, Network::Machines, |machine| {
        if let Err(reason) = Traced::available() {
            println!("not run: {test}: {reason}");
            return;
        }
        let believable = match at {
            At::EveryStop => STOPS,
            At::EveryWrite => WRITES,
        };
        let mut found = Found {
            set_keys: changed_by_apply(),
            changed: BTreeSet::new(),
            persisted: BTreeSet::new(),
        };
        with_a_file_of_somebody_elses();
        let before = listing(PERSISTED);
        let gaming = Kills {
            program: GAMING,
            arguments,
            at,
            believable,
            parts: 2,
        };
        let kills = gaming.each(
            || {
                never_seen();
                first();
            },
            |when| {
                found.changed.insert(machine.changed());
                let files = listing(PERSISTED).into_iter();
                found.persisted.insert(
                    files
                        .map(|(path, (mode, .., bytes))| (path, mode, bytes.len()))
                        .collect(),
                );
                then(machine, found.set_keys, when);
                exits(0, REVERT, when);
                assert_eq!(listing(PERSISTED), before, "{when}");
                machine.is_as_it_was(when);
            },
        );
        assert!(kills > believable, "killed only {kills} times");
        machine.is_wholly_as_it_was("after all kills");
        println!("{test}: killed {kills} times");
        outcome = Some(found);
    });
    outcome
}

/// Applies and reverts once, and returns how many keys that changed on this kernel.
fn changed_by_apply() -> usize {
    let applied = json(&exits(0, &["apply", "--yes", "--json"], "a first apply"));
    let set_keys = names(&applied["changed"], "knob").len();
    assert!(
        set_keys >= 5,
        "this kernel has so little to turn: {applied:#}"
    );
    exits(0, REVERT, "after a first apply");
    set_keys
}

#[test]
fn apply_verify_revert_leaves_every_sysctl_as_it_was() {
    let test = &test_name();
    alone(test, Network::Machines, |machine| {
        std::thread::sleep(A_WHILE);
        let later = everything();
        machine.before.is_still(
            &later,
            "a second later, and nothing was done: it changes by itself",
        );

        let plan = json(&exits(0, &["plan", "--json"], "nothing was done yet"));
        exits(0, &["plan"], "nothing was done yet");
        machine.is_wholly_as_it_was("after a plan");
        for directory in JOURNALS {
            assert!(!Path::new(directory).exists(), "a plan made {directory}");
        }

        let applied = json(&exits(0, &["apply", "--yes", "--json"], "first"));
        let set_keys = names(&applied["changed"], "knob");
        let steps = names(&plan["steps"], "knob");
        assert!(!set_keys.is_empty() && set_keys.iter().all(|knob| steps.contains(knob)));
        assert_eq!(machine.changed(), set_keys.len(), "{set_keys:?}");
        exits(0, &["verify"], "applied");
        exits(0, &["plan", "--exit-code"], "applied");
        let journal = listing(JOURNALS[0]);
        assert!(journal.keys().any(|path| path.ends_with("gaming.journal")));
        let tuned = everything();

        exits(0, APPLY, "second");
        tuned.is_still(&everything(), "applied a second time");
        let without_lock = |mut files: std::collections::BTreeMap<_, _>| {
            // It names the last process that held it.
            files.retain(|path: &PathBuf, _| !path.ends_with("lock"));
            files
        };
        assert_eq!(
            without_lock(listing(JOURNALS[0])),
            without_lock(journal),
            "the second apply wrote into the journal"
        );

        exits(0, REVERT, "applied twice");
        machine.is_wholly_as_it_was("after the revert");
        exits(0, REVERT, "nothing to put back");
        machine.is_wholly_as_it_was("after a second revert");
    });
}

#[test]
fn killed_at_any_system_call_of_apply_then_revert_is_as_it_was() {
    let test = &test_name();
    if let Some(found) = killed(test, APPLY, At::EveryStop, || {}, |_, _, _| {}) {
        found.every_number_of_keys();
    }
}

/// In the test machine a stop is expensive, so the program is killed only at calls that change something. The
/// list of these calls is right if every number of changed keys is found here too.
#[test]
fn killed_before_and_after_any_write_of_apply_then_revert_is_as_it_was() {
    let test = &test_name();
    if let Some(found) = killed(test, APPLY, At::EveryWrite, || {}, |_, _, _| {}) {
        found.every_number_of_keys();
    }
}

#[test]
fn killed_at_any_system_call_of_revert_then_revert_is_as_it_was() {
    let test = &test_name();
    killed_in_revert(test, At::EveryStop);
}

fn killed_before_and_after_any_write_of_revert_then_revert_is_as_it_was() {
    let test = &test_name();
    killed_in_revert(test, At::EveryWrite);
}

fn killed_in_revert(test: &str, at: At) {
    let applied = || {
        exits(0, APPLY, "to be reverted");
    };
    if let Some(found) = killed(test, REVERT, at, applied, |_, _, _| {}) {
        found.every_number_of_keys();
    }
}

#[test]
fn killed_in_apply_then_applied_again_then_reverted_is_as_it_was() {
    let test = &test_name();
    let again = |machine: &Machine, set_keys: usize, when: &str| {
        exits(0, APPLY, when);
        assert_eq!(machine.changed(), set_keys, "{when}, applied again");
        exits(0, &["verify"], when);
    };
    killed(test, APPLY, At::EveryStop, || {}, again);
}

/// Makes a file of another program in the private `/etc/sysctl.d`, with a mode that no file gets by chance.
fn with_a_file_of_somebody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let path = Path::new(PERSISTED).join("10-somebody.conf");
    std::fs::write(&path, "# theirs\nvm.swappiness = 30\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
}

#[test]
fn persisted_then_reverted_leaves_no_file_behind() {
    let test = &test_name();
    alone(test, Network::Machines, |machine| {
        with_a_file_of_somebody_elses();
        let before = listing(PERSISTED);
        exits(0, PERSIST, "first");
        let persisted = listing(PERSISTED);
        assert_eq!(persisted.len(), before.len() + 1, "{:?}", persisted.keys());
        exits(0, &["verify", "--persist"], "persisted");
        exits(0, PERSIST, "second");
        assert_eq!(listing(PERSISTED), persisted, "persisted a second time");
        exits(0, REVERT, "persisted");
        assert_eq!(listing(PERSISTED), before, "after the revert");
        machine.is_wholly_as_it_was("after the revert");
    });
}

#[test]
fn killed_at_any_system_call_of_a_persisting_apply_then_revert_leaves_no_file_behind() {
    let test = &test_name();
    // The file is absent, created, filled, made readable, or renamed into place.
    killed_in_persisting_apply(test, At::EveryStop, 5);
}

fn killed_before_and_after_any_write_of_a_persisting_apply_then_revert_leaves_no_file_behind() {
    let test = &test_name();
    // One state fewer: in the test machine each kernel tries only every second call, see `Kills::parts`.
    killed_in_persisting_apply(test, At::EveryWrite, 4);
}

/// Fails unless the kills meet at least this many states of the directory.
fn killed_in_persisting_apply(test: &str, at: At, states: usize) {
    if let Some(found) = killed(test, PERSIST, at, || {}, |_, _, _| {}) {
        assert!(found.persisted.len() >= states, "{:#?}", found.persisted);
    }
}

#[test]
fn killed_at_any_system_call_of_reverting_a_persisting_apply_then_revert_leaves_no_file_behind() {
    let test = &test_name();
    let persisted = || {
        exits(0, PERSIST, "to be reverted");
    };
    killed(test, REVERT, At::EveryStop, persisted, |_, _, _| {});
}

#[test]
fn what_a_stranger_set_since_is_left_until_it_is_forced() {
    let test = &test_name();
    alone(test, Network::Machines, |machine| {
        let swappiness = path_of("vm.swappiness");
        let value = || {
            std::fs::read_to_string(&swappiness)
                .unwrap()
                .trim()
                .to_owned()
        };
        let original = value();
        exits(0, APPLY, "first");
        let ours = value();
        let theirs = ["37", "38", "39"]
            .into_iter()
            .find(|theirs| *theirs != original && *theirs != ours)
            .unwrap();
        std::fs::write(&swappiness, theirs).unwrap();

        let reverted = json(&exits(
            1,
            &["revert", "--yes", "--json"],
            "a stranger came by",
        ));
        assert_eq!(value(), theirs);
        let left = reverted["not_reverted"].as_array().unwrap();
        assert_eq!(left.len(), 1, "{reverted:#}");
        for (field, wanted) in [
            ("knob", "vm.swappiness"),
            ("ours", &ours),
            ("original", &original),
            ("seen", theirs),
        ] {
            assert_eq!(left[0][field], wanted, "{field} in {reverted:#}");
        }
        assert_eq!(machine.changed(), 1, "all other keys are back");

        exits(1, REVERT, "the stranger's value is still there");
        assert_eq!(value(), theirs);
        exits(0, &["revert", "--yes", "--force"], "forced");
        machine.is_wholly_as_it_was("after the forced revert");
    });
}

#[test]
fn ten_applies_at_once_are_one_apply() {
    let test = &test_name();
    alone(test, Network::Machines, |machine| {
        let set_keys = changed_by_apply();
        let mut refused = 0;
        for round in 0..drawn(20, 4) {
            never_seen();
            let children: Vec<_> = (0..10)
                .map(|_| {
                    Command::new(GAMING)
                        .args(APPLY)
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::piped())
                        .spawn()
                        .unwrap()
                })
                .collect();
            let mut done = 0;
            for child in children {
                let output = child.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                match output.status.code() {
                    Some(0) => done += 1,
                    Some(3) if said.contains("another process") => refused += 1,
                    other => panic!("round {round}: {other:?}: {said}"),
                }
            }
            assert!(done > 0, "round {round}: nobody applied anything");
            assert_eq!(machine.changed(), set_keys, "round {round}");
            exits(0, &["verify"], format!("round {round}"));
            exits(0, REVERT, format!("round {round}"));
            machine.is_as_it_was(format!("round {round}"));
        }
        assert!(refused > 0, "no two of them ever ran at the same time");
        machine.is_wholly_as_it_was("after all rounds");
    });
}

#[test]
fn where_sysctls_cannot_be_written_nothing_is_changed() {
    let test = &test_name();
    alone(test, Network::Machines, |machine| {
        {
            let _read_only = ReadOnly::mounted();
            exits(0, &["plan"], "read-only");
            let applied = json(&exits(0, &["apply", "--yes", "--json"], "read-only"));
            assert_eq!(applied["outcome"], "nothing-to-do", "{applied:#}");
            // Each key is reported as unsupported, with the reason, without an attempt to write it.
            let unsupported = applied["not_applicable"].as_array().unwrap();
            let plan = json(&exits(0, &["plan", "--json"], "read-only"));
            assert!(names(&plan["steps"], "knob").is_empty(), "{plan:#}");
            let read_only = unsupported.iter().filter(|unsupported| {
                let why = unsupported["why"].as_str().unwrap();
                why.contains("mounted read-only")
            });
            assert!(read_only.count() > 10, "{applied:#}");
            machine.is_wholly_as_it_was("after an apply that could do nothing");
        }
        exits(0, APPLY, "writable again");
        let tuned = everything();
        {
            let _read_only = ReadOnly::mounted();
            exits(0, APPLY, "read-only, and everything as wanted already");
            // A revert that cannot write must not report success.
            exits(4, REVERT, "read-only");
            tuned.is_still(&everything(), "after a revert that was refused");
        }
        exits(0, REVERT, "writable again");
        machine.is_wholly_as_it_was("after the revert");
    });
}

#[test]
fn in_another_network_namespace_what_is_there_is_changed_and_put_back() {
    let test = &test_name();
    alone(test, Network::New, |machine| {
        let plan = json(&exits(0, &["plan", "--json"], "in a new network namespace"));
        let not_applicable = names(&plan["not_applicable"], "knob");
        // This key is absent there or, on newer kernels, read-only.
        assert!(
            not_applicable.contains(&"net.core.rmem_max".to_owned()),
            "{plan:#}"
        );
        for item in plan["not_applicable"].as_array().unwrap() {
            let why = item["why"].as_str().unwrap();
            assert!(why.contains("network namespace"), "{item:#}");
        }
        let applied = json(&exits(
            0,
            &["apply", "--yes", "--json"],
            "in a new network namespace",
        ));
        let set_keys = names(&applied["changed"], "knob");
        assert!(
            set_keys.contains(&"net.ipv4.tcp_mtu_probing".to_owned()),
            "{set_keys:?}"
        );
        assert_eq!(machine.changed(), set_keys.len(), "{set_keys:?}");
        exits(0, &["verify"], "in a new network namespace");
        exits(0, REVERT, "in a new network namespace");
        machine.is_wholly_as_it_was("after the revert");
    });
}

/// What a plan says about this key: whether it is a step, and why it is unsupported if it is.
fn planned(plan: &serde_json::Value, key: &str) -> (bool, Option<String>) {
    let step = names(&plan["steps"], "knob").iter().any(|knob| knob == key);
    let unsupported = plan["not_applicable"].as_array().unwrap();
    let unsupported = unsupported.iter().find(|item| item["knob"] == key);
    (
        step,
        unsupported.map(|item| item["why"].as_str().unwrap().to_owned()),
    )
}

const CONGESTION_CONTROL: &str = "net.ipv4.tcp_congestion_control";
const DEFAULT_QDISC: &str = "net.core.default_qdisc";

/// A stock kernel loads `bbr` and `fq` only when they are named.
fn modules_that_were_not_loaded_are_and_nothing_else_is_left_of_it() {
    let test = &test_name();
    alone(test, Network::Machines, |machine| {
        modules(false);
        let before = everything();
        let plan = json(&exits(0, &["plan", "--json"], "not loaded"));
        for key in [CONGESTION_CONTROL, DEFAULT_QDISC] {
            assert_eq!(planned(&plan, key), (true, None), "{key} in {plan:#}");
        }
        before.is_still(&everything(), "a plan loads nothing");

        exits(0, APPLY, "not loaded");
        exits(0, &["verify"], "applied");
        let value = |key: &str| std::fs::read_to_string(path_of(key)).unwrap();
        assert_eq!(value(CONGESTION_CONTROL), "bbr\n");
        assert_eq!(value(DEFAULT_QDISC), "fq\n");

        exits(0, REVERT, "applied");
        // The modules stay loaded, because only the kernel knows whether anything uses them by now.
        let stays = before.differs(&everything());
        assert_eq!(
            stays.len(),
            3,
            "two modules, and the one name among those that are offered: {stays:#?}"
        );
        before
            .clone()
            .except(&[
                ("module tcp_bbr", "loaded by naming bbr"),
                ("module sch_fq", "loaded by naming fq"),
                (
                    "/proc/sys/net/ipv4/tcp_available_congestion_control",
                    "lists what is loaded",
                ),
            ])
            .is_still(&everything(), "after the revert");
        // Nothing uses them.
        modules(false);
        before.is_still(&everything(), "unloaded again");

        modules(true);
        machine.is_wholly_as_it_was("loaded as at the beginning");
    });
}

/// As on a kernel or an image that was built without the modules.
fn without_the_modules_it_is_said_before_anything_is_changed() {
    let test = &test_name();
    alone(test, Network::Machines, |machine| {
        modules(false);
        let hidden = machine::without_modules();
        let before = Snapshot::of(&[Subtree::Sysctls, Subtree::Modules]);
        let plan = json(&exits(0, &["plan", "--json"], "no modules"));
        for key in [CONGESTION_CONTROL, DEFAULT_QDISC] {
            let (step, unsupported) = planned(&plan, key);
            assert!(!step, "{key} in {plan:#}");
            let unsupported = unsupported.unwrap_or_else(|| panic!("{key} in {plan:#}"));
            assert!(unsupported.contains("module"), "{unsupported}");
        }
        // With --strict an unsupported setting is an error, before anything is changed.
        exits(3, &["apply", "--yes", "--strict"], "strict");
        before.is_still(
            &Snapshot::of(&[Subtree::Sysctls, Subtree::Modules]),
            "after an apply that was refused",
        );
        let applied = json(&exits(0, &["apply", "--yes", "--json"], "no modules"));
        let set_keys = names(&applied["changed"], "knob");
        for key in [CONGESTION_CONTROL, DEFAULT_QDISC] {
            assert!(!set_keys.contains(&key.to_owned()), "{set_keys:?}");
        }
        assert!(
            set_keys.contains(&"vm.swappiness".to_owned()),
            "{set_keys:?}"
        );
        exits(0, &["verify"], "applied");
        exits(0, REVERT, "applied");
        drop(hidden);
        modules(true);
        machine.is_wholly_as_it_was("after the revert");
    });
}
