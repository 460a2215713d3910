//! Drivers that refuse, bind late or wait; machines that use what is to be handed back.

use std::time::Duration;

use hosttune_core::testing::{CrashPoint, World};
use hosttune_core::{AnyKnob, Error, Knob, NotRevertedReason, Planner, Tuning, UnsupportedKind};
use hosttune_pci::testing::{Fault, Function};
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{
    AttributeFile, AttributeState, Binding, BoundDriver, DeviceAttribute, DriverOverride, Lend,
    Override,
};

use crate::support::{AUDIO, GPU, NIC, driver, host, lend_gpu, nic, session};

fn address(text: &str) -> hosttune_pci::Address {
    text.parse().unwrap()
}

fn refuses(device: &str, driver: &str, errno: i32) -> Fault {
    Fault::BindRefused {
        address: address(device),
        driver: driver.to_owned(),
        errno,
    }
}

#[test]
fn a_driver_that_refuses_ends_with_the_original_drivers() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    machine.bus().fail(refuses(AUDIO, "vfio-pci", 22));
    let error = lend_gpu().apply(&mut session(&machine)).unwrap_err();
    let Error::RolledBack { cause } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(cause.knob, "0000:01:00.1 driver");
    let source = std::error::Error::source(&cause.failure)
        .unwrap()
        .to_string();
    assert!(source.contains("denylist"), "{source}");
    assert_eq!(machine.snapshot(), before);
    assert!(machine.store().is_empty());
}

#[test]
fn a_device_that_cannot_be_unbound_stays_where_it_is() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    machine.bus().fail(Fault::UnbindRefused {
        address: address(GPU),
        errno: 19,
    });
    let error = lend_gpu().apply(&mut session(&machine)).unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert_eq!(machine.snapshot(), before);
}

/// The write fails, and the driver is bound a moment later.
#[test]
fn a_driver_that_binds_late_is_waited_for() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    let late = |delay| Fault::BindLate {
        address: address(GPU),
        driver: "vfio-pci".to_owned(),
        delay: Duration::from_millis(delay),
    };
    machine.bus().fail(late(400));
    let applied = lend_gpu().apply(&mut session(&machine));
    match &applied {
        Ok(_) => assert_eq!(driver(&machine, GPU).as_deref(), Some("vfio-pci")),
        Err(Error::RolledBack { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
    host(&machine).pause(Duration::from_secs(2));
    machine.bus().repair();
    let reverted = session(&machine).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(machine.snapshot(), before);
}

/// What stays is in the journal, is said, and the next revert goes on.
#[test]
fn an_original_driver_that_refuses_is_tried_again() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    let _ = lend_gpu().apply(&mut session(&machine)).unwrap();
    machine.bus().fail(refuses(GPU, "nouveau", 5));
    let reverted = session(&machine).revert().unwrap();
    assert!(!reverted.not_reverted.is_empty());
    assert!(!machine.store().is_empty());
    assert_eq!(driver(&machine, GPU), None);
    // The other function does not wait for it.
    println!(
        "{:#?}",
        reverted
            .not_reverted
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    machine.bus().repair();
    let reverted = session(&machine).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(machine.snapshot(), before);
    assert!(machine.store().is_empty());
}

/// Unbinding would wait for the virtual machine for ever. The fake panics if that is tried.
#[test]
fn what_a_virtual_machine_uses_is_not_taken_away() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    let _ = lend_gpu().apply(&mut session(&machine)).unwrap();
    machine.bus().open_group(1).unwrap();
    machine
        .bus()
        .start_process(4242, "qemu-system-x86", &["/dev/vfio/vfio", "/dev/vfio/1"]);
    let reverted = session(&machine).revert().unwrap();
    let said: Vec<String> = reverted
        .not_reverted
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        said.iter()
            .any(|line| line.contains("qemu-system-x86 (process 4242, /dev/vfio/1)")),
        "{said:?}"
    );
    assert!(
        reverted
            .not_reverted
            .iter()
            .any(|left| left.reason != NotRevertedReason::Theirs)
    );
    assert_eq!(driver(&machine, GPU).as_deref(), Some("vfio-pci"));
    // Verify says that everything is as wanted while the machine runs.
    let report = lend_gpu().verify(&session(&machine)).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
    machine.bus().end_process(4242);
    machine.bus().close_group(1);
    let reverted = session(&machine).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(machine.snapshot(), before);
}

