//! Which cores a guest is given.

use hosttune_core::Host;
use hosttune_core::testing::{Behaviour, CrashPoint, Memory};
use hosttune_cpu::kept_free::{Core, Cores, ProcessorList};
use proptest::prelude::*;

use super::machine::cases;

fn list(text: &str) -> ProcessorList {
    text.parse().unwrap()
}

/// A host: for each core its processors, the processors of its cache and its node.
fn cores(online: &str, of: &[(&str, &str, u32)]) -> Cores {
    let any = Behaviour::takes_all;
    let directory = "/sys/devices/system";
    let mut memory = Memory::new().file(format!("{directory}/cpu/online"), online, any());
    let mut nodes: Vec<Vec<u32>> = vec![Vec::new(); 2];
    for (processors, cache, node) in of {
        for number in list(processors).iter() {
            let of_cpu = format!("{directory}/cpu/cpu{number}");
            let threads = format!("{of_cpu}/topology/core_cpus_list");
            let shared = format!("{of_cpu}/cache/index3/shared_cpu_list");
            memory = memory
                .file(threads, processors, any())
                .file(shared, cache, any());
            nodes[*node as usize].push(number);
        }
    }
    for (number, processors) in nodes
        .into_iter()
        .enumerate()
        .filter(|(_, of)| !of.is_empty())
    {
        let processors: ProcessorList = processors.into_iter().collect();
        let file = format!("{directory}/node/node{number}/cpulist");
        memory = memory.file(file, &processors.to_string(), any());
    }
    Cores::read(&Host::new(memory.host(&CrashPoint::lives()))).unwrap()
}

fn chosen(cores: &Cores, count: usize, node: Option<u32>) -> Result<String, String> {
    let processors = |found: Vec<Core>| -> ProcessorList {
        let all = found.iter().flat_map(|core| core.processors.iter());
        all.collect()
    };
    let found = cores.choose(count, node).map(processors);
    found
        .map(|list| list.to_string())
        .map_err(|why| why.to_string())
}

/// Sixteen cores with two threads each, in two caches: a Ryzen 9 5950X.
fn ryzen() -> Cores {
    let texts: Vec<(String, &str)> = (0..16)
        .map(|core| {
            (
                format!("{core},{}", core + 16),
                if core < 8 { "0-7,16-23" } else { "8-15,24-31" },
            )
        })
        .collect();
    let of: Vec<(&str, &str, u32)> = texts
        .iter()
        .map(|(text, cache)| (text.as_str(), *cache, 0))
        .collect();
    cores("0-31", &of)
}

#[test]
fn a_guest_is_given_cores_that_share_a_cache() {
    assert_eq!(chosen(&ryzen(), 8, None).unwrap(), "8-15,24-31");
    assert_eq!(chosen(&ryzen(), 2, None).unwrap(), "14-15,30-31");
    // No cache has so many: the highest ones.
    assert_eq!(chosen(&ryzen(), 10, None).unwrap(), "6-15,22-31");
    assert_eq!(chosen(&ryzen(), 15, None).unwrap(), "1-15,17-31");
    let why = chosen(&ryzen(), 16, None).unwrap_err();
    assert!(why.contains("has 15 beside that of processor 0"), "{why}");
    assert!(chosen(&ryzen(), 0, None).is_err());
    let parts = ryzen().share(&list("8-15,24-31"), 8).unwrap();
    assert_eq!(parts[0].to_string(), "8,24");
    assert_eq!(parts[7].to_string(), "15,31");
    // Four cores for a guest with eight: each of its cores gets a thread.
    let parts = ryzen().share(&list("8-11,24-27"), 8).unwrap();
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    assert_eq!(parts, ["8", "9", "10", "11", "24", "25", "26", "27"]);
    for (of, says) in [("8-11", "are 4"), ("30-33", "32-33 are not online")] {
        let why = ryzen().share(&list(of), 8).unwrap_err();
        assert!(why.to_string().contains(says), "{why}");
        assert!(why.hint.is_some());
    }
}

#[test]
fn the_node_of_the_devices_comes_first() {
    let two = cores(
        "0-7",
        &[
            ("0", "0-3", 0),
            ("1", "0-3", 0),
            ("2", "0-3", 0),
            ("3", "0-3", 0),
            ("4", "4-7", 1),
            ("5", "4-7", 1),
            ("6", "4-7", 1),
            ("7", "4-7", 1),
        ],
    );
    assert_eq!(chosen(&two, 2, None).unwrap(), "6-7");
    assert_eq!(chosen(&two, 2, Some(0)).unwrap(), "2-3");
    assert_eq!(chosen(&two, 3, Some(0)).unwrap(), "1-3");
    // The node has three beside that of processor 0: another cache has enough.
    assert_eq!(chosen(&two, 4, Some(0)).unwrap(), "4-7");
    assert_eq!(chosen(&two, 5, Some(0)).unwrap(), "1-3,6-7");
}

/// An emulated processor shows no cache, and a thread may be offline.
#[test]
fn what_the_kernel_does_not_show_is_not_needed() {
    let memory = Memory::new().file(
        "/sys/devices/system/cpu/online",
        "0-2",
        Behaviour::takes_all(),
    );
    let plain = Cores::read(&Host::new(memory.host(&CrashPoint::lives()))).unwrap();
    assert_eq!(chosen(&plain, 2, Some(3)).unwrap(), "1-2");
    let offline = cores("0-2", &[("0,2", "0-3", 0), ("1,3", "0-3", 0)]);
    assert_eq!(chosen(&offline, 1, None).unwrap(), "1");
    assert!(chosen(&offline, 2, None).is_err());
    let none = Cores::read(&Host::new(Memory::new().host(&CrashPoint::lives()))).unwrap();
    assert!(chosen(&none, 1, None).is_err());
}

proptest! {
    #![proptest_config(cases(50))]

    /// As many whole cores as asked for, never that of processor 0, each thread in one part.
    #[test]
    fn a_choice_is_whole_cores_without_the_first(
        caches in prop::collection::vec(1..5_u32, 1..5), count in 1..8_usize,
    ) {
        let mut of = Vec::new();
        let mut first = 0;
        for width in caches {
            let cache = format!("{}-{}", 2 * first, 2 * (first + width) - 1);
            for core in first..first + width {
                of.push((format!("{}-{}", 2 * core, 2 * core + 1), cache.clone()));
            }
            first += width;
        }
        let all: Vec<(&str, &str, u32)> = of.iter().map(|(a, b)| (a.as_str(), b.as_str(), 0)).collect();
        let host = cores(&format!("0-{}", 2 * first - 1), &all);
        match host.choose(count, None) {
            Err(_) => prop_assert!(count > all.len() - 1),
            Ok(found) => {
                prop_assert_eq!(found.len(), count);
                let whole: ProcessorList = found.iter().flat_map(|core| core.processors.iter()).collect();
                prop_assert_eq!(whole.len(), 2 * count);
                prop_assert!(whole.iter().all(|number| number > 1));
                let shared = found.iter().all(|core| core.cache == found[0].cache);
                let can = all.iter().any(|(_, cache, _)| {
                    all.iter().skip(1).filter(|(_, other, _)| other == cache).count() >= count
                });
                prop_assert_eq!(shared, can);
                let parts = host.share(&whole, count).unwrap();
                let again: ProcessorList = parts.iter().flat_map(ProcessorList::iter).collect();
                prop_assert_eq!(again, whole);
            }
        }
    }
}
