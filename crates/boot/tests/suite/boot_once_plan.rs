//! What the plan of a trial says: why there can be none, what is copied, and what does not bring the machine back.

use hosttune_boot::boot_once::EnvironmentBlock;
use hosttune_core::Tuning;
use hosttune_core::testing::Memory;

use super::boot_once::{
    BLOCK, CUSTOM, KEPT, MENU, boot, debian, machine, put, refusal, running, session, tried,
};

#[test]
fn where_a_trial_would_not_end_it_is_refused() {
    let on = |mounts: &str| put(debian(), "/proc/self/mountinfo", mounts);
    let without = |text: &str| put(debian(), "/boot/grub/grub.cfg", MENU.replace(text, ""));
    let lvm = on("22 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n")
        .link("/sys/dev/block/253:0", "../../devices/virtual/block/dm-0");
    let raid = on("22 1 9:0 / / rw - ext4 /dev/md0 rw\n")
        .link("/sys/dev/block/9:0", "../../devices/virtual/block/md0");
    let journal = on("22 1 8:1 / / rw - ext4 /dev/sda1 rw,data=journal\n");
    let btrfs = on("22 1 0:25 /@ / rw - btrfs /dev/sda1 rw\n");
    let separate =
        on("22 1 0:25 /@ / rw - btrfs /dev/sda1 rw\n23 22 0:26 / /boot rw - zfs boot rw\n");
    let numbered = put(
        debian(),
        "/boot/grub/grub.cfg",
        format!("{MENU}menuentry 'Windows' {{\n\tchainloader +1\n}}\n")
            .replace("set default=\"0\"", "set default=\"2\""),
    );
    let memory = debian();
    memory.change(|tree| tree.remove("/proc/self/mountinfo"));
    let saved = put(
        debian(),
        "/boot/grub/grub.cfg",
        MENU.replace("set default=\"0\"", "set default=\"gone\""),
    );
    for (memory, said) in [
        (lvm, "LVM, encryption"),
        (raid, "a RAID"),
        (journal, "with data=journal"),
        (btrfs, "is on btrfs, in which GRUB cannot write"),
        (separate, "is on zfs"),
        (memory, "not known"),
        (
            without("set next_entry="),
            "does not start next_entry for one boot",
        ),
        (without("source"), "does not read custom.cfg"),
        (numbered, "GRUB may take the new entry for it"),
        (saved, "'gone' is not in the menu"),
        (
            put(
                debian(),
                "/boot/grub/grub.cfg",
                format!("{MENU}# GRUB lacks write support for zfs\n"),
            ),
            "lacks write support",
        ),
        (
            put(debian(), BLOCK, "saved_entry=0\n"),
            "it has 14 bytes instead of 1024",
        ),
        (
            put(
                debian(),
                "/boot/grub/grub.cfg",
                MENU.replace("\tlinux\t", "\tmultiboot2\t"),
            ),
            "does not start Linux by one command",
        ),
        (
            put(
                debian(),
                "/boot/grub/grub.cfg",
                MENU.replace("ro  quiet", "ro mitigations=off nmi_watchdog=0"),
            ),
            "nothing to try",
        ),
        (
            put(debian(), KEPT, ""),
            "the next update-grub makes its parameters the default",
        ),
    ] {
        let (seen, hint) = refusal(memory);
        assert!(seen.contains(said), "{said}: {seen}");
        assert!(!hint.is_empty(), "{seen}");
    }
    // Another loader.
    let limine = Memory::new().directory("/proc/sys");
    let (seen, hint) = refusal(put(limine, "/boot/limine.conf", ""));
    assert!(seen.contains("only with GRUB and systemd-boot"), "{seen}");
    assert!(hint.contains("without --try-boot"), "{hint}");
}

#[test]
fn the_default_entry_is_copied_wherever_it_is() {
    for (default, saved, title) in [
        ("0", None, "Debian GNU/Linux, trial by laws"),
        ("${saved_entry}", None, "Debian GNU/Linux, trial by laws"),
        (
            "${saved_entry}",
            Some(
                "gnulinux-advanced-0a3e1f52-5a0c-4bb3-9f7e-6a3d1c0b7e11>gnulinux-6.1.0-56-amd64-advanced-0a3e1f52-5a0c-4bb3-9f7e-6a3d1c0b7e11",
            ),
            "Debian GNU/Linux, with Linux 6.1.0-56-amd64, trial by laws",
        ),
        (
            "1>2",
            None,
            "Debian GNU/Linux, with Linux 6.1.0-56-amd64, trial by laws",
        ),
    ] {
        let menu = MENU.replace("set default=\"0\"", &format!("set default=\"{default}\""));
        let mut memory = put(debian(), "/boot/grub/grub.cfg", menu);
        if let Some(saved) = saved {
            let mut block = EnvironmentBlock::new();
            block.set("saved_entry", saved).unwrap();
            memory = put(memory, BLOCK, block.bytes());
        }
        let machine = machine(memory);
        let applied = tried().apply(&mut session(&machine)).unwrap();
        let text = machine.memory().get(CUSTOM).unwrap();
        assert!(
            text.contains(&format!("menuentry '{title}' --class debian")),
            "{text}"
        );
        assert!(!text.contains("savedefault"), "{text}");
        let others = title.contains("6.1.0");
        let said = |note: &String| {
            note.contains("also starts another kernel: /boot/vmlinuz-6.1.0-56-amd64")
        };
        let plan = applied.changed.len();
        assert_eq!(plan, 2);
        let notes = tried().plan(&session(&machine)).unwrap().notes;
        assert_eq!(notes.iter().any(said), others, "{notes:#?}");
    }
}

