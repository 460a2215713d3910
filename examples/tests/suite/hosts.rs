//! Disks, processors and memory under the host profiles on stock kernels: set as requested, and reverted
//! exactly wherever the program was killed.

use std::fmt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hosttune::blockdev::udev::{Call, GeneratedRules};
use hosttune_test_machine::{
    At, Kills, Snapshot, Subtree, Udev, Udevd, ask, drawn, inside_stock_kernels, tell, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;

inside_stock_kernels!(
    gaming_tunes_disks_processors_and_memory_and_gives_them_back,
    killed_before_and_after_any_write_of_apply_then_revert_is_as_it_was,
    killed_before_and_after_any_write_of_revert_then_revert_is_as_it_was,
    a_disk_that_comes_is_tuned_while_it_is_watched_for,
    a_disk_that_comes_is_tuned_by_a_rule_of_udevs_that_calls_gaming,
    stages_are_applied_one_by_one_and_given_back_one_by_one,
    what_does_not_fit_is_refused_whole,
);

const GAMING: &str = env!("CARGO_BIN_EXE_gaming");
const SHOSHIN: &str = env!("CARGO_BIN_EXE_shoshin");
const APPLY: &[&str] = &[
    "apply", "--yes", "--only", "blockdev", "--only", "cpu", "--only", "memory",
];
const REVERT: &[&str] = &["revert", "--yes"];

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut program = Command::new(program);
    program
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn exits(code: i32, program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let typed = arguments.join(" ");
    assert_eq!(
        output.status.code(),
        Some(code),
        "{program} {typed}: {said}"
    );
    said
}

#[track_caller]
fn document(program: &str, arguments: &[&str]) -> Value {
    let said = run(program, &[arguments, &["--json"]].concat());
    serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// The SATA disk of the test machine, and the SCSI host of its port.
fn sata() -> (String, String) {
    let disk = tell(
        "for disk in /sys/block/sd*; do case $(readlink $disk) in */ata[0-9]*) basename $disk;; esac; done",
    );
    let place = tell(&format!("readlink /sys/block/{disk}"));
    let host = place.split('/').find(|segment| segment.starts_with("host"));
    (disk, host.unwrap().to_owned())
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}

fn active(disk: &str) -> String {
    let offered = read(format!("/sys/block/{disk}/queue/scheduler"));
    offered.split(['[', ']']).nth(1).unwrap().to_owned()
}

/// The NVMe devices with a request queue: with multipath the paths (`nvme0c0n1`), otherwise the namespaces.
fn nvme() -> Vec<String> {
    let all = tell("ls /sys/block | grep ^nvme");
    let paths: Vec<String> = all
        .lines()
        .filter(|name| name.trim_start_matches("nvme").contains('c'))
        .map(str::to_owned)
        .collect();
    if paths.is_empty() {
        all.lines().map(str::to_owned).collect()
    } else {
        paths
    }
}

/// Everything that these parts can change, side effects included.
fn there() -> Snapshot {
    Snapshot::of(&[
        Subtree::Sysctls,
        Subtree::BlockDevices,
        Subtree::Processors,
        Subtree::Memory,
        Subtree::Modules,
    ])
}

/// The original values of what the tests set before they begin; restored on drop.
struct AsFound(Vec<(String, String)>);

impl AsFound {
    fn note() -> Self {
        let choices = tell(
            "ls /sys/block/*/queue/scheduler /sys/kernel/mm/transparent_hugepage/enabled \
             /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
        );
        let choice = |path: &str| {
            let shown = read(path);
            let chosen = shown.split(['[', ']']).nth(1).unwrap_or(&shown);
            (path.to_owned(), chosen.to_owned())
        };
        Self(choices.lines().map(choice).collect())
    }
}

impl Drop for AsFound {
    fn drop(&mut self) {
        for (path, chosen) in &self.0 {
            // Switching to another scheduler in between resets the settings of the disk's queue.
            if path.ends_with("scheduler") {
                let _ = std::fs::write(path, "none");
            }
            let _ = std::fs::write(path, chosen);
        }
    }
}

/// Sets everything to values other than the requested ones, after swap was used once: Linux 6.1 records the
/// first swap of a boot permanently (`swap_slots_cache` in `cpu/hotplug/states`).
#[must_use]
fn untuned() -> AsFound {
    let as_found = AsFound::note();
    exits(0, GAMING, &["apply", "--yes", "--only", "memory"]);
    exits(0, GAMING, REVERT);
    let (sata, _) = sata();
    tell(&format!(
        "modprobe -a mq-deadline bfq cpufreq_performance cpufreq_powersave 2>/dev/null; \
         echo none > /sys/block/{sata}/queue/scheduler; \
         echo 77 > /sys/block/{sata}/queue/nr_requests; \
         echo always > /sys/kernel/mm/transparent_hugepage/enabled; \
         for governor in /sys/devices/system/cpu/cpufreq/policy*/scaling_governor; do echo powersave > $governor; done"
    ));
    for path in nvme() {
        tell(&format!("echo bfq > /sys/block/{path}/queue/scheduler"));
    }
    as_found
}

fn is_tuned(when: impl fmt::Display) {
    assert_eq!(active(&sata().0), "mq-deadline", "{when}");
    for path in nvme() {
        assert_eq!(active(&path), "none", "{when}: {path}");
    }
    let governors = tell("cat /sys/devices/system/cpu/cpufreq/policy*/scaling_governor");
    assert!(
        governors.lines().count() == 2 && governors.lines().all(|one| one == "performance"),
        "{when}: {governors}"
    );
    assert!(
        read("/sys/kernel/mm/transparent_hugepage/enabled").contains("[madvise]"),
        "{when}"
    );
    assert!(read("/proc/swaps").contains("zram"), "{when}");
    assert!(read("/sys/block/zram0/comp_algorithm").contains("[zstd]"));
}

fn gaming_tunes_disks_processors_and_memory_and_gives_them_back() {
    let _as_found = untuned();
    let before = there();
    let swaps = read("/proc/swaps");
    exits(0, GAMING, &["plan"]);
    before.is_still(&there(), "planned");
    exits(0, GAMING, APPLY);
    is_tuned("applied");
    exits(0, GAMING, &[&["verify"], &APPLY[2..]].concat());
    // A second apply changes nothing.
    let tuned = there();
    let again = document(GAMING, APPLY);
    assert_eq!(again["outcome"], "nothing-to-do", "{again:#}");
    tuned.is_still(&there(), "applied again");
    exits(0, GAMING, REVERT);
    before.is_still(&there(), "given back");
    assert_eq!(read("/proc/swaps"), swaps);
    assert!(!Path::new("/run/hosttune/gaming.journal").exists());
}

fn killed(arguments: &[&str], first: impl Fn()) {
    let _as_found = untuned();
    let before = there();
    let gaming = Kills {
        program: GAMING,
        arguments,
        at: At::EveryWrite,
        believable: 20,
        // Each kill costs a second here, and the crates for disks, processors and memory try every moment.
        parts: 12,
    };
    let kills = gaming.each(
        || {
            let _ = std::fs::remove_dir_all("/run/hosttune");
            first();
        },
        |when| {
            exits(0, GAMING, REVERT);
            before.is_still(&there(), when);
        },
    );
    println!("gaming {arguments:?}: killed {kills} times");
}

fn killed_before_and_after_any_write_of_apply_then_revert_is_as_it_was() {
    killed(APPLY, || {});
}

fn killed_before_and_after_any_write_of_revert_then_revert_is_as_it_was() {
    killed(REVERT, || drop(exits(0, GAMING, APPLY)));
}

fn a_disk_that_comes_is_tuned_while_it_is_watched_for() {
    tell("modprobe -a mq-deadline bfq");
    let (disk, host) = sata();
    let output = std::fs::File::create("/tmp/watched").unwrap();
    let mut watch = Command::new(GAMING)
        .args(["watch", "--yes", "--json", "--only", "blockdev"])
        .stdin(Stdio::null())
        .stdout(output)
        .spawn()
        .unwrap();
    let said = |disk: &str| -> Vec<String> {
        let text = std::fs::read_to_string("/tmp/watched").unwrap();
        let lines = text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line
        });
        lines
            .filter(|line| line["device"] == disk)
            .map(|line| line["event"].as_str().unwrap().to_owned())
            .collect()
    };
    wait_until("the disk that is there is looked at", || {
        !said(&disk).is_empty()
    });
    assert_eq!(active(&disk), "mq-deadline");
    let process = nix::unistd::Pid::from_raw(watch.id().try_into().unwrap());
    let send = |signal| nix::sys::signal::kill(process, signal).unwrap();
    for _ in 0..3 {
        let count = said(&disk).len();
        send(Signal::SIGSTOP);
        come_again(&disk, &host);
        send(Signal::SIGCONT);
        wait_until("the disk that came is looked at", || {
            said(&disk).len() > count
        });
        assert_eq!(active(&disk), "mq-deadline", "{:?}", said(&disk));
    }
    // A scheduler that the administrator sets stays, even after another event for the disk.
    tell(&format!(
        "echo none > /sys/block/{disk}/queue/scheduler; echo change > /sys/block/{disk}/uevent"
    ));
    // The program prints nothing, so there is nothing to wait for. On a slow machine this may miss a fault,
    // but it never fails without one.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(active(&disk), "none");
    assert!(watch.try_wait().unwrap().is_none(), "it still watches");
    send(Signal::SIGTERM);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    println!("{disk}: {:?}", said(&disk));
    // This is also the original scheduler of the hot-plugged disk.
    exits(0, GAMING, REVERT);
    assert_eq!(active(&disk), "none");
    assert!(!Path::new("/run/hosttune/gaming.journal").exists());
    give_back_default(&disk);
}

