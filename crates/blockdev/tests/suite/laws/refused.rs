//! Requests that a disk or a kernel does not support: each is reported, and none prevents the others.

use hosttune_blockdev::testing::{Linux, offer};
use hosttune_blockdev::{Attribute, Rule, Rules, Transport};
use hosttune_core::testing::{Behaviour, CrashPoint, Machine, MemoryStore, World};
use hosttune_core::{Error, Finding, Host, Session, State, Tuning, UnsupportedKind};
use hosttune_modules::Modules;
use hosttune_modules::testing::{Described, MemoryModules, with_modules};

use super::support::{Seen, machine, memory, scheduler};

fn findings(machine: &Seen, rules: &Rules) -> Vec<Finding> {
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let applied = rules.apply(&mut session).unwrap();
    assert!(session.revert().unwrap().is_complete());
    applied.findings
}

fn unsupported(machine: &Seen, rule: Rule) -> Vec<(String, String, String)> {
    let unsupported = findings(machine, &Rules::new([rule]));
    let unsupported = unsupported
        .into_iter()
        .filter_map(|finding| match &finding.state {
            State::NotApplicable { unsupported } => Some((
                finding.name.clone(),
                unsupported.why.clone(),
                unsupported.hint.clone().unwrap_or_default(),
            )),
            _ => None,
        });
    unsupported.collect()
}

#[test]
fn a_scheduler_that_is_not_offered_is_told_with_those_that_are() {
    let machine = machine(Linux::V6_1);
    let rule = || Rule::new("a").kernel_name("sda".parse().unwrap());
    for name in ["noop", "cfq", "NONE", "nonesuch", "kyber-iosched"] {
        let unsupported = unsupported(&machine, rule().scheduler(scheduler(name)));
        assert_eq!(unsupported.len(), 1, "{name}: {unsupported:?}");
        let (knob, why, hint) = &unsupported[0];
        assert_eq!(knob, "sda scheduler");
        assert_eq!(
            *why,
            format!(
                "the kernel offers mq-deadline, bfq, kyber, none for this disk, but not {name}"
            )
        );
        assert_eq!(hint, "use one of mq-deadline, bfq, kyber, none");
    }
}

/// This makes the verify of tuned 2.20 fail.
#[test]
fn an_alias_is_what_it_stands_for() {
    let machine = machine(Linux::V6_1);
    let rules = Rules::new([Rule::new("a")
        .transport(Transport::Sata)
        .scheduler(scheduler("deadline"))]);
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    assert!(rules.plan(&session).unwrap().is_empty());
    machine
        .0
        .memory()
        .write("/sys/block/sda/queue/scheduler", "none")
        .unwrap();
    let _ = rules.apply(&mut session).unwrap();
    assert!(rules.verify(&session).unwrap().is_as_wanted());
    let report = rules.verify(&session).unwrap();
    assert!(
        report.items.iter().all(|item| item.state == State::Matches),
        "{report:?}"
    );
}

/// A disk without a `scheduler` file does not stop the others. tuned up to 2.20 leaves the others unchanged.
#[test]
fn a_bio_based_disk_is_told_and_stops_nobody() {
    for linux in [Linux::V6_1, Linux::V7_2] {
        let machine = machine(linux);
        let rules = Rules::new([Rule::new("a")
            .kind(hosttune_blockdev::DiskKind::Disk)
            .kind(hosttune_blockdev::DiskKind::DeviceMapper)
            .scheduler(scheduler("bfq"))]);
        let unsupported = unsupported(&machine, rules.rules[0].clone());
        assert_eq!(unsupported.len(), 1, "{unsupported:?}");
        assert_eq!(unsupported[0].0, "dm-0 scheduler");
        assert!(unsupported[0].1.contains("bio-based"), "{unsupported:?}");
        let mut session = machine.session(&CrashPoint::lives()).unwrap();
        let applied = rules.apply(&mut session).unwrap();
        let changed: Vec<&str> = applied
            .changed
            .iter()
            .map(|step| step.knob.text.as_str())
            .collect();
        assert_eq!(
            changed,
            [
                "nvme0n1 scheduler",
                "nvme1c0n1 scheduler",
                "sda scheduler",
                "sdb scheduler"
            ]
        );
        // If it is required, it is an error before anything is written.
        let was = machine.snapshot();
        let error = rules
            .plan(machine.session(&CrashPoint::lives()).unwrap().strict(true))
            .unwrap_err();
        assert!(matches!(error, Error::NotApplicable(_)), "{error}");
        assert_eq!(machine.snapshot(), was);
    }
}

