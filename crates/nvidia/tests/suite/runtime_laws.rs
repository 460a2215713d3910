//! The laws of the engine for run-time settings, over the fake of NVML.

use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{Failure, Moment};
use hosttune_nvidia::runtime::testing::MemoryLibrary;
use hosttune_nvidia::runtime::{ClockRange, GpuClock, GpuSelection, GpuSettings, PowerMizerMode};
use proptest::prelude::*;

use crate::runtime::{Desk, FIRST};

fn world() -> impl Strategy<Value = Desk> {
    let status = prop_oneof![4 => Just("active"), 1 => Just("suspended")];
    let branch = prop_oneof![Just(550u16), Just(570), Just(595)];
    (branch, any::<[bool; 2]>(), status)
        .prop_map(|(branch, persistence, status)| Desk::with(branch, persistence, status))
}

fn settings() -> impl Strategy<Value = GpuSettings> {
    let gpus = prop_oneof![
        Just(GpuSelection::All),
        Just(GpuSelection::Index(0)),
        Just(GpuSelection::Index(1)),
        Just(GpuSelection::Index(2)),
    ];
    let clock = || prop_oneof![Just(GpuClock::Graphics), Just(GpuClock::Memory)];
    let range =
        (300u32..900, 900u32..2000).prop_map(|(lowest, highest)| ClockRange { lowest, highest });
    // One value outside of what the fake takes is among them.
    let offset = (
        clock(),
        prop_oneof![Just(0u8), Just(2), Just(5)],
        -1100..1100i32,
    );
    let mode = prop_oneof![
        Just(PowerMizerMode::Adaptive),
        Just(PowerMizerMode::MaximumPerformance),
        Just(PowerMizerMode::Auto),
        Just(PowerMizerMode::ConsistentPerformance),
    ];
    (
        gpus,
        prop::bool::weighted(0.7),
        prop::option::of(100_000u32..450_000),
        prop::option::of((clock(), range)),
        prop::option::of(offset),
        prop::option::of(mode),
    )
        .prop_map(|(gpus, persistence, power, lock, offset, mode)| {
            let mut settings = GpuSettings::new(gpus).why("a test");
            settings.persistence_mode = persistence;
            settings.power_limit = power;
            settings.locked_clocks = lock.into_iter().collect();
            settings.clock_offsets = offset.into_iter().collect();
            settings.power_mizer_mode = mode;
            settings
        })
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let moment = prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ];
    prop::collection::vec((0u64..40, moment), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn run_time_settings_are_applied_verified_and_reverted(
        world in world(), first in settings(), second in settings(),
    ) {
        laws::apply_then_verify(&world, &first)?;
        laws::apply_then_plan(&world, &first)?;
        laws::plan_writes_nothing(&world, &first)?;
        laws::apply_then_revert(&world, &[&first, &second])?;
    }

    #[test]
    fn run_time_settings_are_reverted_after_a_kill_anywhere(
        world in world(), first in settings(), second in settings(), deaths in deaths(),
    ) {
        laws::die_anywhere(&world, &[&first, &second], &deaths)?;
        laws::die_then_recover(&world, &first, &second, &deaths)?;
    }

    #[test]
    fn what_is_said_of_run_time_settings_is_what_the_driver_has(
        world in world(), first in settings(), second in settings(),
        verb in 0..Verb::<()>::KINDS, (call, kind) in (0..90_u64, 0..Failure::KINDS),
    ) {
        let failure = Failure::of_kind(call, kind);
        laws::told_as_it_is(&world, &[first], &Verb::of_kind(verb, second), failure)?;
    }

    #[test]
    fn a_limit_of_another_program_survives(wanted in settings()) {
        // Where persistence mode was off, the driver forgets their limit with or without us.
        let world = Desk::with(595, [true; 2], "active");
        laws::stranger_survives(&world, &wanted, |world| {
            MemoryLibrary::becomes(&world.memory, FIRST, "power", "199000");
        })?;
    }
}
