//! Common mistakes in udev rules for disks.

use std::collections::BTreeMap;

use hosttune_blockdev::udev::{
    Action, Condition, Conflict, Defect, Device, DiskRule, Document, GeneratedRules, Note, Outcome,
    ProblemKind, RuleFiles,
};
use hosttune_test_machine::Udev;

use super::{certain, perhaps, rules, scheduler};

const NVME: &str =
    "ACTION==\"add|change\", KERNEL==\"nvme[0-9]n[0-9]\", ATTR{queue/scheduler}=\"none\"\n";
const SD: &str = "ACTION==\"add|change\", KERNEL==\"sd[a-z]\", ATTR{queue/scheduler}=\"bfq\"\n";

fn defects(text: &str) -> Vec<Defect> {
    Note::of(&rules(text))
        .into_iter()
        .map(|note| note.defect)
        .collect()
}

#[test]
fn one_digit_misses_the_eleventh_controller_and_namespace_and_every_path() {
    assert_eq!(
        certain(NVME, &Device::disk("nvme0n1")).as_deref(),
        Some("none")
    );
    for name in ["nvme10n1", "nvme0n10", "nvme0c0n1"] {
        assert_eq!(certain(NVME, &Device::disk(name)), None, "{name}");
    }
    assert_eq!(
        defects(NVME),
        [Defect::Misses(vec!["nvme10n1", "nvme0n10", "nvme0c0n1"])]
    );
}

#[test]
fn one_letter_misses_the_27th_disk() {
    assert_eq!(certain(SD, &Device::disk("sdz")).as_deref(), Some("bfq"));
    assert_eq!(certain(SD, &Device::disk("sdaa")), None);
    assert_eq!(defects(SD), [Defect::Misses(vec!["sdaa", "sdzz"])]);
    // A single disk by name is intended.
    assert_eq!(defects(&SD.replace("sd[a-z]", "sda")), []);
}

#[test]
fn a_star_hits_the_controller_and_partitions_too() {
    let text = "KERNEL==\"nvme[0-9]*\", ATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(
        defects(text),
        [
            Defect::MatchesPartitions(vec!["nvme0n1p1"]),
            Defect::MatchesControllers(vec!["nvme0"]),
        ]
    );
    let mended = format!("SUBSYSTEM==\"block\", ENV{{DEVTYPE}}==\"disk\", {text}");
    assert_eq!(defects(&mended), []);
    let text = "SUBSYSTEM==\"block\", KERNEL==\"sd*|vd*\", ATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(
        defects(text),
        [Defect::MatchesPartitions(vec!["sda1", "vda1"])]
    );
    // Only disks have a queue to compare.
    let text = "KERNEL==\"sd*\", ATTR{queue/rotational}==\"1\", ATTR{queue/scheduler}=\"bfq\"\n";
    assert_eq!(defects(text), []);
}

