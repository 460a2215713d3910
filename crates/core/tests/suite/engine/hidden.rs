//! Values that are kept but not shown for a while, as those of a CPU that is offline.

use std::fmt;

use hosttune_core::testing::{Behaviour, Machine, World};
use hosttune_core::{Host, HostError, Knob, NotRevertedReason, Registry, Tuning};
use serde::{Deserialize, Serialize};

use crate::support::{get, process, say, write};
use crate::toys;

const VALUE: &str = "/sys/sleeper/value";

/// Shows `asleep` for a while, and after waking up the value that it was set to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sleeper;

impl fmt::Display for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sleeper")
    }
}

impl Knob for Sleeper {
    const NAME: &'static str = "sleeper";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        host.read_text(VALUE).map(|text| text.trim_end().to_owned())
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        host.write_value(VALUE, to.as_bytes())
    }
    fn hidden(&self, seen: &String) -> Option<String> {
        (seen == "asleep").then(|| "it is asleep".to_owned())
    }
}

fn knobs(registry: &mut Registry) {
    toys::knobs(registry);
    registry.add::<Sleeper>();
}

fn asleep() -> Machine {
    let memory = toys::memory().file(VALUE, "free", Behaviour::takes_all());
    let machine = Machine::new(memory, knobs);
    let ours = say(|at| {
        at.want(&Sleeper, &"ours".to_owned());
    });
    let _ = ours.apply(&mut process(&machine)).unwrap();
    write(&machine, VALUE, "asleep");
    machine
}

#[test]
fn what_is_hidden_for_now_is_nobody_elses_and_is_owed() {
    let machine = asleep();
    let pending = process(&machine).status().unwrap().pending;
    assert_eq!(pending[0].absent.as_deref(), Some("it is asleep"));
    for force in [false, true] {
        let reverted = process(&machine).force(force).revert().unwrap();
        let [left] = &reverted.not_reverted[..] else {
            panic!("{:#?}", reverted.not_reverted);
        };
        assert_eq!(
            left.reason,
            NotRevertedReason::Hidden("it is asleep".into())
        );
        assert!(reverted.is_complete());
        assert_eq!(get(&machine, VALUE), "asleep");
    }
    write(&machine, VALUE, "ours");
    assert_eq!(process(&machine).revert().unwrap().not_reverted, []);
    assert_eq!(get(&machine, VALUE), "free");
    assert!(machine.store().is_empty());
}

#[test]
fn what_another_process_has_set_meanwhile_is_theirs() {
    let machine = asleep();
    assert!(process(&machine).revert().unwrap().is_complete());
    write(&machine, VALUE, "theirs");
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted[0].reason, NotRevertedReason::Theirs);
}

#[test]
fn what_woke_up_with_its_original_is_back_already() {
    let machine = asleep();
    assert!(process(&machine).revert().unwrap().is_complete());
    write(&machine, VALUE, "free");
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert!(machine.store().is_empty());
}
