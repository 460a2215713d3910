//! A random walk on the running kernel, in a network namespace of its own: owners apply, revert, are refused,
//! lose the end of their journal and die, and another process sets values in between.
//!
//! After each act its report is compared with what the kernel shows. At the end each key has its original
//! value or one that the other process has set. `PROPTEST_CASES` is the number of walks; `scripts/soak` runs
//! thousands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hosttune_core::journal::DirectoryStore;
use hosttune_core::testing::{CrashPoint, CrashingStore, Moment};
use hosttune_core::{Error, Host, LinuxHost, Session, Tuning};
use hosttune_sysctl::{SysctlSet, Wanted};
use proptest::prelude::*;

use crate::own_namespace;

/// Keys that exist per network namespace, with values that the kernel accepts, some of them rounded (a time
/// in milliseconds becomes jiffies).
const KEYS: [(&str, [&str; 3]); 7] = [
    ("net.ipv4.tcp_mtu_probing", ["0", "1", "2"]),
    ("net.ipv4.tcp_slow_start_after_idle", ["0", "1", "1"]),
    ("net.ipv4.tcp_fin_timeout", ["11", "60", "75"]),
    ("net.core.somaxconn", ["128", "4096", "8192"]),
    (
        "net.ipv4.tcp_rmem",
        [
            "4096 131072 6291456",
            "4096 87380 33554432",
            "8192 65536 1048576",
        ],
    ),
    ("net.ipv4.conf.eth0.rp_filter", ["0", "1", "2"]),
    (
        "net.ipv4.neigh.eth0.base_reachable_time_ms",
        ["30001", "20003", "12345"],
    ),
];

const OWNERS: [&str; 3] = ["one", "two", "three"];

fn path(key: usize) -> String {
    format!("/proc/sys/{}", KEYS[key].0.replace('.', "/"))
}

fn shows(key: usize) -> String {
    fs::read_to_string(path(key)).unwrap().trim_end().to_owned()
}

fn shown() -> Vec<String> {
    (0..KEYS.len()).map(shows).collect()
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Lives,
    /// It dies at the change or journal write with this number, from 0.
    Dies(u64, Moment),
    /// The change with this number fails, before or after the kernel has made it.
    Fails(u64, Moment),
}

