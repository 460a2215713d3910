//! Real daemons: Debian 12's and that of its backports.

use std::time::Duration;

use hosttune_core::testing::{CrashPoint, Memory, MemoryStore};
use hosttune_core::{Host, HostErrorKind, Session, Tuning};
use hosttune_pipewire::daemon::{DaemonState, Remote};
use hosttune_pipewire::runtime::testing::MemoryDaemon;
use hosttune_pipewire::runtime::{
    self, Daemon, DaemonView, NativeDaemon, PipeWire, RuntimeSettings, SettingKey, grade,
};
use hosttune_pipewire::{Frames, SampleRate};
use hosttune_test_machine::PipeWire as Stock;

use super::bench::{Bench, until};

fn host(bench: &Bench) -> Host {
    Host::new(Memory::new().host(&CrashPoint::lives()))
        .with_backend(PipeWire::over(NativeDaemon::new(bench.remote())))
}

/// A process of this program, with its journal in `store`.
fn session(bench: &Bench, store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = host(bench).gated(crash_point.clone());
    let session = Session::new(host, "laws", store.of(crash_point), "boot").unwrap();
    session.with(runtime::knobs)
}

fn alive() -> CrashPoint {
    CrashPoint::lives()
}

fn all_64() -> RuntimeSettings {
    RuntimeSettings {
        allowed_rates: Some(vec![SampleRate(44_100), SampleRate(48_000)]),
        quantum: Some(Frames(64)),
        min_quantum: Some(Frames(64)),
        max_quantum: Some(Frames(64)),
        force_quantum: Some(Frames(64)),
        ..RuntimeSettings::default()
    }
}

