//! Notes of a plan about conflicts with the host's own udev rules.

use hosttune_blockdev::testing::{Linux, MemoryDisk, with_disk};
use hosttune_blockdev::udev::NoteFights;
use hosttune_blockdev::{Attribute, DiskKind, Rule, Rules, Transport};
use hosttune_core::Tuning;
use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Machine, Memory, World};

use super::support::{Seen, memory, scheduler};

const THEIRS: &str = "/etc/udev/rules.d/60-io.rules";

fn rules() -> Rules {
    Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .scheduler(scheduler("none"))
            .queue(Attribute::ReadAheadKb, 64),
        Rule::new("sata")
            .transport(Transport::Sata)
            .scheduler(scheduler("mq-deadline"))
            .queue(Attribute::ReadAheadKb, 64)
            .tunable("fifo_batch", 8),
    ])
}

fn with(memory: Memory, path: &str, text: impl Into<Vec<u8>>) -> Memory {
    memory.content(path, FileContent::new(text.into()))
}

fn notes_of(memory: Memory, rules: &Rules) -> Vec<String> {
    let machine = Seen(Machine::new(memory, hosttune_blockdev::knobs));
    let was = machine.snapshot();
    let session = machine.session(&CrashPoint::lives()).unwrap();
    let plan = NoteFights(rules).plan(&session).unwrap();
    assert!(plan.is_empty());
    let report = NoteFights(rules).verify(&session).unwrap();
    assert!(report.items.is_empty());
    assert_eq!(report.notes, plan.notes);
    assert_eq!(machine.snapshot(), was);
    plan.notes
}

fn notes(text: &str) -> Vec<String> {
    notes_of(with(memory(Linux::V7_2), THEIRS, text), &rules())
}

#[test]
fn a_rule_that_sets_something_else_is_noted_once_for_all_its_disks() {
    assert_eq!(
        notes("ACTION==\"add|change\", KERNEL==\"sd*\", ATTR{queue/scheduler}=\"bfq\"\n"),
        [
            "sda, sdb: queue/scheduler is requested as mq-deadline, but on add and change udev sets: /etc/udev/rules.d/60-io.rules:1: queue/scheduler = bfq"
        ]
    );
    let disks = (0..20).fold(memory(Linux::V7_2), |memory, number| {
        let name = format!("sdz{}", char::from(b'a' + number));
        let disk = MemoryDisk::scsi(&name, "ata9/host9", false, 100 + u64::from(number));
        with_disk(memory, Linux::V7_2, &disk)
    });
    let noted = notes_of(
        with(
            disks,
            THEIRS,
            "KERNEL==\"sdz?\", ATTR{queue/iosched/fifo_batch}=\"1\"\n",
        ),
        &rules(),
    );
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(
        noted[0].starts_with(
            "sdza, sdzb, sdzc, sdzd, sdze, sdzf, sdzg, sdzh and 12 more: queue/iosched/fifo_batch"
        ),
        "{noted:?}"
    );
}

#[test]
fn what_comes_to_the_same_is_no_fight() {
    for text in [
        "ATTR{queue/scheduler}=\"deadline\"\n",
        "KERNEL==\"sd*\", ATTR{queue/scheduler}=\"cfq\"\n",
        "KERNEL==\"sd*\", ATTR{queue/scheduler}=\"noop\"\n",
        "KERNEL==\"nvme*\", ATTR{queue/scheduler}=\"none \"\n",
        "ATTR{queue/read_ahead_kb}=\"66\"\n",
        "ATTR{queue/iosched/fifo_batch}=\"8\"\n",
        // Attributes that are not requested, and disks that no rule matches.
        "ATTR{queue/nomerges}=\"2\"\n",
        "KERNEL==\"loop*\", ATTR{queue/scheduler}=\"bfq\", ATTR{queue/read_ahead_kb}=\"4\"\n",
        // Never reached.
        "GOTO=\"end\"\nATTR{queue/scheduler}=\"bfq\"\nLABEL=\"end\"\n",
        "# scheduler\n",
    ] {
        let text = text.replace(
            "ATTR{queue/scheduler}=\"deadline\"",
            "KERNEL==\"sd*\", ATTR{queue/scheduler}=\"deadline\"",
        );
        assert_eq!(notes(&text), Vec::<String>::new(), "{text}");
    }
    let masked = with(
        memory(Linux::V7_2),
        "/usr/lib/udev/rules.d/60-io.rules",
        "ATTR{queue/scheduler}=\"bfq\"\n",
    );
    assert_eq!(
        notes_of(with(masked, THEIRS, ""), &rules()),
        Vec::<String>::new()
    );
}

/// Other ways to set the read-ahead than by the file `queue/read_ahead_kb`.
#[test]
fn the_read_ahead_has_other_names() {
    for (text, says) in [
        (
            "KERNEL==\"sda\", RUN+=\"/sbin/blockdev --setra 1024 $devnode\"\n",
            "sda: ",
        ),
        (
            "KERNEL==\"sda\", RUN+=\"/sbin/hdparm -a 1024 $devnode\"\n",
            "sda: ",
        ),
        (
            "KERNEL==\"sda\", ATTR{bdi/read_ahead_kb}=\"1024\"\n",
            "sda: ",
        ),
    ] {
        let notes = notes(text);
        assert_eq!(
            notes.len(),
            if text.contains("RUN") { 2 } else { 1 },
            "{notes:?}"
        );
        assert!(
            notes[0].starts_with(says) && notes[0].contains("read_ahead_kb"),
            "{notes:?}"
        );
    }
}