/// Sets the kernel's default scheduler for such a disk.
fn give_back_default(disk: &str) {
    tell(&format!(
        "echo mq-deadline > /sys/block/{disk}/queue/scheduler"
    ));
}

/// Removes the disk, rescans for it, and sets a scheduler other than the requested one.
///
/// The program that tunes disks must not run meanwhile: if it read the disk before that scheduler is set, it
/// would rightly do nothing more.
fn come_again(disk: &str, host: &str) {
    tell(&format!("echo 1 > /sys/block/{disk}/device/delete"));
    tell(&format!("echo '- - -' > /sys/class/scsi_host/{host}/scan"));
    // The rescan is asynchronous, and the file of the scheduler is there before it accepts a value.
    let scheduler = format!("/sys/block/{disk}/queue/scheduler");
    wait_until("the disk is there again", || {
        Path::new(&scheduler).exists() && ask(&format!("echo none > {scheduler}")).0
    });
    assert_eq!(active(disk), "none");
}

fn a_disk_that_comes_is_tuned_by_a_rule_of_udevs_that_calls_gaming() {
    tell("modprobe -a mq-deadline bfq");
    let (disk, host) = sata();
    // What calls gaming does not matter to it, so the check run takes one version.
    for udev in Udev::ALL.into_iter().take(drawn(Udev::ALL.len(), 2)) {
        let udevd = Udevd::start(udev);
        let own = GeneratedRules::new("gaming").call(Call::apply(GAMING));
        let path = format!("/run/udev/rules.d/{}", own.file_name().unwrap());
        std::fs::write(path, own.to_text().unwrap()).unwrap();
        udevd.reload();
        // Events for all disks at once; only one disk has to be set.
        tell(&format!("echo none > /sys/block/{disk}/queue/scheduler"));
        udevd.admin("trigger --action=add --subsystem-match=block");
        udevd.admin("settle --timeout=1200");
        assert_eq!(active(&disk), "mq-deadline", "{}", udevd.log());
        // udevd queues events until the disk has the other scheduler.
        udevd.admin("control --stop-exec-queue");
        come_again(&disk, &host);
        udevd.admin("control --start-exec-queue");
        udevd.admin("settle --timeout=1200");
        if active(&disk) != "mq-deadline" {
            // udevd was already processing the event: gaming found the requested scheduler, and the other one
            // was set after that. The new event comes after both.
            println!("told once more of {disk}");
            udevd.admin(&format!("trigger --action=add --sysname-match={disk}"));
        }
        wait_until("udev's rule has tuned the disk", || {
            active(&disk) == "mq-deadline"
        });
        udevd.admin("settle --timeout=1200");
        let log = udevd.log();
        assert!(!log.contains("failed with exit code"), "{log}");
        exits(0, GAMING, REVERT);
    }
    give_back_default(&disk);
}