#[test]
fn values_that_the_kernel_takes_for_something_else_are_refused() {
    let machine = machine(Linux::V7_2);
    for (attribute, value, says) in [
        (Attribute::ReadAheadKb, 3, "disable read-ahead"),
        (Attribute::RqAffinity, 9, "0 to 2"),
        (Attribute::Nomerges, 3, "0 to 2"),
        (Attribute::Iostats, 2, "0 to 1"),
        (Attribute::MaxSectorsKb, 0, "at least one page"),
        (Attribute::AsyncDepth, 0, "async_depth 0"),
        (Attribute::WbtLatUsec, u64::MAX, "wbt_lat_usec must be"),
        // Known only after an attempt.
        (Attribute::NrRequests, 5000, "rejects 5000"),
        (Attribute::AsyncDepth, 5000, "exceed nr_requests"),
    ] {
        let rule = Rule::new("a")
            .kernel_name("sdb".parse().unwrap())
            .queue(attribute, value);
        let unsupported = unsupported(&machine, rule);
        assert_eq!(unsupported.len(), 1, "{attribute} {value}: {unsupported:?}");
        assert!(unsupported[0].1.contains(says), "{unsupported:?}");
        assert!(!unsupported[0].2.is_empty());
    }
    let rule = Rule::new("a")
        .transport(Transport::Nvme)
        .queue(Attribute::NrRequests, 2000);
    assert!(unsupported(&machine, rule)[0].1.contains("tags"));
}

#[test]
fn what_is_rounded_is_reported_so() {
    for linux in [Linux::V6_1, Linux::V7_2] {
        let machine = machine(linux);
        let rules = Rules::new([Rule::new("a")
            .kernel_name("sdb".parse().unwrap())
            .scheduler(scheduler("mq-deadline"))
            .queue(Attribute::ReadAheadKb, 5)
            .queue(Attribute::NrRequests, 1)
            .queue(Attribute::MaxSectorsKb, 999_999)
            .tunable("read_expire", 101)
            .tunable("front_merges", 7)]);
        let mut session = machine.session(&CrashPoint::lives()).unwrap();
        let _ = rules.apply(&mut session).unwrap();
        let report = rules.verify(&session).unwrap();
        let rounded: Vec<(&str, &str)> = report
            .items
            .iter()
            .filter(|item| item.state == State::Rounded)
            .map(|item| (item.name.as_str(), item.seen_text.as_str()))
            .collect();
        assert_eq!(
            rounded,
            [
                ("sdb nr_requests", "4 requests"),
                ("sdb max_sectors_kb", "32767 KiB"),
                ("sdb mq-deadline front_merges", "1"),
                ("sdb mq-deadline read_expire", "104"),
                ("sdb read_ahead_kb", "4 KiB"),
            ],
            "{report:#?}"
        );
    }
}

/// A queue that is being recreated answers EBUSY or EAGAIN. The write is retried and then reported, all other
/// disks are set, and the next plan tries this disk again.
#[test]
fn a_frozen_queue_is_told_and_tried_again_the_next_time() {
    let machine = machine(Linux::V7_2);
    let path = "/sys/devices/pci0000:00/0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0/block/sda/queue/scheduler";
    let rules = Rules::new([Rule::new("a").scheduler(scheduler("bfq"))]);
    for errno in [16, 11] {
        let machine = machine.fork();
        let frozen = Seen(Machine::new(
            machine
                .0
                .memory()
                .fork()
                .behaving(path, Behaviour::refuses(errno)),
            hosttune_blockdev::knobs,
        ));
        let crash_point = CrashPoint::lives();
        let mut session = frozen.session(&crash_point).unwrap();
        let applied = rules.apply(&mut session).unwrap();
        let changed: Vec<&str> = applied
            .changed
            .iter()
            .map(|step| step.knob.text.as_str())
            .collect();
        assert_eq!(
            changed,
            ["nvme0n1 scheduler", "nvme1c0n1 scheduler", "sdb scheduler"]
        );
        let busy: Vec<&Finding> = applied
            .findings
            .iter()
            .filter(|finding| matches!(&finding.state, State::NotApplicable { unsupported } if unsupported.kind == UnsupportedKind::Busy))
            .collect();
        assert_eq!(busy.len(), 1, "{:#?}", applied.findings);
        assert_eq!(busy[0].name, "sda scheduler");
        let plan = rules.plan(&session).unwrap();
        assert_eq!(plan.steps.len(), 1, "{plan:#?}");
        assert!(
            crash_point.changes() >= 3 + 4,
            "it was asked only {} times",
            crash_point.changes()
        );
    }
}

