//! Trials of kernel parameters on a fake Debian with GRUB, whose menu was written by grub-mkconfig.
//!
//! The fake's boot does what GRUB's generated script does: it takes `next_entry`, empties it, and starts
//! the entry of that id. `real_grub.rs` does the same with GRUB itself.

use hosttune_boot::boot_loader::{BootParameters, BootSetting};
use hosttune_boot::boot_once::{
    EnvironmentBlock, FilePart, GrubVariable, MarkedBlock, Trial, TrialState, leaks,
};
use hosttune_boot::command_line::{CommandLineSetting, KernelCommandLine};
use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Death};
use hosttune_core::testing::{CrashPoint, Machine, Memory, Moment, World};
use hosttune_core::{Error, Knob, Planner, Selection, Session, Tuning};
use proptest::prelude::*;

pub(crate) const MENU: &str = include_str!("../grub/debian-12.cfg");
const CAPTURED: &[u8] = include_bytes!("../grub/next-entry.grubenv");
pub(crate) const CUSTOM: &str = "/boot/grub/custom.cfg";
pub(crate) const BLOCK: &str = "/boot/grub/grubenv";
const KEPT: &str = "/etc/default/grub.d/zz-hosttune-laws.cfg";
const LINE: &str = "BOOT_IMAGE=/boot/vmlinuz-6.12.0-1-amd64 root=UUID=0a3e1f52-5a0c-4bb3-9f7e-6a3d1c0b7e11 ro quiet";
const ENTRY: &str = "hosttune-trial-laws";

pub(crate) fn put(memory: Memory, path: &str, text: impl Into<Vec<u8>>) -> Memory {
    memory.content(path, FileContent::new(text))
}

/// Debian 12 with GRUB on the first partition of a disk.
pub(crate) fn debian() -> Memory {
    let memory = Memory::new()
        .directory("/proc/sys")
        .directory("/etc/default/grub.d")
        .directory("/etc/initramfs-tools")
        .link(
            "/sys/dev/block/8:1",
            "../../devices/pci0000:00/ata1/block/sda/sda1",
        );
    [
        ("/proc/cmdline", &*format!("{LINE}\n")),
        (
            "/proc/self/mountinfo",
            "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n",
        ),
        ("/boot/grub/grub.cfg", MENU),
        ("/proc/sys/kernel/random/boot_id", "first\n"),
        (
            "/etc/default/grub",
            "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
        ),
        (
            "/usr/sbin/update-initramfs",
            "#!/bin/sh\nmkinitramfs -o \"$1\"\n",
        ),
        (
            "/usr/sbin/grub-mkconfig",
            "#!/bin/sh\nfor x in ${sysconfdir}/default/grub.d/*.cfg ; do\n",
        ),
    ]
    .into_iter()
    .fold(memory, |memory, (path, text)| put(memory, path, text))
}

pub(crate) fn machine(memory: Memory) -> Machine {
    Machine::new(memory, hosttune_boot::knobs)
}

pub(crate) fn session(machine: &Machine) -> Session {
    machine.session(&CrashPoint::lives()).unwrap()
}

fn parameters(settings: Vec<CommandLineSetting>) -> BootParameters {
    let settings = settings.into_iter();
    BootParameters::new(
        "laws",
        settings.map(|one| BootSetting::new(one).why("tested")),
    )
}

pub(crate) fn tried() -> BootParameters {
    parameters(vec![
        CommandLineSetting::equals("mitigations", "off"),
        CommandLineSetting::equals("nmi_watchdog", "0"),
    ])
    .trial(true)
}

/// Everything but the id of the boot and the line of the running kernel.
pub(crate) fn files(machine: &Machine) -> std::collections::BTreeMap<String, String> {
    let mut files = machine.memory().snapshot();
    files.retain(|path, _| !path.starts_with("/proc/"));
    files
}

fn refusal(memory: Memory) -> (String, String) {
    let machine = machine(memory);
    let before = files(&machine);
    let Err(Error::NotApplicable(findings)) = tried().apply(&mut session(&machine)) else {
        panic!("it was not refused");
    };
    assert!(files(&machine) == before);
    (
        findings[0].to_string(),
        findings[0].hint().unwrap_or_default(),
    )
}

