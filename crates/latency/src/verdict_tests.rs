//! Which measurements get a grade, and why the others do not.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    Configured, FEWEST_SAMPLES, Grade, Grades, Increase, Measurement, Phase, PhaseResult, Probe,
    RoundTripStatistics, Ungraded, Verdict, advice, chart, judge,
};
use crate::{Advice, Direction};

const RATE: u64 = 10_000_000;

fn said() -> Configured {
    Configured {
        download_bits_per_second: Some(RATE),
        upload_bits_per_second: Some(RATE),
    }
}

/// A phase in which every probe took the same time and the link was full.
fn phase(phase: Phase, milliseconds: u64) -> PhaseResult {
    let loads = |direction| phase.loads().contains(&direction).then_some(RATE);
    PhaseResult {
        phase,
        begin_milliseconds: 0.0,
        end_milliseconds: 10_000.0,
        samples: 500,
        lost: 0,
        round_trip: RoundTripStatistics::of(&[Duration::from_millis(milliseconds)]),
        download_bits_per_second: loads(Direction::Download),
        upload_bits_per_second: loads(Direction::Upload),
        increase: None,
        verdict: None,
    }
}

fn reason(idle: &PhaseResult, loaded: &PhaseResult) -> Ungraded {
    match judge(idle, loaded, said(), None) {
        Verdict::Ungraded(reason) => reason,
        graded @ Verdict::Graded(_) => panic!("{graded:?}"),
    }
}

#[test]
fn a_full_line_is_graded_by_what_it_adds() {
    let idle = phase(Phase::Idle, 20);
    for (milliseconds, grade) in [
        (12, Grade::APlus),
        (24, Grade::APlus),
        (49, Grade::A),
        (420, Grade::F),
    ] {
        assert_eq!(
            judge(&idle, &phase(Phase::Upload, milliseconds), said(), None),
            Verdict::Graded(Grades {
                mean: grade,
                p95: grade
            })
        );
    }
}

#[test]
fn every_gate_closes_just_beyond_its_limit() {
    let (idle, loaded) = (phase(Phase::Idle, 20), phase(Phase::Download, 30));
    let lossy = |phase: &PhaseResult, lost| PhaseResult {
        samples: 1000 - lost,
        lost,
        ..phase.clone()
    };
    let graded = |idle: &PhaseResult, loaded: &PhaseResult| {
        matches!(judge(idle, loaded, said(), None), Verdict::Graded(_))
    };
    assert!(graded(&lossy(&idle, 100), &lossy(&loaded, 100)));
    assert_eq!(
        reason(&lossy(&idle, 101), &loaded),
        Ungraded::IdleLoss { lost_percent: 10.1 }
    );
    assert_eq!(
        reason(&idle, &lossy(&loaded, 101)),
        Ungraded::Loss { lost_percent: 10.1 }
    );

    let few = |phase: &PhaseResult, samples| PhaseResult {
        samples,
        ..phase.clone()
    };
    assert!(graded(
        &few(&idle, FEWEST_SAMPLES),
        &few(&loaded, FEWEST_SAMPLES)
    ));
    for (idle, loaded, which) in [
        (few(&idle, 99), loaded.clone(), Phase::Idle),
        (idle.clone(), few(&loaded, 99), Phase::Download),
    ] {
        let missing = Ungraded::TooFewSamples {
            phase: which,
            samples: 99,
            needed: FEWEST_SAMPLES,
        };
        assert_eq!(reason(&idle, &loaded), missing);
    }

    let carries = |download_bits_per_second| PhaseResult {
        download_bits_per_second,
        ..loaded.clone()
    };
    assert!(graded(&idle, &carries(Some(RATE / 10 * 7))));
    assert_eq!(
        reason(&idle, &carries(Some(RATE / 10 * 7 - 1))),
        Ungraded::LoadTooLow {
            direction: Direction::Download,
            reached_bits_per_second: 6_999_999,
            configured_bits_per_second: RATE,
            needed_percent: 70.0
        }
    );
    assert_eq!(
        reason(&idle, &carries(None)),
        Ungraded::LoadUnknown {
            direction: Direction::Download
        }
    );
    assert_eq!(
        judge(&idle, &loaded, Configured::default(), None),
        Verdict::Ungraded(Ungraded::NoRate {
            direction: Direction::Download
        })
    );
    assert_eq!(
        judge(&idle, &loaded, said(), Some(Duration::from_secs(10))),
        Verdict::Ungraded(Ungraded::NotDrained {
            waited_milliseconds: 10_000.0
        })
    );
}

#[test]
fn both_ways_at_once_one_may_be_slower_but_not_idle() {
    let idle = phase(Phase::Idle, 20);
    let both = |down, up| PhaseResult {
        download_bits_per_second: Some(RATE / 100 * down),
        upload_bits_per_second: Some(RATE / 100 * up),
        ..phase(Phase::Both, 30)
    };
    for (down, up) in [(70, 25), (25, 70), (90, 90)] {
        let verdict = judge(&idle, &both(down, up), said(), None);
        assert!(matches!(verdict, Verdict::Graded(_)), "{verdict:?}");
    }
    for (down, up, slow, needed) in [
        (69, 69, Direction::Download, 70.0),
        (24, 95, Direction::Download, 25.0),
        (95, 0, Direction::Upload, 25.0),
    ] {
        let reason = reason(&idle, &both(down, up));
        assert!(
            matches!(&reason, Ungraded::LoadTooLow { direction, needed_percent, .. } if *direction == slow && *needed_percent == needed),
            "{reason:?}"
        );
    }
}