#[test]
fn dracut_gets_what_makes_its_shell_restart() {
    let memory = debian();
    // initramfs-tools was removed and not purged.
    memory.change(|tree| tree.remove("/usr/sbin/update-initramfs"));
    let memory = memory.directory("/etc/dracut.conf.d");
    let memory = put(memory, "/usr/bin/dracut", "#!/bin/bash\n");
    let memory = put(
        memory,
        "/etc/crypttab",
        "root UUID=1 none tpm2-device=auto\n",
    );
    let memory = put(
        memory.directory("/sys/class/watchdog/watchdog0"),
        "/etc/systemd/system.conf",
        "[Manager]\n#RuntimeWatchdogSec=off\nRuntimeWatchdogSec=30\n",
    );
    let machine = machine(memory);
    let notes = tried().plan(&session(&machine)).unwrap().notes;
    for said in [
        "dracut's timeout",
        "tpm2-device=: a TPM",
        "RuntimeWatchdogSec=30 in /etc/systemd/system.conf",
    ] {
        assert!(
            notes.iter().any(|note| note.contains(said)),
            "{said}: {notes:#?}"
        );
    }
    let _ = tried().apply(&mut session(&machine)).unwrap();
    boot(&machine);
    let line = running(&machine);
    assert!(
        line.to_string()
            .contains("rd.shell=0 rd.emergency=reboot panic=10"),
        "{line}"
    );
}

fn notes(memory: Memory) -> String {
    let notes = tried().plan(&session(&machine(memory))).unwrap().notes;
    notes.join("\n")
}

#[test]
fn a_generator_that_is_not_installed_covers_nothing() {
    let memory = debian();
    memory.change(|tree| tree.remove("/usr/sbin/update-initramfs"));
    let of_none = notes(memory);
    assert!(
        of_none.contains("is not covered: the initramfs"),
        "{of_none}"
    );
    // The command of this name that calls dracut.
    let of_dracut = put(
        debian(),
        "/usr/sbin/update-initramfs",
        "#!/bin/sh\nexec dracut\n",
    );
    let of_dracut = put(of_dracut, "/usr/bin/dracut", "").directory("/etc/dracut.conf.d");
    let of_dracut = notes(of_dracut);
    assert!(of_dracut.contains("rd.shell=0"), "{of_dracut}");
}

#[test]
fn the_watchdog_is_what_systemd_reads() {
    let etc = "/etc/systemd/system.conf";
    let drop_in = "/etc/systemd/system.conf.d/10-a.conf";
    let vendor = "/usr/lib/systemd/system.conf.d/90-b.conf";
    let same = "/usr/lib/systemd/system.conf.d/10-a.conf";
    for (files, armed) in [
        (&[(etc, "30")][..], Some(etc)),
        (&[(etc, "0s")], None),
        (&[(etc, "no")], None),
        (&[(drop_in, "30"), (vendor, "off")], None),
        (&[(vendor, "30"), (drop_in, "off")], Some(vendor)),
        (&[(same, "30"), (drop_in, "")], None),
        (&[(etc, "1"), (drop_in, " 2min")], Some(drop_in)),
        (
            &[
                ("/usr/lib/systemd/system.conf", "30"),
                ("/run/systemd/system.conf", "0"),
            ],
            None,
        ),
    ] {
        let mut memory = debian().directory("/sys/class/watchdog/watchdog0");
        for (file, value) in files {
            let text = format!("[Manager]\nRuntimeWatchdogSec ={value}\n");
            memory = put(memory, file, text);
        }
        let notes = notes(memory);
        match armed {
            Some(file) => assert!(notes.contains(&format!(" in {file})")), "{files:?}"),
            None => assert!(notes.contains("nothing resets a trial"), "{files:?}"),
        }
    }
    // The drop-in of the vendor is masked.
    let masked = debian()
        .directory("/sys/class/watchdog/watchdog0")
        .link(drop_in, "/dev/null");
    let masked = put(masked, same, "[Manager]\nRuntimeWatchdogSec=30\n");
    assert!(notes(masked).contains("nothing resets a trial"));
}
