//! Boot entries beside the normal one, with GRUB and with files of entries.

use hosttune_boot::boot_loader::BootSetting;
use hosttune_boot::boot_once::{
    BOOT_ONCE, BootMode, EfiValue, EfiVariable, EntryState, EnvironmentBlock, GrubVariable,
    ModeOnce,
};
use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::testing::laws::{self, Act, Fault};
use hosttune_core::testing::{Memory, Moment};
use hosttune_core::{Error, Knob, Selection, Tuning};
use proptest::prelude::*;

use super::boot_loader::efi;
use super::boot_once::{
    BLOCK, CUSTOM, MENU, boot, deaths, debian, files, machine, moment, put, session, tried,
};

const MENU_FILE: &str = "/boot/grub/grub.cfg";

pub(crate) fn guests() -> BootMode {
    let settings = [
        CommandLineSetting::equals("iommu", "pt"),
        CommandLineSetting::HugePages {
            size: "2M".to_owned(),
            pages: 8192,
        },
    ];
    BootMode::new("laws", "guests", settings.map(BootSetting::new))
}

pub(crate) const ENTRIES: &str = "/boot/loader/entries";
const ENTRY_FILE: &str = "/boot/loader/entries/a--hosttune-laws-guests.conf";
pub(crate) const FEDORA: &str = "title Fedora Linux (6.12.0) 41\nversion 6.12.0\nlinux /vmlinuz-6.12.0\ninitrd /initramfs-6.12.0.img\noptions root=UUID=1 ro\noptions quiet\ngrub_users $grub_users\n";

