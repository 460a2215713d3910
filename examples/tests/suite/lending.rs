//! `toaster`: what it refuses and prints on captured trees, and a card really lent in the test machine.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hosttune_test_machine::{
    Random, Snapshot, Stop, Subtree, Traced, Udev, Udevd, ask, drawn, inside_stock_kernels, tell,
};
use serde_json::Value;

inside_stock_kernels!(
    a_card_is_lent_to_the_guest_and_comes_back,
    udev_lends_the_card_by_the_rule,
    loans_killed_at_random_moments_all_come_back,
);

/// The display of the test machine is its only one, and the text console is drawn on it.
const CONSENT: &str = "only-gpu,console";

const TOASTER: &str = env!("CARGO_BIN_EXE_toaster");

fn toaster(arguments: &[&str]) -> Output {
    let mut program = Command::new(TOASTER);
    program
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn exits(code: i32, arguments: &[&str]) -> String {
    let output = toaster(arguments);
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let typed = arguments.join(" ");
    assert_eq!(output.status.code(), Some(code), "toaster {typed}: {said}");
    said
}

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn function(root: &Path, address: &str, ids: [&str; 2], class: &str, driver: &str) {
    let directory = format!("sys/devices/pci0000:00/0000:00:01.0/{address}");
    for (name, value) in [("vendor", ids[0]), ("device", ids[1]), ("class", class)] {
        write(root, &format!("{directory}/{name}"), &format!("{value}\n"));
    }
    let link = |target: String, name: &str| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    };
    link(
        format!("../../../devices/pci0000:00/0000:00:01.0/{address}"),
        &format!("sys/bus/pci/devices/{address}"),
    );
    link(
        format!("../../../../bus/pci/drivers/{driver}"),
        &format!("{directory}/driver"),
    );
    link(
        "../../../../kernel/iommu_groups/14".to_owned(),
        &format!("{directory}/iommu_group"),
    );
}

/// A captured tree with the graphics card, or with another one.
fn tree(device: &str) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    write(root, "proc/sys/kernel/osrelease", "6.12.0\n");
    write(root, "proc/modules", "");
    write(root, "sys/class/iommu/ivhd0/devices", "");
    write(root, "sys/bus/pci/drivers/vfio-pci/bind", "");
    write(root, "sys/devices/system/cpu/online", "0-11\n");
    let groups = "sys/fs/cgroup";
    write(
        root,
        &format!("{groups}/cgroup.controllers"),
        "cpuset cpu\n",
    );
    write(
        root,
        &format!("{groups}/cgroup.subtree_control"),
        "cpuset cpu\n",
    );
    write(root, &format!("{groups}/machine.slice/cpuset.cpus"), "\n");
    write(
        root,
        &format!("{groups}/machine.slice/cpuset.cpus.partition"),
        "member\n",
    );
    function(
        root,
        "0000:0d:00.0",
        ["0x10de", device],
        "0x030000",
        "nouveau",
    );
    function(
        root,
        "0000:0d:00.1",
        ["0x10de", "0x22ba"],
        "0x040300",
        "snd_hda_intel",
    );
    tree
}

