//! From requested to effective.

use std::collections::BTreeMap;

use hosttune_pipewire::{Clock, Forced, Frames, Period, SampleRate, Version};
use proptest::prelude::*;

const BOOKWORM: Version = Version::new(0, 3, 65);
const TRIXIE: Version = Version::new(1, 4, 2);
const BEFORE_FLOOR: Version = Version::new(1, 0, 3);

fn clock(version: Version, properties: &[(&str, &str)]) -> Clock {
    let properties: BTreeMap<&str, &str> = properties.iter().copied().collect();
    Clock::loaded(version, |key| properties.get(key).copied())
}

fn forced(quantum: u32) -> Forced {
    Forced {
        quantum: Some(Frames(quantum)),
        rate: None,
    }
}

fn asks(quantum: u32, rate: u32) -> Option<Period> {
    Some(Period {
        quantum: Frames(quantum),
        rate: SampleRate(rate),
    })
}

/// The quantum that a graph at this rate runs with.
fn runs(version: Version, clock: &Clock, rate: u32, latency: Option<Period>) -> u32 {
    clock
        .running(version, Forced::default(), SampleRate(rate), latency)
        .quantum
        .0
}

/// Measured on 1.4.2 with a null sink and a player that asks for 256 frames: the period in µs is what
/// the profiler showed.
#[test]
fn a_forced_quantum_runs_as_it_was_measured_on_1_4_2() {
    let clock = clock(TRIXIE, &[]);
    let rate = SampleRate(48000);
    for (force, quantum, microseconds) in [
        (None, 256, 5333),
        (Some(64), 64, 1333),
        (Some(32), 32, 666),
        (Some(100), 100, 2083),
        (Some(99999), 8192, 170_666),
    ] {
        let force = force.map_or_else(Forced::default, forced);
        let period = clock.running(TRIXIE, force, rate, asks(256, 48000));
        assert_eq!(period.quantum, Frames(quantum), "{force:?}");
        assert_eq!(period.duration().as_micros(), microseconds, "{force:?}");
    }
    let raised = Clock {
        min_quantum: Frames(1024),
        ..clock
    };
    assert_eq!(runs(TRIXIE, &raised, 48000, asks(256, 48000)), 1024);
}

/// Measured on 0.3.65, where a player asked for 128.
#[test]
fn a_forced_quantum_runs_as_it_was_measured_on_0_3_65() {
    let clock = clock(BOOKWORM, &[("default.clock.min-quantum", "16")]);
    for (force, quantum) in [(64, 64), (32, 32), (99999, 8192), (100, 64)] {
        let period = clock.running(BOOKWORM, forced(force), SampleRate(48000), asks(128, 48000));
        assert_eq!(period.quantum, Frames(quantum), "{force}");
    }
    assert_eq!(runs(BOOKWORM, &clock, 48000, asks(128, 48000)), 128);
}

#[test]
fn the_rate_of_a_graph_scales_the_quantum() {
    for version in [BOOKWORM, BEFORE_FLOOR, TRIXIE] {
        let clock = clock(
            version,
            &[
                ("default.clock.quantum", "64"),
                ("default.clock.min-quantum", "64"),
                ("default.clock.max-quantum", "64"),
            ],
        );
        // 58 frames, rounded down.
        assert_eq!(runs(version, &clock, 44100, None), 32);
        assert_eq!(runs(version, &clock, 48000, None), 64);
        assert_eq!(runs(version, &clock, 96000, None), 128);
        assert_eq!(runs(version, &clock, 192_000, None), 256);
        // Programs get 64, whatever they ask for.
        assert_eq!(runs(version, &clock, 48000, asks(1024, 48000)), 64);
        assert_eq!(runs(version, &clock, 48000, asks(16, 48000)), 64);
        let period = clock.running(version, Forced::default(), SampleRate(48000), None);
        assert_eq!(period.to_string(), "64 frames at 48 kHz: 1.33 ms");
        let period = clock.running(version, Forced::default(), SampleRate(44100), None);
        assert_eq!(period.to_string(), "32 frames at 44.1 kHz: 0.73 ms");
    }
}

