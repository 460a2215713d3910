//! Apply: what is recorded before a change, what is undone if a step fails, and stored plans.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hosttune_core::journal::JournalLocation;
use hosttune_core::testing::{Behaviour, CrashPoint, Machine, Moment, World};
use hosttune_core::{
    Error, Host, HostError, Knob, NotRevertedReason, Plan, Registry, Session, State, StepFailure,
    Tuning, Unsupported,
};
use serde::{Deserialize, Serialize};

use crate::support::{
    Counting, EINVAL, Fuse, OWNER, apply, behave, dials, get, machine, process, records,
    refuses_and_binds_late, say, write,
};
use crate::toys::{self, Vector, Want, Wants};

#[test]
fn the_whole_intent_is_in_the_journal_before_the_first_turn() {
    let machine = machine();
    let was = machine.snapshot();
    let tuning = Wants(vec![
        Want::Dial("a", 5),
        Want::Vector([1, 2, 3]),
        Want::Scheduler(0, "bfq"),
        Want::Queue(0, "depth", 1),
        Want::Passthrough,
    ]);
    // Write 0 goes to the journal, write 1 would be the first change.
    let crash_point = CrashPoint::dies_at(1, Moment::Before);
    let mut session = machine.session(&crash_point).unwrap();
    let plan = tuning.plan(&session).unwrap();
    tuning.apply(&mut session).unwrap_err();
    assert_eq!(machine.snapshot(), was);
    let bytes = machine
        .store()
        .bytes(JournalLocation::Volatile, OWNER)
        .unwrap();
    let begin = &records(&bytes)[1];
    assert_eq!(begin["record"], "begin");
    assert_eq!(begin["steps"], serde_json::to_value(&plan.steps).unwrap());
    assert_eq!(
        process(&machine).status().unwrap().pending.len(),
        plan.steps.len()
    );
}

fn syncs(tuning: &impl Tuning) -> usize {
    let machine = machine();
    let store = Counting {
        store: machine.store().clone(),
        syncs: Arc::new(AtomicUsize::new(0)),
    };
    let host = Host::new(machine.memory().host(&CrashPoint::lives()));
    let mut session = Session::new(host, OWNER, store.clone(), &machine.boot())
        .unwrap()
        .with(crate::support::knobs);
    let _ = tuning.apply(&mut session).unwrap();
    store.syncs.load(Ordering::Relaxed)
}

#[test]
fn an_apply_of_what_ends_with_the_boot_waits_for_the_disk_once() {
    assert_eq!(syncs(&dials(&[("a", 5), ("b", 5), ("c", 5)])), 1);
}

#[test]
fn an_apply_with_a_file_waits_for_its_intent_and_for_its_end() {
    let wants = vec![
        Want::Dial("a", 5),
        Want::File("a", Some(1)),
        Want::Dial("b", 5),
    ];
    assert_eq!(syncs(&Wants(wants)), 2);
}

