//! Knobs of network namespaces: each namespace is reverted in itself, and its originals are never lost
//! or confused with those of another one.

use std::fmt;

use hosttune_core::testing::laws::{self, Act};
use hosttune_core::testing::{Behaviour, CrashPoint, Machine, Memory, World};
use hosttune_core::{
    Error, Host, HostError, Knob, NotRevertedReason, Planner, Registry, Session, Tuning,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::laws::cases;
use crate::owners::acts_with;

const NAMESPACES: [&str; 3] = ["net:[1]", "net:[2]", "net:[3]"];

/// A value that each network namespace has by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Local(String);

/// A value of the whole machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Global(String);

macro_rules! knob {
    ($knob:ident, $name:literal, $is_local:literal, $file:expr) => {
        impl fmt::Display for $knob {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", $name, self.0)
            }
        }

        impl Knob for $knob {
            const NAME: &'static str = $name;
            type State = String;
            fn read(&self, host: &Host) -> Result<String, HostError> {
                let file = $file(host)?;
                Ok(host
                    .read_text(format!("{file}/{}", self.0))?
                    .trim_end()
                    .to_owned())
            }
            fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
                let file = $file(host)?;
                host.write_value(format!("{file}/{}", self.0), format!("{to}\n").as_bytes())
            }
            fn is_of_network_namespace(&self) -> bool {
                $is_local
            }
        }
    };
}

/// As `/proc/sys/net`: the files of the namespace of the process that looks.
fn of_namespace(host: &Host) -> Result<String, HostError> {
    Ok(format!(
        "/sys/{}",
        host.network_namespace()?.unwrap_or_default()
    ))
}

fn of_machine(_: &Host) -> Result<String, HostError> {
    Ok("/sys/machine".to_owned())
}

knob!(Local, "local", true, of_namespace);
knob!(Global, "global", false, of_machine);

