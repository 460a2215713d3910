//! What happens in a walk.

use std::collections::BTreeMap;

use hosttune::testing::{CrashPoint, Failure, Moment};
use proptest::prelude::*;

/// The owners, of which the last is the program `gaming`.
pub(super) const OWNERS: [&str; 4] = ["one", "two", "three", "gaming"];
pub(super) const GAMING: usize = 3;

/// Keys with values that the kernel accepts, one of them rounded to a power of two. The last two exclude each
/// other.
pub(super) const KEYS: [(&str, [&str; 3]); 5] = [
    ("vm.swappiness", ["10", "80", "100"]),
    ("net.core.somaxconn", ["128", "2048", "8192"]),
    ("net.core.rps_sock_flow_entries", ["30000", "1000", "64"]),
    ("vm.dirty_ratio", ["10", "30", "40"]),
    ("vm.dirty_bytes", ["100000000", "200000000", "300000000"]),
];
/// The number of the second key of the pair.
pub(super) const BYTES: usize = 4;

pub(super) const GOVERNORS: [&str; 4] = ["performance", "schedutil", "powersave", "conservative"];
pub(super) const SCHEDULERS: [&str; 4] = ["mq-deadline", "none", "kyber", "bfq"];
pub(super) const REQUESTS: [&str; 3] = ["16", "64", "32"];

/// What an owner requests: each by the number of a value.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) keys: BTreeMap<usize, usize>,
    pub(super) governor: Option<usize>,
    pub(super) scheduler: Option<usize>,
    pub(super) requests: Option<usize>,
}

/// What happens to a process.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Lives,
    /// It dies at this change or journal write.
    Dies(u64, Moment),
    /// The kernel refuses one change, or reports one as failed that it has made.
    Fails(u64, Moment),
    /// A read or write of the journal, or a change, fails, once or from then on.
    CallFails(Failure),
}

impl Fate {
    pub(super) fn crash_point(self) -> CrashPoint {
        match self {
            Self::Lives => CrashPoint::lives(),
            Self::Dies(write, moment) => CrashPoint::dies_at(write, moment),
            Self::Fails(change, moment) => CrashPoint::fails_at(change, moment),
            Self::CallFails(failure) => CrashPoint::call_fails(failure),
        }
    }

    pub(super) fn lives(self) -> bool {
        matches!(self, Self::Lives)
    }
}

/// What other programs do.
#[derive(Debug, Clone)]
pub(super) enum Stranger {
    Key(usize, usize),
    Governor(usize, usize),
    Scheduler(usize),
    Requests(usize),
    /// The second processor goes offline or comes back.
    Offline,
    Online,
    /// The disk is removed, or found again.
    Unplug,
    Plug,
    /// Modules that nothing uses are unloaded.
    UnloadUnused,
    /// The driver of the processors' frequencies is unloaded and loaded again.
    ReloadDriver,
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    Apply(usize, Want, Fate),
    /// A revert, forced or not.
    Revert(usize, bool, Fate),
    Stranger(Stranger),
    /// The program `gaming` applies or reverts, and is killed after this many milliseconds unless it has ended.
    Killed(bool, u64),
}

/// A whole walk.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    pub(super) acts: Vec<Act>,
    /// The order in which the owners revert at the end.
    pub(super) order: Vec<usize>,
    /// How many bytes the journal of the last owner loses at its end, right after that owner's act.
    pub(super) cut: Option<usize>,
}

fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Lives),
        4 => (0..30_u64, moment()).prop_map(|(write, moment)| Fate::Dies(write, moment)),
        2 => (0..10_u64, moment()).prop_map(|(change, moment)| Fate::Fails(change, moment)),
        1 => (0..50_u64, 0..Failure::KINDS)
            .prop_map(|(call, kind)| Fate::CallFails(Failure::of_kind(call, kind))),
    ]
}

fn want() -> impl Strategy<Value = Want> {
    let keys = prop::collection::btree_map(0..KEYS.len(), 0..3_usize, 0..4);
    let governor = prop::option::of(0..GOVERNORS.len());
    let scheduler = prop::option::of(0..SCHEDULERS.len());
    let requests = prop::option::weighted(0.3, 0..REQUESTS.len());
    (keys, governor, scheduler, requests).prop_map(|(mut keys, governor, scheduler, requests)| {
        if keys.contains_key(&(BYTES - 1)) {
            keys.remove(&BYTES);
        }
        Want {
            keys,
            governor,
            scheduler,
            requests,
        }
    })
}

fn stranger() -> impl Strategy<Value = Stranger> {
    prop_oneof![
        4 => (0..KEYS.len(), 0..3_usize).prop_map(|(key, value)| Stranger::Key(key, value)),
        3 => (0..2_usize, 0..GOVERNORS.len()).prop_map(|(policy, value)| Stranger::Governor(policy, value)),
        2 => (0..SCHEDULERS.len()).prop_map(Stranger::Scheduler),
        2 => (0..REQUESTS.len()).prop_map(Stranger::Requests),
        2 => Just(Stranger::Offline),
        2 => Just(Stranger::Online),
        1 => Just(Stranger::Unplug),
        2 => Just(Stranger::Plug),
        1 => Just(Stranger::UnloadUnused),
        1 => Just(Stranger::ReloadDriver),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    // The program has its own acts.
    let owner = || 0..GAMING;
    prop_oneof![
        7 => (owner(), want(), fate()).prop_map(|(owner, want, fate)| Act::Apply(owner, want, fate)),
        4 => (owner(), prop::bool::weighted(0.2), fate())
            .prop_map(|(owner, force, fate)| Act::Revert(owner, force, fate)),
        5 => stranger().prop_map(Act::Stranger),
        1 => (prop::bool::weighted(0.7), 100..2_500_u64).prop_map(|(applies, after)| Act::Killed(applies, after)),
    ]
}

pub(super) fn walk() -> impl Strategy<Value = Walk> {
    (
        prop::collection::vec(act(), 1..10),
        Just((0..OWNERS.len()).collect::<Vec<_>>()).prop_shuffle(),
        prop::option::weighted(0.3, 1..600_usize),
    )
        .prop_map(|(acts, order, cut)| Walk { acts, order, cut })
}
