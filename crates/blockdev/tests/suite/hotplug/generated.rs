//! udevd does what the evaluator predicts, for hundreds of generated files.

use std::collections::{BTreeMap, BTreeSet};

use hosttune_blockdev::udev::{Action, Certainty, Device, Evaluator, Outcome, Place, RuleFiles};
use hosttune_test_machine::{Udev, Udevd, drawn};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{live, read, tell};

/// Files per version of udev and per kernel, different ones for each.
const FILES: usize = 75;

/// The check run uses one in this many of them.
const PARTS: usize = 5;

/// A random match.
fn any_match() -> impl Strategy<Value = String> {
    let fixed = proptest::sample::select(vec![
        "ACTION==\"add\"",
        "ACTION==\"add|change\"",
        "ACTION!=\"remove\"",
        "ACTION==\"change\"",
        "SUBSYSTEM==\"block\"",
        "SUBSYSTEM!=\"block\"",
        "SUBSYSTEM==\"subsystem\"",
        "KERNEL==\"sd[a-z]\"",
        "KERNEL==\"sd*|nvme*\"",
        "KERNEL!=\"sd*\"",
        "KERNEL==\"nvme[0-9]n[0-9]\"",
        "KERNEL==\"[!d]*\"",
        "KERNEL==\"?da\"",
        "KERNEL==\"sda\"",
        "KERNEL==\"|vda\"",
        "KERNEL==\"\"",
        "KERNEL==\"?*\"",
        "DEVPATH==\"*/virtual/*\"",
        "DEVPATH!=\"/devices/pci*\"",
        "ENV{DEVTYPE}==\"disk\"",
        "ENV{DEVTYPE}!=\"disk\"",
        "ENV{ID_BUS}==\"ata\"",
        "ENV{ID_BUS}==\"scsi|usb\"",
        "ENV{ID_BUS}!=\"?*\"",
        "ENV{ID_SERIAL}==\"*solid*\"",
        "ENV{ID_MODEL}==\"QEMU*\"",
        "ENV{ID_ATA}==\"1\"",
        "ENV{DM_NAME}==\"?*\"",
        "ENV{DM_UUID}==\"TEST-*\"",
        "ENV{A}==\"1\"",
        "ENV{A}==\"1|2\"",
        "ENV{A}==\"\"",
        "ENV{B}==\"?*\"",
        "ENV{B}!=\"x*\"",
        "ENV{MAJOR}==\"8\"",
        "ENV{DEVNAME}==\"/dev/sd*\"",
        "TAG==\"systemd\"",
        "TAG==\"mine\"",
        "SYMLINK==\"disk/by-id/*\"",
        "ATTR{queue/rotational}==\"0\"",
        "ATTR{queue/rotational}==\"1\"",
        "ATTR{queue/rotational}!=\"0\"",
        "ATTR{nothing}==\"*\"",
        "ATTR{nothing}!=\"x\"",
        "ATTR{ro}==\"0 \"",
        "ATTR{removable}==\"0\"",
        "ATTR{queue/scheduler}==\"*\\[none\\]*\"",
        "ATTR{queue/scheduler}==\"none\"",
        "ATTR{size}==\"13107[0-9]\"",
        "ATTR{subsystem}==\"block\"",
        "ATTR{device}==\"*:*\"",
        "ATTR{queue}==\"*\"",
        "ATTR{%k/x}==\"1\"",
        "ATTRS{model}==\"QEMU*\"",
        "ATTRS{model}==\"QEMU HARDDISK\"",
        "ATTRS{model}==\"QEMU HARDDISK \"",
        "ATTRS{vendor}==\"ATA\", SUBSYSTEMS==\"scsi\"",
        "ATTRS{vendor}==\"ATA*\", SUBSYSTEMS==\"pci\"",
        "SUBSYSTEMS==\"nvme\"",
        "SUBSYSTEMS==\"virtio\"",
        "SUBSYSTEMS!=\"block\"",
        "SUBSYSTEMS==\"pci\", DRIVERS==\"ahci\"",
        "DRIVERS==\"sd\"",
        "DRIVERS==\"\"",
        "DRIVER==\"sd\"",
        "DRIVER==\"\"",
        "KERNELS==\"0000:*\"",
        "KERNELS==\"[0-9]:0:0:0\", SUBSYSTEMS==\"scsi\"",
        "TAGS==\"mine\"",
        "TEST==\"queue/scheduler\"",
        "TEST!=\"queue/iosched\"",
        "TEST==\"dm\"",
        "TEST{0200}==\"queue/scheduler\"",
        "TEST{0222}==\"size\"",
        "TEST==\"/sys/block/%k/queue\"",
        "TEST==\"device/../block\"",
        "TEST==\"*/scheduler\"",
        "PROGRAM==\"/bin/true\"",
        "PROGRAM!=\"/bin/true\"",
        "PROGRAM=\"/bin/false\"",
        "RESULT==\"x\"",
        "IMPORT{db}=\"ID_BUS\"",
        "IMPORT{db}!=\"NOTHING\"",
        "IMPORT{program}=\"/bin/echo B=x1\"",
        "IMPORT{builtin}=\"path_id\"",
        "IMPORT{cmdline}=\"quiet\"",
        "CONST{arch}==\"x86-64\"",
        "NAME==\"\"",
    ]);
    fixed.prop_map(str::to_owned)
}