fn state(machine: &Machine) -> Option<TrialState> {
    let trial = Trial::of(session(machine).host(), "laws").unwrap();
    trial.map(|trial| trial.state)
}

fn block(machine: &Machine) -> EnvironmentBlock {
    EnvironmentBlock::parse(
        machine
            .memory()
            .get(BLOCK)
            .map_or(vec![], |mut text| {
                // The fake's text has no padding at its end that it could lose.
                if text.len() == 1023 {
                    text.push('\n');
                }
                text.into_bytes()
            })
            .as_slice(),
    )
    .unwrap()
}

fn restart(machine: &Machine) {
    machine.power_cut(false);
    let id = format!("{}\n", machine.boot());
    let _ = put(
        machine.memory().clone(),
        "/proc/sys/kernel/random/boot_id",
        id,
    );
}

/// Starts the machine again as GRUB's generated script does: with the entry of `next_entry`, which is
/// emptied, or the first.
pub(crate) fn boot(machine: &Machine) {
    restart(machine);
    let memory = machine.memory();
    let mut line = LINE.to_owned();
    if memory.get(BLOCK).is_some() {
        let mut block = block(machine);
        let next = block.get("next_entry").unwrap_or_default();
        if !next.is_empty() {
            block.set("next_entry", "").unwrap();
            let _ = put(memory.clone(), BLOCK, block.bytes());
            let custom = memory.get(CUSTOM).unwrap_or_default();
            let id = format!("--id '{}'", String::from_utf8(next).unwrap());
            let entry = custom.split_once(&id).map(|(_, entry)| entry.to_owned());
            let command = entry.as_deref().unwrap_or_default().lines();
            let linux = command
                .map(str::trim)
                .find_map(|line| line.strip_prefix("linux\t"));
            if let Some((kernel, rest)) = linux.and_then(|linux| linux.split_once(' ')) {
                line = format!("BOOT_IMAGE={kernel} {rest}");
            }
        }
    }
    let _ = put(memory.clone(), "/proc/cmdline", format!("{line}\n"));
}

fn running(machine: &Machine) -> KernelCommandLine {
    KernelCommandLine::parse(machine.memory().get("/proc/cmdline").unwrap())
}

#[test]
fn a_trial_is_booted_once_and_can_be_kept() {
    let machine = machine(debian());
    let before = files(&machine);
    let plan = tried().plan(&session(&machine)).unwrap();
    let parts: Vec<&str> = plan.steps.iter().map(|step| &*step.part).collect();
    assert_eq!(parts, ["trial", "trial"]);
    for said in [
        "panics on the trial restarts after 10 seconds",
        "nothing resets a trial that hangs",
        "initramfs-tools obeys panic=10",
        "emergency.target",
        "install no kernel while the trial runs",
        "run laws confirm",
    ] {
        assert!(
            plan.notes.iter().any(|note| note.contains(said)),
            "{said}: {:#?}",
            plan.notes
        );
    }
    let _ = tried().apply(&mut session(&machine)).unwrap();
    assert!(tried().plan(&session(&machine)).unwrap().is_empty());
    assert_eq!(state(&machine), Some(TrialState::Waiting));
    // The default is unchanged.
    assert_eq!(
        machine.memory().get("/boot/grub/grub.cfg").unwrap(),
        MENU.trim_end()
    );
    assert_eq!(machine.memory().get(KEPT), None);

    boot(&machine);
    assert_eq!(state(&machine), Some(TrialState::Running));
    let line = running(&machine);
    for (name, value) in [
        ("mitigations", "off"),
        ("nmi_watchdog", "0"),
        ("panic", "10"),
    ] {
        assert!(
            CommandLineSetting::equals(name, value).is_met(&line),
            "{line}"
        );
    }
    assert!(line.has("root") && line.has("hosttune.trial"), "{line}");
    // A second trial while this one runs is refused.
    let error = tried().plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("is running"), "{error}");

    // Keeping it: the file first, then the entry goes.
    let _ = tried().trial(false).apply(&mut session(&machine)).unwrap();
    let mut only = session(&machine);
    only.only(Selection::only(["trial"]));
    assert!(only.revert().unwrap().is_complete());
    assert_eq!(state(&machine), None);
    assert_eq!(machine.memory().get(CUSTOM), None);
    assert_eq!(machine.memory().get(BLOCK), None);
    assert!(
        machine
            .memory()
            .get(KEPT)
            .unwrap()
            .contains("mitigations=off nmi_watchdog=0\"")
    );
    boot(&machine);
    assert!(!running(&machine).has("hosttune.trial"));
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
}

