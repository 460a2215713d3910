//! Verdicts about paths with known behaviour.

use std::time::Duration;

use hosttune_latency::{
    Comparison, Grade, Measurement, Phase, Responder, Ungraded, Verdict, chart,
};

use crate::relay::{Path, Relay};
use crate::{beside_others, go_on, in_one_of_three, short};

const RATE: u64 = 30_000_000;

fn measured(path: Path, said: Option<u64>) -> Measurement {
    let responder = Responder::bind("127.0.0.1:0").unwrap();
    let relay = Relay::to(responder.address(), path);
    let measurement = short(&relay.address, said).run(&mut go_on).unwrap();
    println!("{path:?}: {:#?}", measurement.phases);
    assert_eq!(measurement.phases.len(), 4);
    measurement
}

/// Why each phase under load has no grade.
fn reasons(measurement: &Measurement) -> Vec<Ungraded> {
    let loaded = measurement.phases.iter().skip(1);
    loaded
        .map(|result| match &result.verdict {
            Some(Verdict::Ungraded(reason)) => reason.clone(),
            other => panic!("{}: {other:?}", result.phase),
        })
        .collect()
}

#[test]
fn a_deep_queue_gets_an_f_and_no_queue_an_a() {
    let _turn = beside_others();
    in_one_of_three(|| {
        let deep = Path {
            queue: Duration::from_millis(450),
            ..Path::of(RATE)
        };
        let before = measured(deep, Some(RATE));
        let after = measured(Path::of(RATE), Some(RATE));
        assert!(before.is_graded() && after.is_graded());
        for result in &before.phases[1..] {
            let Some(Verdict::Graded(grades)) = &result.verdict else {
                panic!("{result:?}")
            };
            assert_eq!((grades.mean, grades.p95), (Grade::F, Grade::F));
            // The delay of the queue and not more. Late answers count with the time that they took.
            let increase = result.increase.unwrap();
            assert!(
                (440.0..800.0).contains(&increase.p95_milliseconds),
                "{result:?}"
            );
        }
        for result in &after.phases[1..] {
            let Some(Verdict::Graded(grades)) = &result.verdict else {
                panic!("{result:?}")
            };
            // This machine may be busy with something else, but that must not look like a queue.
            assert!(grades.mean < Grade::D, "{result:?}");
        }
        for phase in [&before, &after].map(|measurement| measurement.phase(Phase::Both).unwrap()) {
            for arrived in [phase.download_bits_per_second, phase.upload_bits_per_second] {
                let arrived = arrived.unwrap() as f64 / RATE as f64;
                assert!((0.7..1.25).contains(&arrived), "{phase:?}");
            }
        }
        assert_eq!(
            before
                .phase(Phase::Download)
                .unwrap()
                .upload_bits_per_second,
            None
        );
        assert_eq!(
            before
                .phase(Phase::Upload)
                .unwrap()
                .download_bits_per_second,
            None
        );
        let comparison = Comparison::between(&before, &after);
        assert_eq!(comparison.phases.len(), 3);
        for phase in &comparison.phases {
            assert!(phase.mean_times_lower.unwrap() > 3.0, "{phase:?}");
            assert!(phase.p95_times_lower.is_some(), "{phase:?}");
        }
        // The measurement can be stored as JSON.
        let text = serde_json::to_string(&before).unwrap();
        assert_eq!(serde_json::from_str::<Measurement>(&text).unwrap(), before);
        let snapshot = chart(Some(&before), &after);
        assert!(snapshot.contains("F, p95 F"), "{snapshot}");
    });
}

#[test]
fn a_line_that_loses_while_idle_gets_no_grade() {
    let _turn = beside_others();
    in_one_of_three(|| {
        let lossy = Path {
            lost_idle: 50,
            ..Path::of(RATE)
        };
        let measurement = measured(lossy, Some(RATE));
        assert!(!measurement.is_graded());
        for reason in reasons(&measurement) {
            let Ungraded::IdleLoss { lost_percent } = reason else {
                panic!("{reason}")
            };
            assert!((40.0..60.0).contains(&lost_percent), "{lost_percent}");
        }
    });
}

#[test]
fn a_line_that_loses_everything_under_load_gets_no_grade() {
    let _turn = beside_others();
    in_one_of_three(|| {
        let lossy = Path {
            lost_loaded: 100,
            ..Path::of(RATE)
        };
        for reason in reasons(&measured(lossy, Some(RATE))) {
            assert!(
                matches!(reason, Ungraded::Loss { lost_percent } if lost_percent > 60.0),
                "{reason}"
            );
        }
    });
}

#[test]
fn a_line_that_was_not_full_gets_no_grade() {
    let _turn = beside_others();
    in_one_of_three(|| {
        for reason in reasons(&measured(Path::of(RATE), Some(RATE * 10))) {
            let Ungraded::LoadTooLow {
                reached_bits_per_second: reached,
                configured_bits_per_second: configured,
                ..
            } = reason
            else {
                panic!("{reason}")
            };
            assert!(
                reached < configured / 2 && configured == RATE * 10,
                "{reason}"
            );
        }
    });
}

#[test]
fn a_line_of_which_nobody_knows_what_it_carries_gets_no_grade() {
    let _turn = beside_others();
    in_one_of_three(|| {
        let measurement = measured(Path::of(RATE), None);
        for reason in reasons(&measurement) {
            assert!(matches!(reason, Ungraded::NoRate { .. }), "{reason}");
        }
        // It was measured nevertheless.
        assert!(measurement.phases[1].increase.is_some());
        let compared = Comparison::between(&measurement, &measurement);
        assert!(
            compared
                .phases
                .iter()
                .all(|phase| phase.p95_times_lower.is_none())
        );
    });
}

#[test]
fn a_moment_is_not_enough_for_a_grade() {
    let _turn = beside_others();
    in_one_of_three(|| {
        let responder = Responder::bind("127.0.0.1:0").unwrap();
        let relay = Relay::to(responder.address(), Path::of(RATE));
        let brief = short(&relay.address, Some(RATE)).phase(Duration::from_millis(90));
        for reason in reasons(&brief.run(&mut go_on).unwrap()) {
            assert!(
                matches!(
                    reason,
                    Ungraded::TooFewSamples {
                        phase: Phase::Idle,
                        samples: 1..=40,
                        needed: 100
                    }
                ),
                "{reason}"
            );
        }
    });
}

#[test]
fn a_queue_that_does_not_drain_costs_the_next_phase_its_grade() {
    let _turn = beside_others();
    in_one_of_three(|| {
        let lingering = Path {
            queue: Duration::from_millis(350),
            lingers: Duration::from_secs(2),
            ..Path::of(RATE)
        };
        let responder = Responder::bind("127.0.0.1:0").unwrap();
        let relay = Relay::to(responder.address(), lingering);
        let test = short(&relay.address, Some(RATE)).drain(Duration::from_millis(500));
        let measurement = test.run(&mut go_on).unwrap();
        let of = |phase| measurement.phase(phase).unwrap().verdict.clone().unwrap();
        assert!(
            matches!(of(Phase::Download), Verdict::Graded(_)),
            "{measurement:#?}"
        );
        for phase in [Phase::Upload, Phase::Both] {
            let Verdict::Ungraded(Ungraded::NotDrained {
                waited_milliseconds,
            }) = of(phase)
            else {
                panic!("{phase}: {:?}", of(phase))
            };
            assert_eq!(waited_milliseconds, 500.0);
        }
    });
}
