//! Revert: the three outcomes of a step, and which step waits for which.

use hosttune_core::testing::{Behaviour, World};
use hosttune_core::{NotRevertedReason, Reverted, Selection, Tuning};

use crate::support::{EINVAL, apply, behave, dials, get, machine, process, say, write};
use crate::toys::{Dial, Want, Wants};

/// What was not reverted, and why.
fn left(reverted: &Reverted) -> Vec<(&str, &NotRevertedReason)> {
    reverted
        .not_reverted
        .iter()
        .map(|left| (left.knob.text.as_str(), &left.reason))
        .collect()
}

#[test]
fn what_is_ours_goes_back() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5)]));
    let reverted = process(&machine).revert().unwrap();
    let [undone] = &reverted.undone[..] else {
        panic!("{reverted:?}");
    };
    assert_eq!([&undone.ours, &undone.original], ["5", "0"]);
    assert!(!undone.already);
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert!(machine.store().is_empty());
}

#[test]
fn what_is_as_it_was_already_is_not_written_again() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5)]));
    write(&machine, "/sys/dial/a", "0");
    behave(&machine, "/sys/dial/a", Behaviour::refuses(EINVAL));
    let reverted = process(&machine).revert().unwrap();
    assert!(reverted.undone[0].already);
    assert_eq!(left(&reverted), []);
    assert!(machine.store().is_empty());
}

#[test]
fn what_is_theirs_is_left_and_all_three_values_are_said() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5), ("b", 5)]));
    write(&machine, "/sys/dial/a", "7");
    let reverted = process(&machine).revert().unwrap();
    let [left] = &reverted.not_reverted[..] else {
        panic!("{reverted:?}");
    };
    assert_eq!(
        [&left.ours, &left.original, &left.seen],
        ["5", "0", "7"],
        "{left}"
    );
    assert_eq!(left.reason, NotRevertedReason::Theirs);
    assert_eq!(get(&machine, "/sys/dial/a"), "7");
    assert_eq!(get(&machine, "/sys/dial/b"), "0");
}

#[test]
fn force_takes_what_is_theirs() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &dials(&[("a", 5)]));
    apply(&machine, &dials(&[("a", 6)]));
    write(&machine, "/sys/dial/a", "7");
    let reverted = process(&machine).force(true).revert().unwrap();
    assert_eq!(left(&reverted), []);
    let replaced = reverted.undone.iter();
    let replaced: Vec<_> = replaced
        .filter_map(|undone| undone.replaced.as_deref())
        .collect();
    assert_eq!(replaced, ["7"], "the value that was there is named");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn what_was_left_stays_in_the_journal_until_the_stranger_has_gone() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &dials(&[("a", 5)]));
    write(&machine, "/sys/dial/a", "7");
    for _ in 0..2 {
        let reverted = process(&machine).revert().unwrap();
        assert_eq!(left(&reverted), [("a", &NotRevertedReason::Theirs)]);
        let status = process(&machine).status().unwrap();
        assert_eq!(status.pending.len(), 1);
        assert!(!status.pending[0].is_ours);
    }
    write(&machine, "/sys/dial/a", "5");
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(left(&reverted), []);
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn what_a_step_disturbed_is_put_back_after_it() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &Wants(vec![Want::Scheduler(0, "bfq")]));
    assert_eq!(get(&machine, "/sys/disk0/depth"), "256");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(get(&machine, "/sys/disk0/depth"), "77");
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn where_the_disturber_is_left_what_it_disturbed_is_left() {
    let machine = machine();
    apply(&machine, &Wants(vec![Want::Queue(0, "depth", 1)]));
    apply(&machine, &Wants(vec![Want::Scheduler(0, "bfq")]));
    write(&machine, "/sys/disk0/scheduler", "none");
    let theirs = machine.snapshot();
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(
        left(&reverted),
        [
            ("disk 0 scheduler", &NotRevertedReason::Theirs),
            ("disk 0 depth", &NotRevertedReason::Waits)
        ]
    );
    assert_eq!(machine.snapshot(), theirs);
}

