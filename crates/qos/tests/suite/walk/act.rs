//! What happens in a walk.

use hosttune_core::testing::Fate;
use proptest::prelude::*;

/// The names that links have in a walk. The first two exist at its beginning.
pub(super) const NAMES: [&str; 3] = ["w0", "x0", "y0"];

pub(super) const OWNERS: [&str; 3] = ["one", "two", "three"];

/// Roots that a link has before anything happens, as arguments of `tc`.
pub(super) const ORIGINS: [&str; 4] = [
    "",
    "root handle 12: pfifo limit 77",
    "root handle 4854: tbf rate 5mbit burst 16k latency 50ms",
    "root handle 5: prio bands 4",
];

/// The hook that a link has before anything happens.
pub(super) const HOOKS: [&str; 3] = ["", "ingress", "clsact"];

/// What an owner requests: rates by number, for a device by name.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) name: usize,
    pub(super) egress: Option<usize>,
    pub(super) ingress: Option<usize>,
    /// Whether it asks for `ifb0` if that is free, and not for an IFB that is named after the device.
    pub(super) prefers: bool,
}

/// What another program does to links, by name, and to IFBs, by number among those that exist.
#[derive(Debug, Clone)]
pub(super) enum Stranger {
    Root(usize, usize),
    DeleteRoot(usize),
    DeleteHook(usize),
    AddFilter(usize),
    DeleteFilters(usize),
    Rename(usize, usize),
    Down(usize),
    Up(usize),
    Delete(usize),
    Create(usize),
    DeleteIfb(usize),
    DownIfb(usize),
    RenameIfb(usize),
    RootOfIfb(usize, usize),
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    Apply(usize, Want, Fate),
    /// A revert, forced or not.
    Revert(usize, bool, Fate),
    Stranger(Stranger),
}

/// A whole walk.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    /// Root and hook of the first two links at the beginning.
    pub(super) origins: [(usize, usize); 2],
    pub(super) acts: Vec<Act>,
    /// The order in which the owners revert at the end.
    pub(super) order: Vec<usize>,
    /// How many bytes the journal of the last owner loses at its end, right after that owner's act: after others
    /// have acted, a value that they set would look as if the owner had set it.
    pub(super) cut: Option<usize>,
}

fn fate() -> impl Strategy<Value = Fate> {
    (0..40_u64, 0..Fate::KINDS).prop_map(|(call, kind)| Fate::of_kind(call, kind))
}

fn want() -> impl Strategy<Value = Want> {
    let rate = || prop::option::weighted(0.8, 0..3_usize);
    (0..NAMES.len(), rate(), rate(), any::<bool>()).prop_map(|(name, egress, ingress, prefers)| {
        Want {
            name,
            // One of the two is requested.
            egress: egress.or(if ingress.is_none() { Some(0) } else { None }),
            ingress,
            prefers,
        }
    })
}

fn stranger() -> impl Strategy<Value = Stranger> {
    let name = || 0..NAMES.len();
    let ifb = || 0..2_usize;
    prop_oneof![
        3 => (name(), 0..3_usize).prop_map(|(name, root)| Stranger::Root(name, root)),
        1 => name().prop_map(Stranger::DeleteRoot),
        1 => name().prop_map(Stranger::DeleteHook),
        1 => name().prop_map(Stranger::AddFilter),
        1 => name().prop_map(Stranger::DeleteFilters),
        2 => (name(), name()).prop_map(|(from, to)| Stranger::Rename(from, to)),
        1 => name().prop_map(Stranger::Down),
        1 => name().prop_map(Stranger::Up),
        1 => name().prop_map(Stranger::Delete),
        2 => name().prop_map(Stranger::Create),
        1 => ifb().prop_map(Stranger::DeleteIfb),
        1 => ifb().prop_map(Stranger::DownIfb),
        1 => ifb().prop_map(Stranger::RenameIfb),
        1 => (ifb(), 0..3_usize).prop_map(|(ifb, root)| Stranger::RootOfIfb(ifb, root)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let owner = || 0..OWNERS.len();
    prop_oneof![
        6 => (owner(), want(), fate()).prop_map(|(owner, want, fate)| Act::Apply(owner, want, fate)),
        4 => (owner(), prop::bool::weighted(0.2), fate())
            .prop_map(|(owner, force, fate)| Act::Revert(owner, force, fate)),
        4 => stranger().prop_map(Act::Stranger),
    ]
}

pub(super) fn walk() -> impl Strategy<Value = Walk> {
    let origin = || (0..ORIGINS.len(), 0..HOOKS.len());
    (
        [origin(), origin()],
        prop::collection::vec(act(), 1..10),
        Just((0..OWNERS.len()).collect::<Vec<_>>()).prop_shuffle(),
        prop::option::weighted(0.3, 1..600_usize),
    )
        .prop_map(|(origins, acts, order, cut)| Walk {
            origins,
            acts,
            order,
            cut,
        })
}
