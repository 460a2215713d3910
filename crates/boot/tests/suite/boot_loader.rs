//! Boot loaders: detection with evidence, and parameters in their configuration.
//!
//! The trees are written here after the layouts of Debian, Arch, Fedora, openSUSE and NixOS. The text for
//! GRUB is read by the shell of this machine as grub-mkconfig reads it; no boot loader takes part.

use std::fs;
use std::process::Command;

use hosttune_boot::boot_loader::{BootLoader, BootParameters, BootSetting, Detection, detect};
use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Death};
use hosttune_core::testing::{CrashPoint, Machine, Memory, Moment, World};
use hosttune_core::{Error, Host, Session, State, Tuning, When};
use proptest::prelude::*;

const OURS: &str = "/etc/default/grub.d/zz-hosttune-laws.cfg";
pub(crate) const LINE: &str = "BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet";

pub(crate) fn put(memory: Memory, path: &str, text: impl Into<Vec<u8>>) -> Memory {
    memory.content(path, FileContent::new(text))
}

/// Debian with GRUB.
pub(crate) fn debian() -> Memory {
    let memory = put(Memory::new(), "/proc/cmdline", format!("{LINE}\n"));
    let memory = memory.directory("/proc/sys");
    let memory = put(memory, "/boot/grub/grub.cfg", "### BEGIN\n");
    let memory = put(
        memory,
        "/etc/default/grub",
        "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
    );
    put(
        memory,
        "/usr/sbin/grub-mkconfig",
        "#!/bin/sh\nfor x in ${sysconfdir}/default/grub.d/*.cfg ; do\n",
    )
}

/// systemd-boot with kernel-install.
pub(crate) fn systemd_boot() -> Memory {
    let memory = put(Memory::new(), "/proc/cmdline", "root=UUID=1 ro quiet\n");
    let memory = memory.directory("/proc/sys");
    put(memory, "/etc/kernel/cmdline", "root=UUID=1 ro quiet\n")
}