#[test]
fn a_trial_that_fails_is_told_and_can_be_tried_again() {
    let machine = machine(debian());
    let before = files(&machine);
    let _ = tried().apply(&mut session(&machine)).unwrap();
    boot(&machine);
    // It panics, and GRUB starts the default entry.
    boot(&machine);
    assert_eq!(state(&machine), Some(TrialState::Failed));
    let trial = Trial::of(session(&machine).host(), "laws")
        .unwrap()
        .unwrap();
    assert_eq!(trial.parameters, "mitigations=off, nmi_watchdog=0");
    let said = trial.to_string();
    assert!(
        said.contains("it failed") && said.contains("no messages of a crash"),
        "{said}"
    );
    let memory = machine.memory().clone();
    let _ = put(memory, "/sys/fs/pstore/dmesg-efi_pstore-1", "Kernel panic");
    let trial = Trial::of(session(&machine).host(), "laws")
        .unwrap()
        .unwrap();
    assert_eq!(trial.crashes, ["/sys/fs/pstore"]);
    machine
        .memory()
        .change(|tree| tree.remove("/sys/fs/pstore/dmesg-efi_pstore-1"));
    machine
        .memory()
        .change(|tree| tree.remove("/sys/fs/pstore"));

    let _ = tried().apply(&mut session(&machine)).unwrap();
    assert_eq!(state(&machine), Some(TrialState::Waiting));
    boot(&machine);
    assert_eq!(state(&machine), Some(TrialState::Running));
    let again = Trial::of(session(&machine).host(), "laws")
        .unwrap()
        .unwrap();
    assert_ne!(again.id, trial.id);
    boot(&machine);
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
}

#[test]
fn a_loader_that_takes_another_entry_or_none_is_told() {
    let machine = machine(debian());
    let _ = tried().apply(&mut session(&machine)).unwrap();
    // Another loader starts the machine.
    restart(&machine);
    assert_eq!(state(&machine), Some(TrialState::Ignored));
    let mut block = block(&machine);
    block.set("next_entry", "gnulinux-simple").unwrap();
    let _ = put(machine.memory().clone(), BLOCK, block.bytes());
    assert_eq!(state(&machine), Some(TrialState::Replaced));
    // What another program has chosen is left.
    let reverted = session(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 1, "{reverted}");
}

/// GRUB that cannot write starts the trial at each boot.
#[test]
fn a_choice_that_grub_could_not_clear_is_told_and_reverted() {
    let machine = machine(debian());
    let before = files(&machine);
    let _ = tried().apply(&mut session(&machine)).unwrap();
    let chosen = machine.memory().get(BLOCK).unwrap();
    boot(&machine);
    let _ = put(machine.memory().clone(), BLOCK, chosen);
    let trial = Trial::of(session(&machine).host(), "laws")
        .unwrap()
        .unwrap();
    assert_eq!(trial.state, TrialState::Running);
    assert!(trial.is_chosen);
    assert!(
        trial.to_string().contains("could not clear its choice"),
        "{trial}"
    );
    assert!(session(&machine).revert().unwrap().is_complete());
    boot(&machine);
    assert!(files(&machine) == before);
}

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

