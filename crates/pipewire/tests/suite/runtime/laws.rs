//! The laws of the engine for the settings of a daemon, on a fake.
//!
//! `PROPTEST_CASES` overrides the number of cases.

use std::path::PathBuf;

use hosttune_core::testing::laws::{self, Act, Death, Verb};
use hosttune_core::testing::{CrashPoint, Failure, Memory, MemoryStore, Moment, Snapshot, World};
use hosttune_core::{Error, Host, HostErrorKind, Knob, Session, State, Tuning};
use hosttune_pipewire::runtime::testing::MemoryDaemon;
use hosttune_pipewire::runtime::{
    self, PipeWire, RatesState, RuntimeRates, RuntimeSetting, RuntimeSettings, SettingKey,
    SettingState, SettingValue,
};
use hosttune_pipewire::{Frames, SampleRate};
use proptest::prelude::*;

use crate::cases;

/// A machine that consists of a user's daemon.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) daemon: MemoryDaemon,
    store: MemoryStore,
}

impl Machine {
    pub(super) fn new(daemon: MemoryDaemon) -> Self {
        Self {
            daemon,
            store: MemoryStore::new(),
        }
    }

    pub(super) fn host(&self, crash_point: &CrashPoint) -> Host {
        Host::new(Memory::new().host(crash_point))
            .with_backend(PipeWire::over(self.daemon.for_process(crash_point)))
            .gated(crash_point.clone())
    }

    pub(super) fn open(&self) -> Session {
        self.session(&CrashPoint::lives()).unwrap()
    }
}