pub(crate) fn efi(memory: Memory, name: &str) -> Memory {
    let mut bytes = vec![6, 0, 0, 0];
    bytes.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
    bytes.extend([0, 0]);
    let path = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
    put(memory, path, bytes)
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

pub(crate) fn equals(name: &str, value: &str) -> CommandLineSetting {
    CommandLineSetting::equals(name, value)
}

fn found(memory: &Memory) -> Detection {
    detect(&Host::new(memory.host(&CrashPoint::lives()))).unwrap()
}

#[test]
fn what_booted_decides_and_then_the_files() {
    let loader = |memory: &Memory| match found(memory) {
        Detection::Found(candidate) => candidate.loader,
        other => panic!("{other:?}"),
    };
    assert_eq!(loader(&debian()), BootLoader::Grub);
    assert_eq!(loader(&systemd_boot()), BootLoader::KernelInstall);
    // Debian with systemd-boot keeps GRUB's files.
    let both = put(systemd_boot(), "/boot/grub/grub.cfg", "");
    assert_eq!(
        loader(&efi(both, "systemd-boot 254.26-1")),
        BootLoader::KernelInstall
    );
    let limine = put(Memory::new(), "/proc/cmdline", "root=UUID=1\n");
    assert_eq!(loader(&efi(limine, "Limine 9.3.4")), BootLoader::Limine);
    let limine = put(Memory::new(), "/boot/limine.conf", "timeout: 3\n");
    assert_eq!(loader(&limine), BootLoader::Limine);
    assert_eq!(loader(&put(debian(), "/etc/NIXOS", "")), BootLoader::NixOs);
    assert_eq!(
        loader(&put(debian(), "/run/ostree-booted", "")),
        BootLoader::Ostree
    );
    assert_eq!(found(&Memory::new()), Detection::None);
}

#[test]
fn where_two_fit_none_is_changed_and_both_are_named() {
    let files = put(systemd_boot(), "/boot/grub/grub.cfg", "");
    let told = efi(debian(), "systemd-boot 254");
    for (memory, first, second) in [
        (
            files,
            "/boot/grub/grub.cfg is there",
            "/etc/kernel/cmdline is there",
        ),
        (
            told,
            "LoaderInfo is 'systemd-boot 254'",
            "BOOT_IMAGE=/vmlinuz in /proc/cmdline",
        ),
    ] {
        let machine = machine(memory);
        let wanted = parameters(vec![equals("nmi_watchdog", "0")]);
        let plan = wanted.plan(&session(&machine)).unwrap();
        assert!(plan.steps.is_empty());
        let said = plan.findings[0].to_string();
        assert!(said.contains(first) && said.contains(second), "{said}");
    }
}

#[test]
fn a_loader_that_is_not_written_says_where_the_line_is_changed() {
    let arch = put(
        debian(),
        "/usr/sbin/grub-mkconfig",
        "#!/bin/sh\n. /etc/default/grub\n",
    );
    for (memory, hint) in [
        (put(debian(), "/etc/NIXOS", ""), "boot.kernelParams"),
        (
            put(
                put(debian(), "/run/ostree-booted", ""),
                "/usr/bin/rpm-ostree",
                "",
            ),
            "rpm-ostree kargs",
        ),
        (put(Memory::new(), "/boot/limine.conf", ""), "limine.conf"),
        (
            put(limine(), "/etc/default/limine", ""),
            "KERNEL_CMDLINE[default]",
        ),
        (
            put(limine(), EXECUTABLE, executable('7')),
            "limine enroll-config",
        ),
        (put(limine(), EXECUTABLE, "MZ"), "mount the boot partition"),
        (
            put(limine(), "/boot/limine/limine.conf", ""),
            "all but the one",
        ),
        (arch, "GRUB_CMDLINE_LINUX_DEFAULT"),
        (Memory::new(), "manually"),
    ] {
        let machine = machine(memory);
        let wanted = parameters(vec![equals("nmi_watchdog", "0")]);
        let plan = wanted.plan(&session(&machine)).unwrap();
        assert!(plan.steps.is_empty());
        let said = plan.findings[0].hint().unwrap();
        assert!(said.contains(hint), "{said}");
    }
    // A file that is not there is not created, because root= would be lost.
    let memory = systemd_boot();
    memory.change(|tree| tree.remove("/etc/kernel/cmdline"));
    let machine = machine(efi(memory, "systemd-boot 257"));
    let plan = parameters(vec![equals("a", "b")])
        .plan(&session(&machine))
        .unwrap();
    assert!(plan.steps.is_empty());
    assert!(
        plan.findings[0].to_string().contains("without root="),
        "{}",
        plan.findings[0]
    );
}

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

#[test]
fn kernel_install_gets_a_changed_line_and_keeps_its_root() {
    let machine = machine(systemd_boot());
    let wanted = parameters(vec![
        equals("nmi_watchdog", "0"),
        CommandLineSetting::absent("quiet"),
    ]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    let text = machine.memory().get("/etc/kernel/cmdline").unwrap();
    assert_eq!(text, "root=UUID=1 ro nmi_watchdog=0");
    let report = wanted.verify(&session(&machine)).unwrap();
    let until = When::Reboot;
    assert_eq!(report.items[2].state, State::Pending { until });
    assert!(session(&machine).revert().unwrap().is_complete());
    let text = machine.memory().get("/etc/kernel/cmdline").unwrap();
    assert_eq!(text, "root=UUID=1 ro quiet");
    let lost = parameters(vec![CommandLineSetting::absent("root")]);
    let error = lost.plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("would lose root=UUID=1"), "{error}");
    // What another program has changed beside ours is kept.
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    let edited = "root=UUID=2 splash ro nmi_watchdog=0 x";
    machine
        .memory()
        .change(|tree| tree.set("/etc/kernel/cmdline", edited));
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(
        machine.memory().get("/etc/kernel/cmdline").unwrap(),
        "root=UUID=2 splash ro quiet x"
    );
    // And so is another value of ours, which is reported.
    let again = parameters(vec![equals("nmi_watchdog", "0")]);
    let _ = again.apply(&mut session(&machine)).unwrap();
    let edited = "root=UUID=2 nmi_watchdog=1";
    machine
        .memory()
        .change(|tree| tree.set("/etc/kernel/cmdline", edited));
    let reverted = session(&machine).revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 1);
    assert_eq!(machine.memory().get("/etc/kernel/cmdline").unwrap(), edited);
}

