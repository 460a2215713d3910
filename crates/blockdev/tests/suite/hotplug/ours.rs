//! Generated rules, run by a stock udevd.

use hosttune_blockdev::udev::{
    Action, Call, Condition, Device, DiskRule, Evaluator, GeneratedRules, Outcome, RuleFiles,
};
use hosttune_blockdev::{Attribute, Disk, Rule, Rules, Standing, Transport};
use hosttune_test_machine::{Udev, Udevd, drawn};

use super::{ask, live, read, tell};

/// Settings for disks of this machine, each matched by another kind of condition.
fn rules() -> GeneratedRules {
    GeneratedRules::new("test")
        .rule(
            DiskRule::new([
                Condition::below("virtio"),
                Condition::below("scsi").negated(),
            ])
            .set("queue/read_ahead_kb", "64"),
        )
        .rule(
            DiskRule::new([
                Condition::parent_attribute("model", "QEMU HARDDISK"),
                Condition::rotational(false),
                Condition::bus("ata").negated(),
            ])
            // Named before the scheduler, but it has to be written after it, because a switch resets it.
            .set("queue/nr_requests", "48")
            .set("queue/scheduler", "mq-deadline")
            .set("queue/iosched/fifo_batch", "8"),
        )
        .rule(
            DiskRule::new([Condition::bus("ata")])
                .set("queue/scheduler", "none")
                .set("queue/read_ahead_kb", "256"),
        )
        .rule(
            DiskRule::device_mapper([Condition::property("DM_UUID", "TEST-*").as_pattern()])
                .set("queue/read_ahead_kb", "512"),
        )
}

fn disk(serial: &str) -> String {
    let found = tell(
        "for disk in /sys/block/sd*; do \
         echo $(basename $disk) $(tail -c +5 $disk/device/vpd_pg80 2>/dev/null | tr -d '\\0'); done",
    );
    let mut lines = found.lines().filter_map(|line| line.split_once(' '));
    let (name, _) = lines
        .find(|(_, found)| found.trim() == serial)
        .unwrap_or_else(|| panic!("{serial}: {found}"));
    name.to_owned()
}

pub(super) fn udevd_sets_what_ours_say() {
    // The check run takes the first; what_is_judged_is_what_udevd_does takes both.
    for udev in Udev::ALL.into_iter().take(drawn(Udev::ALL.len(), 2)) {
        let udevd = Udevd::start(udev);
        let (solid, ata) = (disk("scsi-solid"), disk("ata"));
        let at =
            |disk: &str, attribute: &str| read(&format!("/sys/block/{disk}/queue/{attribute}"));
        let disks = [solid.clone(), ata.clone(), "vda".to_owned()];
        let kept: Vec<(String, String)> = disks
            .iter()
            .flat_map(|disk| {
                ["scheduler", "read_ahead_kb", "nr_requests"]
                    .map(|name| format!("/sys/block/{disk}/queue/{name}"))
            })
            .map(|path| (path.clone(), read(&path)))
            .collect();
        tell(&format!(
            "echo none > /sys/block/{solid}/queue/scheduler; echo mq-deadline > /sys/block/{ata}/queue/scheduler"
        ));

        let ours = rules();
        let path = format!("/run/udev/rules.d/{}", ours.file_name().unwrap());
        std::fs::write(&path, ours.to_text().unwrap()).unwrap();
        udevd.reload();
        udevd.trigger("add", &disks);
        let log = udevd.log();
        assert!(
            at(&solid, "scheduler").contains("[mq-deadline]"),
            "{}: {log}",
            at(&solid, "scheduler")
        );
        assert_eq!(at(&solid, "nr_requests"), "48");
        assert_eq!(at(&solid, "iosched/fifo_batch"), "8");
        assert!(
            at(&ata, "scheduler").contains("[none]"),
            "{}",
            at(&ata, "scheduler")
        );
        assert_eq!(at(&ata, "read_ahead_kb"), "256");
        assert_eq!(at("vda", "read_ahead_kb"), "64");

        // The evaluator predicts the same from all rules files of the machine.
        let host = live();
        let all = RuleFiles::read(&host).unwrap();
        let file = all.files().iter().find(|file| file.path == path).unwrap();
        assert_eq!(file.document.problems(), []);
        let evaluator = Evaluator::new(&all);
        for (disk, attribute, value) in [
            (&solid, "queue/nr_requests", "48"),
            (&ata, "queue/read_ahead_kb", "256"),
        ] {
            let device = Device::block(&host, disk).unwrap().unwrap();
            let outcome = evaluator.outcome(&device, Action::Add, attribute);
            let Outcome::Set(setter) = &outcome else {
                panic!("{disk}: {outcome:?}")
            };
            assert_eq!(setter.value.as_deref(), Some(value));
            assert_eq!(setter.place.file, path);
            assert_eq!(
                evaluator.outcome(&device, Action::Change, attribute),
                Outcome::Untouched
            );
        }

        // The second time, the scheduler is active and is not written.
        udevd.clear_log();
        udevd.trigger("add", &disks);
        let log = udevd.log();
        assert!(!log.contains("queue/scheduler' writing"), "{log}");
        assert!(log.contains("queue/nr_requests' writing '48'"), "{log}");

        device_mapper(&udevd);
        rendered(&udevd, &solid, &ata);
        for (path, value) in kept {
            // Of a list, the active one.
            let active = value.split(['[', ']']).nth(1).unwrap_or(&value);
            tell(&format!("echo {active} > {path}"));
        }
    }
}

