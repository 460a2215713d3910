//! How far settings have come: accepted, loaded, in effect, or not verifiable.

use hosttune_core::testing::CrashPoint;
use hosttune_core::{Knob, Report, State, Tuning};
use hosttune_pipewire::runtime::testing::MemoryDaemon;
use hosttune_pipewire::runtime::{Grade, GradeReport, RuntimeRates, RuntimeSettings, grade};
use hosttune_pipewire::{Frames, SampleRate};

use super::laws::Machine;

fn applied(machine: &Machine, settings: &RuntimeSettings) -> (Report, GradeReport) {
    let mut session = machine.open();
    let _ = settings.apply(&mut session).unwrap();
    let report = settings.verify(&session).unwrap();
    let host = machine.host(&CrashPoint::lives());
    (report, grade::verify(&host, settings).unwrap())
}

fn lines(report: &GradeReport) -> Vec<String> {
    report.keys.iter().map(ToString::to_string).collect()
}

fn all_64() -> RuntimeSettings {
    RuntimeSettings {
        quantum: Some(Frames(64)),
        min_quantum: Some(Frames(64)),
        max_quantum: Some(Frames(64)),
        ..RuntimeSettings::default()
    }
}

#[test]
fn a_quantum_is_in_effect_if_every_running_driver_has_it() {
    let daemon = MemoryDaemon::new("1.4.2").playing("sink", Some(256));
    let (report, grades) = applied(&Machine::new(daemon), &all_64());
    assert!(report.is_as_wanted(), "{report:?}");
    assert!(grades.is_effective(), "{grades:?}");
    assert_eq!(
        lines(&grades),
        [
            "clock.max-quantum 64 is in effect: sink runs 64 frames at 48000 Hz (1.33 ms)",
            "clock.min-quantum 64 is in effect: sink runs 64 frames at 48000 Hz (1.33 ms)",
            "clock.quantum 64 is in effect: sink runs 64 frames at 48000 Hz (1.33 ms)",
        ]
    );
    assert!(grades.keys.iter().all(|key| !key.loaded));
    assert_eq!(grades.version.as_deref(), Some("1.4.2"));
}

#[test]
fn nothing_shows_what_is_in_effect_while_no_device_runs() {
    let daemon = MemoryDaemon::new("1.4.2");
    let (report, grades) = applied(&Machine::new(daemon), &all_64());
    assert!(report.is_as_wanted(), "the metadata has it: {report:?}");
    assert!(!grades.is_effective());
    assert!(
        lines(&grades)[0].contains("cannot be verified: no device runs"),
        "{:?}",
        lines(&grades)
    );
    let daemon = MemoryDaemon::new("1.4.2").playing("Dummy-Driver", None);
    let (_, grades) = applied(&Machine::new(daemon), &all_64());
    assert!(
        lines(&grades)[0].contains("only Dummy-Driver runs, which is no device"),
        "{:?}",
        lines(&grades)
    );
}

#[test]
fn a_device_with_a_period_of_its_own_is_named() {
    let daemon = MemoryDaemon::new("1.4.2")
        .playing("sink", Some(256))
        .keeping("interface", 1024);
    let machine = Machine::new(daemon);
    let (_, grades) = applied(&machine, &all_64());
    let [Grade::Accepted { but }, ..] = [&grades.keys[0].grade] else {
        panic!("{grades:?}")
    };
    assert_eq!(
        *but,
        [
            "interface runs 1024 frames at 48000 Hz (21.33 ms), because the device uses its own period until it is closed (pro-audio)"
        ]
    );
    // A forced quantum reopens it.
    let forced = RuntimeSettings {
        force_quantum: Some(Frames(64)),
        ..RuntimeSettings::default()
    };
    let (_, grades) = applied(&machine, &forced);
    assert!(grades.is_effective(), "{grades:?}");
}