#[test]
fn reverting_when_nothing_was_changed_does_nothing() {
    let machine = machine();
    let was = machine.snapshot();
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted, Reverted::default());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn reverting_a_part_leaves_the_other_parts() {
    let machine = machine();
    let was = machine.snapshot();
    let parts = vec![("games", dials(&[("a", 5)])), ("quiet", dials(&[("b", 5)]))];
    apply(&machine, &parts);
    let mut session = process(&machine);
    session.only(Selection::only(["games"]));
    let reverted = session.revert().unwrap();
    assert_eq!(reverted.undone.len(), 1);
    assert_eq!(left(&reverted), []);
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert_eq!(get(&machine, "/sys/dial/b"), "5");
    assert_eq!(process(&machine).status().unwrap().pending.len(), 1);
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn reverting_a_part_leaves_what_a_later_part_stands_on() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &("games", dials(&[("a", 5), ("b", 5)])));
    apply(&machine, &("quiet", dials(&[("a", 2)])));
    let mut session = process(&machine);
    session.only(Selection::only(["games"]));
    let reverted = session.revert().unwrap();
    assert_eq!(left(&reverted), [("a", &NotRevertedReason::Waits)]);
    assert_eq!(get(&machine, "/sys/dial/a"), "2");
    assert_eq!(get(&machine, "/sys/dial/b"), "0");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn reverting_a_part_leaves_what_another_parts_step_resets() {
    let machine = machine();
    let was = machine.snapshot();
    apply(
        &machine,
        &("games", Wants(vec![Want::Queue(0, "depth", 1)])),
    );
    apply(&machine, &("quiet", Wants(vec![Want::Scheduler(0, "bfq")])));
    let mut session = process(&machine);
    session.only(Selection::only(["games"]));
    let reverted = session.revert().unwrap();
    assert_eq!(
        left(&reverted),
        [("disk 0 depth", &NotRevertedReason::Waits)]
    );
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_tuning_reverts_the_knobs_that_it_declares_and_names_the_others() {
    let machine = machine();
    let was = machine.snapshot();
    let (a, b) = (dials(&[("a", 5)]), dials(&[("b", 5)]));
    apply(&machine, &a);
    apply(&machine, &b);
    let reverted = a.revert(&mut process(&machine)).unwrap();
    assert_eq!(reverted.undone.len(), 1);
    let remaining: Vec<&str> = reverted.remaining.iter().map(|k| k.text.as_str()).collect();
    assert_eq!(remaining, ["b"]);
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert_eq!(get(&machine, "/sys/dial/b"), "5");

    let reverted = ().revert(&mut process(&machine)).unwrap();
    assert_eq!(reverted.undone, []);
    assert_eq!(get(&machine, "/sys/dial/b"), "5");

    let reverted = b.revert(&mut process(&machine)).unwrap();
    assert_eq!(reverted.remaining, []);
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// The part's name in the journal decides, not what the part declares now.
#[test]
fn a_named_tuning_reverts_what_it_declared_with_other_options() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &("games", dials(&[("a", 5), ("b", 5)])));
    apply(&machine, &("quiet", ("games", dials(&[("c", 5)]))));
    let now = ("games", dials(&[("b", 5)]));
    let reverted = now.revert(&mut process(&machine)).unwrap();
    assert_eq!(reverted.undone.len(), 2, "{reverted:?}");
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    // A part of the same name within another part is another one.
    assert_eq!(reverted.remaining[0].text, "c");
    assert!(
        ("quiet", ())
            .revert(&mut process(&machine))
            .unwrap()
            .is_complete()
    );
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// An unbind, a `driver_override` and a bind; only the result is checked by verify.
#[test]
fn a_tuning_reverts_the_intermediate_steps_for_its_knobs() {
    let machine = machine();
    let was = machine.snapshot();
    let wants = Wants(vec![Want::Passthrough]);
    apply(&machine, &wants);
    apply(&machine, &dials(&[("a", 5)]));
    let reverted = wants.revert(&mut process(&machine)).unwrap();
    assert_eq!(left(&reverted), []);
    assert_eq!(reverted.remaining.len(), 1);
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

/// A tuning that can request nothing because its device is gone names what it changed when it was there.
#[test]
fn a_tuning_reverts_what_it_can_no_longer_request() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &dials(&[("a", 5)]));
    apply(&machine, &dials(&[("b", 5)]));
    let unplugged = say(|at| at.may_change(&Dial("a".to_owned())));
    assert!(unplugged.plan(&process(&machine)).unwrap().is_empty());
    assert!(unplugged.verify(&process(&machine)).unwrap().is_as_wanted());
    let reverted = unplugged.revert(&mut process(&machine)).unwrap();
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert_eq!(get(&machine, "/sys/dial/b"), "5");
    assert_eq!(reverted.remaining.len(), 1, "{reverted:?}");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

/// A step that another tuning's change rests on waits for that one.
#[test]
fn a_tuning_does_not_revert_what_another_rests_on() {
    let machine = machine();
    let was = machine.snapshot();
    let older = dials(&[("a", 5), ("b", 5)]);
    apply(&machine, &("older", older.clone()));
    apply(&machine, &("newer", dials(&[("a", 7)])));
    let reverted = ("older", ()).revert(&mut process(&machine)).unwrap();
    assert_eq!(left(&reverted), [("a", &NotRevertedReason::Waits)]);
    assert_eq!(get(&machine, "/sys/dial/a"), "7");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_step_that_the_host_will_not_take_back_is_left_and_says_why() {
    let machine = machine();
    apply(&machine, &dials(&[("a", 5), ("b", 5)]));
    behave(&machine, "/sys/dial/a", Behaviour::refuses(EINVAL));
    let reverted = process(&machine).revert().unwrap();
    assert!(!reverted.is_complete());
    let [left] = &reverted.not_reverted[..] else {
        panic!("{reverted:?}");
    };
    let NotRevertedReason::Refused(why) = &left.reason else {
        panic!("{left:?}");
    };
    assert!(why.contains("Invalid argument"), "{why}");
    assert_eq!(get(&machine, "/sys/dial/b"), "0");
}
