//! How the host was started decides what is changed: files that another loader has left are not touched, nor
//! entries that the loader does not read.

use hosttune_boot::boot_loader::{BootLoader, Candidate, Detection, detect};
use hosttune_boot::boot_once::{BootMode, EntryState};
use hosttune_core::Tuning;
use hosttune_core::testing::{Machine, Memory};
use proptest::prelude::*;

use super::boot_loader::{
    ENTRIES, debian, efi, entry, equals, machine, options, parameters, put, session, systemd_boot,
    with_entries,
};

/// A variable of the boot loader interface.
pub(crate) fn variable(memory: Memory, name: &str, text: &str) -> Memory {
    let mut bytes = vec![6, 0, 0, 0];
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    bytes.extend([0, 0]);
    let path = format!("/sys/firmware/efi/efivars/{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
    put(memory, &path, bytes)
}

fn secure_boot(memory: Memory) -> Memory {
    let path = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    put(memory, path, [6, 0, 0, 0, 1])
}

pub(crate) fn off() -> hosttune_boot::boot_loader::BootParameters {
    parameters(vec![equals("mitigations", "off")])
}

/// What is said of a plan, in one text.
pub(crate) fn said(machine: &Machine) -> String {
    let plan = off().plan(&session(machine)).unwrap();
    let findings = plan
        .findings
        .iter()
        .map(|finding| format!("{finding} {}", finding.hint().unwrap_or_default()));
    findings
        .chain(plan.notes.clone())
        .collect::<Vec<_>>()
        .join("\n")
}

pub(crate) fn text(machine: &Machine, path: &str) -> String {
    machine.memory().get(path).unwrap_or_default()
}

#[test]
fn files_that_another_loader_has_left_are_not_changed() {
    let line = |text: &str| put(debian(), "/proc/cmdline", format!("{text}\n"));
    let variables = |memory| variable(memory, "LoaderFirmwareInfo", "UEFI 2.70");
    let systemd = "/boot/loader/loader.conf";
    for (memory, evidence) in [
        // Started by the firmware, by rEFInd of old or by kexec.
        (
            line("root=UUID=1 ro quiet initrd=\\initrd"),
            "not BOOT_IMAGE=",
        ),
        (
            efi(line("root=UUID=1 ro"), "barebox-2024.05.0"),
            "barebox-2024",
        ),
        (
            efi(line("root=UUID=1 ro"), "rEFInd 0.14.2"),
            "rEFInd 0.14.2",
        ),
        (
            line("BOOT_IMAGE=../vmlinuz-linux root=UUID=1"),
            "not from GRUB",
        ),
        (line("BOOT_IMAGE=Linux ro root=801"), "not from GRUB"),
        (
            variables(put(systemd_boot(), systemd, "timeout 3\n")),
            "not the EFI variable LoaderInfo",
        ),
    ] {
        for is_trial in [false, true] {
            let machine = machine(memory.clone());
            let before = machine.memory().snapshot();
            let plan = off().trial(is_trial).plan(&session(&machine)).unwrap();
            assert!(plan.steps.is_empty(), "{evidence}");
            let _ = off().trial(is_trial).apply(&mut session(&machine));
            assert!(machine.memory().snapshot() == before, "{evidence}");
            assert!(said(&machine).contains(evidence), "{}", said(&machine));
        }
    }
}

#[test]
fn what_grub_has_started_is_known() {
    for line in [
        "BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro",
        "BOOT_IMAGE=(hd0,gpt2)/vmlinuz root=UUID=1 ro",
        // Under Xen.
        "placeholder root=UUID=1 ro quiet",
    ] {
        let memory = || put(debian(), "/proc/cmdline", format!("{line}\n"));
        // Another loader can start GRUB.
        for memory in [memory(), efi(memory(), "rEFInd 0.14.2")] {
            let found = detect(session(&machine(memory)).host()).unwrap();
            let Detection::Found(Candidate { loader, .. }) = found else {
                panic!("{line}: {found:?}");
            };
            assert_eq!(loader, BootLoader::Grub, "{line}");
        }
    }
    // An image does not run: its files are all there is.
    let image = debian();
    image.change(|tree| tree.remove("/proc/cmdline"));
    let found = detect(session(&machine(image)).host()).unwrap();
    assert!(matches!(found, Detection::Found(found) if found.loader == BootLoader::Grub));
}

#[test]
fn entries_beside_a_unified_image_that_was_started_are_kept() {
    let base = || efi(with_entries(systemd_boot()), "systemd-boot 256");
    let of_type_2 = || variable(base(), "LoaderEntrySelected", "arch-linux.efi");
    let by_firmware = || variable(with_entries(systemd_boot()), "StubInfo", "systemd-stub 256");
    let ignored = || {
        let memory = variable(base(), "LoaderEntrySelected", "1a-6.12.0.conf");
        secure_boot(variable(memory, "StubInfo", "systemd-stub 256"))
    };
    let presets = "/etc/mkinitcpio.d/linux.preset";
    let mkinitcpio = |memory| {
        put(
            memory,
            presets,
            "#x\ndefault_uki=\"/boot/EFI/Linux/a.efi\"\n",
        )
    };
    for (memory, command) in [
        (of_type_2(), "kernel-install add for each kernel"),
        (mkinitcpio(by_firmware()), "mkinitcpio -P"),
        (
            put(ignored(), presets, "#default_uki=\n"),
            "kernel-install add",
        ),
        // What GRUB has left does not matter.
        (
            put(by_firmware(), "/boot/grub/grub.cfg", ""),
            "kernel-install add",
        ),
    ] {
        let machine = machine(memory);
        let before = options(&machine, "1a-6.12.0.conf").unwrap();
        assert!(said(&machine).contains(command), "{}", said(&machine));
        assert!(
            said(&machine).contains("1a-6.12.0.conf"),
            "{}",
            said(&machine)
        );
        let _ = off().apply(&mut session(&machine)).unwrap();
        assert_eq!(options(&machine, "1a-6.12.0.conf").unwrap(), before);
        assert!(text(&machine, "/etc/kernel/cmdline").ends_with("mitigations=off"));
        assert!(session(&machine).revert().unwrap().is_complete());
    }
    // Nothing from which it is made.
    let memory = of_type_2();
    memory.change(|tree| tree.remove("/etc/kernel/cmdline"));
    let machine_of = machine(memory);
    assert!(off().plan(&session(&machine_of)).unwrap().steps.is_empty());
    assert!(said(&machine_of).contains("what the image is made from"));
    // The line of an entry replaces that of the image.
    let memory = variable(base(), "LoaderEntrySelected", "1a-6.12.0.conf");
    let replaced = machine(variable(memory, "StubInfo", "systemd-stub 256"));
    let _ = off().apply(&mut session(&replaced)).unwrap();
    assert!(
        options(&replaced, "1a-6.12.0.conf")
            .unwrap()
            .ends_with("mitigations=off")
    );
}

#[test]
fn no_copy_is_made_of_an_entry_beside_an_image_that_was_started() {
    let memory = super::boot_once_in_entries::systemd_boot();
    let memory = variable(memory, "LoaderEntrySelected", "arch-linux.efi");
    let machine = machine(memory);
    let mode = BootMode::new("laws", "guests", []);
    let plan = mode.plan(&session(&machine)).unwrap();
    assert!(plan.steps.is_empty());
    assert!(
        plan.findings[0]
            .to_string()
            .contains("unified kernel image")
    );
    let state = mode.state(session(&machine).host()).unwrap();
    assert_eq!(state.entry, EntryState::Absent);
    let refused = super::boot_once::tried().plan(&session(&machine));
    let refused = format!("{:?}", refused.unwrap_err());
    assert!(refused.contains("unified kernel image"), "{refused}");
}

#[test]
fn proxmox_copies_its_entries_itself() {
    let memory = put(
        systemd_boot(),
        "/etc/kernel/proxmox-boot-uuids",
        "D34B-A25D\n",
    );
    let machine = machine(efi(memory, "systemd-boot 252"));
    assert!(
        said(&machine).contains("proxmox-boot-tool refresh"),
        "{}",
        said(&machine)
    );
}

/// Where a directory with entries is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Empty,
    /// An older copy, on a file system that the loader was not started from.
    Stale,
    /// An entry of the same name that the loader can read.
    Same,
    Another,
}

