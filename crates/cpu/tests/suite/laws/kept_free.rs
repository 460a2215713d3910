//! Processors kept free: partitions as the kernel judges them, interrupts as far as they can be moved.

use hosttune_core::testing::{CrashPoint, Moment, World, laws};
use hosttune_core::{Error, State, Tuning, UnsupportedKind};
use hosttune_cpu::kept_free::{KeptFree, ProcessorList};
use hosttune_cpu::testing::{GROUP, MANAGED, Scaling, with_kept_free};
use proptest::prelude::*;

use super::machine::{Machine, cases};

fn machine() -> Machine {
    Machine::new(Scaling::Acpi, 1).with(with_kept_free)
}

fn list(text: &str) -> ProcessorList {
    text.parse().unwrap()
}

fn get(machine: &Machine, path: &str) -> String {
    machine.memory.get(path).unwrap_or_default()
}

fn affinity(machine: &Machine, number: u32) -> String {
    get(machine, &format!("/proc/irq/{number}/smp_affinity_list"))
}

#[test]
fn lists_are_read_and_written_as_the_kernel_does() {
    for (text, shown) in [
        ("", ""),
        ("0", "0"),
        ("0-3,8", "0-3,8"),
        ("3,1,2", "1-3"),
        ("0-7\n", "0-7"),
    ] {
        assert_eq!(list(text).to_string(), shown, "{text}");
    }
    for text in [
        "x",
        "3-1",
        "1,",
        "-1",
        "1--2",
        "+1",
        "1-99999999",
        "99999999999",
    ] {
        assert!(text.parse::<ProcessorList>().is_err(), "{text}");
    }
}

#[test]
fn a_partition_and_the_interrupts_that_can_be_moved() {
    let machine = machine();
    let before = machine.snapshot();
    let wanted = KeptFree::new(list("2-7")).partition(GROUP);
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let applied = wanted.apply(&mut session).unwrap();
    let partition = format!("/sys/fs/cgroup/{GROUP}/cpuset.cpus.partition");
    assert_eq!(get(&machine, &partition), "root");
    assert_eq!(
        [1, 24, 25].map(|number| affinity(&machine, number)),
        ["0-1", "0-1", "0-1"]
    );
    let managed: Vec<&str> = applied
        .findings
        .iter()
        .filter(|finding| matches!(&finding.state, State::NotApplicable { unsupported } if unsupported.kind == UnsupportedKind::Managed))
        .map(|finding| finding.name.as_str())
        .collect();
    assert_eq!(
        managed,
        MANAGED.map(|number| format!("affinity of interrupt {number}"))
    );
    assert!(
        applied.is_complete(),
        "managed ones are optional: {applied}"
    );
    assert!(wanted.plan(&session).unwrap().is_empty());
    let reverted = session.revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(machine.snapshot(), before);
}

/// The write succeeds and there is no partition: the reason of the kernel is in the error.
#[test]
fn a_partition_that_the_kernel_finds_invalid_is_an_error_with_its_words() {
    // A ninth processor is online that the control groups do not have, so that all of theirs are asked
    // for: the tasks of the root would have none.
    let machine = machine();
    machine
        .memory
        .change(|tree| tree.set("/sys/devices/system/cpu/online", "0-8"));
    let before = machine.snapshot();
    let wanted = KeptFree::new(list("0-7")).partition(GROUP);
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let Err(Error::RolledBack { cause }) = wanted.apply(&mut session) else {
        panic!("it was applied");
    };
    let said = format!("{cause}: {}", cause.failure);
    assert!(
        said.contains("root invalid (Parent unable to distribute cpu downstream)"),
        "{said}"
    );
    assert_eq!(machine.snapshot(), before);
}

#[test]
fn what_cannot_be_kept_free_is_refused() {
    let machine = machine();
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    for (wanted, says) in [
        (KeptFree::new(list("0-7")), "no processor is left"),
        (KeptFree::new(list("4-9")), "are 0-7"),
        (KeptFree::new(list("")), "are 0-7"),
        (
            KeptFree::new(list("2-3")).partition("no.slice"),
            "there is no control group /no.slice",
        ),
    ] {
        let error = wanted.apply(&mut session).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ]
}

prop_compose! {
    fn wanted()(
        processors in prop::sample::select(vec!["1", "2-7", "4-5", "7"]),
        partition: bool,
        isolated: bool,
    ) -> KeptFree {
        let wanted = KeptFree::new(list(processors));
        let wanted = if partition { wanted.partition(GROUP) } else { wanted };
        if isolated { wanted.isolated() } else { wanted }
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn the_laws_of_processors_kept_free(
        wanted in prop::collection::vec(wanted(), 1..3),
        deaths in prop::collection::vec((0..30_u64, moment()), 0..4),
    ) {
        let machine = machine();
        laws::apply_then_verify(&machine, &wanted[0])?;
        laws::plan_writes_nothing(&machine, &wanted[0])?;
        laws::die_anywhere(&machine, &wanted, &deaths)?;
    }
}
