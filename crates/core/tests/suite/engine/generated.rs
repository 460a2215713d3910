//! A state that a program makes from what other knobs set.

use std::fmt;

use hosttune_core::testing::{Behaviour, Machine, World};
use hosttune_core::{Host, HostError, Knob, NotRevertedReason, Registry, Tuning};
use serde::{Deserialize, Serialize};

use crate::support::{self, at_every_death, dials, get, process, say, write};
use crate::toys::Dial;

const COPY: &str = "/sys/copy";
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// A copy of dial a: whatever is requested, its program copies what the dial shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Copy;

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("copy")
    }
}

impl Knob for Copy {
    const NAME: &'static str = "copy";
    const IS_GENERATED: bool = true;
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        host.read_text(COPY).map(|text| text.trim_end().to_owned())
    }
    fn set(&self, host: &mut Host, _: &String) -> Result<(), HostError> {
        let shown = Dial("a".into()).read(host)?;
        host.write_value(COPY, shown.as_bytes())
    }
}

/// A value of a network namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Local;

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("local")
    }
}

impl Knob for Local {
    const NAME: &'static str = "local";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        Dial("b".into()).read(host)
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        Dial("b".into()).set(host, to)
    }
    fn is_of_network_namespace(&self) -> bool {
        true
    }
}

fn machine() -> Machine {
    fn knobs(registry: &mut Registry) {
        support::knobs(registry);
        registry.add::<Copy>();
        registry.add::<Local>();
    }
    let memory = support::machine().memory().clone();
    let memory = memory
        .file(COPY, "0", Behaviour::takes_all())
        .link(NAMESPACE, "net:[1]");
    Machine::new(memory, knobs)
}

fn copied(value: u8) -> impl Tuning {
    say(move |at| {
        let value = value.to_string();
        at.want(&Dial("a".into()), &value);
        at.want(&Copy, &value);
    })
}

#[test]
fn what_is_generated_is_reverted_after_what_it_is_generated_from() {
    let machine = machine();
    let before = machine.snapshot();
    support::apply(&machine, &copied(1));
    assert_eq!(get(&machine, COPY), "1");
    let reverted = process(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    let order = reverted.undone.iter();
    let order: Vec<&str> = order.map(|undone| undone.knob.text.as_str()).collect();
    assert_eq!(order, ["a", "copy"]);
    assert_eq!(machine.snapshot(), before);
    assert!(machine.store().is_empty());
}

#[test]
fn a_revert_that_is_killed_goes_on_in_the_same_order() {
    let prepare = || {
        let machine = machine();
        support::apply(&machine, &copied(1));
        machine
    };
    let before = machine().snapshot();
    let writes = at_every_death(
        prepare,
        |session| drop(session.revert()),
        |machine, when| {
            let reverted = process(machine).revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{when}");
            assert_eq!(machine.snapshot(), before, "{when}");
            assert!(machine.store().is_empty(), "{when}");
        },
    );
    assert!(writes >= 2, "{writes}");
}

/// The source was set by another process, and is left.
#[test]
fn what_is_generated_from_a_value_that_is_left_is_left_and_goes_back_later() {
    let machine = machine();
    support::apply(&machine, &copied(1));
    write(&machine, "/sys/dial/a", "7");
    let reverted = process(&machine).revert().unwrap();
    let left = reverted.not_reverted.iter();
    let left: Vec<_> = left
        .map(|left| (left.knob.text.as_str(), &left.reason))
        .collect();
    assert_eq!(left[0], ("a", &NotRevertedReason::Theirs));
    assert_eq!(left[1].0, "copy");
    assert_eq!(left.len(), 2);
    let _ = process(&machine).force(true).revert().unwrap();
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert_eq!(get(&machine, COPY), "0");
}

/// Steps of another network namespace, between the others and after them, stay without changing the order.
#[test]
fn steps_of_another_network_namespace_change_nothing_of_the_order() {
    let machine = machine();
    let before = machine.snapshot();
    let local = |value: u8| {
        say(move |at| {
            at.want(&Local, &value.to_string());
        })
    };
    support::apply(&machine, &dials(&[("a", 1)]));
    support::apply(&machine, &local(1));
    support::apply(&machine, &copied(2));
    support::apply(&machine, &local(2));
    let enter = |namespace: &str| drop(machine.memory().clone().link(NAMESPACE, namespace));
    enter("net:[2]");
    let reverted = process(&machine).revert().unwrap();
    let mut left = reverted.not_reverted.iter();
    assert!(left.all(|left| left.knob.text == "local"), "{reverted:#?}");
    assert_eq!(get(&machine, "/sys/dial/a"), "0");
    assert_eq!(get(&machine, COPY), "0");
    assert_eq!(get(&machine, "/sys/dial/b"), "2");
    enter("net:[1]");
    assert_eq!(process(&machine).revert().unwrap().not_reverted, []);
    assert_eq!(machine.snapshot(), before);
    assert!(machine.store().is_empty());
}
