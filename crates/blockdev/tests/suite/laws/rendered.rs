//! Disk rules converted to udev rules set what a plan requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use hosttune_blockdev::testing::{Linux, MemoryDisk, with_disk};
use hosttune_blockdev::udev::{
    Action, Certainty, Compared, Device, Document, Evaluator, GeneratedRules, How, RenderError,
    RuleFiles,
};
use hosttune_blockdev::{
    Attribute, Conditions, Disk, DiskKind, Offered, Rule, Rules, SchedulerName, Transport,
};
use hosttune_core::testing::{CrashPoint, Machine, Memory, World};
use hosttune_core::{Host, Tuning};
use proptest::prelude::*;

use super::support::{Seen, disks, host, memory, scheduler};
use crate::cases;

/// Disks of every kind in every kind of place.
fn all_disks() -> Vec<MemoryDisk> {
    let at = |name: &str, device: &str, model: Option<&str>, rotational, diskseq| {
        let mut disk = MemoryDisk::scsi(name, "", rotational, diskseq);
        disk.device = device.to_owned();
        disk.model = model.map(str::to_owned);
        disk
    };
    let software = |name: &str, diskseq| {
        let mut disk = MemoryDisk::bio_based(name, diskseq);
        disk.rotational = diskseq % 2 == 0;
        disk
    };
    vec![
        at(
            "vda",
            "pci0000:00/0000:00:05.0/virtio2/block/vda",
            None,
            true,
            20,
        ),
        at(
            "sdc",
            "pci0000:00/0000:00:06.0/virtio3/host2/target2:0:0/2:0:0:0/block/sdc",
            Some("PADDED          "),
            true,
            21,
        ),
        at(
            "sdaa",
            "pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host7/target7:0:0/7:0:0:0/block/sdaa",
            Some("Stick [32|64]"),
            false,
            22,
        ),
        at(
            "mmcblk0",
            "pci0000:00/0000:00:14.0/usb2/2-3/rtsx_usb_sdmmc.0/mmc_host/mmc0/mmc0:0001/block/mmcblk0",
            None,
            false,
            23,
        ),
        at(
            "mmcblk1",
            "platform/soc/mmc_host/mmc1/mmc1:0001/block/mmcblk1",
            Some(""),
            false,
            24,
        ),
        at(
            "pmem0",
            "pci0000:00/virtio4/ndbus0/region0/namespace0.0/block/pmem0",
            None,
            false,
            25,
        ),
        at("xvda", "vbd-51712/block/xvda", None, true, 26),
        at(
            "cciss!c0d0",
            "pci0000:00/0000:00:07.0/cciss0/block/cciss!c0d0",
            None,
            true,
            27,
        ),
        at(
            "loopy",
            "platform/loopy.0/block/loopy",
            Some("^odd"),
            false,
            28,
        ),
        software("md127", 30),
        software("zram0", 31),
        software("ram1", 32),
        software("nbd0", 33),
        software("drbd_r0", 34),
        at(
            "sr0",
            "pci0000:00/0000:00:1f.2/ata3/host3/target3:0:0/3:0:0:0/block/sr0",
            Some("DVD"),
            true,
            35,
        ),
        at("fd0", "platform/floppy.0/block/fd0", None, true, 36),
        at("zd0", "virtual/block/zd0", None, false, 37),
        at("rbd0", "rbd/0/block/rbd0", None, false, 38),
        at("dcss0", "dcssblk/ONE/block/dcss0", None, false, 39),
        at(
            "mtdblock0",
            "platform/soc/spi0/spi0.0/mtd/mtd0/mtdblock0",
            None,
            false,
            40,
        ),
    ]
}

static MACHINES: LazyLock<[Memory; 2]> = LazyLock::new(|| {
    [Linux::V6_1, Linux::V7_2].map(|linux| {
        all_disks()
            .iter()
            .fold(memory(linux), |memory, disk| with_disk(memory, linux, disk))
            .link("/dev/disk/by-id/usb-Stick", "../../sdaa")
            .link("/dev/disk/by-id/dm-name-x", "../../dm-0")
    })
});

