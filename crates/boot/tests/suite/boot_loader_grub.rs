//! Parameters in GRUB's files, which the shell of this machine reads as grub-mkconfig does.

use std::fs;
use std::process::Command;

use hosttune_boot::boot_loader::BootParameters;
use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::testing::Memory;
use hosttune_core::{Error, State, Tuning, When};

use super::boot_loader::{OURS, debian, equals, machine, parameters, put, session, systemd_boot};

/// What grub-mkconfig would use for normal entries, by the shell of this machine.
fn generated(memory: &Memory) -> String {
    shell(memory, "$GRUB_CMDLINE_LINUX_DEFAULT")
}

/// The whole line of a normal entry.
fn generated_whole(memory: &Memory) -> String {
    shell(memory, "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT")
}

fn shell(memory: &Memory, shown: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut script = String::new();
    for (path, content) in memory.snapshot() {
        if path.starts_with("/etc/default/grub") && path != "/etc/default/grub.d" {
            let name = path.rsplit('/').next().unwrap();
            let text = content
                .split_once(' ')
                .and_then(|(_, rest)| rest.split_once(' '));
            let file = directory.path().join(name);
            fs::write(&file, text.unwrap().1).unwrap();
            script.push_str(&format!(". {}\n", file.display()));
        }
    }
    script.push_str(&format!("printf %s \"{shown}\""));
    let output = Command::new("/bin/sh")
        .env_clear()
        .args(["-ec", &script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn grub_gets_the_parameters_behind_those_of_other_files() {
    let machine = machine(debian());
    let wanted = parameters(vec![
        equals("nmi_watchdog", "0"),
        CommandLineSetting::present("skew_tick"),
        CommandLineSetting::HugePages {
            size: "1G".into(),
            pages: 4,
        },
    ]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    assert!(
        machine
            .memory()
            .get(OURS)
            .unwrap()
            .starts_with("# Written by hosttune for 'laws'")
    );
    assert_eq!(
        generated(machine.memory()),
        "quiet nmi_watchdog=0 skew_tick hugepagesz=1G hugepages=4"
    );
    let report = wanted.verify(&session(&machine)).unwrap();
    assert_eq!(report.items[0].state, State::Matches);
    let until = When::Reboot;
    assert_eq!(report.items[1].state, State::Pending { until });
    assert_eq!(report.items[1].seen_text, "without nmi_watchdog");
    assert!(
        report.notes[0].contains("run update-grub"),
        "{:?}",
        report.notes
    );
    // The next boot with the generated line.
    let line = format!(
        "BOOT_IMAGE=/vmlinuz root=UUID=1 ro {}\n",
        generated(machine.memory())
    );
    machine
        .memory()
        .change(|tree| tree.set("/proc/cmdline", line.trim_end()));
    let report = wanted.verify(&session(&machine)).unwrap();
    assert!(
        report.items.iter().all(|item| item.state == State::Matches),
        "{report:#?}"
    );
    // What others write meanwhile stays.
    machine.memory().change(|tree| {
        tree.set(
            "/etc/default/grub",
            "GRUB_CMDLINE_LINUX_DEFAULT='quiet splash'",
        );
    });
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(generated(machine.memory()), "quiet splash");
}

/// GRUB without update-grub, or a loader that takes another entry: a verify that called it pending
/// in every boot could never fail.
#[test]
fn a_parameter_that_a_reboot_did_not_bring_is_no_longer_pending() {
    for files in [debian(), systemd_boot()] {
        let machine = machine(files);
        let first = parameters(vec![equals("nmi_watchdog", "0")]);
        let state = |tuning: &BootParameters| {
            let report = tuning.verify(&session(&machine)).unwrap();
            let item = report.items.last().unwrap();
            (item.state.clone(), item.is_failure())
        };
        let until = When::Reboot;
        assert_eq!(state(&first), (State::Pending { until }, false));
        let _ = first.apply(&mut session(&machine)).unwrap();
        assert_eq!(state(&first), (State::Pending { until }, false));
        machine.power_cut(false);
        let (missed, is_failure) = state(&first);
        assert!(is_failure, "{missed:?}");
        assert!(matches!(missed, State::Overridden { .. }), "{missed:?}");
        // What is changed in this boot waits for the next one.
        let more = parameters(vec![
            equals("nmi_watchdog", "0"),
            CommandLineSetting::present("skew_tick"),
        ]);
        let _ = more.apply(&mut session(&machine)).unwrap();
        assert_eq!(state(&more), (State::Pending { until }, false));
        assert!(session(&machine).revert().unwrap().is_complete());
    }
}

/// A second `console=` would become the one that the system uses.
#[test]
fn what_another_file_sets_already_is_not_added() {
    let cloud = "GRUB_CMDLINE_LINUX_DEFAULT=\"console=ttyS0 console=tty0 a=1\"\n";
    let machine = machine(put(debian(), "/etc/default/grub.d/50-cloud.cfg", cloud));
    let console = CommandLineSetting::occurs("console", "ttyS0");
    let plan = parameters(vec![console.clone(), equals("a", "1")]).plan(&session(&machine));
    let plan = plan.unwrap();
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    let place = "/etc/default/grub.d/50-cloud.cfg:1";
    assert_eq!(
        plan.notes,
        [
            format!("console=ttyS0 is set in {place}"),
            format!("a=1 is set in {place}")
        ]
    );
    // A later file that keeps the line and adds another console does not take this one away.
    let more = "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT console=tty1\"\n";
    let path = "/etc/default/grub.d/60-more.cfg";
    let _ = put(machine.memory().clone(), path, more);
    let again = parameters(vec![console.clone()])
        .plan(&session(&machine))
        .unwrap();
    assert!(again.steps.is_empty());
    machine.memory().change(|tree| tree.remove(path));
    // Another value, and what that file drops from the line before it, are added.
    let wanted = parameters(vec![
        console,
        equals("a", "2"),
        CommandLineSetting::present("quiet"),
    ]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    assert_eq!(
        generated(machine.memory()),
        "console=ttyS0 console=tty0 a=1 a=2 quiet"
    );
}

/// What the shell would not set is added, and what it sets is not; with the shell of this machine.
#[test]
fn only_what_a_shell_sets_counts_as_set() {
    let file = "/etc/default/grub";
    for (text, later, is_set) in [
        (
            "GRUB_CMDLINE_LINUX_DEFAULT='quiet mitigations=off'",
            "",
            true,
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"mitigations=off\"",
            "",
            true,
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT='quiet' # was: mitigations=off",
            "",
            false,
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=quiet # mitigations=off",
            "",
            false,
        ),
        // The variable for all entries comes first on the line, and the last word counts.
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=\"mitigations=auto\"\nGRUB_CMDLINE_LINUX=\"mitigations=off\"",
            "",
            false,
        ),
        (
            "GRUB_CMDLINE_LINUX=\"mitigations=off\"",
            "GRUB_CMDLINE_LINUX=\"console=tty1\"",
            false,
        ),
        (
            "GRUB_CMDLINE_LINUX=\"mitigations=off\"\nGRUB_CMDLINE_LINUX=\"\"",
            "",
            false,
        ),
        (
            "GRUB_CMDLINE_LINUX=\"mitigations=off\"",
            "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX a\"",
            true,
        ),
        (
            "if false; then\nGRUB_CMDLINE_LINUX=\"mitigations=off\"\nfi",
            "",
            false,
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"; GRUB_X=\"mitigations=off\"",
            "",
            false,
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=\"mitigations=off\"\nexport GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"",
            "",
            false,
        ),
    ] {
        let memory = put(debian(), file, format!("{text}\n"));
        let later = format!("{later}\n");
        let machine = machine(put(memory, "/etc/default/grub.d/50-later.cfg", later));
        let wanted = parameters(vec![equals("mitigations", "off")]);
        let plan = wanted.plan(&session(&machine)).unwrap();
        assert_eq!(plan.steps.is_empty(), is_set, "{text}: {:?}", plan.notes);
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        let line = generated_whole(machine.memory());
        let value = line
            .split(' ')
            .rfind(|word| word.starts_with("mitigations="));
        assert_eq!(value, Some("mitigations=off"), "{text}: {line}");
    }
}

#[test]
fn a_later_file_that_sets_the_line_anew_overrides() {
    for (text, is_overridden) in [
        ("GRUB_CMDLINE_LINUX_DEFAULT=\"console=ttyS0\"\n", true),
        (
            "export GRUB_CMDLINE_LINUX_DEFAULT=\"console=ttyS0\"\n",
            true,
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=\"console=ttyS0\" # not $GRUB_CMDLINE_LINUX_DEFAULT\n",
            true,
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT='$GRUB_CMDLINE_LINUX_DEFAULT console=ttyS0'\n",
            true,
        ),
        ("# GRUB_CMDLINE_LINUX_DEFAULT=\"x\"\n", false),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=\"${GRUB_CMDLINE_LINUX_DEFAULT} x\"\n",
            false,
        ),
        ("GRUB_TIMEOUT=0\n", false),
    ] {
        let machine = machine(put(debian(), "/etc/default/grub.d/zzz.cfg", text));
        let wanted = parameters(vec![equals("nmi_watchdog", "0")]);
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        let report = wanted.verify(&session(&machine)).unwrap();
        let overridden = matches!(&report.items[0].state, State::Overridden { by }
            if *by == format!("/etc/default/grub.d/zzz.cfg:1: {}", text.trim()));
        assert_eq!(overridden, is_overridden, "{text}");
        assert_eq!(
            generated(machine.memory()).contains("nmi_watchdog=0"),
            !is_overridden
        );
    }
}

#[test]
fn what_grub_would_act_on_and_what_cannot_be_added_is_refused() {
    let machine = machine(debian());
    for value in [
        "a;b", "$HOME", "`id`", "a|b", "a b", "a\\b", "it's", "a(b)", "{a}",
    ] {
        let wanted = parameters(vec![equals("dyndbg", value)]);
        let error = wanted.plan(&session(&machine)).unwrap_err();
        assert!(matches!(error, Error::Tuning { .. }), "{error}");
    }
    for setting in [
        CommandLineSetting::absent("quiet"),
        CommandLineSetting::contains("isolcpus", "4"),
    ] {
        let plan = parameters(vec![setting]).plan(&session(&machine)).unwrap();
        assert!(plan.steps.is_empty());
        assert!(
            plan.findings[0].to_string().contains("/etc/default/grub"),
            "{}",
            plan.findings[0]
        );
    }
    // What is met already is not refused.
    let plan = parameters(vec![CommandLineSetting::absent("splash")]);
    let report = plan.verify(&session(&machine)).unwrap();
    assert_eq!(report.items[0].state, State::Matches);
    let twice = parameters(vec![equals("a-b", "1"), equals("a_b", "2")]);
    let error = twice.plan(&session(&machine)).unwrap_err().to_string();
    assert_eq!(error, "a_b is requested as 1 and as 2");
    let long = parameters(vec![equals("a", &"b".repeat(2040))]);
    let error = long.plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("2047"), "{error}");
}
