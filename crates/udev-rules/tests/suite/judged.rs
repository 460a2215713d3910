//! How rules are evaluated: order, jumps, parents, substitutions, and what is uncertain.

use std::collections::BTreeMap;

use hosttune_udev_rules::{
    Action, Content, Device, Document, Level, Outcome, Problem, ProblemKind,
};

use crate::outcomes::{certain, perhaps, rules, scheduler};

fn sda() -> Device<'static> {
    Device::disk("sda")
}

#[test]
fn the_last_assignment_wins() {
    let text = "ATTR{queue/scheduler}=\"bfq\"\nATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(certain(text, &sda()).as_deref(), Some("none"));
    let text = "ATTR{queue/scheduler}=\"bfq\", ATTR{queue/scheduler}=\"kyber\"\n";
    assert_eq!(certain(text, &sda()).as_deref(), Some("kyber"));
}

#[test]
fn tokens_are_carried_out_by_key_and_not_as_they_stand() {
    // The property is set before the attribute, although it comes later in the line.
    let text = "ATTR{queue/scheduler}=\"$env{X}\", ENV{X}=\"bfq\"\n";
    assert_eq!(certain(text, &sda()).as_deref(), Some("bfq"));
    // It is compared before it is set.
    let text = "ENV{X}=\"1\", ENV{X}==\"1\", ATTR{queue/scheduler}=\"bfq\"\n";
    assert_eq!(certain(text, &sda()), None);
}

#[test]
fn jumps_go_forward_within_the_file() {
    let text = "KERNEL==\"sda\", GOTO=\"end\"\nATTR{queue/scheduler}=\"bfq\"\nLABEL=\"end\"\n";
    assert_eq!(certain(text, &sda()), None);
    assert_eq!(certain(text, &Device::disk("sdb")).as_deref(), Some("bfq"));
    let backwards = "LABEL=\"end\"\nGOTO=\"end\"\nATTR{queue/scheduler}=\"bfq\"\n";
    assert_eq!(certain(backwards, &sda()).as_deref(), Some("bfq"));
    assert!(matches!(
        rules(backwards).problems()[0].1,
        ProblemKind::NoSuchLabel(_)
    ));
}

#[test]
fn what_is_perhaps_jumped_over_is_perhaps() {
    let text = "PROGRAM==\"/bin/x\", GOTO=\"end\"\nATTR{queue/scheduler}=\"bfq\"\nLABEL=\"end\"\nATTR{queue/nr_requests}=\"8\"\n";
    assert!(perhaps(text, &sda()).contains("depends on PROGRAM /bin/x"));
    let behind = rules(text).outcome(&sda(), Action::Add, "queue/nr_requests");
    assert!(matches!(behind, Outcome::Set(_)));
}

#[test]
fn what_cannot_be_told_is_perhaps_and_says_why() {
    for (text, why) in [
        (
            "PROGRAM==\"/bin/x\", ATTR{queue/scheduler}=\"bfq\"\n",
            "PROGRAM /bin/x",
        ),
        (
            "PROGRAM=\"/bin/x\"\nRESULT==\"y\", ATTR{queue/scheduler}=\"bfq\"\n",
            "PROGRAM /bin/x",
        ),
        (
            "PROGRAM=\"/bin/x\"\nATTR{queue/scheduler}=\"%c\"\n",
            "output of a program",
        ),
        (
            "IMPORT{file}=\"/etc/x\", ATTR{queue/scheduler}=\"bfq\"\n",
            "IMPORT{file}",
        ),
        (
            "IMPORT{cmdline}=\"x\"\nENV{x}==\"1\", ATTR{queue/scheduler}=\"bfq\"\n",
            "command line",
        ),
        (
            "CONST{virt}==\"kvm\", ATTR{queue/scheduler}=\"bfq\"\n",
            "CONST{virt}",
        ),
        ("NEWKEY==\"x\", ATTR{queue/scheduler}=\"bfq\"\n", "NEWKEY"),
        (
            "KERNEL==i\"SDA\", ATTR{queue/scheduler}=\"bfq\"\n",
            "prefix i",
        ),
        (
            "PROGRAM==\"/bin/x\", ENV{A}=\"1\"\nENV{A}==\"1\", ATTR{queue/scheduler}=\"bfq\"\n",
            "ENV{A}",
        ),
        (
            "PROGRAM=\"/bin/sh -c 'echo bfq >/sys/block/sda/queue/scheduler'\"\n",
            "effect of the program",
        ),
    ] {
        let said = perhaps(text, &sda());
        assert!(said.contains(why), "{text}: {said}");
    }
    // A certain assignment does not depend on an uncertain one.
    let text = "PROGRAM==\"/bin/x\", ENV{A}=\"1\"\nATTR{queue/scheduler}=\"bfq\"\n";
    assert_eq!(certain(text, &sda()).as_deref(), Some("bfq"));
    // A later one that is certain decides.
    let text =
        "PROGRAM==\"/bin/x\", ATTR{queue/scheduler}=\"bfq\"\nATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(certain(text, &sda()).as_deref(), Some("none"));
}