#[test]
fn on_a_captured_tree_toaster_shows_and_changes_nothing() {
    let tree = tree("0x2684");
    let root = tree.path().to_str().unwrap();
    let on = |arguments: &[&str], code| exits(code, &[&["--root", root], arguments].concat());
    let said = on(&["plan"], 3);
    assert!(said.contains("consent to only-gpu"), "{said}");
    // What is decided of each function, before the reasons.
    let verdict = "audio device [10de:22ba] at 0000:0d:00.1 lent: it is the same card";
    assert!(said.contains(verdict), "{said}");
    let said = on(&["plan", "--persist", "--only", "boot"], 3);
    assert!(said.contains("--consent only-gpu"), "{said}");
    let said = on(&["lend", "--consent", "only-gpu"], 3);
    assert!(
        said.contains("drivers are bound by a running kernel"),
        "{said}"
    );
    let said = on(&["return", "windows11"], 0);
    assert!(said.contains("nothing to revert"), "{said}");
    let said = on(&["guest", "--libvirt"], 0);
    assert!(
        said.contains("bus='0x0d' slot='0x00' function='0x1'"),
        "{said}"
    );
    let said = on(
        &[
            "guest",
            "--screen",
            "7680x4320",
            "--looking-glass",
            "b7-hdr",
        ],
        0,
    );
    assert!(said.contains("0000:0d:00.0, 0000:0d:00.1"), "{said}");
    assert!(said.contains("1024 MiB"), "{said}");
    // The pages that lend sets aside are the guest's memory, also with the hook.
    let pages = ["guest", "--with", "huge-pages"];
    let said = on(&[&pages[..], &["--libvirt"]].concat(), 0);
    assert!(said.contains("<hugepages>"), "{said}");
    let said = on(&[&pages[..], &["--hook"]].concat(), 0);
    assert!(said.contains(" lend '--with' 'huge-pages'"), "{said}");
    // Eight of twelve cores, without that of processor 0, and the texts of the guest pin its cores to them.
    let cpuset = ["--with", "cpuset"];
    let said = on(&[&["plan"], &cpuset[..]].concat(), 3);
    let words: Vec<&str> = said.split_whitespace().collect();
    let said = words.join(" ");
    assert!(
        said.contains("processors 4-11 are for what runs in /machine.slice"),
        "{said}"
    );
    let said = on(&[&["guest", "--libvirt"], &cpuset[..]].concat(), 0);
    assert!(said.contains("<vcpupin vcpu='7' cpuset='11'/>"), "{said}");
    let listed = ["--processors", "2-9"];
    let said = on(&[&["guest", "--hook"], &cpuset[..], &listed].concat(), 0);
    assert!(said.contains(" '--processors' '2-9'"), "{said}");
    let few = ["--processors", "2-5"];
    let said = on(&[&["plan"], &cpuset[..], &few].concat(), 3);
    assert!(said.contains("the guest has 8 cores"), "{said}");
    // What the guest shares is locked as well.
    let screen = ["--screen", "7680x4320", "--looking-glass", "b7-hdr"];
    let said = on(&[&["plan"], &screen[..]].concat(), 3);
    let words: Vec<&str> = said.split_whitespace().collect();
    let said = words.join(" ");
    assert!(said.contains("the guest locks 17408 MiB"), "{said}");
    let said = toaster(&["--root", root, "guest", "--json"]);
    let document: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(document["shared_memory"]["size_mib"], 128);
    assert_eq!(document["memory_mib"], 16_384);
    // lend and return have taken the lock, and that is all.
    assert!(!tree.path().join("etc").exists());
    let left = tree
        .path()
        .join("sys/devices/pci0000:00/0000:00:01.0/0000:0d:00.0/driver");
    assert!(std::fs::read_link(left).unwrap().ends_with("nouveau"));
    let journals = std::fs::read_dir(tree.path().join("run/hosttune")).unwrap();
    let names: Vec<_> = journals.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["lock"]);
}

#[test]
fn another_card_is_not_taken_for_the_guests() {
    let tree = tree("0x2704");
    let root = tree.path().to_str().unwrap();
    for command in ["plan", "lend", "guest"] {
        let said = exits(3, &["--root", root, command]);
        assert!(said.contains("no PCI device matches 10de:2684"), "{said}");
        assert!(said.contains("lspci -Dnn"), "{said}");
    }
    let at = ["--root", root, "guest", "--gpu", "10de:2684@0000:0d:00.0"];
    let said = exits(3, &at);
    assert!(
        said.contains("wanted ids 10de:2684, found 10de:2704"),
        "{said}"
    );
    let at = ["--root", root, "guest", "--gpu", "10de:2704@0000:0d:00.0"];
    let _ = exits(0, &at);
}