/// A device-mapper device is tuned when it is activated, not when it is added.
fn device_mapper(udevd: &Udevd) {
    tell("modprobe dm-mod");
    udevd.clear_log();
    // Since Linux 5.15 it is added when its table is loaded; it is in use only when it is resumed.
    tell("set -e; dmsetup create --notable -u TEST-1 ours; echo '0 2048 zero' | dmsetup load ours");
    udevd.admin("settle --timeout=60");
    let log = udevd.log();
    assert!(
        log.contains("/dm-0") && !log.contains("read_ahead_kb' writing"),
        "{log}"
    );
    let name = tell("basename $(dirname $(dirname $(grep -l '^ours$' /sys/block/dm-*/dm/name)))")
        .trim()
        .to_owned();
    tell("dmsetup resume ours");
    udevd.admin("settle --timeout=60");
    assert_eq!(
        read(&format!("/sys/block/{name}/queue/read_ahead_kb")),
        "512",
        "{}",
        udevd.log()
    );
    tell("dmsetup remove ours");
    udevd.admin("settle --timeout=60");
}

/// Rules of a plan, converted: each disk is matched only by the first one that it meets.
fn rendered(udevd: &Udevd, solid: &str, ata: &str) {
    let rules = Rules::new([
        Rule::new("solid")
            .transport(Transport::Scsi)
            .model("QEMU HARD*".parse().unwrap())
            .rotational(false)
            .scheduler("mq-deadline".parse().unwrap())
            .queue(Attribute::NrRequests, 40)
            .tunable("fifo_batch", 6),
        Rule::new("the \"ata\" | %k")
            .transport(Transport::Sata)
            .by_id("ata-*".parse().unwrap())
            .scheduler("none".parse().unwrap())
            .queue(Attribute::ReadAheadKb, 192),
        Rule::new("rest").queue(Attribute::ReadAheadKb, 96),
    ]);
    let own = rules.to_udev("test").unwrap();
    let path = format!("/run/udev/rules.d/{}", own.file_name().unwrap());
    let text = own.to_text().unwrap();
    std::fs::write(&path, &text).unwrap();
    let at = |disk: &str, attribute: &str| read(&format!("/sys/block/{disk}/queue/{attribute}"));
    tell(&format!(
        "echo none > /sys/block/{solid}/queue/scheduler; echo mq-deadline > /sys/block/{ata}/queue/scheduler; \
         for disk in {solid} {ata} vda; do echo 32 > /sys/block/$disk/queue/read_ahead_kb; done"
    ));
    // Which disk a plan assigns to which rule.
    let host = live();
    let taken: Vec<(String, String)> = Disk::all(&host)
        .unwrap()
        .iter()
        .filter_map(|disk| {
            let mut rules = rules.rules.iter();
            let rule = rules.find(|rule| rule.disks.standing(disk) == Standing::Matches)?;
            Some((disk.to_string(), rule.name.clone()))
        })
        .filter(|(disk, _)| [solid, ata, "vda"].contains(&disk.as_str()))
        .collect();
    for (disk, rule) in [(solid, 0), (ata, 1), ("vda", 2)] {
        let pair = (disk.to_owned(), rules.rules[rule].name.clone());
        assert!(taken.contains(&pair), "{pair:?} {taken:?}");
    }
    udevd.reload();
    udevd.clear_log();
    udevd.trigger("add", &[solid.to_owned(), ata.to_owned(), "vda".to_owned()]);
    let log = udevd.log();
    let scheduler = at(solid, "scheduler");
    assert!(
        scheduler.contains("[mq-deadline]"),
        "{scheduler} {text} {log}"
    );
    assert_eq!(at(solid, "nr_requests"), "40", "{log}");
    assert_eq!(at(solid, "iosched/fifo_batch"), "6", "{log}");
    assert_eq!(at(solid, "read_ahead_kb"), "32", "{log}");
    let scheduler = at(ata, "scheduler");
    assert!(scheduler.contains("[none]"), "{scheduler} {log}");
    assert_eq!(at(ata, "read_ahead_kb"), "192", "{log}");
    assert_eq!(at("vda", "read_ahead_kb"), "96", "{log}");
    // Nothing of it is left in udev's database, and neither the parser nor udevd reports a problem.
    let database = tell("cat /run/udev/data/b*");
    assert!(
        database.contains("E:") && !database.contains("HOSTTUNE"),
        "{database}"
    );
    let host = live();
    let all = RuleFiles::read(&host).unwrap();
    let file = all.files().iter().find(|file| file.path == path).unwrap();
    assert_eq!(file.document.problems(), []);
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| {
            line.contains("61-hosttune")
                && (line.contains("nvalid") || line.contains("ailed") || line.contains("nknown"))
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

pub(super) fn udevadm_finds_nothing_wrong_with_ours() {
    let program = Udev::Backports
        .program()
        .unwrap_or_else(|error| panic!("{error}"));
    let verify = |name: &str, text: &str| {
        let path = format!("/run/{name}");
        std::fs::write(&path, text).unwrap();
        ask(&format!(
            "{} verify --resolve-names=never {path}",
            program.display()
        ))
    };
    let strange = GeneratedRules::new("strange")
        .rule(
            DiskRule::new([
                Condition::property("ID_MODEL", "a \"model\" [of] *any* kind\\"),
                Condition::property("ID_SERIAL", "ends in a backslash\\"),
                Condition::attribute("device/model", "50 % $HOME").negated(),
                Condition::bus("ata|usb").as_pattern(),
            ])
            .set("queue/iosched/low_latency", "0")
            .set("queue/scheduler", "100%"),
        )
        .call(Call::apply("/usr/local/bin/gaming"));
    let of_disks = Rules::new([
        Rule::new("a \\")
            .kernel_name("s[!a]*".parse().unwrap())
            .queue(Attribute::Nomerges, 1),
        Rule::new("b")
            .transport(Transport::Unknown)
            .queue(Attribute::Nomerges, 2),
    ]);
    let of_disks = of_disks.to_udev("disks").unwrap();
    for own in [rules(), strange, of_disks] {
        let text = own.to_text().unwrap();
        let (worked, said) = verify(&own.file_name().unwrap(), &text);
        assert!(worked && !said.contains("rules:"), "{text}: {said}");
        // `udevadm verify` does report an error if there is one.
        let (worked, said) = verify("wrong.rules", &text.replace("ACTION==", "ACTION="));
        assert!(!worked, "{said}");
    }
}
