//! Shared by these tests: a machine, processes on it, and knobs that misbehave.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hosttune_core::host::Operation;
use hosttune_core::journal::{JournalError, JournalLocation, Store};
use hosttune_core::testing::{Behaviour, CrashPoint, Machine, MemoryStore, Moment, World};
use hosttune_core::{
    Error, Host, HostError, HostErrorKind, Knob, Planner, Registry, Session, Tuning, Unsupported,
    UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use crate::toys::{self, Dial, Want, Wants};

pub(crate) const MOMENTS: [Moment; 3] = [Moment::Before, Moment::Within, Moment::After];
pub(crate) const EBUSY: i32 = 16;
pub(crate) const EINVAL: i32 = 22;

/// The owner of the laws' sessions, and so of the sessions here.
pub(crate) const OWNER: &str = "laws";

macro_rules! named {
    ($($knob:ident $name:literal),*) => {$(
        impl fmt::Display for $knob {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($name)
            }
        }
    )*};
}
named!(Needs "needs", NeverSupported "lacking", Noted "noted", Fuse "fuse", Secret "secret", Impostor "impostor");

fn value(host: &Host, path: &str) -> Result<String, HostError> {
    Ok(host.read_text(path)?.trim_end().to_owned())
}

fn set(host: &mut Host, path: &str, to: &str) -> Result<(), HostError> {
    host.write_value(path, format!("{to}\n").as_bytes())
}

/// Supported only while dial c is at 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Needs;

impl Knob for Needs {
    const NAME: &'static str = "needs";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        value(host, "/sys/needs")
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        set(host, "/sys/needs", to)
    }
    fn unsupported(&self, host: &Host, _: &String) -> Result<Option<Unsupported>, HostError> {
        let cured = value(host, "/sys/dial/c")? == "1";
        Ok((!cured).then(|| {
            Unsupported::new(UnsupportedKind::ValueUnavailable, "dial c is not at 1")
                .cured_by(&Dial("c".into()), &"1".into())
        }))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NeverSupported;

impl Knob for NeverSupported {
    const NAME: &'static str = "lacking";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        value(host, "/sys/lacking")
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        set(host, "/sys/lacking", to)
    }
    fn unsupported(&self, _: &Host, _: &String) -> Result<Option<Unsupported>, HostError> {
        Ok(Some(
            Unsupported::new(UnsupportedKind::Missing, "this kernel has none")
                .hint("load its module"),
        ))
    }
}

/// Its state ends with a note of the kernel after `;`, which is never shown to people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Noted;

impl Noted {
    fn shown(state: &str) -> &str {
        state.split(';').next().unwrap_or_default()
    }
}

impl Knob for Noted {
    const NAME: &'static str = "noted";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        Ok(value(host, "/sys/dial/a")? + ";a note")
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        set(host, "/sys/dial/a", Self::shown(to))
    }
    fn satisfies(&self, seen: &String, wanted: &String) -> bool {
        Self::shown(seen) == Self::shown(wanted)
    }
    fn show(&self, state: &String) -> String {
        Self::shown(state).to_owned()
    }
}

fn no_fuse(kind: UnsupportedKind, why: &str) -> HostError {
    HostError::not_applicable(Operation::Write, "/sys/fuse", Unsupported::new(kind, why))
}

/// Reports only when it is set that it is unsupported, permanently or at the moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fuse;

impl Knob for Fuse {
    const NAME: &'static str = "fuse";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        value(host, "/sys/fuse")
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        set(host, "/sys/fuse", to).map_err(|error| match error.kind() {
            HostErrorKind::Refused => {
                no_fuse(UnsupportedKind::ValueUnavailable, "there is no such speed")
            }
            HostErrorKind::Busy => no_fuse(UnsupportedKind::Busy, "something runs on it"),
            _ => error,
        })
    }
}

/// Cannot be read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Secret;

impl Knob for Secret {
    const NAME: &'static str = "secret";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        value(host, "/sys/secret")
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        set(host, "/sys/secret", to)
    }
}

/// Another type with the name of `Dial`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Impostor;

impl Knob for Impostor {
    const NAME: &'static str = "dial";
    type State = u8;
    fn read(&self, _: &Host) -> Result<u8, HostError> {
        Ok(0)
    }
    fn set(&self, _: &mut Host, _: &u8) -> Result<(), HostError> {
        Ok(())
    }
}

pub(crate) fn knobs(registry: &mut Registry) {
    toys::knobs(registry);
    registry.add::<Needs>();
    registry.add::<NeverSupported>();
    registry.add::<Noted>();
    registry.add::<Fuse>();
    registry.add::<Secret>();
}

