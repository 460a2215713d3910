//! The fake compared with the kernel: after the same writes, both show the same.

use hosttune_blockdev::testing::{Linux, MemoryDisk, with_disk};
use hosttune_blockdev::{Attribute, Disk, Transport};
use hosttune_core::testing::Memory;
use hosttune_test_machine::drawn;

use super::machine::{get, scheduled, set, with_all_disks};

const SHOWN: [&str; 9] = [
    "nr_requests",
    "async_depth",
    "wbt_lat_usec",
    "rq_affinity",
    "nomerges",
    "add_random",
    "iostats",
    "max_sectors_kb",
    "read_ahead_kb",
];

fn linux() -> Linux {
    if get("/proc/sys/kernel/osrelease").starts_with("6.1.") {
        Linux::V6_1
    } else {
        Linux::V7_2
    }
}

/// The disk in its initial state: without a scheduler, and with default values.
fn fake_of(disk: &Disk) -> Memory {
    let queue = format!("/sys/block/{disk}/queue");
    let number = |file: &str| get(&format!("{queue}/{file}")).parse::<u64>().unwrap();
    let spec = MemoryDisk {
        rotational: disk.rotational.unwrap(),
        tags: Some(number("nr_requests")),
        max_hw_sectors_kb: number("max_hw_sectors_kb"),
        max_sectors_kb: number("max_sectors_kb"),
        read_ahead_kb: number("read_ahead_kb"),
        // On rotating disks, newer kernels show their own guess.
        optimal_io_kb: if disk.rotational == Some(true) {
            0
        } else {
            number("optimal_io_size") / 1024
        },
        scheduler: "none",
        ..MemoryDisk::scsi(disk.name.as_str(), "ata1/host1", false, 1)
    };
    let memory = with_disk(Memory::new(), linux(), &spec);
    for file in [
        "add_random",
        "iostats",
        "rq_affinity",
        "nomerges",
        "wbt_lat_usec",
    ] {
        let path = format!("/sys/block/{disk}/queue/{file}");
        let at = format!("/sys/devices/{}/queue/{file}", spec.device);
        assert!(memory.get(&at).is_some(), "{at}");
        memory.change(|tree| tree.set(&at, &get(&path)));
    }
    // Once `wbt_lat_usec` has been set, bfq leaves it unchanged. No file shows that, so bfq is tried.
    if linux() >= Linux::V7_2 {
        set(&format!("{queue}/scheduler"), "bfq").unwrap();
        if get(&format!("{queue}/wbt_lat_usec")) != "0" {
            let unseen = format!("{}/{disk}/wbt", hosttune_blockdev::testing::UNSEEN);
            memory.change(|tree| tree.set(unseen, "manual"));
        }
        set(&format!("{queue}/scheduler"), "none").unwrap();
    }
    // The fake lists the schedulers in the kernel's order, which depends on the order of the modules.
    let shown = get(&format!("{queue}/scheduler"));
    let names: Vec<&str> = shown
        .split_whitespace()
        .filter(|word| !word.contains("none"))
        .collect();
    hosttune_blockdev::testing::offer(&memory, disk.name.as_str(), &names);
    memory
}

fn show(memory: &Memory, disk: &Disk, file: &str) -> Option<String> {
    let device = MemoryDisk::scsi(disk.name.as_str(), "ata1/host1", false, 1).device;
    memory.get(format!("/sys/devices/{device}/queue/{file}"))
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

const SCHEDULERS: [&str; 14] = [
    "none",
    "mq-deadline",
    "deadline",
    "bfq",
    "kyber",
    " none ",
    "none ",
    " mq-deadline",
    "nonesuch",
    "noop",
    "NONE",
    "bfq x",
    "\t",
    "kyber",
];

const VALUES: [&str; 30] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "7",
    "9",
    "16",
    "31",
    "32",
    "64",
    "65",
    "100",
    "127",
    "250",
    "512",
    "1280",
    "2049",
    "5000",
    "32768",
    "4294967295",
    "4294967296",
    "-1",
    "-2",
    "+5",
    " 5",
    "5 ",
    "x",
    "0x10",
];

/// For tunables, only numbers that all kernels parse in the same base.
const NUMBERS: [&str; 9] = ["0", "1", "2", "5", "8", "100", "1000", "8500", "x"];

/// Writes per disk.
const WRITES: usize = 70;

