//! The laws of the engine for the weight of a control group, on a fake of the kernel's file.

use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{Behaviour, CrashPoint, Failure, Machine, Memory, Moment, World};
use hosttune_core::{Finding, State, Tuning};
use hosttune_run::weight::{CgroupWeight, CommandWeight, knobs, weight_of_nice};
use proptest::prelude::*;

const GROUPS: [&str; 3] = [
    "/sys/fs/cgroup/app.slice/app-game.scope",
    "/sys/fs/cgroup/app.slice/app-other.scope",
    "/sys/fs/cgroup/without.scope",
];

const ERANGE: i32 = 34;
const EINVAL: i32 = 22;

/// `cpu_weight_write_u64` (`kernel/sched/core.c`): a number from 1 to 10000, and none while `cpu.idle` is on, which
/// the file shows as 0.
fn cpu_weight() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        let number: u64 = value.trim().parse().map_err(|_| EINVAL)?;
        if !(1..=10_000).contains(&number) {
            return Err(ERANGE);
        }
        if tree.get(path).as_deref() == Some("0") {
            return Err(EINVAL);
        }
        tree.set(path, &number.to_string());
        Ok(())
    })
}

/// Two groups with the controller, of these weights, and one without it.
fn machine(weights: [u16; 2]) -> Machine {
    let mut memory = Memory::new().directory(GROUPS[2]);
    for (group, weight) in GROUPS.iter().zip(weights) {
        memory = memory.file(
            format!("{group}/cpu.weight"),
            &weight.to_string(),
            cpu_weight(),
        );
    }
    Machine::new(memory, knobs)
}

fn weight(group: usize, nice: i32) -> CommandWeight {
    CommandWeight {
        group: CgroupWeight {
            directory: GROUPS[group].to_owned(),
        },
        nice,
    }
}

fn world() -> impl Strategy<Value = (Machine, Vec<CommandWeight>)> {
    let weights = prop_oneof![Just(100_u16), 1..=10_000_u16];
    let tunings = proptest::collection::vec((0..GROUPS.len(), -20..20_i32), 1..4);
    ([weights.clone(), weights], tunings).prop_map(|(weights, tunings)| {
        let tunings = tunings.into_iter().map(|(group, nice)| weight(group, nice));
        (machine(weights), tunings.collect())
    })
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let moment = prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ];
    proptest::collection::vec((0u64..24, moment), 1..4)
}

proptest! {
    #[test]
    fn apply_verify_plan_and_revert((world, wanted) in world()) {
        for wanted in &wanted {
            laws::apply_then_verify(&world, wanted)?;
            laws::apply_then_plan(&world, wanted)?;
            laws::plan_writes_nothing(&world, wanted)?;
        }
        laws::apply_then_revert(&world, &wanted)?;
    }

    #[test]
    fn dying_anywhere((world, wanted) in world(), deaths in deaths()) {
        laws::die_anywhere(&world, &wanted, &deaths)?;
    }

    #[test]
    fn a_strangers_change(weights in [1..=10_000_u16, 1..=10_000_u16], nice in -20..20_i32) {
        let world = machine(weights);
        let file = format!("{}/cpu.weight", GROUPS[0]);
        let other = if weight_of_nice(nice) == 777 { 778 } else { 777 };
        laws::stranger_survives(&world, &weight(0, nice), |world| {
            world.memory().write(&file, &other.to_string()).unwrap();
        })?;
    }

    #[test]
    fn what_is_said_is_what_the_host_shows(
        (world, wanted) in world(), verb in 0..Verb::<()>::KINDS,
        (call, kind) in (0..60_u64, 0..Failure::KINDS),
    ) {
        let (tuning, applied) = wanted.split_last().unwrap();
        let failure = Failure::of_kind(call, kind);
        laws::told_as_it_is(&world, applied, &Verb::of_kind(verb, tuning.clone()), failure)?;
    }
}

#[test]
fn a_group_without_a_weight_is_said_to_have_none() {
    let says = |machine: &Machine, group: usize| -> String {
        let session = machine.session(&CrashPoint::lives()).unwrap();
        let plan = weight(group, -10).plan(&session).unwrap();
        assert!(plan.steps.is_empty());
        match plan.findings.as_slice() {
            [
                Finding {
                    state: State::NotApplicable { unsupported },
                    ..
                },
            ] => unsupported.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(says(&machine([100, 100]), 2).contains("the cpu controller is not on"));
    assert!(says(&machine([0, 100]), 0).contains("cpu.idle is on"));
}

/// The runs of a command ended, and systemd has removed its group: nothing is left to revert.
#[test]
fn a_group_that_was_removed_leaves_nothing_to_revert() {
    let machine = machine([100, 100]);
    let session = || machine.session(&CrashPoint::lives()).unwrap();
    let applied = weight(0, -10).apply(&mut session()).unwrap();
    assert_eq!(applied.changed.len(), 1);
    machine.memory().change(|tree| {
        tree.remove(format!("{}/cpu.weight", GROUPS[0]));
        tree.remove(GROUPS[0]);
    });
    let reverted = session().revert().unwrap();
    assert!(session().status().unwrap().pending.is_empty(), "{reverted}");
}
