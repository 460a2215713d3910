//! The laws of the engine.
//!
//! The number of cases is `PROPTEST_CASES` if that is set, otherwise the number below.

use std::sync::LazyLock;

use hosttune_blockdev::testing::Linux;
use hosttune_blockdev::{Attribute, Conditions, DiskKind, Rule, Rules, SchedulerName, Transport};
use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{Failure, Machine, Memory, Moment};
use proptest::prelude::*;

use super::support::{Seen, memory, scheduler};
use crate::cases;

static KERNELS: LazyLock<[Memory; 2]> = LazyLock::new(|| [Linux::V6_1, Linux::V7_2].map(memory));

/// The state of the machine before anything is applied.
#[derive(Debug, Clone)]
struct Start {
    newer: bool,
    /// Some writes of an administrator.
    written: Vec<(&'static str, &'static str)>,
}

impl Start {
    fn machine(&self) -> Seen {
        let memory = KERNELS[usize::from(self.newer)].fork();
        for (file, value) in &self.written {
            // A write that the kernel refuses changes nothing.
            let _ = memory.write(format!("/sys/block/{file}"), value);
        }
        Seen(Machine::new(memory, hosttune_blockdev::knobs))
    }
}

fn start() -> impl Strategy<Value = Start> {
    let written = prop::sample::subsequence(
        vec![
            ("sda/queue/scheduler", "bfq"),
            ("sda/queue/iosched/slice_idle_us", "8500"),
            ("sda/queue/nr_requests", "5"),
            ("sda/queue/async_depth", "3"),
            ("sda/queue/read_ahead_kb", "64"),
            ("sdb/queue/iosched/async_depth", "7"),
            ("sdb/queue/iosched/read_expire", "100"),
            ("sdb/queue/wbt_lat_usec", "5000"),
            ("sdb/queue/max_sectors_kb", "64"),
            ("nvme0n1/queue/scheduler", "kyber"),
            ("nvme0n1/queue/iosched/read_lat_nsec", "1"),
            ("nvme0n1/queue/nr_requests", "10"),
            ("nvme1c0n1/queue/scheduler", "mq-deadline"),
            ("nvme1n1/queue/read_ahead_kb", "256"),
        ],
        0..7,
    );
    (any::<bool>(), written).prop_map(|(newer, written)| Start { newer, written })
}

fn conditions() -> impl Strategy<Value = Rule> {
    let glob = |text: &str| text.parse().unwrap();
    prop::sample::select(vec![
        Rule::new(""),
        Rule::new("").transport(Transport::Nvme),
        Rule::new("").transport(Transport::Sata),
        Rule::new("").rotational(true),
        Rule::new("").rotational(false),
        Rule::new("").model(glob("QEMU H*")),
        Rule::new("").by_id(glob("ata-*")),
        Rule::new("").kernel_name(glob("sd[ab]")),
        Rule::new("").kind(DiskKind::Loop).kind(DiskKind::Disk),
        Rule::new("").kind(DiskKind::DeviceMapper),
        Rule::new("").size_at_most(1),
    ])
}

fn setting() -> impl Strategy<Value = (Attribute, u64)> {
    prop::sample::select(vec![
        (Attribute::NrRequests, 1),
        (Attribute::NrRequests, 16),
        (Attribute::NrRequests, 64),
        (Attribute::NrRequests, 500),
        (Attribute::NrRequests, 5000),
        (Attribute::AsyncDepth, 2),
        (Attribute::AsyncDepth, 64),
        (Attribute::WbtLatUsec, 0),
        (Attribute::WbtLatUsec, 1000),
        (Attribute::RqAffinity, 2),
        (Attribute::RqAffinity, 9),
        (Attribute::Nomerges, 1),
        (Attribute::AddRandom, 1),
        (Attribute::Iostats, 0),
        (Attribute::MaxSectorsKb, 3),
        (Attribute::MaxSectorsKb, 256),
        (Attribute::MaxSectorsKb, 999_999),
        (Attribute::ReadAheadKb, 0),
        (Attribute::ReadAheadKb, 3),
        (Attribute::ReadAheadKb, 5),
        (Attribute::ReadAheadKb, 1024),
    ])
}