pub(crate) const LIMINE: &str = "/boot/limine.conf";
const EXECUTABLE: &str = "/boot/EFI/BOOT/BOOTX64.EFI";
const OF_LIMINE: &str = "timeout: 3\n\n/+Arch Linux\n//linux\n    protocol: linux\n    path: boot():/vmlinuz-linux\n    cmdline: root=UUID=1 ro  quiet\n//snapshot\n    protocol: linux\n    cmdline: root=UUID=1 rootflags=subvol=s ro\n/Other\n    protocol: linux\n    cmdline: root=UUID=2 ro\n/Windows\n    protocol: efi\n    path: boot():/EFI/Microsoft/Boot/bootmgfw.efi\n";

/// An executable of Limine, with these digits for the hash of its configuration.
pub(crate) fn executable(digit: char) -> String {
    let digits: String = [digit; 128].iter().collect();
    format!("MZ\u{1}++CONFIG_B2SUM_SIGNATURE++{digits}\u{1}")
}

/// Limine, whose entries are written by hand.
pub(crate) fn limine() -> Memory {
    let memory = put(Memory::new(), "/proc/cmdline", "root=UUID=1 ro quiet\n");
    let memory = put(memory.directory("/proc/sys"), EXECUTABLE, executable('0'));
    put(memory, LIMINE, OF_LIMINE)
}

