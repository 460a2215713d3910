//! Measures planning for captured trees of 100, 1,000 and 10,000 disks: time, memory, and time per disk.
//!
//! The limits are for 10,000 disks: 1 second of CPU time, which is the elapsed time on an otherwise idle
//! machine; 64 MB resident; and a time per disk that is at most twice that of 1,000 disks. The plan has one
//! step for each SATA SSD, a third of the disks. In `switched`, each of them also gets another scheduler, and
//! everything that depends on the scheduler is saved; there the limit is 1.5 seconds. The exit code is 1 if a
//! limit is exceeded.
//!
//! Each row is measured in separate processes, because the peak of resident memory is per process and never
//! falls.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that makes a tree, starts itself over it, and prints what it measures"
)]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode};

use hosttune_blockdev::{Attribute, Rule, Rules, Transport};
use hosttune_core::{Session, Tuning};

const COUNTS: [usize; 3] = [100, 1_000, 10_000];
const MOST_SECONDS: f64 = 1.0;
const MOST_SWITCHED: f64 = 1.5;
const MOST_MEGABYTES: f64 = 64.0;
/// The scheduler requested for the SATA SSDs, a third of the disks: the active one, another one, or one that
/// no disk has.
const WANTED: [&str; 3] = ["as it is", "switched", "missing"];
/// How much longer one disk may take among 10,000 than among 1,000, as a factor.
const MOST_GROWTH: f64 = 2.0;
/// Runs per row. The fastest one counts, because other processes have slowed down the others.
const RUNS: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, root, wanted] = arguments.as_slice()
        && word == "plan"
    {
        plan(Path::new(root), wanted);
        return ExitCode::SUCCESS;
    }
    // `cargo test --benches` only checks that it runs.
    let quick = arguments.iter().any(|word| word == "--test");
    let mut broken = Vec::new();
    println!(
        "{:>9} {:>7} {:>9} {:>12} {:>8}",
        "scheduler", "disks", "ms", "µs per disk", "MB"
    );
    let mut before = [None; WANTED.len()];
    for count in COUNTS {
        if quick && count > COUNTS[0] {
            break;
        }
        let tree = tempfile::tempdir().unwrap();
        make(tree.path(), count);
        for (wanted, before) in WANTED.into_iter().zip(&mut before) {
            let (seconds, megabytes) = measure(tree.path(), wanted);
            let each = seconds / count as f64;
            println!(
                "{wanted:>9} {count:>7} {:>9.1} {:>12.1} {megabytes:>8.1}",
                seconds * 1e3,
                each * 1e6
            );
            let most = if wanted == "switched" {
                MOST_SWITCHED
            } else {
                MOST_SECONDS
            };
            if seconds > most {
                broken.push(format!("{wanted}: {count} disks took {seconds:.2} s"));
            }
            if megabytes > MOST_MEGABYTES {
                broken.push(format!("{wanted}: {count} disks took {megabytes:.1} MB"));
            }
            if let Some(before) = *before
                && count > COUNTS[1]
                && each > before * MOST_GROWTH
            {
                broken.push(format!(
                    "{wanted}: one of {count} disks takes {:.1} times as long",
                    each / before
                ));
            }
            *before = Some(each);
        }
    }
    for line in &broken {
        println!("over the limit: {line}");
    }
    ExitCode::from(u8::from(!broken.is_empty()))
}

/// Returns the seconds of the fastest run, and the highest peak memory of all runs in MB.
fn measure(tree: &Path, wanted: &str) -> (f64, f64) {
    let mut best = f64::MAX;
    let mut most: f64 = 0.0;
    for _ in 0..RUNS {
        let this = std::env::current_exe().unwrap();
        let output = Command::new(this)
            .args(["plan", &tree.display().to_string(), wanted])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let said = String::from_utf8(output.stdout).unwrap();
        let mut words = said
            .split_whitespace()
            .map(|word| word.parse::<f64>().unwrap());
        best = best.min(words.next().unwrap());
        most = most.max(words.next().unwrap());
    }
    (best, most)
}

