//! The laws of the engine for sets of sysctls, on the simulated kernel.
//!
//! `PROPTEST_CASES` overrides the number of cases.

use std::sync::LazyLock;

use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{
    CrashPoint, Failure, Machine, Memory, MemoryStore, Moment, Snapshot, World,
};
use hosttune_core::{Error, Session, State, Tuning};
use hosttune_sysctl::{SysctlSet, Wanted, testing};
use hosttune_test_machine::cases;
use proptest::prelude::*;

/// The machine without the state that the kernel keeps by itself: a module that was loaded for a value stays
/// loaded, and the list of available values stays longer. No step sets that, and no revert undoes it.
#[derive(Debug, Clone)]
struct Linux(Machine);

const KEPT_BY_THE_KERNEL: [&str; 2] = [
    "/sys/module",
    "/proc/sys/net/ipv4/tcp_available_congestion_control",
];

impl World for Linux {
    fn fork(&self) -> Self {
        Self(self.0.fork())
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        self.0.session_of(owner, crash_point)
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.0.snapshot();
        snapshot.retain(|path, _| !KEPT_BY_THE_KERNEL.iter().any(|kept| path.starts_with(kept)));
        snapshot
    }

    fn store(&self) -> &MemoryStore {
        self.0.store()
    }
}

static KERNEL: LazyLock<Memory> = LazyLock::new(testing::kernel);

/// The machine before anything is applied.
#[derive(Debug, Clone, Default)]
struct Start {
    /// Values that an administrator has written.
    written: Vec<(&'static str, &'static str)>,
    /// Our file from an earlier run.
    file: Option<FileContent>,
    /// Whether the directory for it exists.
    directory: bool,
    /// Whether a file of another program overrides some keys.
    who_sets: bool,
}

impl Start {
    fn machine(&self) -> Linux {
        let mut memory = KERNEL.fork();
        if self.directory {
            memory = memory.directory("/etc/sysctl.d");
        }
        if let Some(file) = &self.file {
            memory = memory.content(SysctlSet::file("laws"), file.clone());
        }
        if self.who_sets {
            let text = "# theirs\r\nvm.swappiness=31\n-net.ipv4.conf.*.forwarding = 0\nvm.dirty_ratio = 33";
            memory = memory.content("/etc/sysctl.d/99-theirs.conf", FileContent::new(text));
        }
        for (key, value) in &self.written {
            memory.write(format!("/proc/sys/{key}"), value).unwrap();
        }
        Linux(Machine::new(memory, hosttune_sysctl::knobs))
    }
}

fn start() -> impl Strategy<Value = Start> {
    let written = prop::sample::subsequence(
        vec![
            ("vm/dirty_bytes", "268435456"),
            ("vm/dirty_background_bytes", "1"),
            ("vm/overcommit_kbytes", "5"),
            ("vm/overcommit_ratio", "0"),
            ("net/ipv4/tcp_rmem", "1 2 3"),
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/eth0.100/forwarding", "0"),
            ("net/ipv4/conf/all/accept_redirects", "0"),
            ("net/ipv4/conf/lo/accept_redirects", "0"),
            ("net/ipv4/tcp_congestion_control", "reno"),
            ("net/ipv4/tcp_allowed_congestion_control", "reno"),
            ("net/ipv4/tcp_fastopen", "-1"),
        ],
        0..5,
    );
    let file = prop::option::of(prop::sample::select(vec![
        FileContent::new(""),
        FileContent {
            mode: 0o600,
            uid: 7,
            ..FileContent::new("vm.swappiness = 1\r\n\n; no line end")
        },
    ]));
    (written, file, any::<bool>()).prop_map(|(written, file, directory)| Start {
        written,
        file,
        directory,
        who_sets: false,
    })
}

/// A key or glob, the values to request for it, and the knobs that it covers.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const FORWARDING: &[&str] = &["ip_forward", "default", "eth0", "eth0.100", "lo"];
const REDIRECTS: &[&str] = &["r all", "r default", "r eth0", "r eth0.100", "r lo"];
const SWITCH: &[&str] = &["0", "1"];

