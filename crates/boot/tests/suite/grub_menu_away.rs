//! Reverts while the file system with GRUB's menu, or with the file that it is generated from, is away.

use hosttune_boot::testing::GeneratorBehaviour;
use hosttune_core::host::FileContent;
use hosttune_core::testing::World;
use hosttune_core::{NotRevertedReason, Reverted, Tuning};

use super::grub_menu::{Debian, MENU, OURS, watchdog};

const DIRECTORY: &str = "/etc/default/grub.d";
const MOUNTS: &str = "/proc/self/mountinfo";
const ROOT: &str = "22 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw\n";

fn put(host: &Debian, path: &str, text: &str) {
    let content = FileContent::new(text.as_bytes());
    let _ = host.memory.clone().content(path, content);
}

/// Takes all that is below a directory away.
fn take_away(host: &Debian, directory: &str) -> Vec<(String, Option<FileContent>)> {
    let below = format!("{directory}/");
    let session = host.live();
    let paths = host.memory.snapshot().into_keys();
    let taken: Vec<_> = paths
        .filter(|path| path.starts_with(&below))
        .map(|path| (path.clone(), session.host().file(&path).unwrap_or_default()))
        .collect();
    host.memory.change(|tree| {
        for (path, _) in taken.iter().rev() {
            tree.remove(path);
        }
    });
    taken
}

fn bring_back(host: &Debian, files: Vec<(String, Option<FileContent>)>) {
    for (path, content) in files {
        let memory = host.memory.clone();
        let _ = match content {
            Some(content) => memory.content(path, content),
            None => memory.directory(path),
        };
    }
}

/// That only these were left, and how to revert them is said.
fn assert_left(host: &Debian, reverted: &Reverted, paths: &[&str], advice: &str) {
    let left = reverted.not_reverted.iter();
    let left: Vec<&str> = left.map(|left| left.knob.text.as_str()).collect();
    assert_eq!(left, paths, "{reverted:#?}");
    for left in &reverted.not_reverted {
        let NotRevertedReason::Hidden(why) = &left.reason else {
            panic!("{left:?}");
        };
        assert!(why.contains(advice), "{why}");
    }
    let pending = host.live().status().unwrap().pending;
    assert_eq!(pending.len(), paths.len());
    for pending in pending {
        assert!(pending.absent.unwrap().contains(advice));
    }
}

#[test]
fn a_menu_of_a_partition_that_is_not_mounted_stays_in_the_journal() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let before = host.snapshot();
    let _ = watchdog().apply(&mut host.live()).unwrap();
    let boot = take_away(&host, "/boot");
    for _ in 0..2 {
        let reverted = host.live().revert().unwrap();
        assert_left(&host, &reverted, &[MENU], "mount it; then revert again");
        assert!(host.memory.get(OURS).is_none());
    }
    bring_back(&host, boot);
    assert!(host.live().revert().unwrap().is_complete());
    assert_eq!(host.snapshot(), before);

    // The user can give it up.
    let _ = watchdog().apply(&mut host.live()).unwrap();
    let _ = take_away(&host, "/boot");
    let reverted = host.live().force(true).revert().unwrap();
    assert!(reverted.is_complete() && host.store.is_empty());
    assert!(
        reverted.notes.iter().any(|note| note.contains("given up")),
        "{:?}",
        reverted.notes
    );
}

/// The directory below the mount point has a menu of its own.
#[test]
fn a_menu_of_another_file_system_is_not_the_one_that_was_changed() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let mounted = format!("{ROOT}30 22 8:1 / /boot rw,relatime - ext4 /dev/sda1 rw\n");
    put(&host, MOUNTS, &mounted);
    let before = host.snapshot();
    let original = host.memory.get(MENU).unwrap();
    let _ = watchdog().apply(&mut host.live()).unwrap();
    let ours = host.memory.get(MENU).unwrap();
    for below in [&original, "menuentry 'below' {\n}"] {
        put(&host, MOUNTS, ROOT);
        host.memory.change(|tree| tree.set(MENU, below));
        let reverted = host.live().revert().unwrap();
        assert_left(&host, &reverted, &[MENU], "at /boot");
        assert_eq!(host.memory.get(MENU).unwrap(), *below);
    }
    put(&host, MOUNTS, &mounted);
    host.memory.change(|tree| tree.set(MENU, &ours));
    assert!(host.live().revert().unwrap().is_complete());
    assert_eq!(host.snapshot(), before);
}

#[test]
fn a_menu_goes_back_also_while_the_file_that_it_is_generated_from_is_away() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let mounted = format!("{ROOT}30 22 8:1 / /etc rw,relatime - ext4 /dev/sda1 rw\n");
    put(&host, MOUNTS, &mounted);
    let before = host.snapshot();
    let original = host.memory.get(MENU).unwrap();
    let _ = watchdog().apply(&mut host.live()).unwrap();
    let etc = take_away(&host, "/etc");
    put(&host, MOUNTS, ROOT);
    let reverted = host.live().revert().unwrap();
    assert_left(&host, &reverted, &[OURS, DIRECTORY], "at /etc");
    assert_eq!(host.memory.get(MENU).unwrap(), original);
    put(&host, MOUNTS, &mounted);
    bring_back(&host, etc);
    assert!(host.live().revert().unwrap().is_complete());
    assert_eq!(host.snapshot(), before);
}
