//! Other processes change the host too.

use hosttune_core::testing::{CrashPoint, Moment, World};
use hosttune_core::{NotRevertedReason, Tuning};

use crate::support::{apply, dials, get, machine, process, write};
use crate::toys::{Want, Wants};

/// What `status` says of a knob that another process set between two applies is what a revert does.
#[test]
fn a_value_that_another_process_set_between_two_applies_is_told_as_replaced() {
    let machine = machine();
    let original = get(&machine, "/sys/dial/a");
    let pending = || {
        let status = process(&machine).status().unwrap();
        let shown = |pending: hosttune_core::PendingRevert| (pending.original, pending.replaced);
        status.pending.into_iter().map(shown).collect::<Vec<_>>()
    };
    apply(&machine, &dials(&[("a", 5)]));
    assert_eq!(pending(), [(original.clone(), None)]);
    write(&machine, "/sys/dial/a", "7");
    apply(&machine, &dials(&[("a", 5)]));
    let first = (original.clone(), Some("7".to_owned()));
    assert_eq!(pending(), [first.clone(), ("7".to_owned(), None)]);
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(get(&machine, "/sys/dial/a"), "7");
    assert_eq!(reverted.not_reverted.len(), 1);
    // The original is still known, and nothing is left that replaces anything.
    assert_eq!(pending(), [(original, None)]);
}

#[test]
fn a_knob_that_another_process_put_back_between_two_applies_is_told_once() {
    let machine = machine();
    let original = get(&machine, "/sys/dial/a");
    apply(&machine, &dials(&[("a", 5)]));
    write(&machine, "/sys/dial/a", &original);
    apply(&machine, &dials(&[("a", 5)]));
    let status = process(&machine).status().unwrap();
    assert_eq!(status.pending.len(), 1, "{:#?}", status.pending);
    let reverted = process(&machine).revert().unwrap();
    assert!(reverted.not_reverted.is_empty());
    assert_eq!(get(&machine, "/sys/dial/a"), original);
    assert!(machine.store().is_empty());
}

/// A step that resets a knob is ours: the value that it left is nobody else's.
#[test]
fn a_value_that_a_step_of_ours_reset_is_not_told_as_replaced() {
    let machine = machine();
    apply(&machine, &Wants(vec![Want::Queue(0, "depth", 1)]));
    apply(&machine, &Wants(vec![Want::Scheduler(0, "bfq")]));
    apply(
        &machine,
        &Wants(vec![Want::Scheduler(0, "bfq"), Want::Queue(0, "depth", 1)]),
    );
    let status = process(&machine).status().unwrap();
    let replaced: Vec<_> = status
        .pending
        .iter()
        .map(|pending| &pending.replaced)
        .collect();
    assert!(
        replaced.iter().all(|replaced| replaced.is_none()),
        "{replaced:?}"
    );
}

/// The kernel does not tell who wrote a value: one that equals ours counts as ours.
#[test]
fn a_stranger_who_sets_exactly_our_value_counts_as_us() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &dials(&[("a", 5)]));
    write(&machine, "/sys/dial/a", "7");
    write(&machine, "/sys/dial/a", "5");
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_stranger_who_sets_exactly_our_value_after_a_death_counts_as_us() {
    let machine = machine();
    let was = machine.snapshot();
    let crash_point = CrashPoint::dies_at(1, Moment::Before);
    dials(&[("a", 5)])
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    write(&machine, "/sys/dial/a", "5");
    let _ = process(&machine).recover().unwrap();
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn a_stranger_on_a_dependant_survives_while_our_disturber_stands() {
    let machine = machine();
    apply(&machine, &Wants(vec![Want::Scheduler(0, "bfq")]));
    write(&machine, "/sys/disk0/depth", "400");
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(get(&machine, "/sys/disk0/scheduler"), "mq");
    assert_eq!(get(&machine, "/sys/disk0/depth"), "400");
    assert_eq!(get(&machine, "/sys/disk0/weight"), "33");
    assert!(machine.store().is_empty());
}

#[test]
fn a_stranger_on_a_dependant_survives_where_we_had_set_it_too() {
    let machine = machine();
    apply(
        &machine,
        &Wants(vec![Want::Scheduler(0, "bfq"), Want::Queue(0, "depth", 1)]),
    );
    write(&machine, "/sys/disk0/depth", "400");
    let reverted = process(&machine).revert().unwrap();
    let because: Vec<_> = reverted
        .not_reverted
        .iter()
        .map(|left| &left.reason)
        .collect();
    assert_eq!(because, [&NotRevertedReason::Theirs]);
    assert_eq!(get(&machine, "/sys/disk0/scheduler"), "mq");
    assert_eq!(get(&machine, "/sys/disk0/depth"), "400");
}

const ROUNDS: usize = 2_000;

/// What the other process sets before each of our applies; never our own 5.
fn theirs(round: usize) -> String {
    ["6", "7", "8", "9"][round % 4].to_owned()
}

#[test]
fn a_journal_under_a_timer_does_not_grow_and_keeps_the_strangers_last_value() {
    let machine = machine();
    let wants = dials(&[("a", 5), ("b", 5)]);
    apply(&machine, &wants);
    for round in 0..ROUNDS {
        write(&machine, "/sys/dial/a", &theirs(round));
        apply(&machine, &wants);
        assert!(machine.store().longest() < 128 * 1024, "round {round}");
    }
    let was = machine.fork();
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(get(&machine, "/sys/dial/a"), theirs(ROUNDS - 1));
    assert_eq!(get(&machine, "/sys/dial/b"), "0");
    assert!(reverted.is_complete(), "{:?}", reverted.not_reverted);

    let mut session = process(&was);
    session.force(true);
    let reverted = session.revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(get(&was, "/sys/dial/a"), "0");
    assert_eq!(get(&was, "/sys/dial/b"), "0");
    assert!(was.store().is_empty());
}

#[test]
fn a_journal_under_a_timer_that_resets_others_does_not_grow_either() {
    let machine = machine();
    let wants = Wants(vec![Want::Scheduler(0, "bfq")]);
    for round in 0..ROUNDS {
        apply(&machine, &wants);
        assert!(machine.store().longest() < 128 * 1024, "round {round}");
        write(&machine, "/sys/disk0/scheduler", "none");
    }
}

#[test]
fn a_tuning_that_wavers_does_not_grow_the_journal_and_goes_back_to_the_first_original() {
    let machine = machine();
    let was = machine.snapshot();
    for round in 0..ROUNDS {
        let to = [3, 5, 8][round % 3];
        let _ = dials(&[("a", to)]).apply(&mut process(&machine)).unwrap();
        assert!(machine.store().longest() < 128 * 1024, "round {round}");
    }
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// Here the kernel never shows the requested value; the applies must still be seen to follow one
/// another.
#[test]
fn a_tuning_that_wavers_between_rounded_values_goes_back_to_the_first_original_too() {
    let machine = machine();
    let was = machine.snapshot();
    for round in 0..ROUNDS {
        let to = [5, 13, 18][round % 3];
        let wants = dials(&[("round", to)]);
        let _ = wants.apply(&mut process(&machine)).unwrap();
        assert!(machine.store().longest() < 128 * 1024, "round {round}");
    }
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}
