//! Knobs that are busy: they cannot be set now, but can be later.

use hosttune_core::error::StepFailure;
use hosttune_core::testing::{Behaviour, CrashPoint, Machine, World};
use hosttune_core::{Error, State, Tuning, UnsupportedKind};

use crate::support::{
    EBUSY, EINVAL, Fuse, apply, at_every_death, behave, dials, get, machine, process, say,
};
use crate::toys::Dial;

fn refusing(errno: i32) -> Machine {
    let machine = machine();
    behave(&machine, "/sys/fuse", Behaviour::refuses(errno));
    machine
}

fn fuse() -> impl Tuning {
    say(|at| {
        at.want(&Fuse, &"5".into());
    })
}

fn fuse_and_dial() -> impl Tuning {
    say(|at| {
        at.want(&Fuse, &"5".into());
        at.want(&Dial("a".into()), &"5".into());
    })
}

#[test]
fn what_was_busy_is_a_step_again_in_the_next_plan_and_changed_by_the_next_apply() {
    let machine = refusing(EBUSY);
    let was = machine.snapshot();
    let applied = fuse_and_dial().apply(&mut process(&machine)).unwrap();
    let changed: Vec<&str> = applied
        .changed
        .iter()
        .map(|s| s.knob.text.as_str())
        .collect();
    assert_eq!(changed, ["a"]);
    let [finding] = &applied.findings[..] else {
        panic!("{applied:?}");
    };
    assert!(
        matches!(&finding.state, State::NotApplicable { unsupported } if unsupported.kind == UnsupportedKind::Busy),
        "{finding:?}"
    );
    assert!(process(&machine).status().unwrap().refused.is_empty());

    // Still busy: one change is attempted, and nothing else.
    let crash_point = CrashPoint::lives();
    let mut session = machine.session(&crash_point).unwrap();
    let applied = fuse_and_dial().apply(&mut session).unwrap();
    assert!(applied.changed.is_empty());
    assert_eq!(crash_point.changes(), 1);

    behave(&machine, "/sys/fuse", Behaviour::takes_all());
    let plan = fuse_and_dial().plan(&process(&machine)).unwrap();
    assert_eq!(plan.steps.len(), 1);
    assert!(plan.findings.iter().all(|f| f.state == State::Matches));
    apply(&machine, &fuse_and_dial());
    assert_eq!(get(&machine, "/sys/fuse"), "5");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn of_what_was_busy_and_nothing_else_no_journal_is_left() {
    let machine = refusing(EBUSY);
    apply(&machine, &fuse());
    assert!(machine.store().is_empty());
}

#[test]
fn a_refusal_for_good_is_remembered_whatever_was_busy_before() {
    let machine = refusing(EBUSY);
    apply(&machine, &fuse());
    behave(&machine, "/sys/fuse", Behaviour::refuses(EINVAL));
    apply(&machine, &fuse());
    assert_eq!(process(&machine).status().unwrap().refused.len(), 1);
    behave(&machine, "/sys/fuse", Behaviour::takes_all());
    assert!(fuse().plan(&process(&machine)).unwrap().is_empty());
}

#[test]
fn a_required_step_that_is_busy_takes_all_back_and_is_not_remembered() {
    let machine = refusing(EBUSY);
    let was = machine.snapshot();
    let tuning = say(|at| {
        at.want(&Dial("a".into()), &"5".into());
        at.want(&Fuse, &"5".into()).required();
        at.want(&Dial("b".into()), &"5".into());
    });
    let error = tuning.apply(&mut process(&machine)).unwrap_err();
    let Error::RolledBack { cause } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(cause.knob, "fuse");
    assert!(
        matches!(cause.failure, StepFailure::Refused(_)),
        "{cause:?}"
    );
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
    assert_eq!(tuning.plan(&process(&machine)).unwrap().steps.len(), 3);
}

/// The state that it leads to cannot be reached without it.
#[test]
fn a_means_that_is_busy_takes_all_back() {
    let machine = refusing(EBUSY);
    let was = machine.snapshot();
    let tuning = say(|at| {
        at.want(&Dial("a".into()), &"5".into());
        at.intermediate(&Fuse, &"5".into());
        at.want(&Dial("b".into()), &"5".into());
    });
    let error = tuning.apply(&mut process(&machine)).unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// A change that took effect in spite of EBUSY was not refused.
#[test]
fn what_is_busy_and_has_landed_takes_all_back() {
    let machine = machine();
    let was = machine.snapshot();
    let first = Behaviour::new(|tree, path, value| {
        let landed = value == "5";
        tree.set(path, value);
        if landed { Err(EBUSY) } else { Ok(()) }
    });
    behave(&machine, "/sys/fuse", first);
    let error = fuse_and_dial().apply(&mut process(&machine)).unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn whoever_dies_over_a_busy_step_leaves_nothing_that_is_not_put_back() {
    let was = refusing(EBUSY).snapshot();
    let writes = at_every_death(
        || refusing(EBUSY),
        |session| drop(fuse_and_dial().apply(session)),
        |machine, death| {
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{death}");
            assert_eq!(machine.snapshot(), was, "{death}");
            assert!(machine.store().is_empty(), "{death}");
        },
    );
    // The intent, two changes with a record of the result of each, and the end.
    assert_eq!(writes, 6);
}

/// Two applies of two knobs each are not merged, and the kernel refuses the value between them.
#[test]
fn a_forced_revert_past_a_refused_step_ends_at_the_first_original() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &dials(&[("a", 5), ("b", 5)]));
    apply(&machine, &dials(&[("a", 7), ("b", 7)]));
    let path = "/sys/dial/a";
    let not_5 = Behaviour::new(|tree, path, value| {
        if value.trim() == "5" {
            return Err(EBUSY);
        }
        tree.set(path, value.trim());
        Ok(())
    });
    behave(&machine, path, not_5);
    let reverted = process(&machine).force(true).revert().unwrap();
    assert_eq!(reverted.not_reverted, [], "{reverted:?}");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}