#[test]
fn a_quantum_that_is_no_power_of_two_is_rounded_down_even_below_the_minimum() {
    let settings = [
        ("default.clock.quantum", "48"),
        ("default.clock.min-quantum", "48"),
    ];
    for version in [BOOKWORM, TRIXIE] {
        assert_eq!(runs(version, &clock(version, &settings), 48000, None), 32);
        let mut exact = settings.to_vec();
        exact.push(("clock.power-of-two-quantum", "false"));
        assert_eq!(runs(version, &clock(version, &exact), 48000, None), 48);
        // What is neither `true` nor `1` is false.
        *exact.last_mut().unwrap() = ("clock.power-of-two-quantum", "yes");
        assert_eq!(runs(version, &clock(version, &exact), 48000, None), 48);
    }
}

#[test]
fn the_maximum_wins_over_a_higher_minimum() {
    // As the rule for virtual machines sets it.
    let clock = clock(
        TRIXIE,
        &[
            ("default.clock.quantum", "64"),
            ("default.clock.max-quantum", "64"),
            ("default.clock.min-quantum", "1024"),
        ],
    );
    assert_eq!(clock.min_quantum, Frames(64));
    assert_eq!(runs(TRIXIE, &clock, 48000, None), 64);
}

#[test]
fn a_text_that_is_no_number_is_read_as_atoi_reads_it() {
    let quantum = |text: &str| {
        let settings = [
            ("default.clock.quantum", text),
            ("default.clock.min-quantum", "1"),
            ("default.clock.max-quantum", "9000"),
        ];
        clock(TRIXIE, &settings).quantum.0
    };
    assert_eq!(quantum("0x40"), 4);
    assert_eq!(quantum("512.7"), 512);
    // All bits set, clamped.
    assert_eq!(quantum("-1"), 8192);
    assert_eq!(quantum("64;"), 64);
    assert_eq!(quantum(" +64"), 64);
    assert_eq!(quantum(""), 4);
    assert_eq!(quantum("abc"), 4);
    // 2³² + 64 is cut to 32 bits.
    assert_eq!(quantum("4294967360"), 64);
    // What does not fit into 64 bits is the largest that does, which is cut to -1.
    assert_eq!(quantum("99999999999999999999"), 8192);
}

#[test]
fn limits_are_clamped_in_their_order() {
    let wild = [
        ("default.clock.quantum-limit", "999999"),
        ("default.clock.quantum-floor", "0"),
        ("default.clock.max-quantum", "70000"),
        ("default.clock.min-quantum", "0"),
        ("default.clock.quantum", "0"),
    ];
    let new = clock(TRIXIE, &wild);
    assert_eq!((new.limit, new.floor), (Frames(65536), Frames(1)));
    assert_eq!(
        (new.max_quantum, new.min_quantum),
        (Frames(65536), Frames(1))
    );
    // The floor is not configurable before 1.0.4.
    let old = clock(BEFORE_FLOOR, &wild);
    assert_eq!((old.limit, old.floor), (Frames(65536), Frames(4)));
    assert_eq!(old.min_quantum, Frames(4));
    // The floor raises what runs only from then on.
    let low = [
        ("default.clock.quantum-floor", "64"),
        ("default.clock.min-quantum", "16"),
    ];
    assert_eq!(clock(TRIXIE, &low).min_quantum, Frames(64));
    assert_eq!(clock(BEFORE_FLOOR, &low).min_quantum, Frames(16));
}