#[test]
fn lines_that_udevd_leaves_out_do_nothing() {
    for text in [
        "KERNEL=\"sda\", ATTR{queue/scheduler}=\"bfq\"\n",
        "ATTR==\"x\", ATTR{queue/scheduler}=\"bfq\"\n",
        "ENV{A}-=\"x\", ATTR{queue/scheduler}=\"bfq\"\n",
        "KERNEL==\"sda\" ATTR{queue/scheduler}=bfq\n",
        "KERNEL==\"sda, ATTR{queue/scheduler}=\"bfq\"\n",
        "IMPORT{nothing}=\"x\", ATTR{queue/scheduler}=\"bfq\"\n",
        "ATTR{queue/scheduler}=\"bfq\" \\\n",
        "ATTR{queue/scheduler}=i\"bfq\"\n",
        "ATTR{queue/scheduler}=e\"\\q\"\n",
    ] {
        assert_eq!(scheduler(text, &sda()), Outcome::Untouched, "{text}");
        let problems = Document::parse(text.as_bytes()).problems();
        assert!(
            problems.iter().any(Problem::leaves_out),
            "{text}: {problems:?}"
        );
        assert_eq!(problems[0].line, 1);
    }
}

#[test]
fn one_and_the_same_parent_has_to_match() {
    let level = |kernel: &str, subsystem: &str| Level {
        kernel: kernel.to_owned(),
        subsystem: Some(subsystem.to_owned()),
        driver: None,
        path: format!("/sys/devices/{kernel}"),
    };
    let files = BTreeMap::from([
        (
            "/sys/devices/0:0:0:0/model".to_owned(),
            "A disk      \n".to_owned(),
        ),
        (
            "/sys/devices/usb1/model".to_owned(),
            "A bridge\n".to_owned(),
        ),
    ]);
    let mut disk = Device::disk("sda").with_attributes(&files);
    disk.levels
        .extend([level("0:0:0:0", "scsi"), level("usb1", "usb")]);
    let set = ", ATTR{queue/scheduler}=\"bfq\"\n";
    for (condition, expected) in [
        ("SUBSYSTEMS==\"usb\", ATTRS{model}==\"A bridge\"", true),
        ("SUBSYSTEMS==\"scsi\", ATTRS{model}==\"A bridge\"", false),
        // Blanks at the end of an attribute are ignored, unless the compared value ends in one.
        ("ATTRS{model}==\"A disk\"", true),
        ("ATTRS{model}==\"A disk \"", false),
        // Any level will do, including the disk itself.
        ("SUBSYSTEMS!=\"usb\"", true),
        ("KERNELS==\"usb*\", DRIVERS==\"\"", true),
        ("KERNELS==\"usb2\"", false),
    ] {
        let found = certain(&format!("{condition}{set}"), &disk);
        assert_eq!(found.is_some(), expected, "{condition}");
    }
    // Substitutions use the level that matched.
    let text = "SUBSYSTEMS==\"scsi\", ATTR{queue/scheduler}=\"%b\"\n";
    assert_eq!(certain(text, &disk).as_deref(), Some("0:0:0:0"));
    let text = "SUBSYSTEMS==\"scsi\", ATTR{queue/scheduler}=\"$attr{model}\"\n";
    assert_eq!(certain(text, &disk).as_deref(), Some("A disk"));
}

#[test]
fn values_are_substituted() {
    for (value, expected) in [
        ("$kernel", "sda"),
        ("%k", "sda"),
        ("%%k", "%k"),
        ("$$kernel", "$kernel"),
        ("$kernelx", "sdax"),
        ("%k1", "sda1"),
        ("$devnode", "/dev/sda"),
        ("%N", "/dev/sda"),
        ("$name", "sda"),
        ("$env{DEVTYPE}", "disk"),
        ("%E{ACTION}", "add"),
        ("$root", "/dev"),
        ("%S", "/sys"),
        ("a%zb", "a%zb"),
        ("a$unknown", "a$unknown"),
        ("a%E{x", "a"),
        ("%p", "/devices/virtual/block/sda"),
    ] {
        let text = format!("ATTR{{queue/scheduler}}=\"{value}\"\n");
        assert_eq!(certain(&text, &sda()).as_deref(), Some(expected), "{value}");
    }
}

