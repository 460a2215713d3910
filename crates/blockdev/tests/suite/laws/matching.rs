//! Which disk matches which rule, and the notes about it.

use hosttune_blockdev::testing::{Linux, MemoryDisk, with_disk};
use hosttune_blockdev::{Attribute, DiskKind, Rule, Rules, Transport};
use hosttune_core::testing::{Behaviour, CrashPoint, Machine, Memory, World};
use hosttune_core::{Error, Plan, Tuning};

use super::support::{everywhere, machine, memory, scheduler};

fn plan(rules: &Rules) -> Plan {
    let machine = machine(Linux::V7_2);
    rules
        .plan(&machine.session(&CrashPoint::lives()).unwrap())
        .unwrap()
}

fn changed(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter();
    steps
        .map(|step| format!("{}: {}", step.part, step.knob))
        .collect()
}

fn error(rules: &Rules) -> Error {
    let machine = machine(Linux::V7_2);
    rules
        .plan(&machine.session(&CrashPoint::lives()).unwrap())
        .unwrap_err()
}

/// Loop devices, device-mapper devices and the namespace of multipath NVMe have no scheduler that can be set;
/// the path of the namespace has one.
#[test]
fn a_rule_takes_the_disks_that_meet_it_in_the_order_of_their_names() {
    let rules = Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .scheduler(scheduler("kyber")),
        Rule::new("solid")
            .transport(Transport::Sata)
            .rotational(false)
            .scheduler(scheduler("bfq")),
    ]);
    let plan = plan(&rules);
    assert_eq!(
        changed(&plan),
        [
            "nvme: nvme0n1 scheduler",
            "nvme: nvme1c0n1 scheduler",
            "solid: sdb scheduler"
        ]
    );
    assert_eq!(
        plan.notes,
        [
            "rule nvme matches nvme0n1, nvme1n1",
            "rule solid matches sdb",
            "rule solid skipped sda: rotational is true, not false",
        ]
    );
}

#[test]
fn the_first_rule_takes_a_disk_and_a_later_one_says_so() {
    let rules = Rules::new([
        Rule::new("first")
            .by_id("ata-*".parse().unwrap())
            .queue(Attribute::Nomerges, 1),
        Rule::new("second")
            .transport(Transport::Sata)
            .queue(Attribute::Nomerges, 2),
    ]);
    let plan = plan(&rules);
    assert_eq!(
        changed(&plan),
        ["first: sda nomerges", "second: sdb nomerges"]
    );
    assert!(
        plan.notes.contains(
            &"rule second also matches sda, but an earlier rule applies there".to_owned()
        ),
        "{:#?}",
        plan.notes
    );
}

#[test]
fn a_rule_that_matches_nothing_is_a_note() {
    let rules = Rules::new([Rule::new("usb")
        .transport(Transport::Usb)
        .rotational(true)
        .queue(Attribute::Nomerges, 1)]);
    let plan = plan(&rules);
    assert!(plan.is_empty());
    assert!(
        plan.notes.contains(&"rule usb matches no disk".to_owned()),
        "{:?}",
        plan.notes
    );
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("skipped sda: transport is sata, not usb")),
        "{:?}",
        plan.notes
    );
}

/// If a rule has only one condition, every other disk is skipped by one condition. These disks are noted only
/// if the rule matches none, because the condition may be wrong then.
#[test]
fn what_one_condition_misses_is_said_where_it_takes_nothing() {
    let notes = |transport| {
        let rule = Rule::new("one").transport(transport);
        plan(&Rules::new([rule.queue(Attribute::Nomerges, 1)])).notes
    };
    assert_eq!(notes(Transport::Sata), ["rule one matches sda, sdb"]);
    assert_eq!(
        notes(Transport::Mmc),
        [
            "rule one matches no disk",
            "rule one skipped nvme0n1, nvme1n1, sda, sdb: transport of nvme0n1 is nvme, not mmc",
        ]
    );
}

/// Virtual disks are changed only if the rule names their kind; a matching name is not enough.
#[test]
fn what_software_makes_is_not_touched_unasked() {
    let of = |rule: Rule| changed(&plan(&Rules::new([rule.queue(Attribute::ReadAheadKb, 64)])));
    let all = "*".parse().unwrap();
    assert!(
        !of(Rule::new("a").kernel_name(all))
            .iter()
            .any(|step| step.contains("loop") || step.contains("dm-"))
    );
    assert_eq!(
        of(Rule::new("a").kind(DiskKind::Loop)),
        ["a: loop0 read_ahead_kb"]
    );
    assert_eq!(
        of(Rule::new("a").kind(DiskKind::DeviceMapper)),
        ["a: dm-0 read_ahead_kb"]
    );
}

