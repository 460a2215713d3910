//! Parameters that a revert cannot take back: those that another program has copied while they were set.

use hosttune_boot::boot_loader::{BootParameters, leftovers};
use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::Tuning;
use hosttune_core::testing::Machine;

use super::boot_loader::{
    ENTRIES, LIMINE, debian, entry, equals, limine, machine, parameters, put, session,
    systemd_boot, with_entries,
};

fn wanted() -> BootParameters {
    parameters(vec![
        equals("mitigations", "off"),
        CommandLineSetting::present("skew_tick"),
        CommandLineSetting::absent("quiet"),
    ])
}

fn said(machine: &Machine) -> Vec<String> {
    let session = session(machine);
    let status = session.status().unwrap();
    let pending = status.pending.iter().map(|pending| &pending.knob);
    let found = leftovers(session.host(), &wanted(), pending).unwrap();
    found.iter().map(ToString::to_string).collect()
}

/// Installs a kernel as kernel-install does, with the line of `/etc/kernel/cmdline`.
fn install(machine: &Machine, version: &str) -> String {
    let line = machine.memory().get("/etc/kernel/cmdline").unwrap();
    let path = format!("{ENTRIES}/1a-{version}.conf");
    let text = entry("UUID=1", "1a", version).replace("root=UUID=1 ro  quiet", &line);
    let _ = put(machine.memory().clone(), &path, text);
    path
}

#[test]
fn the_entry_of_a_kernel_that_was_installed_meanwhile_is_named() {
    let machine = machine(with_entries(systemd_boot()));
    assert!(said(&machine).is_empty());
    let _ = wanted().apply(&mut session(&machine)).unwrap();
    assert!(said(&machine).is_empty());
    let path = install(&machine, "6.14.0");
    // A revert will not know it, and after another apply neither.
    for apply in [false, true] {
        if apply {
            let _ = wanted().apply(&mut session(&machine)).unwrap();
        }
        let notes = said(&machine);
        assert_eq!(notes.len(), 1, "{notes:?}");
        let expected = format!("{path} still has mitigations=off skew_tick");
        assert!(notes[0].starts_with(&expected), "{notes:?}");
    }
    let before = said(&machine);
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(said(&machine), before);
    // Without them the entry is as others are.
    let text = machine.memory().get(&path).unwrap();
    let text = text.replace(" mitigations=off skew_tick", "") + "\n";
    let _ = put(machine.memory().clone(), &path, text);
    assert!(said(&machine).is_empty());
}

/// What all entries have was written by the user.
#[test]
fn what_every_entry_has_is_not_named() {
    let memory = with_entries(systemd_boot());
    for (path, text) in memory.snapshot() {
        let (true, Some(text)) = (
            path.starts_with(ENTRIES) || path == "/etc/kernel/cmdline",
            text.split_once(' ')
                .and_then(|(_, rest)| rest.split_once(' ')),
        ) else {
            continue;
        };
        let text = text.1.replace("quiet", "quiet mitigations=off");
        let _ = put(memory.clone(), &path, text);
    }
    let machine = machine(memory);
    assert!(said(&machine).is_empty());
    let _ = wanted().apply(&mut session(&machine)).unwrap();
    assert!(said(&machine).is_empty());
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(said(&machine).is_empty());
}

#[test]
fn limines_other_entries_are_named_with_their_titles() {
    let machine = machine(limine());
    let _ = wanted().apply(&mut session(&machine)).unwrap();
    let text = machine.memory().get(LIMINE).unwrap();
    let added = "/New\n    protocol: linux\n    cmdline: root=UUID=1 mitigations=off\n";
    let _ = put(machine.memory().clone(), LIMINE, format!("{text}\n{added}"));
    assert!(session(&machine).revert().unwrap().is_complete());
    let notes = said(&machine);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].starts_with("/boot/limine.conf /New still has mitigations=off"),
        "{notes:?}"
    );
}

#[test]
fn the_menu_of_grub_has_them_until_it_is_generated_again() {
    let machine = machine(debian());
    let menu = "/boot/grub/grub.cfg";
    let generated = |line: &str| {
        let text = format!(
            "### BEGIN /etc/grub.d/10_linux ###\nmenuentry 'Debian' {{\n\tlinux\t/vmlinuz root=UUID=1 ro {line}\n}}\n### END /etc/grub.d/10_linux ###\nmenuentry 'mine' {{\n linux /v mitigations=off\n}}\n"
        );
        let _ = put(machine.memory().clone(), menu, text);
    };
    generated("quiet");
    let added = BootParameters::new("laws", wanted().settings.into_iter().take(2));
    let _ = added.apply(&mut session(&machine)).unwrap();
    generated("quiet mitigations=off skew_tick");
    assert!(said(&machine).is_empty());
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(
        said(&machine),
        [
            "/boot/grub/grub.cfg still has mitigations=off skew_tick: run update-grub (grub-mkconfig -o /boot/grub/grub.cfg), then reboot"
        ]
    );
    // What another file sets is not ours.
    let own = "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet skew_tick\"\n";
    let _ = put(machine.memory().clone(), "/etc/default/grub", own);
    assert!(said(&machine)[0].contains("still has mitigations=off:"));
    // Nor what another file may set, which only a shell can tell.
    for (condition, count) in [("[ -e /a ] && ", 0), ("# ", 1)] {
        let own = format!(
            "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet skew_tick\"\n{condition}GRUB_CMDLINE_LINUX=mitigations=off\n"
        );
        let _ = put(machine.memory().clone(), "/etc/default/grub", own);
        assert_eq!(said(&machine).len(), count, "{condition}");
    }
    generated("quiet skew_tick");
    assert!(said(&machine).is_empty());
}