#[test]
fn an_attribute_is_reached_by_other_paths_too() {
    for path in [
        "queue/scheduler",
        "queue/../queue/scheduler",
        "[block/sda]queue/scheduler",
        "./queue/scheduler",
    ] {
        let text = format!("ATTR{{{path}}}=\"bfq\"\n");
        assert_eq!(certain(&text, &sda()).as_deref(), Some("bfq"), "{path}");
    }
    for path in [
        "[block/sdb]queue/scheduler",
        "../sdb/queue/scheduler",
        "device/queue/scheduler",
    ] {
        let text = format!("ATTR{{{path}}}=\"bfq\"\n");
        assert_eq!(certain(&text, &sda()), None, "{path}");
    }
}

#[test]
fn values_match_as_alternatives_and_empty_ones() {
    for (condition, expected) in [
        ("KERNEL==\"sdb|sda\"", true),
        ("KERNEL==\"sdb|\"", false),
        ("ENV{NOTHING}==\"\"", true),
        ("ENV{NOTHING}==\"x|\"", true),
        ("ENV{NOTHING}!=\"?*\"", true),
        ("ENV{DEVTYPE}==\"?*\"", true),
        ("ENV{NOTHING}==\"*\"", true),
        ("SUBSYSTEM==\"block\"", true),
        ("DEVPATH==\"/devices/*\"", true),
        ("TAG==\"x\"", false),
        ("TAG!=\"x\"", true),
        ("TEST==\"queue\"", false),
        ("TEST!=\"queue\"", true),
        ("NAME==\"\"", true),
        ("DRIVER==\"sd\"", false),
    ] {
        let text = format!("{condition}, ATTR{{queue/scheduler}}=\"bfq\"\n");
        assert_eq!(certain(&text, &sda()).is_some(), expected, "{condition}");
    }
}

#[test]
fn what_a_rule_has_written_is_what_the_next_compares() {
    let files = BTreeMap::from([
        (
            "/sys/devices/virtual/block/sda/queue/scheduler".to_owned(),
            "[none] bfq\n".to_owned(),
        ),
        (
            "/sys/devices/virtual/block/sda/queue/nr_requests".to_owned(),
            "64\n".to_owned(),
        ),
    ]);
    let disk = Device::disk("sda").with_attributes(&files);
    // What was written, or the list if the kernel refused the write.
    let text = "ATTR{queue/scheduler}=\"bfq\"\nATTR{queue/scheduler}==\"bfq\", ATTR{queue/scheduler}=\"kyber\"\n";
    assert!(perhaps(text, &disk).contains("an earlier rule writes"));
    // A switch of the scheduler resets what depends on it.
    let text = "ATTR{queue/scheduler}=\"bfq\"\nATTR{queue/nr_requests}==\"64\", ATTR{queue/scheduler}=\"kyber\"\n";
    assert!(perhaps(text, &disk).contains("resets queue/nr_requests"));
}

#[test]
fn the_read_ahead_has_an_older_name_and_hidden_disks_have_no_rules() {
    let text = "ATTR{bdi/read_ahead_kb}=\"64\"\n";
    let outcome = |disk: &Device<'_>| rules(text).outcome(disk, Action::Add, "queue/read_ahead_kb");
    assert!(matches!(outcome(&sda()), Outcome::Set(_)));
    let mut path = Device::disk("nvme0c0n1");
    path.is_hidden = true;
    assert_eq!(outcome(&path), Outcome::Untouched);
}

