//! What a knob resets is restored with it: also if it is gone by then, and if one such knob moves
//! another.

use std::cell::Cell;

use hosttune_core::journal::JournalLocation;
use hosttune_core::testing::{Behaviour, CrashPoint, Machine, World};
use hosttune_core::{Registry, Tuning};

use crate::motor::{self, CEILING, MODE, Mode, SPEED, Setting, makes, with_motor};
use crate::support::{
    self, EINVAL, Fuse, OWNER, apply, at_every_death, behave, get, process, records, say, write,
};
use crate::toys;

const ENODEV: i32 = 19;

fn knobs(registry: &mut Registry) {
    support::knobs(registry);
    motor::knobs(registry);
}

/// The motor of the laws, and a fuse that refuses.
fn machine(ceiling_at: &str, speed_at: &str) -> Machine {
    let memory = toys::memory().file("/sys/fuse", "0", Behaviour::refuses(EINVAL));
    Machine::new(with_motor(memory, ceiling_at, speed_at), knobs)
}

fn fast() -> impl Tuning {
    say(|at| {
        at.want(&Mode, &"fast".to_owned());
    })
}

fn applied(ceiling_at: &str, speed_at: &str) -> Machine {
    let machine = machine(ceiling_at, speed_at);
    apply(&machine, &fast());
    machine
}

fn setting(machine: &Machine, path: &str) -> Option<String> {
    machine.memory().get(path)
}

/// The ceiling is restored first and sets the speed to 20, which is neither the value of the mode nor
/// the original.
#[test]
fn what_an_earlier_restore_has_moved_is_put_back_by_whoever_finishes() {
    let was = machine("40", "7").snapshot();
    let between = Cell::new(0);
    at_every_death(
        || applied("40", "7"),
        |session| drop(session.revert()),
        |machine, death| {
            let moved = setting(machine, SPEED).as_deref() == Some("20");
            between.set(between.get() + usize::from(moved));
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(machine.snapshot(), was, "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
    // After the write of the ceiling, within it, and before the next write.
    assert_eq!(between.get(), 3);
}

#[test]
fn what_an_earlier_restore_has_moved_is_put_back_by_a_rollback_too() {
    let was = machine("40", "7").snapshot();
    let tuning = say(|at| {
        at.want(&Mode, &"fast".to_owned());
        at.want(&Setting(SPEED.to_owned()), &Some("90".to_owned()));
        at.want(&Fuse, &"5".into()).required();
    });
    at_every_death(
        || machine("40", "7"),
        |session| drop(tuning.apply(session)),
        |machine, death| {
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(machine.snapshot(), was, "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
}

/// The ceiling is as the mode made it, so restoring it moves no speed: another process moved it.
#[test]
fn a_strangers_setting_survives_where_no_restore_can_have_moved_it() {
    let survived = Cell::new(0);
    at_every_death(
        || applied("100", "7"),
        |session| drop(session.revert()),
        |machine, death| {
            let bytes = machine.store().bytes(JournalLocation::Volatile, OWNER);
            let records = records(&bytes.unwrap_or_default());
            let reset = records.iter().any(|record| record["record"] == "reset");
            if !reset || setting(machine, SPEED).as_deref() != Some("100") {
                return;
            }
            survived.set(survived.get() + 1);
            write(machine, SPEED, "9");
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(setting(machine, SPEED).as_deref(), Some("9"), "{death}");
            assert_eq!(get(machine, MODE), "slow", "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
    // After the record, and before the write that follows it.
    assert_eq!(survived.get(), 2);
}

#[test]
fn a_setting_that_its_mode_has_no_more_is_passed_over() {
    let machine = applied("40", "7");
    behave(&machine, MODE, makes(&[CEILING]));
    let crash_point = CrashPoint::lives();
    let reverted = machine.session(&crash_point).unwrap().revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(setting(&machine, CEILING).as_deref(), Some("40"));
    assert_eq!(setting(&machine, SPEED), None);
    // The mode and the ceiling: a setting that does not exist is not written.
    assert_eq!(crash_point.changes(), 2);
    assert!(machine.store().is_empty());
}

#[test]
fn a_setting_that_goes_while_it_is_put_back_is_passed_over() {
    for answer in [Ok(()), Err(ENODEV)] {
        let prepare = || {
            let machine = applied("40", "7");
            let goes = Behaviour::new(move |tree, path, _| {
                tree.remove(path);
                answer
            });
            behave(&machine, CEILING, goes);
            machine
        };
        let is_put_back = |machine: &Machine, death: &str| {
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(get(machine, MODE), "slow", "{death}");
            assert_eq!(setting(machine, CEILING), None, "{death}");
            assert_eq!(setting(machine, SPEED).as_deref(), Some("7"), "{death}");
            assert!(machine.store().is_empty(), "{death}");
        };
        is_put_back(&prepare(), "nobody dying");
        at_every_death(prepare, |session| drop(session.revert()), is_put_back);
    }
}

/// Reverting the mode creates the setting again, which must then get its original value.
#[test]
fn a_setting_that_has_gone_and_is_made_anew_by_the_way_back_is_what_it_was() {
    let was = machine("40", "7").snapshot();
    let prepare = || {
        let machine = applied("40", "7");
        machine.memory().change(|tree| tree.remove(SPEED));
        machine
    };
    let is_put_back = |machine: &Machine, death: &str| {
        let reverted = process(machine).revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "{death}");
        assert_eq!(machine.snapshot(), was, "{death}");
        assert!(machine.store().is_empty(), "{death}");
    };
    is_put_back(&prepare(), "nobody dying");
    at_every_death(prepare, |session| drop(session.revert()), is_put_back);
}

/// For example because another process uses it by now: there is no original value to restore.
#[test]
fn a_setting_that_was_not_there_before_and_stays_is_left_as_it_is() {
    let prepare = || {
        let machine = machine("40", "7");
        machine.memory().change(|tree| tree.remove(SPEED));
        apply(&machine, &fast());
        assert_eq!(setting(&machine, SPEED).as_deref(), Some("100"));
        behave(&machine, MODE, Behaviour::takes_all());
        machine
    };
    let is_put_back = |machine: &Machine, death: &str| {
        let reverted = process(machine).revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "{death}");
        assert_eq!(get(machine, MODE), "slow", "{death}");
        assert_eq!(setting(machine, CEILING).as_deref(), Some("40"), "{death}");
        assert!(machine.store().is_empty(), "{death}");
    };
    is_put_back(&prepare(), "nobody dying");
    at_every_death(prepare, |session| drop(session.revert()), is_put_back);
}
