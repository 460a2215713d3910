//! The copy of modprobe.d in the initramfs: when it counts, and what plan and verify say of it.

use std::io::{Cursor, Write as _};

use cpio::newc::{Builder, ModeFileType};
use hosttune_core::host::FileContent;
use hosttune_core::testing::laws;
use hosttune_core::testing::{CrashPoint, Machine, Memory, World};
use hosttune_core::{Report, Session, State, Tuning, When};
use hosttune_modules::testing::{Described, RELEASE, with_modules};
use hosttune_modules::{ModuleOption, ModuleOptions};
use proptest::prelude::*;

pub(crate) const FILE: &str = "/etc/modprobe.d/zz-hosttune-laws.conf";
pub(crate) const OURS: &str = "etc/modprobe.d/zz-hosttune-laws.conf";

pub(crate) const KVM: Described = Described {
    name: "kvm",
    needs: &[],
    parameters: &["ignore_msrs"],
};

pub(crate) fn path() -> String {
    format!("/boot/initrd.img-{RELEASE}")
}

pub(crate) fn inside(module: &str) -> String {
    format!("usr/lib/modules/{RELEASE}/kernel/{module}.ko")
}

/// An image with these files: what early loaders need in a plain segment, and the rest compressed.
pub(crate) fn image(files: &[(&str, &str)]) -> Vec<u8> {
    let entry = |name: &str, kind: ModeFileType, content: &str| {
        let builder = Builder::new(name).mode(0o755).set_mode_file_type(kind);
        (builder, Cursor::new(content.as_bytes().to_vec()))
    };
    let mut directories: Vec<&str> = Vec::new();
    for (name, _) in files {
        for (at, _) in name.match_indices('/') {
            if !directories.contains(&&name[..at]) {
                directories.push(&name[..at]);
            }
        }
    }
    let directories = directories
        .iter()
        .map(|name| entry(name, ModeFileType::Directory, ""));
    let files = files
        .iter()
        .map(|(name, content)| entry(name, ModeFileType::Regular, content));
    let main = cpio::write_cpio(directories.chain(files), Vec::new()).unwrap();
    let early = [entry("kernel", ModeFileType::Directory, "")];
    let mut bytes = cpio::write_cpio(early.into_iter(), Vec::new()).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&main).unwrap();
    bytes.extend(encoder.finish().unwrap());
    bytes
}

fn memory(image: Option<Vec<u8>>) -> Memory {
    let memory = with_modules(Memory::new(), &[KVM], &[])
        .directory("/etc/initramfs-tools")
        .content("/proc/cmdline", FileContent::new("root=/dev/vda1\n"));
    match image {
        Some(image) => memory.content(path(), FileContent::new(image)),
        None => memory,
    }
}

fn wanted() -> ModuleOptions {
    ModuleOptions::new("laws", [ModuleOption::new("kvm", "ignore_msrs", 1)])
}

fn machine(memory: Memory) -> Machine {
    Machine::new(memory, hosttune_modules::knobs)
}

fn session(machine: &Machine) -> Session {
    machine.session(&CrashPoint::lives()).unwrap()
}

fn applied(image: Option<Vec<u8>>) -> Machine {
    let machine = machine(memory(image));
    let _ = wanted().apply(&mut session(&machine)).unwrap();
    assert!(machine.memory().get(FILE).is_some());
    machine
}

fn state(report: &Report) -> Option<State> {
    let name = format!("module options in {}", path());
    let mut items = report.items.iter();
    Some(items.find(|item| item.name == name)?.state.clone())
}

fn verified(machine: &Machine) -> (Option<State>, String) {
    let report = wanted().verify(&session(machine)).unwrap();
    let plan = wanted().plan(&session(machine)).unwrap();
    (state(&report), plan.notes.join("\n"))
}