impl Fate {
    fn crash_point(self) -> CrashPoint {
        match self {
            Self::Lives => CrashPoint::lives(),
            Self::Dies(write, moment) => CrashPoint::dies_at(write, moment),
            Self::Fails(change, moment) => CrashPoint::fails_at(change, moment),
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    /// An owner requests a value for each of these keys.
    Apply(usize, BTreeMap<usize, usize>, Fate),
    /// A revert, forced or not.
    Revert(usize, bool, Fate),
    /// Another process sets a key.
    Stranger(usize, usize),
    /// An owner's journal loses this number of bytes at its end, right after the owner's last act: a value
    /// that another owner reverted to in between would look as if this owner had set it.
    Cut(usize, usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    let moment = || {
        prop_oneof![
            Just(Moment::Before),
            Just(Moment::Within),
            Just(Moment::After)
        ]
    };
    prop_oneof![
        6 => Just(Fate::Lives),
        2 => (0..14_u64, moment()).prop_map(|(write, moment)| Fate::Dies(write, moment)),
        1 => (0..8_u64, moment()).prop_map(|(change, moment)| Fate::Fails(change, moment)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let owner = || 0..OWNERS.len();
    let wants = prop::collection::btree_map(0..KEYS.len(), 0..3_usize, 1..5);
    prop_oneof![
        6 => (owner(), wants, fate()).prop_map(|(owner, wants, fate)| Act::Apply(owner, wants, fate)),
        4 => (owner(), prop::bool::weighted(0.2), fate())
            .prop_map(|(owner, force, fate)| Act::Revert(owner, force, fate)),
        3 => (0..KEYS.len(), 0..3_usize).prop_map(|(key, value)| Act::Stranger(key, value)),
    ]
}

fn walk() -> impl Strategy<Value = (Vec<Act>, Vec<usize>, Option<usize>)> {
    (
        prop::collection::vec(act(), 1..10),
        Just((0..OWNERS.len()).collect::<Vec<_>>()).prop_shuffle(),
        prop::option::weighted(0.3, 1..400_usize),
    )
}

fn session(directory: &Path, owner: usize, crash_point: &CrashPoint) -> Session {
    let host = LinuxHost::live().unwrap();
    let store = DirectoryStore::new(&host, directory.join("boot"), directory.join("disk"));
    let store = CrashingStore::new(store.unwrap(), crash_point);
    let host = Host::new(host).gated(crash_point.clone());
    Session::new(host, OWNERS[owner], store, "this")
        .unwrap()
        .with(hosttune_sysctl::knobs)
}

fn set(wants: &BTreeMap<usize, usize>) -> SysctlSet {
    SysctlSet::new(
        wants
            .iter()
            .map(|(key, value)| Wanted::new(KEYS[*key].0, KEYS[*key].1[*value])),
    )
}

/// The state of a walk so far.
struct Walked {
    /// What each key showed after the other process had set it.
    theirs: Vec<BTreeSet<String>>,
    died: bool,
}

/// Performs one act and checks that its report is true.
fn does(directory: &Path, act: &Act, walked: &mut Walked) -> Result<(), TestCaseError> {
    let before = shown();
    match act {
        Act::Stranger(key, value) => {
            fs::write(path(*key), KEYS[*key].1[*value]).unwrap();
            walked.theirs[*key].insert(shows(*key));
        }
        Act::Cut(owner, bytes) => {
            let journal = directory.join(format!("boot/{}.journal", OWNERS[*owner]));
            if let Ok(file) = fs::File::options().write(true).open(&journal) {
                let length = file.metadata().unwrap().len();
                file.set_len(length.saturating_sub(*bytes as u64)).unwrap();
            }
        }
        Act::Apply(owner, wants, fate) => {
            let crash_point = fate.crash_point();
            let set = set(wants);
            let applied = set.apply(&mut session(directory, *owner, &crash_point));
            if crash_point.is_dead() {
                walked.died = true;
                return Ok(());
            }
            let session = session(directory, *owner, &CrashPoint::lives());
            match applied {
                Ok(applied) => {
                    let report = set.verify(&session).unwrap();
                    prop_assert!(report.is_as_wanted(), "{applied:#?}\n{report:#?}");
                    prop_assert!(set.plan(&session).unwrap().is_empty());
                    for step in &applied.changed {
                        let was = &before[key_of(&step.knob.text)];
                        prop_assert!(
                            walked.died || same(&step.from_text, was),
                            "{step:#?}: {was}"
                        );
                    }
                }
                Err(Error::RolledBack { .. }) => {
                    // This apply first recovered what an earlier process left when it died, so the values may
                    // differ.
                    prop_assert!(walked.died || shown() == before, "{before:?} {:?}", shown());
                }
                // The one refusal hit an undo. That step is still pending and is reported.
                Err(Error::RollbackIncomplete { left, .. }) => {
                    prop_assert!(matches!(fate, Fate::Fails(..)) && !left.is_empty());
                    for left in &left {
                        let now = shows(key_of(&left.knob.text));
                        prop_assert!(same(&left.seen, &now), "{left}: it shows {now}");
                    }
                }
                Err(error) => prop_assert!(false, "{error:?}"),
            }
        }
        Act::Revert(owner, force, fate) => {
            let crash_point = fate.crash_point();
            let mut session = session(directory, *owner, &crash_point);
            let reverted = session.force(*force).revert();
            if crash_point.is_dead() {
                walked.died = true;
                return Ok(());
            }
            let reverted = reverted.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
            told_as_it_is(&reverted, *fate == Fate::Lives)?;
        }
    }
    Ok(())
}

fn key_of(text: &str) -> usize {
    KEYS.iter().position(|(key, _)| *key == text).unwrap()
}

/// Compares the fields: the kernel prints tabs for blanks.
fn same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

/// What is reported as undone shows its original value; what is not was set by another process or refused.
fn told_as_it_is(reverted: &hosttune_core::Reverted, lived: bool) -> Result<(), TestCaseError> {
    let left: BTreeSet<&str> = reverted
        .not_reverted
        .iter()
        .map(|left| &*left.knob.text)
        .collect();
    // Of several steps of a key, the one that was undone last is reported last.
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for undone in &reverted.undone {
        if undone.held_by.is_none() && !undone.already {
            last.insert(&undone.knob.text, &undone.original);
        }
    }
    for (key, original) in last {
        let now = shows(key_of(key));
        prop_assert!(
            left.contains(key) || same(original, &now),
            "{key} is told to be {original} again and is {now}: {reverted:#?}"
        );
    }
    for left in &reverted.not_reverted {
        let now = shows(key_of(&left.knob.text));
        prop_assert!(same(&left.seen, &now), "{left}: it shows {now}");
        prop_assert!(!lived || !same(&left.seen, &left.original), "{left}");
    }
    Ok(())
}

fn walks(acts: &[Act], order: &[usize], cut: Option<usize>) -> Result<(), TestCaseError> {
    // Each walk starts with the same values.
    let first: Vec<String> = (0..KEYS.len())
        .map(|key| KEYS[key].1[0].to_owned())
        .collect();
    for (key, value) in first.iter().enumerate() {
        fs::write(path(key), value).unwrap();
    }
    let first = shown();
    let directory = tempfile::tempdir().unwrap();
    let mut walked = Walked {
        theirs: vec![BTreeSet::new(); KEYS.len()],
        died: false,
    };
    for act in acts {
        does(directory.path(), act, &mut walked)?;
    }
    let mut left: BTreeSet<usize> = BTreeSet::new();
    let mut unread = false;
    if let (Some(bytes), Some(Act::Apply(owner, ..) | Act::Revert(owner, ..))) = (cut, acts.last())
    {
        does(directory.path(), &Act::Cut(*owner, bytes), &mut walked)?;
    }
    for owner in order {
        match session(directory.path(), *owner, &CrashPoint::lives()).revert() {
            Ok(reverted) => {
                told_as_it_is(&reverted, true)?;
                left.extend(
                    reverted
                        .not_reverted
                        .iter()
                        .map(|left| key_of(&left.knob.text)),
                );
            }
            // A journal that lost more than marks is rejected and kept.
            Err(Error::Journal(error)) if cut.is_some() => {
                unread = true;
                let journal = directory
                    .path()
                    .join(format!("boot/{}.journal", OWNERS[*owner]));
                prop_assert!(journal.exists(), "{error}");
            }
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }
    for (key, was) in first.iter().enumerate() {
        let now = shows(key);
        let told = left.contains(&key) || unread;
        prop_assert!(
            now == *was || walked.theirs[key].contains(&now) || told,
            "{} was {was}, is {now}, no stranger set that, and nothing was said",
            KEYS[key].0
        );
        prop_assert!(
            !walked.theirs[key].is_empty() || now == *was || unread,
            "{} was {was}, is {now}, and nobody else touched it",
            KEYS[key].0
        );
    }
    if left.is_empty() && !unread {
        let boot = directory.path().join("boot");
        let journals = fs::read_dir(boot).into_iter().flatten().flatten();
        let journals: Vec<_> = journals
            .map(|entry| entry.file_name())
            .filter(|name| name != "lock")
            .collect();
        prop_assert!(journals.is_empty(), "{journals:?} are left");
    }
    Ok(())
}

#[test]
fn whatever_owners_and_strangers_do_nothing_is_lost_and_all_is_told() {
    if !own_namespace::inside() {
        return;
    }
    let set = std::env::var("PROPTEST_CASES").ok();
    let config = ProptestConfig {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(500),
        max_shrink_iters: 3_000,
        // A failing walk becomes a test of its own instead of an entry in a file of failures.
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let done = runner.run(&walk(), |(acts, order, cut)| walks(&acts, &order, cut));
    if let Err(error) = done {
        panic!("{error}");
    }
}