/// A random assignment, but none to the read-ahead.
fn any_assignment() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "ENV{A}=\"1\"",
        "ENV{A}=\"\"",
        "ENV{A}+=\"2\"",
        "ENV{A}+=\"\"",
        "ENV{B}=\"$env{A}$attr{queue/rotational}\"",
        "ENV{B}=\"x%n\"",
        "ENV{B}:=\"%E{ID_BUS}\"",
        "ENV{.hidden}=\"1\"",
        "TAG+=\"mine\"",
        "TAG-=\"mine\"",
        "SYMLINK+=\"mine/%k\"",
        "OPTIONS+=\"nowatch\"",
        "OPTIONS=\"strange\"",
        "MODE=\"0660\"",
    ])
    .prop_map(str::to_owned)
}

/// An invalid or unusual token.
fn any_oddity() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "KERNEL=\"sda\"",
        "ATTR{queue/rotational}==i\"0\"",
        "FROBNICATE==\"x\"",
        "ENV{A}-=\"1\"",
        "ACTION+=\"add\"",
        "IMPORT{nothing}=\"x\"",
        "TEST{9}==\"queue\"",
        "ATTR==\"x\"",
        "KERNEL==e\"sd\\x61\"",
        "KERNEL==e\"sd\\q\"",
        "KERNEL==\"sd\\\"a\"",
        "KERNEL == \"sda\"",
        ",,KERNEL==\"sda\",,",
        "GOTO=\"nowhere\"",
    ])
    .prop_map(str::to_owned)
}

#[derive(Debug, Clone)]
enum Line {
    Sets(Vec<String>, String),
    Jumps(Vec<String>, u8),
    Labels(u8),
    Comment,
}

fn any_line() -> impl Strategy<Value = Line> {
    let matches = || proptest::collection::vec(any_match(), 0..3);
    let others =
        proptest::collection::vec(prop_oneof![4 => any_assignment(), 1 => any_oddity()], 0..2);
    let how = proptest::sample::select(vec![
        "ATTR{queue/read_ahead_kb}=\"@\"",
        "ATTR{bdi/read_ahead_kb}=\"@\"",
        "ATTR{queue/read_ahead_kb}:=\"@\"",
        "ATTR{queue/read_ahead_kb}+=\"@\"",
        "ATTR{queue/../queue/read_ahead_kb}=\"@\"",
        "KERNEL==\"sda\", ATTR{[block/sda]queue/read_ahead_kb}=\"@\"",
        "ATTR{*/read_ahead_kb}=\"@\"",
        "ATTR{queue/read_ahead_kb}=\"@$env{NOTHING}\"",
        "ATTR{queue/read_ahead_kb}=e\"@\"",
        "ATTR{queue/read_ahead_kb}=\"@\", \\\n  # between\n# between\n  ENV{C}=\"1\"",
        "ENV{A}=\"1\"",
        "ENV{B}=\"xy\"",
    ]);
    prop_oneof![
        6 => (matches(), others, how).prop_map(|(matches, others, how)| {
            Line::Sets(matches.into_iter().chain(others).collect(), how.to_owned())
        }),
        1 => (matches(), 0..3_u8).prop_map(|(matches, label)| Line::Jumps(matches, label)),
        1 => (0..3_u8).prop_map(Line::Labels),
        1 => Just(Line::Comment),
    ]
}

/// Formats a file in which each line that sets the read-ahead writes another number.
fn text(lines: &[Line], number: &mut u32) -> String {
    let mut text = String::new();
    for line in lines {
        match line {
            Line::Sets(tokens, how) => {
                *number += 4;
                let how = how.replace('@', &number.to_string());
                let tokens = tokens.iter().cloned().chain([how]);
                text += &tokens.collect::<Vec<_>>().join(", ");
            }
            Line::Jumps(matches, label) => {
                let jump = format!("GOTO=\"l{label}\"");
                let tokens = matches.iter().cloned().chain([jump]);
                text += &tokens.collect::<Vec<_>>().join(", ");
            }
            Line::Labels(label) => text += &format!("LABEL=\"l{label}\""),
            Line::Comment => text += "# nothing \\",
        }
        text.push('\n');
    }
    text
}

/// The rules of a file up to a line, for failure messages.
fn around(place: &Place) -> String {
    let text = std::fs::read_to_string(&place.file).unwrap();
    let lines: Vec<&str> = text.lines().take(place.line + 2).collect();
    lines.join("\n")
}