#[test]
fn a_rate_that_is_not_allowed_replaces_the_list() {
    let rates = |rate: &str, allowed: &str| {
        let settings = [
            ("default.clock.rate", rate),
            ("default.clock.allowed-rates", allowed),
        ];
        let rates = clock(TRIXIE, &settings).allowed_rates;
        rates.into_iter().map(|rate| rate.0).collect::<Vec<u32>>()
    };
    assert_eq!(rates("48000", "[ 44100 48000 ]"), [44100, 48000]);
    assert_eq!(rates("48000", "[ 44100, 0xbb80, x ]"), [44100, 48000]);
    assert_eq!(rates("48000", "44100 48000"), [44100, 48000]);
    assert_eq!(rates("48000", "[ 44100 96000 ]"), [48000]);
    assert_eq!(rates("96000", "[ 44100 48000 ]"), [96000]);
    assert_eq!(rates("48000", "{ 48000 = 44100 }"), [48000]);
    let many: Vec<String> = (0..40).map(|number| (48000 + number).to_string()).collect();
    assert_eq!(rates("48000", &format!("[ {} ]", many.join(" "))).len(), 32);
}

#[test]
fn a_forced_rate_changes_the_graph_but_scales_no_forced_quantum() {
    let clock = clock(TRIXIE, &[]);
    let both = Forced {
        quantum: Some(Frames(100)),
        rate: Some(SampleRate(96000)),
    };
    let period = clock.running(TRIXIE, both, SampleRate(48000), None);
    assert_eq!(period.to_string(), "100 frames at 96 kHz: 1.04 ms");
}

#[test]
fn versions_are_read_and_ordered() {
    let shipped = b"# Daemon config file for PipeWire version \"0.3.65\" #\n#\n";
    assert_eq!(Version::of_config_file(shipped), Some(BOOKWORM));
    assert_eq!(Version::of_config_file(b"context.properties = { }"), None);
    assert!(Version::new(1, 0, 10) > Version::new(1, 0, 9));
    for wrong in [
        "",
        "1",
        "1.4",
        "1.4.2.1",
        "1.4.x",
        "+1.4.2",
        "1..2",
        "99999999999.1.1",
    ] {
        assert!(wrong.parse::<Version>().is_err(), "{wrong}");
    }
    let json = serde_json::to_string(&TRIXIE).unwrap();
    assert_eq!(json, "\"1.4.2\"");
    assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), TRIXIE);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0..10_000_i32).prop_map(|number| number.to_string()),
        "[-+0-9a-fx. ]{0,6}",
    ]
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn whatever_is_configured_the_limits_hold(
        texts in prop::collection::vec(text(), 6),
        micro in 0..90_u32,
        rate in 1..800_000_u32,
        force in prop::option::of(any::<u32>()),
        latency in prop::option::of((any::<u32>(), any::<u32>())),
    ) {
        let version = [Version::new(0, 3, micro), Version::new(1, 0, micro), Version::new(1, 3, micro)]
            [micro as usize % 3];
        let keys = ["quantum-limit", "quantum-floor", "max-quantum", "min-quantum", "quantum", "rate"];
        let keys = keys.map(|key| format!("default.clock.{key}"));
        let clock = Clock::loaded(version, |key| {
            let index = keys.iter().position(|known| known == key)?;
            Some(texts[index].as_str())
        });
        prop_assert!(clock.floor <= clock.min_quantum);
        prop_assert!(clock.min_quantum <= clock.quantum && clock.quantum <= clock.max_quantum);
        prop_assert!(clock.max_quantum <= clock.limit);
        prop_assert!((1..=65536).contains(&clock.limit.0));
        prop_assert!(clock.allowed_rates.contains(&clock.rate));
        let latency = latency.and_then(|(quantum, rate)| asks(quantum, rate));
        let forced = Forced { quantum: force.map(Frames), rate: None };
        let period = clock.running(version, forced, SampleRate(rate), latency);
        prop_assert!(period.quantum <= clock.limit);
        if force.is_none() && clock.power_of_two {
            prop_assert!(period.quantum.0 == 0 || period.quantum.0.is_power_of_two());
        }
    }
}
