//! What a plan contains, and what makes planning fail.

use std::cell::Cell;
use std::fmt;

use hosttune_core::testing::{CrashPoint, Moment, World};
use hosttune_core::{
    Error, Host, HostError, Knob, Registry, Session, State, Tuning, Unsupported, When, Why,
};
use serde::{Deserialize, Serialize};

use crate::support::{Impostor, Needs, apply, dials, get, machine, process, say};
use crate::toys::{self, Dial, Scheduler, Want, Wants};

#[test]
fn a_plan_writes_nothing() {
    let machine = machine();
    let was = machine.snapshot();
    let crash_point = CrashPoint::lives();
    let session = machine.session(&crash_point).unwrap();
    let plan = dials(&[("a", 5)]).plan(&session).unwrap();
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(crash_point.writes(), 0);
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn a_plan_shows_where_each_step_starts_and_ends() {
    let plan = dials(&[("a", 5)]).plan(&process(&machine())).unwrap();
    let step = &plan.steps[0];
    assert_eq!((step.from_text.as_str(), step.to_text.as_str()), ("0", "5"));
}

#[test]
fn tuples_are_tunings_and_a_named_one_is_a_part() {
    let tuning = (dials(&[("a", 5)]), ("named", dials(&[("b", 6)])), ());
    let plan = tuning.plan(&process(&machine())).unwrap();
    let steps = plan.steps.iter();
    let steps: Vec<_> = steps.map(|step| (&*step.part, &*step.to_text)).collect();
    assert_eq!(steps, [("", "5"), ("named", "6")]);
}

#[test]
fn a_knob_type_that_was_not_registered_fails_at_plan() {
    let machine = machine();
    let host = Host::new(machine.memory().host(&CrashPoint::lives()));
    let session = Session::new(host, "somebody", machine.store().clone(), "boot-0").unwrap();
    let error = dials(&[("a", 5)]).plan(&session).unwrap_err();
    assert!(
        matches!(&error, Error::Unregistered { name } if name == "dial"),
        "{error:?}"
    );
    assert!(error.hint().is_some());
}

#[test]
fn two_types_under_one_name_fail_at_plan() {
    let session = process(&machine()).with(Registry::add::<Impostor>);
    for error in [
        dials(&[("a", 5)]).plan(&session).unwrap_err(),
        say(|at| {
            at.want(&Impostor, &1);
        })
        .plan(&session)
        .unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Unregistered { name } if name == "dial"),
            "{error:?}"
        );
    }
}

#[test]
fn a_type_under_another_types_name_fails_at_plan() {
    let error = say(|at| {
        at.want(&Impostor, &1);
    })
    .plan(&process(&machine()))
    .unwrap_err();
    assert!(matches!(error, Error::Unregistered { .. }), "{error:?}");
}