/// Block devices whose names are in no list: their place in the device tree decides.
fn no_disks() -> Vec<MemoryDisk> {
    let at = |name: &str, device: &str, diskseq| {
        let mut disk = MemoryDisk::scsi(name, "", false, diskseq);
        disk.device = device.to_owned();
        disk
    };
    vec![
        at("zd0", "virtual/block/zd0", 40),
        at("bcache0", "virtual/block/bcache0", 41),
        at("ublkb0", "virtual/block/ublkb0", 42),
        at("nbd0", "virtual/block/nbd0", 43),
        at("rbd0", "rbd/0/block/rbd0", 44),
        at("scinia", "virtual/block/scinia", 45),
        at(
            "pmem0",
            "LNXSYSTM:00/LNXSYBUS:00/ACPI0012:00/ndbus0/region0/namespace0.0/block/pmem0",
            46,
        ),
        at(
            "mtdblock0",
            "platform/soc/1e000000.spi/spi_master/spi0/spi0.0/mtd/mtd0/mtdblock0",
            47,
        ),
    ]
}

#[test]
fn a_rule_without_conditions_takes_disks_of_hardware_only() {
    let memory = no_disks().iter().fold(memory(Linux::V7_2), |memory, disk| {
        with_disk(memory, Linux::V7_2, disk)
    });
    let plan = |rule: Rule| {
        let machine = Machine::new(memory.fork(), hosttune_blockdev::knobs);
        let rules = Rules::new([rule.queue(Attribute::Nomerges, 2)]);
        rules
            .plan(&machine.session(&CrashPoint::lives()).unwrap())
            .unwrap()
    };
    let all = plan(Rule::new("all"));
    assert_eq!(
        changed(&all),
        [
            "all: nvme0n1 nomerges",
            "all: nvme1c0n1 nomerges",
            "all: sda nomerges",
            "all: sdb nomerges"
        ]
    );
    // A matching name is not enough, and the plan notes what was left out.
    let named = plan(Rule::new("zvols").kernel_name("zd*".parse().unwrap()));
    assert_eq!(changed(&named), Vec::<String>::new());
    assert!(
        named
            .notes
            .contains(&"rule zvols skipped zd0: kind of zd0 is other, not disk".to_owned())
            || named
                .notes
                .contains(&"rule zvols skipped zd0: kind is other, not disk".to_owned()),
        "{:#?}",
        named.notes
    );
    assert_eq!(
        changed(&plan(Rule::new("a").kind(DiskKind::Other))),
        [
            "a: bcache0 nomerges",
            "a: mtdblock0 nomerges",
            "a: pmem0 nomerges",
            "a: scinia nomerges",
            "a: ublkb0 nomerges",
            "a: zd0 nomerges"
        ]
    );
    assert_eq!(
        changed(&plan(Rule::new("a").kind(DiskKind::Network))),
        ["a: nbd0 nomerges", "a: rbd0 nomerges"]
    );
}

/// In a tree that was captured with its links followed, the place of a device is unknown.
#[test]
fn without_a_place_only_names_of_hardware_are_disks() {
    let disk = |memory: Memory, name: &str| {
        memory.file(
            format!("/sys/block/{name}/queue/nomerges"),
            "0",
            Behaviour::takes_all(),
        )
    };
    let memory = ["sda", "nvme0n1", "zd0", "pmem0", "scinia", "dm-0"]
        .iter()
        .fold(Memory::new().directory("/proc/sys"), |memory, name| {
            disk(memory, name)
        });
    let machine = Machine::new(memory, hosttune_blockdev::knobs);
    let rules = Rules::new([Rule::new("all").queue(Attribute::Nomerges, 2)]);
    let plan = rules
        .plan(&machine.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    assert_eq!(
        changed(&plan),
        ["all: nvme0n1 nomerges", "all: sda nomerges"]
    );
}

/// Kernels before 6.10 need mq-deadline to keep the order of writes. The disk's other settings are applied
/// anyway.
#[test]
fn a_host_managed_disk_keeps_mq_deadline_on_old_kernels() {
    let zoned = |name: &str, zoned: &'static str, diskseq| {
        let mut disk = MemoryDisk::scsi(name, "host9", true, diskseq);
        disk.device = format!("pci0000:00/host9/target9:0:0/9:0:{diskseq}:0/block/{name}");
        disk.zoned = zoned;
        disk
    };
    let plan = |release: &str, wanted: &str| {
        let disks = [
            zoned("sdm", "host-managed", 50),
            zoned("sdw", "host-aware", 51),
            zoned("sdx", "none", 52),
        ];
        let memory = disks.iter().fold(
            Memory::new().directory("/proc/sys").file(
                "/proc/sys/kernel/osrelease",
                release,
                Behaviour::takes_all(),
            ),
            |memory, disk| with_disk(memory, Linux::V6_1, disk),
        );
        let machine = Machine::new(memory, hosttune_blockdev::knobs);
        let rules = Rules::new([Rule::new("all")
            .scheduler(scheduler(wanted))
            .queue(Attribute::Nomerges, 2)]);
        rules
            .plan(&machine.session(&CrashPoint::lives()).unwrap())
            .unwrap()
    };
    for wanted in ["none", "bfq", "kyber"] {
        let old = plan("6.1.0-40-amd64", wanted);
        let schedulers = |plan: &Plan| -> Vec<String> {
            let mut all = changed(plan);
            all.retain(|step| step.ends_with("scheduler"));
            all
        };
        assert_eq!(
            schedulers(&old),
            ["all: sdw scheduler", "all: sdx scheduler"],
            "{wanted}"
        );
        assert!(changed(&old).contains(&"all: sdm nomerges".to_owned()));
        let text = format!("{old:?}");
        assert!(text.contains("host-managed zoned disk"), "{text}");
        assert_eq!(schedulers(&plan("6.12.0", wanted)).len(), 3, "{wanted}");
    }
    assert!(!format!("{:?}", plan("6.1.0", "mq-deadline")).contains("zoned disk"));
}