fn scheduling() -> impl Strategy<Value = Option<(SchedulerName, Vec<(&'static str, i64)>)>> {
    let of = |name: &str, tunables: Vec<(&'static str, i64)>| {
        let name = scheduler(name);
        prop::sample::subsequence(tunables.clone(), 0..=tunables.len())
            .prop_map(move |tunables| Some((name.clone(), tunables)))
            .boxed()
    };
    prop_oneof![
        Just(None),
        of("none", vec![]),
        of("nonesuch", vec![("nonesuch", 1)]),
        of(
            "deadline",
            vec![
                ("read_expire", 101),
                ("front_merges", 7),
                ("async_depth", 20),
                ("fifo_batch", 1)
            ],
        ),
        of(
            "kyber",
            vec![
                ("read_lat_nsec", 5),
                ("write_lat_nsec", 2_000_000),
                ("nonesuch", 1)
            ]
        ),
        of(
            "bfq",
            vec![
                ("slice_idle", 3),
                ("low_latency", 0),
                ("strict_guarantees", 1),
                ("timeout_sync", 1),
                ("back_seek_penalty", 0)
            ],
        ),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        conditions(),
        scheduling(),
        prop::collection::vec(setting(), 0..4),
    )
        .prop_map(|(mut rule, scheduling, settings)| {
            // A rule that sets nothing would be an error.
            rule = rule.queue(Attribute::RqAffinity, 0);
            for (attribute, value) in settings {
                rule = rule.queue(attribute, value);
            }
            if let Some((name, tunables)) = scheduling {
                rule = rule.scheduler(name);
                for (tunable, value) in tunables {
                    rule = rule.tunable(tunable, value);
                }
            }
            rule
        })
}

fn rules() -> impl Strategy<Value = Rules> {
    prop::collection::vec(rule(), 1..4).prop_map(|rules| {
        Rules::new(rules.into_iter().enumerate().map(|(number, mut rule)| {
            rule.name = format!("rule{number}");
            rule
        }))
    })
}

/// Settings that every disk of a machine supports with any scheduler.
fn offered() -> impl Strategy<Value = Rules> {
    let settings = prop::sample::subsequence(
        vec![
            (Attribute::NrRequests, 16),
            (Attribute::RqAffinity, 2),
            (Attribute::Nomerges, 2),
            (Attribute::AddRandom, 1),
            (Attribute::Iostats, 0),
            (Attribute::MaxSectorsKb, 999_999),
            (Attribute::ReadAheadKb, 5),
            (Attribute::WbtLatUsec, 1000),
        ],
        1..8,
    );
    (
        settings,
        prop::sample::select(vec!["none", "deadline", "bfq", "kyber"]),
    )
        .prop_map(|(settings, name)| {
            let rule = Rule::new("all").scheduler(scheduler(name));
            Rules::new(
                [settings.into_iter().fold(rule, |rule, (attribute, value)| {
                    rule.queue(attribute, value)
                })],
            )
        })
}

/// `async_depth` follows `nr_requests`. A revert that is killed after it restored `nr_requests` and before it
/// restored `async_depth` leaves a depth that is neither the one after the switch nor the original one.
#[test]
fn what_is_moved_by_what_was_put_back_is_put_back_too() {
    let start = Start {
        newer: true,
        written: vec![
            ("sda/queue/nr_requests", "5"),
            ("sda/queue/async_depth", "3"),
        ],
    };
    let rules = Rules::new([Rule::new("a")
        .kernel_name("sda".parse().unwrap())
        .scheduler(scheduler("none"))]);
    for write in 0..20 {
        for moment in [Moment::Before, Moment::Within, Moment::After] {
            // The apply completes, the revert is killed.
            let deaths = [(u64::MAX, Moment::Before), (write, moment)];
            laws::die_anywhere(&start.machine(), std::slice::from_ref(&rules), &deaths).unwrap();
        }
    }
}

/// The same for bfq's idling, which is a single value in two units.
#[test]
fn the_finer_of_two_units_is_put_back_after_the_coarser() {
    let start = Start {
        newer: false,
        written: vec![
            ("sda/queue/scheduler", "bfq"),
            ("sda/queue/iosched/slice_idle_us", "5500"),
            ("sda/queue/iosched/strict_guarantees", "1"),
            ("sda/queue/iosched/slice_idle_us", "5500"),
        ],
    };
    let rules = Rules::new([Rule::new("a")
        .kernel_name("sda".parse().unwrap())
        .scheduler(scheduler("mq-deadline"))]);
    for write in 0..20 {
        for moment in [Moment::Before, Moment::Within, Moment::After] {
            let deaths = [(u64::MAX, Moment::Before), (write, moment)];
            laws::die_anywhere(&start.machine(), std::slice::from_ref(&rules), &deaths).unwrap();
        }
    }
}

fn moment() -> impl Strategy<Value = Moment> {
    prop::sample::select(vec![Moment::Before, Moment::Within, Moment::After])
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    prop::collection::vec((0..60_u64, moment()), 0..6)
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn apply_then_verify_matches(start in start(), rules in rules()) {
        laws::apply_then_verify(&start.machine(), &rules)?;
    }

    #[test]
    fn apply_then_plan_is_empty(start in start(), rules in rules()) {
        laws::apply_then_plan(&start.machine(), &rules)?;
    }

    #[test]
    fn apply_then_revert_is_as_it_was(
        start in start(), rules in prop::collection::vec(rules(), 1..4),
    ) {
        laws::apply_then_revert(&start.machine(), &rules)?;
    }

    #[test]
    fn plan_writes_nothing(start in start(), rules in rules()) {
        laws::plan_writes_nothing(&start.machine(), &rules)?;
    }

    #[test]
    fn what_is_offered_is_applied(start in start(), rules in offered()) {
        laws::what_is_offered_is_applied(&start.machine(), &rules)?;
    }

    #[test]
    fn nothing_on_an_empty_host(rules in rules()) {
        for memory in [Memory::new(), Memory::new().directory("/proc/sys")] {
            let empty = Seen(Machine::new(memory, hosttune_blockdev::knobs));
            laws::nothing_on_an_empty_host(&empty, &rules)?;
        }
    }

    #[test]
    fn a_failing_step_leaves_the_host_as_it_was(
        start in start(), rules in offered(), change in 0..30_u64,
        moment in prop::sample::select(vec![Moment::Before, Moment::After]),
    ) {
        laws::failing_step(&start.machine(), &rules, change, moment)?;
    }

    /// No rule requests these values, though the kernel rounds a requested read-ahead of 5 to 4.
    #[test]
    fn a_stranger_survives(
        start in start(),
        rules in rules(),
        (file, value) in prop::sample::select(vec![
            ("sda/queue/read_ahead_kb", "7776"),
            ("sdb/queue/wbt_lat_usec", "1234"),
            ("sdb/queue/nomerges", "2"),
            ("nvme0n1/queue/max_sectors_kb", "100"),
            ("nvme1n1/queue/read_ahead_kb", "4"),
        ]),
    ) {
        laws::stranger_survives(&start.machine(), &rules, |machine: &Seen| {
            machine.0.memory().write(format!("/sys/block/{file}"), value).unwrap();
        })?;
    }

    #[test]
    fn rules_are_read_as_they_were_written(rules in rules()) {
        laws::text_of_model(
            &rules,
            |rules| serde_json::to_string(rules).unwrap(),
            |text| serde_json::from_str::<Rules>(text),
        )?;
    }

    #[test]
    fn no_input_panics(
        name in "\\PC{0,8}", pattern in "[\\[\\]!*?a-c-]{0,8}", least: Option<u64>, most: Option<u64>,
        attribute in prop::sample::select(Attribute::ALL.to_vec()), value: u64,
        tunable in "\\PC{0,6}", number: i64, only in prop::option::of("[/.a-z0-9]{0,12}"),
    ) {
        let machine = Start { newer: true, written: Vec::new() }.machine();
        let was = hosttune_core::testing::World::snapshot(&machine);
        let mut rule = Rule::new(name).queue(attribute, value);
        if let Ok(glob) = pattern.parse() {
            rule = rule.kernel_name(glob);
        }
        let mut conditions = Conditions::default();
        conditions.size_at_least = least;
        conditions.size_at_most = most;
        rule.disks = conditions;
        rule = rule.scheduler(scheduler("mq-deadline")).tunable(tunable, number);
        let mut rules = Rules::new([rule]);
        if let Some(only) = only {
            rules = rules.only(only);
        }
        let session = hosttune_core::testing::World::session(&machine, &hosttune_core::testing::CrashPoint::lives())?;
        match hosttune_core::Tuning::plan(&rules, &session) {
            Ok(plan) => drop(format!("{plan:?}")),
            Err(error) => prop_assert!(error.hint().is_some(), "no way out: {error}"),
        }
        prop_assert_eq!(hosttune_core::testing::World::snapshot(&machine), was);
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn die_anywhere(
        start in start(), rules in prop::collection::vec(rules(), 1..4), deaths in deaths(),
    ) {
        laws::die_anywhere(&start.machine(), &rules, &deaths)?;
    }

    #[test]
    fn die_then_recover(
        start in start(), finished in rules(), dying in rules(), deaths in deaths(),
    ) {
        laws::die_then_recover(&start.machine(), &finished, &dying, &deaths)?;
    }
}

/// The kernel rounds 101 ms up to 104, in jiffies of 4 ms. 104 is near enough to the original 100 to pass for
/// a rounding of that, too.
#[test]
fn what_was_rounded_goes_back_after_a_death() {
    let start = Start {
        newer: false,
        written: vec![("sdb/queue/iosched/read_expire", "100")],
    };
    let solid = || Rule::new("rule0").rotational(false);
    let first = Rules::new([solid().queue(Attribute::RqAffinity, 0)]);
    let second = Rules::new([solid()
        .scheduler(scheduler("mq-deadline"))
        .queue(Attribute::NrRequests, 500)
        .queue(Attribute::RqAffinity, 0)
        .tunable("fifo_batch", 1)
        .tunable("front_merges", 7)
        .tunable("read_expire", 101)]);
    let tunings = [first, second];
    for moment in [Moment::Before, Moment::Within, Moment::After] {
        for write in 0..60 {
            let died =
                laws::die_anywhere(&start.machine(), &tunings, &[(99, moment), (write, moment)]);
            if let Err(broken) = died {
                panic!("{moment:?} {write}: {broken}");
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn what_is_said_is_what_the_host_shows(
        start in start(), applied in prop::collection::vec(rules(), 0..3), tuning in rules(),
        verb in 0..Verb::<()>::KINDS, (call, kind) in (0..400_u64, 0..Failure::KINDS),
    ) {
        let verb = Verb::of_kind(verb, tuning);
        laws::told_as_it_is(&start.machine(), &applied, &verb, Failure::of_kind(call, kind))?;
    }
}