#[test]
fn the_quantum_of_programs_within_the_limits_is_no_fault_of_the_limits() {
    let daemon = MemoryDaemon::new("1.4.2").playing("sink", Some(256));
    let settings = RuntimeSettings {
        quantum: Some(Frames(512)),
        min_quantum: Some(Frames(128)),
        ..RuntimeSettings::default()
    };
    let (_, grades) = applied(&Machine::new(daemon), &settings);
    let lines = lines(&grades);
    assert!(
        lines[0].starts_with("clock.min-quantum 128 is in effect"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("512 is accepted and not in effect")
            && lines[1].contains("within clock.min-quantum 128 and clock.max-quantum 2048"),
        "{lines:?}"
    );
}

#[test]
fn what_hides_a_value_is_told_by_verify() {
    let daemon = MemoryDaemon::new("1.4.2").playing("sink", None);
    daemon.set_by_another("clock.force-quantum", None, Some("1024"));
    let (report, grades) = applied(&Machine::new(daemon), &all_64());
    for item in &report.items {
        let State::Overridden { by } = &item.state else {
            panic!("{item}")
        };
        assert_eq!(by, "clock.force-quantum, which is 1024");
    }
    assert!(!grades.is_effective());
    assert!(
        lines(&grades)[1].ends_with("is in effect: sink runs 1024 frames at 48000 Hz (21.33 ms)")
    );
    assert!(
        lines(&grades)[0].ends_with("because clock.force-quantum is 1024"),
        "{:?}",
        lines(&grades)
    );
}

#[test]
fn quantums_are_scaled_with_the_rate_of_the_graph() {
    let daemon = MemoryDaemon::new("1.4.2")
        .configured("default.clock.allowed-rates", "[ 44100 48000 ]")
        .playing("sink", None);
    let machine = Machine::new(daemon);
    let settings = RuntimeSettings {
        force_rate: Some(SampleRate(44_100)),
        ..all_64()
    };
    let (_, grades) = applied(&machine, &settings);
    assert!(grades.is_effective(), "{grades:?}");
    assert!(
        lines(&grades)[1].ends_with("sink runs 32 frames at 44100 Hz (0.72 ms)"),
        "{:?}",
        lines(&grades)
    );
}

#[test]
fn what_the_configuration_has_too_is_loaded() {
    let daemon = MemoryDaemon::new("1.4.2")
        .configured("default.clock.quantum", "64")
        .playing("sink", None);
    let settings = RuntimeSettings {
        quantum: Some(Frames(64)),
        ..RuntimeSettings::default()
    };
    let (_, grades) = applied(&Machine::new(daemon), &settings);
    assert!(grades.is_effective() && grades.keys[0].loaded, "{grades:?}");
}

#[test]
fn without_a_daemon_nothing_is_accepted_and_nothing_is_started() {
    let machine = Machine::new(MemoryDaemon::new("1.4.2"));
    machine.daemon.end();
    let host = machine.host(&CrashPoint::lives());
    let grades = grade::verify(&host, &all_64()).unwrap();
    assert_eq!(grades.version, None);
    assert!(
        grades
            .keys
            .iter()
            .all(|key| key.grade == Grade::NotAccepted { seen: None })
    );
    assert!(!machine.daemon.is_running());
    assert_eq!(RuntimeRates::new().identity(&host).unwrap(), None);
}

#[test]
fn an_older_daemon_rounds_a_forced_quantum() {
    for (version, is_effective) in [("0.3.65", false), ("1.4.2", true)] {
        // The fake forces as newer daemons do: what is judged is the expectation.
        let daemon = MemoryDaemon::new(version).playing("sink", None);
        let settings = RuntimeSettings {
            force_quantum: Some(Frames(100)),
            ..RuntimeSettings::default()
        };
        let (_, grades) = applied(&Machine::new(daemon), &settings);
        assert_eq!(grades.is_effective(), is_effective, "{version}: {grades:?}");
    }
}
