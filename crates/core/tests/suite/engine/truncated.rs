//! A journal that lost its end, cut at every possible length.

use std::collections::BTreeSet;

use hosttune_core::journal::JournalLocation;
use hosttune_core::testing::{CrashPoint, Machine, Moment, World};
use hosttune_core::{NotRevertedReason, Tuning};

use crate::support::{Needs, OWNER, apply, dials, get, machine, process, records, say, write};
use crate::toys::{Dial, Want, Wants};

/// The knobs that the complete records of a journal name.
fn named(bytes: &[u8]) -> BTreeSet<String> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    records(&bytes[..whole])
        .iter()
        .filter_map(|record| record["steps"].as_array())
        .flatten()
        .map(|step| step["knob"]["text"].as_str().unwrap().to_owned())
        .collect()
}

/// Cuts the journal of finished applies, all in effect, at every length and reverts: what a record
/// still names is reverted, or the revert reports that it could not.
fn cut_anywhere<T: Tuning>(applies: &[T], place: JournalLocation) {
    let machine = machine();
    let was = machine.snapshot();
    for tuning in applies {
        apply(&machine, tuning);
    }
    let ours = machine.snapshot();
    let whole = machine.store().bytes(place, OWNER).unwrap();
    let all = named(&whole);
    let mut broken = Vec::new();
    for length in 0..=whole.len() {
        let cut: Machine = machine.fork();
        cut.store().set_bytes(place, OWNER, &whole[..length]);
        let named = named(&whole[..length]);
        let reverted = process(&cut).revert();
        let is = cut.snapshot();
        if length == whole.len() {
            let complete = reverted.as_ref().unwrap();
            assert!(complete.not_reverted.is_empty() && is == was, "uncut");
        }
        match reverted {
            Err(_) => {
                if is != ours && is != was {
                    broken.push(format!("{length}: an error after a part was put back"));
                }
            }
            Ok(reverted) if reverted.not_reverted.is_empty() => {
                if named == all && is != was {
                    let changed: Vec<_> = was
                        .iter()
                        .filter(|(path, value)| is.get(*path) != Some(value))
                        .map(|(path, _)| path)
                        .collect();
                    broken.push(format!("{length}: success, and not as it was: {changed:?}"));
                }
                if named.is_empty() && is != ours {
                    broken.push(format!("{length}: changed without knowing anything"));
                }
            }
            // A revert that reports what is left is correct as well.
            Ok(_) => {}
        }
    }
    assert!(
        broken.is_empty(),
        "{} of {} lengths, the first: {:#?}",
        broken.len(),
        whole.len(),
        &broken[..broken.len().min(3)]
    );
}

#[test]
fn a_journal_of_the_boot_cut_anywhere_gives_all_back_or_says_so() {
    let wants = Wants(vec![
        Want::Dial("a", 5),
        Want::Dial("round", 15),
        Want::Vector([1, 2, 3]),
        Want::Scheduler(0, "bfq"),
        Want::Queue(0, "depth", 1),
        Want::Dial("c", 5),
    ]);
    cut_anywhere(&[wants], JournalLocation::Volatile);
}

/// Supported once dial c is at 1: what was there before is read again when the step is reached.
fn made_possible() -> impl Tuning {
    say(|at| {
        at.want(&Dial("c".into()), &"1".to_owned());
        at.want(&Needs, &"5".to_owned());
        at.want(&Dial("a".into()), &"5".to_owned());
    })
}

#[test]
fn a_journal_with_a_step_made_possible_by_another_cut_anywhere_gives_all_back_or_says_so() {
    cut_anywhere(&[made_possible()], JournalLocation::Volatile);
}

