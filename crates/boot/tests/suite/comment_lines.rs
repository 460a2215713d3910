//! Comment lines in `/etc/kernel/cmdline`, which two programs read in two ways: kernel-install makes one line of
//! all words (`90-loaderentry.install` of systemd 252 and later, by `tr`), mkinitcpio leaves the lines out that
//! begin with `#` (by `grep`). Their commands are run here by the shell of this machine.

use std::fs;
use std::process::Command;

use hosttune_boot::command_line::{CommandLineSetting, KernelCommandLine};
use hosttune_core::Tuning;
use proptest::prelude::*;

use super::boot_loader::{efi, equals, machine, parameters, put, session, systemd_boot};

const FILE: &str = "/etc/kernel/cmdline";
const KERNEL_INSTALL: &str = "tr -s \"$IFS\" ' ' <\"$0\"";
const MKINITCPIO: &str = "grep -ha -- '^[^#]' \"$0\" | tr -s '\\n' ' '";

fn read_by(program: &str, text: &str) -> KernelCommandLine {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cmdline");
    fs::write(&file, text).unwrap();
    let said = Command::new("sh")
        .args(["-c", program])
        .arg(&file)
        .output()
        .unwrap();
    KernelCommandLine::parse(said.stdout)
}

/// Applies and reverts. Returns the text between the two, and what was said of the file.
fn applied(text: &str, setting: &CommandLineSetting) -> (String, String) {
    let memory = put(efi(systemd_boot(), "systemd-boot 256"), FILE, text);
    let machine = machine(memory);
    let before = machine.memory().snapshot();
    let wanted = parameters(vec![setting.clone()]);
    let plan = wanted.plan(&session(&machine)).unwrap();
    let said = plan.findings.iter().map(ToString::to_string);
    let said: Vec<String> = said.filter(|one| one.contains(FILE)).collect();
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    let changed = session(&machine).host().read_text(FILE).unwrap();
    assert!(session(&machine).revert().unwrap().is_complete());
    assert!(machine.memory().snapshot() == before, "{text:?}");
    (changed, said.join("\n"))
}

#[test]
fn parameters_are_written_beside_comments() {
    let off = equals("mitigations", "off");
    for (text, changed) in [
        (
            "root=UUID=1 rw\n# slow\n",
            "root=UUID=1 rw mitigations=off\n# slow\n",
        ),
        (
            "root=UUID=1 rw\n# slow",
            "root=UUID=1 rw mitigations=off\n# slow",
        ),
        (
            "# slow\nroot=UUID=1 rw",
            "# slow\nroot=UUID=1 rw mitigations=off",
        ),
        (
            "root=UUID=1\n#\nmitigations=auto\n",
            "root=UUID=1\n#\nmitigations=off\n",
        ),
        // Both read this as words.
        (
            "root=UUID=1 # slow\n",
            "root=UUID=1 # slow mitigations=off\n",
        ),
    ] {
        let (text, said) = applied(text, &off);
        assert_eq!((&*text, &*said), (changed, ""));
    }
    for text in [
        "root=UUID=1 rw\n# mitigations=auto was slower",
        "# mitigations=auto was slower\nroot=UUID=1 rw\n",
        "# -- \nroot=UUID=1 rw\n",
        "root=UUID=1 rw\n# a \"quote\n",
    ] {
        let (changed, said) = applied(text, &off);
        assert_eq!(changed, text);
        assert!(said.contains("and mkinitcpio as a comment"), "{said}");
    }
    // What comes later does not keep a revert.
    let machine = machine(put(
        efi(systemd_boot(), "systemd-boot 256"),
        FILE,
        "root=UUID=1 rw\n",
    ));
    let _ = parameters(vec![off]).apply(&mut session(&machine)).unwrap();
    let edited = "root=UUID=1 rw mitigations=off\n# mitigations=auto was slower\n";
    let _ = put(machine.memory().clone(), FILE, edited);
    assert!(session(&machine).revert().unwrap().is_complete());
    let text = session(&machine).host().read_text(FILE).unwrap();
    assert_eq!(text, edited.replace(" mitigations=off", ""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Both programs get what is set, or nothing is written and that is said.
    #[test]
    fn both_readers_get_what_is_set(
        before in "(#? ?(a=1|a|b=x|quiet|\"|--| )( (a=2|c))?\n){0,3}",
        after in "(\n#? ?(a=1|a|b=x|quiet|--|)( (a=2|c))?){0,3}\n?",
        setting in prop_oneof![
            Just(equals("a", "3")),
            Just(CommandLineSetting::absent("a")),
            Just(CommandLineSetting::present("quiet")),
            Just(CommandLineSetting::occurs("b", "y")),
        ],
    ) {
        let text = format!("{before}root=UUID=1 rw{after}");
        let (changed, said) = applied(&text, &setting);
        let is_met = |program| setting.is_met(&read_by(program, &changed));
        match said.is_empty() {
            true => prop_assert!(is_met(KERNEL_INSTALL) && is_met(MKINITCPIO), "{:?}", changed),
            false => prop_assert_eq!(changed, text),
        }
    }
}