const OFFERED: &[Row] = &[
    (
        "net.core.default_qdisc",
        &["fq_codel", "fq", "cake", "pfifo_fast"],
        &["qdisc"],
    ),
    (
        "net.core.netdev_max_backlog",
        &["1000", "16384"],
        &["backlog"],
    ),
    ("net.core.rmem_max", &["212992", "0x1000000"], &["rmem_max"]),
    ("net.core.wmem_max", &["212992", "16777216"], &["wmem_max"]),
    (
        "net.ipv4.tcp_congestion_control",
        &["reno", "cubic", "bbr"],
        &["control"],
    ),
    ("net.ipv4.tcp_max_syn_backlog", &["1024", "8192"], &["syn"]),
    (
        "net.ipv4.tcp_rmem",
        &["4096 131072 6291456", "4096 1048576 33554432", "1 131072 3"],
        &["rmem"],
    ),
    (
        "net.ipv4.tcp_wmem",
        &["4096 65536 16777216", "1 2 3"],
        &["wmem"],
    ),
    ("net/ipv4/tcp_mtu_probing", &["0", "1", "2"], &["probing"]),
    ("net.ipv4.tcp_fastopen", &["0", "3", "01"], &["fastopen"]),
    ("net.ipv4.tcp_slow_start_after_idle", SWITCH, &["idle"]),
    ("vm.swappiness", &["60", "100", "180"], &["swappiness"]),
    ("vm.dirty_ratio", &["0", "1", "10", "20"], &["dirty"]),
    ("vm.dirty_bytes", &["8192", "268435456"], &["dirty"]),
    (
        "vm.dirty_background_ratio",
        &["0", "1", "5", "10"],
        &["background"],
    ),
    (
        "vm.dirty_background_bytes",
        &["1", "67108864"],
        &["background"],
    ),
    (
        "vm.overcommit_ratio",
        &["0", "1", "50", "80"],
        &["overcommit"],
    ),
    ("vm.overcommit_kbytes", &["1", "8000000"], &["overcommit"]),
    ("vm.compaction_proactiveness", &["0", "20"], &["compaction"]),
    ("kernel.split_lock_mitigate", SWITCH, &["split"]),
    ("kernel.sched_autogroup_enabled", SWITCH, &["autogroup"]),
    ("kernel.numa_balancing", SWITCH, &["numa"]),
    ("kernel.yama.ptrace_scope", &["0", "1", "2"], &["ptrace"]),
    (
        "vm.vfs_cache_press*",
        &["100", "150"],
        &["pressure", "denom"],
    ),
    ("vm.vfs_cache_pressure", &["50", "200"], &["pressure"]),
    ("net.ipv4.ip_forward", SWITCH, &["ip_forward"]),
    ("net.ipv4.conf.all.forwarding", SWITCH, &["ip_forward"]),
    ("net.ipv4.conf.default.forwarding", SWITCH, &["default"]),
    ("net.ipv4.conf.eth0.forwarding", SWITCH, &["eth0"]),
    ("net/ipv4/conf/eth0.100/forwarding", SWITCH, &["eth0.100"]),
    ("net.ipv4.conf.*.forwarding", SWITCH, FORWARDING),
    ("net.ipv4.conf.all.accept_redirects", SWITCH, &["r all"]),
    (
        "net.ipv4.conf.default.accept_redirects",
        SWITCH,
        &["r default"],
    ),
    (
        "net.ipv4.conf.eth0/100.accept_redirects",
        SWITCH,
        &["r eth0.100"],
    ),
    ("net.ipv4.conf.*.accept_redirects", SWITCH, REDIRECTS),
];

/// What no machine has, what this one lacks, and what is not set without consent.
const NOT_OFFERED: &[Row] = &[
    ("vm.laptop_mode", &["1"], &["missing"]),
    ("net.ipv4.conf.wlan*.forwarding", &["1"], &["glob"]),
    ("vm.drop_caches", &["3"], &["drop"]),
    ("net.ipv4.route.flush", &["1"], &["flush"]),
    ("kernel.modules_disabled", &["1"], &["modules"]),
    ("net.netfilter.nf_conntrack_max", &["1"], &["conntrack"]),
    ("net.core.default_qdisc", &["no_such_qdisc"], &["qdisc"]),
    (
        "net.ipv4.tcp_congestion_control",
        &["westwood"],
        &["control"],
    ),
];

fn sets_of(rows: Vec<Row>, persist: bool) -> impl Strategy<Value = SysctlSet> {
    let one = prop::sample::select(rows)
        .prop_flat_map(|row| (Just(row), prop::sample::select(row.1.to_vec()), 0..4_u8));
    let persisted = if persist {
        prop_oneof![Just(false), Just(true)].boxed()
    } else {
        Just(false).boxed()
    };
    (prop::collection::vec(one, 0..7), persisted).prop_map(|(all, persisted)| {
        let mut taken: Vec<&str> = Vec::new();
        let mut wanted = Vec::new();
        for ((key, _, knobs), value, how) in all {
            // Two requests for one knob are a conflict, which another test covers.
            if knobs.iter().any(|knob| taken.contains(knob)) {
                continue;
            }
            taken.extend(knobs);
            let one = Wanted::new(key, value).accept_side_effects();
            wanted.push(match how {
                0 => one.optional(),
                1 => one.why("because"),
                _ => one,
            });
        }
        let set = SysctlSet::new(wanted);
        if persisted {
            set.persisted_as("laws")
        } else {
            set
        }
    })
}

