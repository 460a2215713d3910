//! The laws of the engine.

use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{Failure, Moment, World};
use hosttune_cpu::testing::Scaling;
use hosttune_cpu::{EnergyPreference, Frequency, Governor, Mode, Processors};
use proptest::option;
use proptest::prelude::*;

use super::machine::{Machine, cases};

/// Values that an administrator may have set, so that the policies differ.
const BEFORE: [&[(&str, &str)]; 4] = [
    &[],
    &[
        ("cpufreq/policy0/scaling_max_freq", "3000000"),
        ("cpufreq/policy1/scaling_min_freq", "2000000"),
    ],
    &[("cpufreq/policy1/scaling_governor", "performance")],
    &[
        ("cpufreq/policy0/scaling_governor", "performance"),
        ("cpufreq/policy1/scaling_governor", "powersave"),
        ("cpufreq/policy2/scaling_max_freq", "2000000"),
        ("cpufreq/policy2/scaling_min_freq", "2000000"),
    ],
];

fn scaling() -> impl Strategy<Value = Scaling> {
    proptest::sample::select(&Scaling::ALL[..])
}

fn machine() -> impl Strategy<Value = (Scaling, Machine)> {
    (scaling(), 0..BEFORE.len(), any::<bool>()).prop_map(|(scaling, before, tuned)| {
        let machine = Machine::new(scaling, 3).having(BEFORE[before]);
        let shared = "/sys/devices/system/cpu/cpufreq/schedutil/rate_limit_us";
        if tuned && machine.memory.get(shared).is_some() {
            machine.memory.write(shared, "777").unwrap();
        }
        (scaling, machine)
    })
}

fn own_governors(scaling: Scaling) -> bool {
    matches!(scaling, Scaling::IntelActive | Scaling::AmdActive)
}

fn governor(scaling: Scaling) -> BoxedStrategy<Governor> {
    if own_governors(scaling) {
        return prop_oneof![Just(Governor::Performance), Just(Governor::Powersave)].boxed();
    }
    prop_oneof![
        Just(Governor::Performance),
        Just(Governor::Powersave),
        Just(Governor::Userspace),
        Just(Governor::Ondemand),
        Just(Governor::Conservative),
        Just(Governor::Schedutil),
    ]
    .boxed()
}

fn preference() -> impl Strategy<Value = EnergyPreference> {
    prop_oneof![
        Just(EnergyPreference::Performance),
        Just(EnergyPreference::BalancePerformance),
        Just(EnergyPreference::BalancePower),
        Just(EnergyPreference::Power),
        any::<u8>().prop_map(EnergyPreference::Raw),
    ]
}

/// Limits that never conflict with the original ones, because both are set.
fn limits() -> impl Strategy<Value = (Frequency, Frequency)> {
    prop_oneof![
        Just((Frequency::Lowest, Frequency::Highest)),
        Just((Frequency::Highest, Frequency::Highest)),
        // Each range contains a frequency of the table.
        (700u32..=2000, 2000u32..6000)
            .prop_map(|(low, high)| (Frequency::megahertz(low), Frequency::megahertz(high))),
        (2001u32..=3000, 3000u32..6000)
            .prop_map(|(low, high)| (Frequency::megahertz(low), Frequency::megahertz(high))),
    ]
}

prop_compose! {
    fn tuning(scaling: Scaling)(
        policies in option::of(proptest::sample::subsequence(vec![0, 1, 2], 1..=3)),
        governor in option::of(governor(scaling)),
        preference in option::of(preference()),
        limits in option::of(limits()),
        boost in option::of(any::<bool>()),
    ) -> Processors {
        let mut wanted = Processors::new();
        if let Some(policies) = policies {
            wanted = wanted.policies(policies);
        }
        if let Some(governor) = &governor {
            wanted = wanted.governor(governor.clone());
        }
        if let Some(preference) = preference
            && governor != Some(Governor::Performance)
        {
            wanted = wanted.energy_preference(preference);
        }
        // Boost changes the highest frequency, to which limits are rounded, so only one of the two is
        // requested.
        match (limits, boost) {
            (Some((minimum, maximum)), None) => wanted = wanted.minimum(minimum).maximum(maximum),
            (_, Some(boost)) => wanted = wanted.boost(boost),
            (None, None) => {}
        }
        wanted
    }
}