/// What udev's own rules do before ours: links, and the activation of device-mapper.
fn before() -> Document {
    let text = "KERNEL==\"sda\", SYMLINK+=\"disk/by-id/ata-ROTATING\"\n\
        KERNEL==\"sdaa\", SYMLINK+=\"disk/by-id/usb-Stick\"\n\
        KERNEL==\"dm-0\", SYMLINK+=\"disk/by-id/dm-name-x\"\n\
        KERNEL==\"dm-*\", ACTION==\"change\", ENV{DM_ACTIVATION}=\"1\"\n";
    Document::parse(text.as_bytes())
}

fn files(all: &[GeneratedRules]) -> RuleFiles {
    let ours = all.iter().map(|own| {
        let text = own.to_text().unwrap();
        let document = Document::parse(text.as_bytes());
        assert_eq!(document.problems(), [], "{text}");
        (own.path().unwrap(), document)
    });
    let before = ("/usr/lib/udev/rules.d/60-before.rules".to_owned(), before());
    RuleFiles::of([before].into_iter().chain(ours))
}

type Settings = BTreeMap<String, String>;

/// The settings that a plan requests of each disk, and separately the attributes requested of hidden paths,
/// for which udev has no events.
fn wanted(memory: &Memory, rules: &Rules) -> (BTreeMap<String, Settings>, BTreeSet<String>) {
    let machine = Seen(Machine::new(memory.fork(), hosttune_blockdev::knobs));
    let report = rules
        .verify(&machine.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    let mut wanted: BTreeMap<String, Settings> = BTreeMap::new();
    let mut hidden = BTreeSet::new();
    for item in &report.items {
        let words: Vec<&str> = item.name.split(' ').collect();
        let attribute = match words.as_slice() {
            [_, last] => format!("queue/{last}"),
            [_, _, last] => format!("queue/iosched/{last}"),
            // Not a setting of a disk.
            _ => continue,
        };
        let value = item.wanted_text.split(' ').next().unwrap().to_owned();
        if words[0].starts_with("nvme1c") {
            hidden.insert(attribute);
            continue;
        }
        let before = wanted
            .entry(words[0].to_owned())
            .or_default()
            .insert(attribute, value);
        assert_eq!(before, None, "{item}");
    }
    (wanted, hidden)
}

fn set(evaluator: &Evaluator, file: &str, device: &Device<'_>, action: Action) -> Settings {
    let mut set = Settings::new();
    for setter in evaluator.setters(device, action) {
        if setter.place.file != file {
            continue;
        }
        assert_eq!(setter.certainty, Certainty::Certain, "{setter}");
        assert_eq!(setter.how, How::Attribute, "{setter}");
        let value = setter.value.clone().unwrap();
        let before = set.insert(setter.attribute.clone(), value);
        assert_eq!(before, None, "{setter}");
    }
    set
}

fn sets_what_is_wanted(
    memory: &Memory,
    rules: &Rules,
    own: &GeneratedRules,
    all: &[GeneratedRules],
) -> Result<(), TestCaseError> {
    let text = own.to_text().unwrap();
    let host: Host = host(memory);
    let evaluator = Evaluator::new(&files(all));
    let file = own.path().unwrap();
    let (mut wanted, hidden) = wanted(memory, rules);
    for attribute in hidden {
        let rest = attribute.rsplit('/').next().unwrap();
        prop_assert!(
            !["iostats", "read_ahead_kb"].contains(&rest),
            "{}",
            attribute
        );
    }
    for disk in Disk::all(&host).unwrap() {
        let device = Device::block(&host, disk.name.as_str()).unwrap().unwrap();
        let (when, otherwise) = match disk.kind {
            DiskKind::DeviceMapper => (Action::Change, Action::Add),
            _ => (Action::Add, Action::Change),
        };
        prop_assert_eq!(set(&evaluator, &file, &device, otherwise), Settings::new());
        let set = set(&evaluator, &file, &device, when);
        let mut expected = wanted.remove(disk.name.as_str()).unwrap_or_default();
        // The scheduler is not set if it is active or if the disk has none.
        let key = "queue/scheduler";
        let offered = Offered::of(&host, &disk.name).unwrap();
        let active = offered.as_ref().and_then(|offered| offered.active.as_ref());
        let is_active = active.map(SchedulerName::as_str) == expected.get(key).map(String::as_str);
        if offered.is_none() || is_active {
            expected.remove(key);
        }
        prop_assert_eq!(&set, &expected, "{} {}", disk, text);
    }
    prop_assert!(wanted.is_empty(), "{wanted:?}");
    Ok(())
}

fn any_conditions() -> impl Strategy<Value = Conditions> {
    let glob = |all: &'static [&'static str]| {
        let one = prop::sample::select(all).prop_map(|text| text.parse().unwrap());
        prop::option::weighted(0.2, one)
    };
    let kinds = vec![
        DiskKind::Disk,
        DiskKind::Disk,
        DiskKind::Path,
        DiskKind::DeviceMapper,
        DiskKind::Md,
        DiskKind::Loop,
        DiskKind::Zram,
        DiskKind::Ram,
        DiskKind::Optical,
        DiskKind::Floppy,
        DiskKind::Network,
        DiskKind::Other,
    ];
    let transports = vec![
        Transport::Nvme,
        Transport::Sata,
        Transport::Scsi,
        Transport::Usb,
        Transport::Virtio,
        Transport::Mmc,
        Transport::Xen,
        Transport::Pmem,
        Transport::Virtual,
        Transport::Unknown,
    ];
    let some = |weight: f64| prop::bool::weighted(weight);
    (
        (some(0.4), prop::sample::subsequence(kinds, 1..4)),
        (some(0.5), prop::sample::subsequence(transports, 1..4)),
        prop::option::weighted(0.3, any::<bool>()),
        glob(&[
            "QEMU*",
            "QEMU HARDDISK",
            "*",
            "?*",
            "[!Q]*",
            "[^Q]*",
            "PADDED",
            "*[[]32*",
            "*]",
        ]),
        glob(&["ata-*", "*", "usb-Stick", "[!a]*", "dm-name-?"]),
        glob(&[
            "*",
            "sd*",
            "sd[a-z]",
            "cciss!*",
            "cciss[!a]c0d0",
            "?d[!b]",
            "nvme*",
            "*[0-9]",
        ]),
    )
        .prop_map(|(kind, transport, rotational, model, by_id, name)| {
            let mut conditions = Conditions::default();
            if kind.0 {
                conditions.kind = kind.1;
            }
            if transport.0 {
                conditions.transport = transport.1;
            }
            conditions.rotational = rotational;
            conditions.model = model;
            conditions.by_id = by_id;
            conditions.name = name;
            conditions
        })
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let schedulers = vec!["none", "mq-deadline", "deadline", "bfq", "kyber"];
    let attributes = prop::sample::subsequence(Attribute::ALL.to_vec(), 0..4);
    let rule = (
        any_conditions(),
        prop::option::of(prop::sample::select(schedulers)),
        attributes,
        prop::option::of(prop::sample::select(vec!["low_latency", "fifo_batch"])),
    );
    prop::collection::vec(rule, 1..5).prop_map(|all| {
        let names = [
            "nvme",
            "1-nvme",
            "the \"odd\" | one*\\",
            "%k $env{X}",
            "last",
        ];
        Rules::new(all.into_iter().zip(names).map(
            |((conditions, name, attributes, tunable), rule)| {
                let mut rule = Rule::new(rule).why("tested\nACTION==\"add\" \\");
                rule.disks = conditions;
                for (number, attribute) in (1..).zip(attributes) {
                    rule = match attribute {
                        Attribute::ReadAheadKb | Attribute::MaxSectorsKb => {
                            rule.queue(attribute, 64 * number)
                        }
                        Attribute::AddRandom | Attribute::Iostats => rule.queue(attribute, 1),
                        _ => rule.queue(attribute, 2),
                    };
                }
                if let Some(name) = name {
                    rule = rule.scheduler(scheduler(name));
                    if let Some(tunable) = tunable {
                        rule = rule.tunable(tunable, 1);
                    }
                }
                if rule.set == Default::default() {
                    rule = rule.queue(Attribute::Nomerges, 2);
                }
                rule
            },
        ))
    })
}

