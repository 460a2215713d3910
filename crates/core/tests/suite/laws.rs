//! The laws, on a machine with every kernel behaviour that a tuning has to cope with.
//!
//! The number of cases is `PROPTEST_CASES` if it is set (`scripts/soak` sets it), and otherwise the
//! number given below.

use crate::motor::{MODES, motor, runs};
use crate::toys::{Want, machine, wants};
use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{Failure, Machine, Moment, World};
pub(crate) use hosttune_test_machine::cases;
use proptest::prelude::*;

pub(crate) fn moment() -> impl Strategy<Value = Moment> {
    prop::sample::select(vec![Moment::Before, Moment::Within, Moment::After])
}

pub(crate) fn deaths() -> impl Strategy<Value = Vec<Death>> {
    prop::collection::vec((0..40_u64, moment()), 0..6)
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn apply_then_verify_matches(wants in wants()) {
        laws::apply_then_verify(&machine(), &wants)?;
    }

    #[test]
    fn apply_then_plan_is_empty(wants in wants()) {
        laws::apply_then_plan(&machine(), &wants)?;
    }

    #[test]
    fn apply_then_revert_is_as_it_was(tunings in prop::collection::vec(wants(), 1..4)) {
        laws::apply_then_revert(&machine(), &tunings)?;
    }

    #[test]
    fn plan_writes_nothing(wants in wants()) {
        laws::plan_writes_nothing(&machine(), &wants)?;
    }

    #[test]
    fn what_is_offered_is_applied(wants in wants()) {
        laws::what_is_offered_is_applied(&machine(), &wants)?;
    }

    #[test]
    fn a_failing_step_leaves_the_host_as_it_was(
        wants in wants(), change in 0..12_u64, moment in moment(),
    ) {
        laws::failing_step(&machine(), &wants, change, moment)?;
    }

    #[test]
    fn a_stranger_survives(
        wants in wants(),
        dial in prop::sample::select(vec!["a", "b", "c"]),
        set in 0..10_u8,
    ) {
        // A value that equals ours counts as ours, whoever wrote it: see docs/decisions/0004.
        prop_assume!(!wants.0.iter().any(|want| matches!(want, Want::Excursion(name, by, _) if *name == dial && *by == set)));
        laws::stranger_survives(&machine(), &wants, |machine: &Machine| {
            let path = format!("/sys/dial/{dial}");
            let value = set.to_string();
            if machine.memory().get(&path).as_ref() != Some(&value) {
                machine.memory().write(path, &value).unwrap();
            }
        })?;
    }

    #[test]
    fn a_stranger_on_a_disturbed_knob_survives(
        wants in wants(), disk in 0..2_u8, set in 300..400_u16,
    ) {
        laws::stranger_survives(&machine(), &wants, |machine: &Machine| {
            machine.memory().write(format!("/sys/disk{disk}/depth"), &set.to_string()).unwrap();
        })?;
    }

    #[test]
    fn a_motor_is_as_it_was_after_any_number_of_applies(
        tunings in prop::collection::vec(runs(&MODES), 1..4),
        ceiling in prop::sample::select(vec![40, 100_u8]),
        speed in prop::sample::select(vec![7, 100_u8]),
    ) {
        let motor = motor(ceiling, speed);
        laws::apply_then_revert(&motor, &tunings)?;
        laws::apply_then_plan(&motor, &tunings[0])?;
        laws::apply_then_verify(&motor, &tunings[0])?;
    }

    #[test]
    fn a_failing_step_leaves_the_motor_as_it_was(
        runs in runs(&MODES), change in 0..6_u64, moment in moment(),
    ) {
        laws::failing_step(&motor(40, 7), &runs, change, moment)?;
    }

    #[test]
    fn a_power_cut_takes_the_boot_and_keeps_the_way_back(
        finished in wants(), dying in wants(), write in 0..40_u64, moment in moment(), zeros: bool,
    ) {
        use hosttune_core::Tuning;
        use hosttune_core::testing::CrashPoint;
        let machine = machine();
        let was = machine.snapshot();
        let _ = finished.apply(&mut machine.session(&CrashPoint::lives())?)?;
        let crash_point = CrashPoint::dies_at(write, moment);
        let _ = dying.apply(&mut machine.session(&crash_point)?);
        machine.power_cut(zeros);
        let reverted = machine.session(&CrashPoint::lives())?.revert()?;
        prop_assert!(reverted.not_reverted.is_empty(), "{:?}", reverted.not_reverted);
        prop_assert_eq!(machine.snapshot(), was);
        prop_assert!(machine.store().is_empty());
    }
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn die_anywhere(tunings in prop::collection::vec(wants(), 1..4), deaths in deaths()) {
        laws::die_anywhere(&machine(), &tunings, &deaths)?;
    }

    #[test]
    fn die_then_recover(finished in wants(), dying in wants(), deaths in deaths()) {
        laws::die_then_recover(&machine(), &finished, &dying, &deaths)?;
    }

    #[test]
    fn a_motor_is_as_it_was_wherever_one_dies(
        tunings in prop::collection::vec(runs(&MODES), 1..4),
        deaths in deaths(),
        ceiling in prop::sample::select(vec![40, 100_u8]),
        speed in prop::sample::select(vec![7, 100_u8]),
    ) {
        laws::die_anywhere(&motor(ceiling, speed), &tunings, &deaths)?;
    }

    #[test]
    fn a_motor_is_as_the_last_finished_apply_left_it(
        // Without `bare`: after a mode without settings, one apply makes more requests applicable for
        // the next.
        finished in runs(&MODES[..2]), dying in runs(&MODES[..2]), deaths in deaths(),
    ) {
        laws::die_then_recover(&motor(40, 7), &finished, &dying, &deaths)?;
    }
}

/// Mostly operations that change something.
pub(crate) fn verb() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4])
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn what_is_said_is_what_the_host_shows(
        applied in prop::collection::vec(wants(), 0..3),
        (verb, tuning) in (verb(), wants()),
        (call, kind) in (0..120_u64, 0..Failure::KINDS),
    ) {
        let failure = Failure::of_kind(call, kind);
        laws::told_as_it_is(&machine(), &applied, &Verb::of_kind(verb, tuning), failure)?;
    }

    #[test]
    fn what_is_said_of_a_motor_is_what_it_shows(
        applied in prop::collection::vec(runs(&MODES[..2]), 0..3),
        (verb, tuning) in (verb(), runs(&MODES[..2])),
        (call, kind) in (0..60_u64, 0..Failure::KINDS),
    ) {
        let failure = Failure::of_kind(call, kind);
        laws::told_as_it_is(&motor(40, 7), &applied, &Verb::of_kind(verb, tuning), failure)?;
    }
}
