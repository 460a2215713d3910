//! Limine's configuration: which file it is, and where a change of it may end the boots of its loader.

use hosttune_core::Tuning;
use hosttune_core::testing::Memory;

use super::boot_loader::{efi, executable, machine, put, session};
use super::boot_start::{LOADER, SYSTEM, off, said, text, udev, variable};

const CONFIGURATION: &str = "timeout: 3\n\n/Arch\n    protocol: linux\n    path: boot():/vmlinuz-linux\n    cmdline: root=UUID=1 ro quiet\n";

/// Limine, with these executables and configurations; an executable whose name ends with `+` has a hash.
fn limine_with(executables: &[&str], configurations: &[&str]) -> Memory {
    let memory = put(Memory::new(), "/proc/cmdline", "root=UUID=1 ro quiet\n");
    let mut memory = efi(memory.directory("/proc/sys"), "Limine 10.6.6");
    for name in executables {
        let digit = if name.ends_with('+') { 'a' } else { '0' };
        let name = name.trim_end_matches('+');
        memory = put(memory, name, executable(digit));
    }
    for name in configurations {
        memory = put(memory, name, CONFIGURATION);
    }
    memory
}

#[test]
fn limines_configuration_is_the_one_that_it_reads() {
    let of_archinstall = "/boot/EFI/arch-limine/BOOTX64.EFI";
    for (executables, configuration) in [
        (&[of_archinstall][..], "/boot/EFI/arch-limine/limine.conf"),
        (&["/efi/EFI/Limine/a.efi"], "/efi/EFI/Limine/LIMINE.CONF"),
        (
            &["/boot/efi/EFI/a/b/c.efi"],
            "/boot/efi/EFI/a/b/limine.conf",
        ),
        (
            &["/boot/efi/efi/BOOT/BOOTX64.EFI"],
            "/boot/efi/efi/BOOT/limine.conf",
        ),
        (&[of_archinstall], "/boot/boot/limine/limine.conf"),
        (&[of_archinstall], "/efi/limine/limine.conf"),
        (&["/boot/limine/limine-bios.sys"], "/limine.conf"),
    ] {
        let machine = machine(limine_with(executables, &[configuration]));
        let before = machine.memory().snapshot();
        let _ = off().apply(&mut session(&machine)).unwrap();
        let changed = text(&machine, configuration);
        assert!(
            changed.ends_with("quiet mitigations=off"),
            "{configuration}: {}",
            said(&machine)
        );
        assert!(session(&machine).revert().unwrap().is_complete());
        assert!(machine.memory().snapshot() == before, "{configuration}");
    }
}

#[test]
fn limines_configuration_is_not_changed_where_that_may_end_its_boots() {
    let own = "/boot/EFI/arch-limine/BOOTX64.EFI";
    let beside = "/boot/EFI/arch-limine/limine.conf";
    for (executables, configurations, why) in [
        // A hash in any executable, wherever it is.
        (
            &[own, "/boot/EFI/BOOT/BOOTX64.EFI+"][..],
            &[beside][..],
            "hash of its configuration",
        ),
        (
            &[
                "/boot/EFI/BOOT/BOOTX64.EFI",
                "/boot/EFI/arch-limine/BOOTX64.EFI+",
            ],
            &["/boot/limine.conf"],
            "arch-limine",
        ),
        (
            &[own, "/efi/EFI/a/b/c/D.EFI+"],
            &[beside],
            "/efi/EFI/a/b/c/D.EFI",
        ),
        (
            &[own, "/boot/boot/limine/limine-bios.sys+"],
            &[beside],
            "limine-bios.sys",
        ),
        // A file that hides the other one, or is hidden by it.
        (&[own], &[beside, "/boot/limine.conf"], "not known which"),
        (
            &[own],
            &["/boot/limine.conf", "/efi/limine.conf"],
            "not known which",
        ),
        // A file that it does not read.
        (
            &["/boot/EFI/BOOT/BOOTX64.EFI"],
            &[beside],
            "no limine.conf was found",
        ),
    ] {
        let machine = machine(limine_with(executables, configurations));
        let before = machine.memory().snapshot();
        let _ = off().apply(&mut session(&machine));
        assert!(machine.memory().snapshot() == before, "{why}");
        assert!(said(&machine).contains(why), "{}", said(&machine));
    }
}

#[test]
fn limines_partition_has_to_be_mounted() {
    let base = || {
        let memory = limine_with(&["/boot/EFI/BOOT/BOOTX64.EFI"], &["/boot/limine.conf"]);
        let memory = put(
            memory,
            "/proc/self/mountinfo",
            "22 1 8:9 / / rw - ext4 /dev/sda9 rw\n23 22 8:1 / /boot rw - vfat /dev/sda1 rw\n",
        );
        udev(
            memory,
            "8:9",
            "0a0a0a0a-0000-4000-8000-000000000009",
            "linux",
        )
    };
    for (uuid, is_changed) in [
        (LOADER, true),
        ("0a0a0a0a-0000-4000-8000-000000000002", false),
    ] {
        let memory = udev(base(), "8:1", uuid, SYSTEM);
        let machine = machine(variable(memory, "LoaderDevicePartUUID", LOADER));
        let _ = off().apply(&mut session(&machine));
        let text = text(&machine, "/boot/limine.conf");
        assert_eq!(
            text.contains("mitigations=off"),
            is_changed,
            "{uuid}: {}",
            said(&machine)
        );
    }
}
