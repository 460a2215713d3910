//! Law 17: each network namespace ends at its own original state.

use super::{Act, Broken, broken, failed, no_journal_left, same};
use crate::session::NotRevertedReason;
use crate::testing::crash_point::CrashPoint;
use crate::testing::world::World;
use crate::tuning::Tuning;

const LAW: &str =
    "reverts of all owners in all network namespaces in any order restore the original state";

/// Law 17: any number of owners apply and revert in any order, each time in any network namespace, are
/// killed, or have calls that fail. A revert leaves what belongs to another namespace, says so, and
/// forgets nothing. When all have reverted in all namespaces, in any order, each namespace is in its
/// original state.
///
/// `enter` makes the processes that start from then on run in a namespace; `acts` have its number.
/// `last` is the order of the final reverts: every owner once in every namespace.
///
/// # Errors
/// Returns [`Broken`] if the law does not hold.
pub fn owners_in_network_namespaces<W: World>(
    world: &W,
    enter: impl Fn(&W, usize),
    acts: &[(usize, Act<impl Tuning>)],
    last: &[(usize, usize)],
) -> Result<(), Broken> {
    let world = world.fork();
    let name = |owner: usize| format!("owner-{owner}");
    enter(&world, 0);
    let was = world.snapshot();
    for (namespace, act) in acts {
        enter(&world, *namespace);
        act.done_in(&world, &name(act.owner), LAW)?;
    }
    for (owner, namespace) in last {
        enter(&world, *namespace);
        let mut session = world
            .session_of(&name(*owner), &CrashPoint::lives())
            .map_err(failed(LAW, "open"))?;
        let reverted = session.revert().map_err(failed(LAW, "the last revert"))?;
        for left in &reverted.not_reverted {
            // What others in that namespace rest on waits for them.
            if !matches!(
                left.reason,
                NotRevertedReason::AnotherNetworkNamespace(_) | NotRevertedReason::Waits
            ) {
                return Err(broken(LAW, format!("{}: {left}", name(*owner))));
            }
        }
        let status = session.status().map_err(failed(LAW, "status"))?;
        if status.pending.len() != reverted.not_reverted.len() {
            return Err(broken(LAW, "status and revert differ in what is pending"));
        }
    }
    enter(&world, 0);
    same(LAW, &was, &world.snapshot())?;
    no_journal_left(LAW, &world)
}