impl World for Machine {
    fn fork(&self) -> Self {
        Self {
            daemon: self.daemon.fork(),
            store: self.store.fork(),
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let store = self.store.of(crash_point);
        let session = Session::new(self.host(crash_point), owner, store, "boot")?;
        Ok(session.with(runtime::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        self.daemon.snapshot()
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

/// What other programs may have set before: sensible values with any type, values that the daemon
/// keeps and does not use, and removed keys.
fn earlier(
    is_forced: bool,
) -> impl Strategy<Value = Vec<(&'static str, Option<&'static str>, Option<&'static str>)>> {
    let mut all = vec![
        ("clock.quantum", None, Some("512")),
        ("clock.quantum", Some("Spa:Int"), Some("0")),
        ("clock.min-quantum", None, Some("64")),
        ("clock.min-quantum", None, Some("abc")),
        ("clock.max-quantum", Some("Spa:Int"), Some("4096")),
        ("clock.max-quantum", None, None),
        ("clock.force-quantum", None, None),
        ("clock.force-rate", Some("x"), Some("0")),
        ("clock.force-rate", None, None),
        ("clock.allowed-rates", None, Some("[ 44100 48000 96000 ]")),
        ("clock.allowed-rates", Some("x"), Some("[48000]")),
    ];
    if is_forced {
        all.push(("clock.force-quantum", None, Some("128")));
    }
    prop::collection::vec(prop::sample::select(all), 0..4)
}

const QUANTUMS: [u32; 4] = [32, 64, 256, 1024];
const RATES: [u32; 3] = [44_100, 48_000, 96_000];

fn frames() -> impl Strategy<Value = Option<Frames>> {
    prop::option::of(prop::sample::select(QUANTUMS.to_vec()).prop_map(Frames))
}

fn hertz() -> impl Strategy<Value = Option<SampleRate>> {
    prop::option::of(prop::sample::select(RATES.to_vec()).prop_map(SampleRate))
}

/// Requests that do not contradict themselves.
pub(super) fn settings() -> impl Strategy<Value = RuntimeSettings> {
    let allowed = prop::option::of(Just(RATES.map(SampleRate).to_vec()));
    let all = (
        frames(),
        frames(),
        frames(),
        frames(),
        hertz(),
        hertz(),
        allowed,
    );
    all.prop_map(
        |(one, two, three, force_quantum, rate, force_rate, allowed_rates)| {
            let mut limits = [one, two];
            if let [Some(min), Some(max)] = &mut limits
                && min > max
            {
                std::mem::swap(min, max);
            }
            let [min_quantum, max_quantum] = limits;
            let fits = |quantum: &Frames| {
                min_quantum.is_none_or(|min| *quantum >= min)
                    && max_quantum.is_none_or(|max| *quantum <= max)
            };
            RuntimeSettings {
                min_quantum,
                max_quantum,
                quantum: three.filter(fits),
                force_quantum,
                force_rate,
                // Without the list a rate may be unsupported, which is a result too.
                rate,
                allowed_rates,
                ..RuntimeSettings::default()
            }
        },
    )
}

/// Daemons of several configurations, and what other programs have set there.
fn machine() -> impl Strategy<Value = Machine> {
    machine_of(vec![0, 1, 2, 3], true)
}

fn machine_of(kinds: Vec<usize>, is_forced: bool) -> impl Strategy<Value = Machine> {
    (prop::sample::select(kinds), earlier(is_forced)).prop_map(|(kind, earlier)| {
        let daemon = MemoryDaemon::new("1.4.2");
        let daemon = match kind {
            0 => daemon,
            1 => daemon.configured("settings.check-quantum", "true"),
            2 => daemon.configured("settings.check-rate", "true"),
            _ => daemon.configured("default.clock.allowed-rates", "[ 44100 48000 96000 ]"),
        };
        for (key, kind, value) in earlier {
            daemon.set_by_another(key, kind, value);
        }
        Machine::new(daemon)
    })
}

fn moment() -> impl Strategy<Value = Moment> {
    prop::sample::select(vec![Moment::Before, Moment::Within, Moment::After])
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    prop::collection::vec((0..30_u64, moment()), 0..6)
}

fn failure() -> impl Strategy<Value = Failure> {
    (0..60_u64, 0..Failure::KINDS).prop_map(|(call, kind)| Failure::of_kind(call, kind))
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn apply_then_plan_is_empty(machine in machine(), settings in settings()) {
        laws::apply_then_plan(&machine, &settings)?;
    }

    #[test]
    fn after_an_apply_the_metadata_shows_it(machine in machine(), settings in settings()) {
        // A value that another hides, such as a forced one of another program, is told, and counts
        // as a failure of verify.
        let mut session = machine.open();
        let _ = settings.apply(&mut session).unwrap();
        for item in settings.verify(&session).unwrap().items {
            prop_assert!(item.state != State::Drifted, "{item}");
        }
    }

    #[test]
    fn apply_then_revert_is_as_it_was(
        machine in machine(), settings in prop::collection::vec(settings(), 1..4),
    ) {
        laws::apply_then_revert(&machine, &settings)?;
    }

    #[test]
    fn plan_writes_nothing(machine in machine(), settings in settings()) {
        laws::plan_writes_nothing(&machine, &settings)?;
    }

    #[test]
    fn killed_at_any_write(
        machine in machine(), settings in prop::collection::vec(settings(), 1..4), deaths in deaths(),
    ) {
        laws::die_anywhere(&machine, &settings, &deaths)?;
    }

    #[test]
    fn killed_and_recovered(
        machine in machine(), finished in settings(), dying in settings(), deaths in deaths(),
    ) {
        laws::die_then_recover(&machine, &finished, &dying, &deaths)?;
    }

    #[test]
    fn a_failed_step_leaves_the_daemon_as_it_was(
        machine in machine(), settings in settings(), change in 0..8_u64, moment in moment(),
    ) {
        laws::failing_step(&machine, &settings, change, moment)?;
    }

    #[test]
    fn what_is_told_is_so(
        // Without forced values, which hide others: that is told by verify, and counts as drift.
        machine in machine_of(vec![0, 1, 2, 3], false), applied in prop::collection::vec(settings(), 0..3),
        settings in settings(), verb in 0..Verb::<()>::KINDS, failure in failure(),
    ) {
        let not_forced = |settings: RuntimeSettings| RuntimeSettings {
            force_quantum: None,
            force_rate: None,
            ..settings
        };
        let applied: Vec<RuntimeSettings> = applied.into_iter().map(not_forced).collect();
        let settings = not_forced(settings);
        let verb = Verb::of_kind(verb, settings);
        laws::told_as_it_is(&machine, &applied, &verb, failure)?;
    }

    #[test]
    fn what_another_program_sets_meanwhile_survives(
        machine in machine_of(vec![0, 3], true), settings in settings(),
        (key, value) in prop::sample::select(vec![
            ("clock.quantum", "777"), ("clock.force-quantum", "48"), ("clock.max-quantum", "3000"),
        ]),
    ) {
        laws::stranger_survives(&machine, &settings, |machine| {
            machine.daemon.set_by_another(key, None, Some(value));
        })?;
    }

    #[test]
    fn owners_in_any_order(
        machine in machine(),
        acts in prop::collection::vec(
            (0..3_usize, prop::option::of(settings()), prop::option::of((0..20_u64, moment()))),
            1..6,
        ),
        last in Just(vec![0_usize, 1, 2]).prop_shuffle(),
    ) {
        let acts: Vec<Act<RuntimeSettings>> = acts
            .into_iter()
            .map(|(owner, applies, death)| Act {
                owner,
                applies,
                fault: death.map(laws::Fault::Dies),
            })
            .collect();
        laws::owners_in_any_order(&machine, &acts, &last)?;
    }

    #[test]
    fn a_daemon_that_ends_takes_the_changes_with_it(
        machine in machine(), settings in settings(), deaths in deaths(), starts_again: bool,
        another_sets in prop::option::of(prop::sample::select(vec!["64", "1024", "0"])),
    ) {
        let crash_point = match deaths.first() {
            Some((write, moment)) => CrashPoint::dies_at(*write, *moment),
            None => CrashPoint::lives(),
        };
        let mut session = machine.session(&crash_point).unwrap();
        let _ = settings.apply(&mut session);
        drop(session);
        machine.daemon.end();
        if starts_again {
            machine.daemon.restart();
            // Even our own value, set by another program, is not ours on the new daemon.
            if let Some(value) = another_sets {
                machine.daemon.set_by_another("clock.quantum", None, Some(value));
                machine.daemon.set_by_another("clock.force-quantum", None, Some(value));
            }
        }
        let was = machine.snapshot();
        let reverted = machine.open().revert().unwrap();
        prop_assert!(reverted.not_reverted.is_empty(), "{:?}", reverted.not_reverted);
        prop_assert_eq!(machine.snapshot(), was);
        prop_assert!(machine.store().is_empty());
    }
}

#[test]
fn a_daemon_that_ends_during_an_apply_is_not_replaced_by_the_next() {
    let settings = RuntimeSettings {
        min_quantum: Some(Frames(64)),
        max_quantum: Some(Frames(64)),
        quantum: Some(Frames(64)),
        ..RuntimeSettings::default()
    };
    let machine = Machine::new(MemoryDaemon::new("1.4.2"));
    let session = machine.open();
    let plan = settings.plan(&session).unwrap();
    assert_eq!(plan.steps.len(), 3);
    // Between the plan and the apply another daemon starts.
    machine.daemon.restart();
    let was = machine.snapshot();
    let mut session = machine.open();
    let error = session.apply(&plan).unwrap_err();
    assert!(matches!(error, Error::Stale(_)), "{error}");
    assert_eq!(machine.snapshot(), was);
    // A process that is connected to the old daemon sets nothing on the new one.
    let mut host = machine.host(&CrashPoint::lives());
    let quantum = RuntimeSetting::new(SettingKey::Quantum).unwrap();
    quantum.read(&host).unwrap();
    machine.daemon.restart();
    let error = quantum
        .set(&mut host, &SettingState::value("64"))
        .unwrap_err();
    assert_eq!(*error.kind(), HostErrorKind::Gone, "{error}");
    assert_eq!(machine.daemon.snapshot()["in force: quantum"], "1024");
}

#[test]
fn a_key_that_was_absent_is_absent_again() {
    let machine = Machine::new(MemoryDaemon::new("1.4.2"));
    machine
        .daemon
        .set_by_another("clock.force-quantum", None, None);
    let was = machine.snapshot();
    let settings = RuntimeSettings {
        force_quantum: Some(Frames(64)),
        ..RuntimeSettings::default()
    };
    let mut session = machine.open();
    let _ = settings.apply(&mut session).unwrap();
    assert_ne!(machine.snapshot(), was);
    assert!(session.revert().unwrap().is_complete());
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn the_forms_in_journals_stay() {
    let quantum = RuntimeSetting::new(SettingKey::ForceQuantum).unwrap();
    let json = |value: serde_json::Value| value.to_string();
    let of = |value: &SettingState| serde_json::to_string(value).unwrap();
    assert_eq!(
        serde_json::to_string(&quantum).unwrap(),
        r#"{"key":"clock.force-quantum"}"#
    );
    assert_eq!(of(&SettingState::NotRunning), r#""not-running""#);
    assert_eq!(of(&SettingState::Absent), r#""absent""#);
    assert_eq!(of(&SettingState::value("64")), r#"{"set":{"value":"64"}}"#);
    let own = SettingState::Set(SettingValue {
        value: "64".to_owned(),
        kind: Some(String::new()),
    });
    assert_eq!(of(&own), r#"{"set":{"value":"64","type":""}}"#);
    assert_eq!(
        json(serde_json::to_value(RuntimeRates::new()).unwrap()),
        "null"
    );
    let music = Some(PathBuf::from("/run/user/1000/music"));
    let at = quantum.at(music.clone());
    let form = r#"{"key":"clock.force-quantum","socket":"/run/user/1000/music"}"#;
    assert_eq!(serde_json::to_string(&at).unwrap(), form);
    assert_eq!(serde_json::from_str::<RuntimeSetting>(form).unwrap(), at);
    let at = RuntimeRates::new().at(music);
    let form = r#"{"socket":"/run/user/1000/music"}"#;
    assert_eq!(serde_json::to_string(&at).unwrap(), form);
    assert_eq!(serde_json::from_str::<RuntimeRates>(form).unwrap(), at);
    let old: RuntimeRates = serde_json::from_str("null").unwrap();
    assert_eq!(old, RuntimeRates::new());
    let rates = RatesState::Set {
        rate: Some(SettingValue::new("48000")),
        allowed_rates: None,
    };
    assert_eq!(
        serde_json::to_string(&rates).unwrap(),
        r#"{"set":{"rate":{"value":"48000"}}}"#
    );
    assert_eq!(
        [RuntimeSetting::NAME, RuntimeRates::NAME],
        ["pipewire-setting", "pipewire-rates"]
    );
    for of_pair in ["clock.rate", "clock.allowed-rates", "log.level"] {
        let read = serde_json::from_str::<RuntimeSetting>(&format!(r#"{{"key":"{of_pair}"}}"#));
        assert!(read.is_err(), "{of_pair}");
    }
}
