//! Rules that udev applies to hot-plugged disks.

use hosttune_blockdev::testing::{Linux, MemoryDisk, with_disk};
use hosttune_blockdev::udev::Document;
use hosttune_blockdev::{Attribute, Rule, Rules, Transport};
use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Death};
use hosttune_core::testing::{CrashPoint, Machine, Memory, Moment, World};
use hosttune_core::{State, Tuning};

use super::support::{Seen, memory, scheduler};

const FILE: &str = "/etc/udev/rules.d/61-hosttune-gaming.rules";

fn rules() -> Rules {
    let rules = Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .scheduler(scheduler("kyber")),
        Rule::new("sata")
            .transport(Transport::Sata)
            .scheduler(scheduler("bfq"))
            .queue(Attribute::ReadAheadKb, 64),
    ]);
    rules.persisted_as("gaming")
}

fn machine(memory: Memory) -> Seen {
    Seen(Machine::new(memory, hosttune_blockdev::knobs))
}

/// The notes about other rules files that override ours.
fn notes(rules: &Rules, machine: &Seen) -> Vec<String> {
    let report = rules
        .verify(&machine.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    let mut notes = report.notes;
    notes.retain(|note| note.starts_with("after a reboot"));
    notes
}

/// The file says that it applies the same after a reboot, and sets nothing there.
#[test]
fn what_the_file_leaves_out_is_named_by_disk() {
    let mut zoned = MemoryDisk::scsi("sdc", "ata3/host3", true, 8);
    zoned.zoned = "host-managed";
    let left_out = |rules: &Rules| {
        let machine = machine(with_disk(memory(Linux::V7_2), Linux::V7_2, &zoned));
        let session = machine.session(&CrashPoint::lives()).unwrap();
        let mut notes = rules.plan(&session).unwrap().notes;
        notes.retain(|note| note.starts_with("the rules file does not set"));
        notes
    };
    let [of_paths, of_zones] = left_out(&rules()).try_into().unwrap();
    assert!(
        of_paths.contains("the requests of nvme1n1, because"),
        "{of_paths}"
    );
    assert!(
        of_zones.contains("the scheduler of sdc, because"),
        "{of_zones}"
    );
    let harmless = Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .queue(Attribute::ReadAheadKb, 64),
        Rule::new("sata")
            .transport(Transport::Sata)
            .scheduler(scheduler("mq-deadline")),
    ]);
    assert_eq!(
        left_out(&harmless.persisted_as("gaming")),
        Vec::<String>::new()
    );
}

#[test]
fn the_laws_hold_with_a_file() {
    let there = FileContent {
        mode: 0o640,
        ..FileContent::new("# mine\n")
    };
    for memory in [
        memory(Linux::V7_2),
        memory(Linux::V6_1).directory("/etc"),
        memory(Linux::V7_2).content(FILE, there),
    ] {
        let world = machine(memory);
        let all = [
            rules(),
            Rules::new([]).persisted_as("gaming"),
            rules().only("sda"),
        ];
        for rules in &all {
            laws::apply_then_verify(&world, rules).unwrap();
            laws::apply_then_plan(&world, rules).unwrap();
            laws::plan_writes_nothing(&world, rules).unwrap();
        }
        laws::apply_then_revert(&world, &all).unwrap();
        for write in 0..40 {
            for moment in [Moment::Before, Moment::Within, Moment::After] {
                let death: Death = (write, moment);
                laws::die_anywhere(&world, &[rules()], &[death]).unwrap();
            }
        }
    }
}