/// A program opens the card between the plan and the apply.
#[test]
fn a_program_that_comes_later_keeps_the_card() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    let mut session = session(&machine);
    let plan = lend_gpu().plan(&session).unwrap();
    machine
        .bus()
        .start_process(77, "blender", &["/dev/dri/card0"]);
    let error = session.apply(&plan).unwrap_err();
    let Error::RolledBack { cause } = &error else {
        panic!("{error:?}");
    };
    let source = std::error::Error::source(&cause.failure)
        .unwrap()
        .to_string();
    assert!(
        source.contains("blender (process 77, /dev/dri/card0)"),
        "{source}"
    );
    machine.bus().end_process(77);
    assert_eq!(machine.snapshot(), before);
}

#[test]
fn a_card_that_was_unplugged_is_nothing_to_revert() {
    let machine = Machine::desktop();
    let _ = Lend::new([nic()]).apply(&mut session(&machine)).unwrap();
    machine.bus().unplug(address(NIC));
    let reverted = session(&machine).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert!(machine.store().is_empty());
}

/// Another card was put into the slot: its driver was never ours to change.
#[test]
fn another_card_at_the_address_is_left_alone() {
    let machine = Machine::desktop();
    let _ = Lend::new([nic()]).apply(&mut session(&machine)).unwrap();
    machine.bus().unplug(address(NIC));
    let machine = machine.with(
        Function::new(NIC, "8086:1533", "020000")
            .below(&["0000:00:01.1"])
            .group(2),
    );
    machine
        .bus()
        .write(
            "/sys/bus/pci/devices/0000:02:00.0/driver_override",
            "vfio-pci\n",
        )
        .unwrap();
    assert!(session(&machine).revert().unwrap().is_complete());
    let now = DriverOverride(address(NIC)).read(&host(&machine)).unwrap();
    assert_eq!(now, Override::Only("vfio-pci".into()));
}

/// A tuning that requests one state of one knob.
struct One<K: Knob>(K, K::State);

impl<K: Knob> Tuning for One<K> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        at.want(&self.0, &self.1).required();
        Ok(())
    }
}

#[test]
fn states_that_no_kernel_accepts_are_refused_before_anything_is_written() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    let bound =
        |name: &str| BoundDriver(address(NIC)).unsupported(&host(&machine), &Binding::driver(name));
    let kind = |found: Option<hosttune_core::Unsupported>| found.map(|found| found.kind);
    for name in ["", "a/b", "..", "a b", "a\n", &"x".repeat(4095)] {
        assert_eq!(
            kind(bound(name).unwrap()),
            Some(UnsupportedKind::ValueUnavailable),
            "{name:?}"
        );
        let only = Override::Only(name.to_owned());
        let found = DriverOverride(address(NIC))
            .unsupported(&host(&machine), &only)
            .unwrap();
        assert_eq!(
            kind(found),
            Some(UnsupportedKind::ValueUnavailable),
            "{name:?}"
        );
    }
    assert_eq!(
        kind(bound("igb").unwrap()),
        Some(UnsupportedKind::ValueUnavailable)
    );
    assert_eq!(bound("e1000e").unwrap(), None);
    assert_eq!(bound("vfio-pci").unwrap(), None);
    let attribute = DeviceAttribute::new(address(NIC), AttributeFile::D3coldAllowed);
    let wrong = AttributeState::Value("2".to_owned());
    assert_eq!(
        kind(attribute.unsupported(&host(&machine), &wrong).unwrap()),
        Some(UnsupportedKind::ValueUnavailable)
    );
    let absent = BoundDriver(address("0000:09:00.0"));
    let error = One(absent, Binding::Unbound)
        .plan(&session(&machine))
        .unwrap_err();
    assert!(
        error.to_string().contains("no PCI device at 0000:09:00.0"),
        "{error}"
    );
    assert_eq!(machine.snapshot(), before);
}