/// A partition has no queue, so a rule that matches only partitions has no effect, with or without `DEVTYPE`.
#[test]
fn names_that_only_partitions_have_never_act() {
    for (pattern, examples) in [
        ("mmcblk[0-9]p[0-9]", ["mmcblk0p1", "mmcblk0p2"]),
        ("nvme[0-9]n[0-9]p[0-9]", ["nvme0n1p1", "nvme0n1p2"]),
        ("nvme0n1p*", ["nvme0n1p1", "nvme0n1p2"]),
        ("sd[a-z][0-9]", ["sda1", "sda2"]),
        ("sd?1|sd?2", ["sda1", "sda2"]),
        ("md[0-9]p?", ["md0p1", "md0p2"]),
    ] {
        for rest in [
            "",
            ", ENV{DEVTYPE}==\"disk\"",
            ", ENV{DEVTYPE}==\"partition\"",
            ", ATTR{queue/rotational}==\"0\"",
        ] {
            let text = format!("KERNEL==\"{pattern}\"{rest}, ATTR{{queue/scheduler}}=\"bfq\"\n");
            let examples = examples.map(str::to_owned).to_vec();
            assert_eq!(defects(&text), [Defect::OnlyPartitions(examples)], "{text}");
            let note = Note::of(&rules(&text))[0].to_string();
            assert!(
                note.contains("only partitions") && note.contains("no effect"),
                "{note}"
            );
            assert!(!note.contains("DEVTYPE"), "{note}");
        }
    }
    // Rules that also match disks have an effect, and so do rules that write to the disk of a partition.
    let text = "KERNEL==\"mmcblk[0-9]|mmcblk[0-9]p[0-9]\", ENV{DEVTYPE}==\"disk\", ATTR{queue/scheduler}=\"bfq\"\n";
    assert_eq!(defects(text), [Defect::Misses(vec!["mmcblk10"])]);
    let text = "KERNEL==\"sd[a-z]1\", ATTR{../queue/scheduler}=\"bfq\"\n";
    assert_eq!(defects(text), []);
    for text in [
        "KERNEL==\"sda2\", ATTR{[block/sda]queue/scheduler}=\"bfq\"\n",
        "KERNEL==\"sda1\", RUN+=\"/bin/sh -c 'echo bfq >/sys/block/sda/queue/scheduler'\"\n",
        "KERNEL==\"sda1\", RUN+=\"/bin/sh -c 'echo bfq >/sys/block/%P/queue/scheduler'\"\n",
    ] {
        assert_eq!(defects(text), [], "{text}");
    }
    // Disks of a Xen guest, and areas of an eMMC.
    for pattern in ["xvda1", "xvd?[12]", "mmcblk*gp*", "mmcblk0[bg]*"] {
        let text = format!("KERNEL==\"{pattern}\", ATTR{{queue/scheduler}}=\"none\"\n");
        let found = defects(&text);
        let dead = |defect: &Defect| matches!(defect, Defect::OnlyPartitions(_));
        assert!(!found.iter().any(dead), "{text}: {found:?}");
    }
    let text = "KERNEL==\"sda1\", RUN+=\"/bin/sh -c 'echo bfq >/sys/block/%k/queue/scheduler'\"\n";
    let only = vec!["sda1".to_owned()];
    assert_eq!(defects(text), [Defect::OnlyPartitions(only)]);
    let text = "KERNEL==\"mtdblock[0-9]\", ATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(defects(text), []);
}

/// The rules that Debian ships set no queue attribute by a name.
#[test]
fn no_stock_rule_is_noted() {
    for udev in Udev::ALL {
        let directory = udev.rules().unwrap_or_else(|error| panic!("{error}"));
        let paths = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "rules"));
        let found = RuleFiles::of(paths.map(|path| {
            let document = Document::parse(&std::fs::read(&path).unwrap());
            (path.display().to_string(), document)
        }));
        assert!(found.files().len() >= 30, "{}", directory.display());
        assert_eq!(Note::of(&found), []);
    }
}

#[test]
fn a_scheduler_is_compared_with_the_whole_list() {
    let files = BTreeMap::from([(
        "/sys/devices/virtual/block/sda/queue/scheduler".to_owned(),
        "none mq-deadline [bfq]\n".to_owned(),
    )]);
    let disk = Device::disk("sda").with_attributes(&files);
    let text = "ATTR{queue/scheduler}==\"bfq\", ATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(certain(text, &disk), None);
    assert_eq!(defects(text), [Defect::WholeList]);
    let text = "ATTR{queue/scheduler}==\"*\\[bfq\\]*\", ATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(certain(text, &disk).as_deref(), Some("none"));
    assert_eq!(defects(text), []);
}

#[test]
fn an_attribute_that_is_not_there_matches_neither_way() {
    let text = "ATTR{queue/rotational}!=\"1\", ATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(certain(text, &Device::disk("sda")), None);
}

#[test]
fn final_does_not_hold_for_attributes() {
    let text = "ATTR{queue/scheduler}:=\"bfq\"\nATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(certain(text, &Device::disk("sda")).as_deref(), Some("none"));
    let problems = rules(text).problems();
    assert!(
        matches!(problems[0].1, ProblemKind::TakenAsAssignment { .. }),
        "{problems:?}"
    );
}

#[test]
fn a_property_of_an_import_is_not_there_before_it() {
    let early = "ENV{ID_BUS}==\"ata\", ATTR{queue/scheduler}=\"bfq\"\n";
    let import = "IMPORT{program}=\"ata_id --export $devnode\"\n";
    let known = Device::disk("sda").with_database([("ID_BUS", "ata")]);
    // udev's database has it from an earlier event, but no rule sees it here.
    assert_eq!(certain(early, &known), None);
    assert_eq!(
        certain(&format!("{import}{early}"), &known).as_deref(),
        Some("bfq")
    );
    let unknown = Device::disk("sda");
    assert!(perhaps(&format!("{import}{early}"), &unknown).contains("ENV{ID_BUS}"));
    // This is why the names of our files do not begin with `60-hosttune`.
    let own = GeneratedRules::new("x")
        .rule(DiskRule::new([Condition::bus("ata")]).set("queue/scheduler", "bfq"));
    assert!(own.file_name().unwrap().as_str() > "60-persistent-storage.rules");
    assert!("60-hosttune-x.rules" < "60-persistent-storage.rules");
}