#[test]
fn the_entries_of_this_system_are_changed_in_limines_configuration() {
    let machine = machine(limine());
    let wanted = parameters(vec![
        equals("mitigations", "off"),
        CommandLineSetting::absent("quiet"),
    ]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    let line = "root=UUID=1 ro mitigations=off\n";
    let expected = OF_LIMINE.replace("root=UUID=1 ro  quiet\n", line);
    let text = || machine.memory().get(LIMINE).unwrap();
    assert_eq!(text(), expected.trim_end());
    let plan = wanted.plan(&session(&machine)).unwrap();
    assert!(plan.is_empty());
    let kept = "/Arch Linux/snapshot, /Other";
    assert!(
        plan.notes.iter().any(|note| note.ends_with(kept)),
        "{:?}",
        plan.notes
    );
    // Another entry is added before ours, and another parameter.
    let edited = text().replace(
        "/+Arch",
        "/New\n    protocol: linux\n    cmdline: root=UUID=1 mitigations=off\n\n/+Arch",
    );
    let edited = edited.replace("ro mitigations", "ro splash mitigations");
    let _ = put(machine.memory().clone(), LIMINE, edited.clone() + "\n");
    assert!(session(&machine).revert().unwrap().is_complete());
    let back = edited.replace("ro splash mitigations=off", "ro  quiet splash");
    assert_eq!(text(), back);
}

pub(crate) const ENTRIES: &str = "/boot/loader/entries";

/// An entry of a system with this root file system and machine id, as kernel-install writes it.
pub(crate) fn entry(root: &str, id: &str, version: &str) -> String {
    format!(
        "title      Arch Linux\nversion    {version}\nmachine-id {id}\noptions    root={root} ro  quiet\nlinux      /{id}/{version}/linux\ninitrd     /{id}/{version}/initrd\n"
    )
}

/// systemd-boot with two kernels, and entries that are not of this system or are to stay as they are.
pub(crate) fn with_entries(memory: Memory) -> Memory {
    let memory = put(memory, "/etc/machine-id", "1a\n");
    let memory = put(memory, "/boot/loader/loader.conf", "timeout 3\n");
    let rescue = entry("UUID=1", "1a", "0-rescue-1a");
    let unnamed = "title x\noptions quiet\nlinux /x\n".to_owned();
    let snapshot = entry("UUID=1", "1a", "6.12.0").replace("ro ", "rootflags=subvol=s/1 ro ");
    [
        ("1a-6.12.0.conf", entry("UUID=1", "1a", "6.12.0")),
        ("1a-6.13.0+3.conf", entry("UUID=1", "1a", "6.13.0")),
        ("2b-6.12.0.conf", entry("UUID=1", "2b", "6.12.0")),
        ("other.conf", entry("UUID=9", "1a", "6.12.0")),
        ("unnamed.conf", unnamed),
        ("rescue.conf", rescue),
        ("snapshot.conf", snapshot),
        (
            "tool.conf",
            "title Memory test\nefi /memtest.efi\n".to_owned(),
        ),
        ("README", "options root=UUID=1\n".to_owned()),
    ]
    .into_iter()
    .fold(memory, |memory, (name, text)| {
        put(memory, &format!("{ENTRIES}/{name}"), text)
    })
}

pub(crate) fn options(machine: &Machine, name: &str) -> Option<String> {
    let text = machine.memory().get(format!("{ENTRIES}/{name}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("options"));
    line.map(|line| line.trim_start().to_owned())
}

#[test]
fn the_entries_of_this_system_are_changed_and_no_others() {
    let machine = machine(with_entries(systemd_boot()));
    let before = machine.memory().snapshot();
    let wanted = parameters(vec![
        equals("nmi_watchdog", "0"),
        CommandLineSetting::absent("quiet"),
        CommandLineSetting::HugePages {
            size: "2M".to_owned(),
            pages: 8,
        },
    ]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    let line = "root=UUID=1 ro nmi_watchdog=0 hugepagesz=2M hugepages=8";
    assert_eq!(options(&machine, "1a-6.12.0.conf").unwrap(), line);
    assert_eq!(options(&machine, "1a-6.13.0+3.conf").unwrap(), line);
    assert_eq!(machine.memory().get("/etc/kernel/cmdline").unwrap(), line);
    let after = machine.memory().snapshot();
    let changed = after
        .iter()
        .filter(|(path, text)| before.get(*path) != Some(text));
    assert_eq!(changed.count(), 3);
    let plan = wanted.plan(&session(&machine)).unwrap();
    assert!(plan.is_empty(), "{:?}", plan.steps);
    let said = "2b-6.12.0.conf, other.conf, rescue.conf, snapshot.conf, unnamed.conf";
    assert!(
        plan.notes.iter().any(|note| note.ends_with(said)),
        "{:?}",
        plan.notes
    );

    // The loader counts a boot, a kernel is removed, and another program adds a parameter.
    let counted = machine
        .memory()
        .get(format!("{ENTRIES}/1a-6.13.0+3.conf"))
        .unwrap();
    machine.memory().change(|tree| {
        tree.remove(format!("{ENTRIES}/1a-6.13.0+3.conf"));
        tree.remove(format!("{ENTRIES}/1a-6.12.0.conf"));
    });
    let counted = counted.replace("hugepages=8", "splash hugepages=8 x");
    let renamed = format!("{ENTRIES}/1a-6.13.0+2-1.conf");
    let _ = put(machine.memory().clone(), &renamed, counted + "\n");
    let reverted = session(&machine).revert().unwrap();
    assert!(reverted.is_complete(), "{:?}", reverted.not_reverted);
    let back = options(&machine, "1a-6.13.0+2-1.conf").unwrap();
    assert_eq!(back, "root=UUID=1 ro  quiet splash x");
    assert_eq!(
        machine.memory().get("/etc/kernel/cmdline").unwrap(),
        "root=UUID=1 ro quiet"
    );
}

#[test]
fn entries_are_enough_and_fedoras_grub_reads_them() {
    // Without /etc/kernel/cmdline.
    let memory = put(Memory::new(), "/proc/cmdline", "root=UUID=1 ro quiet\n");
    let machine_of_entries = machine(with_entries(memory.directory("/proc/sys")));
    let wanted = parameters(vec![equals("mitigations", "off")]);
    let plan = wanted.plan(&session(&machine_of_entries)).unwrap();
    assert_eq!(plan.steps.len(), 2);
    let said = "made with the line of the running kernel";
    assert!(plan.notes.iter().any(|note| note.contains(said)));
    assert!(
        !machine_of_entries
            .memory()
            .snapshot()
            .contains_key("/etc/kernel/cmdline")
    );

    // Fedora: GRUB, and its menu has no kernels of its own, but Windows and the firmware's settings.
    let memory = put(
        with_entries(systemd_boot()),
        "/proc/cmdline",
        "BOOT_IMAGE=(hd0,gpt2)/vmlinuz root=UUID=1 ro quiet\n",
    );
    let memory = put(
        memory,
        "/boot/grub2/grub.cfg",
        super::boot_modes::FEDORA_MENU,
    );
    // Whether its generator reads the directory or not: it does not write the entries.
    let generator = "for x in ${sysconfdir}/default/grub.d/*.cfg ; do\n";
    let fedora = machine(put(memory, "/usr/sbin/grub2-mkconfig", generator));
    let before = fedora.memory().snapshot();
    let _ = wanted.apply(&mut session(&fedora)).unwrap();
    assert_eq!(
        options(&fedora, "1a-6.12.0.conf").unwrap(),
        "root=UUID=1 ro  quiet mitigations=off"
    );
    let plan = wanted.plan(&session(&fedora)).unwrap();
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("--update-bls-cmdline"))
    );
    assert!(session(&fedora).revert().unwrap().is_complete());
    assert!(fedora.memory().snapshot() == before);
}

#[test]
fn what_writes_the_entries_itself_is_not_worked_against() {
    let variable = entry("UUID=1", "1a", "6.12.0").replace("root=UUID=1", "$kernelopts");
    let unclosed = entry("UUID=1", "1a", "6.12.0").replace("quiet", "a=\"b");
    for (path, text, said) in [
        ("/etc/sdboot-manage.conf", "", "sdboot-manage gen"),
        (
            "/etc/kernelstub/configuration",
            "{}",
            "kernelstub --add-options",
        ),
        (
            "/boot/loader/entries/1a-6.12.0.conf",
            &*variable,
            "grubby --update-kernel=ALL",
        ),
        (
            "/boot/loader/entries/1a-6.12.0.conf",
            &*unclosed,
            "a quote that is not closed",
        ),
    ] {
        let machine = machine(put(with_entries(systemd_boot()), path, text));
        let wanted = parameters(vec![equals("nmi_watchdog", "0")]);
        let plan = wanted.plan(&session(&machine)).unwrap();
        let found: Vec<String> = plan
            .findings
            .iter()
            .map(|finding| format!("{finding} {}", finding.hint().unwrap_or_default()))
            .collect();
        assert!(
            found.iter().any(|finding| finding.contains(said)),
            "{said}: {found:?}"
        );
    }
    // A root file system is not lost, and a line that would be cut is not written.
    let machine = machine(with_entries(systemd_boot()));
    let lost = parameters(vec![CommandLineSetting::absent("root")]);
    let error = lost.plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("would lose root=UUID=1"), "{error}");
    let long = format!("root=UUID=1 ro a={}", "b".repeat(2020));
    let _ = put(machine.memory().clone(), "/etc/kernel/cmdline", long);
    let wanted = parameters(vec![equals("nmi_watchdog", "0")]);
    let error = wanted.plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("2047"), "{error}");
}

