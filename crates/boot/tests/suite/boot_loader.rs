//! Boot loaders: detection with evidence, and parameters in their configuration.
//!
//! The trees are written here after the layouts of Debian, Arch, Fedora, openSUSE and NixOS; no boot loader takes
//! part.

use hosttune_boot::boot_loader::{BootLoader, BootParameters, BootSetting, Detection, detect};
use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Death};
use hosttune_core::testing::{CrashPoint, Machine, Memory, Moment, World};
use hosttune_core::{Host, Session, State, Tuning, When};
use proptest::prelude::*;

pub(crate) const OURS: &str = "/etc/default/grub.d/zz-hosttune-laws.cfg";
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

pub(crate) fn found(memory: &Memory) -> Detection {
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
pub(crate) const OF_LIMINE: &str = "timeout: 3\n\n/+Arch Linux\n//linux\n    protocol: linux\n    path: boot():/vmlinuz-linux\n    cmdline: root=UUID=1 ro  quiet\n//snapshot\n    protocol: linux\n    cmdline: root=UUID=1 rootflags=subvol=s ro\n/Other\n    protocol: linux\n    cmdline: root=UUID=2 ro\n/Windows\n    protocol: efi\n    path: boot():/EFI/Microsoft/Boot/bootmgfw.efi\n";

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

pub(crate) fn wanted() -> impl Strategy<Value = BootParameters> {
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