/// The values that were written to the read-ahead of each disk, according to udevd's log.
fn written(log: &str) -> BTreeMap<String, Vec<String>> {
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in log.lines() {
        let Some((before, value)) = line.split_once("read_ahead_kb' writing '") else {
            continue;
        };
        // `sda: FILE:LINE ATTR '...`
        let disk = before.split(": ").next().unwrap();
        let value = value.split('\'').next().unwrap();
        written
            .entry(disk.to_owned())
            .or_default()
            .push(value.to_owned());
    }
    written
}

/// The same in every run, but different for each kernel series.
fn seed() -> [u8; 32] {
    let mut seed = [7; 32];
    let release = read("/proc/sys/kernel/osrelease");
    let series = release.split(['.', '-']).take(2).collect::<String>();
    seed[..series.len()].copy_from_slice(series.as_bytes());
    seed
}

pub(super) fn what_is_judged_is_what_udevd_does() {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed()),
    );
    tell("modprobe dm-mod; modprobe loop");
    let (mut yes, mut no, mut perhaps, mut outcomes) = (0, 0, 0, 0);
    let files = drawn(FILES, PARTS);
    for udev in Udev::ALL {
        let udevd = Udevd::start(udev);
        tell("dmsetup create judged -u TEST-2 --table '0 2048 zero'");
        let listed = tell("ls /sys/class/block | grep -Ev '^nullb|^loop[1-9]'");
        let disks: Vec<String> = listed.lines().map(str::to_owned).collect();
        assert!(disks.len() >= 8, "{disks:?}");
        let kept: Vec<(String, String)> = disks
            .iter()
            .map(|disk| format!("/sys/class/block/{disk}/queue/read_ahead_kb"))
            .map(|path| (path.clone(), read(&path)))
            .collect();
        // Creates udev's database first, as it exists on a machine that has booted.
        udevd.trigger("add", &disks);

        let mut number = 100_000;
        for file in 0..files {
            let lines = proptest::collection::vec(any_line(), 1..6)
                .new_tree(&mut runner)
                .unwrap()
                .current();
            // Some come before the stock rules, some after them.
            let place = 5 + file * 90 / files;
            let path = format!("/run/udev/rules.d/{place:02}-x{file:03}.rules");
            std::fs::write(&path, text(&lines, &mut number)).unwrap();
        }
        udevd.reload();
        for action in [Action::Add, Action::Change] {
            let host = live();
            let rules = RuleFiles::read(&host).unwrap();
            let evaluator = Evaluator::new(&rules);
            let mut judged = Vec::new();
            for disk in &disks {
                let device = Device::block(&host, disk).unwrap().unwrap();
                let setters = evaluator.setters(&device, action);
                let outcome = evaluator.outcome(&device, action, "queue/read_ahead_kb");
                judged.push((disk, setters, outcome));
            }
            udevd.clear_log();
            udevd.trigger(action.name(), &disks);
            let written = written(&udevd.log());
            for (disk, setters, outcome) in judged {
                let really: Vec<&str> = written
                    .get(disk)
                    .into_iter()
                    .flatten()
                    .map(String::as_str)
                    .collect();
                let context = format!("{udev:?} {action} {disk}");
                let mut known = BTreeSet::new();
                let mut in_order = really.iter().copied();
                for setter in setters
                    .iter()
                    .filter(|setter| setter.attribute == "queue/read_ahead_kb")
                {
                    let value = setter
                        .value
                        .as_deref()
                        .unwrap_or_else(|| panic!("{context}: {setter}"));
                    known.insert(value);
                    match setter.certainty {
                        Certainty::Certain => {
                            yes += 1;
                            assert!(
                                in_order.any(|really| really == value),
                                "{context}: {setter} did not write, or not then: {}\n{}",
                                really.len(),
                                around(&setter.place)
                            );
                        }
                        Certainty::Perhaps(_) => perhaps += 1,
                    }
                }
                for value in &really {
                    let place = || tell(&format!("grep -rn '{value}' /run/udev/rules.d"));
                    assert!(
                        known.contains(value),
                        "{context}: {value} was written, by {}",
                        place()
                    );
                }
                no += usize::try_from(number - 100_000).unwrap() / 4 - known.len();
                if let Outcome::Set(setter) = outcome {
                    outcomes += 1;
                    let shown = read(&format!("/sys/class/block/{disk}/queue/read_ahead_kb"));
                    assert_eq!(setter.value, Some(shown), "{context}");
                }
            }
        }
        for (path, value) in kept {
            tell(&format!("echo {value} > {path}"));
        }
        tell("dmsetup remove judged");
        udevd.admin("settle --timeout=60");
    }
    println!(
        "{yes} certainly set, {no} certainly not, {perhaps} perhaps; {outcomes} disks at what was said"
    );
    // A test in which most results are uncertain would show nothing.
    assert!(
        yes > 500 / PARTS && outcomes > 10 / PARTS && no > 5 * perhaps,
        "{yes} {no} {perhaps}"
    );
}
