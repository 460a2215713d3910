//! Parameters in entry files, and which of them are those of this system.

use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::Tuning;
use hosttune_core::testing::Memory;

use super::boot_loader::{
    ENTRIES, LIMINE, OF_LIMINE, debian, entry, equals, limine, machine, options, parameters, put,
    session, systemd_boot, with_entries,
};

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