/// systemd-boot with the entry of the running kernel and of an older one.
pub(crate) fn entries() -> Memory {
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
    let typed = "--boot-loader-entry=a--hosttune-laws-guests.conf";
    assert!(said.contains(typed), "{said}");
    let _ = guests().apply(&mut session(&machine)).unwrap();
    assert_eq!(
        machine.memory().get(ENTRY_FILE).unwrap(),
        "title Fedora Linux (6.12.0) 41, guests mode of laws\nversion 6.12.0\nlinux /vmlinuz-6.12.0\ninitrd /initramfs-6.12.0.img\noptions root=UUID=1 ro quiet iommu=pt hugepagesz=2M hugepages=8192\ngrub_users $grub_users"
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

fn act() -> impl Strategy<Value = Act<BootMode>> {
    let fault = prop::option::of((0u64..10, moment()).prop_map(Fault::Dies));
    (0usize..3, any::<bool>(), fault).prop_map(|(owner, applies, fault)| Act {
        owner,
        applies: applies.then(|| of_owner(owner)),
        fault,
    })
}

fn of_owner(owner: usize) -> BootMode {
    let quiet = BootSetting::new(CommandLineSetting::present("quiet"));
    BootMode::new(format!("owner-{owner}"), "quiet", [quiet])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// They share `custom.cfg`, and the last one removes a file that the first one has created.
    #[test]
    fn modes_of_several_programs_go_in_any_order(
        custom in prop::option::of("(set a=b\n){0,2}(x)?"),
        acts in prop::collection::vec(act(), 0..8),
        last in Just(vec![0usize, 1, 2]).prop_shuffle()
    ) {
        let mut memory = debian();
        if let Some(custom) = custom {
            memory = put(memory, CUSTOM, custom);
        }
        laws::owners_in_any_order(&machine(memory), &acts, &last)?;
    }
}

#[test]
fn the_last_program_removes_the_file_that_the_first_one_created() {
    for last in [[0, 1], [1, 0]] {
        let act = |owner| Act {
            owner,
            applies: Some(of_owner(owner)),
            fault: None,
        };
        let acts = [act(0), act(1)];
        laws::owners_in_any_order(&machine(debian()), &acts, &last).unwrap();
        let empty = put(debian(), CUSTOM, "");
        laws::owners_in_any_order(&machine(empty), &acts, &last).unwrap();
    }
}

pub(crate) fn once() -> (&'static str, ModeOnce) {
    (BOOT_ONCE, ModeOnce::new(guests(), "laws apply --persist"))
}

fn next(machine: &hosttune_core::testing::Machine) -> Option<String> {
    let next = GrubVariable {
        block: BLOCK.to_owned(),
        name: "next_entry".to_owned(),
    };
    let next = next.read(session(machine).host()).unwrap();
    next.text().map(str::to_owned)
}

#[test]
fn a_mode_is_started_by_the_next_boot_and_by_no_other() {
    let machine = machine(debian());
    let before = files(&machine);
    let state = |expected| {
        let state = guests().state(session(&machine).host()).unwrap();
        assert_eq!((state.entry, state.is_next, state.is_met), expected);
    };
    state((EntryState::Absent, Some(false), Some(false)));
    let error = once().plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("no entry for the mode guests"), "{error}");
    let _ = guests().apply(&mut session(&machine)).unwrap();
    let with_entry = files(&machine);
    let plan = once().plan(&session(&machine)).unwrap();
    let notes = plan.notes.join("\n");
    assert!(notes.contains("starts the mode guests once"), "{notes}");
    assert!(notes.contains("the normal entry"), "{notes}");
    let _ = once().apply(&mut session(&machine)).unwrap();
    assert_eq!(next(&machine).as_deref(), Some("hosttune-laws-guests"));
    state((EntryState::Current, Some(true), Some(false)));
    assert!(once().plan(&session(&machine)).unwrap().is_empty());

    boot(&machine);
    state((EntryState::Current, Some(false), Some(true)));
    // It is chosen again from within the mode.
    let _ = once().apply(&mut session(&machine)).unwrap();
    boot(&machine);
    state((EntryState::Current, Some(false), Some(true)));
    boot(&machine);
    state((EntryState::Current, Some(false), Some(false)));

    // The choice is taken back by itself, before that boot and after it.
    for boots in 0..2 {
        let _ = once().apply(&mut session(&machine)).unwrap();
        (0..boots).for_each(|_| boot(&machine));
        let mut only = session(&machine);
        only.only(Selection::only([BOOT_ONCE]));
        assert!(only.revert().unwrap().is_complete());
        assert!(files(&machine) == with_entry);
    }
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
}

#[test]
fn a_mode_that_the_loader_could_not_end_is_not_started() {
    let other = {
        let mut block = EnvironmentBlock::new();
        block.set("next_entry", "gnulinux").unwrap();
        put(debian(), BLOCK, block.bytes())
    };
    let on = |mount: &str| put(debian(), "/proc/self/mountinfo", mount);
    let menu = |from: &str, to: &str| put(debian(), MENU_FILE, MENU.replace(from, to));
    for (memory, said) in [
        (
            on("22 1 0:25 /@ / rw - btrfs /dev/sda1 rw\n"),
            "every boot would start the entry: /boot/grub is on btrfs",
        ),
        (
            menu("save_env next_entry", ""),
            "does not start next_entry for one boot",
        ),
        (put(debian(), BLOCK, "short"), "grub-editenv"),
        (other, "starts another entry once: gnulinux"),
    ] {
        let machine = machine(memory);
        let _ = guests().apply(&mut session(&machine)).unwrap();
        let before = files(&machine);
        let Err(Error::NotApplicable(findings)) = once().apply(&mut session(&machine)) else {
            panic!("it was not refused: {said}");
        };
        let seen = format!("{} {}", findings[0], findings[0].hint().unwrap());
        assert!(seen.contains(said), "{said}: {seen}");
        assert!(files(&machine) == before);
    }
}

#[test]
fn an_entry_of_an_older_kernel_is_told() {
    let machine = machine(debian());
    let _ = guests().apply(&mut session(&machine)).unwrap();
    let menu = MENU.replace("6.12.0-1", "6.12.1-1");
    let _ = put(machine.memory().clone(), MENU_FILE, menu);
    let state = guests().state(session(&machine).host()).unwrap();
    assert_eq!(state.entry, EntryState::Outdated);
    let plan = once().plan(&session(&machine)).unwrap();
    let said = "to renew it: laws apply --persist";
    assert!(plan.notes.iter().any(|note| note.contains(said)));
    // Another program has chosen another entry since; that is left.
    let _ = once().apply(&mut session(&machine)).unwrap();
    let mut block = EnvironmentBlock::new();
    block.set("next_entry", "gnulinux").unwrap();
    let _ = put(machine.memory().clone(), BLOCK, block.bytes());
    let reverted = session(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 1);
    assert_eq!(next(&machine).as_deref(), Some("gnulinux"));
}

/// What Fedora's generated menu has behind the entries, which are files.
pub(crate) const FEDORA_MENU: &str = include_str!("../grub/fedora-41.cfg");

/// Fedora: GRUB, whose menu has no kernels of its own.
pub(crate) fn fedora() -> Memory {
    let memory = put(entries(), "/boot/grub2/grub.cfg", FEDORA_MENU);
    let memory = put(
        memory,
        "/proc/cmdline",
        "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.12.0 root=UUID=1 ro quiet\n",
    );
    let memory = put(
        memory,
        "/proc/self/mountinfo",
        "22 1 8:2 / /boot rw - ext4 /dev/sda2 rw\n",
    );
    let disk = "../../devices/pci0000:00/ata1/block/sda/sda2";
    memory.link("/sys/dev/block/8:2", disk)
}

/// Fedora's GRUB reads the entries from files, and starts one of them by the name of its file.
#[test]
fn a_mode_in_a_file_is_started_once_by_grub() {
    let machine = machine(fedora());
    let before = files(&machine);
    let _ = guests().apply(&mut session(&machine)).unwrap();
    let _ = once().apply(&mut session(&machine)).unwrap();
    let block = GrubVariable {
        block: "/boot/grub2/grubenv".to_owned(),
        name: "next_entry".to_owned(),
    };
    let next = block.read(session(&machine).host()).unwrap();
    assert_eq!(next.text(), Some("~hosttune-laws-guests"));
    let state = guests().state(session(&machine).host()).unwrap();
    assert_eq!(
        (state.entry, state.is_next),
        (EntryState::Current, Some(true))
    );
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
}

const FEATURES: &str =
    "/sys/firmware/efi/efivars/LoaderFeatures-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
pub(crate) const ONE_SHOT: &str =
    "/sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The same with a loader of these features.
pub(crate) fn with_features(features: u64) -> Memory {
    let bytes = [&[6, 0, 0, 0][..], &features.to_le_bytes()].concat();
    put(efi(entries(), "systemd-boot 257"), FEATURES, bytes)
}

/// systemd-boot removes the variable before it starts the entry.
fn boot_by_firmware(machine: &hosttune_core::testing::Machine) {
    machine.memory().change(|tree| tree.remove(ONE_SHOT));
}

#[test]
fn systemd_boot_starts_a_mode_once_by_a_variable_of_the_firmware() {
    let machine = machine(with_features(0x17f));
    let before = files(&machine);
    let _ = guests().apply(&mut session(&machine)).unwrap();
    let with_entry = files(&machine);
    let plan = once().plan(&session(&machine)).unwrap();
    assert!(
        plan.notes[0].contains("if the firmware keeps the variable"),
        "{:?}",
        plan.notes
    );
    for is_booted in [false, true, true] {
        let _ = once().apply(&mut session(&machine)).unwrap();
        let value = EfiVariable::one_shot()
            .read(session(&machine).host())
            .unwrap();
        assert_eq!(value, EfiValue::of_text("a--hosttune-laws-guests.conf"));
        let state = guests().state(session(&machine).host()).unwrap();
        assert_eq!(
            (state.entry, state.is_next),
            (EntryState::Current, Some(true))
        );
        assert!(once().plan(&session(&machine)).unwrap().is_empty());
        if is_booted {
            boot_by_firmware(&machine);
            let state = guests().state(session(&machine).host()).unwrap();
            assert_eq!(state.is_next, Some(false));
        }
    }
    let mut only = session(&machine);
    only.only(Selection::only([BOOT_ONCE]));
    assert!(only.revert().unwrap().is_complete());
    assert!(files(&machine) == with_entry);
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
}

#[test]
fn a_loader_that_does_not_start_an_entry_once_gets_no_variable() {
    let other = {
        let bytes = b"\x07\0\0\0a\0.\0c\0\0\0";
        put(with_features(8), ONE_SHOT, &bytes[..])
    };
    for (memory, said) in [
        (entries(), "there is no variable LoaderFeatures"),
        (with_features(0x177), "does not start an entry once"),
        (other, "starts another entry once: a.c"),
    ] {
        let machine = machine(memory);
        let _ = guests().apply(&mut session(&machine)).unwrap();
        let before = files(&machine);
        let Err(Error::NotApplicable(findings)) = once().apply(&mut session(&machine)) else {
            panic!("it was not refused: {said}");
        };
        assert!(findings[0].to_string().contains(said), "{}", findings[0]);
        assert!(findings[0].hint().is_some());
        assert!(files(&machine) == before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_laws_hold_for_a_mode_that_is_started_once(
        is_grub in any::<bool>(), deaths in deaths(), change in 0u64..3
    ) {
        let first = machine(if is_grub { debian() } else { with_features(8) });
        let _ = guests().apply(&mut session(&first)).unwrap();
        // Another world that has the entry from the beginning.
        let world = machine(first.memory().clone());
        laws::apply_then_verify(&world, &once())?;
        laws::apply_then_plan(&world, &once())?;
        laws::plan_writes_nothing(&world, &once())?;
        laws::apply_then_revert(&world, &[once(), once()])?;
        laws::die_anywhere(&world, &[once(), once()], &deaths)?;
        laws::failing_step(&world, &once(), change, Moment::Within)?;
    }
}
