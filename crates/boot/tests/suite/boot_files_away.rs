//! Reverts while files of the boot loader are away: the boot partition is not mounted, another one is, or
//! the entry has another name. Such a change is never said to be reverted, and never forgotten.

use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::host::FileContent;
use hosttune_core::testing::{Machine, Memory};
use hosttune_core::{NotRevertedReason, Reverted, Tuning};

use super::boot_loader::{
    ENTRIES, LIMINE, entry, equals, limine, machine, options, parameters, put, session,
    systemd_boot, with_entries,
};
use super::boot_once;
use super::boot_once_in_entries;

const ROOT: &str = "22 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw\n";
const BOOT: &str = "30 22 8:1 / /boot rw,relatime - vfat /dev/sda1 rw\n";
const MOUNTS: &str = "/proc/self/mountinfo";

/// Files with their content, and directories.
type Files = Vec<(String, Option<FileContent>)>;

/// Takes all that is below a directory away.
fn take_away(machine: &Machine, directory: &str) -> Files {
    let below = format!("{directory}/");
    let paths = machine.memory().snapshot().into_keys();
    let session = session(machine);
    let taken: Files = paths
        .filter(|path| path.starts_with(&below))
        .map(|path| (path.clone(), session.host().file(&path).unwrap_or_default()))
        .collect();
    machine.memory().change(|tree| {
        for (path, _) in taken.iter().rev() {
            tree.remove(path);
        }
    });
    taken
}

fn bring_back(machine: &Machine, files: Files, to: impl Fn(&str) -> String) {
    for (path, content) in files {
        let memory = machine.memory().clone();
        let _ = match content {
            Some(content) => memory.content(to(&path), content),
            None => memory.directory(to(&path)),
        };
    }
}

fn same(path: &str) -> String {
    path.to_owned()
}

fn text(machine: &Machine, path: &str) -> String {
    machine.memory().get(path).unwrap_or_default()
}

/// That nothing was given up: what was left is in the journal, with a reason that says what to do.
fn assert_left(machine: &Machine, reverted: &Reverted, count: usize, advice: &str) {
    assert_eq!(reverted.not_reverted.len(), count, "{reverted:#?}");
    for left in &reverted.not_reverted {
        let NotRevertedReason::Hidden(why) = &left.reason else {
            panic!("{left:?}");
        };
        assert!(why.contains(advice), "{why}");
    }
    let status = session(machine).status().unwrap();
    assert_eq!(status.pending.len(), count);
    for pending in status.pending {
        assert!(pending.absent.unwrap().contains(advice));
    }
}

fn only_entries(memory: Memory) -> Machine {
    let memory = put(memory, "/etc/machine-id", "1a\n");
    let text = entry("UUID=1", "1a", "6.12.0").replace("quiet", "quiet mitigations=auto");
    machine(put(memory, &format!("{ENTRIES}/a.conf"), text))
}

fn off() -> hosttune_boot::boot_loader::BootParameters {
    parameters(vec![equals("mitigations", "off")])
}

#[test]
fn entries_of_a_partition_that_is_not_mounted_stay_in_the_journal() {
    let machine = only_entries(systemd_boot());
    let before = options(&machine, "a.conf");
    let _ = off().apply(&mut session(&machine)).unwrap();
    let boot = take_away(&machine, "/boot");
    let reverted = session(&machine).revert().unwrap();
    assert_left(&machine, &reverted, 1, "mount it; then revert again");
    bring_back(&machine, boot, same);
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(options(&machine, "a.conf"), before);

    // The user can give it up.
    let _ = off().apply(&mut session(&machine)).unwrap();
    let _ = take_away(&machine, "/boot");
    let reverted = session(&machine).force(true).revert().unwrap();
    assert!(reverted.is_complete());
    assert!(
        reverted.notes.iter().any(|note| note.contains("given up")),
        "{:?}",
        reverted.notes
    );
}

