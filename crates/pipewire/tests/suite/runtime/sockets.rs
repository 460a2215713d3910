//! Which daemon a change belongs to: the one behind the socket that the journal names.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hosttune_core::testing::{CrashPoint, Memory, MemoryStore};
use hosttune_core::{Host, HostError, HostErrorKind, Operation, Session, Tuning};
use hosttune_pipewire::Frames;
use hosttune_pipewire::daemon::Remote;
use hosttune_pipewire::runtime::testing::MemoryDaemon;
use hosttune_pipewire::runtime::{
    self, Daemon, DaemonView, NativeDaemon, PipeWire, RunningDriver, RuntimeSettings,
};
use hosttune_test_machine::PipeWire as Stock;

use super::bench::Bench;

/// A process of this program whose environment names a socket, with its journal in `store`.
fn session(socket: &Path, store: &MemoryStore) -> Session {
    let alive = CrashPoint::lives();
    let daemon = NativeDaemon::new(Remote::at(socket));
    let host = Host::new(Memory::new().host(&alive)).with_backend(PipeWire::over(daemon));
    let session = Session::new(host, "laws", store.of(&alive), "boot").unwrap();
    session.with(runtime::knobs)
}

fn force() -> RuntimeSettings {
    RuntimeSettings {
        quantum: Some(Frames(64)),
        force_quantum: Some(Frames(64)),
        ..RuntimeSettings::default()
    }
}

#[test]
fn a_revert_goes_to_the_daemon_that_was_set_whatever_it_is_told() {
    let name = "a_revert_goes_to_the_daemon_that_was_set_whatever_it_is_told";
    for stock in Stock::ALL {
        let Some(mut bench) = Bench::start(name, stock) else {
            return;
        };
        bench.start_beside("music");
        let was = (bench.metadata(), bench.metadata_of("music"));
        let (first, music) = (bench.socket("pipewire-0"), bench.socket("music"));
        // A socket of another name, and one that no daemon has.
        for other in [first.clone(), bench.socket("nothing")] {
            let store = MemoryStore::new();
            let _ = force().apply(&mut session(&music, &store)).unwrap();
            assert_ne!(bench.metadata_of("music"), was.1, "{stock:?}");
            let process = session(&other, &store);
            let status = process.status().unwrap();
            assert_eq!(status.pending.len(), 2, "{status:?}");
            for pending in &status.pending {
                assert!(pending.absent.is_none() && pending.is_ours, "{status:?}");
                assert!(pending.knob.text.contains("/run/music)"), "{status:?}");
            }
            let reverted = session(&other, &store).revert().unwrap();
            assert!(reverted.is_complete(), "{stock:?}: {reverted:?}");
            assert_eq!(bench.metadata_of("music"), was.1, "{stock:?}");
            assert_eq!(bench.metadata(), was.0, "{stock:?}");
            assert!(store.is_empty());
        }
        // Both are set, and one revert undoes both.
        let store = MemoryStore::new();
        let _ = force().apply(&mut session(&first, &store)).unwrap();
        let _ = force().apply(&mut session(&music, &store)).unwrap();
        assert_ne!(bench.metadata(), was.0);
        assert_ne!(bench.metadata_of("music"), was.1);
        let reverted = session(&first, &store).revert().unwrap();
        assert!(reverted.is_complete(), "{stock:?}: {reverted:?}");
        let now = (bench.metadata(), bench.metadata_of("music"));
        assert_eq!(now, was, "{stock:?}");
        assert!(store.is_empty());
    }
}

#[test]
fn a_daemon_whose_directory_is_away_is_not_taken_for_ended() {
    let name = "a_daemon_whose_directory_is_away_is_not_taken_for_ended";
    let Some(bench) = Bench::start(name, Stock::Backports) else {
        return;
    };
    let was = bench.metadata();
    let store = MemoryStore::new();
    let socket = bench.socket("pipewire-0");
    let _ = force().apply(&mut session(&socket, &store)).unwrap();
    let directory = socket.parent().unwrap();
    let away = directory.with_extension("away");
    std::fs::rename(directory, &away).unwrap();
    let reverted = session(&socket, &store).revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 2, "{reverted:?}");
    let said = format!("{:?}", reverted.not_reverted);
    assert!(
        said.contains("is not there, so it cannot be determined"),
        "{said}"
    );
    let status = session(&socket, &store).status().unwrap();
    assert_eq!(status.pending.len(), 2, "{status:?}");
    std::fs::rename(&away, directory).unwrap();
    assert!(session(&socket, &store).revert().unwrap().is_complete());
    assert_eq!(bench.metadata(), was);
    assert!(store.is_empty());
}