#[test]
fn the_file_and_every_directory_above_it() {
    let world = machine(memory(Linux::V7_2));
    let plan = rules()
        .plan(&world.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    let files: Vec<&str> = plan
        .steps
        .iter()
        .map(|step| step.knob.text.as_str())
        .filter(|text| text.starts_with('/'))
        .collect();
    assert_eq!(files, ["/etc", "/etc/udev", "/etc/udev/rules.d", FILE]);
    let _ = rules()
        .apply(&mut world.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    let text = world.0.memory().get(FILE).unwrap();
    let own = rules().to_udev("gaming").unwrap().to_text().unwrap();
    assert_eq!(text.trim_end(), own.trim_end());
    assert_eq!(Document::parse(text.as_bytes()).problems(), []);
    assert_eq!(notes(&rules(), &world), Vec::<String>::new());
    assert!(
        world
            .session(&CrashPoint::lives())
            .unwrap()
            .revert()
            .unwrap()
            .is_complete()
    );
    assert!(!world.snapshot().contains_key("/etc"));
}

#[test]
fn on_an_image_there_is_the_file_and_nothing_else() {
    let world = machine(Memory::new().directory("/etc"));
    let was = world.snapshot();
    let plan = rules()
        .plan(&world.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    assert_eq!(plan.notes, Vec::<String>::new());
    let _ = rules()
        .apply(&mut world.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    assert!(world.0.memory().get(FILE).unwrap().contains("kyber"));
    assert!(!world.snapshot().keys().any(|path| path.starts_with("/sys")));
    assert!(
        world
            .session(&CrashPoint::lives())
            .unwrap()
            .revert()
            .unwrap()
            .is_complete()
    );
    assert_eq!(world.snapshot(), was);
}

/// A run for one hot-plugged disk leaves the file unchanged.
#[test]
fn for_one_disk_the_file_stays_as_it_is() {
    let world = machine(memory(Linux::V7_2).content(FILE, FileContent::new("# mine\n")));
    let only = rules().only("/dev/sda");
    let applied = only
        .apply(&mut world.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    assert!(!applied.changed.is_empty());
    assert_eq!(world.0.memory().get(FILE).unwrap(), "# mine");
}

#[test]
fn who_has_the_last_word_is_said_and_who_has_not_is_not() {
    let content =
        |memory: Memory, path: &str, text: &str| memory.content(path, FileContent::new(text));
    // Before our file, and only on add: ours comes later and overrides it.
    let world = machine(content(
        memory(Linux::V7_2),
        "/etc/udev/rules.d/60-io.rules",
        "ACTION==\"add\", KERNEL==\"sd*\", ATTR{queue/scheduler}=\"none\"\n",
    ));
    assert_eq!(notes(&rules(), &world), Vec::<String>::new());
    let _ = rules()
        .apply(&mut world.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    // Nor is there a note once our file is active.
    assert_eq!(notes(&rules(), &world), Vec::<String>::new());

    // On change events too, for which ours does nothing.
    let world = machine(content(
        memory(Linux::V7_2),
        "/etc/udev/rules.d/60-io.rules",
        "ACTION==\"add|change\", KERNEL==\"sd*\", ATTR{queue/scheduler}=\"none\"\n",
    ));
    assert_eq!(
        notes(&rules(), &world),
        [
            "after a reboot, on sda, sdb: queue/scheduler is requested as bfq, but on change udev sets: /etc/udev/rules.d/60-io.rules:1: queue/scheduler = none"
        ]
    );

    // After our file.
    let world = machine(content(
        memory(Linux::V7_2),
        "/etc/udev/rules.d/99-io.rules",
        "ACTION==\"add\", KERNEL==\"sda\", ATTR{queue/read_ahead_kb}=\"65\"\n\
         ACTION==\"add\", KERNEL==\"sda\", ATTR{queue/scheduler}=\"none\"\n",
    ));
    // 65 KiB are rounded to the requested 64.
    assert_eq!(
        notes(&rules(), &world),
        [
            "after a reboot, on sda: queue/scheduler is requested as bfq, but on add udev sets: /etc/udev/rules.d/99-io.rules:2: queue/scheduler = none"
        ]
    );
    let _ = rules()
        .apply(&mut world.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    let report = rules()
        .verify(&world.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    assert!(report.items.iter().any(
        |item| matches!(&item.state, State::Overridden { by } if by.contains("99-io.rules:2"))
    ));

    // A file of ours with other contents is evaluated with the contents that it will get.
    let world = machine(content(
        memory(Linux::V7_2),
        FILE,
        "ACTION==\"add\", ATTR{queue/scheduler}=\"none\"\n",
    ));
    assert_eq!(notes(&rules(), &world), Vec::<String>::new());
}

#[test]
fn what_udev_cannot_keep_is_an_error_of_the_plan() {
    let world = machine(memory(Linux::V7_2));
    for (rules, says) in [
        (
            Rules::new([Rule::new("a")
                .size_at_least(1)
                .queue(Attribute::Nomerges, 1)])
            .persisted_as("x"),
            "size condition",
        ),
        (rules().persisted_as("../x"), "in the name of a rules file"),
    ] {
        let error = rules
            .plan(&world.session(&CrashPoint::lives()).unwrap())
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn as_a_person_writes_it() {
    let rules: Rules = serde_json::from_str(r#"{"persist":"gaming"}"#).unwrap();
    assert_eq!(rules, Rules::new([]).persisted_as("gaming"));
    assert!(
        !serde_json::to_string(&Rules::default())
            .unwrap()
            .contains("persist")
    );
}