fn offered() -> impl Strategy<Value = SysctlSet> {
    sets_of(OFFERED.to_vec(), true)
}

fn any_set() -> impl Strategy<Value = SysctlSet> {
    sets_of([OFFERED, OFFERED, NOT_OFFERED].concat(), true)
}

fn moment() -> impl Strategy<Value = Moment> {
    prop::sample::select(vec![Moment::Before, Moment::Within, Moment::After])
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    prop::collection::vec((0..40_u64, moment()), 0..6)
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn apply_then_verify_matches(start in start(), set in any_set()) {
        laws::apply_then_verify(&start.machine(), &set)?;
    }

    /// If a file of another program wins at the next boot, this is reported for our file and nothing else.
    #[test]
    fn apply_then_verify_says_who_wins_after_a_reboot(set in any_set()) {
        let start = Start { who_sets: true, ..Start::default() };
        let machine = start.machine();
        let _ = set.apply(&mut machine.session(&CrashPoint::lives())?)?;
        let report = set.verify(&machine.session(&CrashPoint::lives())?)?;
        for item in &report.items {
            let beaten = matches!(item.state, State::Overridden { .. });
            prop_assert!(!item.state.is_drift() || beaten && item.name.ends_with("60-hosttune-laws.conf"), "{item}");
        }
    }

    #[test]
    fn apply_then_plan_is_empty(start in start(), set in any_set(), who_sets: bool) {
        laws::apply_then_plan(&Start { who_sets, ..start }.machine(), &set)?;
    }

    #[test]
    fn apply_then_revert_is_as_it_was(
        start in start(), who_sets: bool, sets in prop::collection::vec(any_set(), 1..4),
    ) {
        laws::apply_then_revert(&Start { who_sets, ..start }.machine(), &sets)?;
    }

    #[test]
    fn plan_writes_nothing(start in start(), who_sets: bool, set in any_set()) {
        laws::plan_writes_nothing(&Start { who_sets, ..start }.machine(), &set)?;
    }

    #[test]
    fn what_is_offered_is_applied(start in start(), set in offered()) {
        laws::what_is_offered_is_applied(&start.machine(), &set)?;
    }

    #[test]
    fn nothing_on_an_empty_host(set in any_set()) {
        let empty = Linux(Machine::new(testing::empty(), hosttune_sysctl::knobs));
        laws::nothing_on_an_empty_host(&empty, &set)?;
        let image = Memory::new().directory("/etc");
        laws::nothing_on_an_empty_host(&Linux(Machine::new(image, hosttune_sysctl::knobs)), &set)?;
    }

    #[test]
    fn a_failing_step_leaves_the_host_as_it_was(
        start in start(), set in any_set(), change in 0..12_u64, moment in moment(),
    ) {
        laws::failing_step(&start.machine(), &set, change, moment)?;
    }

    /// None of these values is one that a set requests, or a partial write of one. Such a value counts as set
    /// by the owner, whoever wrote it.
    #[test]
    fn a_stranger_survives(
        start in start(),
        set in any_set(),
        (key, value) in prop::sample::select(vec![
            ("vm/swappiness", "77"),
            ("net/ipv4/tcp_rmem", "11 22 33"),
            ("net/ipv4/tcp_wmem", "11 22 33"),
            ("net/ipv4/conf/eth0/forwarding", "7"),
            ("net/ipv4/conf/eth0.100/forwarding", "7"),
            ("net/ipv4/conf/eth0.100/accept_redirects", "7"),
            ("net/ipv4/conf/all/accept_redirects", "7"),
            ("net/core/default_qdisc", "bfifo"),
        ]),
    ) {
        laws::stranger_survives(&start.machine(), &set, |machine: &Linux| {
            machine.0.memory().write(format!("/proc/sys/{key}"), value).unwrap();
        })?;
    }

    /// A pair is one knob: the other process writes one of the two files and so changes both.
    #[test]
    fn a_stranger_in_a_pair_survives(
        start in start(),
        set in any_set(),
        (pair, key, value) in prop::sample::select(vec![
            (["vm/dirty_bytes", "vm/dirty_ratio"], 0, "99999999"),
            (["vm/dirty_bytes", "vm/dirty_ratio"], 1, "77"),
            (["vm/dirty_background_bytes", "vm/dirty_background_ratio"], 0, "99999999"),
            (["vm/dirty_background_bytes", "vm/dirty_background_ratio"], 1, "77"),
            (["vm/overcommit_kbytes", "vm/overcommit_ratio"], 0, "99999999"),
            (["vm/overcommit_kbytes", "vm/overcommit_ratio"], 1, "-77"),
        ]),
    ) {
        let machine = start.machine();
        let mut wanted = machine.snapshot();
        let _ = set.apply(&mut machine.session(&CrashPoint::lives())?)?;
        machine.0.memory().write(format!("/proc/sys/{}", pair[key]), value).unwrap();
        let theirs = machine.snapshot();
        for file in pair.map(|file| format!("/proc/sys/{file}")) {
            wanted.insert(file.clone(), theirs[&file].clone());
        }
        assert!(machine.session(&CrashPoint::lives())?.revert()?.is_complete());
        prop_assert_eq!(machine.snapshot(), wanted);
    }

    #[test]
    fn a_stranger_in_our_file_survives(start in start(), set in any_set()) {
        // If we had created the directory, their file would keep it from being removed.
        let start = Start { directory: true, ..start };
        let set = set.persisted_as("laws");
        laws::stranger_survives(&start.machine(), &set, |machine: &Linux| {
            let path = SysctlSet::file("laws");
            machine.0.memory().change(|tree| tree.set(path, "vm.swappiness = 77"));
        })?;
    }

    /// The reboot resets the running kernel, and the revert restores the file byte for byte.
    #[test]
    fn a_power_cut_takes_the_boot_and_keeps_the_way_back(
        start in start(), finished in any_set(), dying in any_set(), write in 0..40_u64,
        moment in moment(), zeros: bool, persist: bool,
    ) {
        let finished = if persist { finished.persisted_as("laws") } else { finished };
        let machine = start.machine();
        let was = machine.snapshot();
        let _ = finished.apply(&mut machine.session(&CrashPoint::lives())?)?;
        let crash_point = CrashPoint::dies_at(write, moment);
        let _ = dying.apply(&mut machine.session(&crash_point)?);
        machine.0.power_cut(zeros);
        let reverted = machine.session(&CrashPoint::lives())?.revert()?;
        prop_assert!(reverted.not_reverted.is_empty(), "{:?}", reverted.not_reverted);
        prop_assert_eq!(machine.snapshot(), was);
        prop_assert!(machine.store().is_empty());
    }

    #[test]
    fn no_input_panics(
        key in "(vm|net|kernel)?[./*a-z0-9_\\[\\] =#-]{0,24}|\\PC{0,12}",
        value in "[-+0-9a-fx #\t]{0,12}|\\PC{0,12}",
        persist: bool,
    ) {
        let machine = Start::default().machine();
        let was = machine.snapshot();
        let set = SysctlSet::new([Wanted::new(key, value)]);
        let set = if persist { set.persisted_as("laws") } else { set };
        let session = machine.session(&CrashPoint::lives())?;
        match set.plan(&session) {
            Ok(plan) => drop(format!("{:?}", plan.steps)),
            Err(error) => prop_assert!(error.hint().is_some(), "no way out: {error}"),
        }
        prop_assert_eq!(machine.snapshot(), was);
    }
}

