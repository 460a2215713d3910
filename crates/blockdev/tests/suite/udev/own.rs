//! Generated rules.

use std::collections::BTreeMap;

use hosttune_blockdev::udev::{
    Action, Call, Condition, Device, DiskRule, Document, GeneratedRules, GeneratedRulesError,
    Outcome, RuleFiles,
};
use proptest::prelude::*;

fn files(own: &GeneratedRules) -> RuleFiles {
    let document = Document::parse(own.to_text().unwrap().as_bytes());
    assert_eq!(document.problems(), []);
    RuleFiles::of([(own.path().unwrap(), document)])
}

#[test]
fn the_scheduler_is_set_first_and_not_where_it_is_active() {
    let own = GeneratedRules::new("x").rule(
        DiskRule::new([Condition::rotational(false)])
            .set("queue/iosched/low_latency", "0")
            .set("queue/nr_requests", "64")
            .set("queue/scheduler", "bfq"),
    );
    let rules = files(&own);
    let of_kind = |zoned: &str, active: &str| {
        let at = "/sys/devices/virtual/block/sda/queue/";
        BTreeMap::from([
            (format!("{at}rotational"), "0\n".to_owned()),
            (format!("{at}zoned"), format!("{zoned}\n")),
            (format!("{at}scheduler"), format!("{active}\n")),
        ])
    };
    let sysfs = |active| of_kind("none", active);
    let set = |attributes: &BTreeMap<String, String>| -> Vec<String> {
        let disk = Device::disk("sda").with_attributes(attributes);
        let evaluator = hosttune_blockdev::udev::Evaluator::new(&rules);
        let setters = evaluator.setters(&disk, Action::Add);
        setters.into_iter().map(|setter| setter.attribute).collect()
    };
    let others = ["queue/iosched/low_latency", "queue/nr_requests"];
    assert_eq!(
        set(&sysfs("[none] bfq")),
        [&["queue/scheduler"], &others[..]].concat()
    );
    assert_eq!(set(&sysfs("none [bfq]")), others);
    // Some kernel that reads the file may need mq-deadline there, to keep the order of writes.
    assert_eq!(set(&of_kind("host-managed", "[mq-deadline] bfq")), others);
    assert_eq!(
        set(&of_kind("host-aware", "[mq-deadline] bfq")).len(),
        others.len() + 1
    );
}

#[test]
fn a_program_is_called_for_disks_that_come_and_is_no_fight_for_others() {
    let own = GeneratedRules::new("x").call(Call::apply("/usr/bin/gaming"));
    let text = own.to_text().unwrap();
    assert!(text.contains("ENV{DEVTYPE}==\"disk\""));
    let run = "RUN+=\"/usr/bin/gaming apply --only blockdev --device %N --yes --wait 60\"";
    assert_eq!(text.matches(run).count(), 2, "{text}");
    assert!(text.contains("ACTION==\"add\"") && text.contains("ACTION==\"change\""));
    let outcome = files(&own).outcome(&Device::disk("sda"), Action::Add, "queue/scheduler");
    assert_eq!(outcome, Outcome::Untouched);
    for program in ["gaming", "/opt/it's/gaming", "", "/a\"b", "/a\\b"] {
        let own = GeneratedRules::new("x").call(Call::apply(program));
        assert!(
            matches!(own.to_text(), Err(GeneratedRulesError::Program(_))),
            "{program}"
        );
    }
    let own = GeneratedRules::new("x").call(Call::apply("/opt/my games/100%/gaming"));
    assert!(
        own.to_text()
            .unwrap()
            .contains("\"'/opt/my games/100%%/gaming' apply")
    );
}

#[test]
fn what_cannot_be_written_is_refused() {
    let rule = |attribute: &str, value: &str| {
        GeneratedRules::new("x")
            .rule(DiskRule::new([Condition::below("nvme")]).set(attribute, value))
            .to_text()
    };
    assert!(rule("queue/scheduler", "none").is_ok());
    for attribute in [
        "",
        "/sys/x",
        "../x",
        "queue/../x",
        "queue/*/x",
        "a$b",
        "a}b",
        "a//b",
        "[block/sda]x",
        "a\nb",
    ] {
        let error = rule(attribute, "1").unwrap_err();
        assert!(
            matches!(error, GeneratedRulesError::Attribute(_)),
            "{attribute}: {error}"
        );
    }
    for value in ["", "a\nb", "a\0b", &"x".repeat(512)] {
        let error = rule("queue/scheduler", value).unwrap_err();
        assert!(
            matches!(error, GeneratedRulesError::Value { .. }),
            "{value}: {error}"
        );
    }
    let condition = |condition: Condition| {
        let rule = DiskRule::new([condition]).set("queue/scheduler", "none");
        GeneratedRules::new("x").rule(rule).to_text()
    };
    for wrong in [
        Condition::property("ID_MODEL", "a|b"),
        Condition::property("ID_MODEL", ""),
        Condition::property("A}B", "x"),
        Condition::attribute("device/%k", "x"),
        Condition::attribute("", "x"),
        Condition::property("ID_MODEL", "a\0b"),
        Condition::property("ID_MODEL", &"x".repeat(17000)),
    ] {
        let error = condition(wrong.clone()).unwrap_err();
        assert!(
            matches!(error, GeneratedRulesError::Unwritable(_)),
            "{wrong:?}: {error}"
        );
    }
    let every = GeneratedRules::new("x").rule(DiskRule::new([]).set("queue/scheduler", "none"));
    assert_eq!(every.to_text(), Err(GeneratedRulesError::NoCondition));
    let nothing = GeneratedRules::new("x").rule(DiskRule::new([Condition::below("nvme")]));
    assert_eq!(nothing.to_text(), Err(GeneratedRulesError::NothingSet));
    for name in ["", "a b", "../x", "A", &"x".repeat(65)] {
        assert_eq!(
            GeneratedRules::new(name).to_text(),
            Err(GeneratedRulesError::Name(name.to_owned()))
        );
    }
}

proptest! {
    /// Whatever characters a disk's model has, the rule matches it and no other.
    #[test]
    fn a_condition_matches_what_it_was_made_from(model in "\\PC{1,20}", other in "\\PC{1,20}", value in "[ -~]{1,20}") {
        let own = GeneratedRules::new("x").rule(
            DiskRule::new([Condition::property("ID_MODEL", &model)]).set("queue/scheduler", &value),
        );
        let Ok(text) = own.to_text() else {
            prop_assert!(model.contains('|') || value.contains('|'));
            return Ok(());
        };
        let document = Document::parse(text.as_bytes());
        prop_assert_eq!(document.problems(), []);
        let rules = RuleFiles::of([("/x.rules", document)]);
        let sysfs = BTreeMap::from([
            ("/sys/devices/virtual/block/sda/queue/scheduler".to_owned(), "[another] one\n".to_owned()),
            ("/sys/devices/virtual/block/sda/queue/zoned".to_owned(), "none\n".to_owned()),
        ]);
        let set = |model: &str| {
            let mut disk = Device::disk("sda").with_attributes(&sysfs);
            disk.uevent.insert("ID_MODEL".to_owned(), model.to_owned());
            match rules.outcome(&disk, Action::Add, "queue/scheduler") {
                Outcome::Set(setter) => setter.value,
                _ => None,
            }
        };
        prop_assert_eq!(set(&model), (value != "another").then_some(value), "{}", text);
        if other != model {
            prop_assert_eq!(set(&other), None, "{}", text);
        }
    }
}
