//! Transparent hugepages.

use hosttune_core::testing::{Memory, World, laws};
use hosttune_core::{Tuning, UnsupportedKind};
use hosttune_memory::testing::with_transparent_hugepages;
use hosttune_memory::transparent::{
    Defrag, Enabled, ShmemEnabled, SizeEnabled, TransparentHugepages,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::machine::{Machine, cases, deaths};

const DIRECTORY: &str = "/sys/kernel/mm/transparent_hugepage";

fn machine(sizes: bool) -> Machine {
    Machine::new(with_transparent_hugepages(Memory::new(), sizes))
}

prop_compose! {
    fn world()(
        sizes in any::<bool>(),
        enabled in select(vec!["always", "madvise", "never"]),
        min_free in option::of(select(vec!["3000", "60000"])),
    ) -> Machine {
        let machine = machine(sizes);
        machine.memory.write(format!("{DIRECTORY}/enabled"), enabled).unwrap();
        if let Some(number) = min_free {
            machine.memory.write("/proc/sys/vm/min_free_kbytes", number).unwrap();
        }
        machine
    }
}

prop_compose! {
    fn tuning()(
        enabled in option::of(select(vec![Enabled::Always, Enabled::Madvise, Enabled::Never])),
        defrag in option::of(select(vec![Defrag::DeferMadvise, Defrag::Never, Defrag::Madvise])),
        shmem in option::of(select(vec![ShmemEnabled::Advise, ShmemEnabled::Never])),
        size in option::of(select(vec![SizeEnabled::Always, SizeEnabled::Inherit, SizeEnabled::Never])),
        zero in option::of(any::<bool>()),
        scanned in option::of(1u64..1 << 32),
    ) -> TransparentHugepages {
        let mut wanted = TransparentHugepages::new();
        wanted.enabled = enabled;
        wanted.defrag = defrag;
        wanted.shmem_enabled = shmem;
        wanted.use_zero_page = zero;
        if let Some(size) = size {
            wanted = wanted.size(2048, size);
        }
        if let Some(pages) = scanned {
            wanted = wanted.khugepaged("pages_to_scan", pages);
        }
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
        change in 0u64..8,
    ) {
        for wanted in &wanted {
            laws::apply_then_verify(&world, wanted)?;
            laws::apply_then_plan(&world, wanted)?;
            laws::plan_writes_nothing(&world, wanted)?;
        }
        laws::apply_then_revert(&world, &wanted)?;
        laws::die_anywhere(&world, &wanted, &deaths)?;
        laws::die_then_recover(&world, &wanted[0], wanted.last().unwrap(), &deaths)?;
        laws::failing_step(&world, &wanted[0], change, hosttune_core::testing::Moment::After)?;
        laws::stranger_survives(&world, &wanted[0], |world| {
            world.memory.write(format!("{DIRECTORY}/khugepaged/max_ptes_none"), "7").unwrap();
        })?;
    }
}

#[test]
fn what_switching_does_to_the_free_memory_is_taken_back() {
    let machine = machine(false);
    machine
        .memory
        .write("/proc/sys/vm/min_free_kbytes", "3000")
        .unwrap();
    let was = machine.snapshot();
    machine.apply(&TransparentHugepages::new().enabled(Enabled::Never));
    assert_eq!(machine.get("/proc/sys/vm/min_free_kbytes"), "3828");
    assert!(machine.revert().not_reverted.is_empty());
    assert_eq!(machine.get("/proc/sys/vm/min_free_kbytes"), "3000");
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn everything_that_is_offered_is_applied() {
    let wanted = TransparentHugepages::new()
        .enabled(Enabled::Madvise)
        .defrag(Defrag::DeferMadvise)
        .shmem_enabled(ShmemEnabled::WithinSize)
        .size(64, SizeEnabled::Madvise)
        .use_zero_page(false)
        .khugepaged("scan_sleep_millisecs", 0)
        .khugepaged("max_ptes_swap", 511);
    laws::what_is_offered_is_applied(&machine(true), &wanted).unwrap();
    laws::apply_then_revert(&machine(true), &[wanted]).unwrap();
}

#[test]
fn what_is_not_offered_is_said_with_what_is() {
    let machine = machine(false);
    let sizes = machine.unsupported(&TransparentHugepages::new().size(64, SizeEnabled::Always));
    assert_eq!(sizes.kind, UnsupportedKind::Missing);
    assert!(sizes.hint.unwrap().contains("6.8"));
    let pages = machine.unsupported(&TransparentHugepages::new().khugepaged("pages_to_scan", 0));
    assert!(pages.why.contains("between 1 and"), "{pages}");
    for name in ["nothing", "../enabled", "", "a/b"] {
        let unsupported = machine.unsupported(&TransparentHugepages::new().khugepaged(name, 1));
        assert_eq!(unsupported.kind, UnsupportedKind::Missing, "{name}");
    }
    let newer = super::transparent::machine(true);
    let unsupported =
        newer.unsupported(&TransparentHugepages::new().size(128, SizeEnabled::Always));
    assert!(unsupported.hint.unwrap().contains("64kB"));
    let wanted = TransparentHugepages::new()
        .enabled(Enabled::Madvise)
        .khugepaged("defrag", 2)
        .required();
    machine.refuses(&wanted);
}

/// With pages of 4 KiB the maximum is 511. Only the kernel knows that; when it refuses, the other change is
/// rolled back.
#[test]
fn what_only_the_kernel_knows_is_an_error_of_its_own() {
    let machine = machine(false);
    let wanted = TransparentHugepages::new()
        .enabled(Enabled::Never)
        .khugepaged("max_ptes_none", 512);
    let was = machine.snapshot();
    let mut session = machine
        .session(&hosttune_core::testing::CrashPoint::lives())
        .unwrap();
    let error = wanted.apply(&mut session).unwrap_err();
    assert!(
        matches!(error, hosttune_core::Error::RolledBack { .. }),
        "{error}"
    );
    assert_eq!(machine.snapshot(), was);
}

#[test]
fn a_kernel_without_them_plans_nothing() {
    let empty = Machine::new(Memory::new());
    let wanted = TransparentHugepages::new().enabled(Enabled::Always);
    laws::nothing_on_an_empty_host(&empty, &wanted).unwrap();
    assert!(
        empty
            .unsupported(&wanted)
            .hint
            .unwrap()
            .contains("CONFIG_TRANSPARENT")
    );
}

#[test]
fn a_tuning_is_plain_data() {
    let text = r#"{"enabled": "madvise", "defrag": "defer+madvise", "sizes": {"64": "inherit"}}"#;
    let wanted: TransparentHugepages = serde_json::from_str(text).unwrap();
    let said = TransparentHugepages::new()
        .enabled(Enabled::Madvise)
        .defrag(Defrag::DeferMadvise)
        .size(64, SizeEnabled::Inherit);
    assert_eq!(wanted, said);
    assert!(serde_json::from_str::<TransparentHugepages>(r#"{"enabled": "no"}"#).is_err());
}