/// The directory below the mount point has an older copy, or another partition is mounted.
#[test]
fn an_entry_of_another_file_system_is_not_the_one_that_was_changed() {
    let udev = |memory: Memory, device: &str, uuid: &str| {
        let path = format!("/run/udev/data/b{device}");
        put(memory, &path, format!("I:1\nE:ID_FS_UUID={uuid}\n"))
    };
    let mounted = format!("{ROOT}{BOOT}");
    let another = format!("{ROOT}30 22 8:17 / /boot rw - vfat /dev/sdb1 rw\n");
    for (mounts, has_udev) in [(ROOT, false), (ROOT, true), (&*another, true)] {
        let mut memory = put(systemd_boot(), MOUNTS, &*mounted);
        if has_udev {
            memory = udev(memory, "8:1", "AAAA-AAAA");
            memory = udev(memory, "8:2", "root");
            memory = udev(memory, "8:17", "BBBB-BBBB");
        }
        let machine = only_entries(memory);
        let path = format!("{ENTRIES}/a.conf");
        let stale = text(&machine, &path);
        let _ = off().apply(&mut session(&machine)).unwrap();
        let ours = text(&machine, &path);
        let set = |mounts: &str, entry: &str| {
            let memory = put(machine.memory().clone(), MOUNTS, mounts);
            let _ = put(memory, &path, format!("{entry}\n"));
        };
        set(mounts, &stale);
        let reverted = session(&machine).revert().unwrap();
        assert_left(&machine, &reverted, 1, "at /boot");
        set(&mounted, &ours);
        assert!(session(&machine).revert().unwrap().is_complete());
        assert_eq!(text(&machine, &path), stale);
    }
}

#[test]
fn an_entry_is_followed_to_its_new_name_and_place() {
    for (old, new) in [
        ("/a.conf", "/arch.conf"),
        ("/boot/loader", "/efi/loader"),
        ("/boot/loader", "/boot/efi/loader"),
    ] {
        let machine = only_entries(systemd_boot());
        let before = options(&machine, "a.conf").unwrap();
        let _ = off().apply(&mut session(&machine)).unwrap();
        let boot = take_away(&machine, "/boot");
        let to = |path: &str| path.replace(old, new);
        bring_back(&machine, boot, to);
        assert!(session(&machine).revert().unwrap().is_complete());
        let after = text(&machine, &to(&format!("{ENTRIES}/a.conf")));
        assert!(after.contains(&before), "{after}");
    }
}

/// A name that is not certain is said and not followed.
#[test]
fn an_entry_that_may_be_the_renamed_one_is_named() {
    let machine = only_entries(systemd_boot());
    let _ = off().apply(&mut session(&machine)).unwrap();
    let path = format!("{ENTRIES}/a.conf");
    let ours = text(&machine, &path);
    machine.memory().change(|tree| tree.remove(&path));
    let edited = format!("{ENTRIES}/arch.conf");
    let renamed = ours.replace("Arch Linux", "Arch") + "\n";
    let _ = put(machine.memory().clone(), &edited, renamed.clone());
    let reverted = session(&machine).revert().unwrap();
    assert_left(
        &machine,
        &reverted,
        1,
        "/boot/loader/entries/arch.conf has mitigations=off too",
    );
    // With the words taken out by hand, the old one is gone for certain.
    let back = renamed.replace("mitigations=off", "mitigations=auto");
    let _ = put(machine.memory().clone(), &edited, back);
    let reverted = session(&machine).revert().unwrap();
    assert!(reverted.is_complete());
    let said = "a.conf was removed since";
    assert!(
        reverted.notes.iter().any(|note| note.contains(said)),
        "{:?}",
        reverted.notes
    );
}