/// Releases before 0.2 did not record what such a knob showed when its step was planned.
fn without_the_planned_state(journal: &[u8]) -> Vec<u8> {
    let mut all = records(journal);
    for record in &mut all {
        for step in record["steps"].as_array_mut().into_iter().flatten() {
            step.as_object_mut().unwrap().remove("planned_from");
        }
    }
    let line = |record: &serde_json::Value| {
        let record = record.to_string();
        format!("{:08x} {record}\n", crc32fast::hash(record.as_bytes()))
    };
    all[0]["bytes"] = line(&all[1]).len().into();
    all.iter().map(line).collect::<String>().into_bytes()
}

#[test]
fn a_cut_journal_without_the_planned_state_names_what_may_be_ours() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &made_possible());
    let place = JournalLocation::Volatile;
    let whole = without_the_planned_state(&machine.store().bytes(place, OWNER).unwrap());
    let mut named = 0;
    for length in 0..=whole.len() {
        let cut = machine.fork();
        cut.store().set_bytes(place, OWNER, &whole[..length]);
        let Ok(reverted) = process(&cut).revert() else {
            continue;
        };
        let left: Vec<_> = reverted.not_reverted.iter().collect();
        if left.is_empty() {
            assert_eq!(cut.snapshot(), was, "cut at {length}");
            continue;
        }
        named += 1;
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].reason, NotRevertedReason::OriginalUnknown);
        assert_eq!(
            (left[0].knob.text.as_str(), left[0].seen.as_str()),
            ("needs", "5")
        );
        assert!(!reverted.is_complete());
        // It stays named until it is set by hand, or given up.
        let given_up = cut.fork();
        let mut session = process(&given_up);
        let reverted = session.force(true).revert().unwrap();
        assert!(
            reverted
                .notes
                .iter()
                .any(|note| note.starts_with("needs is given up: "))
        );
        assert!(given_up.store().is_empty());
        write(&cut, "/sys/dial/c", "1");
        write(&cut, "/sys/needs", "0");
        write(&cut, "/sys/dial/c", "0");
        assert_eq!(process(&cut).revert().unwrap().not_reverted, []);
        assert!(cut.store().is_empty());
        assert_eq!(cut.snapshot(), was, "cut at {length}");
    }
    assert!(named > 100, "{named}");
}

#[test]
fn a_journal_with_means_cut_anywhere_gives_all_back_or_says_so() {
    let wants = Wants(vec![
        Want::Passthrough,
        Want::Excursion("a", 9, 5),
        Want::Dial("b", 5),
    ]);
    cut_anywhere(&[wants], JournalLocation::Volatile);
}

#[test]
fn a_journal_with_files_cut_anywhere_gives_all_back_or_says_so() {
    let wants = Wants(vec![
        Want::File("a", Some(1)),
        Want::Dial("a", 5),
        Want::Scheduler(0, "bfq"),
        Want::Queue(0, "depth", 1),
        Want::File("b", None),
        Want::Dial("c", 5),
    ]);
    cut_anywhere(&[wants], JournalLocation::Persistent);
}

#[test]
fn a_journal_of_two_applies_of_the_same_knobs_cut_anywhere_gives_all_back_or_says_so() {
    let first = Wants(vec![
        Want::Dial("a", 5),
        Want::Queue(0, "depth", 1),
        Want::Scheduler(1, "bfq"),
    ]);
    let second = Wants(vec![
        Want::Dial("a", 7),
        Want::Scheduler(0, "none"),
        Want::Queue(0, "depth", 2),
    ]);
    cut_second(&first, &second);
}

