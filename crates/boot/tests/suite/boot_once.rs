//! Trials of kernel parameters on a fake Debian with GRUB, whose menu was written by grub-mkconfig.
//!
//! The fake's boot does what GRUB's generated script does: it takes `next_entry`, empties it, and starts
//! the entry of that id. `real_grub.rs` does the same with GRUB itself.

use hosttune_boot::boot_loader::{BootParameters, BootSetting};
use hosttune_boot::boot_once::{
    EnvironmentBlock, FilePart, GrubVariable, Trial, TrialState, leaks,
};
use hosttune_boot::command_line::{CommandLineSetting, KernelCommandLine};
use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Death};
use hosttune_core::testing::{CrashPoint, Machine, Memory, Moment, World};
use hosttune_core::{Error, Knob, Planner, Selection, Session, Tuning};
use proptest::prelude::*;

pub(crate) const MENU: &str = include_str!("../grub/debian-12.cfg");
pub(crate) const CAPTURED: &[u8] = include_bytes!("../grub/next-entry.grubenv");
pub(crate) const CUSTOM: &str = "/boot/grub/custom.cfg";
pub(crate) const BLOCK: &str = "/boot/grub/grubenv";
pub(crate) const KEPT: &str = "/etc/default/grub.d/zz-hosttune-laws.cfg";
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

pub(crate) fn parameters(settings: Vec<CommandLineSetting>) -> BootParameters {
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

pub(crate) fn refusal(memory: Memory) -> (String, String) {
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

pub(crate) fn block(machine: &Machine) -> EnvironmentBlock {
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

pub(crate) fn running(machine: &Machine) -> KernelCommandLine {
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