/// The variable by which the test below tells itself, in a PID namespace, where the daemon is.
const SOCKET: &str = "HOSTTUNE_TEST_SOCKET";

#[test]
fn from_another_pid_namespace_no_daemon_is_taken_for_ended() {
    let name = "from_another_pid_namespace_no_daemon_is_taken_for_ended";
    if let Ok(socket) = std::env::var(SOCKET) {
        let daemon = NativeDaemon::new(Remote::at(&socket));
        let why = daemon.out_of_reach().unwrap();
        assert!(why.unwrap().contains("another PID namespace"));
        let error = daemon.view().unwrap_err();
        assert!(
            error.to_string().contains("another PID namespace"),
            "{error}"
        );
        println!("asked in the namespace");
        return;
    }
    for stock in Stock::ALL {
        let Some(bench) = Bench::start(name, stock) else {
            return;
        };
        let program = std::env::current_exe().unwrap();
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc"])
            .arg(program)
            .args(["--nocapture", "--exact"])
            .arg(format!("runtime::sockets::{name}"))
            .env(SOCKET, bench.socket("pipewire-0"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{stock:?}: {output:?}");
        assert!(
            said.contains("asked in the namespace"),
            "{stock:?}: {output:?}"
        );
    }
}

#[test]
fn the_status_says_that_another_daemon_runs_now() {
    let store = MemoryStore::new();
    let alive = CrashPoint::lives();
    let runs = MemoryDaemon::new("1.4.2");
    let daemon = PipeWire::over(runs.for_process(&alive));
    let host = Host::new(Memory::new().host(&alive)).with_backend(daemon);
    let session = Session::new(host, "laws", store.of(&alive), "boot").unwrap();
    let mut session = session.with(runtime::knobs);
    let _ = force().apply(&mut session).unwrap();
    runs.restart();
    let status = session.status().unwrap();
    assert_eq!(status.pending.len(), 2, "{status:?}");
    for pending in &status.pending {
        let said = pending.absent.as_deref();
        let wanted = "the daemon that had it has ended, and another runs now";
        assert_eq!(said, Some(wanted), "{status:?}");
    }
}

/// A daemon that is stopped, and the number of times that its answer was waited for.
#[derive(Debug, Clone, Default)]
struct Stopped(Arc<AtomicU32>);

impl Stopped {
    fn waits(&self) -> HostError {
        self.0.fetch_add(1, Ordering::Relaxed);
        HostError::new(Operation::Backend, "PipeWire", HostErrorKind::Busy)
    }
}

impl Daemon for Stopped {
    fn view(&self) -> Result<Option<DaemonView>, HostError> {
        Err(self.waits())
    }

    fn set(&mut self, _: &str, _: Option<&str>, _: Option<&str>) -> Result<(), HostError> {
        Err(self.waits())
    }

    fn drivers(&self, _: Duration) -> Result<Option<Vec<RunningDriver>>, HostError> {
        Err(self.waits())
    }
}

#[test]
fn a_daemon_that_does_not_answer_is_waited_for_once() {
    let store = MemoryStore::new();
    let alive = CrashPoint::lives();
    let session = |daemon: PipeWire| {
        let host = Host::new(Memory::new().host(&alive)).with_backend(daemon);
        let session = Session::new(host, "laws", store.of(&alive), "boot").unwrap();
        session.with(runtime::knobs)
    };
    let runs = MemoryDaemon::new("1.4.2");
    let answers = || PipeWire::over(runs.for_process(&alive));
    let was = runs.snapshot();
    let _ = force().apply(&mut session(answers())).unwrap();
    let stopped = Stopped::default();
    let reverted = session(PipeWire::over(stopped.clone())).revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 2, "{reverted:?}");
    assert_eq!(stopped.0.load(Ordering::Relaxed), 1);
    // Another process asks it, and by then it answers.
    assert!(session(answers()).revert().unwrap().is_complete());
    assert_eq!(runs.snapshot(), was);
    assert!(store.is_empty());
}