/// One odd file does not take the rest of the plan away.
#[test]
fn odd_files_are_named_or_left_alone() {
    let latin = entry("UUID=1", "1a", "6.14.0").replace("Arch", "Arch\u{1}");
    let latin: Vec<u8> = latin
        .bytes()
        .map(|byte| if byte == 1 { 0xe8 } else { byte })
        .collect();
    let memory = put(
        with_entries(systemd_boot()),
        &format!("{ENTRIES}/latin.conf"),
        latin,
    );
    let memory = memory.directory(format!("{ENTRIES}/directory.conf"));
    let with_odd = machine(memory);
    let wanted = parameters(vec![equals("mitigations", "off")]);
    let plan = wanted.plan(&session(&with_odd)).unwrap();
    assert_eq!(plan.steps.len(), 3);
    let said = "latin.conf is kept as it is, because it is not UTF-8 text";
    assert!(
        plan.notes.iter().any(|note| note.contains(said)),
        "{:?}",
        plan.notes
    );

    let memory = limine().directory("/boot/EFI/BOOT/odd.efi");
    let plan = wanted.plan(&session(&machine(memory))).unwrap();
    assert_eq!(plan.steps.len(), 1);
    let text = [OF_LIMINE.as_bytes(), b"# caf\xe9\n"].concat();
    let plan = wanted
        .plan(&session(&machine(put(limine(), LIMINE, text))))
        .unwrap();
    assert!(plan.findings[0].to_string().contains("is not UTF-8 text"));

    // Longer than the kernel reads: said at once, and not searched.
    let long = format!("root=UUID=1 rw {}", "mitigations=auto ".repeat(20_000));
    let memory = put(systemd_boot(), "/etc/kernel/cmdline", long);
    let plan = wanted.plan(&session(&machine(memory))).unwrap();
    assert!(plan.steps.is_empty());
    let said = plan.findings[0].to_string();
    assert!(said.contains("the kernel reads 2047"), "{said}");

    let deep = "submenu 'a' {\n".repeat(20_000);
    let plan = wanted.plan(&session(&machine(put(
        debian(),
        "/boot/grub/grub.cfg",
        deep,
    ))));
    assert!(!plan.unwrap().steps.is_empty());
}

