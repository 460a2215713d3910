//! Calls that fail, once or from then on: the cases that law 16 (`told_as_it_is`) has found, each at
//! every call.

use hosttune_core::Tuning;
use hosttune_core::testing::laws::{self, Verb};
use hosttune_core::testing::{CrashPoint, Failure, Machine, Moment, World};

use crate::motor::{CEILING, MODE, Runs, SPEED, Want as Motor, motor};
use crate::support::{OWNER, process, write};
use crate::toys::{Want, Wants, machine};

/// Lets every call of a revert fail, forced or not, in every way.
fn whatever_fails_at_reverting<T: Tuning>(world: &Machine, applied: &[T]) {
    for call in 0..60 {
        for kind in 0..Failure::KINDS {
            let failure = Failure::of_kind(call, kind);
            for verb in [Verb::Revert, Verb::ForcedRevert] {
                let told = laws::told_as_it_is(world, applied, &verb, failure);
                told.unwrap_or_else(|broken| panic!("{failure:?}: {broken}"));
            }
        }
    }
}

/// The ceiling could not be set back, and then the mode that has no ceiling was.
#[test]
fn what_a_later_step_of_a_forced_revert_has_removed_is_not_told_to_be_left() {
    let bare = motor(40, 7);
    write(&bare, MODE, "bare");
    let was = bare.snapshot();
    let runs = Runs(vec![Motor::Mode("fast"), Motor::Setting(CEILING, 50)]);
    let machine = bare.fork();
    let _ = runs.apply(&mut process(&machine)).unwrap();
    for moment in [Moment::Before, Moment::Within] {
        let machine = machine.fork();
        let crash_point = CrashPoint::fails_at(0, moment);
        let mut session = machine.session(&crash_point).unwrap();
        let reverted = session.force(true).revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "{moment:?}");
        assert_eq!(machine.snapshot(), was, "{moment:?}");
        assert!(machine.store().is_empty(), "{moment:?}");
    }
    whatever_fails_at_reverting(&bare, &[runs]);
}

/// The scheduler was reverted, which reset the depth, but the scheduler could not be read afterwards.
#[test]
fn what_was_changed_back_and_cannot_be_read_is_not_taken_for_what_stands() {
    let depth = || Want::Queue(0, "depth", 0);
    let first = Wants(vec![depth()]);
    let second = Wants(vec![Want::Scheduler(0, "bfq"), depth()]);
    whatever_fails_at_reverting(&machine(), &[first, second]);
}

/// The speed, which the ceiling moves, was not reverted. Reverting the mode before it would destroy the
/// state that the speed is to be reverted to.
#[test]
fn what_resets_a_knob_waits_for_a_step_of_it_that_is_left() {
    let first = Runs(vec![Motor::Mode("fast")]);
    let second = Runs(vec![Motor::Setting(CEILING, 0), Motor::Setting(SPEED, 7)]);
    whatever_fails_at_reverting(&motor(40, 7), &[first, second]);
}

/// The ceiling and the speed already show the requested 100, because the mode sets them to it, and
/// their original values did not reach the journal any more.
#[test]
fn steps_that_nobody_knows_the_start_of_do_not_wait_for_each_other() {
    let wanted = [(CEILING, 100), (SPEED, 100)].map(|(path, to)| Motor::Setting(path, to));
    let runs = Runs([Motor::Mode("fast")].into_iter().chain(wanted).collect());
    for call in 0..60 {
        for kind in 0..Failure::KINDS {
            let failure = Failure::of_kind(call, kind);
            let verb = Verb::Apply(runs.clone());
            let told = laws::told_as_it_is::<_, Runs>(&motor(40, 7), &[], &verb, failure);
            told.unwrap_or_else(|broken| panic!("{failure:?}: {broken}"));
        }
    }
}

