//! Every journal that a release has ever written can still be reverted.
//!
//! Each folder below `v1`, `v2` and so on is one case, as data: the machine as a process left it, its
//! journal, and the machine after a revert. The tests know no case by name; `README.md` says how to add
//! one.

mod generate;

use std::fs;
use std::path::{Path, PathBuf};

use hosttune_core::host::FileContent;
use hosttune_core::journal::{FORMAT, JournalLocation};
use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Snapshot};
use hosttune_core::{Host, Session};
use serde::{Deserialize, Serialize};
use serde_json::from_slice;

use crate::support;

/// The owner of these journals.
const OWNER: &str = "golden";

/// The name of a journal in the folder of a case.
const FILES: [(JournalLocation, &str); 2] = [
    (JournalLocation::Volatile, "boot.journal"),
    (JournalLocation::Persistent, "disk.journal"),
];

/// `state.json`.
#[derive(Serialize, Deserialize)]
struct Before {
    /// The id of the boot in which the revert runs.
    boot: String,
    /// The machine, one line for each path: mode, user, group and content; or `directory`.
    files: Snapshot,
}

/// `expected.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct After {
    /// The knobs that are not reverted, as printed.
    left: Vec<String>,
    /// How many changes a reboot had undone.
    by_reboot: usize,
    /// Whether a journal remains.
    journal_remains: bool,
    /// The machine, as in `state.json`.
    files: Snapshot,
}

fn folder(format: u32) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals");
    tests.join(format!("v{format}"))
}

fn cases(format: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(format)).unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// The machine of a snapshot. Its files answer writes like those of the laws' machine.
fn memory(snapshot: &Snapshot) -> Memory {
    let mut memory = support::machine().memory().clone();
    for path in memory.snapshot().into_keys() {
        if !snapshot.contains_key(&path) {
            memory.change(|tree| tree.remove(&path));
        }
    }
    for (path, line) in snapshot {
        if line == "directory" {
            memory = memory.directory(path);
            continue;
        }
        let (mode, rest) = line.split_once(' ').unwrap();
        let (owner, text) = rest.split_once(' ').unwrap();
        let (uid, gid) = owner.split_once(':').unwrap();
        let mut content = FileContent::new(text);
        content.mode = u32::from_str_radix(mode, 8).unwrap();
        (content.uid, content.gid) = (uid.parse().unwrap(), gid.parse().unwrap());
        memory = memory.content(path, content);
    }
    memory
}

/// Reverts the journals on the machine, and returns what is left of both.
fn reverted(before: &Before, journals: &[(JournalLocation, Vec<u8>)]) -> After {
    let (memory, store) = (memory(&before.files), MemoryStore::new());
    for (place, bytes) in journals {
        store.set_bytes(*place, OWNER, bytes);
    }
    let host = Host::new(memory.host(&CrashPoint::lives()));
    let mut session = Session::new(host, OWNER, store.clone(), &before.boot)
        .unwrap()
        .with(support::knobs);
    let reverted = session.revert().unwrap();
    After {
        left: reverted
            .not_reverted
            .iter()
            .map(|left| left.knob.text.clone())
            .collect(),
        by_reboot: reverted.by_reboot,
        journal_remains: !store.is_empty(),
        files: memory.snapshot(),
    }
}

#[test]
fn every_journal_ever_written_still_reverts() {
    let mut run = 0;
    for case in (1..=FORMAT).flat_map(cases) {
        let read = |name: &str| fs::read(case.join(name));
        let before: Before = from_slice(&read("state.json").unwrap()).unwrap();
        let expected: After = from_slice(&read("expected.json").unwrap()).unwrap();
        let journals: Vec<(JournalLocation, Vec<u8>)> = FILES
            .iter()
            .filter_map(|(place, name)| Some((*place, read(name).ok()?)))
            .collect();
        assert!(!journals.is_empty(), "{} has no journal", case.display());
        assert_eq!(reverted(&before, &journals), expected, "{}", case.display());
        run += 1;
    }
    assert!(run >= 20, "cases are missing: {run} were run");
}

/// A case in which the revert changes nothing would show nothing.
#[test]
fn every_case_has_something_to_put_back() {
    for case in (1..=FORMAT).flat_map(cases) {
        let before: Before = from_slice(&fs::read(case.join("state.json")).unwrap()).unwrap();
        let expected: After = from_slice(&fs::read(case.join("expected.json")).unwrap()).unwrap();
        assert_ne!(before.files, expected.files, "{}", case.display());
    }
}