#[test]
fn applying_twice_and_reverting_once_gives_the_first_originals() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, &dials(&[("a", 5), ("b", 5)]));
    apply(&machine, &dials(&[("a", 7), ("b", 2), ("c", 1)]));
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn a_failed_step_undoes_what_was_done_and_is_an_error() {
    let machine = machine();
    let was = machine.snapshot();
    behave(&machine, "/sys/dial/b", Behaviour::refuses(EINVAL));
    let error = dials(&[("a", 5), ("b", 5), ("c", 5)])
        .apply(&mut process(&machine))
        .unwrap_err();
    let Error::RolledBack { cause } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((cause.knob.as_str(), cause.wanted.as_str()), ("b", "5"));
    assert!(matches!(&cause.failure, StepFailure::Refused(e) if e.errno() == Some(EINVAL)));
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn a_write_that_is_accepted_and_does_not_show_is_a_failed_step() {
    let machine = machine();
    let was = machine.snapshot();
    behave(&machine, "/sys/dial/b", Behaviour::new(|_, _, _| Ok(())));
    let error = dials(&[("a", 5), ("b", 5)])
        .apply(&mut process(&machine))
        .unwrap_err();
    let Error::RolledBack { cause } = &error else {
        panic!("{error:?}");
    };
    assert!(
        matches!(&cause.failure, StepFailure::NotTaken { seen } if seen == "0"),
        "{cause:?}"
    );
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_rollback_that_cannot_finish_is_another_error_and_the_next_revert_finishes_it() {
    let machine = machine();
    let was = machine.snapshot();
    // It can be raised, but not set back to 0.
    behave(&machine, "/sys/dial/a", Behaviour::integer(1..=9));
    behave(&machine, "/sys/dial/b", Behaviour::refuses(EINVAL));
    let error = dials(&[("c", 5), ("a", 5), ("b", 5)])
        .apply(&mut process(&machine))
        .unwrap_err();
    let Error::RollbackIncomplete { cause, left } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(cause.knob, "b");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].knob.text, "a");
    assert!(matches!(left[0].reason, NotRevertedReason::Refused(_)));
    assert_eq!(get(&machine, "/sys/dial/c"), "0");
    behave(&machine, "/sys/dial/a", Behaviour::integer(0..=9));
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

fn half_lands() -> impl Tuning {
    say(|at| {
        let to: Vec<String> = ["11", "x", "31"].map(str::to_owned).into();
        at.want(&Vector, &to);
    })
}

#[test]
fn a_refused_turn_that_landed_in_part_is_put_back() {
    let machine = machine();
    let was = machine.snapshot();
    let error = half_lands().apply(&mut process(&machine)).unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn a_refused_turn_that_lands_late_is_waited_for_and_put_back() {
    let machine = refuses_and_binds_late();
    let was = machine.snapshot();
    let error = Wants(vec![Want::Dial("a", 5), Want::Passthrough])
        .apply(&mut process(&machine))
        .unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    // Any delayed change has taken effect by then.
    process(&machine).host().pause(Duration::from_secs(1));
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

#[test]
fn a_step_that_turns_out_not_to_apply_is_a_finding_and_the_others_stand() {
    let machine = machine();
    let tuning = say(|at| {
        at.want(&Fuse, &"5".into());
        at.want(&toys::Dial("a".into()), &"5".into());
    });
    let applied = tuning.apply(&mut process(&machine)).unwrap();
    assert_eq!(applied.changed.len(), 1);
    assert!(matches!(
        applied.findings[0].state,
        State::NotApplicable { .. }
    ));
    assert_eq!(get(&machine, "/sys/dial/a"), "5");
}

#[test]
fn a_required_step_that_turns_out_not_to_apply_takes_all_back() {
    let machine = machine();
    let was = machine.snapshot();
    let tuning = say(|at| {
        at.want(&toys::Dial("a".into()), &"5".into());
        at.want(&Fuse, &"5".into()).required();
    });
    let error = tuning.apply(&mut process(&machine)).unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_review_that_says_no_turns_nothing() {
    let machine = machine();
    let was = machine.snapshot();
    let wants = dials(&[("a", 5)]);
    let applied = process(&machine)
        .apply_reviewed(|at| wants.declare(at), Plan::is_empty)
        .unwrap();
    assert!(applied.declined);
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

fn stored(machine: &Machine, tuning: &impl Tuning) -> Plan {
    let plan = tuning.plan(&process(machine)).unwrap();
    serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap()
}

#[test]
fn a_stored_plan_is_applied_and_reverted() {
    let machine = machine();
    let was = machine.snapshot();
    let tuning = Wants(vec![
        Want::Scheduler(0, "bfq"),
        Want::Queue(0, "depth", 1),
        Want::Passthrough,
        Want::File("a", Some(1)),
    ]);
    let plan = stored(&machine, &tuning);
    let applied = process(&machine).apply(&plan).unwrap();
    assert_eq!(applied.changed.len(), plan.steps.len());
    assert!(tuning.plan(&process(&machine)).unwrap().is_empty());
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_stored_plan_is_stale_where_the_host_moved_and_nothing_is_changed() {
    let machine = machine();
    let plan = stored(&machine, &dials(&[("a", 5), ("b", 5)]));
    write(&machine, "/sys/dial/b", "7");
    let was = machine.snapshot();
    let error = process(&machine).apply(&plan).unwrap_err();
    let Error::Stale(steps) = &error else {
        panic!("{error:?}");
    };
    let [step] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(
        [&step.knob, &step.planned, &step.seen],
        ["b", "0", "7"],
        "{step:?}"
    );
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// The plan contains the state that the scheduler's queue is restored to. If the queue has changed
/// since, the revert would restore a value that another process has replaced.
#[test]
fn a_stored_plan_is_stale_where_what_a_step_resets_has_moved() {
    let machine = machine();
    let plan = stored(&machine, &Wants(vec![Want::Scheduler(0, "bfq")]));
    write(&machine, "/sys/disk0/depth", "90");
    let refused = process(&machine).apply(&plan).unwrap_err();
    assert!(matches!(refused, Error::Stale(_)), "{refused:?}");
    assert_eq!(get(&machine, "/sys/disk0/depth"), "90");
}

/// Can be set only to what dial a shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Follower;

impl fmt::Display for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("follower")
    }
}

impl Follower {
    fn leader(host: &Host) -> Result<String, HostError> {
        Ok(host.read_text("/sys/dial/a")?.trim_end().to_owned())
    }
}

impl Knob for Follower {
    const NAME: &'static str = "follower";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        Ok(host.read_text("/sys/secret")?.trim_end().to_owned())
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        assert_eq!(host.look(), None);
        assert_eq!(Self::leader(host)?, *to);
        host.write_value("/sys/secret", to.as_bytes())
    }
    fn unsupported(&self, host: &Host, _: &String) -> Result<Option<Unsupported>, HostError> {
        assert_ne!(host.look(), None);
        Self::leader(host).map(|_| None)
    }
}

/// A plan may reuse what it has read; a change must read the current state.
#[test]
fn what_a_turn_reads_is_what_the_steps_before_it_have_left() {
    let machine = machine();
    let memory = machine.memory().clone().mode("/sys/secret", 0o600);
    let was = machine.snapshot();
    let tuning = say(|at| {
        at.want(&toys::Dial("a".into()), &"5".into());
        at.want(&Follower, &"5".into());
    });
    let follows = || process(&machine).with(Registry::add::<Follower>);
    let plan = tuning.plan(&follows()).unwrap();
    assert_eq!(plan.steps.len(), 2);
    let _ = follows().apply(&plan).unwrap();
    assert_eq!(memory.get("/sys/secret").as_deref(), Some("5"));
    // The revert runs in reverse order and sets the follower to 0 first, so dial a must show 0.
    memory.write("/sys/dial/a", "0").unwrap();
    assert!(follows().revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);

    // With a plan that is reviewed, while another process changes the host.
    let applied = follows().apply_reviewed(
        |at| tuning.declare(at),
        |_| memory.write("/sys/dial/b", "3").is_ok(),
    );
    assert_eq!(applied.unwrap().changed.len(), 2);
}