#[test]
fn copied_words_of_a_trial_are_found() {
    let machine = machine(debian());
    let _ = tried().apply(&mut session(&machine)).unwrap();
    let found = || leaks(session(&machine).host()).unwrap();
    assert!(found().is_empty());
    let entry = "title x\noptions root=UUID=1 panic=10 hosttune.trial=1\n";
    let _ = put(
        machine.memory().clone(),
        "/boot/loader/entries/x.conf",
        entry,
    );
    let _ = put(
        machine.memory().clone(),
        "/etc/kernel/cmdline",
        "root=UUID=1 hosttune.trial=1\n",
    );
    let found: Vec<String> = found().iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("/etc/kernel/cmdline:1 "), "{found:?}");
    assert!(
        found[1].starts_with("/boot/loader/entries/x.conf:2 "),
        "{found:?}"
    );
}

#[test]
fn what_others_write_around_the_entry_and_beside_the_variable_stays() {
    for (custom, then) in [
        (None, "menuentry 'mine' {\n}\n"),
        (Some("set timeout=3\n"), "set timeout=3\n"),
        (Some("set timeout=3"), "set timeout=3"),
        (Some(""), ""),
    ] {
        let mut memory = debian();
        let mut first = EnvironmentBlock::new();
        first.set("saved_entry", "a\\b\nc").unwrap();
        first.set("next_entry", "").unwrap();
        first.set("recordfail", "1").unwrap();
        memory = put(memory, BLOCK, first.bytes());
        if let Some(custom) = custom {
            memory = put(memory, CUSTOM, custom);
        }
        let machine = machine(memory);
        let _ = tried().apply(&mut session(&machine)).unwrap();
        let seen = block(&machine);
        assert_eq!(seen.get("next_entry").unwrap(), ENTRY.as_bytes());
        assert_eq!(seen.get("saved_entry").unwrap(), b"a\\b\nc");
        let text = machine.memory().get(CUSTOM).unwrap() + "\n";
        if custom.is_none() {
            let _ = put(machine.memory().clone(), CUSTOM, format!("{text}{then}"));
        }
        assert!(session(&machine).revert().unwrap().is_complete());
        let content = session(&machine).host().file(CUSTOM).unwrap().unwrap();
        assert_eq!(String::from_utf8(content.bytes).unwrap(), then);
        let content = session(&machine).host().file(BLOCK).unwrap().unwrap();
        assert!(content.bytes == first.bytes());
    }
}

#[test]
fn the_block_is_what_grubs_own_program_writes() {
    let mut block = EnvironmentBlock::new();
    block.set("next_entry", "hosttune-trial-x").unwrap();
    assert!(block.bytes() == CAPTURED);
    assert!(EnvironmentBlock::parse(CAPTURED).unwrap() == block);
    let long = "a".repeat(2000);
    assert!(
        block
            .set("next_entry", &long)
            .unwrap_err()
            .to_string()
            .contains("are free")
    );
    assert!(block.set("a=b", "").is_err());
    assert!(block.bytes() == CAPTURED);
    for damaged in [&CAPTURED[1..], &[b'#'; 1024], &[0; 1024]] {
        assert!(EnvironmentBlock::parse(damaged).is_err());
    }
}