/// The settings in the form that `pw-metadata` prints them.
fn printed(view: &DaemonView) -> Vec<String> {
    let settings = view.settings.iter().flatten();
    let mut lines: Vec<String> = settings
        .map(|(key, value)| {
            let text = value.text.as_deref().unwrap_or_default();
            let kind = value.kind.as_deref().unwrap_or("(null)");
            format!("key:'{key}' value:'{text}' type:'{kind}'")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn whether_a_daemon_runs_is_known_before_connecting() {
    for stock in Stock::ALL {
        let Some(mut bench) =
            Bench::start("whether_a_daemon_runs_is_known_before_connecting", stock)
        else {
            return;
        };
        assert_eq!(bench.state(), DaemonState::Running, "{stock:?}");
        let daemon = NativeDaemon::new(bench.remote());
        assert!(daemon.view().unwrap().is_some());
        // Its socket and its lock file stay.
        bench.kill_daemon();
        assert_eq!(bench.state(), DaemonState::NotRunning, "{stock:?}");
        assert_eq!(daemon.view().unwrap(), None);
        assert_eq!(daemon.drivers(Duration::from_secs(1)).unwrap(), None);
        bench.start_daemon();
        assert!(daemon.view().unwrap().is_some());
    }
}

#[test]
fn a_socket_of_another_user_is_not_opened() {
    use std::os::unix::net::UnixListener;

    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("pipewire-0");
    let remote = Remote::at(&socket);
    assert_eq!(remote.state().unwrap().1, DaemonState::NoSocket);
    let listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(remote.state().unwrap().1, DaemonState::NotRunning);
    if std::os::unix::fs::chown(&socket, Some(12_345), None).is_err() {
        println!("not run: a_socket_of_another_user_is_not_opened: giving a file away needs root");
        return;
    }
    let error = NativeDaemon::new(remote).view().unwrap_err();
    assert_eq!(*error.kind(), HostErrorKind::Denied);
    let text = error.to_string();
    assert!(text.contains("belongs to the user 12345"), "{text}");
    assert!(error.hint().unwrap().contains("as that user"));
    // Nobody has connected.
    listener.set_nonblocking(true).unwrap();
    let accepted = listener.accept();
    assert!(accepted.is_err(), "{accepted:?}");
}

#[test]
fn apply_and_revert_leave_the_metadata_as_pw_metadata_had_it() {
    let name = "apply_and_revert_leave_the_metadata_as_pw_metadata_had_it";
    for stock in Stock::ALL {
        let Some(bench) = Bench::start(name, stock) else {
            return;
        };
        let set = |arguments: &[&str]| {
            bench.run("pw-metadata", &[&["-n", "settings"], arguments].concat());
        };
        // A type of another program, a value of it, and a key that it has removed.
        set(&["0", "clock.quantum", "512", "Spa:Int"]);
        set(&["-d", "0", "clock.force-quantum"]);
        let was = bench.metadata();
        assert_eq!(was.len(), 7, "{stock:?}: {was:?}");
        let daemon = NativeDaemon::new(bench.remote());
        assert_eq!(printed(&daemon.view().unwrap().unwrap()), was, "{stock:?}");

        let store = MemoryStore::new();
        let settings = all_64();
        let mut first = session(&bench, &store, &alive());
        let _ = settings.apply(&mut first).unwrap();
        assert!(settings.verify(&first).unwrap().is_as_wanted());
        assert!(settings.plan(&first).unwrap().steps.is_empty());
        let set_now = bench.metadata();
        assert!(
            set_now.contains(&"key:'clock.quantum' value:'64' type:'Spa:Int'".to_owned()),
            "{set_now:?}"
        );
        assert_eq!(printed(&daemon.view().unwrap().unwrap()), set_now);
        // In another process.
        drop(first);
        let reverted = session(&bench, &store, &alive()).revert().unwrap();
        assert!(reverted.not_reverted.is_empty(), "{reverted:?}");
        assert_eq!(bench.metadata(), was, "{stock:?}");
        assert!(store.is_empty());
    }
}

#[test]
fn killed_at_every_write_the_next_process_reverts() {
    use hosttune_core::testing::Moment;

    let Some(bench) = Bench::start(
        "killed_at_every_write_the_next_process_reverts",
        Stock::Backports,
    ) else {
        return;
    };
    let was = bench.metadata();
    let daemon = NativeDaemon::new(bench.remote());
    let shown = || printed(&daemon.view().unwrap().unwrap());
    let settings = all_64();
    let mut kills = 0;
    for moment in [Moment::Before, Moment::Within, Moment::After] {
        for write in 0.. {
            let store = MemoryStore::new();
            let crash_point = CrashPoint::dies_at(write, moment);
            let applied = settings.apply(&mut session(&bench, &store, &crash_point));
            if !crash_point.is_dead() {
                let _ = applied.unwrap();
            }
            let reverted = session(&bench, &store, &alive()).revert().unwrap();
            assert!(
                reverted.not_reverted.is_empty(),
                "{write} {moment:?}: {reverted:?}"
            );
            assert_eq!(shown(), was, "{write} {moment:?}");
            assert!(store.is_empty());
            if !crash_point.is_dead() {
                break;
            }
            kills += 1;
        }
    }
    // Six changes and their records, at three moments each.
    assert!(kills > 30, "{kills}");
    assert_eq!(bench.metadata(), was);
}

#[test]
fn a_restarted_daemon_is_another_and_its_values_are_not_ours() {
    for stock in Stock::ALL {
        let Some(mut bench) = Bench::start(
            "a_restarted_daemon_is_another_and_its_values_are_not_ours",
            stock,
        ) else {
            return;
        };
        let store = MemoryStore::new();
        let settings = all_64();
        let mut process = session(&bench, &store, &alive());
        let _ = settings.apply(&mut process).unwrap();
        // Killed while this process is connected to it.
        bench.kill_daemon();
        let report = settings.verify(&process).unwrap();
        assert!(
            report
                .items
                .iter()
                .all(|item| item.state.name() == "not-applicable"),
            "{stock:?}: {report:?}"
        );
        assert_eq!(bench.state(), DaemonState::NotRunning, "verify starts none");

        bench.start_daemon();
        // The same value, by another program.
        bench.run(
            "pw-metadata",
            &["-n", "settings", "0", "clock.quantum", "64"],
        );
        let was = bench.metadata();
        let reverted = process.revert().unwrap();
        assert!(reverted.not_reverted.is_empty(), "{stock:?}: {reverted:?}");
        assert_eq!(bench.metadata(), was, "{stock:?}");
        assert!(store.is_empty());
    }
}

#[test]
fn removing_the_allowed_rates_ends_a_daemon_as_it_does_the_fake() {
    let name = "removing_the_allowed_rates_ends_a_daemon_as_it_does_the_fake";
    for stock in Stock::ALL {
        let Some(bench) = Bench::start(name, stock) else {
            return;
        };
        let mut daemon = NativeDaemon::new(bench.remote());
        daemon.view().unwrap().unwrap();
        daemon.set("clock.force-rate", None, None).unwrap();
        let error = daemon.set("clock.allowed-rates", None, None).unwrap_err();
        assert_eq!(*error.kind(), HostErrorKind::Gone, "{stock:?}: {error}");
        until("the end of the daemon", || {
            bench.state() == DaemonState::NotRunning
        });
        let fake = MemoryDaemon::new("1.4.2");
        let mut daemon = fake.for_process(&alive());
        daemon.view().unwrap().unwrap();
        daemon.set("clock.force-rate", None, None).unwrap();
        let error = daemon.set("clock.allowed-rates", None, None).unwrap_err();
        assert_eq!(*error.kind(), HostErrorKind::Gone, "{error}");
        assert!(!fake.is_running());
    }
}

/// What is set, by key; the quantum that then runs, where a program asks for 256 frames.
type Row = (&'static [(&'static str, &'static str)], u64);

/// As measured with pw-top on 1.4.2 and 1.6.9. Each row begins with the defaults.
const TABLE: [Row; 12] = [
    (&[], 256),
    (&[("clock.force-quantum", "64")], 64),
    (&[("clock.force-quantum", "32")], 32),
    (&[("clock.force-quantum", "100")], 100),
    (&[("clock.force-quantum", "99999")], 8192),
    (&[("clock.force-quantum", "abc")], 256),
    (&[("clock.force-quantum", "0x40")], 256),
    (&[("clock.min-quantum", "1024")], 1024),
    (&[("clock.max-quantum", "64")], 64),
    (
        &[("clock.min-quantum", "1024"), ("clock.max-quantum", "64")],
        64,
    ),
    (&[("clock.max-quantum", "48")], 32),
    (&[("clock.quantum", "512")], 256),
];

const DEFAULTS: [(&str, &str); 4] = [
    ("clock.force-quantum", "0"),
    ("clock.quantum", "1024"),
    ("clock.min-quantum", "32"),
    ("clock.max-quantum", "2048"),
];

fn running(daemon: &dyn Daemon) -> Option<u64> {
    let drivers = daemon.drivers(grade::LONGEST_WAIT).unwrap()?;
    let sink = drivers
        .into_iter()
        .find(|driver| driver.cycle.name == "test-sink")?;
    Some(sink.cycle.duration)
}

/// Runs the table on a daemon that plays, beside the fake, and returns that daemon.
fn table(name: &str, stock: Stock, differs: &[(usize, u64)]) -> Option<Bench> {
    let mut bench = Bench::start(name, stock)?;
    bench.play();
    let mut daemon = NativeDaemon::new(bench.remote());
    until("the player", || running(&daemon) == Some(256));
    let version = daemon.view().unwrap().unwrap().core.version;
    let fake = MemoryDaemon::new("1.4.2").playing("test-sink", Some(256));
    let mut fake = fake.for_process(&alive());
    fake.view().unwrap();
    let minimum = daemon.view().unwrap().unwrap();
    let minimum = minimum.setting("clock.min-quantum").unwrap().to_owned();
    for (number, (set, expected)) in TABLE.iter().enumerate() {
        for (key, value) in DEFAULTS.iter().chain(*set) {
            // 0.3.65 ships another smallest quantum.
            let shipped = *key == "clock.min-quantum" && *value == "32";
            let value = if shipped { minimum.as_str() } else { value };
            daemon.set(key, None, Some(value)).unwrap();
            fake.set(key, None, Some(value)).unwrap();
        }
        let known = differs.iter().find(|(row, _)| *row == number);
        let real = known.map_or(*expected, |(_, real)| *real);
        until(&format!("{version}: {set:?}, wanted {real}"), || {
            running(&daemon) == Some(real)
        });
        assert_eq!(running(&fake), Some(*expected), "the fake: {set:?}");
    }
    // As pw-top sees it, where that can print a table.
    until("the quantum in pw-top", || {
        let top = bench.run("pw-top", &["-b", "-n", "2"]);
        let of_the_sink = top.lines().rfind(|line| line.contains("test-sink"));
        let words: Vec<&str> = of_the_sink.unwrap_or("").split_ascii_whitespace().collect();
        let runs = matches!(words[..], ["R", _, "256", "48000", ..]);
        top.is_empty() || runs
    });

    // The grades of a real driver.
    let settings = RuntimeSettings {
        force_quantum: Some(Frames(64)),
        ..RuntimeSettings::default()
    };
    let store = MemoryStore::new();
    let mut process = session(&bench, &store, &alive());
    let _ = settings.apply(&mut process).unwrap();
    // Until it is: the player of 0.3.65 may crash at any moment, and then nothing runs for a while.
    let effect = "is in effect: test-sink runs 64 frames at 48000 Hz (1.33 ms)";
    until(&format!("{version}: the forced quantum"), || {
        let grades = grade::verify(&host(&bench), &settings).unwrap();
        grades.is_effective() && grades.keys[0].to_string().contains(effect)
    });
    assert!(process.revert().unwrap().is_complete());
    until("the quantum as before", || running(&daemon) == Some(256));

    Some(bench)
}

#[test]
fn each_setting_has_the_effect_that_was_measured_on_1_4() {
    let name = "each_setting_has_the_effect_that_was_measured_on_1_4";
    let Some(mut bench) = table(name, Stock::Backports, &[]) else {
        return;
    };
    // A program whose node forces another quantum is named. On 0.3.65 PIPEWIRE_QUANTUM only asks for it.
    let daemon = NativeDaemon::new(bench.remote());
    let store = MemoryStore::new();
    let mut process = session(&bench, &store, &alive());
    bench.play_forcing("128/48000");
    until("the quantum of the second player", || {
        running(&daemon) == Some(128)
    });
    let settings = RuntimeSettings {
        force_quantum: None,
        ..all_64()
    };
    let _ = settings.apply(&mut process).unwrap();
    until("the grade of what is overridden", || {
        let grades = grade::verify(&host(&bench), &settings).unwrap();
        let max = &grades.keys[1];
        assert_eq!(max.key, SettingKey::MaxQuantum);
        let said = max.to_string();
        said.contains("64 is accepted and not in effect: test-sink runs 128 frames")
            && said.contains("(node.force-quantum = 128)")
    });
    assert!(process.revert().unwrap().is_complete());
}

#[test]
fn a_daemon_that_is_stopped_is_told_in_time() {
    let Some(bench) = Bench::start("a_daemon_that_is_stopped_is_told_in_time", Stock::Backports)
    else {
        return;
    };
    let daemon = NativeDaemon::new(bench.remote());
    let core = daemon.view().unwrap().unwrap().core;
    let id = core.property("application.process.id").unwrap();
    let id = rustix::process::Pid::from_raw(id.parse().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::STOP).unwrap();
    let began = std::time::Instant::now();
    let error = daemon.view().unwrap_err();
    rustix::process::kill_process(id, rustix::process::Signal::CONT).unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(*error.kind(), HostErrorKind::Busy, "{error}");
    assert!(
        error.to_string().contains("did not answer within 2000 ms"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("systemctl --user status"));
    // Afterwards it is asked as before.
    assert_eq!(daemon.view().unwrap().unwrap().core.cookie, core.cookie);
}

#[test]
fn each_setting_has_the_effect_that_was_measured_on_0_3() {
    // It rounds a forced quantum down to a power of two.
    table(
        "each_setting_has_the_effect_that_was_measured_on_0_3",
        Stock::Bookworm,
        &[(3, 64)],
    );
}

#[test]
fn nothing_that_runs_cannot_be_verified() {
    let Some(bench) = Bench::start("nothing_that_runs_cannot_be_verified", Stock::Backports) else {
        return;
    };
    let store = MemoryStore::new();
    let mut process = session(&bench, &store, &alive());
    let _ = all_64().apply(&mut process).unwrap();
    let began = std::time::Instant::now();
    let grades = grade::verify(&host(&bench), &all_64()).unwrap();
    assert!(!grades.is_effective());
    for key in &grades.keys {
        let said = key.to_string();
        assert!(
            said.contains("cannot be verified: no device runs"),
            "{said}"
        );
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}
