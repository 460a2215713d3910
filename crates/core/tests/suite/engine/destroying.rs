//! Undoing a step can destroy the value of another knob for good, as that of a device that is removed.

use std::fmt;

use hosttune_core::testing::{Machine, World};
use hosttune_core::{AnyKnob, Host, HostError, Knob, NotRevertedReason, Registry, Reverted};
use serde::{Deserialize, Serialize};

use crate::support::{self, apply, dials, get, process, say, write};
use crate::toys::Dial;

/// A shelf that stands on dial a, with dial b on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shelf;

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shelf")
    }
}

impl Knob for Shelf {
    const NAME: &'static str = "shelf";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        Dial("a".into()).read(host)
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        Dial("a".into()).set(host, to)?;
        if to == "0" {
            Dial("b".into()).set(host, to)?;
        }
        Ok(())
    }
    fn destroys(&self, _: &Host, to: &String) -> Result<Vec<AnyKnob>, HostError> {
        let is_removed = to == "0";
        let lost = is_removed.then(|| AnyKnob::of(&Dial("b".into())));
        Ok(lost.into_iter().collect())
    }
}

/// The shelf is there, and dial b is at 5.
fn shelved() -> Machine {
    fn knobs(registry: &mut Registry) {
        support::knobs(registry);
        registry.add::<Shelf>();
    }
    let machine = Machine::new(support::machine().memory().clone(), knobs);
    apply(
        &machine,
        &say(|at| {
            at.want(&Shelf, &"1".to_owned());
        }),
    );
    apply(&machine, &dials(&[("b", 5)]));
    machine
}

fn reasons(reverted: &Reverted) -> Vec<(&str, &NotRevertedReason)> {
    let left = reverted.not_reverted.iter();
    left.map(|left| (left.knob.text.as_str(), &left.reason))
        .collect()
}

#[test]
fn a_value_of_another_process_is_not_destroyed_by_undoing_an_earlier_step() {
    let machine = shelved();
    write(&machine, "/sys/dial/b", "7");
    let waits = NotRevertedReason::WaitsFor("b".to_owned());
    for _ in 0..2 {
        let reverted = process(&machine).revert().unwrap();
        let left = [("b", &NotRevertedReason::Theirs), ("shelf", &waits)];
        assert_eq!(reasons(&reverted), left);
        assert!(reverted.is_complete());
        assert_eq!(get(&machine, "/sys/dial/a"), "1");
        assert_eq!(get(&machine, "/sys/dial/b"), "7");
    }
    // The other process has put ours back.
    let again = machine.fork();
    write(&again, "/sys/dial/b", "5");
    assert_eq!(process(&again).revert().unwrap().not_reverted, []);
    assert_eq!(get(&again, "/sys/dial/a"), "0");
    assert!(again.store().is_empty());

    let mut session = process(&machine);
    session.force(true);
    assert_eq!(session.revert().unwrap().not_reverted, []);
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert!(machine.store().is_empty());
}

/// Only the shelf is selected.
#[test]
fn a_step_that_is_not_selected_is_not_destroyed_either() {
    let machine = shelved();
    let reverted = process(&machine).revert_declared(|at| {
        at.want(&Shelf, &"1".to_owned());
        Ok(())
    });
    let waits = NotRevertedReason::WaitsFor("b".to_owned());
    assert_eq!(reasons(&reverted.unwrap()), [("shelf", &waits)]);
    assert_eq!(get(&machine, "/sys/dial/b"), "5");
    assert_eq!(process(&machine).revert().unwrap().not_reverted, []);
    assert!(machine.store().is_empty());
}