/// From one driver to another in one step is two changes, and refused.
#[test]
fn a_bound_device_is_not_rebound_directly() {
    let machine = Machine::desktop();
    let mut host = host(&machine);
    let knob = BoundDriver(address(NIC));
    let error = knob
        .set(&mut host, &Binding::driver("vfio-pci"))
        .unwrap_err();
    assert!(error.to_string().contains("e1000e is bound"), "{error}");
    knob.set(&mut host, &Binding::Unbound).unwrap();
    let error = knob
        .set(&mut host, &Binding::driver("vfio-pci"))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no driver vfio-pci is registered"),
        "{error}"
    );
    DriverOverride(address(NIC))
        .set(&mut host, &Override::Only("none".into()))
        .unwrap();
    let error = knob.set(&mut host, &Binding::driver("e1000e")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("driver_override allows only none"),
        "{error}"
    );
    DriverOverride(address(NIC))
        .set(&mut host, &Override::Any)
        .unwrap();
    knob.set(&mut host, &Binding::driver("e1000e")).unwrap();
    assert_eq!(driver(&machine, NIC).as_deref(), Some("e1000e"));
}

/// Knobs and states as they are in journals.
#[test]
fn names_and_states_in_journals_stay() {
    let json = |knob: AnyKnob| serde_json::to_string(&knob).unwrap();
    assert_eq!(
        json(AnyKnob::of(&BoundDriver(address(GPU)))),
        r#"{"kind":"pci-bound-driver","id":"0000:01:00.0","text":"0000:01:00.0 driver"}"#
    );
    assert_eq!(
        json(AnyKnob::of(&DriverOverride(address(GPU)))),
        r#"{"kind":"pci-driver-override","id":"0000:01:00.0","text":"0000:01:00.0 driver_override"}"#
    );
    let attribute = DeviceAttribute::new(address(GPU), AttributeFile::PowerControl);
    assert_eq!(
        json(AnyKnob::of(&attribute)),
        r#"{"kind":"pci-device-attribute","id":{"address":"0000:01:00.0","file":"power-control"},"text":"0000:01:00.0 power/control"}"#
    );
    let state = |state: &Binding| serde_json::to_string(state).unwrap();
    assert_eq!(state(&Binding::Unbound), r#""unbound""#);
    assert_eq!(state(&Binding::driver("e1000e")), r#"{"driver":"e1000e"}"#);
    assert_eq!(serde_json::to_string(&Override::Any).unwrap(), r#""any""#);
    let value = AttributeState::Value("auto".into());
    assert_eq!(
        serde_json::to_string(&value).unwrap(),
        r#"{"value":"auto"}"#
    );
}

/// vfio-pci is part of the kernel: no module is loaded, and none is unloaded.
#[test]
fn a_built_in_driver_needs_no_module() {
    let memory = hosttune_core::testing::Memory::new().directory("/proc/sys");
    let memory =
        hosttune_modules::testing::with_modules(memory, &[], &["vfio_pci", "vfio_iommu_type1"]);
    let bus = hosttune_pci::testing::Bus::new(memory)
        .with_iommu()
        .with_driver("e1000e", &["8086:10d3"])
        .with_driver("vfio-pci", &[])
        .with(Function::new(NIC, "8086:10d3", "020000").group(2));
    let machine = Machine::over(bus);
    let plan = Lend::new([nic()]).plan(&session(&machine)).unwrap();
    assert_eq!(plan.steps.len(), 3, "{plan:#?}");
    let _ = Lend::new([nic()]).apply(&mut session(&machine)).unwrap();
    assert_eq!(driver(&machine, NIC).as_deref(), Some("vfio-pci"));
    assert!(session(&machine).revert().unwrap().not_reverted.is_empty());
    assert_eq!(driver(&machine, NIC).as_deref(), Some("e1000e"));
}

/// 50 loans in a row, each killed somewhere.
#[test]
fn fifty_loans_killed_at_different_moments_all_come_back() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    for loan in 0..50_u64 {
        let crash_point = CrashPoint::dies_at(loan * 7 % 41, hosttune_core::testing::Moment::After);
        let mut session = machine.session(&crash_point).unwrap();
        let _ = lend_gpu().apply(&mut session);
        let _ = session.revert();
        let reverted = crate::support::session(&machine).revert().unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "loan {loan}: {reverted:#?}"
        );
        assert_eq!(machine.snapshot(), before, "loan {loan}");
    }
}