/// The machine of the laws with the files of the knobs above.
pub(crate) fn machine() -> Machine {
    let needs = Behaviour::new(|tree, path, value| {
        if tree.get("/sys/dial/c").as_deref() != Some("1") {
            return Err(EINVAL);
        }
        tree.set(path, value);
        Ok(())
    });
    let memory = toys::memory()
        .file("/sys/needs", "0", needs)
        .file("/sys/lacking", "0", Behaviour::takes_all())
        .file("/sys/fuse", "0", Behaviour::refuses(EINVAL))
        .file("/sys/secret", "0", Behaviour::takes_all())
        .mode("/sys/secret", 0o200);
    Machine::new(memory, knobs)
}

/// A machine whose driver refuses vfio and nevertheless binds it, 3 ms later.
pub(crate) fn refuses_and_binds_late() -> Machine {
    let machine = machine();
    let binds = Behaviour::new(|tree, path, value| {
        if value == "vfio" {
            let delay = Duration::from_millis(3);
            tree.later(delay, path, value, Behaviour::takes_all());
            return Err(EINVAL);
        }
        tree.set(path, value);
        Ok(())
    });
    behave(&machine, "/sys/device/driver", binds);
    machine
}

/// A process that does not crash.
pub(crate) fn process(machine: &Machine) -> Session {
    machine.session(&CrashPoint::lives()).unwrap()
}

pub(crate) fn apply(machine: &Machine, tuning: &impl Tuning) {
    let _ = tuning.apply(&mut process(machine)).unwrap();
}

pub(crate) fn get(machine: &Machine, path: &str) -> String {
    machine.memory().get(path).unwrap()
}

/// A write by another process, which the simulated kernel answers.
pub(crate) fn write(machine: &Machine, path: &str, value: &str) {
    machine.memory().write(path, value).unwrap();
}

/// Changes how a file of a running machine answers writes.
pub(crate) fn behave(machine: &Machine, path: &str, behaviour: Behaviour) {
    let _ = machine.memory().clone().behaving(path, behaviour);
}

pub(crate) fn dials(wanted: &[(&'static str, u8)]) -> Wants {
    Wants(
        wanted
            .iter()
            .map(|(name, to)| Want::Dial(name, *to))
            .collect(),
    )
}

/// A tuning whose declaration cannot fail.
pub(crate) struct Say<F>(F);

pub(crate) fn say<F: Fn(&mut Planner<'_>)>(declare: F) -> Say<F> {
    Say(declare)
}

impl<F: Fn(&mut Planner<'_>)> Tuning for Say<F> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        (self.0)(at);
        Ok(())
    }
}

/// Lets a process crash at every one of its writes, at every moment of the write, each time on a new
/// machine, and checks what is left. Returns how many writes there were.
pub(crate) fn at_every_death(
    prepare: impl Fn() -> Machine,
    work: impl Fn(&mut Session),
    check: impl Fn(&Machine, &str),
) -> u64 {
    let mut writes = 0;
    loop {
        let mut died = false;
        for moment in MOMENTS {
            let machine = prepare();
            let crash_point = CrashPoint::dies_at(writes, moment);
            work(&mut machine.session(&crash_point).unwrap());
            died |= crash_point.is_dead();
            check(&machine, &format!("dying at write {writes}, {moment:?}"));
        }
        if !died {
            return writes;
        }
        writes += 1;
    }
}

/// A store that counts how often the engine waits for the disk.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    pub(crate) store: MemoryStore,
    pub(crate) syncs: Arc<AtomicUsize>,
}

impl Store for Counting {
    fn path(&self, place: JournalLocation, owner: &str) -> String {
        self.store.path(place, owner)
    }
    fn read(&self, place: JournalLocation, owner: &str) -> Result<Option<Vec<u8>>, JournalError> {
        self.store.read(place, owner)
    }
    fn owners(&self, place: JournalLocation) -> Result<Vec<String>, JournalError> {
        self.store.owners(place)
    }
    fn write_at(
        &mut self,
        place: JournalLocation,
        owner: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), JournalError> {
        self.syncs.fetch_add(usize::from(sync), Ordering::Relaxed);
        self.store.write_at(place, owner, offset, bytes, sync)
    }
    fn replace(
        &mut self,
        place: JournalLocation,
        owner: &str,
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.store.replace(place, owner, bytes)
    }
    fn remove(&mut self, place: JournalLocation, owner: &str) -> Result<(), JournalError> {
        self.store.remove(place, owner)
    }
    fn lock(&mut self, note: &str) -> Result<(), JournalError> {
        self.store.lock(note)
    }
    fn unlock(&mut self) {
        self.store.unlock();
    }
    fn holder(&self) -> Option<String> {
        self.store.holder()
    }
}

/// The records of a journal file, as JSON.
pub(crate) fn records(bytes: &[u8]) -> Vec<serde_json::Value> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line.get(9..)?).ok())
        .collect()
}