/// A speed that an interrupted revert of one owner has reset belongs to nobody, so another owner does
/// not start before it is restored.
#[test]
fn another_owners_interrupted_revert_is_finished_before_anything_is_begun() {
    let mut finished = 0;
    for write in 0..16 {
        for moment in [Moment::Before, Moment::Within, Moment::After] {
            let machine = motor(40, 7);
            let was = machine.snapshot();
            let of = |owner: &str| machine.session_of(owner, &CrashPoint::lives()).unwrap();
            let _ = Runs(vec![Motor::Setting(CEILING, 0)])
                .apply(&mut of("other"))
                .unwrap();
            let crash_point = CrashPoint::dies_at(write, moment);
            let _ = machine.session_of("other", &crash_point).unwrap().revert();
            let when = format!("{write} {moment:?}");
            let is_open = of("other").status().unwrap().open.is_some();
            let ours = Runs(vec![Motor::Setting(SPEED, 20)]);
            let plan = ours.plan(&of(OWNER)).unwrap();
            let note = "an earlier revert of other was interrupted: its remaining steps will be finished first";
            assert_eq!(plan.provisional.as_deref() == Some(note), is_open, "{when}");
            let applied = ours.apply(&mut of(OWNER)).unwrap();
            let told = applied.notes.iter().any(|note| {
                note.starts_with("an interrupted revert of other was finished first: ")
            });
            assert_eq!(told, is_open, "{when}: {:?}", applied.notes);
            finished += u32::from(told);
            for owner in [OWNER, "other"] {
                let reverted = of(owner).revert().unwrap();
                assert_eq!(reverted.not_reverted, [], "{when}");
            }
            assert_eq!(machine.snapshot(), was, "{when}");
            assert!(machine.store().is_empty(), "{when}");
        }
    }
    assert!(finished > 5, "{finished}");
}

/// A run with knob types that this program does not know is left to a program that knows them.
#[test]
fn what_this_program_does_not_know_is_left_to_its_owner() {
    let machine = motor(40, 7);
    let of = |owner: &str| machine.session_of(owner, &CrashPoint::lives()).unwrap();
    let _ = Runs(vec![Motor::Setting(CEILING, 0)])
        .apply(&mut of("other"))
        .unwrap();
    let crash_point = CrashPoint::dies_at(2, Moment::After);
    let _ = machine.session_of("other", &crash_point).unwrap().revert();
    assert!(of("other").status().unwrap().open.is_some());
    let half = machine.snapshot();
    let store = machine.store().of(&CrashPoint::lives());
    let host = hosttune_core::Host::new(machine.memory().host(&CrashPoint::lives()));
    let mut stranger = hosttune_core::Session::new(host, OWNER, store, &machine.boot()).unwrap();
    let reverted = stranger.revert().unwrap();
    assert_eq!((reverted.undone, reverted.notes), (vec![], vec![]));
    assert_eq!(machine.snapshot(), half);
    assert!(of("other").status().unwrap().open.is_some());
}

/// Whichever call fails in the process that is to finish another owner's revert, that owner can still
/// finish it.
#[test]
fn what_cannot_be_finished_for_another_owner_is_left_to_it() {
    for call in 0..40 {
        for kind in 0..Failure::KINDS {
            let machine = motor(40, 7);
            let was = machine.snapshot();
            let of = |owner: &str| machine.session_of(owner, &CrashPoint::lives()).unwrap();
            let _ = Runs(vec![Motor::Mode("fast"), Motor::Setting(CEILING, 0)])
                .apply(&mut of("other"))
                .unwrap();
            let crash_point = CrashPoint::dies_at(3, Moment::After);
            let _ = machine.session_of("other", &crash_point).unwrap().revert();
            let crash_point = CrashPoint::call_fails(Failure::of_kind(call, kind));
            let ours = Runs(vec![Motor::Setting(SPEED, 20)]);
            let _ = ours.apply(&mut machine.session_of(OWNER, &crash_point).unwrap());
            for owner in ["other", OWNER] {
                let reverted = of(owner).revert().unwrap();
                assert_eq!(reverted.not_reverted, [], "{call} {kind} {owner}");
            }
            assert_eq!(machine.snapshot(), was, "{call} {kind}");
            assert!(machine.store().is_empty(), "{call} {kind}");
        }
    }
}