proptest! {
    #![proptest_config(cases(256))]

    /// For each disk that udev has events for, also next to the rules file of another program that uses this
    /// crate.
    #[test]
    fn udev_sets_what_a_plan_wants(rules in any_rules(), newer: bool, other_first: bool) {
        let memory = &MACHINES[usize::from(newer)];
        let own = match rules.to_udev("tested") {
            Ok(own) => own,
            Err(RenderError::Paths { rule }) => {
                let rule = rules.rules.iter().find(|one| one.name == rule).unwrap();
                prop_assert_eq!(&rule.disks.kind, &[DiskKind::Path]);
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let other = Rules::new([Rule::new("nvme").queue(Attribute::ReadAheadKb, 4)]);
        let other = other.to_udev(if other_first { "a" } else { "z" }).unwrap();
        let mut all = vec![own.clone(), other];
        all.sort_by_key(|own| own.path().unwrap());
        sets_what_is_wanted(memory, &rules, &own, &all)?;
    }
}

#[test]
fn as_a_person_reads_it() {
    let rules = Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .scheduler(scheduler("none"))
            .queue(Attribute::ReadAheadKb, 128)
            .why("it has queues of its own"),
        Rule::new("solid-state")
            .transport(Transport::Sata)
            .rotational(false)
            .scheduler(scheduler("bfq"))
            .tunable("low_latency", 1),
        Rule::new("volumes")
            .kind(DiskKind::DeviceMapper)
            .queue(Attribute::ReadAheadKb, 64),
    ]);
    let kinds = "dm-[0-9_]*|md[0-9_]*|loop[0-9_]*|zram[0-9_]*|ram[0-9_]*|sr[0-9_]*|fd[0-9_]*|nbd[0-9_]*|rbd[0-9_]*|drbd[0-9_]*";
    let disk = format!(
        "ACTION==\"add\", SUBSYSTEM==\"block\", ENV{{DEVTYPE}}==\"disk\", TEST!=\"dm\", KERNEL!=\"{kinds}\""
    );
    let expected = format!(
        r##"# 61-hosttune-gaming.rules: written by hosttune. Do not edit it; edit its source instead.
# To apply it to existing disks: udevadm trigger --action=add --subsystem-match=block
SUBSYSTEM=="block", ENV{{.HOSTTUNE_CASE}}=""
# nvme
# it has queues of its own
# The requests of a multipath NVMe namespace are at its paths, for which udev has no events.
{disk}, DEVPATH=="*/nvme/*|*/nvme-subsystem/*|*/nvme-fabrics/*", DEVPATH!="*/usb[0-9]*/*|*/ndbus*/*|*/mtd*/*", ENV{{.HOSTTUNE_CASE}}=="", ENV{{.HOSTTUNE_CASE}}="1-nvme"
ENV{{.HOSTTUNE_CASE}}=="1-nvme", DEVPATH!="*/nvme-subsystem/*", ATTR{{queue/scheduler}}!="*\[none]*", ATTR{{queue/zoned}}!="host-managed", ATTR{{queue/scheduler}}="none"
ENV{{.HOSTTUNE_CASE}}=="1-nvme", ATTR{{queue/read_ahead_kb}}="128"
# solid-state
{disk}, DEVPATH=="*/ata[0-9]*/*", DEVPATH!="*/usb[0-9]*/*|*/nvme/*|*/nvme-subsystem/*|*/nvme-fabrics/*|*/mmc_host/*|*/ndbus*/*|*/vbd-*/*|*/mtd*/*", ATTR{{queue/rotational}}=="0", ENV{{.HOSTTUNE_CASE}}=="", ENV{{.HOSTTUNE_CASE}}="2-solid-state"
ENV{{.HOSTTUNE_CASE}}=="2-solid-state", ATTR{{queue/scheduler}}!="*\[bfq]*", ATTR{{queue/zoned}}!="host-managed", ATTR{{queue/scheduler}}="bfq"
ENV{{.HOSTTUNE_CASE}}=="2-solid-state", ATTR{{queue/iosched/low_latency}}="1"
# volumes
ACTION=="change", SUBSYSTEM=="block", ENV{{DEVTYPE}}=="disk", ENV{{DM_ACTIVATION}}=="1", ENV{{DM_UDEV_DISABLE_OTHER_RULES_FLAG}}!="1", KERNEL=="dm-[0-9_]*", ENV{{.HOSTTUNE_CASE}}=="", ENV{{.HOSTTUNE_CASE}}="3-volumes"
ENV{{.HOSTTUNE_CASE}}=="3-volumes", ATTR{{queue/read_ahead_kb}}="64"
"##
    );
    let own = rules.to_udev("gaming").unwrap();
    assert_eq!(own.to_text().unwrap(), expected);
    let memory = memory(Linux::V7_2);
    sets_what_is_wanted(&memory, &rules, &own, std::slice::from_ref(&own)).unwrap();
    assert_eq!(
        disks(Linux::V7_2).len(),
        Disk::all(&host(&memory)).unwrap().len()
    );
}

