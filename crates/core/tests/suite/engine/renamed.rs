//! Devices that get another name while changes of them are in effect.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use hosttune_core::testing::{Behaviour, Machine, World};
use hosttune_core::{Host, HostError, Knob, Registry, Tuning};
use serde::{Deserialize, Serialize};

use crate::support::{get, process, say, write};
use crate::toys;

const NAMES: [&str; 2] = ["a", "b"];

fn value(name: &str) -> String {
    format!("/sys/port/{name}/value")
}

fn serial(name: &str) -> String {
    format!("/sys/port/{name}/serial")
}

/// The serial number of the device with this name, if there is one.
fn serial_of(host: &Host, name: &str) -> Result<Option<String>, HostError> {
    let serial = host.read_text(serial(name))?;
    Ok(Some(serial.trim_end().to_owned()).filter(|serial| serial != "none"))
}

fn first_word(identity: &str) -> &str {
    identity.split(' ').next().unwrap_or_default()
}

/// A device with a serial number, under a name that can change. Only some versions know what follows
/// the first word of the serial number.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Port(String);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

impl Knob for Port {
    const NAME: &'static str = "port";
    const CAN_BE_RENAMED: bool = true;
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        let text = host.read_text(value(&self.0))?;
        Ok(text.trim_end().to_owned())
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        host.write_value(value(&self.0), to.as_bytes())
    }
    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        serial_of(host, &self.0)
    }
    fn is_same_thing(identity: &str, other: &str) -> bool {
        first_word(identity) == first_word(other)
    }
    fn renamed(&self, host: &Host, identity: &str) -> Result<Option<Self>, HostError> {
        for name in NAMES {
            let serial = serial_of(host, name)?;
            if serial.is_some_and(|serial| Self::is_same_thing(&serial, identity)) {
                return Ok(Some(Self(name.to_owned())));
            }
        }
        Ok(None)
    }
}

/// The same for a type whose devices keep their names.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Socket(String);

/// How often the identity of any socket was read.
static ASKED: AtomicUsize = AtomicUsize::new(0);

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {}", self.0)
    }
}

impl Knob for Socket {
    const NAME: &'static str = "socket";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        Port(self.0.clone()).read(host)
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        Port(self.0.clone()).set(host, to)
    }
    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        ASKED.fetch_add(1, Ordering::Relaxed);
        serial_of(host, &self.0)
    }
    fn renamed(&self, _: &Host, _: &str) -> Result<Option<Self>, HostError> {
        panic!("it keeps its name")
    }
}

fn knobs(registry: &mut Registry) {
    toys::knobs(registry);
    registry.add::<Port>();
    registry.add::<Socket>();
}

/// With one device, `a`, whose value is rounded down to a multiple of 4.
fn machine() -> Machine {
    let mut memory = toys::memory();
    for (name, number) in NAMES.into_iter().zip(["1", "none"]) {
        memory = memory
            .file(value(name), "0", Behaviour::rounds_down_to(4))
            .file(serial(name), number, Behaviour::takes_all());
    }
    Machine::new(memory, knobs)
}

/// Renames `a` to `b`. `other` is the serial number of the device that is named `a` now, or `none`.
fn rename(machine: &Machine, other: &str) {
    let was = get(machine, &value("a"));
    write(machine, &value("b"), &was);
    write(machine, &serial("b"), "1");
    write(machine, &value("a"), "0");
    write(machine, &serial("a"), other);
}

fn port(name: &'static str, to: &'static str) -> impl Tuning {
    say(move |at| {
        at.want(&Port(name.to_owned()), &to.to_owned());
    })
}

/// Only the journal knows that the kernel rounds 7 to 4.
#[test]
fn a_plan_and_a_report_know_a_thing_by_its_new_name_as_an_apply_does() {
    for other in ["none", "2"] {
        let machine = machine();
        let _ = port("a", "7").apply(&mut process(&machine)).unwrap();
        assert_eq!(get(&machine, &value("a")), "4");
        rename(&machine, other);
        let plan = port("b", "7").plan(&process(&machine)).unwrap();
        assert!(plan.is_empty(), "{:#?}", plan.steps);
        let report = port("b", "7").verify(&process(&machine)).unwrap();
        assert!(report.is_as_wanted(), "{report:#?}");
        let applied = port("b", "7").apply(&mut process(&machine)).unwrap();
        assert_eq!(applied.changed.len(), 0);
        let pending = process(&machine).status().unwrap().pending;
        assert_eq!(pending[0].knob.text, "port b");
        assert_eq!(process(&machine).revert().unwrap().not_reverted, []);
        assert_eq!(get(&machine, &value("b")), "0");
        assert_eq!(get(&machine, &value("a")), "0");
        assert!(machine.store().is_empty());
    }
}

#[test]
fn a_kind_whose_things_keep_their_names_is_not_asked_for_new_ones() {
    let machine = machine();
    let socket = say(|at| {
        at.want(&Socket("a".to_owned()), &"8".to_owned());
    });
    let _ = socket.apply(&mut process(&machine)).unwrap();
    ASKED.store(0, Ordering::Relaxed);
    let _ = socket.verify(&process(&machine)).unwrap();
    assert_eq!(ASKED.load(Ordering::Relaxed), 0);
    rename(&machine, "none");
    let pending = process(&machine).status().unwrap().pending;
    assert_eq!(pending[0].knob.text, "socket a");
    assert_eq!(process(&machine).revert().unwrap().not_reverted, []);
}

#[test]
fn an_identity_that_an_earlier_version_wrote_down_is_of_the_same_thing() {
    let machine = machine();
    let _ = port("a", "8").apply(&mut process(&machine)).unwrap();
    write(&machine, &serial("a"), "1 with more");
    let pending = process(&machine).status().unwrap().pending;
    assert!(
        pending[0].is_ours && pending[0].absent.is_none(),
        "{pending:#?}"
    );
    assert_eq!(process(&machine).revert().unwrap().not_reverted, []);
    assert_eq!(get(&machine, &value("a")), "0");
}