pub(crate) fn the_fake_answers_as_the_kernel() {
    with_all_disks();
    let mut writes = 0;
    for disk in scheduled() {
        let queue = format!("/sys/block/{disk}/queue");
        let before = get(&format!("{queue}/scheduler"));
        let originals: Vec<(String, String)> = SHOWN
            .iter()
            .map(|file| format!("{queue}/{file}"))
            .filter_map(|path| {
                Some((
                    path.clone(),
                    std::fs::read_to_string(&path).ok()?.trim().to_owned(),
                ))
            })
            .collect();
        // A switch restores the defaults.
        for scheduler in ["mq-deadline", "none"] {
            set(&format!("{queue}/scheduler"), scheduler).unwrap();
        }
        let memory = fake_of(&disk);
        let mut numbers = Numbers(7);
        let mut history = Vec::new();
        for _ in 0..drawn(WRITES, 3) {
            let tunables: Vec<String> = std::fs::read_dir(format!("{queue}/iosched"))
                .map(|entries| {
                    let mut names: Vec<String> = entries
                        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                        .collect();
                    names.sort();
                    names
                })
                .unwrap_or_default();
            let (file, value) = match numbers.below(8) {
                0 | 1 => ("scheduler".to_owned(), numbers.of(&SCHEDULERS)),
                2 | 3 if !tunables.is_empty() => {
                    let name = &tunables[numbers.below(tunables.len())];
                    (format!("iosched/{name}"), numbers.of(&NUMBERS))
                }
                4 | 5 => ("nr_requests".to_owned(), numbers.of(&VALUES)),
                _ => (numbers.of(&SHOWN).to_owned(), numbers.of(&VALUES)),
            };
            if show(&memory, &disk, &file).is_none() {
                continue;
            }
            let answer = set(&format!("{queue}/{file}"), &format!("{value}\n"));
            let doubled = memory.write(format!("/sys/block/{disk}/queue/{file}"), value);
            writes += 1;
            history.push(format!("{file}={value:?}"));
            let when = || {
                format!(
                    "{disk} ({} {:?}): {}",
                    disk.transport,
                    disk.rotational,
                    history.join(", ")
                )
            };
            assert_eq!(answer, doubled, "{}", when());
            let shown = SHOWN
                .iter()
                .map(|file| (*file).to_owned())
                .chain(std::iter::once("scheduler".to_owned()))
                .chain(tunables.iter().map(|name| format!("iosched/{name}")));
            for file in shown {
                let real = std::fs::read_to_string(format!("{queue}/{file}")).ok();
                let real = real.map(|text| text.trim().to_owned());
                assert_eq!(show(&memory, &disk, &file), real, "{file} after {}", when());
            }
        }
        let active = before.split(['[', ']']).nth(1).unwrap();
        set(&format!("{queue}/scheduler"), active).unwrap();
        for (path, value) in originals {
            if get(&path) != value {
                set(&path, &value).unwrap();
            }
        }
    }
    println!("{writes} writes");
    assert!(writes > 4 * drawn(WRITES, 3), "{writes}");
}

/// The value that a plan predicts for each attribute, compared with what the kernel shows.
pub(crate) fn attributes_make_of_values_what_is_predicted() {
    with_all_disks();
    let disks = scheduled();
    let disk = disks
        .iter()
        .find(|disk| disk.transport == Transport::Scsi)
        .unwrap();
    let queue = format!("/sys/block/{disk}/queue");
    let before = get(&format!("{queue}/scheduler"));
    // Newer kernels raise the read-ahead along with other limits, and never lower it again.
    let read_ahead = get(&format!("{queue}/read_ahead_kb"));
    set(&format!("{queue}/scheduler"), "mq-deadline").unwrap();
    let most: u64 = get(&format!("{queue}/max_hw_sectors_kb")).parse().unwrap();
    for attribute in Attribute::ALL {
        let path = format!("{queue}/{}", attribute.file());
        let Ok(original) = std::fs::read_to_string(&path) else {
            assert!(
                attribute == Attribute::AsyncDepth && linux() == Linux::V6_1,
                "{attribute}"
            );
            println!("this kernel has no {attribute}");
            continue;
        };
        let mut refused = 0;
        for value in [
            0,
            1,
            2,
            3,
            4,
            5,
            7,
            9,
            64,
            65,
            127,
            1281,
            2048,
            32_768,
            999_999,
            4_294_967_296,
        ] {
            let Ok(predicted) = attribute.predict(value, 4, Some(most)) else {
                refused += 1;
                continue;
            };
            // The knob clamps to the limit of the device before it writes.
            let written = if attribute == Attribute::MaxSectorsKb {
                value.min(most)
            } else {
                value
            };
            match set(&path, &written.to_string()) {
                Ok(()) if attribute == Attribute::AsyncDepth => {
                    let requests: u64 = get(&format!("{queue}/nr_requests")).parse().unwrap();
                    assert_eq!(
                        get(&path),
                        predicted.min(requests).to_string(),
                        "{attribute} {value}"
                    );
                }
                Ok(()) => assert_eq!(get(&path), predicted.to_string(), "{attribute} {value}"),
                Err(errno) => {
                    assert!(
                        attribute == Attribute::NrRequests && value > 2048,
                        "{attribute} {value}: {errno}"
                    );
                }
            }
        }
        println!("{attribute}: {refused} refused beforehand");
        set(&path, original.trim()).unwrap();
    }
    let active = before.split(['[', ']']).nth(1).unwrap();
    set(&format!("{queue}/scheduler"), active).unwrap();
    set(&format!("{queue}/read_ahead_kb"), &read_ahead).unwrap();
}