/// The module is loaded before the disks that need it are set, and unloaded by the revert.
#[test]
fn the_module_of_a_scheduler_is_loaded_and_unloaded() {
    let was = with_modules(
        memory(Linux::V7_2),
        &[Described::alone("bfq"), Described::alone("kyber-iosched")],
        &["mq-deadline"],
    );
    let disks = ["nvme0n1", "sda", "sdb", "nvme1c0n1", "loop0"];
    for disk in disks {
        offer(&was, disk, &["mq-deadline"]);
    }
    let store = MemoryStore::new();
    let crash_point = CrashPoint::lives();
    let loader = MemoryModules::new(was.clone(), Offers(was.clone()));
    let host = Host::new(was.host(&crash_point)).with_backend(Modules::over(loader));
    let mut session = Session::new(host, "laws", store.of(&crash_point), "boot")
        .unwrap()
        .with(hosttune_blockdev::knobs);
    let before = was.snapshot();
    let rules = Rules::new([
        Rule::new("nvme")
            .transport(Transport::Nvme)
            .scheduler(scheduler("kyber")),
        Rule::new("sata")
            .transport(Transport::Sata)
            .scheduler(scheduler("bfq"))
            .tunable("low_latency", 0),
    ]);
    let plan = rules.plan(&session).unwrap();
    let steps: Vec<&str> = plan
        .steps
        .iter()
        .map(|step| step.knob.text.as_str())
        .collect();
    assert_eq!(
        steps,
        [
            "module kyber_iosched",
            "nvme0n1 scheduler",
            "nvme1c0n1 scheduler",
            "module bfq",
            "sda scheduler",
            "sda bfq low_latency",
            "sdb scheduler",
            "sdb bfq low_latency",
        ]
    );
    let _ = rules.apply(&mut session).unwrap();
    assert!(rules.verify(&session).unwrap().is_as_wanted());
    assert!(rules.plan(&session).unwrap().is_empty());
    assert!(rules.revert(&mut session).unwrap().is_complete());
    let mut after = was.snapshot();
    let mut before = before;
    for snapshot in [&mut before, &mut after] {
        snapshot.retain(|path, _| !path.starts_with("/unseen"));
    }
    assert_eq!(after, before);
}

/// Without a module loader the scheduler is unsupported, with a hint about the module.
#[test]
fn without_a_loader_a_scheduler_that_is_a_module_is_lacking() {
    let machine = machine(Linux::V7_2);
    offer(machine.0.memory(), "sda", &["mq-deadline"]);
    let rule = Rule::new("a")
        .kernel_name("sda".parse().unwrap())
        .scheduler(scheduler("kyber"));
    let unsupported = unsupported(&machine, rule);
    let scheduler = unsupported
        .iter()
        .find(|(name, ..)| name == "sda scheduler")
        .unwrap();
    assert!(
        scheduler
            .1
            .contains("offers none, mq-deadline for this disk"),
        "{unsupported:?}"
    );
    assert!(
        scheduler.2.contains("modprobe kyber_iosched"),
        "{unsupported:?}"
    );
}

/// Makes the disks offer the schedulers whose modules are loaded.
#[derive(Debug)]
struct Offers(hosttune_core::testing::Memory);

impl hosttune_modules::testing::Beside for Offers {
    fn loaded(&mut self, module: &str, _: &[String]) {
        self.offer(Some(module));
    }

    fn unloaded(&mut self, _: &str) {
        self.offer(None);
    }
}

impl Offers {
    fn offer(&self, more: Option<&str>) {
        let mut names = vec!["mq-deadline"];
        let loaded = |module: &str| {
            more == Some(module)
                || self
                    .0
                    .get(format!("/sys/module/{module}/initstate"))
                    .is_some()
        };
        if loaded("bfq") {
            names.push("bfq");
        }
        if loaded("kyber_iosched") {
            names.push("kyber");
        }
        for disk in ["nvme0n1", "sda", "sdb", "nvme1c0n1", "loop0"] {
            offer(&self.0, disk, &names);
        }
    }
}
