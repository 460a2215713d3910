//! Boot entries beside the normal one, with GRUB and with files of entries.

use hosttune_boot::boot_loader::BootSetting;
use hosttune_boot::boot_once::BootMode;
use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::testing::laws;
use hosttune_core::testing::{Memory, Moment};
use hosttune_core::{Selection, Tuning};
use proptest::prelude::*;

use super::boot_once::{CUSTOM, MENU, deaths, debian, files, machine, put, session, tried};

fn guests() -> BootMode {
    let settings = [
        CommandLineSetting::equals("iommu", "pt"),
        CommandLineSetting::HugePages {
            size: "2M".to_owned(),
            pages: 8192,
        },
    ];
    BootMode::new("laws", "guests", settings.map(BootSetting::new))
}

const ENTRIES: &str = "/boot/loader/entries";
const ENTRY_FILE: &str = "/boot/loader/entries/0-hosttune-laws-guests.conf";
const FEDORA: &str = "title Fedora Linux (6.12.0) 41\nversion 6.12.0\nlinux /vmlinuz-6.12.0\ninitrd /initramfs-6.12.0.img\noptions root=UUID=1 ro\noptions quiet\ngrub_users $grub_users\n";

/// systemd-boot with the entry of the running kernel and of an older one.
fn entries() -> Memory {
    let memory = put(Memory::new(), "/proc/cmdline", "root=UUID=1 ro quiet\n");
    let memory = put(memory, "/proc/sys/kernel/osrelease", "6.12.0\n");
    let memory = put(memory, "/boot/loader/loader.conf", "");
    let older = FEDORA.replace("6.12.0", "6.11.0");
    let memory = put(memory, &format!("{ENTRIES}/a-6.11.0.conf"), older);
    put(memory, &format!("{ENTRIES}/a-6.12.0.conf"), FEDORA)
}

#[test]
fn a_mode_is_an_entry_of_grub_beside_the_default_one() {
    let machine = machine(debian());
    let before = files(&machine);
    let plan = guests().plan(&session(&machine)).unwrap();
    let said = &plan.notes[0];
    assert!(said.contains("grub-reboot hosttune-laws-guests"), "{said}");
    let _ = guests().apply(&mut session(&machine)).unwrap();
    let text = machine.memory().get(CUSTOM).unwrap();
    let line = "ro  quiet iommu=pt hugepagesz=2M hugepages=8192\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("--id 'hosttune-laws-guests' {"), "{text}");
    // A mode and a trial are in the same file, and each is reverted by itself.
    let _ = tried().apply(&mut session(&machine)).unwrap();
    let mut only = session(&machine);
    only.only(Selection::only(["trial"]));
    assert!(only.revert().unwrap().is_complete());
    assert_eq!(machine.memory().get(CUSTOM).unwrap(), text);
    // After a new kernel was installed the entry is out of date, and is renewed.
    let menu = MENU.replace("6.12.0-1", "6.12.1-1");
    let _ = put(machine.memory().clone(), "/boot/grub/grub.cfg", menu);
    assert!(!guests().verify(&session(&machine)).unwrap().is_as_wanted());
    let _ = guests().apply(&mut session(&machine)).unwrap();
    let text = machine.memory().get(CUSTOM).unwrap();
    assert!(text.contains("vmlinuz-6.12.1-1"), "{text}");
    let _ = put(machine.memory().clone(), "/boot/grub/grub.cfg", MENU);
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
}

#[test]
fn a_mode_is_a_file_beside_the_entry_of_the_running_kernel() {
    let machine = machine(entries());
    let before = files(&machine);
    let plan = guests().plan(&session(&machine)).unwrap();
    let said = &plan.notes[0];
    let typed = "--boot-loader-entry=0-hosttune-laws-guests.conf";
    assert!(said.contains(typed), "{said}");
    let _ = guests().apply(&mut session(&machine)).unwrap();
    assert_eq!(
        machine.memory().get(ENTRY_FILE).unwrap(),
        "title Fedora Linux (6.12.0) 41, guests mode of laws\nversion 6.12.0\nlinux /vmlinuz-6.12.0\ninitrd /initramfs-6.12.0.img\noptions root=UUID=1 ro quiet iommu=pt hugepagesz=2M hugepages=8192\ngrub_users $grub_users\nsort-key zz-hosttune"
    );
    assert!(guests().plan(&session(&machine)).unwrap().is_empty());
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
}

#[test]
fn a_mode_that_cannot_be_copied_is_reported() {
    let twice = put(entries(), "/boot/loader/entries/b.conf", FEDORA);
    let variable = put(
        entries(),
        "/boot/loader/entries/a-6.12.0.conf",
        FEDORA.replace("options quiet", "options $kernelopts"),
    );
    let other = put(entries(), "/proc/sys/kernel/osrelease", "6.13.0\n");
    let custom = put(debian(), "/boot/grub/grub.cfg", MENU.replace("source", ""));
    for (memory, said) in [
        (twice, "a-6.12.0.conf, b.conf"),
        (variable, "from a variable of GRUB"),
        (other, "no entry in /boot/loader/entries"),
        (custom, "does not read custom.cfg"),
        (
            Memory::new().directory("/proc/sys"),
            "add an entry manually",
        ),
    ] {
        let machine = machine(memory);
        let plan = guests().plan(&session(&machine)).unwrap();
        assert!(plan.steps.is_empty(), "{:?}", plan.steps);
        let finding = &plan.findings[0];
        let seen = format!("{finding} {}", finding.hint().unwrap());
        assert!(seen.contains(said), "{said}: {seen}");
    }
    let named = BootMode::new("laws", "a b", []);
    assert!(named.plan(&session(&machine(debian()))).is_err());
    let lost = BootSetting::new(CommandLineSetting::absent("root"));
    let lost = BootMode::new("laws", "x", [lost]);
    assert!(lost.plan(&session(&machine(entries()))).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_laws_hold_for_a_mode(is_grub in any::<bool>(), deaths in deaths(), change in 0u64..3) {
        let world = machine(if is_grub { debian() } else { entries() });
        let first = guests();
        let present = BootSetting::new(CommandLineSetting::present("quiet"));
        let second = BootMode::new("laws", "quiet", [present]);
        laws::apply_then_verify(&world, &first)?;
        laws::apply_then_plan(&world, &first)?;
        laws::plan_writes_nothing(&world, &first)?;
        laws::apply_then_revert(&world, &[&first, &second])?;
        laws::die_anywhere(&world, &[&first, &second], &deaths)?;
        laws::die_then_recover(&world, &first, &second, &deaths)?;
        laws::failing_step(&world, &first, change, Moment::Within)?;
    }
}
