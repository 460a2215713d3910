//! Trials started by GRUB itself, from a BIOS, with a stock kernel; and GRUB's own programs beside ours.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use hosttune_boot::boot_loader::{BootParameters, BootSetting};
use hosttune_boot::boot_once::{
    BOOT_ONCE, BootMode, EnvironmentBlock, ModeOnce, Trial, TrialState,
};
use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::{Session, Tuning};
use hosttune_test_machine::{GrubDisk, Kernel, grub, grub_program};

const MENU: &str = include_str!("../grub/debian-12.cfg");
const UUID: &str = "0a3e1f52-5a0c-4bb3-9f7e-6a3d1c0b7e11";
const VMLINUZ: &str = "vmlinuz-6.12.0-1-amd64";
const INITRD: &str = "initrd.img-6.12.0-1-amd64";
const BOOTED: &str = "booted with: ";

/// A machine that is emulated needs half a minute for two boots and a panic. This is for a slow one.
const LIMIT: Duration = Duration::from_secs(300);

fn put(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn start(root: &Path, line: &str, boot: &str) {
    put(root, "proc/cmdline", line);
    put(root, "proc/sys/kernel/random/boot_id", boot);
}

/// The tree of a host whose `/boot` the disk gets.
fn tree(root: &Path) {
    start(root, "BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro", "first");
    put(
        root,
        "proc/self/mountinfo",
        "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n",
    );
    put(
        root,
        "etc/default/grub",
        "GRUB_CMDLINE_LINUX_DEFAULT=\"\"\n",
    );
    put(
        root,
        "usr/sbin/grub-mkconfig",
        "${sysconfdir}/default/grub.d\n",
    );
    put(root, "etc/initramfs-tools/initramfs.conf", "");
    put(root, "etc/default/grub.d/README", "");
    let menu = MENU.replace("ro  quiet", "ro console=ttyS0");
    put(
        root,
        "boot/grub/grub.cfg",
        menu.replace("set timeout=5", "set timeout=0"),
    );
    fs::create_dir_all(root.join("sys/dev/block")).unwrap();
    let disk = "../../devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1";
    symlink(disk, root.join("sys/dev/block/254:1")).unwrap();
    for directory in ["run", "var/lib"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
}

/// Whether `scripts/machine` has unpacked GRUB.
fn is_unpacked(test: &str) -> bool {
    let unpacked = grub();
    if let Err(error) = &unpacked {
        println!("not run: {test}: {error}");
    }
    unpacked.is_ok()
}

fn session(root: &Path) -> Session {
    Session::at(root, "real")
        .unwrap()
        .with(hosttune_boot::knobs)
}

fn state(root: &Path) -> TrialState {
    let session = session(root);
    Trial::of(session.host(), "real").unwrap().unwrap().state
}

/// Tries a setting on GRUB, as [`started`].
fn tried(root: &Path, setting: CommandLineSetting) -> (Vec<String>, String) {
    tree(root);
    let parameters = BootParameters::new("real", [BootSetting::new(setting)]).trial(true);
    let _ = parameters.apply(&mut session(root)).unwrap();
    assert_eq!(state(root), TrialState::Waiting);
    started(root)
}

/// Starts GRUB on the tree's `/boot`. Returns the lines of the boots that came to their init, and what the machine
/// said.
fn started(root: &Path) -> (Vec<String>, String) {
    let disk =
        GrubDisk::make(&root.join("boot"), UUID, Kernel::Linux6_12, VMLINUZ, INITRD).unwrap();
    let said = disk.boot(LIMIT).unwrap();
    let booted = said.lines().filter_map(|line| line.split_once(BOOTED));
    let booted = booted.map(|(_, line)| line.to_owned()).collect();
    // What GRUB has left of the block.
    let block = disk.read("/boot/grub/grubenv").unwrap();
    assert_eq!(
        EnvironmentBlock::parse(&block).unwrap().get("next_entry"),
        Some(Vec::new())
    );
    put(root, "boot/grub/grubenv", block);
    (booted, said)
}

/// The kernel does not find the init that the trial names, then no root file system, and panics.
#[test]
fn a_trial_that_panics_is_followed_by_the_old_line() {
    if !is_unpacked("a_trial_that_panics_is_followed_by_the_old_line") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (booted, said) = tried(root, CommandLineSetting::equals("rdinit", "/missing"));
    assert!(
        said.contains("Kernel panic - not syncing"),
        "the trial did not panic"
    );
    let commands = said
        .lines()
        .filter(|line| line.contains("Kernel command line:"));
    let commands: Vec<&str> = commands.collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(
        commands[0].contains("rdinit=/missing panic=10 hosttune.trial=first"),
        "{commands:?}"
    );
    assert_eq!(booted.len(), 1, "{booted:?}");
    assert!(!booted[0].contains("hosttune.trial"), "{booted:?}");
    start(root, &booted[0], "third");
    assert_eq!(state(root), TrialState::Failed);
    assert!(session(root).revert().unwrap().is_complete());
    assert!(
        !root.join("boot/grub/custom.cfg").exists() && !root.join("boot/grub/grubenv").exists()
    );
}

#[test]
fn a_trial_that_boots_is_booted_once() {
    if !is_unpacked("a_trial_that_boots_is_booted_once") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (booted, _) = tried(root, CommandLineSetting::equals("nmi_watchdog", "0"));
    assert_eq!(booted.len(), 2, "{booted:?}");
    assert!(
        booted[0].contains("nmi_watchdog=0 panic=10 hosttune.trial=first"),
        "{booted:?}"
    );
    assert!(
        !booted[1].contains("nmi_watchdog") && !booted[1].contains("panic"),
        "{booted:?}"
    );
    start(root, &booted[0], "second");
    assert_eq!(state(root), TrialState::Running);
    start(root, &booted[1], "third");
    assert_eq!(state(root), TrialState::Failed);
}

#[test]
fn a_mode_that_is_started_once_is_followed_by_the_normal_entry() {
    if !is_unpacked("a_mode_that_is_started_once_is_followed_by_the_normal_entry") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    tree(root);
    let settings = [("iommu", "pt"), ("test.restart", "1")];
    let setting = |(name, value)| BootSetting::new(CommandLineSetting::equals(name, value));
    let mode = BootMode::new("real", "guests", settings.map(setting));
    let _ = mode.apply(&mut session(root)).unwrap();
    let once = (BOOT_ONCE, ModeOnce::new(mode.clone(), "real apply"));
    let _ = once.apply(&mut session(root)).unwrap();
    let is_next = |root: &Path| mode.state(session(root).host()).unwrap().is_next;
    assert_eq!(is_next(root), Some(true));
    let (booted, _) = started(root);
    assert_eq!(booted.len(), 2, "{booted:?}");
    assert!(booted[0].contains("iommu=pt test.restart=1"), "{booted:?}");
    assert!(!booted[1].contains("iommu"), "{booted:?}");
    assert_eq!(is_next(root), Some(false));
    assert!(session(root).revert().unwrap().is_complete());
    assert!(
        !root.join("boot/grub/custom.cfg").exists() && !root.join("boot/grub/grubenv").exists()
    );
}

/// What `grub-editenv` and `grub-script-check` make of what is written here.
#[test]
fn grubs_own_programs_read_what_is_written() {
    if !is_unpacked("grubs_own_programs_read_what_is_written") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    tree(root);
    let setting = BootSetting::new(CommandLineSetting::equals("nmi_watchdog", "0"));
    let parameters = BootParameters::new("real", [setting]).trial(true);
    let _ = parameters.apply(&mut session(root)).unwrap();
    let checked = grub_program("grub-script-check")
        .unwrap()
        .arg(root.join("boot/grub/custom.cfg"))
        .output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{checked:?}");

    // The same changes by both, in the same order: the same bytes.
    let file = root.join("grubenv");
    let edit = |arguments: &[&str]| {
        let edited = grub_program("grub-editenv")
            .unwrap()
            .arg(&file)
            .args(arguments)
            .output();
        let edited = edited.unwrap();
        assert!(edited.status.success(), "{edited:?}");
        edited.stdout
    };
    edit(&["create"]);
    let mut block = EnvironmentBlock::new();
    assert!(fs::read(&file).unwrap() == block.bytes());
    for (name, value) in [
        ("saved_entry", Some("a>b\\c")),
        ("next_entry", Some("hosttune-trial-real")),
        ("kernelopts", Some("root=UUID=1 ro quiet")),
        ("saved_entry", Some("")),
        ("next_entry", None),
        ("saved_entry", Some("a longer value than before")),
        ("kernelopts", None),
        ("unknown", None),
    ] {
        match value {
            Some(value) => {
                edit(&["set", &format!("{name}={value}")]);
                block.set(name, value).unwrap();
            }
            None => {
                edit(&["unset", name]);
                block.remove(name);
            }
        }
        assert!(
            fs::read(&file).unwrap() == block.bytes(),
            "{name} {value:?}"
        );
        assert!(EnvironmentBlock::parse(&fs::read(&file).unwrap()).unwrap() == block);
    }
    let listed = String::from_utf8(edit(&["list"])).unwrap();
    assert_eq!(listed, "saved_entry=a longer value than before\n");
}