/// The hidden path of a multipath namespace has the requests, and udev runs no rules for it; the namespace
/// has the other attributes.
#[test]
fn a_hidden_path_is_nobody_s_to_fight_over() {
    let text =
        "KERNEL==\"nvme1*\", ATTR{queue/scheduler}=\"bfq\", ATTR{queue/read_ahead_kb}=\"4\"\n";
    assert_eq!(
        notes(text),
        [
            "nvme1n1: queue/read_ahead_kb is requested as 64, but on add and change udev sets: /etc/udev/rules.d/60-io.rules:1: queue/read_ahead_kb = 4"
        ]
    );
}

#[test]
fn without_udev_s_database_what_hangs_on_it_is_said_to_be_open() {
    let text = "IMPORT{builtin}=\"usb_id\"\nKERNEL==\"sda\", ENV{ID_BUS}==\"ata\", ATTR{queue/scheduler}=\"bfq\"\n";
    let open = notes(text);
    assert_eq!(open.len(), 2, "{open:?}");
    assert!(
        open[0].contains("possibly queue/scheduler = bfq"),
        "{open:?}"
    );
    assert!(open[1].contains("database is missing"), "{open:?}");
    let known = with(
        with(memory(Linux::V7_2), THEIRS, text),
        "/run/udev/data/b8:2",
        "E:ID_BUS=usb\n",
    );
    assert_eq!(notes_of(known, &rules()), Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_is_one_note_and_what_is_no_rule_is_none() {
    let garbage: Vec<u8> = (0..=255).cycle().take(40_000).collect();
    let memory_with = || memory(Linux::V7_2);
    assert_eq!(
        notes_of(with(memory_with(), THEIRS, garbage.clone()), &rules()),
        Vec::<String>::new()
    );
    // The same if the garbage mentions an attribute; other files are still evaluated.
    let mentioning = [garbage.as_slice(), b"\nscheduler\n\xff\xfe queue/x\n"].concat();
    let both = with(
        with(
            memory_with(),
            "/etc/udev/rules.d/50-garbage.rules",
            mentioning,
        ),
        THEIRS,
        "KERNEL==\"sda\", ATTR{queue/scheduler}=\"bfq\"\n",
    );
    let noted = notes_of(both, &rules());
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(noted[0].starts_with("sda: "), "{noted:?}");
    let unreadable =
        with(memory_with(), THEIRS, "ATTR{queue/scheduler}=\"bfq\"\n").mode(THEIRS, 0o000);
    let noted = notes_of(unreadable, &rules());
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(
        noted[0].contains("cannot determine") && noted[0].contains(THEIRS),
        "{noted:?}"
    );
    let no_directory = with(memory_with(), "/etc/udev/rules.d", "");
    assert_eq!(notes_of(no_directory, &rules()).len(), 1);
    assert_eq!(notes_of(memory_with(), &rules()), Vec::<String>::new());
    assert_eq!(notes_of(Memory::new(), &rules()), Vec::<String>::new());
}

/// If no disk matches, the rules files are not read. If the rules are limited to one disk, only its conflicts
/// are noted.
#[test]
fn only_of_disks_that_a_rule_takes() {
    let unreadable = || with(memory(Linux::V7_2), THEIRS, "x").mode(THEIRS, 0o000);
    let none = Rules::new([Rule::new("a")
        .kind(DiskKind::Md)
        .queue(Attribute::Nomerges, 1)]);
    assert_eq!(notes_of(unreadable(), &none), Vec::<String>::new());
    let text = "ATTR{queue/read_ahead_kb}=\"4\"\n";
    let one = notes_of(
        with(memory(Linux::V7_2), THEIRS, text),
        &rules().only("sdb"),
    );
    assert_eq!(one.len(), 1, "{one:?}");
    assert!(one[0].starts_with("sdb: "), "{one:?}");
    // Persisted rules add these notes by themselves.
    assert_eq!(
        notes_of(unreadable(), &rules().persisted_as("x")),
        Vec::<String>::new()
    );
}

/// A rule for partitions that writes to the directory above, which is the disk's.
#[test]
fn a_partition_s_rule_is_judged_for_its_disk() {
    let sda = "/sys/devices/pci0000:00/0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0/block/sda";
    let all = hosttune_core::testing::Behaviour::takes_all;
    let memory = ["sda1", "sda2"]
        .iter()
        .fold(memory(Linux::V7_2), |memory, name| {
            memory
                .file(format!("{sda}/{name}/partition"), "1", all())
                .file(
                    format!("{sda}/{name}/uevent"),
                    &format!("MAJOR=8\nMINOR=77\nDEVNAME={name}\nDEVTYPE=partition"),
                    all(),
                )
        });
    let text =
        "ACTION==\"add|change\", KERNEL==\"sd[a-z][0-9]\", ATTR{../queue/scheduler}=\"bfq\"\n";
    assert_eq!(
        notes_of(with(memory.fork(), THEIRS, text), &rules()),
        [
            "sda: queue/scheduler is requested as mq-deadline, but on add and change udev sets: /etc/udev/rules.d/60-io.rules:1: queue/scheduler = bfq, in events of its partitions"
        ]
    );
    let same = text.replace("bfq", "mq-deadline");
    assert_eq!(
        notes_of(with(memory, THEIRS, same), &rules()),
        Vec::<String>::new()
    );
}