#[test]
fn device_mapper_is_tuned_when_it_is_activated_and_not_when_it_is_added() {
    let own = GeneratedRules::new("x").rule(
        DiskRule::device_mapper([Condition::property("DM_UUID", "LVM-*").as_pattern()])
            .set("queue/read_ahead_kb", "512"),
    );
    let flags = "ENV{DM_ACTIVATION}=\"1\", ENV{DM_UUID}=\"LVM-abc\"\n";
    let text = format!("{flags}{}", own.to_text().unwrap());
    let disk = Device::disk("dm-0");
    let outcome = |text: &str, action| rules(text).outcome(&disk, action, "queue/read_ahead_kb");
    assert_eq!(outcome(&text, Action::Add), Outcome::Untouched);
    assert!(matches!(outcome(&text, Action::Change), Outcome::Set(_)));
    // Not before its table is loaded, and not if its creator has disabled other rules.
    let suspended = text.replace("ENV{DM_ACTIVATION}=\"1\", ", "");
    assert_eq!(outcome(&suspended, Action::Change), Outcome::Untouched);
    let disabled = format!("ENV{{DM_UDEV_DISABLE_OTHER_RULES_FLAG}}=\"1\"\n{text}");
    assert_eq!(outcome(&disabled, Action::Change), Outcome::Untouched);
}

#[test]
fn a_fight_says_which_rule_on_which_event_and_what_it_sets() {
    let text = "# ours\nACTION==\"change\", KERNEL==\"sd*\", \\\n  ATTR{queue/scheduler}=\"bfq\"\n";
    let found = rules(text);
    let evaluator = hosttune_blockdev::udev::Evaluator::new(&found);
    let disk = Device::disk("sda");
    let never = |_: &str, _: &str, _: &str| false;
    let fights = |wanted: &str, alias: bool| -> Vec<Conflict> {
        let satisfies =
            |_: &str, seen: &str, wanted: &str| alias && seen == "bfq" && wanted == "other";
        evaluator.fights(
            &disk,
            &[("queue/scheduler", wanted), ("queue/nr_requests", "64")],
            satisfies,
        )
    };
    assert_eq!(fights("bfq", false), []);
    assert_eq!(fights("other", true), []);
    let fight = fights("none", false).remove(0);
    assert!(fight.is_certain());
    assert_eq!(fight.actions, [Action::Change]);
    assert_eq!(
        fight.to_string(),
        "queue/scheduler is requested as none, but on change udev sets: /etc/udev/rules.d/60-x.rules:2: queue/scheduler = bfq"
    );
    // Without this file, which may be masked or ours, there is no conflict.
    let others = found.without("/etc/udev/rules.d/60-x.rules");
    let evaluator = hosttune_blockdev::udev::Evaluator::new(&others);
    assert_eq!(
        evaluator.fights(&disk, &[("queue/scheduler", "none")], never),
        []
    );
}

#[test]
fn a_program_that_names_an_attribute_is_perhaps_and_comes_last() {
    let text = "RUN+=\"/bin/sh -c 'echo bfq > /sys/block/%k/queue/scheduler'\"\nATTR{queue/scheduler}=\"none\"\n";
    let Outcome::Perhaps(setters) = scheduler(text, &Device::disk("sda")) else {
        panic!()
    };
    let values: Vec<_> = setters
        .iter()
        .map(|setter| setter.value.as_deref())
        .collect();
    assert_eq!(values, [Some("none"), Some("bfq")]);
    // A program that is removed from the list again does not count.
    let cleared = format!("{text}RUN=\"/bin/true\"\n");
    assert_eq!(
        certain(&cleared, &Device::disk("sda")).as_deref(),
        Some("none")
    );
    // After a final assignment no programs are added.
    let barred = format!("RUN:=\"/bin/true\"\n{text}");
    assert_eq!(
        certain(&barred, &Device::disk("sda")).as_deref(),
        Some("none")
    );
    let read_ahead = rules("RUN+=\"/sbin/blockdev --setra 4096 /dev/%k\"\n");
    let outcome = read_ahead.outcome(&Device::disk("sda"), Action::Add, "queue/read_ahead_kb");
    assert!(matches!(outcome, Outcome::Perhaps(_)), "{outcome:?}");
}
