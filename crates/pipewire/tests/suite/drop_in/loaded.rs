//! What a running daemon has loaded, beside what its files say.

use std::time::Duration;

use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_core::{Host, HostError, Session, Tuning};
use hosttune_pipewire::ClockDropIn;
use hosttune_pipewire::merge::Environment;
use hosttune_pipewire::protocol::CoreInfo;
use hosttune_pipewire::runtime::{Daemon, DaemonView, PipeWire, RunningDriver};

use super::host;
use super::said::{fixed, session};

/// A daemon that was started before the files were written, or after.
#[derive(Debug)]
struct Started(Vec<(String, String)>);

impl Daemon for Started {
    fn view(&self) -> Result<Option<DaemonView>, HostError> {
        Ok(Some(DaemonView {
            core: CoreInfo {
                cookie: 1,
                user: "user".to_owned(),
                version: "1.4.2".to_owned(),
                name: "pipewire-0".to_owned(),
                properties: self.0.clone(),
            },
            settings: None,
            is_writable: false,
        }))
    }

    fn set(&mut self, key: &str, _: Option<&str>, _: Option<&str>) -> Result<(), HostError> {
        panic!("{key} of a running daemon is set");
    }

    fn drivers(&self, _: Duration) -> Result<Option<Vec<RunningDriver>>, HostError> {
        Ok(None)
    }
}

fn states(memory: &Memory, loaded: &[(&str, &str)], tuning: &ClockDropIn) -> Vec<String> {
    let properties = loaded
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let host = Host::new(memory.host(&CrashPoint::lives()))
        .with_backend(PipeWire::over(Started(properties.collect())));
    let store = hosttune_core::testing::MemoryStore::new().of(&CrashPoint::lives());
    let session = Session::new(host, "gaming", store, "boot")
        .expect("the session is opened")
        .with(hosttune_pipewire::knobs);
    let report = tuning.verify(&session).expect("it is verified");
    report
        .items
        .iter()
        .filter(|item| item.name.starts_with("default.clock"))
        .map(|item| {
            format!(
                "{}: {}",
                item.name.replace(" of the running PipeWire", ""),
                item.state.name()
            )
        })
        .collect()
}

#[test]
fn settings_are_pending_until_the_daemon_has_loaded_them() {
    let memory = host();
    let _ = fixed(64).apply(&mut session(&memory)).unwrap();
    let rate = ("default.clock.rate", "48000");
    let old = [
        rate,
        ("default.clock.quantum", "1024"),
        ("default.clock.min-quantum", "32"),
        ("default.clock.max-quantum", "2048"),
    ];
    assert_eq!(
        states(&memory, &old, &fixed(64)),
        [
            "default.clock.rate: matches",
            "default.clock.quantum: pending",
            "default.clock.min-quantum: pending",
            "default.clock.max-quantum: pending",
        ]
    );
    let new = [
        rate,
        ("default.clock.quantum", "64"),
        ("default.clock.min-quantum", "64"),
        ("default.clock.max-quantum", "64"),
    ];
    let all = states(&memory, &new, &fixed(64));
    assert!(
        all.iter().all(|state| state.ends_with(": matches")),
        "{all:?}"
    );
    // In a virtual machine, which the daemon names, the rule's text is what it loads.
    let vm = [
        rate,
        ("default.clock.quantum", "64"),
        ("default.clock.min-quantum", "1024"),
        ("default.clock.max-quantum", "64"),
        ("cpu.vm.name", "qemu"),
    ];
    let all = states(&memory, &vm, &fixed(64));
    assert!(
        all.iter().all(|state| state.ends_with(": matches")),
        "{all:?}"
    );
}

#[test]
fn a_setting_that_another_file_unsets_is_loaded_with_its_default() {
    let memory = host();
    let _ = fixed(64).apply(&mut session(&memory)).unwrap();
    let text =
        "context.properties = { default.clock.quantum = null default.clock.max-quantum = null }";
    let memory = memory.content(
        "/etc/pipewire/pipewire.conf.d/95-x.conf",
        FileContent::new(text),
    );
    let loaded = [
        ("default.clock.rate", "48000"),
        ("default.clock.quantum", "1024"),
        ("default.clock.min-quantum", "64"),
        ("default.clock.max-quantum", "2048"),
    ];
    let all = states(&memory, &loaded, &fixed(64));
    assert!(
        all.iter().all(|state| state.ends_with(": matches")),
        "{all:?}"
    );
}

#[test]
fn what_a_daemon_keeps_until_its_restart_is_said() {
    let memory = host();
    let mut process = session(&memory);
    let _ = fixed(64).apply(&mut process).unwrap();
    let said = |quantum: &str| {
        let all = [
            ("default.clock.rate", "48000"),
            ("default.clock.quantum", quantum),
            ("default.clock.min-quantum", quantum),
            ("default.clock.max-quantum", quantum),
        ];
        let loaded = all.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let host = Host::new(memory.host(&CrashPoint::lives()))
            .with_backend(PipeWire::over(Started(loaded.to_vec())));
        hosttune_pipewire::pending_restart(&host, &Environment::default()).unwrap()
    };
    // It was started with the file.
    assert_eq!(said("64"), None);
    let before = said("128").unwrap();
    assert!(
        before.contains("default.clock.quantum 128 (its files give 64)"),
        "{before}"
    );
    assert!(process.revert().unwrap().is_complete());
    let after = said("64").unwrap();
    assert!(
        after.contains("systemctl --user restart pipewire.service"),
        "{after}"
    );
    assert!(
        after.contains("default.clock.quantum 64 (its files give 1024)"),
        "{after}"
    );
    assert!(
        after.contains("default.clock.max-quantum 64 (its files give 2048)"),
        "{after}"
    );
    assert!(!after.contains("default.clock.rate"), "{after}");
}