/// The path that once got an A+: nothing arrives, and therefore nothing is slow.
#[test]
fn a_dead_path_gets_no_grade() {
    let dead = |which| PhaseResult {
        samples: 0,
        lost: 500,
        round_trip: None,
        download_bits_per_second: Some(0),
        ..phase(which, 0)
    };
    assert!(matches!(
        reason(&dead(Phase::Idle), &dead(Phase::Download)),
        Ungraded::IdleLoss { .. }
    ));
    let idle = phase(Phase::Idle, 20);
    assert!(matches!(
        reason(&idle, &dead(Phase::Download)),
        Ungraded::Loss { .. }
    ));
    let nothing = PhaseResult {
        lost: 0,
        ..dead(Phase::Download)
    };
    assert!(
        matches!(reason(&idle, &nothing), Ungraded::Loss { .. }),
        "none was even sent"
    );
}

fn measurement(phases: Vec<PhaseResult>) -> Measurement {
    Measurement {
        server: "server.example:8585".into(),
        begun_unix_seconds: 1,
        flows: 4,
        probe_interval_milliseconds: 20.0,
        configured: said(),
        phases,
        series: Vec::new(),
    }
}

#[test]
fn advice_is_given_where_a_grade_asks_for_it() {
    let graded = |which, p95| PhaseResult {
        verdict: Some(Verdict::Graded(Grades {
            mean: Grade::A,
            p95,
        })),
        ..phase(which, 30)
    };
    let poor = measurement(vec![
        phase(Phase::Idle, 20),
        graded(Phase::Download, Grade::B),
        graded(Phase::Upload, Grade::F),
    ]);
    assert_eq!(
        advice(&poor),
        [
            Advice::ShapeEgress {
                bits_per_second: 9_500_000
            },
            Advice::ShapeIngress {
                least_bits_per_second: 8_500_000,
                most_bits_per_second: 9_000_000
            },
        ]
    );
    let good = measurement(vec![
        graded(Phase::Download, Grade::A),
        graded(Phase::Upload, Grade::APlus),
    ]);
    assert_eq!(advice(&good), []);
    assert_eq!(advice(&measurement(vec![phase(Phase::Download, 900)])), []);
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -10.0..20_000.0_f64,
        Just(0.0),
        Just(f64::MAX),
        Just(f64::MIN),
        Just(f64::MIN_POSITIVE),
        any::<f64>().prop_filter("no file holds others", |number| number.is_finite()),
    ]
}

prop_compose! {
    fn any_phase()(
        which in proptest::sample::select(Phase::ALL.to_vec()),
        numbers in proptest::array::uniform8(any_number()),
        samples: u64,
        lost: u64,
        has in 0..4_u8,
    ) -> PhaseResult {
        PhaseResult {
            phase: which,
            begin_milliseconds: numbers[0],
            end_milliseconds: numbers[1],
            samples,
            lost,
            round_trip: (has > 0).then_some(RoundTripStatistics {
                minimum_milliseconds: numbers[2],
                mean_milliseconds: numbers[3],
                median_milliseconds: numbers[4],
                p95_milliseconds: numbers[5],
                p99_milliseconds: numbers[6],
                maximum_milliseconds: numbers[7],
            }),
            download_bits_per_second: Some(samples),
            upload_bits_per_second: Some(lost),
            increase: (has > 1).then_some(Increase {
                mean_milliseconds: numbers[3],
                p95_milliseconds: numbers[5],
            }),
            verdict: (has > 2).then_some(Verdict::Ungraded(Ungraded::Loss { lost_percent: 99.0 })),
        }
    }
}

prop_compose! {
    fn any_measurement()(
        server in ".{0,20}",
        phases in proptest::collection::vec(any_phase(), 0..6),
        series in proptest::collection::vec((any_number(), proptest::option::of(any_number())), 0..20),
    ) -> Measurement {
        Measurement {
            server,
            series: series
                .into_iter()
                .map(|(sent_milliseconds, round_trip_milliseconds)| Probe { sent_milliseconds, round_trip_milliseconds })
                .collect(),
            ..measurement(phases)
        }
    }
}

proptest! {
    /// A file may hold anything.
    #[test]
    fn any_measurement_is_judged_drawn_and_read_back(before in any_measurement(), after in any_measurement()) {
        for before in [None, Some(&before)] {
            let drawn = chart(before, &after);
            prop_assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{}", drawn);
            let document = roxmltree::Document::parse(&drawn);
            prop_assert!(document.is_ok(), "{:?}: {}", document, drawn);
            for node in document.iter().flat_map(roxmltree::Document::descendants) {
                prop_assert!(node.tag_name().name() != "script");
                prop_assert!(node.attributes().all(|attribute| !attribute.name().contains("href")));
            }
        }
        // Not compared to the last bit, in which JSON's reader is not exact. Measured values are
        // whole microseconds and are read back unchanged.
        let read: Measurement = serde_json::from_str(&serde_json::to_string(&after)?)?;
        prop_assert_eq!(&read.server, &after.server);
        prop_assert_eq!((read.phases.len(), read.series.len()), (after.phases.len(), after.series.len()));
        let _ = advice(&after);
        let _ = super::Comparison::between(&before, &after);
        for idle in &before.phases {
            for loaded in &after.phases {
                let verdict = judge(idle, loaded, said(), None);
                let few = idle.samples < FEWEST_SAMPLES || loaded.samples < FEWEST_SAMPLES;
                prop_assert!(!(few && matches!(verdict, Verdict::Graded(_))));
            }
        }
    }
}
