//! Any bytes in any file, files in place of directories, and dangling links.

use hosttune_core::Host;
use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_facts::Facts;
use proptest::prelude::*;

use super::machines;
use super::schema::assert_valid;

/// What is done to one path.
#[derive(Debug, Clone)]
enum Harm {
    Bytes(Vec<u8>),
    Gone,
    Directory,
    Link(String),
    Unreadable,
}

fn harm() -> impl Strategy<Value = Harm> {
    let text = "[ -~\t\n\0é\u{1b}]{0,40}".prop_map(String::into_bytes);
    // Texts that look like values, with numbers that are too large.
    let like = prop::sample::select(vec![
        "0",
        "1",
        "-1",
        "4294967295",
        "18446744073709551615",
        "99999999999999999999999",
        "0-4294967295",
        "0-7",
        "1-1",
        "0x030000",
        "0x03",
        "up",
        "kvm-clock",
        "oci",
        "MemTotal: 18446744073709551615 kB",
        "ID='",
        "ID=\"\\",
        "ID=\\",
        "NVRM version: .",
        "a (b) (c",
    ]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Harm::Bytes),
        text.prop_map(Harm::Bytes),
        like.prop_map(|text| Harm::Bytes(text.into())),
        Just(Harm::Gone),
        Just(Harm::Directory),
        Just(Harm::Unreadable),
        "[a-z0-9:./]{0,30}".prop_map(Harm::Link),
        Just(Harm::Link(
            "../devices/pci0000:00/usb1/ata1/host1/virtio1/nvme/mmc_host/net".into()
        )),
        Just(Harm::Link(".".into())),
    ]
}

fn apply(memory: Memory, path: &str, harm: &Harm) -> Memory {
    match harm {
        Harm::Bytes(bytes) => memory.content(path, FileContent::new(bytes.clone())),
        Harm::Gone => {
            memory.change(|tree| tree.remove(path));
            memory
        }
        Harm::Directory => memory.directory(path),
        Harm::Link(target) => memory.link(path, target),
        Harm::Unreadable => memory.mode(path, 0),
    }
}

/// Every path of every machine, and unexpected names in each listed directory.
fn places() -> Vec<String> {
    let machines = machines::all();
    let paths = machines
        .iter()
        .flat_map(|(_, memory)| memory.snapshot().into_keys());
    let odd = [
        "/sys/block",
        "/sys/class/net",
        "/sys/bus/pci/devices",
        "/sys/kernel/mm/hugepages",
    ];
    let odd = odd.into_iter().flat_map(|directory| {
        [
            "é",
            "0000:00:00.0",
            "hugepages-99999999999999999999kB",
            "\u{1b}[2J",
        ]
        .map(|name| format!("{directory}/{name}"))
    });
    let mut all: Vec<String> = paths.chain(odd).filter(|path| path != "/").collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn check(memory: &Memory) {
    let host = Host::new(memory.host(&CrashPoint::lives()));
    let facts = Facts::with_identifiers(&host);
    assert_valid(&facts);
    let text = facts.to_string();
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    assert!(text.ends_with('\n'));
}

#[test]
fn what_is_nothing_has_no_facts() {
    let facts = Facts::of(&Host::new(Memory::new().host(&CrashPoint::lives())));
    assert_valid(&facts);
    assert_eq!(
        (&facts.disks, &facts.nics, &facts.gpus),
        (&None, &None, &None)
    );
    assert_eq!(facts.virtualisation.hypervisor, None);
    assert!(!facts.is_virtual() && !facts.is_container() && !facts.is_laptop());
    assert!(
        facts.to_string().contains("disks           unknown"),
        "{facts}"
    );
}

proptest! {
    #[test]
    fn whatever_stands_in_the_files_nothing_panics(
        machine in 0..machines::all().len(),
        harms in prop::collection::vec((prop::sample::select(places()), harm()), 1..12),
    ) {
        let (_, memory) = machines::all().swap_remove(machine);
        let memory = harms.iter().fold(memory, |memory, (path, harm)| apply(memory, path, harm));
        check(&memory);
    }
}

/// One file is removed at a time. Only the facts that are read from it change.
#[test]
fn one_file_that_is_missing_leaves_the_others() {
    for (name, memory) in machines::all() {
        let whole = Facts::of(&Host::new(memory.host(&CrashPoint::lives())));
        for path in memory.snapshot().into_keys() {
            let harmed = apply(memory.fork(), &path, &Harm::Gone);
            check(&harmed);
            let facts = Facts::of(&Host::new(harmed.host(&CrashPoint::lives())));
            let same = [
                facts.cpu == whole.cpu,
                facts.memory == whole.memory,
                facts.disks == whole.disks,
                facts.nics == whole.nics,
                facts.gpus == whole.gpus,
                facts.kernel == whole.kernel,
                facts.boot == whole.boot,
                facts.distribution == whole.distribution,
                facts.virtualisation == whole.virtualisation,
                facts.machine == whole.machine,
            ];
            let others = same.iter().filter(|same| !**same).count();
            // The most come from /proc/cpuinfo: processor, kernel, firmware and hypervisor.
            assert!(others <= 4, "{name}: without {path} {others} are others");
        }
    }
}
