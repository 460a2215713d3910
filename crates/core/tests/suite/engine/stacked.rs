//! Several owners of one knob: the journals decide whose a value is, not what it looks like.

use hosttune_core::testing::{CrashPoint, Machine, World};
use hosttune_core::{Session, Tuning};

use crate::support::{MOMENTS, dials, get, machine};
use crate::toys::{Want, Wants};

fn of(machine: &Machine, owner: &str) -> Session {
    machine.session_of(owner, &CrashPoint::lives()).unwrap()
}

fn apply(machine: &Machine, owner: &str, wants: &Wants) {
    let _ = wants.apply(&mut of(machine, owner)).unwrap();
}

fn revert(machine: &Machine, owner: &str) {
    let reverted = of(machine, owner).revert().unwrap();
    assert_eq!(reverted.not_reverted, [], "{owner}");
}

/// The newer owner's value equals the older one's original.
#[test]
fn the_older_reverts_first_from_a_value_that_looks_like_its_original() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, "older", &dials(&[("a", 5)]));
    apply(&machine, "newer", &dials(&[("a", 0)]));
    let reverted = of(&machine, "older").revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(reverted.undone[0].held_by.as_deref(), Some("newer"));
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    revert(&machine, "newer");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn both_hold_what_both_want_and_the_last_puts_it_back() {
    for order in [["first", "second"], ["second", "first"]] {
        let machine = machine();
        let was = machine.snapshot();
        let wants = dials(&[("a", 5)]);
        apply(&machine, "first", &wants);
        let applied = wants.apply(&mut of(&machine, "second")).unwrap();
        assert_eq!(applied.changed, []);
        assert!(
            wants
                .plan(&of(&machine, "second"))
                .unwrap()
                .holds
                .is_empty()
        );
        let [pending] = &of(&machine, "second").status().unwrap().pending[..] else {
            panic!("not held");
        };
        assert_eq!([&pending.original[..], &pending.ours[..]], ["0", "5"]);
        revert(&machine, order[0]);
        assert_eq!(get(&machine, "/sys/dial/a"), "5");
        assert!(
            wants
                .verify(&of(&machine, order[1]))
                .unwrap()
                .is_as_wanted(),
            "{order:?}"
        );
        revert(&machine, order[1]);
        assert_eq!(machine.snapshot(), was, "{order:?}");
        assert!(machine.store().is_empty());
    }
}

/// An unbind, a `driver_override` and a bind: the owner that still requests the result takes over the
/// revert of all three.
#[test]
fn what_leads_to_an_end_goes_where_the_end_goes() {
    for order in [["first", "second"], ["second", "first"]] {
        let machine = machine();
        let was = machine.snapshot();
        let wants = Wants(vec![Want::Passthrough]);
        apply(&machine, "first", &wants);
        let ours = machine.snapshot();
        apply(&machine, "second", &wants);
        revert(&machine, order[0]);
        assert_eq!(machine.snapshot(), ours, "{order:?}");
        revert(&machine, order[1]);
        assert_eq!(machine.snapshot(), was, "{order:?}");
        assert!(machine.store().is_empty());
    }
}

/// Reverting the scheduler resets the depth, which another owner has set since.
#[test]
fn what_another_owner_set_on_what_ours_resets_stays_until_that_owner_reverts() {
    for order in [["first", "second"], ["second", "first"]] {
        let machine = machine();
        let was = machine.snapshot();
        apply(&machine, "first", &Wants(vec![Want::Scheduler(0, "bfq")]));
        apply(&machine, "second", &Wants(vec![Want::Queue(0, "depth", 1)]));
        revert(&machine, order[0]);
        if order[0] == "first" {
            assert_eq!(get(&machine, "/sys/disk0/scheduler"), "mq");
            assert_eq!(get(&machine, "/sys/disk0/depth"), "5");
        }
        revert(&machine, order[1]);
        assert_eq!(machine.snapshot(), was, "{order:?}");
        assert!(machine.store().is_empty());
    }
}

#[test]
fn what_anothers_step_has_reset_since_is_put_back_with_that_step() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, "first", &Wants(vec![Want::Queue(0, "depth", 1)]));
    apply(&machine, "second", &Wants(vec![Want::Scheduler(0, "bfq")]));
    revert(&machine, "first");
    assert_eq!(get(&machine, "/sys/disk0/depth"), "256");
    revert(&machine, "second");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// Of three owners the middle one reverts first, then the others in either order.
#[test]
fn whoever_stands_between_two_owners_goes_without_a_trace() {
    for order in [["a", "c"], ["c", "a"]] {
        let machine = machine();
        let was = machine.snapshot();
        apply(&machine, "a", &dials(&[("a", 5), ("b", 1)]));
        apply(&machine, "b", &dials(&[("a", 0), ("c", 1)]));
        apply(&machine, "c", &dials(&[("a", 5)]));
        revert(&machine, "b");
        assert_eq!(get(&machine, "/sys/dial/a"), "5");
        assert_eq!(get(&machine, "/sys/dial/c"), "0");
        revert(&machine, order[0]);
        assert_eq!(get(&machine, "/sys/dial/a"), "5");
        revert(&machine, order[1]);
        assert_eq!(machine.snapshot(), was, "{order:?}");
        assert!(machine.store().is_empty());
    }
}