fn stages_are_applied_one_by_one_and_given_back_one_by_one() {
    let _as_found = untuned();
    let before = there();
    exits(0, SHOSHIN, &["apply", "--yes", "--stage", "1"]);
    assert_eq!(read("/proc/sys/fs/inotify/max_user_instances"), "1024");
    assert_eq!(active(&sata().0), "none", "that is of the second stage");
    let first = there();
    exits(0, SHOSHIN, &["apply", "--yes", "--stage", "2"]);
    assert_eq!(active(&sata().0), "mq-deadline");
    exits(0, SHOSHIN, &["verify", "--stage", "2"]);
    exits(0, SHOSHIN, &["revert", "--yes", "--only", "stage-2"]);
    first.is_still(&there(), "the second stage was given back");
    exits(0, SHOSHIN, &["verify", "--stage", "1"]);
    exits(0, SHOSHIN, REVERT);
    before.is_still(&there(), "all was given back");
}

fn what_does_not_fit_is_refused_whole() {
    let _as_found = untuned();
    let before = there();
    // The machine has 1 GiB of memory, and 12 GiB of swap on zram are requested.
    let said = exits(3, SHOSHIN, &["apply", "--yes"]);
    assert!(
        said.contains("too large for") && said.contains("try:"),
        "{said}"
    );
    before.is_still(&there(), "refused");
    let said = exits(2, SHOSHIN, &["plan", "--stage", "4"]);
    assert!(said.contains("the stages are 1 to 3"), "{said}");
    let (disk, _) = sata();
    let partition = format!("/dev/{disk}1");
    let only = ["--only", "blockdev", "--device"];
    let said = exits(
        3,
        GAMING,
        &[&["apply", "--yes"], &only[..], &[&*partition]].concat(),
    );
    assert!(said.contains("not a block device"), "{said}");
    before.is_still(&there(), "refused");
}
