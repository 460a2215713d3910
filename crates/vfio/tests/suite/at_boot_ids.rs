//! `vfio-pci.ids=`, which lends devices from boot on.

use hosttune_core::testing::{Memory, World};
use hosttune_core::{Finding, State, Tuning, When};
use hosttune_modules::testing::with_modules;
use hosttune_pci::testing::{Bus, Function};
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Consent, Lend, LendAtBootByIds};

use crate::support::{AUDIO, GPU, NIC, at, host, lend_gpu, session};

const FILE: &str = "/etc/default/grub.d/zz-hosttune-test.cfg";

fn function(address: &str, ids: &str, class: &str, group: u32) -> Function {
    Function::new(address, ids, class)
        .below(&["0000:00:01.0"])
        .group(group)
}

/// A machine with GRUB, a card with its audio output, and a network card.
fn machine(built_in: &[&str]) -> Machine {
    let memory = Memory::new()
        .directory("/proc/sys")
        .directory("/sys/class/block");
    let bus = Bus::new(with_modules(memory, &[], built_in))
        .with_iommu()
        .with_driver("nouveau", &["10de:2684"])
        .with_driver("snd_hda_intel", &["10de:22ba"])
        .with_driver("e1000e", &["8086:10d3"])
        .with_driver("vfio-pci", &[])
        .with(
            Function::new("0000:00:01.0", "8086:1901", "060400")
                .bridge()
                .group(1),
        )
        .with(function(GPU, "10de:2684", "030000", 1))
        .with(function(AUDIO, "10de:22ba", "040300", 1))
        .with(function(NIC, "8086:10d3", "020000", 2));
    let machine =
        ["nouveau", "snd_hda_intel"]
            .iter()
            .fold(Machine::over(bus), |machine, driver| {
                machine.with_file(&format!("/sys/bus/pci/drivers/{driver}/module/refcnt"), "1")
            });
    machine
        .with_file("/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet")
        .with_file("/boot/grub/grub.cfg", "### BEGIN")
        .with_file("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"")
        .with_file(
            "/usr/sbin/grub-mkconfig",
            "#!/bin/sh\nfor x in ${sysconfdir}/default/grub.d/*.cfg ; do",
        )
}

const VFIO: [&str; 2] = ["vfio_pci", "vfio_iommu_type1"];

fn by_ids() -> LendAtBootByIds {
    LendAtBootByIds::new(lend_gpu(), "test")
}

#[track_caller]
fn refused(machine: &Machine, tuning: &LendAtBootByIds) -> String {
    let before = machine.snapshot();
    let error = tuning.apply(&mut session(machine)).unwrap_err();
    assert_eq!(machine.snapshot(), before);
    format!("{error}; {}", error.hint().unwrap_or_default())
}

#[test]
fn the_ids_of_the_card_are_added_for_grub_and_removed_again() {
    let machine = machine(&VFIO);
    let before = machine.snapshot();
    let mut session = session(&machine);
    let notes = by_ids().plan(&session).unwrap().notes.join("\n");
    assert!(notes.contains("comes before all modules"), "{notes}");
    assert!(notes.contains("update-grub"), "{notes}");
    let _ = by_ids().apply(&mut session).unwrap();
    let text = host(&machine).read_text(FILE).unwrap();
    assert!(text.contains("vfio-pci.ids=10de:22ba,10de:2684"), "{text}");
    // Only the next boot tells.
    let is_pending = |machine: &Machine| {
        let report = by_ids().verify(&crate::support::session(machine)).unwrap();
        assert!(report.is_as_wanted(), "{report:#?}");
        let mut items = report.items.iter();
        items.any(|item| {
            matches!(
                item.state,
                State::Pending {
                    until: When::Reboot
                }
            )
        })
    };
    assert!(is_pending(&machine));
    let booted = machine.fork().with_file(
        "/proc/cmdline",
        "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet vfio-pci.ids=10de:22ba,10de:2684",
    );
    assert!(!is_pending(&booted));
    assert!(session.revert().unwrap().not_reverted.is_empty());
    assert_eq!(machine.snapshot(), before);
}

#[test]
fn another_device_with_the_ids_would_be_taken_too() {
    let twin = machine(&VFIO).with(function("0000:05:00.1", "10de:22ba", "040300", 7));
    let said = refused(&twin, &by_ids());
    assert!(
        said.contains("at 0000:05:00.1 has the same ids as 0000:01:00.1"),
        "{said}"
    );
    assert!(said.contains("--at-boot rule"), "{said}");
}

#[test]
fn a_module_of_the_kernel_would_come_too_late() {
    let said = refused(
        &machine(&[]).with_file("/sys/module/vfio_pci/initstate", "live"),
        &by_ids(),
    );
    assert!(said.contains("vfio-pci is a module"), "{said}");
}

#[test]
fn ids_that_another_has_put_on_the_line_are_not_replaced() {
    let line = "BOOT_IMAGE=/vmlinuz vfio-pci.ids=1002:73bf,10DE:2684";
    let said = refused(&machine(&VFIO).with_file("/proc/cmdline", line), &by_ids());
    assert!(said.contains("vfio-pci.ids=1002:73bf, "), "{said}");
}

#[test]
fn which_of_two_built_in_drivers_comes_first_is_not_known_and_said() {
    let nic = Lend::new([at(NIC, "8086:10d3")]).consent(Consent::NetworkConfiguration);
    let tuning = LendAtBootByIds::new(nic, "test");
    let notes = tuning
        .plan(&session(&machine(&VFIO)))
        .unwrap()
        .notes
        .join("\n");
    assert!(
        notes.contains("e1000e of 0000:02:00.0 are built in"),
        "{notes}"
    );
}

/// Ids in the configuration that were not booted yet.
#[test]
fn ids_of_others_that_wait_for_a_reboot_are_not_replaced_either() {
    let foreign =
        "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"vfio-pci.ids=8086:1533\"";
    for file in ["/etc/default/grub", "/etc/default/grub.d/iommu.cfg"] {
        let said = refused(&machine(&VFIO).with_file(file, foreign), &by_ids());
        let wanted = format!("{file} has vfio-pci.ids=8086:1533, ");
        assert!(said.contains(&wanted), "{said}");
    }
    // The same ids, and a comment.
    let commented = foreign.replace("\nGRUB", "\n# GRUB");
    let same = format!("{commented}\nGRUB_CMDLINE_LINUX=\"vfio-pci.ids=10DE:2684,10de:22ba\"");
    let machine = machine(&VFIO).with_file("/etc/default/grub", &same);
    let _ = by_ids().apply(&mut session(&machine)).unwrap();
}

/// The kernel compares numbers, so order and case are the same to it.
#[test]
fn the_same_ids_in_another_order_and_case_are_in_effect() {
    let machine = machine(&VFIO).with_file(
        "/proc/cmdline",
        "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet vfio-pci.ids=10DE:2684,10de:22ba",
    );
    let mut session = session(&machine);
    let _ = by_ids().apply(&mut session).unwrap();
    let report = by_ids().verify(&session).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
    let pending = |item: &Finding| matches!(item.state, State::Pending { .. });
    assert!(!report.items.iter().any(pending), "{report:#?}");
}

/// Our own ids, which were booted with, are replaced with those of another card.
#[test]
fn after_a_swap_of_the_card_our_own_ids_are_replaced() {
    let machine = machine(&VFIO);
    let mut session = session(&machine);
    let _ = by_ids().apply(&mut session).unwrap();
    let booted = machine.with_file(
        "/proc/cmdline",
        "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet vfio-pci.ids=10de:22ba,10de:2684",
    );
    let nic = Lend::new([at(NIC, "8086:10d3")]).consent(Consent::NetworkConfiguration);
    let _ = LendAtBootByIds::new(nic, "test")
        .apply(&mut session)
        .unwrap();
    let text = host(&booted).read_text(FILE).unwrap();
    assert!(text.contains("vfio-pci.ids=8086:10d3"), "{text}");
    assert!(!text.contains("10de"), "{text}");
    let _ = session.revert().unwrap();
    assert!(!host(&booted).exists(FILE).unwrap());
}

/// In an entry of the boot loader they are one argument with those of others: the command that reverts
/// them is named.
#[test]
fn our_own_ids_in_an_entry_are_reverted_first() {
    let entry = "/boot/loader/entries/debian.conf";
    let machine = machine(&VFIO);
    machine
        .bus()
        .memory()
        .change(|tree| tree.remove("/boot/grub/grub.cfg"));
    let machine = machine
        .with_file("/proc/cmdline", "root=/dev/sda1 quiet")
        .with_file("/etc/kernel/cmdline", "root=/dev/sda1 quiet")
        .with_file("/boot/loader/loader.conf", "timeout 3\n")
        .with_file(
            entry,
            "title Debian\nlinux /vmlinuz\noptions root=/dev/sda1 quiet\n",
        );
    let mut session = session(&machine);
    let _ = by_ids().apply(&mut session).unwrap();
    let text = host(&machine).read_text(entry).unwrap();
    assert!(text.contains("vfio-pci.ids=10de:22ba,10de:2684"), "{text}");
    let nic = Lend::new([at(NIC, "8086:10d3")]).consent(Consent::NetworkConfiguration);
    let error = LendAtBootByIds::new(nic, "test")
        .plan(&session)
        .unwrap_err();
    let hint = error.hint().unwrap_or_default();
    assert!(
        hint.contains("has set the parameter for other devices"),
        "{error}; {hint}"
    );
    assert!(hint.contains(" revert"), "{hint}");
}
