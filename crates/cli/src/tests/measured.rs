//! `measure` without a network: wrong command lines, and every verdict as text and as a document.

use hosttune_latency::{
    Comparison, Configured, Grade, Grades, Increase, Measurement, Phase, PhaseResult, Probe,
    RoundTripStatistics, Ungraded, Verdict,
};
use hosttune_latency::{Direction, advice, chart};
use serde_json::json;

use super::super::colour::Look;
use super::super::measure::MeasureDocument;
use super::super::text;
use super::schema::{assert_notices_every_change, assert_valid};
use super::{greeter, image};
use crate::exit::Exit;

fn took(milliseconds: f64) -> Option<RoundTripStatistics> {
    Some(RoundTripStatistics {
        minimum_milliseconds: 20.0,
        mean_milliseconds: milliseconds - 1.5,
        median_milliseconds: milliseconds - 1.0,
        p95_milliseconds: milliseconds,
        p99_milliseconds: milliseconds + 1.0,
        maximum_milliseconds: milliseconds + 2.0,
    })
}

fn result(phase: Phase, added: f64, verdict: Option<Verdict>) -> PhaseResult {
    let number = Phase::ALL.iter().position(|known| *known == phase).unwrap() as f64;
    let loads = |direction, rate| phase.loads().contains(&direction).then_some(rate);
    PhaseResult {
        phase,
        begin_milliseconds: number * 13_000.0,
        end_milliseconds: number * 13_000.0 + 10_000.0,
        samples: 498,
        lost: 2,
        round_trip: took(21.25 + added),
        download_bits_per_second: loads(Direction::Download, 18_923_407),
        upload_bits_per_second: loads(Direction::Upload, 4_758_244),
        increase: verdict.as_ref().map(|_| Increase {
            mean_milliseconds: added - 0.5,
            p95_milliseconds: added,
        }),
        verdict,
    }
}

fn graded(grade: Grade) -> Option<Verdict> {
    Some(Verdict::Graded(Grades {
        mean: grade,
        p95: grade,
    }))
}

fn measurement(phases: Vec<PhaseResult>) -> Measurement {
    Measurement {
        server: "10.9.1.2:8585".into(),
        begun_unix_seconds: 1_700_000_000,
        flows: 4,
        probe_interval_milliseconds: 20.0,
        configured: Configured {
            download_bits_per_second: Some(20_000_000),
            upload_bits_per_second: None,
        },
        phases,
        series: vec![
            Probe {
                sent_milliseconds: 1.25,
                round_trip_milliseconds: Some(20.5),
            },
            Probe {
                sent_milliseconds: 21.25,
                round_trip_milliseconds: None,
            },
        ],
    }
}

fn deep() -> Measurement {
    measurement(vec![
        result(Phase::Idle, 0.0, None),
        result(Phase::Download, 438.5, graded(Grade::F)),
        result(Phase::Upload, 508.375, graded(Grade::F)),
        result(Phase::Both, 569.25, graded(Grade::F)),
    ])
}

fn short() -> Measurement {
    measurement(vec![
        result(Phase::Idle, 0.0, None),
        result(Phase::Download, -0.04, graded(Grade::APlus)),
        result(Phase::Upload, 6.0, graded(Grade::A)),
        result(Phase::Both, 14.5, graded(Grade::A)),
    ])
}