pub(crate) const LOADER: &str = "0a0a0a0a-0000-4000-8000-000000000001";
pub(crate) const SYSTEM: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const EXTENDED: &str = "bc13c2ff-59e6-4262-a352-b275fd6f7172";

pub(crate) fn udev(memory: Memory, device: &str, uuid: &str, kind: &str) -> Memory {
    let text = format!("E:ID_PART_ENTRY_UUID={uuid}\nE:ID_PART_ENTRY_TYPE={kind}\n");
    put(memory, &format!("/run/udev/data/b{device}"), text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The right directory or none is chosen, whatever is in the others.
    #[test]
    fn a_mode_is_written_where_its_loader_reads(
        real in 0..3usize, first in 0..4, second in 0..4,
        tells_partition in any::<bool>(), tells_entry in any::<bool>(),
    ) {
        let directories = ["/boot", "/efi", "/boot/efi"];
        let place = |number| [Place::Empty, Place::Stale, Place::Same, Place::Another][number];
        let mut others = [place(first as usize), place(second as usize)].into_iter();
        let mut memory = efi(systemd_boot(), "systemd-boot 256");
        memory = put(memory, "/proc/sys/kernel/osrelease", "6.12.0\n");
        memory = put(memory, "/etc/machine-id", "1a\n");
        let mut mounts = "22 1 8:9 / / rw - ext4 /dev/sda9 rw\n".to_owned();
        memory = udev(memory, "8:9", "0a0a0a0a-0000-4000-8000-000000000009", "linux");
        let mut same = 0;
        for (number, directory) in directories.into_iter().enumerate() {
            let entries = format!("{directory}/loader/entries");
            let device = format!("8:{number}");
            let at = match number == real {
                true => None,
                false => others.next(),
            };
            if at != Some(Place::Stale) {
                let parent = match mounts.contains(" /boot ") && number == 2 {
                    true => 30,
                    false => 22,
                };
                mounts += &format!("3{number} {parent} {device} / {directory} rw - vfat /dev/sda{number} rw\n");
            }
            match at {
                None => {
                    memory = udev(memory, &device, &LOADER.to_uppercase(), SYSTEM);
                    memory = put(memory, &format!("{entries}/a.conf"), entry("UUID=1", "1a", "6.12.0"));
                }
                Some(Place::Empty) => memory = memory.directory(&*entries),
                Some(Place::Stale) => {
                    memory = put(memory, &format!("{entries}/a.conf"), entry("UUID=1", "1a", "6.12.0"));
                }
                Some(Place::Same) => {
                    same += 1;
                    memory = udev(memory, &device, LOADER, EXTENDED);
                    memory = put(memory, &format!("{entries}/a.conf"), entry("UUID=1", "1a", "6.12.0"));
                }
                Some(Place::Another) => {
                    memory = udev(memory, &device, LOADER, EXTENDED);
                    memory = put(memory, &format!("{entries}/b.conf"), entry("UUID=2", "2b", "6.1.0"));
                }
            }
        }
        memory = put(memory, "/proc/self/mountinfo", mounts);
        if tells_partition {
            memory = variable(memory, "LoaderDevicePartUUID", &LOADER.to_uppercase());
        }
        if tells_entry {
            memory = variable(memory, "LoaderEntrySelected", "a.conf");
        }
        let machine = machine(memory);
        let mode = BootMode::new("laws", "guests", []);
        let _ = mode.apply(&mut session(&machine)).unwrap();
        let written: Vec<String> = machine.memory().snapshot().into_keys()
            .filter(|path| path.contains("hosttune-laws-guests")).collect();
        let is_certain = same == 0;
        let expected = format!("{}/loader/entries/a--hosttune-laws-guests.conf", directories[real]);
        match is_certain {
            true => prop_assert_eq!(written, [expected]),
            false => prop_assert!(written.is_empty(), "{:?}", written),
        }
    }
}

#[test]
fn entries_on_a_partition_that_the_loader_does_not_read_are_kept() {
    let mut memory = efi(with_entries(systemd_boot()), "systemd-boot 256");
    let mounts = "22 1 8:9 / / rw - ext4 /dev/sda9 rw\n23 22 8:1 / /efi rw - vfat /dev/sda1 rw\n";
    memory = put(memory, "/proc/self/mountinfo", mounts);
    memory = udev(memory, "8:1", LOADER, SYSTEM);
    memory = udev(
        memory,
        "8:9",
        "0a0a0a0a-0000-4000-8000-000000000009",
        "linux",
    );
    memory = variable(memory, "LoaderDevicePartUUID", LOADER);
    let real = "/efi/loader/entries/1a-6.12.0.conf";
    let machine = machine(put(memory, real, entry("UUID=1", "1a", "6.12.0")));
    let stale = text(&machine, &format!("{ENTRIES}/1a-6.12.0.conf"));
    let _ = off().apply(&mut session(&machine)).unwrap();
    assert!(text(&machine, real).contains("mitigations=off"));
    assert_eq!(text(&machine, &format!("{ENTRIES}/1a-6.12.0.conf")), stale);
    assert!(said(&machine).contains("/boot/loader/entries is kept as it is"));
    assert!(session(&machine).revert().unwrap().is_complete());
}

/// An entry with and without counters of its boots, as kernel-install leaves them when `/etc/kernel/tries` was made
/// between two of its runs. Both have the same id for systemd-boot.
#[test]
fn of_two_files_of_one_entry_neither_is_changed() {
    let twin = format!("{ENTRIES}/1a-6.12.0+3.conf");
    let original = entry("UUID=1", "1a", "6.12.0");
    let with_twin = |memory: Memory| put(memory, &twin, original.clone());
    let both = machine(with_twin(efi(
        with_entries(systemd_boot()),
        "systemd-boot 256",
    )));
    let _ = off().apply(&mut session(&both)).unwrap();
    for name in ["1a-6.12.0.conf", "1a-6.12.0+3.conf"] {
        assert_eq!(options(&both, name).unwrap(), "root=UUID=1 ro  quiet");
        assert!(said(&both).contains(name), "{}", said(&both));
    }
    // The other kernel has only one.
    assert!(
        options(&both, "1a-6.13.0+3.conf")
            .unwrap()
            .ends_with("mitigations=off")
    );
    assert!(session(&both).revert().unwrap().is_complete());

    // Nothing else would be started.
    let alone = || {
        let memory = efi(systemd_boot(), "systemd-boot 256");
        let memory = put(memory, "/etc/machine-id", "1a\n");
        put(
            memory,
            &format!("{ENTRIES}/1a-6.12.0.conf"),
            original.clone(),
        )
    };
    let plan = off().plan(&session(&machine(with_twin(alone())))).unwrap();
    assert!(plan.steps.is_empty());
    assert_eq!(
        plan.findings[0].hint(),
        Some("remove the one that is out of date, then run this again".to_owned())
    );

    // It is made between the apply and the revert, with the line of that time.
    for removed in ["1a-6.12.0.conf", "1a-6.12.0+3.conf"] {
        let machine = machine(alone());
        let _ = off().apply(&mut session(&machine)).unwrap();
        let ours = text(&machine, &format!("{ENTRIES}/1a-6.12.0.conf"));
        let _ = put(machine.memory().clone(), &twin, ours.clone() + "\n");
        let reverted = session(&machine).revert().unwrap();
        assert_eq!(reverted.not_reverted.len(), 1);
        let reason = reverted.not_reverted[0].reason.to_string();
        assert!(
            reason.contains("1a-6.12.0+3.conf and 1a-6.12.0.conf"),
            "{reason}"
        );
        for name in ["1a-6.12.0.conf", "1a-6.12.0+3.conf"] {
            assert_eq!(text(&machine, &format!("{ENTRIES}/{name}")), ours);
        }
        machine
            .memory()
            .change(|tree| tree.remove(format!("{ENTRIES}/{removed}")));
        assert!(session(&machine).revert().unwrap().is_complete());
        let left = ["1a-6.12.0.conf", "1a-6.12.0+3.conf"]
            .into_iter()
            .find(|name| *name != removed);
        assert_eq!(
            options(&machine, left.unwrap()).unwrap(),
            "root=UUID=1 ro  quiet"
        );
    }
}