#[derive(Debug, Clone)]
struct Values(Vec<(bool, &'static str, u8)>);

impl Tuning for Values {
    fn declare(&self, planner: &mut Planner<'_>) -> Result<(), Error> {
        for (is_local, name, value) in &self.0 {
            if *is_local {
                planner.want(&Local((*name).to_owned()), &value.to_string());
            } else {
                planner.want(&Global((*name).to_owned()), &value.to_string());
            }
        }
        Ok(())
    }
}

fn knobs(registry: &mut Registry) {
    registry.add::<Local>();
    registry.add::<Global>();
}

fn machine() -> Machine {
    let mut memory = Memory::new();
    let places = NAMESPACES.iter().copied().chain(["machine"]);
    for (number, of) in places.enumerate() {
        for name in ["a", "b"] {
            let file = format!("/sys/{of}/{name}");
            memory = memory.file(&file, &(100 + number).to_string(), Behaviour::takes_all());
        }
    }
    let machine = Machine::new(memory, knobs);
    enter(&machine, 0);
    machine
}

fn enter(machine: &Machine, namespace: usize) {
    link(machine, "/proc/thread-self/ns/net", NAMESPACES[namespace]);
}

fn link(machine: &Machine, path: &str, target: &str) {
    let _ = machine.memory().clone().link(path, target);
}

fn session(machine: &Machine, owner: &str, namespace: usize) -> Session {
    enter(machine, namespace);
    machine.session_of(owner, &CrashPoint::lives()).unwrap()
}

fn value(machine: &Machine, of: &str) -> String {
    machine.memory().get(format!("/sys/{of}/a")).unwrap()
}

fn local(value: u8) -> Values {
    Values(vec![(true, "a", value)])
}

fn values() -> impl Strategy<Value = Values> + Clone {
    let value = (any::<bool>(), prop::sample::select(vec!["a", "b"]), 0..3_u8);
    prop::collection::vec(value, 1..5).prop_map(|mut values| {
        values.sort_unstable();
        values.dedup_by_key(|(is_local, name, _)| (*is_local, *name));
        Values(values)
    })
}

type Acts = (Vec<(usize, Act<Values>)>, Vec<(usize, usize)>);

/// What the owners do in which namespace, and the order in which they revert in each at the end.
fn acts(faults: bool) -> impl Strategy<Value = Acts> {
    let deaths = (0..40_u64, crate::laws::moment()).prop_map(laws::Fault::Dies);
    acts_with(values(), faults.then(|| deaths.boxed())).prop_flat_map(|(acts, owners)| {
        let namespaces = prop::collection::vec(0..NAMESPACES.len(), acts.len());
        let all = |owner: usize| (0..NAMESPACES.len()).map(move |namespace| (owner, namespace));
        let last: Vec<(usize, usize)> = owners.into_iter().flat_map(all).collect();
        (namespaces, Just(acts), Just(last).prop_shuffle())
            .prop_map(|(namespaces, acts, last)| (namespaces.into_iter().zip(acts).collect(), last))
    })
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn namespaces_end_at_their_originals((acts, last) in acts(false)) {
        laws::owners_in_network_namespaces(&machine(), enter, &acts, &last)?;
    }

    #[test]
    fn namespaces_of_owners_who_die_end_at_their_originals((acts, last) in acts(true)) {
        laws::owners_in_network_namespaces(&machine(), enter, &acts, &last)?;
    }
}

#[test]
fn a_revert_elsewhere_keeps_the_entry_even_by_force() {
    for force in [false, true] {
        let machine = machine();
        let both = Values(vec![(true, "a", 3), (false, "a", 4)]);
        let _ = both.apply(&mut session(&machine, "one", 1)).unwrap();

        let mut here = session(&machine, "one", 0);
        let status = here.status().unwrap();
        let elsewhere = status
            .pending
            .iter()
            .filter(|pending| pending.network_namespace.is_some());
        assert_eq!(elsewhere.count(), 1);
        let reverted = here.force(force).revert().unwrap();
        assert_eq!(reverted.undone.len(), 1);
        let [left] = &*reverted.not_reverted else {
            panic!("{reverted}");
        };
        assert_eq!(
            left.reason,
            NotRevertedReason::AnotherNetworkNamespace(
                "it belongs to another network namespace (net:[2]): run this there".into()
            )
        );
        assert_eq!((left.original.as_str(), left.ours.as_str()), ("101", "3"));
        assert!(reverted.is_complete());
        assert_eq!(value(&machine, NAMESPACES[1]), "3");
        assert_eq!(value(&machine, "machine"), "103");

        let reverted = session(&machine, "one", 1).revert().unwrap();
        assert!(reverted.not_reverted.is_empty(), "{reverted}");
        assert_eq!(value(&machine, NAMESPACES[1]), "101");
    }
}

/// The value of the other namespace is no reason to do nothing here.
#[test]
fn each_namespace_has_an_original_of_its_own() {
    for reversed in [false, true] {
        let machine = machine();
        for namespace in [0, 1] {
            let applied = local(3)
                .apply(&mut session(&machine, "one", namespace))
                .unwrap();
            assert_eq!(applied.changed.len(), 1);
        }
        let order = if reversed { [1, 0] } else { [0, 1] };
        for namespace in order {
            let reverted = session(&machine, "one", namespace).revert().unwrap();
            assert_eq!(reverted.undone.len(), 1);
        }
        assert_eq!(value(&machine, NAMESPACES[0]), "100");
        assert_eq!(value(&machine, NAMESPACES[1]), "101");
    }
}

/// Nothing is passed on to an owner that has set the same knob in another namespace.
#[test]
fn owners_in_two_namespaces_do_not_hold_for_each_other() {
    let machine = machine();
    let _ = local(3).apply(&mut session(&machine, "one", 0)).unwrap();
    let _ = local(3).apply(&mut session(&machine, "two", 1)).unwrap();
    let reverted = session(&machine, "one", 0).revert().unwrap();
    assert_eq!(reverted.undone[0].held_by, None);
    assert_eq!(value(&machine, NAMESPACES[0]), "100");
    assert_eq!(value(&machine, NAMESPACES[1]), "3");
}

#[test]
fn a_stored_plan_is_stale_in_another_namespace() {
    let machine = machine();
    // The same values, so that nothing else tells the two apart.
    machine.memory().write("/sys/net:[2]/a", "100\n").unwrap();
    let plan = local(3).plan(&session(&machine, "one", 0)).unwrap();
    let refused = session(&machine, "one", 1).apply(&plan).unwrap_err();
    let Error::Stale(stale) = refused else {
        panic!("{refused}");
    };
    assert_eq!(
        (stale[0].planned.as_str(), stale[0].seen.as_str()),
        ("net:[1]", "net:[2]")
    );
}

/// Where a namespace is found: mounted, held by a process, by nothing, or unknown.
#[test]
fn what_a_namespace_is_entered_by() {
    let machine = machine();
    let _ = local(3).apply(&mut session(&machine, "one", 1)).unwrap();
    let left = || {
        let reverted = session(&machine, "one", 0).revert().unwrap();
        reverted
            .not_reverted
            .first()
            .map(|left| left.reason.to_string())
    };
    let with = |command: &str| {
        Some(format!(
            "it belongs to another network namespace (net:[2]): run this there, with '{command}' \
             before the command"
        ))
    };
    // Not all processes may be seen.
    link(&machine, "/proc/self/ns/pid", "pid:[7]");
    link(&machine, "/proc/1/ns/net", "net:[1]");
    assert!(left().unwrap().ends_with("run this there"));
    link(&machine, "/proc/self/ns/pid", "pid:[4026531836]");

    let hold = |path: &str| {
        link(&machine, path, "net:[2]");
        let left = left();
        machine.memory().change(|tree| tree.remove(path));
        left
    };
    let entered = |path: &str| with(&format!("nsenter --net={path}"));
    assert_eq!(hold("/proc/70/ns/net"), entered("/proc/70/ns/net"));
    assert_eq!(
        hold("/proc/1/task/9/ns/net"),
        entered("/proc/1/task/9/ns/net")
    );
    assert_eq!(hold("/proc/1/fd/12"), entered("/proc/1/fd/12"));

    let mounted = |list: &str| {
        let line = "63 27 0:4 net:[2] /run/netns/a\\040b rw shared:28 - nsfs nsfs rw\n";
        let _ = machine
            .memory()
            .clone()
            .file(list, line, Behaviour::takes_all());
        let left = left();
        machine.memory().change(|tree| tree.remove(list));
        left
    };
    assert_eq!(
        mounted("/proc/thread-self/mountinfo"),
        with("ip netns exec a b")
    );
    assert_eq!(
        mounted("/proc/1/mountinfo"),
        entered("/proc/1/root/run/netns/a b")
    );

    // Nothing holds it any more, so nothing is left to revert.
    let reverted = session(&machine, "one", 0).revert().unwrap();
    assert!(reverted.not_reverted.is_empty());
    assert_eq!(
        reverted.notes,
        ["one change ended with the network namespace net:[2]"]
    );
    let again = session(&machine, "one", 0).revert().unwrap();
    assert!(again.notes.is_empty());
    assert!(machine.store().is_empty());
}