fn document<'a>(
    measurement: &'a Measurement,
    comparison: Option<&'a Comparison>,
) -> MeasureDocument<'a> {
    MeasureDocument {
        measurement,
        comparison,
        advice: advice(measurement)
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

fn shown(measurement: &Measurement, comparison: Option<&Comparison>) -> String {
    text::measured(Look::plain(), "gaming", &document(measurement, comparison))
}

#[test]
fn a_table_says_what_was_added_and_what_to_do() {
    let text = shown(&deep(), None);
    assert_eq!(
        text,
        "\
gaming: latency under load, to 10.9.1.2:8585: F at worst (both)

            probes  lost  median    p95    max   +mean    +p95  grade   down    up
  idle         500     2    20.2   21.2   23.2       -       -      -      -     -
  download     500     2   458.8  459.8  461.8  +438.0  +438.5   F, F  18.92     -
  upload       500     2   528.6  529.6  531.6  +507.9  +508.4   F, F      -  4.76
  both         500     2   589.5  590.5  592.5  +568.8  +569.2   F, F  18.92  4.76
  Round-trip times in ms; +mean is the increase over the idle mean, +p95 over the idle median, and
  the grades rate these two; down and up are received rates in Mbit/s.

  try: shape egress to 4.52 Mbit/s, 95 % of the link rate; if a shaper is active, its rate is
    above the link rate
  try: shape ingress to 17.00 to 18.00 Mbit/s, 85 to 90 % of the link rate; if a shaper is active,
    lower its rate
"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn before_and_after_stand_beside_each_other() {
    let (before, after) = (deep(), short());
    let comparison = Comparison::between(&before, &after);
    let text = shown(&after, Some(&comparison));
    assert!(
        text.contains("upload: p95 +508.4 ms before, +6.0 ms after: 84.7 times lower"),
        "{text}"
    );
    assert!(
        text.contains("download: p95 +438.5 ms before, +0.0 ms after: 438.5 times lower"),
        "{text}"
    );
    assert!(!text.contains("try:"), "{text}");
    let worse = Comparison::between(&after, &before);
    let text = shown(&before, Some(&worse));
    assert!(text.contains("times higher"), "{text}");
    assert!(chart(Some(&before), &after).contains("after"));
}

/// Every reason for the lack of a grade.
fn reasons() -> Vec<Ungraded> {
    let direction = Direction::Upload;
    vec![
        Ungraded::IdleLoss { lost_percent: 12.5 },
        Ungraded::Loss { lost_percent: 99.5 },
        Ungraded::TooFewSamples {
            phase: Phase::Idle,
            samples: 7,
            needed: 100,
        },
        Ungraded::NotDrained {
            waited_milliseconds: 10_000.0,
        },
        Ungraded::NoRate { direction },
        Ungraded::LoadUnknown { direction },
        Ungraded::LoadTooLow {
            direction,
            reached_bits_per_second: 1_000_000,
            configured_bits_per_second: 5_000_000,
            needed_percent: 70.0,
        },
    ]
}

#[test]
fn why_there_is_no_grade_is_said() {
    for reason in reasons() {
        let mut without = short();
        without.phases[2].verdict = Some(Verdict::Ungraded(reason.clone()));
        let text = shown(&without, Some(&Comparison::between(&deep(), &without)));
        assert!(text.contains("not all phases have a grade"), "{text}");
        assert!(text.contains("upload: no grade: "), "{text}");
        assert!(text.contains("not compared: both need a grade"), "{text}");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words.join(" ").contains(&reason.to_string()), "{text}");
    }
    let nothing = PhaseResult {
        samples: 0,
        round_trip: None,
        increase: None,
        ..result(
            Phase::Upload,
            0.0,
            Some(Verdict::Ungraded(reasons().remove(0))),
        )
    };
    let text = shown(&measurement(vec![nothing]), None);
    assert!(
        text.starts_with("gaming: latency under load, to 10.9.1.2:8585: no grade\n"),
        "{text}"
    );
}

#[test]
fn what_a_file_holds_cannot_move_the_cursor() {
    let mut foreign = short();
    foreign.server = "\u{1b}[2J".into();
    assert!(!shown(&foreign, None).contains('\u{1b}'));
}

#[test]
fn every_document_of_measure_keeps_its_schema() {
    let (before, after) = (deep(), short());
    let comparison = Comparison::between(&before, &after);
    let as_json = |document: &MeasureDocument<'_>| serde_json::to_value(document).unwrap();
    for document in [
        as_json(&document(&before, None)),
        as_json(&document(&after, Some(&comparison))),
    ] {
        assert_valid("measure", &document);
        assert_notices_every_change("measure", &document);
    }
    for reason in reasons() {
        let mut without = short();
        without.phases[1].verdict = Some(Verdict::Ungraded(reason));
        let document = as_json(&document(&without, None));
        assert_valid("measure", &document);
        assert_notices_every_change("measure", &document);
    }
}

#[test]
fn what_says_nothing_to_measure_is_refused() {
    let root = image();
    // The helper of the small profile passes --root, which does not apply to measure.
    let ran = greeter(root.path(), &["measure", "--server", "192.0.2.1:1"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("--root"), "{}", ran.err);
    let slash = std::path::Path::new("/");
    let measure = ["measure", "--server", "192.0.2.1:1"];
    for (typed, names) in [
        (&["measure"][..], "--server"),
        (&["measure", "--server", "192.0.2.1"], "has no valid port"),
        (
            &["measure", "--server", "192.0.2.1:70000"],
            "has no valid port",
        ),
        (&["measure", "--respond", "8585"], "has no valid port"),
        (
            &["measure", "--respond", "[::1]:0", "--server", "x:1"],
            "--server",
        ),
        (
            &["measure", "--respond", "[::1]:0", "--down", "5mbit"],
            "--down",
        ),
        (&["measure", "--respond", "[::1]:0", "--json"], "--json"),
        (
            &[&measure[..], &["--down", "100mbps"]].concat(),
            "100mbit or 800mbit",
        ),
        (&[&measure[..], &["--up", "0"]].concat(), "--up"),
        (&[&measure[..], &["--seconds", "2"]].concat(), "3..=60"),
        (&[&measure[..], &["--flows", "0"]].concat(), "1..=16"),
        (&[&measure[..], &["--strict"]].concat(), "--strict"),
        (&[&measure[..], &["--only", "greeting"]].concat(), "--only"),
        (
            &[&measure[..], &["--svg", "x", "--save", "x"]].concat(),
            "same file",
        ),
        (
            &[&measure[..], &["--before", "/nowhere/x.json"]].concat(),
            "/nowhere/x.json",
        ),
        (
            &[&measure[..], &["--before", "/proc/version"]].concat(),
            "a measurement from",
        ),
        (
            &[&measure[..], &["--save", "/dev/null"]].concat(),
            "/dev/null",
        ),
    ] {
        let ran = greeter(slash, typed);
        assert_eq!(ran.exit, Exit::Usage, "{typed:?}: {}", ran.err);
        assert!(ran.err.contains(names), "{typed:?}: {}", ran.err);
    }
    let ran = greeter(
        slash,
        &[&measure[..], &["--save", "/nowhere/x.json"]].concat(),
    );
    assert_eq!(ran.exit, Exit::Refused, "{}", ran.err);
}

#[test]
fn where_nothing_can_be_measured_the_document_says_so() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr();
    let server = closed.unwrap().to_string();
    let slash = std::path::Path::new("/");
    let ran = greeter(slash, &["measure", "--server", &server, "--json"]);
    assert_eq!(ran.exit, Exit::Refused);
    let document = ran.document();
    assert_valid("error", &document);
    assert_eq!(document["error"]["exit_code"], json!(3));
    assert!(
        document["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("--respond")
    );
}