fn wanted() -> impl Strategy<Value = BootParameters> {
    let one = prop_oneof![
        Just(equals("nmi_watchdog", "0")),
        Just(equals("mitigations", "off")),
        Just(CommandLineSetting::present("skew_tick")),
        Just(CommandLineSetting::absent("quiet")),
        Just(CommandLineSetting::contains(
            "modprobe.blacklist",
            "nouveau"
        )),
        Just(CommandLineSetting::occurs("console", "ttyS0")),
    ];
    prop::collection::vec(one, 0..4).prop_map(parameters)
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let moment = prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ];
    prop::collection::vec((0u64..10, moment), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_laws_hold(
        loader in 0..4, has_directory in any::<bool>(), first in wanted(), second in wanted(),
        deaths in deaths(), change in 0u64..3
    ) {
        let mut memory = match loader {
            0 => debian(),
            1 => systemd_boot(),
            2 => limine(),
            _ => with_entries(systemd_boot()),
        };
        if has_directory {
            memory = memory.directory("/etc/default/grub.d");
        }
        let world = machine(memory);
        laws::apply_then_plan(&world, &first)?;
        laws::plan_writes_nothing(&world, &first)?;
        laws::apply_then_revert(&world, &[&first, &second])?;
        laws::die_anywhere(&world, &[&first, &second], &deaths)?;
        laws::die_then_recover(&world, &first, &second, &deaths)?;
        laws::failing_step(&world, &first, change, Moment::Within)?;
    }
}