#[test]
fn only_one_device() {
    let rules = Rules::new([everywhere()]);
    let plan = plan(&rules.clone().only("/dev/disk/by-id/ata-ROTATING"));
    assert!(!plan.is_empty());
    assert!(
        plan.steps
            .iter()
            .all(|step| step.knob.text.starts_with("sda ")),
        "{:?}",
        changed(&plan)
    );
    let partition = error(&rules.clone().only("/dev/sda1"));
    assert!(
        partition.to_string().contains("a partition of sda"),
        "{partition}"
    );
    assert_eq!(partition.hint().as_deref(), Some("use /dev/sda"));
    let none = error(&rules.only("/dev/null"));
    assert!(none.to_string().contains("not a block device"), "{none}");
}

#[test]
fn rules_that_mean_nothing_are_errors() {
    let rule = || Rule::new("a").queue(Attribute::Nomerges, 1);
    for (rules, says) in [
        (vec![rule(), rule()], "two disk rules"),
        (vec![Rule::new("a")], "sets nothing"),
        (
            vec![Rule::new("").queue(Attribute::Nomerges, 1)],
            "not a valid name",
        ),
        (vec![rule().size_at_least(10).size_at_most(9)], "impossible"),
        (vec![rule().tunable("low_latency", 1)], "no scheduler"),
    ] {
        let error = error(&Rules::new(rules));
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.hint().is_some());
    }
    for (text, says) in [
        (
            r#"{"rules":[{"name":"a","disks":{"model":""}}]}"#,
            "empty pattern",
        ),
        (
            r#"{"rules":[{"name":"a","disks":{"model":"[a"}}]}"#,
            "not a valid pattern",
        ),
        (
            r#"{"rules":[{"name":"a","disks":{"transport":["floppy"]}}]}"#,
            "unknown variant",
        ),
        (
            r#"{"rules":[{"name":"a","set":{"scheduler":"a b"}}]}"#,
            "not a scheduler name",
        ),
        (
            r#"{"rules":[{"name":"a","set":{"queue":{"nr-request":1}}}]}"#,
            "unknown variant",
        ),
        (
            r#"{"rules":[{"name":"a","set":{"queue":{"wbt-lat-usec":-1}}}]}"#,
            "invalid value",
        ),
        (r#"{"rules":[{"name":"a","sets":{}}]}"#, "unknown field"),
    ] {
        let error = serde_json::from_str::<Rules>(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn rules_as_a_person_writes_them() {
    let text = r#"{"rules":[{"name":"big","disks":{"transport":["sata","scsi"],"size-at-least":1000,"rotational":true},
        "set":{"scheduler":"deadline","queue":{"read-ahead-kb":1024},"tunables":{"fifo_batch":8}}}]}"#;
    let rules: Rules = serde_json::from_str(text).unwrap();
    assert_eq!(
        changed(&plan(&rules)),
        ["big: sda mq-deadline fifo_batch", "big: sda read_ahead_kb"]
    );
}

/// As in a container, where sysfs is mounted read-only: nothing is planned.
#[test]
fn a_queue_on_a_read_only_mount_is_not_applicable() {
    let memory = memory(Linux::V7_2).file(
        "/proc/self/mountinfo",
        "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /sys ro,nosuid - sysfs sysfs rw",
        Behaviour::takes_all(),
    );
    let machine = Machine::new(memory, hosttune_blockdev::knobs);
    let plan = Rules::new([everywhere()])
        .plan(&machine.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    assert_eq!(changed(&plan), Vec::<String>::new());
    assert!(!plan.findings.is_empty());
    let text = format!("{:?}", plan.findings);
    assert!(text.contains("/sys is mounted read-only"), "{text}");
}