#[test]
fn a_copy_that_is_missing_or_old_is_pending_until_the_image_is_rebuilt() {
    let kvm = inside("kvm");
    let without = image(&[(&kvm, "")]);
    let planned = wanted().plan(&session(&machine(memory(Some(without.clone())))));
    let notes = planned.unwrap().notes.join("\n");
    assert_eq!(
        notes,
        format!(
            "the initramfs {} loads kvm without kvm ignore_msrs=1: run update-initramfs -u -k all after the change",
            path()
        )
    );
    let until = When::Initramfs;
    let machine = applied(Some(without));
    assert_eq!(verified(&machine).0, Some(State::Pending { until }));

    let old = image(&[(&kvm, ""), (OURS, "options kvm ignore_msrs=0\n")]);
    let _ = machine
        .memory()
        .clone()
        .content(path(), FileContent::new(old));
    let (state, notes) = verified(&machine);
    assert_eq!(state, Some(State::Pending { until }));
    assert!(
        notes.contains("it has ignore_msrs=0 in /etc/modprobe.d/zz-hosttune-laws.conf:1"),
        "{notes}"
    );

    let text = machine.memory().get(FILE).unwrap();
    let rebuilt = image(&[(&kvm, ""), (OURS, &text)]);
    let _ = machine
        .memory()
        .clone()
        .content(path(), FileContent::new(rebuilt));
    assert_eq!(verified(&machine), (Some(State::Matches), String::new()));
}

#[test]
fn a_module_that_is_not_inside_gets_its_options_from_the_root_file_system() {
    let other = inside("virtio_blk");
    let machine = applied(Some(image(&[(&other, "")])));
    assert_eq!(verified(&machine), (None, String::new()));
    // A module for another kernel is not inside either.
    let machine = applied(Some(image(&[("usr/lib/modules/6.1.0/kvm.ko", "")])));
    assert_eq!(verified(&machine), (None, String::new()));
}

#[test]
fn a_file_inside_that_wins_over_the_copy_is_named() {
    let kvm = inside("kvm");
    let text = "options kvm ignore_msrs=1\n";
    for (name, is_it) in [
        // The last base name wins, and a name masks the same name in a later directory.
        ("usr/lib/modprobe.d/zzz.conf", false),
        ("usr/lib/modprobe.d/zz-hosttune-laws.conf", true),
        ("etc/modprobe.d/kvm.conf", true),
    ] {
        let files = [
            (&*kvm, ""),
            (OURS, text),
            (name, "options kvm ignore_msrs=0\n"),
        ];
        let (state, notes) = verified(&applied(Some(image(&files))));
        assert_eq!(state == Some(State::Matches), is_it, "{name}: {notes}");
    }
}

#[test]
fn an_image_that_is_not_found_or_not_readable_is_unknown() {
    let (state, notes) = verified(&applied(None));
    assert_eq!(state, None);
    assert!(notes.contains("which is not known here"), "{notes}");
    assert!(notes.contains("update-initramfs -u -k all"), "{notes}");

    let kvm = inside("kvm");
    let whole = image(&[(&kvm, "")]);
    for unknown in [
        whole[..whole.len() - 20].to_vec(),
        image(&[("squashfs-root.img", "hsqs")]),
        b"BZh9".to_vec(),
    ] {
        let (state, notes) = verified(&applied(Some(unknown)));
        let Some(State::Unverifiable { why }) = state else {
            panic!("{state:?}");
        };
        assert!(why.contains(&path()), "{why}");
        assert!(notes.contains("which is not known here"), "{notes}");
    }
}

#[test]
fn an_option_that_is_overridden_anyway_reads_no_image() {
    // It would be unknown if it was read.
    let memory = memory(Some(b"BZh9".to_vec()))
        .content("/proc/cmdline", FileContent::new("kvm.ignore_msrs=0\n"));
    let machine = machine(memory);
    assert_eq!(verified(&machine).0, None);
}

proptest! {
    #![proptest_config(hosttune_test_machine::cases(16))]
    /// The image changes nothing of what is applied and reverted.
    #[test]
    fn the_laws_hold_beside_any_image(is_inside: bool, has_copy: bool, cut in 0..40_usize) {
        let kvm = inside("kvm");
        let mut files = vec![("etc/hostname", "a")];
        if is_inside {
            files.push((&kvm, ""));
        }
        if has_copy {
            files.push((OURS, "options kvm ignore_msrs=1\n"));
        }
        let mut bytes = image(&files);
        bytes.truncate(bytes.len() - cut / 2);
        let machine = machine(memory(Some(bytes)));
        laws::apply_then_plan(&machine, &wanted()).unwrap();
        laws::apply_then_revert(&machine, &[wanted()]).unwrap();
        laws::plan_writes_nothing(&machine, &wanted()).unwrap();
    }
}
