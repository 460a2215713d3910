//! The laws of the engine, killed at every write.

use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Act, Death};
use hosttune_core::testing::{Memory, Moment};
use hosttune_pipewire::merge::Environment;
use hosttune_pipewire::{
    ClockDropIn, ClockSettings, Frames, Period, PulseSettings, SampleRate, Version,
};
use proptest::prelude::*;

use super::{FILE, PULSE, host, host_with, machine};
use crate::cases;

fn frames() -> impl Strategy<Value = Frames> {
    (2_u32..12).prop_map(|exponent| Frames(1 << exponent))
}

fn clock() -> impl Strategy<Value = ClockSettings> {
    let rate = prop::sample::select(vec![44100, 48000, 96000]).prop_map(SampleRate);
    (
        prop::option::of(rate),
        prop::option::of(frames()),
        any::<[bool; 4]>(),
    )
        .prop_map(
            |(rate, quantum, [min, max, rates, power_of_two])| ClockSettings {
                rate,
                allowed_rates: rates
                    .then(|| vec![SampleRate(44100), SampleRate(48000), SampleRate(96000)]),
                quantum,
                min_quantum: quantum.filter(|_| min),
                max_quantum: quantum.filter(|_| max),
                quantum_limit: None,
                quantum_floor: None,
                power_of_two: power_of_two.then_some(true),
            },
        )
}

fn pulse() -> impl Strategy<Value = PulseSettings> {
    prop::option::of(frames()).prop_map(|quantum| match quantum {
        Some(quantum) => PulseSettings {
            min_frag: None,
            ..PulseSettings::fixed(SampleRate(48000), quantum)
        },
        None => PulseSettings::default(),
    })
}

fn tuning() -> impl Strategy<Value = ClockDropIn> {
    (clock(), pulse(), any::<bool>()).prop_map(|(clock, pulse, is_user)| {
        let uid = FileContent::new("").uid;
        let tuning = if is_user {
            ClockDropIn::user("gaming", Environment::of_home("/root"), uid, 0)
        } else {
            ClockDropIn::system("gaming")
        };
        tuning.clock(clock).pulse(pulse).why("the laws")
    })
}

/// Hosts before anything is applied: other files, our own from an earlier run, and directories that
/// exist or not.
fn start() -> impl Strategy<Value = Memory> {
    let files = prop::sample::subsequence(
        vec![
            (FILE, "# Written by hosttune for 'gaming'.\n{ }\n", 0o644),
            (PULSE, "of an administrator", 0o600),
            (
                "/etc/pipewire/pipewire.conf.d/50-other.conf",
                "context.properties = { default.clock.quantum = 512 }\n",
                0o644,
            ),
            (
                "/root/.config/pipewire/pipewire.conf.d/faulty.conf",
                "context.properties = { ; ]",
                0o644,
            ),
        ],
        0..=4,
    );
    (
        files,
        prop::sample::select(vec!["0.3.65", "1.0.7", "1.4.2", "1.6.8"]),
    )
        .prop_map(|(files, version)| {
            let mut memory = host_with(version);
            for (path, text, mode) in files {
                let mut directory = String::new();
                let parents = path.rsplit_once('/').map_or("", |(parents, _)| parents);
                for name in parents.split('/').skip(1) {
                    directory = format!("{directory}/{name}");
                    memory = memory.directory(&directory);
                }
                let content = FileContent {
                    mode,
                    ..FileContent::new(text)
                };
                memory = memory.content(path, content);
            }
            memory
        })
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let moment = prop::sample::select(vec![Moment::Before, Moment::Within, Moment::After]);
    prop::collection::vec((0..30_u64, moment), 0..5)
}

fn system(quantum: u32) -> ClockDropIn {
    ClockDropIn::system("gaming")
        .clock(ClockSettings::fixed(SampleRate(48000), Frames(quantum)))
        .pulse(PulseSettings {
            min_req: Some(Period {
                quantum: Frames(quantum),
                rate: SampleRate(48000),
            }),
            ..PulseSettings::default()
        })
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_tuning_is_applied_verified_and_reverted(
        memory in start(),
        tunings in prop::collection::vec(tuning(), 1..4),
    ) {
        let machine = machine(memory);
        laws::apply_then_plan(&machine, &tunings[0])?;
        laws::apply_then_revert(&machine, &tunings)?;
        laws::plan_writes_nothing(&machine, &tunings[0])?;
    }

    #[test]
    fn a_tuning_that_is_killed_anywhere_is_reverted(
        memory in start(),
        tunings in prop::collection::vec(tuning(), 1..4),
        deaths in deaths(),
    ) {
        laws::die_anywhere(&machine(memory), &tunings, &deaths)?;
    }

    #[test]
    fn a_killed_apply_is_rolled_back_to_the_last_finished_one(
        memory in start(),
        finished in tuning(),
        dying in tuning(),
        deaths in deaths(),
    ) {
        laws::die_then_recover(&machine(memory), &finished, &dying, &deaths)?;
    }

    #[test]
    fn a_step_that_fails_leaves_the_files_as_they_were(
        memory in start(),
        tuning in tuning(),
        change in 0..12_u64,
        is_after in any::<bool>(),
    ) {
        let moment = if is_after { Moment::After } else { Moment::Before };
        laws::failing_step(&machine(memory), &tuning, change, moment)?;
    }

    #[test]
    fn owners_share_the_directories(
        acts in prop::collection::vec((0..2_usize, prop::option::of(tuning())), 1..5),
        is_turned in any::<bool>(),
    ) {
        let acts: Vec<Act<ClockDropIn>> = acts
            .into_iter()
            .map(|(owner, applies)| Act { owner, applies, fault: None })
            .collect();
        let last = if is_turned { [1, 0] } else { [0, 1] };
        laws::owners_in_any_order(&machine(host()), &acts, &last)?;
    }
}

#[test]
fn every_write_is_survived() {
    let machine = machine(host());
    for write in 0..60 {
        for moment in [Moment::Before, Moment::Within, Moment::After] {
            for again in 0..6 {
                let deaths = [(write, moment), (again, moment)];
                laws::die_anywhere(&machine, &[system(64), system(128)], &deaths).unwrap();
            }
        }
    }
}

#[test]
fn another_programs_change_of_the_file_survives() {
    // The directories exist: those that we make stay as long as another program's file is in them.
    let memory = [
        "/etc/pipewire",
        "/etc/pipewire/pipewire.conf.d",
        "/etc/pipewire/pipewire-pulse.conf.d",
    ]
    .iter()
    .fold(host(), Memory::directory);
    let machine = machine(memory);
    laws::stranger_survives(&machine, &system(64), |machine| {
        machine.memory().change(|tree| tree.set(FILE, "theirs"));
    })
    .unwrap();
}

#[test]
fn what_the_host_offers_is_applied_and_nothing_on_an_empty_one() {
    let machine = machine(host());
    laws::apply_then_verify(&machine, &system(64)).unwrap();
    laws::what_is_offered_is_applied(&machine, &system(64)).unwrap();
    let empty = super::machine(Memory::new());
    laws::nothing_on_an_empty_host(&empty, &system(64)).unwrap();
    let version = system(64).version(Version::new(1, 4, 2));
    laws::nothing_on_an_empty_host(&empty, &version).unwrap();
}