proptest! {
    // Each case is dozens of runs of the engine; the laws of the engine itself draw 20,000.
    #![proptest_config(cases(5_000))]

    #[test]
    fn die_anywhere(
        start in start(), sets in prop::collection::vec(any_set(), 1..4), deaths in deaths(),
    ) {
        laws::die_anywhere(&start.machine(), &sets, &deaths)?;
    }

    #[test]
    fn die_then_recover(
        start in start(), finished in any_set(), dying in any_set(), deaths in deaths(),
    ) {
        laws::die_then_recover(&start.machine(), &finished, &dying, &deaths)?;
    }
}

/// Both reset `conf.all.accept_redirects`. The undo of the later one takes effect but cannot be read back.
#[test]
fn two_steps_that_reset_one_key_go_back_one_after_the_other_whatever_fails() {
    let keys = [
        "net.ipv4.ip_forward",
        "net.ipv4.conf.default.accept_redirects",
    ];
    let wanted = keys.map(|key| Wanted::new(key, 0).optional().accept_side_effects());
    let start = Start {
        written: vec![("net/ipv4/ip_forward", "1")],
        ..Start::default()
    };
    for call in 0..60 {
        for kind in 0..Failure::KINDS {
            let failure = Failure::of_kind(call, kind);
            let set = SysctlSet::new(wanted.clone());
            let told = laws::told_as_it_is::<_, SysctlSet>(
                &start.machine(),
                &[set],
                &Verb::Revert,
                failure,
            );
            told.unwrap_or_else(|broken| panic!("{failure:?}: {broken}"));
        }
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn what_is_said_is_what_the_host_shows(
        start in start(), applied in prop::collection::vec(any_set(), 0..3), tuning in any_set(),
        verb in 0..Verb::<()>::KINDS, (call, kind) in (0..150_u64, 0..Failure::KINDS),
    ) {
        let verb = Verb::of_kind(verb, tuning);
        laws::told_as_it_is(&start.machine(), &applied, &verb, Failure::of_kind(call, kind))?;
    }
}
