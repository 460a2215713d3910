//! Drivers that do not return, and devices that do not answer any more.

use hosttune_core::testing::{CrashPoint, Moment, World};
use hosttune_core::{Error, HostErrorKind, Knob, NotReverted, NotRevertedReason, Tuning};
use hosttune_pci::Address;
use hosttune_pci::testing::Fault;
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{BoundDriver, DriverOverride};

use crate::support::{AUDIO, GPU, driver, host, lend_gpu, refused, session};

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn unbind_hangs(device: &str) -> Fault {
    Fault::UnbindHangs {
        address: address(device),
    }
}

fn bind_hangs(device: &str, driver: &str) -> Fault {
    Fault::BindHangs {
        address: address(device),
        driver: driver.to_owned(),
    }
}

#[track_caller]
fn is_stuck(left: &[NotReverted], device: &str) {
    let stuck = left.iter().find(|left| {
        left.knob.text == format!("{device} driver")
            && matches!(left.reason, NotRevertedReason::Stuck(_))
    });
    let stuck = stuck.unwrap_or_else(|| panic!("{device} is not stuck: {left:#?}"));
    let said = stuck.to_string();
    assert!(said.contains("it is stuck: cannot"), "{said}");
    assert!(said.contains("only a reboot"), "what to do: {said}");
}

/// Lets everything return, and reverts.
#[track_caller]
fn comes_back(machine: &Machine, when: &str) {
    machine.bus().repair();
    for device in [GPU, AUDIO] {
        machine.bus().release(address(device));
    }
    let reverted = session(machine).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{when}: {reverted:#?}");
    assert!(machine.store().is_empty(), "{when}: a journal is left");
}

#[test]
fn an_unbind_that_hangs_is_stuck_until_it_returns() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    machine.bus().fail(unbind_hangs(AUDIO));
    let error = lend_gpu().apply(&mut session(&machine)).unwrap_err();
    let Error::RollbackIncomplete { left, .. } = &error else {
        panic!("{error:?}");
    };
    is_stuck(left, AUDIO);
    assert_eq!(driver(&machine, GPU).as_deref(), Some("nouveau"));

    // The link is gone already, and is not believed.
    assert_eq!(driver(&machine, AUDIO), None);
    for error in [
        BoundDriver(address(AUDIO))
            .read(&host(&machine))
            .unwrap_err(),
        DriverOverride(address(AUDIO))
            .read(&host(&machine))
            .unwrap_err(),
    ] {
        assert_eq!(*error.kind(), HostErrorKind::Stuck, "{error}");
    }
    let status = session(&machine).status().unwrap();
    let [pending] = &status.pending[..] else {
        panic!("{status:#?}");
    };
    let absent = pending.absent.as_deref().unwrap();
    assert!(absent.contains("hangs in the kernel"), "{absent}");

    // It is tried again, and said again. Nothing waits for it: the fake panics where it would.
    let reverted = session(&machine).revert().unwrap();
    assert!(!reverted.is_complete());
    is_stuck(&reverted.not_reverted, AUDIO);
    let said = refused(&machine, &lend_gpu());
    assert!(
        said.iter()
            .any(|line| line.contains("0000:01:00.1 is stuck")),
        "{said:?}"
    );
    comes_back(&machine, "released");
    assert_eq!(machine.snapshot(), before);
}

/// The display comes back first, and its audio does not wait for it for ever.
#[test]
fn an_original_driver_that_hangs_does_not_keep_the_other_function() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    let _ = lend_gpu().apply(&mut session(&machine)).unwrap();
    machine.bus().fail(bind_hangs(GPU, "nouveau"));
    let reverted = session(&machine).revert().unwrap();
    is_stuck(&reverted.not_reverted, GPU);
    // The link shows the driver while its probe hangs, and is not believed.
    assert_eq!(driver(&machine, GPU).as_deref(), Some("nouveau"));
    comes_back(&machine, "released");
    assert_eq!(machine.snapshot(), before);
}

/// Whatever hangs, and wherever the program is killed: nothing is waited for, and once the driver
/// returns everything comes back.
#[test]
fn killed_at_every_write_of_a_loan_that_hangs() {
    let faults = [
        unbind_hangs(AUDIO),
        unbind_hangs(GPU),
        bind_hangs(GPU, "vfio-pci"),
        bind_hangs(AUDIO, "vfio-pci"),
        bind_hangs(GPU, "nouveau"),
        bind_hangs(AUDIO, "snd_hda_intel"),
    ];
    let before = Machine::desktop().snapshot();
    let (mut stuck, mut cases) = (0, 0);
    for fault in faults {
        for applies_first in [false, true] {
            for write in 0.. {
                let when = format!("{fault:?}, lent before: {applies_first}, write {write}");
                let machine = Machine::desktop();
                if applies_first {
                    let _ = lend_gpu().apply(&mut session(&machine)).unwrap();
                }
                machine.bus().fail(fault.clone());
                let crash_point = CrashPoint::dies_at(write, Moment::After);
                let mut killed = machine.session(&crash_point).unwrap();
                if !applies_first {
                    let _ = lend_gpu().apply(&mut killed);
                }
                let _ = killed.revert();
                let reverted = session(&machine).revert().unwrap();
                stuck += usize::from(!reverted.is_complete());
                comes_back(&machine, &when);
                assert_eq!(machine.snapshot(), before, "{when}");
                cases += 1;
                if !crash_point.is_dead() {
                    break;
                }
            }
        }
    }
    println!("{cases} cases, {stuck} stuck for a while");
    assert!(stuck > 20 && cases > 100, "{cases} cases, {stuck} stuck");
}

/// No driver is bound to a card that died in the guest.
#[test]
fn a_device_that_does_not_answer_is_stuck() {
    let machine = Machine::desktop();
    let before = machine.snapshot();
    let _ = lend_gpu().apply(&mut session(&machine)).unwrap();
    let config = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/config";
    let ones = hosttune_core::host::FileContent::new(vec![0xff; 64]);
    let _ = machine.bus().memory().clone().content(config, ones);
    let reverted = session(&machine).revert().unwrap();
    assert!(!reverted.is_complete());
    let said: Vec<String> = reverted
        .not_reverted
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        said.iter().any(|line| {
            line.contains("it is stuck") && line.contains("all ones") && line.contains("off and on")
        }),
        "{said:?}"
    );
    assert_eq!(driver(&machine, GPU), None);
    machine.bus().memory().change(|tree| tree.remove(config));
    comes_back(&machine, "answers again");
    assert_eq!(machine.snapshot(), before);
}
