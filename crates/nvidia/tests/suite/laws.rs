//! The laws of the engine, over every parameter of each branch.

use hosttune_core::Tuning;
use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{Failure, Machine, Moment};
use hosttune_nvidia::{NvidiaParameters, NvidiaSetting, PARAMETERS, Parameter, Values};
use proptest::prelude::*;

use crate::tree::{DRIVERS, Driver, FILE, bare, dwords, machine, session};

/// A value that is not the default.
fn other_value(known: &Parameter, branch: u16) -> String {
    let default = known.default_in(branch).unwrap_or(0);
    match known.values {
        Values::Text => "x".into(),
        _ if known.name == "DynamicPowerManagement" => "1".into(),
        _ if default == 0 => "1".into(),
        _ => "0".into(),
    }
}

fn setting(known: &'static Parameter, value: String) -> NvidiaSetting {
    NvidiaSetting::new(known.module, known.name, value).why("tested")
}

/// Plan, apply, load, verify and revert of each parameter, on each branch and kind.
#[test]
fn every_parameter_is_set_and_reverted() {
    let mut set = 0;
    for (version, kind) in DRIVERS {
        let driver = Driver::new(version, kind);
        for known in PARAMETERS
            .iter()
            .filter(|known| known.is_in(driver.branch()))
        {
            if known.only.is_some_and(|only| only != kind) || known.name == "RegistryDwords" {
                continue;
            }
            let memory = driver.installed(bare());
            driver.load(&memory);
            let world = machine(memory);
            let value = other_value(known, driver.branch());
            let wanted = NvidiaParameters::new("laws", [setting(known, value)]);
            let mut process = session(&world);
            assert_eq!(
                wanted.apply(&mut process).unwrap().changed.len(),
                1,
                "{}",
                known.option()
            );
            driver.load(world.memory());
            let report = wanted.verify(&session(&world)).unwrap();
            assert!(
                report.is_as_wanted(),
                "{version} {kind} {}: {report:#?}",
                known.option()
            );
            assert!(session(&world).revert().unwrap().not_reverted.is_empty());
            assert_eq!(world.memory().get(FILE), None);
            set += 1;
        }
    }
    assert!(set > 400, "{set}");
}

fn world() -> impl Strategy<Value = Machine> {
    let foreign = prop_oneof![
        Just(None),
        Just(Some(("vendor.conf", "options nvidia NVreg_EnableMSI=0\n"))),
        Just(Some((
            "zzz.conf",
            "options nvidia NVreg_RegistryDwords=\"A=1;EnableMSI=0\"\n"
        ))),
    ];
    (0..DRIVERS.len(), foreign, any::<bool>(), any::<bool>()).prop_map(
        |(driver, foreign, is_loaded, has_file)| {
            let (version, kind) = DRIVERS[driver];
            let driver = Driver::new(version, kind);
            let mut memory = driver.installed(bare());
            if let Some((name, text)) = foreign {
                let path = format!("/etc/modprobe.d/{name}");
                memory = memory.content(path, FileContent::new(text));
            }
            if has_file {
                memory = memory.content(FILE, FileContent::new("# of an administrator\n"));
            }
            if is_loaded {
                driver.load(&memory);
            }
            machine(memory)
        },
    )
}

fn wanted() -> impl Strategy<Value = NvidiaParameters> {
    let registry = prop_oneof![Just(""), Just("A=1"), Just("EnableMSI=1;B=2")];
    let chosen = prop::collection::btree_map(0..PARAMETERS.len(), 0..2u32, 0..4);
    (chosen, registry).prop_map(|(chosen, registry)| {
        let settings = chosen.into_iter().filter_map(|(place, value)| {
            let known = &PARAMETERS[place];
            (known.name != "RegistryDwords").then(|| setting(known, value.to_string()))
        });
        NvidiaParameters::new("laws", settings).registry(dwords(registry))
    })
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let moment = prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ];
    prop::collection::vec((0u64..10, moment), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_laws_hold(world in world(), first in wanted(), second in wanted(), deaths in deaths()) {
        laws::apply_then_plan(&world, &first)?;
        laws::plan_writes_nothing(&world, &first)?;
        laws::apply_then_revert(&world, &[&first, &second])?;
        laws::die_anywhere(&world, &[&first, &second], &deaths)?;
        laws::die_then_recover(&world, &first, &second, &deaths)?;
    }

    #[test]
    fn failures_are_told_and_undone(
        world in world(), wanted in wanted(), change in 0u64..2, call in 0u64..80,
        kind in 0..Failure::KINDS, verb in 0..4usize
    ) {
        laws::failing_step(&world, &wanted, change, Moment::Within)?;
        let failure = Failure::of_kind(call, kind);
        let verb = match verb {
            0 => Verb::Plan(wanted.clone()),
            1 => Verb::Apply(wanted.clone()),
            2 => Verb::Verify(wanted.clone()),
            _ => Verb::Revert,
        };
        laws::told_as_it_is(&world, &[wanted], &verb, failure)?;
    }

    #[test]
    fn another_process_keeps_what_it_wrote(world in world(), wanted in wanted(), ours in any::<bool>()) {
        let path = if ours { FILE } else { "/etc/modprobe.d/other.conf" };
        laws::stranger_survives(&world, &wanted, |world| {
            let text = FileContent::new("options nvidia NVreg_EnableMSI=0\n");
            let _ = world.memory().clone().content(path, text);
        })?;
    }
}