#[test]
fn two_wants_for_one_knob_conflict_and_both_parts_are_named() {
    let machine = machine();
    let was = machine.snapshot();
    let tuning = vec![("games", dials(&[("a", 5)])), ("quiet", dials(&[("a", 2)]))];
    let error = tuning.apply(&mut process(&machine)).unwrap_err();
    let Error::Conflict {
        knob,
        first_part,
        first,
        second_part,
        second,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        [knob, first_part, first, second_part, second],
        ["a", "games", "5", "quiet", "2"]
    );
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn two_equal_wants_for_one_knob_are_one_step() {
    let tuning = vec![("games", dials(&[("a", 5)])), ("quiet", dials(&[("a", 5)]))];
    let plan = tuning.plan(&process(&machine())).unwrap();
    assert_eq!(plan.steps.len(), 1);
}

#[test]
fn a_knob_that_an_earlier_step_resets_is_unsettled() {
    struct Asks;
    impl Tuning for Asks {
        fn declare(&self, at: &mut hosttune_core::Planner<'_>) -> Result<(), Error> {
            at.want(&Scheduler(0), &"bfq".into());
            at.now(&toys::Queue(0, "depth".into())).map(drop)
        }
    }
    let error = Asks.plan(&process(&machine())).unwrap_err();
    assert!(
        matches!(&error, Error::DependsOnEarlierStep { knob } if knob == "disk 0 depth"),
        "{error:?}"
    );
}

#[test]
fn a_lack_that_an_earlier_step_cures_becomes_a_step() {
    cured(&say(|at| {
        at.want(&Dial("c".into()), &"1".into());
        at.want(&Needs, &"5".into());
    }));
}

#[test]
fn a_lack_that_a_later_step_cures_becomes_a_step_behind_it() {
    cured(&say(|at| {
        at.want(&Needs, &"5".into());
        at.want(&Dial("c".into()), &"1".into());
    }));
}

/// The planner shows the state that the earlier steps leave, also of a knob that they cure.
#[test]
fn what_an_earlier_step_cures_is_seen_ahead_as_it_will_be() {
    struct Asks;
    impl Tuning for Asks {
        fn declare(&self, at: &mut hosttune_core::Planner<'_>) -> Result<(), Error> {
            at.want(&Needs, &"5".into());
            assert_eq!(at.now(&Needs)?, "0");
            at.want(&Dial("c".into()), &"1".into());
            at.want(&Needs, &"5".into());
            assert_eq!(at.now(&Needs)?, "5");
            Ok(())
        }
    }
    let _ = Asks.plan(&process(&machine())).unwrap();
}

#[test]
fn a_step_that_does_not_provide_what_is_lacking_cures_nothing() {
    let unsupported = |tuning: &dyn Tuning| {
        let plan = tuning.plan(&process(&machine())).unwrap();
        let state = |finding: &&hosttune_core::Finding| finding.name == "needs";
        let finding = plan.findings.iter().find(state).unwrap();
        assert!(
            matches!(finding.state, State::NotApplicable { .. }),
            "{finding:?}"
        );
        assert!(plan.steps.iter().all(|step| step.knob.text != "needs"));
    };
    // The step sets another state, is deferred, or its state is changed again before it is needed.
    unsupported(&say(|at| {
        at.want(&Dial("c".into()), &"2".into());
        at.want(&Needs, &"5".into());
    }));
    unsupported(&say(|at| {
        at.want(&Dial("c".into()), &"1".into())
            .deferred(When::Reboot);
        at.want(&Needs, &"5".into());
    }));
    unsupported(&say(|at| {
        at.intermediate(&Dial("c".into()), &"1".into());
        at.intermediate(&Dial("c".into()), &"2".into());
        at.want(&Needs, &"5".into());
    }));
}

thread_local! {
    /// How often `unsupported` was called on any slot.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// One of many that are supported only while dial c is at 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Slot(usize);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

impl Knob for Slot {
    const NAME: &'static str = "slot";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        Needs.read(host)
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        Needs.set(host, to)
    }
    fn unsupported(&self, host: &Host, to: &String) -> Result<Option<Unsupported>, HostError> {
        ASKED.with(|asked| asked.set(asked.get() + 1));
        Needs.unsupported(host, to)
    }
}

#[test]
fn what_one_step_cures_for_thousands_is_looked_at_once_for_each() {
    const SLOTS: usize = 2_000;
    let session = process(&machine()).with(Registry::add::<Slot>);
    let tuning = say(|at| {
        at.want(&Dial("c".into()), &"1".into());
        for number in 0..SLOTS {
            at.want(&Slot(number), &"5".into());
        }
    });
    let plan = tuning.plan(&session).unwrap();
    assert_eq!(plan.steps.len(), 1 + SLOTS);
    assert_eq!(ASKED.get(), SLOTS);
}

fn cured(tuning: &impl Tuning) {
    let machine = machine();
    let was = machine.snapshot();
    let plan = tuning.plan(&process(&machine)).unwrap();
    let steps: Vec<&str> = plan.steps.iter().map(|s| s.knob.text.as_str()).collect();
    assert_eq!(steps, ["c", "needs"]);
    apply(&machine, tuning);
    assert_eq!(get(&machine, "/sys/needs"), "5");
    let report = tuning.verify(&process(&machine)).unwrap();
    assert!(report.is_as_wanted());
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn why_is_in_the_plan_in_the_report_and_in_the_journal() {
    let machine = machine();
    let why = Why::new("the fan is audible")
        .looks_wrong("slower is hotter")
        .source("measured in May")
        .risk("five degrees");
    let tuning = say(|at| {
        at.want(&Dial("a".into()), &"5".into()).why(why.clone());
    });
    let mut session = process(&machine);
    assert_eq!(tuning.plan(&session).unwrap().steps[0].why, why);
    let _ = tuning.apply(&mut session).unwrap();
    assert_eq!(tuning.verify(&session).unwrap().items[0].why, why);
    let bytes = machine
        .store()
        .bytes(
            hosttune_core::journal::JournalLocation::Volatile,
            crate::support::OWNER,
        )
        .unwrap();
    let begin = &crate::support::records(&bytes)[1];
    assert_eq!(
        begin["steps"][0]["why"],
        serde_json::to_value(&why).unwrap()
    );
}

#[test]
fn a_plan_is_provisional_and_says_why_while_an_apply_is_open() {
    let machine = machine();
    let both = dials(&[("a", 5), ("b", 5)]);
    let crash_point = CrashPoint::dies_at(2, Moment::Before);
    both.apply(&mut machine.session(&crash_point).unwrap())
        .unwrap_err();
    let session = process(&machine);
    let why = both.plan(&session).unwrap().provisional.unwrap();
    assert!(why.contains("apply was interrupted"), "{why}");
    assert_eq!(session.status().unwrap().open, Some(why));
    let _ = process(&machine).recover().unwrap();
    assert_eq!(both.plan(&process(&machine)).unwrap().provisional, None);
}

#[test]
fn a_plan_is_provisional_and_says_why_while_a_revert_is_open() {
    let machine = machine();
    let both = dials(&[("a", 5), ("b", 5)]);
    apply(&machine, &both);
    let crash_point = CrashPoint::dies_at(2, Moment::Before);
    let reverted = machine.session(&crash_point).unwrap().revert().unwrap();
    assert!(reverted.unrecorded.is_some(), "{reverted:?}");
    let plan = both.plan(&process(&machine)).unwrap();
    let why = plan.provisional.unwrap();
    assert!(why.contains("revert was interrupted"), "{why}");
}

#[test]
fn a_plan_survives_being_stored() {
    let tuning = Wants(vec![
        Want::Scheduler(0, "bfq"),
        Want::Queue(0, "depth", 1),
        Want::Passthrough,
        Want::File("a", Some(1)),
    ]);
    let plan = tuning.plan(&process(&machine())).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    let again: hosttune_core::Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(again, plan);
}
