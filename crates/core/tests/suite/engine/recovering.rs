//! After a crash: what the next process finds, and what it does about it.

use std::cell::Cell;

use hosttune_core::testing::{CrashPoint, Moment, World};
use hosttune_core::{Reverted, Tuning};

use crate::support::{apply, at_every_death, dials, get, machine, process, write};
use crate::toys::{Want, Wants};

#[test]
fn an_interrupted_apply_is_rolled_back_to_the_last_finished_one_by_the_next_run() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 3)]));
    let was = machine.snapshot();
    // The intent, the change of a, its mark, the change of b.
    let crash_point = CrashPoint::dies_at(3, Moment::After);
    dials(&[("a", 5), ("b", 5)])
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    assert_eq!(get(&machine, "/sys/dial/b"), "5");
    let recovered = process(&machine).recover().unwrap();
    assert_eq!(recovered.undone.len(), 2);
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn the_next_apply_says_what_it_put_right_first() {
    let machine = machine();
    let crash_point = CrashPoint::dies_at(3, Moment::After);
    dials(&[("a", 5), ("b", 5)])
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    let applied = dials(&[("c", 1)]).apply(&mut process(&machine)).unwrap();
    assert_eq!(applied.recovered.unwrap().undone.len(), 2);
    assert_eq!(applied.changed.len(), 1);
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert_eq!(get(&machine, "/sys/dial/c"), "1");
}

#[test]
fn an_apply_with_nothing_to_do_still_puts_right_what_was_left_open() {
    let machine = machine();
    let was = machine.snapshot();
    let crash_point = CrashPoint::dies_at(3, Moment::After);
    dials(&[("a", 5), ("b", 5)])
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    let _ = ().apply(&mut process(&machine)).unwrap();
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn an_interrupted_revert_is_finished_by_the_next_run_whatever_that_is() {
    let was = machine().snapshot();
    let interrupted = Cell::new(0);
    at_every_death(
        || {
            let machine = machine();
            apply(&machine, &dials(&[("a", 5), ("b", 5), ("c", 5)]));
            machine
        },
        |session| drop(session.revert()),
        |machine, death| {
            if process(machine).status().unwrap().open.is_some() {
                interrupted.set(interrupted.get() + 1);
                let _ = process(machine).recover().unwrap();
                assert_eq!(machine.snapshot(), was, "{death}");
                assert!(machine.store().is_empty(), "{death}");
            }
        },
    );
    assert!(
        interrupted.get() >= 6,
        "{} were interrupted",
        interrupted.get()
    );
}

#[test]
fn recovering_where_nothing_is_open_does_nothing() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5)]));
    let was = machine.snapshot();
    assert_eq!(process(&machine).recover().unwrap(), Reverted::default());
    assert_eq!(machine.snapshot(), was);
    assert_eq!(process(&machine).status().unwrap().pending.len(), 1);
}

#[test]
fn an_earlier_boots_record_turns_no_knob_of_the_boot_and_puts_files_back() {
    let machine = machine();
    apply(
        &machine,
        &Wants(vec![Want::Dial("a", 5), Want::File("b", Some(1))]),
    );
    machine.power_cut(false);
    // Set by the new boot itself, even if it equals the value that we had set.
    write(&machine, "/sys/dial/a", "5");
    assert_eq!(process(&machine).status().unwrap().by_reboot, 1);
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.by_reboot, 1);
    assert_eq!(reverted.undone.len(), 1);
    assert_eq!(get(&machine, "/sys/dial/a"), "5");
    assert_eq!(get(&machine, "/etc/b"), "what was there");
    assert!(machine.store().is_empty());
}

#[test]
fn an_apply_that_a_reboot_interrupted_is_put_right_by_the_next_run() {
    let machine = machine();
    let was = machine.snapshot();
    let crash_point = CrashPoint::dies_at(4, Moment::After);
    Wants(vec![Want::File("b", Some(1)), Want::Dial("a", 5)])
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    machine.power_cut(false);
    let session = process(&machine);
    assert_eq!(
        ().plan(&session).unwrap().provisional.unwrap(),
        "an earlier apply was interrupted in an earlier boot: what it did of the one step not \
         undone by the reboot will be rolled back first"
    );
    let _ = process(&machine).recover().unwrap();
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

fn power_is_cut(zeros: bool) {
    let was = machine().snapshot();
    let tuning = Wants(vec![
        Want::File("a", Some(1)),
        Want::Scheduler(0, "bfq"),
        Want::File("b", None),
    ]);
    let writes = at_every_death(
        machine,
        |session| drop(tuning.apply(session)),
        |machine, death| {
            machine.power_cut(zeros);
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(machine.snapshot(), was, "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
    assert!(writes > 6);
}

#[test]
fn a_power_cut_that_leaves_zeros_in_the_journal_keeps_the_way_back() {
    power_is_cut(true);
}

#[test]
fn a_power_cut_that_cuts_the_journal_keeps_the_way_back() {
    power_is_cut(false);
}

fn power_is_cut_while_reverting(zeros: bool) {
    let was = machine().snapshot();
    let tuning = Wants(vec![
        Want::File("a", Some(1)),
        Want::Scheduler(0, "bfq"),
        Want::File("b", None),
    ]);
    at_every_death(
        || {
            let machine = machine();
            apply(&machine, &tuning);
            machine
        },
        |session| drop(session.revert()),
        |machine, death| {
            machine.power_cut(zeros);
            assert!(process(machine).revert().unwrap().is_complete());
            assert_eq!(machine.snapshot(), was, "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
}

#[test]
fn a_power_cut_in_a_revert_keeps_the_way_back() {
    power_is_cut_while_reverting(true);
    power_is_cut_while_reverting(false);
}

#[test]
fn a_stranger_between_a_death_and_the_recovery_survives() {
    let machine = machine();
    let was = machine.snapshot();
    let crash_point = CrashPoint::dies_at(5, Moment::After);
    dials(&[("a", 5), ("b", 5), ("c", 5)])
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    write(&machine, "/sys/dial/b", "7");
    let recovered = process(&machine).recover().unwrap();
    assert_eq!(recovered.not_reverted.len(), 1);
    assert_eq!(get(&machine, "/sys/dial/b"), "7");
    write(&machine, "/sys/dial/b", "0");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}