fn plan(root: &Path, wanted: &str) {
    let solid = match wanted {
        "as it is" => "mq-deadline",
        "switched" => "bfq",
        _ => "nonesuch",
    };
    let rules = Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .scheduler("none".parse().unwrap()),
        Rule::new("solid-state")
            .transport(Transport::Sata)
            .rotational(false)
            .scheduler(solid.parse().unwrap())
            .queue(Attribute::ReadAheadKb, 256),
        Rule::new("rotating")
            .rotational(true)
            .model("ST*".parse().unwrap())
            .size_at_least(1 << 30)
            .scheduler("mq-deadline".parse().unwrap()),
        Rule::new("nobody")
            .transport(Transport::Usb)
            .queue(Attribute::Nomerges, 2),
    ]);
    let session = Session::at(root, "bench")
        .unwrap()
        .with(hosttune_blockdev::knobs);
    let before = processor_time();
    let plan = rules.plan(&session).unwrap();
    let seconds = processor_time() - before;
    assert!(!plan.steps.is_empty());
    println!("{seconds} {}", peak());
}

/// The CPU time of this process in seconds.
fn processor_time() -> f64 {
    // In ns, of the main thread, which is the only one.
    let shown = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    let time: f64 = shown.split_whitespace().next().unwrap().parse().unwrap();
    time / 1e9
}

/// The peak resident memory of this process in MB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kilobytes / 1024.0
}

/// Creates a captured tree of which one third each are NVMe disks, SATA SSDs and rotating disks.
fn make(root: &Path, count: usize) {
    for directory in ["proc/sys", "sys/block", "sys/devices"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    for number in 0..count {
        let (name, device, model, rotational) = match number % 3 {
            0 => (
                format!("nvme{number}n1"),
                format!("pci0000:00/nvme/nvme{number}/nvme{number}n1"),
                "Samsung SSD 990",
                "0",
            ),
            1 => (
                letters(number),
                format!(
                    "pci0000:00/ata{number}/host{number}/target0:0:0/0:0:0:0/block/{}",
                    letters(number)
                ),
                "Samsung SSD 870",
                "0",
            ),
            _ => (
                letters(number),
                format!(
                    "pci0000:00/ata{number}/host{number}/target0:0:0/0:0:0:0/block/{}",
                    letters(number)
                ),
                "ST16000NM001G",
                "1",
            ),
        };
        let directory = root.join("sys/devices").join(&device);
        std::fs::create_dir_all(directory.join("queue/iosched")).unwrap();
        std::fs::create_dir_all(directory.join("device")).unwrap();
        std::fs::create_dir_all(directory.join("mq")).unwrap();
        symlink(
            Path::new("../devices").join(&device),
            root.join("sys/block").join(&name),
        )
        .unwrap();
        let scheduler = if number % 3 == 0 {
            "[none] mq-deadline kyber bfq"
        } else {
            "[mq-deadline] kyber bfq none"
        };
        let uevent = format!("MAJOR=8\nMINOR=0\nDEVNAME={name}\nDEVTYPE=disk\nDISKSEQ={number}");
        for (file, value) in [
            ("uevent", uevent.as_str()),
            ("size", "31251759104"),
            ("wwid", "eui.0025384b1140a5e1"),
            ("device/model", model),
            ("device/wwid", "naa.5000c500d5b3b3b3"),
            ("queue/rotational", rotational),
            ("queue/scheduler", scheduler),
            ("queue/nr_requests", "64"),
            ("queue/read_ahead_kb", "128"),
            ("queue/wbt_lat_usec", "75000"),
            ("queue/iosched/fifo_batch", "16"),
            ("queue/iosched/read_expire", "500"),
            ("queue/iosched/write_expire", "5000"),
            ("queue/iosched/front_merges", "1"),
            ("queue/iosched/writes_starved", "2"),
            ("queue/iosched/prio_aging_expire", "10000"),
            ("queue/iosched/async_depth", "64"),
        ] {
            std::fs::write(directory.join(file), format!("{value}\n")).unwrap();
        }
    }
}

/// `sda`, …, `sdz`, `sdaa`, …
fn letters(number: usize) -> String {
    let mut left = number + 1;
    let mut name = Vec::new();
    while left > 0 {
        left -= 1;
        name.push(b'a' + u8::try_from(left % 26).unwrap());
        left /= 26;
    }
    name.reverse();
    format!("sd{}", String::from_utf8(name).unwrap())
}
