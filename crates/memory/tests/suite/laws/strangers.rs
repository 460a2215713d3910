//! Another process puts its own data on our zram device: a revert leaves the data, and what it is on.

use hosttune_core::testing::{CrashPoint, Memory, World};
use hosttune_core::{HostErrorKind, Knob, NotRevertedReason, Reverted};
use hosttune_memory::testing::{ZramKernel, with_zram};
use hosttune_memory::zram::{
    Configuration, ConfigurationState, Size, SwapHeader, ZramDevices, ZramSwap,
};

use super::machine::Machine;

const KERNELS: [ZramKernel; 2] = [ZramKernel::WithCrypto, ZramKernel::ByItself];

fn applied(kernel: ZramKernel) -> Machine {
    let machine = Machine::new(with_zram(Memory::new(), kernel));
    machine.apply(&ZramSwap::new(Size::Bytes(1 << 24)));
    machine
}

/// As mkfs.ext2: the superblock begins at byte 1024.
fn file_system(machine: &Machine) {
    let mut page = vec![0; 4096];
    page[1080..1082].copy_from_slice(&[0x53, 0xef]);
    machine.zram().write_first_page(0, &page).unwrap();
}

/// As `mkswap --label theirs`.
fn other_swap(machine: &Machine) {
    let header = SwapHeader {
        label: "theirs".to_owned(),
        uuid: [7; 16],
        last_page: 4095,
    };
    let page = header.to_page(4096);
    machine.zram().write_first_page(0, &page).unwrap();
}

/// As mkfs.btrfs: nothing in the first page, and the superblock at 64 KiB.
fn late_file_system(machine: &Machine) {
    machine.zram().write_first_page(0, &[0; 4096]).unwrap();
    machine.zram().write_after_first_page(0, "btrfs");
}

fn reason(reverted: &Reverted, knob: &str) -> Option<NotRevertedReason> {
    let left = &reverted.not_reverted;
    let left = left.iter().find(|left| left.knob.text == knob);
    left.map(|left| left.reason.clone())
}

#[test]
fn data_of_another_process_stays_with_the_device_it_is_on() {
    for kernel in KERNELS {
        for put in [file_system, other_swap, late_file_system] {
            let original = Machine::new(with_zram(Memory::new(), kernel)).snapshot();
            let machine = applied(kernel);
            machine.zram().swap_off(0).unwrap();
            put(&machine);
            let theirs = machine.snapshot();
            for _ in 0..2 {
                let reverted = machine.revert();
                let left = |knob| reason(&reverted, knob);
                let header = || "zram0 swap header".to_owned();
                assert_eq!(left("zram0 swap header"), Some(NotRevertedReason::Theirs));
                let waits = Some(NotRevertedReason::WaitsFor(header()));
                assert_eq!(left("zram0 configuration"), waits, "{reverted:#?}");
                assert!(left("zram0").is_some(), "{reverted:#?}");
                assert!(reverted.is_complete(), "{reverted:#?}");
                assert_eq!(machine.snapshot(), theirs);
            }
            // The other process is done with the device.
            let done = machine.fork();
            done.zram().erase(0).unwrap();
            assert_eq!(done.revert().not_reverted, []);
            assert_eq!(done.snapshot(), original);
            let mut forced = machine.session(&CrashPoint::lives()).unwrap();
            let reverted = forced.force(true).revert().unwrap();
            assert_eq!(reverted.not_reverted, []);
            assert_eq!(machine.snapshot(), original);
        }
    }
}

/// Killed between the size and the header, so that no step says whose the header is.
#[test]
fn a_device_with_data_of_another_process_is_not_configured_again() {
    for put in [file_system, other_swap, late_file_system] {
        let machine = applied(ZramKernel::ByItself);
        machine.zram().swap_off(0).unwrap();
        put(&machine);
        let theirs = machine.snapshot();
        let mut host = machine.host(&CrashPoint::lives());
        let nothing = ConfigurationState::Is {
            algorithm: "lz4".to_owned(),
            limit: 0,
            size: 0,
        };
        let set = Configuration(0).set(&mut host, &nothing);
        let error = set.unwrap_err();
        assert_eq!(*error.kind(), HostErrorKind::Busy, "{error}");
        assert!(error.to_string().contains("another process"), "{error}");
        assert_eq!(machine.snapshot(), theirs);
    }
}

/// The kernel removes all devices with the module, except those that are open.
#[test]
fn the_module_stays_while_there_is_a_device_of_another_process() {
    for kernel in KERNELS {
        let machine = applied(kernel);
        assert_eq!(machine.zram().somebodys(1 << 20, None).unwrap(), 1);
        let reverted = machine.revert();
        let zram = reason(&reverted, "module zram num_devices=0");
        let Some(NotRevertedReason::InUse(why)) = zram else {
            panic!("{reverted:#?}");
        };
        assert!(why.contains("zram1"), "{why}");
        assert_eq!(machine.get("/sys/block/zram1/disksize"), "1048576");
        assert!(machine.memory.get("/sys/block/zram0/disksize").is_none());
        let remove = "/sys/class/zram-control/hot_remove";
        machine.memory.write("/sys/block/zram1/reset", "1").unwrap();
        machine.memory.write(remove, "1").unwrap();
        assert_eq!(machine.revert().not_reverted, []);
    }
}
