//! Found by the laws: each was once a bug of this engine or of the one before it.

use std::time::Duration;

use hosttune_core::testing::{Behaviour, CrashPoint, Moment, World};
use hosttune_core::{NotRevertedReason, State, Tuning};

use crate::support::{
    EINVAL, Fuse, apply, at_every_death, behave, dials, get, machine, process,
    refuses_and_binds_late, say, write,
};
use crate::toys::{Dial, Driver, Override, Vector, Want, Wants};

/// A device without a driver: its state is `null`, which is a known state and is restored.
#[test]
fn a_null_state_is_not_unknown() {
    let unbound = || {
        let machine = machine();
        write(&machine, "/sys/device/driver", "none");
        machine
    };
    let was = unbound().snapshot();
    let tuning = say(|at| {
        at.intermediate(&Override, &"vfio".into());
        at.want(&Driver, &Some("vfio".into()));
    });
    let plan = tuning.plan(&process(&unbound())).unwrap();
    assert_eq!(
        plan.steps[1].from,
        hosttune_core::Before::Known(serde_json::Value::Null)
    );
    at_every_death(
        unbound,
        |session| drop(tuning.apply(session)),
        |machine, death| {
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(machine.snapshot(), was, "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
}

/// If the scheduler has its original value but its queue has not, the step is not undone yet.
#[test]
fn a_half_undone_scheduler_does_not_read_as_done() {
    let was = machine().snapshot();
    let tuning = Wants(vec![Want::Scheduler(0, "bfq"), Want::Scheduler(1, "none")]);
    let writes = at_every_death(
        || {
            let machine = machine();
            apply(&machine, &tuning);
            machine
        },
        |session| drop(session.revert()),
        |machine, death| {
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(machine.snapshot(), was, "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
    // Two undos of three changes each, and their marks.
    assert!(writes > 8, "{writes}");
}

#[test]
fn a_torn_vector_is_neither_from_nor_to_and_still_ours_after_a_death() {
    let machine = machine();
    let was = machine.snapshot();
    let tuning = say(|at| {
        let to: Vec<String> = ["11", "x", "31"].map(str::to_owned).into();
        at.want(&Vector, &to);
    });
    let crash_point = CrashPoint::dies_at(1, Moment::After);
    tuning
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    assert_eq!(get(&machine, "/sys/vector"), "11\t20\t30");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn a_refused_step_is_remembered_and_not_tried_again_in_this_boot() {
    let machine = machine();
    let tuning = say(|at| {
        at.want(&Fuse, &"5".into());
        at.want(&Dial("a".into()), &"5".into());
    });
    apply(&machine, &tuning);
    let session = process(&machine);
    assert_eq!(session.status().unwrap().refused.len(), 1);
    let plan = tuning.plan(&session).unwrap();
    assert!(plan.is_empty());
    assert!(matches!(
        plan.findings[0].state,
        State::NotApplicable { .. }
    ));
    let crash_point = CrashPoint::lives();
    let _ = tuning
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap();
    assert_eq!(crash_point.writes(), 0);
    assert!(process(&machine).revert().unwrap().is_complete());
    assert!(machine.store().is_empty());
}

/// If a rollback leaves a value of another process alone, a later revert must still find the step.
#[test]
fn a_spared_step_is_remembered() {
    let machine = machine();
    let was = machine.snapshot();
    let crash_point = CrashPoint::dies_at(3, Moment::After);
    dials(&[("a", 5), ("b", 5)])
        .apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    write(&machine, "/sys/dial/a", "7");
    let recovered = process(&machine).recover().unwrap();
    assert_eq!(recovered.not_reverted[0].reason, NotRevertedReason::Theirs);
    write(&machine, "/sys/dial/a", "5");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// A read right after the refusal shows no change, and a moment later the device is bound.
#[test]
fn a_refused_bind_that_lands_late_is_put_back_at_every_death() {
    let was = machine().snapshot();
    let tuning = Wants(vec![Want::Dial("a", 5), Want::Passthrough]);
    at_every_death(
        refuses_and_binds_late,
        |session| drop(tuning.apply(session)),
        |machine, death| {
            let session = &mut process(machine);
            let reverted = session.revert().unwrap();
            session.host().pause(Duration::from_secs(1));
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(machine.snapshot(), was, "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
}

#[test]
fn when_a_step_is_left_the_earlier_steps_of_its_knob_are_still_owed() {
    let machine = machine();
    let was = machine.snapshot();
    // In two parts, so that the two steps are not merged.
    apply(&machine, &("low", dials(&[("a", 3)])));
    apply(&machine, &("high", dials(&[("a", 5)])));
    write(&machine, "/sys/dial/a", "7");
    let reverted = process(&machine).revert().unwrap();
    let because: Vec<_> = reverted
        .not_reverted
        .iter()
        .map(|left| &left.reason)
        .collect();
    assert_eq!(
        because,
        [&NotRevertedReason::Theirs, &NotRevertedReason::Waits]
    );
    assert_eq!(process(&machine).status().unwrap().pending.len(), 2);
    write(&machine, "/sys/dial/a", "5");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn what_was_kept_for_a_disturbed_knob_goes_stale_on_a_retry() {
    let machine = machine();
    apply(&machine, &Wants(vec![Want::Scheduler(0, "bfq")]));
    write(&machine, "/sys/disk0/depth", "300");
    behave(&machine, "/sys/disk0/scheduler", Behaviour::refuses(EINVAL));
    let reverted = process(&machine).revert().unwrap();
    assert!(matches!(
        reverted.not_reverted[0].reason,
        NotRevertedReason::Refused(_)
    ));
    write(&machine, "/sys/disk0/depth", "400");
    let resets = Behaviour::one_of(["mq", "bfq"]).then(|tree, _| {
        tree.set("/sys/disk0/depth", "64");
        tree.set("/sys/disk0/weight", "100");
    });
    behave(&machine, "/sys/disk0/scheduler", resets);
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(get(&machine, "/sys/disk0/scheduler"), "mq");
    assert_eq!(get(&machine, "/sys/disk0/depth"), "400");
    assert_eq!(get(&machine, "/sys/disk0/weight"), "33");
    assert!(machine.store().is_empty());
}

#[test]
fn recovery_of_several_applies_loses_no_knob() {
    let first = machine().snapshot();
    let prepare = || {
        let machine = machine();
        apply(&machine, &dials(&[("a", 3), ("b", 3)]));
        apply(
            &machine,
            &Wants(vec![Want::Scheduler(0, "bfq"), Want::Dial("b", 4)]),
        );
        machine
    };
    let finished = prepare().snapshot();
    let dying = Wants(vec![
        Want::Dial("c", 5),
        Want::Excursion("a", 9, 3),
        Want::Scheduler(0, "none"),
        Want::Queue(0, "depth", 2),
        Want::Dial("b", 3),
    ]);
    at_every_death(
        prepare,
        |session| drop(dying.apply(session)),
        |machine, death| {
            let _ = process(machine).recover().unwrap();
            let is = machine.snapshot();
            if !dying.plan(&process(machine)).unwrap().is_empty() {
                assert_eq!(is, finished, "{death}");
            }
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(machine.snapshot(), first, "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
}

#[test]
fn where_a_disturber_cannot_be_undone_its_dependants_earlier_steps_wait() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &Wants(vec![Want::Queue(0, "depth", 1)]));
    apply(&machine, &Wants(vec![Want::Scheduler(0, "bfq")]));
    let stands = machine.snapshot();
    behave(&machine, "/sys/disk0/scheduler", Behaviour::refuses(EINVAL));
    let reverted = process(&machine).revert().unwrap();
    let [scheduler, depth] = &reverted.not_reverted[..] else {
        panic!("{reverted:?}");
    };
    assert!(matches!(scheduler.reason, NotRevertedReason::Refused(_)));
    assert_eq!(depth.reason, NotRevertedReason::Waits);
    assert_eq!(machine.snapshot(), stands);
    let resets = Behaviour::one_of(["mq", "bfq"]).then(|tree, _| {
        tree.set("/sys/disk0/depth", "64");
        tree.set("/sys/disk0/weight", "100");
    });
    behave(&machine, "/sys/disk0/scheduler", resets);
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// A step that the plan moved behind its cure is undone before the cure.
#[test]
fn a_wish_before_its_cure_is_taken_back_at_every_death() {
    let was = machine().snapshot();
    let tuning = say(|at| {
        at.want(&crate::support::Needs, &"5".into());
        at.want(&Dial("c".into()), &"1".into());
    });
    at_every_death(
        machine,
        |session| drop(tuning.apply(session)),
        |machine, death| {
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(machine.snapshot(), was, "{death}");
        },
    );
}