#[test]
fn a_wrong_option_is_refused_with_what_to_type() {
    for (arguments, says) in [
        (&["lend", "--gpu", "nvidia"][..], "10de:2684"),
        (&["lend", "--gpu", "10de:2684@0d:00.0"], "0000:0d:00.0"),
        (&["lend", "--gpu", "10de:2684@0000:0d:00"], "0000:0d:00.0"),
        (&["lend", "--consent", "everything"], "only-gpu"),
        (&["guest", "--screen", "4k"], "3840x2160"),
        (&["lend", "--processors", "8-"], "such as 2-7,10"),
        (&["lend", "--control-group", "../.."], "machine.slice"),
        (&["guest", "--looking-glass", "b6"], "b7-hdr"),
        (&["lend", "windows10"], "nearest: windows11"),
    ] {
        let said = exits(2, arguments);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

/// libvirt runs the hook as root: who can change the program is root with the next start of the guest.
#[test]
fn a_hook_with_a_program_that_others_can_change_is_warned_of() {
    let tree = tree("0x2684");
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("toaster");
    std::fs::copy(TOASTER, &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o777)).unwrap();
    let hook = |asks: &[&str]| {
        let mut program = Command::new(&copy);
        let program = program.arg("--root").arg(tree.path()).args(asks);
        let output = program.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let texts = [output.stdout, output.stderr];
        texts.map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let [script, warning] = hook(&["guest", "--hook"]);
    assert!(script.starts_with("#!/bin/sh\n"), "{script}");
    assert!(script.contains(copy.to_str().unwrap()), "{script}");
    assert!(warning.contains("would run"), "{warning}");
    assert!(warning.contains("/usr/local/bin"), "{warning}");
    let [_, warning] = hook(&["guest", "--libvirt"]);
    assert_eq!(warning, "");
}

/// The driver that is bound to a function; nothing if there is none.
fn driver(address: &str) -> String {
    let link = std::fs::read_link(format!("/sys/bus/pci/devices/{address}/driver"));
    let name = link
        .ok()
        .and_then(|path| path.file_name().map(ToOwned::to_owned));
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// The display of the test machine and the audio function in its slot, which are like a card.
fn card() -> [String; 2] {
    let display = tell("basename $(dirname $(grep -l 0x1111 /sys/bus/pci/devices/*/device))");
    let audio = display.replace(".0", ".1");
    [display, audio]
}

fn there() -> Snapshot {
    Snapshot::of(&[Subtree::PciDevices, Subtree::Modules])
}

fn a_card_is_lent_to_the_guest_and_comes_back() {
    let [display, audio] = card();
    let drivers = [driver(&display), driver(&audio)];
    assert_eq!(drivers[1], "snd_hda_intel");
    let before = there();
    let gpu = format!("1234:1111@{display}");
    let said = exits(3, &["lend", "--gpu", &gpu]);
    assert!(said.contains("consent to only-gpu"), "{said}");
    before.is_still(&there(), "after a refusal");

    let lend = ["lend", "--gpu", &gpu, "--consent", CONSENT, "windows11"];
    let given = &["return", "windows11"];
    let _ = exits(0, &lend);
    assert_eq!([driver(&display), driver(&audio)], ["vfio-pci", "vfio-pci"]);
    let said = exits(0, &lend);
    assert!(said.contains("nothing to do"), "{said}");
    let _ = exits(0, &["verify", "--gpu", &gpu, "--consent", CONSENT]);
    let said = exits(0, &["guest", "--gpu", &gpu, "--qemu"]);
    assert!(said.contains(&format!("vfio-pci,host={audio}")), "{said}");
    let _ = exits(0, given);
    assert_eq!([driver(&display), driver(&audio)], drivers);
    before.is_still(&there(), "after the guest");

    // Killed at some of the stops before and after changes of the host or of the journal, until it has none
    // left. All of them, on a fake, are in the laws of crates/vfio.
    let mut kills = 0;
    for number in (5..).step_by(19) {
        let mut traced = Traced::start_at_changes(TOASTER, &lend).unwrap();
        let mut stops = 0;
        let ended = loop {
            match traced.step() {
                Stop::Ended(code) => break Some(code),
                Stop::Enters | Stop::Leaves => stops += 1,
            }
            if stops == number {
                break None;
            }
        };
        if ended.is_none() {
            traced.kill();
            kills += 1;
        }
        let _ = exits(0, given);
        before.is_still(&there(), format!("killed at stop {number}"));
        if let Some(code) = ended {
            assert_eq!(code, 0, "stop {number}");
            break;
        }
    }
    assert!(kills >= 3, "killed only {kills} times");
    println!("killed {kills} times");
}

/// Devices without a driver, as they are when udev reads its rules at boot.
fn udev_lends_the_card_by_the_rule() {
    let [display, audio] = card();
    let drivers = [driver(&display), driver(&audio)];
    let udevd = Udevd::start(Udev::Backports);
    let before = there();
    let gpu = format!("1234:1111@{display}");
    let options = ["--persist", "--gpu", &gpu, "--consent", CONSENT];
    let apply = ["apply", "--yes", "--only", "boot"];
    let _ = exits(0, &[&apply[..], &options].concat());
    before.is_still(&there(), "with the rule");
    let unbind = |address: &str| {
        let file = format!("/sys/bus/pci/devices/{address}/driver/unbind");
        std::fs::write(file, address).unwrap();
    };
    unbind(&audio);
    unbind(&display);
    udevd.reload();
    let devices = format!("/sys/bus/pci/devices/{display} /sys/bus/pci/devices/{audio}");
    let _ = udevd.admin(&format!("trigger --action=add {devices}"));
    let _ = udevd.admin("settle --timeout=120");
    let log = udevd.log();
    assert_eq!(
        [driver(&display), driver(&audio)],
        ["vfio-pci", "vfio-pci"],
        "{log}"
    );
    let _ = exits(0, &[&["verify"][..], &options].concat());
    let said = exits(0, &["lend", "--gpu", &gpu, "--consent", CONSENT]);
    assert!(said.contains("nothing to do"), "{said}");
    let _ = exits(0, &["revert", "--yes"]);
    assert!(!Path::new("/etc/udev/rules.d/61-hosttune-toaster.rules").exists());
    // What the next boot does.
    for (address, name) in [(&display, &drivers[0]), (&audio, &drivers[1])] {
        unbind(address);
        let file = format!("/sys/bus/pci/devices/{address}/driver_override");
        std::fs::write(file, "\n").unwrap();
        std::fs::write(format!("/sys/bus/pci/drivers/{name}/bind"), address).unwrap();
    }
    for module in ["vfio_pci", "vfio_iommu_type1", "vfio_virqfd", "irqbypass"] {
        let _ = ask(&format!("modprobe -rq {module}"));
    }
    drop(udevd);
    before.is_still(&there(), "without the rule");
}

/// How many loans scripts/soak makes; each takes seconds under emulation.
const LOANS: usize = 50;

/// The console is on the framebuffer of the display's own driver.
fn console() -> String {
    let consoles = ask("grep -l 'frame buffer' /sys/class/vtconsole/*/name").1;
    ask("cat /proc/fb").1 + &consoles
}

/// The program is killed between its first instruction and its end, on the way out or on the way back, and
/// the next one hands the card back. While it is lent, the group is opened as a virtual machine does.
fn loans_killed_at_random_moments_all_come_back() {
    let [display, audio] = card();
    let (before, shown) = (there(), console());
    assert!(!shown.trim().is_empty(), "no framebuffer console");
    let gpu = format!("1234:1111@{display}");
    let lend = ["lend", "--gpu", &gpu, "--consent", CONSENT, "windows11"];
    let given = ["return", "windows11"];
    let start = |arguments: &[&str]| {
        let mut program = Command::new(TOASTER);
        program
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    // How long an undisturbed loan and return take here.
    let begun = std::time::Instant::now();
    let _ = exits(0, &lend);
    let lent_within = begun.elapsed();
    let begun = std::time::Instant::now();
    let _ = exits(0, &given);
    let returned_within = begun.elapsed();
    before.is_still(&there(), "after the first loan");

    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let (mut killed, mut lent, mut back) = (0, 0, 0);
    let loans = drawn(LOANS, 10);
    for loan in 0..loans {
        let is_returning = loan % 2 == 1;
        if is_returning {
            let _ = exits(0, &lend);
            let group = std::fs::read_link(format!("/sys/bus/pci/devices/{audio}/iommu_group"));
            let group = group.unwrap().file_name().unwrap().to_owned();
            let node = Path::new("/dev/vfio").join(group);
            let open = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(node);
            drop(open.unwrap());
            lent += 1;
        }
        let within = if is_returning {
            returned_within
        } else {
            lent_within
        };
        let most = u64::try_from(within.as_micros()).unwrap_or(u64::MAX).max(1);
        let mut program = start(if is_returning { &given[..] } else { &lend });
        // The first one at once: of few, all of the others may have ended before.
        if loan > 0 {
            std::thread::sleep(Duration::from_micros(random.below(most)));
        }
        if program.try_wait().unwrap().is_none() {
            program.kill().unwrap();
            killed += 1;
        }
        program.wait().unwrap();
        let said = exits(0, &given);
        before.is_still(&there(), format!("loan {loan}: {said}"));
        assert_eq!(console(), shown, "loan {loan}");
        back += 1;
    }
    println!("{back} of {loans} loans came back, {killed} killed, {lent} of them lent before");
    assert!(killed > 0 && back == loans, "{killed} killed");
}