#[test]
fn comments_and_ends_of_lines_are_as_udevd_has_them() {
    let text =
        "KERNEL==\"sda\", \\\n# between, with a backslash \\\n  ATTR{queue/scheduler}=\"bfq\"\r\n";
    let document = Document::parse(text.as_bytes());
    assert_eq!(document.lines().len(), 1);
    assert_eq!(
        (document.lines()[0].number, document.lines()[0].last),
        (1, 3)
    );
    assert_eq!(certain(text, &sda()).as_deref(), Some("bfq"));
    // A comment cannot be continued.
    let text = "# a comment \\\nATTR{queue/scheduler}=\"bfq\"\n";
    assert_eq!(certain(text, &sda()).as_deref(), Some("bfq"));
    // A comment cannot follow a rule.
    let text = "ATTR{queue/scheduler}=\"bfq\" # comment\n";
    assert!(matches!(
        Document::parse(text.as_bytes()).lines()[0].content,
        Content::Broken(_)
    ));
    // udevd stops reading a file at a line that is too long.
    let text = format!(
        "ATTR{{queue/scheduler}}=\"none\"\n#{}\nATTR{{queue/scheduler}}=\"bfq\"\n",
        "x".repeat(17000)
    );
    assert_eq!(certain(&text, &sda()).as_deref(), Some("none"));
    let problems = Document::parse(text.as_bytes()).problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].line, &problems[0].kind),
        (2, &ProblemKind::Unread)
    );
    // What is not UTF-8 is preserved, and makes the result uncertain.
    let bytes = b"KERNEL==\"\xff\", ATTR{queue/scheduler}=\"bfq\"\n";
    let document = Document::parse(bytes);
    assert_eq!(document.to_bytes(), bytes);
    let files = hosttune_udev_rules::RuleFiles::of([("/x.rules", document)]);
    let outcome = files.outcome(&sda(), Action::Add, "queue/scheduler");
    assert!(matches!(outcome, Outcome::Perhaps(_)));
}

/// The kernel announces a disk and then its partitions. Rules that run for the partitions can write to the
/// disk.
#[test]
fn a_partition_s_rule_writes_to_its_disk() {
    let disk = || sda().with_partition("sda1").with_partition("sda2");
    for text in [
        "KERNEL==\"sd[a-z]1\", ATTR{../queue/scheduler}=\"bfq\"\n",
        "ENV{DEVTYPE}==\"partition\", ATTR{../queue/scheduler}=\"bfq\"\n",
        "KERNELS==\"sda\", KERNEL==\"sda2\", ATTR{[block/sda]queue/scheduler}=\"bfq\"\n",
    ] {
        assert_eq!(certain(text, &disk()).as_deref(), Some("bfq"), "{text}");
        assert_eq!(certain(text, &sda()), None, "{text}");
        let told = scheduler(text, &disk()).setters()[0].to_string();
        assert!(
            told.contains("queue/scheduler = bfq, in events of its partitions"),
            "{told}"
        );
    }
    // It takes effect after the disk's own event, wherever the line is.
    let text = "KERNEL==\"sda1\", ATTR{../queue/scheduler}=\"bfq\"\nKERNEL==\"sda\", ATTR{queue/scheduler}=\"none\"\n";
    assert_eq!(certain(text, &disk()).as_deref(), Some("bfq"));
    // A partition has no queue of its own, and the directory above a disk has none.
    for text in [
        "KERNEL==\"sda1\", ATTR{queue/scheduler}=\"bfq\"\n",
        "KERNEL==\"sda\", ATTR{../queue/scheduler}=\"bfq\"\n",
        "KERNEL==\"sdb1\", ATTR{../queue/scheduler}=\"bfq\"\n",
        "KERNEL==\"sda1\", RUN+=\"/bin/sh -c 'echo bfq >/sys/block/%k/queue/scheduler'\"\n",
    ] {
        assert_eq!(scheduler(text, &disk()), Outcome::Untouched, "{text}");
    }
    // The effect of a program is uncertain, as for a disk.
    for text in [
        "KERNEL==\"sda1\", RUN+=\"/bin/sh -c 'echo bfq >/sys$devpath/../queue/scheduler'\"\n",
        "KERNEL==\"sda1\", RUN+=\"/bin/sh -c 'echo bfq >/sys/block/sda/queue/scheduler'\"\n",
        "KERNEL==\"sda1\", RUN+=\"/bin/sh -c 'echo bfq >/sys/block/%P/queue/scheduler'\"\n",
    ] {
        let told = perhaps(text, &disk());
        assert!(told.contains("in events of its partitions"), "{told}");
    }
}

/// udevd handles the events of partitions concurrently.
#[test]
fn which_partition_is_last_cannot_be_told() {
    let disk = || sda().with_partition("sda1").with_partition("sda2");
    let differ = "KERNEL==\"sda1\", ATTR{../queue/scheduler}=\"bfq\"\nKERNEL==\"sda2\", ATTR{../queue/scheduler}=\"none\"\n";
    let told = perhaps(differ, &disk());
    assert!(
        told.contains("different values in an unknown order"),
        "{told}"
    );
    // Both end with the same value, whatever each of them sets before.
    let alike = "KERNEL==\"sda1\", ATTR{../queue/scheduler}=\"none\"\nKERNEL==\"sd?[12]\", ATTR{../queue/scheduler}=\"bfq\"\n";
    assert_eq!(certain(alike, &disk()).as_deref(), Some("bfq"));
}