fn world() -> impl Strategy<Value = (Machine, Vec<Processors>)> {
    machine().prop_flat_map(|(scaling, machine)| {
        (
            Just(machine),
            proptest::collection::vec(tuning(scaling), 1..4),
        )
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
    #![proptest_config(cases(300))]

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
    fn dying_and_recovering((world, wanted) in world(), deaths in deaths()) {
        let last = wanted.last().unwrap();
        laws::die_then_recover(&world, &wanted[0], last, &deaths)?;
    }

    #[test]
    fn a_step_that_fails((world, wanted) in world(), change in 0u64..12, after in any::<bool>()) {
        let moment = if after { Moment::After } else { Moment::Before };
        laws::failing_step(&world, &wanted[0], change, moment)?;
    }

    #[test]
    fn a_mode_and_what_is_in_it(active in any::<bool>(), intel in any::<bool>(), deaths in deaths()) {
        let (scaling, to, governor) = match (intel, active) {
            (true, true) => (Scaling::IntelActive, Mode::Passive, Governor::Ondemand),
            (true, false) => (Scaling::IntelPassive, Mode::Active, Governor::Performance),
            (false, true) => (Scaling::AmdActive, Mode::Guided, Governor::Schedutil),
            (false, false) => (Scaling::AmdPassive, Mode::Active, Governor::Powersave),
        };
        let world = Machine::new(scaling, 2).having(&[
            ("cpufreq/policy0/scaling_governor", "performance"),
            ("cpufreq/policy1/scaling_max_freq", "3000000"),
        ]);
        let mut wanted = Processors::new().mode(to).governor(governor.clone());
        if to == Mode::Active && governor == Governor::Powersave {
            wanted = wanted.energy_preference(EnergyPreference::Power);
        }
        laws::apply_then_verify(&world, &wanted)?;
        laws::what_is_offered_is_applied(&world, &wanted)?;
        laws::apply_then_plan(&world, &wanted)?;
        laws::apply_then_revert(&world, &[&wanted, &wanted])?;
        laws::die_anywhere(&world, &[wanted], &deaths)?;
    }

    #[test]
    fn a_strangers_change((world, wanted) in world(), policy in 0u32..3) {
        laws::stranger_survives(&world, &wanted[0], |world| {
            let set = |file: &str, value: &str| {
                let path = format!("/sys/devices/system/cpu/cpufreq/policy{policy}/{file}");
                world.memory.write(path, value).unwrap();
            };
            // A maximum below our minimum would lower the minimum as well.
            let minimum = world.get(&format!("cpufreq/policy{policy}/scaling_min_freq"));
            let maximum = world.get(&format!("cpufreq/policy{policy}/scaling_max_freq"));
            if maximum == "2000000" {
                set("scaling_max_freq", "3333333");
            } else if minimum.parse::<u32>().unwrap() <= 2_000_000 {
                set("scaling_max_freq", "2222222");
            } else {
                set("scaling_min_freq", "1800000");
            }
            world.let_time_pass();
        })?;
    }
}

#[test]
fn what_the_kernel_offers_is_applied() {
    for scaling in Scaling::ALL {
        let world = Machine::new(scaling, 3);
        let mut wanted = Processors::new()
            .minimum(Frequency::megahertz(2000))
            .maximum(Frequency::megahertz(3000));
        wanted = wanted.governor(if own_governors(scaling) {
            Governor::Performance
        } else {
            Governor::Conservative
        });
        laws::what_is_offered_is_applied(&world, &wanted).unwrap();
        laws::apply_then_revert(&world, &[wanted]).unwrap();
    }
}

#[test]
fn on_a_machine_without_frequencies_nothing_is_planned() {
    let world = Machine::new(Scaling::Acpi, 0);
    let wanted = Processors::new()
        .governor(Governor::Performance)
        .energy_preference(EnergyPreference::Performance)
        .boost(true)
        .maximum(Frequency::Highest);
    laws::nothing_on_an_empty_host(&world, &wanted).unwrap();
    let session = world
        .session(&hosttune_core::testing::CrashPoint::lives())
        .unwrap();
    let plan = hosttune_core::Tuning::plan(&wanted, &session).unwrap();
    assert_eq!(plan.findings.len(), 2, "{:#?}", plan.findings);
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn what_is_said_is_what_the_host_shows(
        (world, wanted) in world(), verb in 0..Verb::<()>::KINDS,
        (call, kind) in (0..300_u64, 0..Failure::KINDS),
    ) {
        let (tuning, applied) = wanted.split_last().unwrap();
        let failure = Failure::of_kind(call, kind);
        laws::told_as_it_is(&world, applied, &Verb::of_kind(verb, tuning.clone()), failure)?;
    }
}
