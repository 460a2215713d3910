//! Trials where entries are files: systemd-boot, and GRUB on Fedora.
//!
//! The fake's boot does what systemd-boot does with `LoaderEntryOneShot`: it removes the variable and starts the
//! entry that it names. The loader itself does this in `examples/tests/suite/systemd_boot.rs`.

use hosttune_boot::boot_once::{EfiValue, EfiVariable, Trial, TrialState, leaks};
use hosttune_boot::command_line::{CommandLineSetting, KernelCommandLine};
use hosttune_core::testing::laws;
use hosttune_core::testing::{Machine, Memory, Moment};
use hosttune_core::{Error, Knob, Selection, Tuning};
use proptest::prelude::*;

use super::boot_modes::{FEDORA, ONE_SHOT, fedora, with_features};
use super::boot_once::{deaths, files, machine, put, session, tried};

const TRIAL_FILE: &str = "/boot/loader/entries/a--hosttune-trial-laws.conf";
const NORMAL: &str = "/boot/loader/entries/a-6.12.0.conf";

pub(crate) fn systemd_boot() -> Memory {
    put(
        with_features(8),
        "/proc/sys/kernel/random/boot_id",
        "first\n",
    )
}

fn state(machine: &Machine) -> Option<TrialState> {
    let trial = Trial::of(session(machine).host(), "laws").unwrap();
    trial.map(|trial| trial.state)
}

fn options(machine: &Machine, file: &str) -> String {
    let text = machine.memory().get(file).unwrap();
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix("options "));
    values.collect::<Vec<_>>().join(" ")
}

/// Starts the machine again as systemd-boot does.
fn boot(machine: &Machine) {
    let chosen = EfiVariable::one_shot()
        .read(session(machine).host())
        .unwrap();
    let file = match chosen.text() {
        Some(name) => format!("/boot/loader/entries/{name}"),
        None => NORMAL.to_owned(),
    };
    machine.memory().change(|tree| {
        if chosen != EfiValue::Absent {
            tree.remove(ONE_SHOT);
        }
    });
    machine.power_cut(false);
    let id = format!("{}\n", machine.boot());
    let memory = machine.memory().clone();
    let memory = put(memory, "/proc/sys/kernel/random/boot_id", id);
    let _ = put(memory, "/proc/cmdline", options(machine, &file) + "\n");
}

#[test]
fn a_trial_is_a_file_that_is_started_once() {
    let machine = machine(systemd_boot());
    let before = files(&machine);
    let plan = tried().plan(&session(&machine)).unwrap();
    assert!(plan.steps.iter().all(|step| step.part == "trial"));
    for said in ["some firmware accepts it and loses it", "laws confirm"] {
        assert!(
            plan.notes.iter().any(|note| note.contains(said)),
            "{:?}",
            plan.notes
        );
    }
    let _ = tried().apply(&mut session(&machine)).unwrap();
    assert!(tried().plan(&session(&machine)).unwrap().is_empty());
    assert_eq!(state(&machine), Some(TrialState::Waiting));
    assert!(leaks(session(&machine).host()).unwrap().is_empty());
    assert_eq!(machine.memory().get(NORMAL).unwrap(), FEDORA.trim_end());

    boot(&machine);
    assert_eq!(state(&machine), Some(TrialState::Running));
    let line = KernelCommandLine::parse(machine.memory().get("/proc/cmdline").unwrap());
    for (name, value) in [("mitigations", "off"), ("panic", "10"), ("root", "UUID=1")] {
        assert!(
            CommandLineSetting::equals(name, value).is_met(&line),
            "{line}"
        );
    }
    let error = tried().plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("is running"), "{error}");

    // Keeping it: the entries first, then the file goes.
    let _ = tried().trial(false).apply(&mut session(&machine)).unwrap();
    let mut only = session(&machine);
    only.only(Selection::only(["trial"]));
    assert!(only.revert().unwrap().is_complete());
    assert_eq!(state(&machine), None);
    assert_eq!(machine.memory().get(TRIAL_FILE), None);
    assert!(options(&machine, NORMAL).ends_with("quiet mitigations=off nmi_watchdog=0"));
    boot(&machine);
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
}

#[test]
fn what_became_of_a_trial_in_a_file_is_told() {
    let machine = machine(systemd_boot());
    let before = files(&machine);
    let _ = tried().apply(&mut session(&machine)).unwrap();
    // The firmware loses the variable, or the trial panics: systemd-boot starts the normal entry.
    boot(&machine);
    boot(&machine);
    assert_eq!(state(&machine), Some(TrialState::Failed));
    // Another loader starts the machine and leaves the variable.
    let _ = tried().apply(&mut session(&machine)).unwrap();
    assert_eq!(state(&machine), Some(TrialState::Waiting));
    // The firmware keeps the variable, which is in /sys and lost with the fake's kernel.
    let kept = machine.memory().get(ONE_SHOT).unwrap();
    machine.power_cut(false);
    let memory = put(machine.memory().clone(), ONE_SHOT, kept);
    let _ = put(memory, "/proc/sys/kernel/random/boot_id", "other\n");
    assert_eq!(state(&machine), Some(TrialState::Ignored));
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
}

#[test]
fn fedoras_grub_starts_a_trial_in_a_file() {
    let machine = machine(put(fedora(), "/proc/sys/kernel/random/boot_id", "first\n"));
    let before = files(&machine);
    let _ = tried().apply(&mut session(&machine)).unwrap();
    assert_eq!(state(&machine), Some(TrialState::Waiting));
    let file = TRIAL_FILE.replace("a--", "~");
    assert!(options(&machine, &file).contains("mitigations=off"));
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(files(&machine) == before);
    // On btrfs GRUB could not end it.
    let mount = "22 1 0:25 /@boot /boot rw - btrfs /dev/sda2 rw\n";
    let _ = put(machine.memory().clone(), "/proc/self/mountinfo", mount);
    let Err(Error::NotApplicable(findings)) = tried().apply(&mut session(&machine)) else {
        panic!("it was not refused");
    };
    assert!(
        findings[0].to_string().contains("on btrfs"),
        "{}",
        findings[0]
    );
}

#[test]
fn a_trial_in_a_file_is_refused_where_it_cannot_be_made() {
    let all = FEDORA.replace("quiet", "quiet mitigations=off nmi_watchdog=0");
    let twice = put(systemd_boot(), "/boot/loader/entries/b.conf", FEDORA);
    let no_boot = put(systemd_boot(), "/proc/sys/kernel/random/boot_id", "");
    for (memory, said) in [
        (put(systemd_boot(), NORMAL, all), "nothing to try"),
        (twice, "several entries"),
        (no_boot, "has no id"),
        (with_features(0), "does not start an entry once"),
    ] {
        let machine = machine(memory);
        let before = files(&machine);
        let Err(Error::NotApplicable(findings)) = tried().apply(&mut session(&machine)) else {
            panic!("it was not refused: {said}");
        };
        assert!(
            findings[0].to_string().contains(said),
            "{said}: {}",
            findings[0]
        );
        assert!(files(&machine) == before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_laws_hold_for_a_trial_in_a_file(deaths in deaths(), change in 0u64..3) {
        let world = machine(systemd_boot());
        laws::apply_then_verify(&world, &tried())?;
        laws::apply_then_plan(&world, &tried())?;
        laws::plan_writes_nothing(&world, &tried())?;
        laws::apply_then_revert(&world, &[tried(), tried()])?;
        laws::die_anywhere(&world, &[tried(), tried()], &deaths)?;
        laws::failing_step(&world, &tried(), change, Moment::Within)?;
    }
}
