//! Requests that are refused, and what is said about them.

use hosttune_core::testing::laws;
use hosttune_core::{Error, State, Tuning, UnsupportedKind};
use hosttune_pipewire::runtime::RuntimeSettings;
use hosttune_pipewire::runtime::testing::MemoryDaemon;
use hosttune_pipewire::{Frames, SampleRate};

use super::laws::Machine;

fn force(quantum: u32) -> RuntimeSettings {
    RuntimeSettings {
        force_quantum: Some(Frames(quantum)),
        ..RuntimeSettings::default()
    }
}

fn rate(rate: u32) -> RuntimeSettings {
    RuntimeSettings {
        rate: Some(SampleRate(rate)),
        ..RuntimeSettings::default()
    }
}

/// Why nothing is set, with the kind.
fn refused(daemon: MemoryDaemon, settings: &RuntimeSettings) -> (UnsupportedKind, String) {
    let machine = Machine::new(daemon);
    laws::plan_writes_nothing(&machine, settings).unwrap();
    let plan = settings.plan(&machine.open()).unwrap();
    assert!(plan.steps.is_empty(), "{plan:?}");
    let [finding] = plan.findings.as_slice() else {
        panic!("{plan:?}")
    };
    let State::NotApplicable { unsupported } = &finding.state else {
        panic!("{finding}")
    };
    (unsupported.kind, unsupported.why.clone())
}

#[test]
fn a_daemon_that_cannot_be_changed_is_told() {
    let daemon = MemoryDaemon::new("1.4.2");
    daemon.end();
    let (kind, why) = refused(daemon, &force(64));
    assert_eq!(kind, UnsupportedKind::NoBackend);
    assert!(why.contains("connecting would start one"), "{why}");

    let (kind, why) = refused(MemoryDaemon::new("1.4.2").read_only(), &force(64));
    assert_eq!(kind, UnsupportedKind::ReadOnly);
    assert!(why.contains("only read"), "{why}");

    let (kind, why) = refused(MemoryDaemon::new("1.4.2").hiding_settings(), &rate(44_100));
    assert_eq!(kind, UnsupportedKind::NoBackend);
    assert!(why.contains("does not show"), "{why}");

    let daemon = MemoryDaemon::new("1.4.2");
    daemon.emptied_by_another();
    let (kind, why) = refused(daemon, &force(64));
    assert_eq!(kind, UnsupportedKind::OneWay);
    assert!(why.contains("emptied"), "{why}");
}

#[test]
fn values_that_the_daemon_would_not_use_are_told() {
    let (kind, why) = refused(MemoryDaemon::new("1.4.2"), &force(9_000));
    assert_eq!(kind, UnsupportedKind::ValueUnavailable);
    assert!(why.contains("quantum-limit is 8192"), "{why}");
    let (_, why) = refused(MemoryDaemon::new("1.4.2"), &force(2));
    assert!(why.contains("quantum-floor is 4"), "{why}");
    let daemon = MemoryDaemon::new("1.4.2").configured("settings.check-quantum", "true");
    let (_, why) = refused(daemon, &force(4096));
    assert!(why.contains("outside of 32 to 2048"), "{why}");
    let daemon = MemoryDaemon::new("1.4.2").configured("settings.check-quantum", "true");
    daemon.set_by_another("clock.force-quantum", None, Some("1024"));
    let (kind, why) = refused(daemon, &force(64));
    assert_eq!(kind, UnsupportedKind::OneWay);
    assert!(
        why.contains("is 1024, which this daemon might ignore on revert"),
        "{why}"
    );
    let daemon = MemoryDaemon::new("1.4.2").configured("settings.check-rate", "true");
    let settings = RuntimeSettings {
        force_rate: Some(SampleRate(44_100)),
        ..RuntimeSettings::default()
    };
    let (_, why) = refused(daemon, &settings);
    assert!(why.contains("[ 48000 ]"), "{why}");
    let quantum = |quantum| RuntimeSettings {
        quantum: Some(Frames(quantum)),
        ..RuntimeSettings::default()
    };
    let (_, why) = refused(MemoryDaemon::new("1.4.2"), &quantum(4096));
    assert!(why.contains("clock.max-quantum is 2048"), "{why}");
    let (_, why) = refused(MemoryDaemon::new("1.4.2"), &quantum(16));
    assert!(why.contains("clock.min-quantum is 32"), "{why}");
    let (_, why) = refused(MemoryDaemon::new("1.4.2"), &rate(44_100));
    assert!(
        why.contains("44100 is not one of the allowed rates [ 48000 ]"),
        "{why}"
    );
}

#[test]
fn rates_that_do_not_show_what_the_daemon_allows_are_left() {
    let daemon = MemoryDaemon::new("1.4.2");
    daemon.set_by_another("clock.allowed-rates", None, Some("[ 96000 ]"));
    let settings = RuntimeSettings {
        allowed_rates: Some(vec![SampleRate(44_100), SampleRate(48_000)]),
        ..RuntimeSettings::default()
    };
    let (kind, why) = refused(daemon, &settings);
    assert_eq!(kind, UnsupportedKind::OneWay);
    assert!(why.contains("do not show which rates"), "{why}");
}

#[test]
fn contradictions_are_errors_before_anything_is_asked() {
    let frames = |frames| Some(Frames(frames));
    let cases = [
        (
            force(70_000),
            "'70000' is not a number of frames from 0 to 65536",
        ),
        (rate(0), "'0' is not a rate in Hz from 1"),
        (
            RuntimeSettings {
                min_quantum: frames(128),
                max_quantum: frames(64),
                ..RuntimeSettings::default()
            },
            "clock.min-quantum 128 is above clock.max-quantum 64",
        ),
        (
            RuntimeSettings {
                quantum: frames(32),
                min_quantum: frames(64),
                ..RuntimeSettings::default()
            },
            "clock.quantum 32 is not between",
        ),
        (
            RuntimeSettings {
                rate: Some(SampleRate(44_100)),
                allowed_rates: Some(vec![SampleRate(48_000)]),
                ..RuntimeSettings::default()
            },
            "clock.rate 44100 is not one of clock.allowed-rates",
        ),
        (
            RuntimeSettings {
                allowed_rates: Some(Vec::new()),
                ..RuntimeSettings::default()
            },
            "it has 0 rates",
        ),
    ];
    for (settings, said) in cases {
        let machine = Machine::new(MemoryDaemon::new("1.4.2"));
        let error = settings.apply(&mut machine.open()).unwrap_err();
        assert!(matches!(error, Error::Tuning { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn settings_as_data_have_the_names_of_the_keys() {
    let text = r#"{"quantum":64,"min-quantum":64,"allowed-rates":[44100,48000]}"#;
    let settings: RuntimeSettings = serde_json::from_str(text).unwrap();
    assert_eq!(settings.quantum, Some(Frames(64)));
    assert_eq!(settings.allowed_rates.as_ref().unwrap().len(), 2);
    for wrong in [
        r#"{"quantum":"64"}"#,
        r#"{"quantum":-1}"#,
        r#"{"quantum":512.7}"#,
        r#"{"quantom":64}"#,
    ] {
        assert!(
            serde_json::from_str::<RuntimeSettings>(wrong).is_err(),
            "{wrong}"
        );
    }
}