#[test]
fn what_udev_cannot_do_is_an_error() {
    let rule = || Rule::new("a").queue(Attribute::Nomerges, 1);
    let error = |rule: Rule| Rules::new([rule]).to_udev("x").unwrap_err();
    let size = error(rule().size_at_least(1 << 30));
    assert!(matches!(size, RenderError::Size { .. }), "{size:?}");
    assert!(size.hint().unwrap().contains("run the program"));
    let core: hosttune_core::Error = size.into();
    assert!(core.to_string().contains("size condition") && core.hint().is_some());
    let paths = error(rule().kind(DiskKind::Path));
    assert!(matches!(paths, RenderError::Paths { .. }), "{paths:?}");
    let pattern = error(rule().model("a|b".parse().unwrap()));
    assert!(
        matches!(
            pattern,
            RenderError::Pattern {
                compared: Compared::Model,
                ..
            }
        ),
        "{pattern:?}"
    );
    assert!(
        pattern.to_string().contains("matches model against 'a|b'"),
        "{pattern}"
    );
    let value = error(Rule::new("a").queue(Attribute::ReadAheadKb, 1));
    assert!(matches!(value, RenderError::Value { .. }), "{value:?}");
    let tunable = error(rule().scheduler(scheduler("bfq")).tunable("../x", 1));
    assert!(
        matches!(tunable, RenderError::Unwritable { .. }),
        "{tunable:?}"
    );
    let strange = error(Rule::new("a").scheduler(scheduler("a|b")));
    assert!(
        matches!(strange, RenderError::Unwritable { .. }),
        "{strange:?}"
    );
    let twice = Rules::new([rule(), rule()]).to_udev("x").unwrap_err();
    assert!(matches!(twice, RenderError::Wrong(_)), "{twice:?}");
    let only = Rules::new([rule()])
        .only("/dev/sda")
        .to_udev("x")
        .unwrap_err();
    assert!(matches!(only, RenderError::Only { .. }), "{only:?}");
    let named = Rules::new([rule()]).to_udev("../x").unwrap_err();
    assert!(matches!(named, RenderError::File(_)), "{named:?}");
    // udev has no events for paths; the other kind is converted.
    let both = Rules::new([rule().kind(DiskKind::Path).kind(DiskKind::Loop)]);
    let text = both.to_udev("x").unwrap().to_text().unwrap();
    assert!(text.contains("KERNEL==\"loop[0-9_]*\", "), "{text}");
}
