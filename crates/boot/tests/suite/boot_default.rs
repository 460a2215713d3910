//! An entry of ours never becomes what the loader starts without a choice.

use hosttune_boot::boot_once::EnvironmentBlock;
use hosttune_core::testing::Memory;
use hosttune_core::{Error, Tuning};

use super::boot_modes::{ENTRIES, FEDORA, FEDORA_MENU, fedora, guests, once, with_features};
use super::boot_once::{BLOCK, CUSTOM, MENU, debian, files, machine, put, session, tried};

const NORMAL: &str = "/boot/loader/entries/a-6.12.0.conf";
const LOADER_CONF: &str = "/boot/loader/loader.conf";
const FEDORA_BLOCK: &str = "/boot/grub2/grubenv";
/// An id of a machine that begins with a letter, as 6 of 16 do.
const FEDORA_ID: &str = "ab34567890abcdef0123456789abcdef-6.12.0-1.fc41.x86_64";

fn systemd_boot() -> Memory {
    let memory = put(
        with_features(8),
        "/proc/sys/kernel/random/boot_id",
        "first\n",
    );
    put(memory, LOADER_CONF, "timeout 3\n")
}

/// The same with an entry of the running kernel of another name, and no other.
fn with_entry(name: &str, text: &str) -> Memory {
    let memory = systemd_boot();
    memory.change(|tree| {
        tree.remove(NORMAL);
        tree.remove("/boot/loader/entries/a-6.11.0.conf");
    });
    put(memory, &format!("{ENTRIES}/{name}"), text)
}

fn variable(memory: Memory, name: &str, text: &str) -> Memory {
    let path = format!("/sys/firmware/efi/efivars/{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
    let units = text.encode_utf16().chain([0]);
    let data: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    put(memory, &path, [&[6, 0, 0, 0][..], &data].concat())
}

/// Fedora with one kernel and an id of the machine that begins with a letter.
fn fedora_with(variables: &[(&str, &str)], menu: &str) -> Memory {
    let memory = put(fedora(), "/proc/sys/kernel/random/boot_id", "first\n");
    memory.change(|tree| {
        tree.remove(NORMAL);
        tree.remove("/boot/loader/entries/a-6.11.0.conf");
    });
    let memory = put(memory, &format!("{ENTRIES}/{FEDORA_ID}.conf"), FEDORA);
    let memory = put(memory, "/boot/grub2/grub.cfg", menu);
    let mut block = EnvironmentBlock::new();
    for (name, value) in variables {
        block.set(name, value).unwrap();
    }
    put(memory, FEDORA_BLOCK, block.bytes())
}

/// What the trial and the mode say against this host, which they leave as it is; `None` if both are made.
fn refused(memory: Memory) -> Option<String> {
    let machine = machine(memory);
    let before = files(&machine);
    let plan = guests().plan(&session(&machine)).unwrap();
    let trial = tried().apply(&mut session(&machine));
    let Err(error) = trial else {
        assert!(plan.findings.is_empty(), "{:?}", plan.findings);
        return None;
    };
    let Error::NotApplicable(findings) = error else {
        panic!("{error}");
    };
    assert!(files(&machine) == before);
    let said = |finding: &hosttune_core::Finding| {
        format!("{finding}; {}", finding.hint().unwrap_or_default())
    };
    let (of_trial, of_mode) = (said(&findings[0]), said(&plan.findings[0]));
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    let why = |text: &str| text.split_once(": ").unwrap().1.to_owned();
    assert_eq!(why(&of_trial), why(&of_mode));
    Some(of_trial)
}

fn is_refused(memory: Memory, said: &[&str]) {
    let seen = refused(memory).unwrap_or_default();
    for said in said {
        assert!(seen.contains(said), "{said}: {seen}");
    }
}

/// Without a sort key of the others, one of ours would be before all of them; with one, no key is behind it.
#[test]
fn entries_for_systemd_boot_have_no_sort_key_and_the_last_name() {
    for text in [FEDORA.to_owned(), format!("{FEDORA}sort-key arch\n")] {
        let memory = with_entry("arch.conf", &text);
        let machine = machine(memory);
        let _ = tried().apply(&mut session(&machine)).unwrap();
        let _ = guests().apply(&mut session(&machine)).unwrap();
        for name in [
            "a--hosttune-trial-laws.conf",
            "a--hosttune-laws-guests.conf",
        ] {
            let entry = machine.memory().get(format!("{ENTRIES}/{name}")).unwrap();
            assert!(!entry.contains("sort-key"), "{entry}");
        }
    }
}

#[test]
fn an_entry_that_systemd_boot_would_start_without_a_choice_is_refused() {
    let keyed = format!("{FEDORA}sort-key arch\n");
    for name in ["arch+0-3.conf", "arch+3.conf"] {
        let counted = || with_entry(name, &keyed);
        let said = [
            "boots of arch.conf are counted",
            "bootctl set-default arch.conf",
        ];
        is_refused(counted(), &said);
        // Each way to name the default.
        let named = put(counted(), LOADER_CONF, "default arch.conf\n");
        assert_eq!(refused(named), None);
        let named = variable(counted(), "LoaderEntryDefault", "arch.conf");
        assert_eq!(refused(named), None);
        let saved = put(counted(), LOADER_CONF, "default @saved\n");
        is_refused(saved, &said);
        let saved = put(counted(), LOADER_CONF, "default @saved\n");
        let saved = variable(saved, "LoaderEntryLastBooted", "arch.conf");
        assert_eq!(refused(saved), None);
        // Another kernel, whose boots are not counted.
        let older = FEDORA.replace("6.12.0", "6.11.0");
        let two = put(counted(), &format!("{ENTRIES}/arch-old.conf"), older);
        assert_eq!(refused(two), None);
    }
    let pattern = put(
        with_entry("arch.conf", FEDORA),
        LOADER_CONF,
        "default a-*.conf\n",
    );
    is_refused(pattern, &["a pattern for the default entry fits it"]);
    let lower = with_entry("-.conf", FEDORA);
    is_refused(lower, &["the first in the order of systemd-boot"]);
    let old = || {
        variable(
            with_entry("arch.conf", FEDORA),
            "LoaderInfo",
            "systemd-boot 249.11",
        )
    };
    is_refused(old(), &["systemd-boot 249 sorts entries in another way"]);
    let named = put(old(), LOADER_CONF, "default arch.conf\n");
    assert_eq!(refused(named), None);
    let new = variable(
        with_entry("arch.conf", FEDORA),
        "LoaderInfo",
        "systemd-boot 255.4-1",
    );
    assert_eq!(refused(new), None);
}

#[test]
fn a_mode_that_has_become_the_default_is_not_started_once() {
    let machine = machine(with_entry("arch.conf", FEDORA));
    let _ = guests().apply(&mut session(&machine)).unwrap();
    machine
        .memory()
        .change(|tree| tree.remove("/boot/loader/entries/arch.conf"));
    let text = FEDORA.to_owned();
    let _ = put(
        machine.memory().clone(),
        "/boot/loader/entries/arch+1-2.conf",
        text,
    );
    let error = once().plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("boots of arch.conf are counted"), "{error}");
}