/// The older owner is killed at every write of its revert; then both revert, in either order.
#[test]
fn a_death_while_the_older_reverts_loses_no_original() {
    let first = Wants(vec![
        Want::Dial("a", 5),
        Want::Scheduler(0, "bfq"),
        Want::Passthrough,
        Want::File("a", Some(1)),
    ]);
    let second = Wants(vec![
        Want::Dial("a", 0),
        Want::Queue(0, "depth", 1),
        Want::Passthrough,
        Want::File("a", None),
    ]);
    for order in [["first", "second"], ["second", "first"]] {
        let mut write = 0;
        loop {
            let mut died = false;
            for moment in MOMENTS {
                let machine = machine();
                let was = machine.snapshot();
                apply(&machine, "first", &first);
                apply(&machine, "second", &second);
                let crash_point = CrashPoint::dies_at(write, moment);
                drop(machine.session_of("first", &crash_point).unwrap().revert());
                died |= crash_point.is_dead();
                revert(&machine, order[0]);
                revert(&machine, order[1]);
                let death = format!("dying at write {write}, {moment:?}, {order:?}");
                assert_eq!(machine.snapshot(), was, "{death}");
                assert!(machine.store().is_empty(), "{death}");
            }
            if !died {
                break;
            }
            write += 1;
        }
        assert!(write > 8, "{write} writes");
    }
}

/// If another owner's journal cannot be read, the values decide, as for any other process's change, and
/// a note says so.
#[test]
fn another_owners_journal_that_cannot_be_read_is_said_and_stops_nobody() {
    use hosttune_core::journal::JournalLocation;
    let machine = machine();
    apply(&machine, "first", &dials(&[("a", 5)]));
    machine
        .store()
        .set_bytes(JournalLocation::Volatile, "second", b"# not a journal\n");
    let reverted = of(&machine, "first").revert().unwrap();
    assert!(
        reverted.notes.iter().any(|note| note.contains("second")),
        "{:?}",
        reverted.notes
    );
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
}

/// The same as with two owners, for two parts of one: the part whose step resets the other's knob is
/// reverted first.
#[test]
fn a_part_that_stands_on_what_another_part_resets_ends_at_the_first_original() {
    use hosttune_core::Selection;
    let machine = machine();
    let was = machine.snapshot();
    let parts = vec![
        ("games", Wants(vec![Want::Scheduler(0, "bfq")])),
        ("quiet", Wants(vec![Want::Queue(0, "depth", 1)])),
    ];
    for part in &parts {
        let _ = part.apply(&mut of(&machine, "owner")).unwrap();
    }
    let mut session = of(&machine, "owner");
    session.only(Selection::only(["games"]));
    assert_eq!(session.revert().unwrap().not_reverted, []);
    assert_eq!(get(&machine, "/sys/disk0/scheduler"), "mq");
    assert_eq!(get(&machine, "/sys/disk0/depth"), "5");
    revert(&machine, "owner");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// A thousand applies that keep changing the value: the journal stays small, and each knob is reverted
/// once.
#[test]
fn a_thousand_applies_are_put_back_in_one_step() {
    let machine = machine();
    let was = machine.snapshot();
    for round in 0..1_000 {
        apply(
            &machine,
            "owner",
            &dials(&[("a", [5, 0, 7][round % 3]), ("b", 4)]),
        );
        assert!(machine.store().longest() < 4096, "round {round}");
    }
    let reverted = of(&machine, "owner").revert().unwrap();
    let mut knobs: Vec<_> = reverted
        .undone
        .iter()
        .map(|undone| &undone.knob.text)
        .collect();
    knobs.sort();
    assert_eq!(knobs, ["a", "b"]);
    assert_eq!(machine.snapshot(), was);
}

/// The same if every apply changes several knobs.
#[test]
fn a_thousand_applies_of_several_knobs_keep_the_journal_small() {
    let machine = machine();
    let was = machine.snapshot();
    for round in 0..1_000 {
        let value = [5, 8, 7][round % 3];
        apply(&machine, "owner", &dials(&[("a", value), ("b", value)]));
        assert!(machine.store().longest() < 16_384, "round {round}");
    }
    let reverted = of(&machine, "owner").revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(machine.snapshot(), was);
}

/// Found by the law about owners that crash: the older owner's revert is killed after it has reset the
/// motor.
#[test]
fn the_older_is_killed_while_it_turns_a_mode_back_that_the_newer_stands_on() {
    use crate::motor::{Runs, motor};
    for write in 0..12 {
        for moment in MOMENTS {
            for order in [["newer", "older"], ["older", "newer"]] {
                let machine = motor(40, 7);
                let was = machine.snapshot();
                let apply = |owner: &str, runs: Runs| runs.apply(&mut of(&machine, owner)).unwrap();
                let _ = apply("older", Runs::of(Some("fast"), Some(40)));
                let _ = apply("older", Runs::of(Some("slow"), None));
                let _ = apply("newer", Runs::of(None, Some(0)));
                let crash_point = CrashPoint::dies_at(write, moment);
                let _ = machine.session_of("older", &crash_point).unwrap().revert();
                for owner in order {
                    let reverted = of(&machine, owner).revert().unwrap();
                    assert_eq!(reverted.not_reverted, [], "{write} {moment:?} {order:?}");
                }
                assert_eq!(machine.snapshot(), was, "{write} {moment:?} {order:?}");
            }
        }
    }
}
