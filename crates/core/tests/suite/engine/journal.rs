//! The journal itself: damaged, written by another program or release, lost, or back after its removal.

use hosttune_core::journal::{JournalError, JournalLocation};
use hosttune_core::testing::{CrashPoint, Machine, Moment, World};
use hosttune_core::{Error, Registry, Session, Tuning};

use crate::support::{OWNER, apply, dials, get, knobs, machine, process};
use crate::toys::{self, Want, Wants};

fn bytes(machine: &Machine, place: JournalLocation) -> Vec<u8> {
    machine.store().bytes(place, OWNER).unwrap()
}

/// The byte range of a line (counted from 1), without its newline.
fn line(bytes: &[u8], number: usize) -> std::ops::Range<usize> {
    let ends: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] == b'\n').collect();
    let start = if number == 1 { 0 } else { ends[number - 2] + 1 };
    start..ends[number - 1]
}

/// Every operation rejects the journal because of this line, and changes nothing.
fn is_damaged_at(machine: &Machine, wanted: usize) {
    let was = machine.snapshot();
    let before = bytes(machine, JournalLocation::Volatile);
    let wants = dials(&[("c", 1)]);
    let errors = [
        process(machine).revert().map(drop),
        process(machine).recover().map(drop),
        wants.apply(&mut process(machine)).map(drop),
        wants.plan(&process(machine)).map(drop),
        process(machine).status().map(drop),
    ];
    for error in errors {
        match error {
            Err(Error::Journal(JournalError::Damaged { path, line, .. })) => {
                assert_eq!(path, "/run/hosttune/laws.journal");
                assert_eq!(line, wanted);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(machine.snapshot(), was);
    assert_eq!(bytes(machine, JournalLocation::Volatile), before);
}

fn damage(machine: &Machine, number: usize) {
    let mut damaged = bytes(machine, JournalLocation::Volatile);
    let at = line(&damaged, number);
    damaged[(at.start + at.end) / 2] ^= 1;
    machine
        .store()
        .set_bytes(JournalLocation::Volatile, OWNER, &damaged);
}

#[test]
fn an_unreadable_line_of_what_is_owed_is_damage_that_names_file_and_line() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5)]));
    apply(&machine, &dials(&[("b", 5)]));
    // The header, the pending steps of the first apply, and the second intent; its mark and its end follow.
    for number in [1, 2, 3] {
        let machine = machine.fork();
        damage(&machine, number);
        is_damaged_at(&machine, number);
    }
}

/// The engine waits for an intent to be durable before it writes a mark: marks behind an unreadable
/// intent prove that it was complete once, and that something was changed.
#[test]
fn an_unreadable_intent_with_its_marks_behind_it_is_damage() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5)]));
    damage(&machine, 2);
    is_damaged_at(&machine, 2);
}

#[test]
fn an_unreadable_header_is_damage() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5)]));
    damage(&machine, 1);
    is_damaged_at(&machine, 1);
}

/// The engine does not wait for marks, so a power cut may keep a later one and lose an earlier one.
#[test]
fn an_unreadable_mark_is_passed_over_and_all_is_put_back() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &dials(&[("a", 5), ("b", 5)]));
    damage(&machine, 3);
    let plan = ().plan(&process(&machine)).unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("interrupted")));
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn a_journal_that_is_something_else_is_damage() {
    let machine = machine();
    machine.store().set_bytes(
        JournalLocation::Volatile,
        OWNER,
        b"# not a journal\nat all\n",
    );
    is_damaged_at(&machine, 1);
}

#[test]
fn a_journal_of_a_later_format_is_refused_naming_who_wrote_it() {
    let machine = machine();
    let header = r#"{"record":"journal","version":3,"owner":"laws","program":"gaming 9.0","x":1}"#;
    let text = format!("{:08x} {header}\n", crc32fast::hash(header.as_bytes()));
    machine
        .store()
        .set_bytes(JournalLocation::Volatile, OWNER, text.as_bytes());
    let error = process(&machine).revert().unwrap_err();
    let Error::Journal(JournalError::Newer {
        version, program, ..
    }) = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*version, program.as_str()), (3, "gaming 9.0"));
}