#[test]
fn fedoras_entries_are_the_last_of_the_files() {
    let machine = machine(fedora_with(&[], FEDORA_MENU));
    let _ = tried().apply(&mut session(&machine)).unwrap();
    let name = format!("{ENTRIES}/~hosttune-trial-laws.conf");
    assert!(machine.memory().get(&name).is_some());
    for variables in [
        &[("saved_entry", FEDORA_ID)][..],
        &[("saved_entry", "Fedora Linux (6.12.0) 41")],
        &[("saved_entry", "0")],
        &[("saved_entry", "osprober-efi-1E1C-E7C9")],
        // A kernel that was removed: GRUB starts the first entry.
        &[("saved_entry", "ab34567890abcdef0123456789abcdef-6.10.0")],
    ] {
        assert_eq!(refused(fedora_with(variables, FEDORA_MENU)), None);
    }
}

#[test]
fn a_number_that_an_entry_of_ours_would_have_is_refused() {
    let set = format!("grub2-set-default '{FEDORA_ID}'");
    // Windows, behind one kernel.
    let windows = fedora_with(&[("saved_entry", "1")], FEDORA_MENU);
    is_refused(windows, &["the default entry is a number (1)", &set]);
    let fixed = FEDORA_MENU.replace("set default=\"${saved_entry}\"", "set default=\"2\"");
    is_refused(
        fedora_with(&[], &fixed),
        &["is a number (2)", "GRUB_DEFAULT=saved", &set],
    );
    let ours = fedora_with(&[("saved_entry", "~hosttune-trial-laws")], FEDORA_MENU);
    let error = tried().plan(&session(&machine(ours))).unwrap_err();
    assert!(
        error.to_string().contains("the new entry itself"),
        "{error}"
    );
}

/// Debian with `custom.cfg` read before the kernels, as with `/etc/grub.d/09_custom`.
fn custom_first(variables: &[(&str, &str)]) -> Memory {
    let begin = MENU.find("### BEGIN /etc/grub.d/41_custom").unwrap();
    let (rest, custom) = MENU.split_at(begin);
    let kernels = "### BEGIN /etc/grub.d/10_linux";
    let menu = rest.replace(kernels, &format!("{custom}\n{kernels}"));
    let menu = menu.replace("set default=\"0\"", "set default=\"${saved_entry}\"");
    let mut block = EnvironmentBlock::new();
    for (name, value) in variables {
        block.set(name, value).unwrap();
    }
    let memory = put(debian(), "/boot/grub/grub.cfg", menu);
    put(memory, BLOCK, block.bytes())
}

#[test]
fn a_saved_default_that_is_no_name_is_refused_where_custom_cfg_is_first() {
    let first = "gnulinux-simple-0a3e1f52-5a0c-4bb3-9f7e-6a3d1c0b7e11";
    let hint = format!("grub-set-default '{first}'");
    is_refused(custom_first(&[]), &["no default entry is set", &hint]);
    let number = custom_first(&[("saved_entry", "0")]);
    is_refused(number, &["is a number (0)", &hint]);
    is_refused(
        custom_first(&[("saved_entry", "1>0")]),
        &["is a number (1)", "grub-set-default"],
    );
    let named = custom_first(&[("saved_entry", first)]);
    assert_eq!(refused(named), None);
    // With an entry of a person's own in the file, a number is not moved.
    let own = "menuentry 'own' --id 'own' {\n\tlinux /boot/vmlinuz root=/dev/sda1\n}\n";
    let with_own = put(custom_first(&[]), CUSTOM, own);
    assert_eq!(
        refused(put(with_own, BLOCK, EnvironmentBlock::new().bytes())),
        None
    );
}
