//! A report of verify that tells what the devices run with.

use hosttune_core::testing::CrashPoint;
use hosttune_core::{Report, State, Tuning};
use hosttune_pipewire::runtime::testing::MemoryDaemon;
use hosttune_pipewire::runtime::{RuntimeSettings, grade};
use hosttune_pipewire::{Frames, SampleRate};

use super::laws::Machine;

fn fixed() -> RuntimeSettings {
    RuntimeSettings {
        rate: Some(SampleRate(48_000)),
        quantum: Some(Frames(64)),
        min_quantum: Some(Frames(64)),
        max_quantum: Some(Frames(64)),
        ..RuntimeSettings::default()
    }
}

fn refined(daemon: MemoryDaemon, insist: bool) -> Report {
    let machine = Machine::new(daemon);
    let mut session = machine.open();
    let _ = fixed().apply(&mut session).unwrap();
    let mut report = fixed().verify(&session).unwrap();
    assert!(report.is_as_wanted(), "{report:?}");
    let host = machine.host(&CrashPoint::lives());
    grade::verify(&host, &fixed())
        .unwrap()
        .refine(&mut report, insist);
    assert_eq!(report.items.len(), 4, "{report:?}");
    report
}

fn states(report: &Report) -> Vec<&'static str> {
    report.items.iter().map(|item| item.state.name()).collect()
}

#[test]
fn what_every_device_has_matches_and_is_noted_once() {
    for insist in [false, true] {
        let daemon = MemoryDaemon::new("1.4.2").playing("sink", Some(256));
        let report = refined(daemon, insist);
        assert_eq!(states(&report), ["matches"; 4]);
        let notes = report.notes.iter();
        let said: Vec<&String> = notes.filter(|note| note.starts_with("in effect")).collect();
        assert_eq!(
            said,
            ["in effect: sink runs 64 frames at 48000 Hz (1.33 ms)"]
        );
    }
}

#[test]
fn what_a_device_does_not_have_is_overridden() {
    let daemon = MemoryDaemon::new("1.4.2")
        .playing("sink", Some(256))
        .keeping("interface", 1024);
    let report = refined(daemon, false);
    assert!(!report.is_as_wanted());
    let overridden = report.items.iter().filter(|item| match &item.state {
        State::Overridden { by } => by.contains("interface runs 1024 frames"),
        _ => false,
    });
    // The quantum and the largest one; it is not below the smallest.
    assert_eq!(overridden.count(), 2, "{report:?}");
    assert!(
        !report
            .notes
            .iter()
            .any(|note| note.starts_with("in effect")),
        "{report:?}"
    );
}

#[test]
fn where_no_device_runs_it_depends_on_the_question() {
    let report = refined(MemoryDaemon::new("1.4.2"), false);
    assert_eq!(states(&report), ["matches"; 4]);
    assert!(report.is_as_wanted());
    let said = report.notes.join("\n");
    assert!(said.contains("is not known: no device runs"), "{said}");

    let report = refined(MemoryDaemon::new("1.4.2"), true);
    assert_eq!(states(&report), ["unverifiable"; 4]);
    assert!(!report.is_as_wanted());
}

#[test]
fn what_is_not_accepted_stays_as_verify_has_found_it() {
    let daemon = MemoryDaemon::new("1.4.2").playing("sink", Some(256));
    let machine = Machine::new(daemon);
    let session = machine.open();
    let report = fixed().verify(&session).unwrap();
    let mut after = report.clone();
    let host = machine.host(&CrashPoint::lives());
    grade::verify(&host, &fixed())
        .unwrap()
        .refine(&mut after, true);
    let drifted = |report: &Report| {
        let items = report.items.iter();
        items.filter(|item| item.state == State::Drifted).count()
    };
    assert!(drifted(&report) >= 3, "{report:?}");
    assert_eq!(drifted(&report), drifted(&after));
}
