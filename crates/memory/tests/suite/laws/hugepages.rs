//! Pools of hugepages.

use hosttune_core::testing::{Behaviour, CrashPoint, Memory, World, laws};
use hosttune_core::{Error, State, Tuning, UnsupportedKind};
use hosttune_memory::hugepages::Hugepages;
use hosttune_memory::testing::{
    PAGES_THAT_FIT, PAGES_THAT_FIT_COMPACTED, take_hugepages, with_hugepages,
};
use proptest::option;
use proptest::prelude::*;

use super::machine::{Machine, cases, deaths};

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

fn machine(nodes: u32) -> Machine {
    Machine::new(with_hugepages(Memory::new(), nodes))
}

fn file(name: &str) -> String {
    format!("{POOL}/{name}")
}

prop_compose! {
    fn world()(nodes in 1u32..4, pages in 0u64..40, uneven in any::<bool>()) -> Machine {
        let machine = machine(nodes);
        let path = if uneven {
            format!("/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages", nodes - 1)
        } else {
            file("nr_hugepages")
        };
        machine.memory.write(path, &pages.to_string()).unwrap();
        machine
    }
}

prop_compose! {
    fn tuning()(
        pages in 0u64..120,
        over in option::of(0u64..100),
        more in 0u64..400,
        node in any::<bool>(),
        least in any::<bool>(),
        compact in any::<bool>(),
    ) -> Hugepages {
        // More pages than there is contiguous memory for, only if fewer are enough.
        let mut wanted = if least {
            Hugepages::of_size(2048, pages + more).at_least(pages.min(PAGES_THAT_FIT))
        } else {
            Hugepages::of_size(2048, pages)
        };
        if node {
            wanted = wanted.on_node(0);
        }
        wanted.overcommit = over;
        wanted.compact = compact;
        wanted
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_laws(
        world in world(),
        wanted in proptest::collection::vec(tuning(), 1..4),
        deaths in deaths(),
        change in 0u64..6,
    ) {
        for wanted in &wanted {
            laws::apply_then_verify(&world, wanted)?;
            laws::apply_then_plan(&world, wanted)?;
            laws::plan_writes_nothing(&world, wanted)?;
        }
        laws::apply_then_revert(&world, &wanted)?;
        laws::die_anywhere(&world, &wanted, &deaths)?;
        laws::die_then_recover(&world, &wanted[0], wanted.last().unwrap(), &deaths)?;
        laws::failing_step(&world, &wanted[0], change, hosttune_core::testing::Moment::Before)?;
    }
}

/// Memory that is compacted first has room for more pages; all of them or none, and a revert frees them.
#[test]
fn compaction_makes_room() {
    for node in [None, Some(1)] {
        let machine = machine(2);
        let was = machine.snapshot();
        let pages = match node {
            Some(_) => PAGES_THAT_FIT_COMPACTED,
            None => 2 * PAGES_THAT_FIT_COMPACTED,
        };
        let mut wanted = Hugepages::of_size(2048, pages).required();
        wanted.node = node;
        let mut session = machine.session(&CrashPoint::lives()).unwrap();
        assert!(wanted.apply(&mut session).is_err(), "fragmented");
        assert_eq!(machine.snapshot(), was);
        let wanted = wanted.compact_first();
        let _ = wanted.apply(&mut session).unwrap();
        assert!(wanted.verify(&session).unwrap().is_as_wanted());
        assert!(wanted.plan(&session).unwrap().is_empty());
        assert!(session.revert().unwrap().not_reverted.is_empty());
        assert_eq!(machine.snapshot(), was);
        let too_many = Hugepages::of_size(2048, pages + 1);
        let mut too_many = too_many.compact_first().required();
        too_many.node = node;
        assert!(too_many.apply(&mut session).is_err());
        assert_eq!(machine.snapshot(), was);
    }
}

/// The write succeeds, but allocates fewer pages: this is reported and reverted, and is an error if the
/// setting is required.
#[test]
fn too_few_are_given_back_and_told() {
    let machine = machine(1);
    machine.memory.write(file("nr_hugepages"), "3").unwrap();
    let was = machine.snapshot();
    let wanted = Hugepages::of_size(2048, 400);
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let applied = wanted.apply(&mut session).unwrap();
    let State::NotApplicable { unsupported } = &applied.findings[0].state else {
        panic!("{applied:#?}");
    };
    assert!(unsupported.why.contains("150 of 400"), "{unsupported}");
    assert_eq!(machine.snapshot(), was);
    drop(session);
    assert!(machine.revert().is_complete());
    let error = machine.refuses(&wanted.required());
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");
}

#[test]
fn as_many_as_will_do_are_kept_and_said_to_be_rounded() {
    let machine = machine(1);
    let was = machine.snapshot();
    let wanted = Hugepages::of_size(2048, 400).at_least(100).required();
    machine.apply(&wanted);
    let session = machine.session(&CrashPoint::lives()).unwrap();
    let report = wanted.verify(&session).unwrap();
    assert_eq!(report.items[0].state, State::Rounded);
    assert!(
        report.items[0].to_string().contains("150 pages"),
        "{report:#?}"
    );
    drop(session);
    assert!(machine.revert().is_complete());
    assert_eq!(machine.snapshot(), was);
}

/// Pages in use become surplus: the pool is reverted, and a note tells how many pages remain.
#[test]
fn what_is_in_use_when_it_is_taken_back_is_told() {
    let machine = machine(1);
    let was = machine.snapshot();
    machine.apply(&Hugepages::of_size(2048, 64));
    take_hugepages(&machine.memory, 1, 5);
    let reverted = machine.revert();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert!(reverted.notes[0].contains("5 pages"), "{reverted:#?}");
    assert_eq!(machine.get(&file("nr_hugepages")), "5");
    assert_eq!(machine.get(&file("surplus_hugepages")), "5");
    take_hugepages(&machine.memory, 1, 0);
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn what_somebody_else_has_added_survives() {
    let machine = machine(2);
    machine.apply(&Hugepages::of_size(2048, 64));
    machine.memory.write(file("nr_hugepages"), "80").unwrap();
    let reverted = machine.revert();
    assert_eq!(reverted.not_reverted.len(), 1, "{reverted:#?}");
    assert_eq!(machine.get(&file("nr_hugepages")), "80");
}

#[test]
fn what_cannot_be_had_is_said_beforehand() {
    let machine = machine(2);
    let unsupported = machine.unsupported(&Hugepages::of_size(2048, 100_000));
    assert!(
        unsupported.why.contains("exceed the total memory"),
        "{unsupported}"
    );
    assert!(unsupported.hint.unwrap().contains("512"));
    let all = machine.unsupported(&Hugepages::of_size(2048, u64::MAX));
    assert_eq!(all.kind, UnsupportedKind::ValueUnavailable);
    let size = machine.unsupported(&Hugepages::of_size(16384, 1));
    assert_eq!(size.hint.as_deref(), Some("available page sizes: 2 MiB"));
    let node = machine.unsupported(&Hugepages::of_size(2048, 1).on_node(9));
    assert!(node.why.contains("node 9 does not exist"), "{node}");
    let least = machine.refuses(&Hugepages::of_size(2048, 1).at_least(2));
    assert!(
        least.to_string().contains("minimum number of hugepages"),
        "{least}"
    );
    let empty = Machine::new(Memory::new());
    laws::nothing_on_an_empty_host(&empty, &Hugepages::of_size(2048, 1)).unwrap();
}

/// As in a container, where sysfs is mounted read-only: nothing is attempted.
#[test]
fn pages_on_a_read_only_mount_are_not_applicable() {
    let mut machine = machine(2);
    machine.memory = machine.memory.file(
        "/proc/self/mountinfo",
        "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /sys ro,nosuid - sysfs sysfs rw",
        Behaviour::takes_all(),
    );
    let was = machine.snapshot();
    for wanted in [
        Hugepages::of_size(2048, 64),
        Hugepages::of_size(2048, 64).on_node(1),
    ] {
        let unsupported = machine.unsupported(&wanted);
        assert_eq!(
            (unsupported.kind, &*unsupported.why),
            (UnsupportedKind::ReadOnly, "/sys is mounted read-only")
        );
        machine.apply(&wanted);
        assert_eq!(machine.snapshot(), was);
    }
}