/// A session of a program that knows only the engine's own knob types.
fn ignorant(machine: &Machine) -> Session {
    let host = hosttune_core::Host::new(machine.memory().host(&CrashPoint::lives()));
    Session::new(host, OWNER, machine.store().clone(), &machine.boot()).unwrap()
}

#[test]
fn a_journal_with_an_unknown_knob_is_refused_whole_naming_who_wrote_it() {
    let machine = machine();
    let tuning = Wants(vec![Want::File("b", Some(1)), Want::Dial("a", 5)]);
    let _ = tuning
        .apply(&mut process(&machine).program("gaming 0.1.0"))
        .unwrap();
    let ours = machine.snapshot();
    for error in [
        ignorant(&machine).revert().unwrap_err(),
        ignorant(&machine).recover().unwrap_err(),
        ().apply(&mut ignorant(&machine)).unwrap_err(),
        ().plan(&ignorant(&machine)).unwrap_err(),
    ] {
        let Error::Journal(JournalError::UnknownKnob { kind, program, .. }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!((kind.as_str(), program.as_str()), ("dial", "gaming 0.1.0"));
        assert!(error.hint().unwrap().contains("gaming 0.1.0"));
    }
    assert_eq!(machine.snapshot(), ours);
}

#[test]
fn a_reboot_clears_the_steps_of_unknown_knobs_that_end_with_the_boot() {
    let machine = machine();
    let was = machine.snapshot();
    apply(
        &machine,
        &Wants(vec![Want::File("b", Some(1)), Want::Dial("a", 5)]),
    );
    machine.power_cut(false);
    let reverted = ignorant(&machine).revert().unwrap();
    assert_eq!(reverted.by_reboot, 1);
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn an_unknown_knob_that_is_only_disturbed_is_refused_too() {
    let machine = machine();
    apply(&machine, &Wants(vec![Want::Scheduler(0, "bfq")]));
    let session = ignorant(&machine).with(Registry::add::<toys::Scheduler>);
    let error = session.status().unwrap_err();
    assert!(
        matches!(&error, Error::Journal(JournalError::UnknownKnob { kind, .. }) if kind == "queue"),
        "{error:?}"
    );
}

/// A power cut has undone the removal: the file is there again, and nothing in it is pending.
fn reappears(journal: &[u8], place: JournalLocation, machine: &Machine) {
    let was = machine.snapshot();
    machine.store().set_bytes(place, OWNER, journal);
    let reverted = process(machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert!(reverted.undone.iter().all(|undone| undone.already));
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn a_journal_that_reappears_after_the_revert_finds_all_as_it_was_and_goes() {
    for (wants, place) in [
        (
            vec![Want::Scheduler(0, "bfq"), Want::Passthrough],
            JournalLocation::Volatile,
        ),
        (
            vec![Want::File("a", Some(1)), Want::File("b", None)],
            JournalLocation::Persistent,
        ),
    ] {
        let machine = machine();
        let was = machine.snapshot();
        apply(&machine, &Wants(wants));
        let finished = bytes(&machine, place);
        assert!(process(&machine).revert().unwrap().is_complete());
        assert_eq!(machine.snapshot(), was);
        reappears(&finished, place, &machine);
    }
}

#[test]
fn a_journal_whose_removal_never_came_finds_all_as_it_was_and_goes() {
    let machine = machine();
    let was = machine.snapshot();
    apply(
        &machine,
        &Wants(vec![Want::Scheduler(0, "bfq"), Want::Passthrough]),
    );
    let count = CrashPoint::lives();
    assert!(
        machine
            .fork()
            .session(&count)
            .unwrap()
            .revert()
            .unwrap()
            .is_complete()
    );
    let crash_point = CrashPoint::dies_at(count.writes() - 1, Moment::Before);
    let reverted = machine.session(&crash_point).unwrap().revert().unwrap();
    assert!(reverted.unrecorded.is_some(), "{reverted:?}");
    assert_eq!(machine.snapshot(), was);
    let last = bytes(&machine, JournalLocation::Volatile);
    reappears(&last, JournalLocation::Volatile, &machine);
}

#[test]
fn a_journal_that_cannot_be_written_changes_nothing() {
    let machine = machine();
    let was = machine.snapshot();
    let crash_point = CrashPoint::dies_at(0, Moment::Before);
    let error = dials(&[("a", 5)])
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    assert!(matches!(error, Error::Journal(_)), "{error:?}");
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_forgotten_kind_of_knob_does_not_keep_another_owner_from_working() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5)]));
    let host = hosttune_core::Host::new(machine.memory().host(&CrashPoint::lives()));
    let mut other = Session::new(host, "other", machine.store().clone(), &machine.boot()).unwrap();
    assert!(other.revert().unwrap().is_complete());
    assert_eq!(get(&machine, "/sys/dial/a"), "5");
    let mut session = ignorant(&machine).with(knobs);
    assert!(session.revert().unwrap().is_complete());
    assert!(machine.store().is_empty());
}

