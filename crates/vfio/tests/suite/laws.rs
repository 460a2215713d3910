//! The laws of the engine, over lends of one or several cards in any state that a host may be in.
//!
//! The number of cases is `PROPTEST_CASES` if that is set, otherwise the number at each test.

use hosttune_core::Tuning;
use hosttune_core::testing::laws::{self, Act};
use hosttune_core::testing::{Moment, World};
use hosttune_test_machine::cases;
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Consent, Lend};
use proptest::prelude::*;

use crate::support::{AUDIO, GPU, NIC, NVME, driver, gpu, lend_gpu, nic, nvme};

/// What an administrator has done to a device before.
#[derive(Debug, Clone, Copy)]
enum Before {
    Bound,
    Unbound,
    /// Bound, with this override.
    Overridden(&'static str),
    /// Unbound, and kept so by an override that no driver has.
    KeptUnbound,
    /// Suspended when idle.
    Auto,
}

fn before() -> impl Strategy<Value = Before> {
    prop_oneof![
        Just(Before::Bound),
        Just(Before::Unbound),
        prop_oneof![Just("none"), Just("vfio-pci"), Just("nouveau")].prop_map(Before::Overridden),
        Just(Before::KeptUnbound),
        Just(Before::Auto),
    ]
}

fn having(machine: Machine, address: &str, before: Before) -> Machine {
    let file = |name: &str| format!("/sys/bus/pci/devices/{address}/{name}");
    let bus = machine.bus();
    match before {
        Before::Bound => {}
        Before::Unbound => bus.write(&file("driver/unbind"), address).unwrap(),
        Before::Overridden(name) => {
            bus.write(&file("driver_override"), &format!("{name}\n"))
                .unwrap();
        }
        Before::KeptUnbound => {
            bus.write(&file("driver/unbind"), address).unwrap();
            bus.write(&file("driver_override"), "none\n").unwrap();
        }
        Before::Auto => bus.write(&file("power/control"), "auto").unwrap(),
    }
    machine
}

prop_compose! {
    fn machine()(states in prop::array::uniform4(before())) -> Machine {
        let devices = [GPU, AUDIO, NIC, NVME].into_iter().zip(states);
        devices.fold(Machine::desktop(), |machine, (address, before)| {
            having(machine, address, before)
        })
    }
}

prop_compose! {
    fn lend()(
        which in prop::sample::subsequence(vec![gpu(), nic(), nvme()], 1..=3),
        powered: bool,
    ) -> Lend {
        let lend = Lend::new(which).consent(Consent::OnlyGpu);
        if powered { lend.keep_powered() } else { lend }
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
    fn act()(
        owner in 0..2_usize,
        applies in prop::option::of(lend()),
        death in prop::option::of((0..40_u64, moment())),
    ) -> Act<Lend> {
        Act { owner, applies, fault: death.map(laws::Fault::Dies) }
    }
}

fn deaths(most: usize) -> impl Strategy<Value = Vec<(u64, Moment)>> {
    prop::collection::vec((0..40_u64, moment()), 0..most)
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn what_is_applied_is_verified_planned_once_and_reverted(
        machine in machine(),
        lends in prop::collection::vec(lend(), 1..3),
    ) {
        laws::apply_then_verify(&machine, &lends[0])?;
        laws::apply_then_plan(&machine, &lends[0])?;
        laws::what_is_offered_is_applied(&machine, &lends[0])?;
        laws::plan_writes_nothing(&machine, &lends[0])?;
        laws::apply_then_revert(&machine, &lends)?;
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn a_crash_at_any_write_is_reverted(
        machine in machine(),
        lends in prop::collection::vec(lend(), 1..3),
        deaths in deaths(4),
    ) {
        laws::die_anywhere(&machine, &lends, &deaths)?;
    }

    #[test]
    fn a_crashed_apply_is_rolled_back(
        machine in machine(),
        first in lend(),
        second in lend(),
        deaths in deaths(4),
    ) {
        laws::die_then_recover(&machine, &first, &second, &deaths)?;
    }

    #[test]
    fn a_failed_step_leaves_everything_as_it_was(
        machine in machine(),
        lend in lend(),
        change in 0..30_u64,
        moment in moment(),
    ) {
        laws::failing_step(&machine, &lend, change, moment)?;
    }

    #[test]
    fn owners_revert_in_any_order(
        machine in machine(),
        acts in prop::collection::vec(act(), 0..4),
        first in 0..2_usize,
    ) {
        laws::owners_in_any_order(&machine, &acts, &[first, 1 - first])?;
    }

    #[test]
    fn another_process_keeps_what_it_has_set(
        machine in machine(),
        which in prop::sample::subsequence(vec![gpu(), nic()], 1..=2),
        address in prop::sample::select(vec![GPU, NIC]),
        kept_awake: bool,
    ) {
        let lend = Lend::new(which).consent(Consent::OnlyGpu);
        laws::stranger_survives(&machine, &lend, |machine| {
            let file = |name: &str| format!("/sys/bus/pci/devices/{address}/{name}");
            machine.bus().write(&file("d3cold_allowed"), "0").unwrap();
            if kept_awake {
                machine.bus().write(&file("power/control"), "on").unwrap();
            }
        })?;
    }
}

/// It keeps the original driver from being bound, so that stays in the journal too.
#[test]
fn an_override_of_another_process_survives() {
    let machine = Machine::desktop();
    let mut session = crate::support::session(&machine);
    let _ = Lend::new([nic()]).apply(&mut session).unwrap();
    let file = format!("/sys/bus/pci/devices/{NIC}/driver_override");
    machine.bus().write(&file, "other\n").unwrap();
    let reverted = session.revert().unwrap();
    let said: Vec<String> = reverted
        .not_reverted
        .iter()
        .map(ToString::to_string)
        .collect();
    println!("{said:#?}");
    assert!(
        said.iter()
            .any(|line| line.contains("driver_override allows only other")),
        "{said:?}"
    );
    assert_eq!(driver(&machine, NIC), None);
    machine.bus().write(&file, "\n").unwrap();
    assert!(session.revert().unwrap().not_reverted.is_empty());
    assert_eq!(driver(&machine, NIC).as_deref(), Some("e1000e"));
}

/// Every write of one lend and of its revert, at each moment.
#[test]
fn killed_at_every_write() {
    let machine = having(Machine::desktop(), GPU, Before::Overridden("nouveau"));
    let machine = having(machine, AUDIO, Before::Auto);
    let lend = lend_gpu().keep_powered();
    let mut most = 0;
    for write in 0.. {
        for moment in [Moment::Before, Moment::Within, Moment::After] {
            let once = laws::die_anywhere(&machine, &[&lend], &[(write, moment)]);
            once.unwrap_or_else(|broken| panic!("{moment:?} write {write}: {broken}"));
            let reverting = [(u64::MAX, moment), (write, moment)];
            let twice = laws::die_anywhere(&machine, &[&lend], &reverting);
            twice.unwrap_or_else(|broken| panic!("reverting, {moment:?} write {write}: {broken}"));
        }
        most = write;
        let crash_point = hosttune_core::testing::CrashPoint::dies_at(write, Moment::Before);
        let fork = machine.fork();
        let _ = lend.apply(&mut fork.session(&crash_point).unwrap());
        if !crash_point.is_dead() {
            break;
        }
    }
    // Two modules with their dependencies, three steps for each of two functions, the attribute.
    assert!(most > 20, "only {most} writes");
}

#[test]
fn on_a_host_without_devices_nothing_is_planned() {
    let error = lend_gpu().plan(
        &Machine::new()
            .session(&hosttune_core::testing::CrashPoint::lives())
            .unwrap(),
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no PCI device at 0000:01:00.0"), "{error}");
    laws::nothing_on_an_empty_host(&Machine::new(), &Lend::new([])).unwrap();
}

/// The order that the drivers need: audio leaves first and the display comes back first.
#[test]
fn audio_is_unbound_first_and_bound_last() {
    let machine = Machine::desktop();
    let mut session = crate::support::session(&machine);
    let plan = lend_gpu().plan(&session).unwrap();
    let steps: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| !step.knob.text.starts_with("module"))
        .map(|step| format!("{}: {} → {}", step.knob, step.from_text, step.to_text))
        .collect();
    assert_eq!(
        steps,
        [
            "0000:01:00.1 driver: snd_hda_intel → no driver",
            "0000:01:00.0 driver: nouveau → no driver",
            "0000:01:00.1 driver_override: any driver → only vfio-pci",
            "0000:01:00.0 driver_override: any driver → only vfio-pci",
            "0000:01:00.0 driver: no driver → vfio-pci",
            "0000:01:00.1 driver: no driver → vfio-pci",
        ]
    );
    let _ = lend_gpu().apply(&mut session).unwrap();
    assert_eq!(driver(&machine, GPU).as_deref(), Some("vfio-pci"));
    assert_eq!(machine.bus().open_group(1), Ok(()));
    machine.bus().close_group(1);
    let undone: Vec<String> = session
        .revert()
        .unwrap()
        .undone
        .iter()
        .map(|undone| undone.knob.text.clone())
        .collect();
    let place = |text: &str| undone.iter().rposition(|knob| knob == text).unwrap();
    // The last undone step of each function binds its original driver.
    assert!(place("0000:01:00.0 driver") < place("0000:01:00.1 driver"));
    assert!(place("0000:01:00.0 driver_override") < place("0000:01:00.0 driver"));
    assert_eq!(driver(&machine, AUDIO).as_deref(), Some("snd_hda_intel"));
}
