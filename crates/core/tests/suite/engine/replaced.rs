//! Devices that disappear, and others that take their place under the same name.

use std::fmt;

use hosttune_core::testing::{Behaviour, CrashPoint, Machine, World};
use hosttune_core::{Host, HostError, Knob, Registry, Session, Tuning};
use serde::{Deserialize, Serialize};

use crate::support::{get, process, records, say, write};
use crate::toys;

const VALUE: &str = "/sys/plug/value";
const SERIAL: &str = "/sys/plug/serial";
const DEFAULT: &str = "/sys/plug/default";

/// A device that is plugged in, with its own serial number. Its original value is whatever the default
/// is at the time of the revert.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plugged;

impl fmt::Display for Plugged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plugged")
    }
}

impl Knob for Plugged {
    const NAME: &'static str = "plugged";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        host.read_text(VALUE).map(|text| text.trim_end().to_owned())
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        host.write_value(VALUE, to.as_bytes())
    }
    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        let serial = host.read_text(SERIAL)?;
        Ok(Some(serial.trim_end().to_owned()).filter(|serial| serial != "none"))
    }
    fn revert_note(&self, host: &Host, from: &String) -> Option<String> {
        let default = host.read_text(DEFAULT).ok()?;
        (default.trim_end() != from).then(|| format!("the default is {} now", default.trim_end()))
    }
}

fn knobs(registry: &mut Registry) {
    toys::knobs(registry);
    registry.add::<Plugged>();
}

fn machine() -> Machine {
    let memory = toys::memory()
        .file(VALUE, "free", Behaviour::takes_all())
        .file(SERIAL, "1", Behaviour::takes_all())
        .file(DEFAULT, "free", Behaviour::takes_all());
    Machine::new(memory, knobs)
}

fn ours() -> impl Tuning {
    say(|at| {
        at.want(&Plugged, &"ours".to_owned());
        at.want(&toys::Dial("a".into()), &"5".to_owned());
    })
}

/// Replaces the device by another one, which shows this value.
fn plug_in(machine: &Machine, serial: usize, shows: &str) {
    write(machine, SERIAL, &serial.to_string());
    write(machine, VALUE, shows);
}

#[test]
fn what_has_been_replaced_two_hundred_times_is_owed_once_and_put_back_as_it_came() {
    let machine = machine();
    let _ = ours().apply(&mut process(&machine)).unwrap();
    for serial in 2..=200 {
        plug_in(&machine, serial, &format!("came {serial}"));
        let applied = ours().apply(&mut process(&machine)).unwrap();
        assert_eq!(applied.changed.len(), 1);
        assert_eq!(process(&machine).status().unwrap().pending.len(), 2);
        assert!(machine.store().longest() < 80 * 1024, "number {serial}");
    }
    let pending = process(&machine).status().unwrap().pending;
    let plugged = pending
        .iter()
        .find(|pending| pending.knob.text == "plugged");
    assert_eq!(plugged.unwrap().identity.as_deref(), Some("200"));

    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(reverted.undone.len(), 2);
    assert_eq!(get(&machine, VALUE), "came 200");
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert!(machine.store().is_empty());
}

/// By chance, or because another program sets the same value: it was never ours.
#[test]
fn another_one_that_shows_our_value_is_left_as_it_is() {
    let machine = machine();
    let _ = ours().apply(&mut process(&machine)).unwrap();
    plug_in(&machine, 2, "ours");
    let reverted = process(&machine).force(true).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(get(&machine, VALUE), "ours");
    assert!(machine.store().is_empty());
}

#[test]
fn while_nothing_is_there_the_knob_itself_says_how_it_stands() {
    let machine = machine();
    let _ = ours().apply(&mut process(&machine)).unwrap();
    write(&machine, SERIAL, "none");
    assert!(process(&machine).revert().unwrap().is_complete());
    assert_eq!(get(&machine, VALUE), "free");
}

#[test]
fn a_process_that_dies_in_between_leaves_nothing_that_is_not_put_back() {
    for write in 0.. {
        let machine = machine();
        let _ = ours().apply(&mut process(&machine)).unwrap();
        plug_in(&machine, 2, "came 2");
        let crash_point = CrashPoint::dies_at(write, hosttune_core::testing::Moment::Within);
        let mut session: Session = machine.session(&crash_point).unwrap();
        let _ = ours().apply(&mut session);
        let reverted = process(&machine).revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "{write}");
        assert_eq!(get(&machine, VALUE), "came 2", "{write}");
        assert_eq!(get(&machine, "/sys/dial/a"), "0", "{write}");
        if !crash_point.is_dead() {
            assert!(write > 3);
            break;
        }
    }
}

#[test]
fn where_the_way_back_leads_elsewhere_a_revert_says_so_once() {
    let machine = machine();
    let _ = ours().apply(&mut process(&machine)).unwrap();
    write(&machine, DEFAULT, "other");
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.notes, ["the default is other now"]);
    // For a device that is gone there is no note.
    let _ = ours().apply(&mut process(&machine)).unwrap();
    plug_in(&machine, 2, "free");
    let reverted = process(&machine).revert().unwrap();
    assert!(reverted.notes.is_empty(), "{:?}", reverted.notes);
}

/// A knob without an identity has no such field, so its journals and plans are as before.
#[test]
fn what_is_known_by_its_name_is_written_as_before() {
    let machine = machine();
    let _ = ours().apply(&mut process(&machine)).unwrap();
    let bytes = machine
        .store()
        .bytes(
            hosttune_core::journal::JournalLocation::Volatile,
            crate::support::OWNER,
        )
        .unwrap();
    let begun = records(&bytes)
        .into_iter()
        .find(|record| record["record"] == "begin")
        .unwrap();
    assert_eq!(begun["steps"][0]["identity"], "1");
    assert_eq!(begun["steps"][1].get("identity"), None);
}