/// A parameter that was removed is looked for as one that was added.
#[test]
fn a_kernel_that_was_removed_is_gone_and_its_neighbours_do_not_matter() {
    for setting in [
        equals("mitigations", "off"),
        CommandLineSetting::absent("quiet"),
    ] {
        let machine = machine(with_entries(systemd_boot()));
        let wanted = parameters(vec![setting]);
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        let path = format!("{ENTRIES}/1a-6.12.0.conf");
        machine.memory().change(|tree| tree.remove(&path));
        let reverted = session(&machine).revert().unwrap();
        assert!(reverted.is_complete(), "{reverted:#?}");
        assert_eq!(reverted.undone.len(), 3);
        assert!(
            reverted.notes.iter().any(|note| note.contains(&path)),
            "{:?}",
            reverted.notes
        );
    }
}

#[test]
fn limines_entry_is_followed_and_two_of_the_same_titles_are_not_told_apart() {
    let machine_of = || {
        let machine = machine(limine());
        let _ = off().apply(&mut session(&machine)).unwrap();
        machine
    };
    let edit = |machine: &Machine, edit: &dyn Fn(&str) -> String| {
        let text = edit(&text(machine, LIMINE));
        let _ = put(machine.memory().clone(), LIMINE, text + "\n");
    };
    // Another title.
    let renamed = machine_of();
    edit(&renamed, &|text| text.replace("+Arch Linux", "+Arch"));
    let report = session(&renamed).revert().unwrap();
    assert!(report.is_complete(), "{report:#?}");
    assert!(!text(&renamed, LIMINE).contains("mitigations"));
    // Another title and another kernel beside it: not certain.
    let edited = machine_of();
    edit(&edited, &|text| {
        text.replace("+Arch Linux", "+Arch")
            .replace("//linux\n", "//linux\n    comment: x\n")
    });
    let report = session(&edited).revert().unwrap();
    assert_left(&edited, &report, 1, "limine.conf /Arch/linux has");
    // A second entry of the same titles.
    let twice = machine_of();
    edit(&twice, &|text| {
        let entries = text.split_once("\n\n").unwrap().1;
        format!("{text}\n{entries}")
    });
    let report = session(&twice).revert().unwrap();
    assert_eq!(report.not_reverted.len(), 1);
    assert!(
        report.not_reverted[0]
            .reason
            .to_string()
            .contains("several entries have the titles /Arch Linux/linux"),
        "{}",
        report.not_reverted[0].reason
    );
    // The boot partition is not mounted, and then on another place.
    let away = machine_of();
    let boot = take_away(&away, "/boot");
    let report = session(&away).revert().unwrap();
    assert_left(&away, &report, 1, "mount it; then revert again");
    bring_back(&away, boot, |path| {
        path.replace("/boot/limine.conf", "/efi/limine.conf")
    });
    assert!(session(&away).revert().unwrap().is_complete());
    assert!(!text(&away, "/efi/limine.conf").contains("mitigations"));
}

#[test]
fn a_trial_on_a_partition_that_is_not_mounted_stays_in_the_journal() {
    let grub = put(
        boot_once::debian(),
        MOUNTS,
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
    );
    let entries = put(
        boot_once_in_entries::systemd_boot(),
        MOUNTS,
        format!("{ROOT}{BOOT}"),
    );
    for memory in [grub, entries] {
        let machine = machine(memory);
        let before = boot_once::files(&machine);
        let _ = boot_once::tried().apply(&mut session(&machine)).unwrap();
        let mounts = text(&machine, MOUNTS);
        let boot = take_away(&machine, "/boot");
        let variables = take_away(&machine, "/sys/firmware/efi/efivars");
        let _ = put(machine.memory().clone(), MOUNTS, ROOT.replace("8:2", "8:1"));
        let steps = session(&machine).status().unwrap().pending.len();
        assert!(steps > 1);
        let reverted = session(&machine).revert().unwrap();
        assert_left(&machine, &reverted, steps, "then revert again");
        bring_back(&machine, boot, same);
        bring_back(&machine, variables, same);
        let _ = put(machine.memory().clone(), MOUNTS, format!("{mounts}\n"));
        let reverted = session(&machine).revert().unwrap();
        assert!(reverted.is_complete(), "{reverted:#?}");
        assert_eq!(boot_once::files(&machine), before);
    }
}