/// A journal is put in place as a whole, so one in which nothing is readable was complete once.
#[test]
fn a_journal_of_nothing_whole_is_damage() {
    for left in [&b""[..], b"e6f85dd4 {\"rec", &[0; 400]] {
        let machine = machine();
        machine
            .store()
            .set_bytes(JournalLocation::Volatile, "laws", left);
        is_damaged_at(&machine, 1);
    }
}

/// Wherever the end is cut off, all changes are reverted or the revert reports that it cannot tell.
#[test]
fn a_finished_journal_that_is_cut_is_never_taken_for_nothing_changed() {
    let finished = machine();
    let was = finished.snapshot();
    apply(&finished, &dials(&[("a", 5), ("b", 5)]));
    let whole = bytes(&finished, JournalLocation::Volatile);
    for length in 0..whole.len() {
        let machine = finished.fork();
        let cut = &whole[..length];
        machine
            .store()
            .set_bytes(JournalLocation::Volatile, OWNER, cut);
        match process(&machine).revert() {
            Ok(reverted) => {
                assert_eq!(reverted.not_reverted, [], "cut at {length}");
                assert_eq!(machine.snapshot(), was, "cut at {length}");
            }
            Err(_) => {
                process(&machine).status().unwrap_err();
                assert_eq!(
                    bytes(&machine, JournalLocation::Volatile),
                    cut,
                    "cut at {length}"
                );
            }
        }
    }
}

/// The line of the intent is missing, and the marks of its steps are complete.
#[test]
fn a_journal_that_has_lost_its_intent_is_damage() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5)]));
    let whole = bytes(&machine, JournalLocation::Volatile);
    let intent = line(&whole, 2);
    let lost = [&whole[..intent.start], &whole[intent.end + 1..]].concat();
    machine
        .store()
        .set_bytes(JournalLocation::Volatile, OWNER, &lost);
    is_damaged_at(&machine, 2);
}

#[test]
fn a_journal_of_format_1_that_has_lost_its_intent_is_damage() {
    let machine = machine();
    let lines = [
        r#"{"record":"journal","version":1,"owner":"laws","program":"laws 0.1"}"#,
        r#"{"record":"turned","id":0}"#,
        r#"{"record":"done","apply":1}"#,
    ];
    let sum = |line: &&str| format!("{:08x} {line}\n", crc32fast::hash(line.as_bytes()));
    let text: String = lines.iter().map(sum).collect();
    machine
        .store()
        .set_bytes(JournalLocation::Volatile, OWNER, text.as_bytes());
    is_damaged_at(&machine, 2);
}