#[test]
fn a_mark_without_a_line_before_it_takes_nothing_away() {
    let block = MarkedBlock {
        file: CUSTOM.to_owned(),
        name: "x".to_owned(),
    };
    for mark in [" (the line before had no end)", " (the file is new)"] {
        let text = format!("# BEGIN hosttune x{mark}\na\n# END hosttune x\n");
        assert_eq!(block.replace(text.as_bytes(), None).unwrap(), b"");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_block_keeps_its_other_variables(
        changes in prop::collection::vec(("[abc]{1,2}", prop::option::of("[a-z\\\\\n#=]{0,9}")), 0..12)
    ) {
        let mut block = EnvironmentBlock::new();
        let mut model = std::collections::BTreeMap::new();
        for (name, value) in &changes {
            match value {
                Some(value) => {
                    block.set(name, value).unwrap();
                    model.insert(name.clone(), value.clone());
                }
                None => {
                    block.remove(name);
                    model.remove(name);
                }
            }
            let bytes = block.bytes();
            prop_assert_eq!(bytes.len(), 1024);
            prop_assert!(EnvironmentBlock::parse(&bytes).unwrap() == block);
            for (name, value) in &model {
                prop_assert_eq!(block.get(name), Some(value.clone().into_bytes()));
            }
        }
        prop_assert_eq!(block.is_empty(), model.is_empty());
    }

    #[test]
    fn any_bytes_are_a_file_or_an_error(bytes: Vec<u8>, text in "[a#\n\\\\=]{0,1024}") {
        let _ = EnvironmentBlock::parse(&bytes);
        let mut padded = format!("# GRUB Environment Block\n{text}").into_bytes();
        padded.resize(1024, b'#');
        if let Ok(block) = EnvironmentBlock::parse(&padded) {
            prop_assert!(block.bytes() == padded);
        }
    }

    #[test]
    fn a_block_of_lines_is_taken_out_as_it_was_put_in(
        before in "(a\n|#\n|# BEGIN hosttune other\n|b){0,4}", text in "([xy]{0,3}\n){0,3}", second in "([xy]{0,3}\n){0,3}",
        after in "(a\n|#\n|b){0,3}"
    ) {
        let block = MarkedBlock { file: CUSTOM.to_owned(), name: "laws trial".to_owned() };
        let bytes = before.as_bytes();
        let with = block.replace(bytes, Some(&text)).unwrap();
        prop_assert_eq!(block.find(&with).unwrap(), Some(text));
        let with = block.replace(&with, Some(&second)).unwrap();
        prop_assert_eq!(block.find(&with).unwrap(), Some(second));
        prop_assert_eq!(block.replace(&with, None).unwrap(), bytes);
        let followed = [&with[..], after.as_bytes()].concat();
        let out = block.replace(&followed, None).unwrap();
        let separate = if before.ends_with('b') && !after.is_empty() { "\n" } else { "" };
        prop_assert_eq!(out, format!("{before}{separate}{after}").into_bytes());
    }
}

pub(crate) fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ]
}

pub(crate) fn deaths() -> impl Strategy<Value = Vec<Death>> {
    prop::collection::vec((0u64..10, moment()), 0..4)
}

/// A trial, or the same parameters kept.
#[derive(Debug, Clone)]
struct Either(BootParameters);

impl Tuning for Either {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        self.0.declare(at)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_laws_hold_for_a_trial(
        has_block in any::<bool>(), custom in prop::option::of("(set a=b\n){0,2}(x)?"),
        deaths in deaths(), change in 0u64..4
    ) {
        let mut memory = debian();
        if has_block {
            memory = put(memory, BLOCK, EnvironmentBlock::new().bytes());
        }
        if let Some(custom) = custom {
            memory = put(memory, CUSTOM, custom);
        }
        let world = machine(memory);
        let first = tried();
        let second = parameters(vec![CommandLineSetting::present("skew_tick")]).trial(true);
        laws::apply_then_verify(&world, &first)?;
        laws::apply_then_plan(&world, &first)?;
        laws::plan_writes_nothing(&world, &first)?;
        laws::apply_then_revert(&world, &[&first, &second])?;
        laws::die_anywhere(&world, &[&first, &second], &deaths)?;
        laws::die_then_recover(&world, &first, &second, &deaths)?;
        laws::failing_step(&world, &first, change, Moment::Within)?;
        // A trial is kept: the file is added while the entry is there.
        let kept = Either(tried().trial(false));
        let tried = Either(first);
        laws::apply_then_revert(&world, &[&tried, &kept])?;
        laws::die_anywhere(&world, &[&tried, &kept], &deaths)?;
    }
}

#[test]
fn a_variable_that_grub_has_emptied_is_ours() {
    let variable = GrubVariable {
        block: BLOCK.to_owned(),
        name: "next_entry".to_owned(),
    };
    let present = |text: &str| FilePart::Present(text.to_owned());
    let (ours, empty) = (present(ENTRY), present(""));
    assert!(variable.is_partial_write(&empty, &FilePart::NoFile, &ours));
    assert!(!variable.is_partial_write(&present("other"), &FilePart::NoFile, &ours));
    assert!(!variable.is_partial_write(&empty, &ours, &FilePart::Absent));
}