/// As `cut_anywhere`, but the cut may remove the second intent completely. Its knobs then show values
/// that no record names, and these count as another process's.
fn cut_second(first: &Wants, second: &Wants) {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, first);
    let one = machine
        .store()
        .bytes(JournalLocation::Volatile, OWNER)
        .unwrap()
        .len();
    apply(&machine, second);
    let whole = machine
        .store()
        .bytes(JournalLocation::Volatile, OWNER)
        .unwrap();
    let begin = whole[one..].iter().position(|byte| *byte == b'\n').unwrap() + one + 1;
    for length in begin..=whole.len() {
        let cut = machine.fork();
        cut.store()
            .set_bytes(JournalLocation::Volatile, OWNER, &whole[..length]);
        let reverted = process(&cut).revert();
        let is_complete = reverted.is_ok_and(|reverted| reverted.not_reverted.is_empty());
        assert!(is_complete || length < whole.len(), "uncut");
        if is_complete {
            assert_eq!(cut.snapshot(), was, "cut at {length} of {}", whole.len());
        }
    }
    for length in 0..begin {
        let cut = machine.fork();
        cut.store()
            .set_bytes(JournalLocation::Volatile, OWNER, &whole[..length]);
        // Only that it does not panic: what the second apply changed is unknown.
        drop(process(&cut).revert());
    }
}

/// Two owners, of whom the newer one requests the original value. Its revert is killed at every write,
/// and then the end of its journal is cut at every length back to where the revert began: before the
/// revert, the journal and the host agree.
fn a_killed_revert_cut_anywhere(then: impl Fn(&Machine), first: [&str; 2]) {
    let machine = machine();
    let was = machine.snapshot();
    let of = |machine: &Machine, owner: &str, crash_point: &CrashPoint| {
        let session = machine.session_of(owner, crash_point);
        session.unwrap()
    };
    let lives = CrashPoint::lives();
    let original: u8 = get(&machine, "/sys/dial/a").parse().unwrap();
    let apply = |owner: &str, to: u8| {
        let wants = dials(&[("a", to), ("b", to)]);
        let _ = wants.apply(&mut of(&machine, owner, &lives)).unwrap();
    };
    apply("older", 5);
    apply("newer", original);
    let begun = machine
        .store()
        .bytes(JournalLocation::Volatile, "newer")
        .unwrap()
        .len();
    let whole = machine.fork();
    let all = CrashPoint::lives();
    assert!(of(&whole, "newer", &all).revert().unwrap().is_complete());
    let mut killed = 0;
    for write in 0..all.writes() {
        let dead = machine.fork();
        let crash_point = CrashPoint::dies_at(write, Moment::After);
        drop(of(&dead, "newer", &crash_point).revert());
        let Some(journal) = dead.store().bytes(JournalLocation::Volatile, "newer") else {
            continue;
        };
        for length in begun..=journal.len() {
            let cut = dead.fork();
            let store = cut.store();
            store.set_bytes(JournalLocation::Volatile, "newer", &journal[..length]);
            then(&cut);
            for owner in first {
                let reverted = of(&cut, owner, &lives).revert().unwrap();
                assert!(
                    reverted.not_reverted.is_empty(),
                    "{write} {length}: {reverted:#?}"
                );
            }
            assert_eq!(cut.snapshot(), was, "killed at {write}, cut to {length}");
            killed += 1;
        }
    }
    assert!(killed > 100, "{killed}");
}

#[test]
fn a_killed_revert_cut_anywhere_is_finished_when_the_owner_beneath_reverts_first() {
    a_killed_revert_cut_anywhere(|_| {}, ["older", "newer"]);
    a_killed_revert_cut_anywhere(|_| {}, ["newer", "older"]);
}

#[test]
fn a_killed_revert_cut_anywhere_is_gone_on_from_by_an_apply() {
    let applies = |machine: &Machine| {
        let mut session = machine.session_of("newer", &CrashPoint::lives()).unwrap();
        let _ = dials(&[("a", 7)]).apply(&mut session).unwrap();
    };
    let beneath_first = |machine: &Machine| {
        let mut session = machine.session_of("older", &CrashPoint::lives()).unwrap();
        assert!(session.revert().unwrap().is_complete());
        applies(machine);
    };
    a_killed_revert_cut_anywhere(applies, ["older", "newer"]);
    a_killed_revert_cut_anywhere(applies, ["newer", "older"]);
    a_killed_revert_cut_anywhere(beneath_first, ["older", "newer"]);
}
