//! Several runs share one tuning: the first applies it, and the last one to end reverts it.
//!
//! The functions here are called under the lock of the records. Whoever ends a run, or finds that one was
//! killed, calls [`leave`]: the runner itself, its watchdog, or any later command that changes the host.

use crate::liveness::Liveness;
use crate::process::ProcessId;
use crate::record::{RunRecord, RunRecords};

/// What the runs of one owner share: the records and the tuning.
pub trait Shared {
    /// Why one of them cannot be used.
    type Error;

    /// The records, or `None` if there are none.
    ///
    /// # Errors
    /// If they cannot be read.
    fn records(&self) -> Result<Option<RunRecords>, Self::Error>;

    /// Replaces the records; `None` removes them.
    ///
    /// # Errors
    /// If they cannot be written.
    fn set_records(&mut self, records: Option<&RunRecords>) -> Result<(), Self::Error>;

    /// Whether the runner of a run lives. One of which that is not known holds the tuning.
    fn liveness(&self, run: &RunRecord) -> Liveness;

    /// Whether the journal of the runs has anything to revert or to finish.
    ///
    /// # Errors
    /// If the journal cannot be read.
    fn has_pending(&self) -> Result<bool, Self::Error>;

    /// The network namespace of this process, if known.
    ///
    /// # Errors
    /// If it cannot be read.
    fn network_namespace(&self) -> Result<Option<String>, Self::Error>;

    /// Reverts what the journal has of the network namespace of this process.
    ///
    /// # Errors
    /// If nothing could be reverted.
    fn revert_network_namespace(&mut self) -> Result<(), Self::Error>;

    /// Reverts everything in that journal; whether nothing is left in it.
    ///
    /// # Errors
    /// If nothing could be reverted.
    fn revert(&mut self) -> Result<bool, Self::Error>;
}

/// What remains after a run has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// So many other runs still hold the tuning.
    Held(usize),
    /// Everything was reverted.
    Nothing,
    /// Settings that could not be reverted, or that another process has set since.
    Pending,
}

/// Adds a run and applies. If applying fails, the run has left again.
///
/// What a killed run has left is reverted first, unless other runs still hold it.
///
/// # Errors
/// Of the records, the revert or `apply`.
pub fn enter<S: Shared, T>(
    shared: &mut S,
    run: &RunRecord,
    apply: impl FnOnce(&mut S) -> Result<T, S::Error>,
) -> Result<T, S::Error> {
    let mut runs = not_ended(shared, None)?;
    if runs.0.is_empty() && shared.has_pending()? {
        // What is left after it was set by another process since, and the apply starts from that.
        shared.revert()?;
    }
    runs.0.push(run.clone());
    shared.set_records(Some(&runs))?;
    let applied = apply(shared);
    if applied.is_err() {
        // The error of the apply is the one to report; what this one leaves is in the journal.
        let _ = leave(shared, Some(&run.runner));
    }
    applied
}

/// Removes a run and the runs whose runner was killed, and reverts if no other is left. Without `runner`
/// only those that were killed.
///
/// If others are left, but none in this network namespace, what belongs to this namespace is reverted.
///
/// The records are removed after the revert, so that a revert that is killed is found.
///
/// # Errors
/// Of the records or the revert; the next call tries again.
pub fn leave<S: Shared>(shared: &mut S, runner: Option<&ProcessId>) -> Result<Remaining, S::Error> {
    let others = not_ended(shared, runner)?;
    if !others.0.is_empty() {
        // The others cannot revert what only this network namespace shows.
        let here = shared.network_namespace()?;
        let is_other =
            |run: &RunRecord| run.network_namespace.is_some() && run.network_namespace != here;
        if here.is_some() && others.0.iter().all(is_other) && shared.has_pending()? {
            shared.revert_network_namespace()?;
        }
        shared.set_records(Some(&others))?;
        return Ok(Remaining::Held(others.0.len()));
    }
    if shared.has_pending()? && !shared.revert()? {
        // Without runs, the records say that there is something to look after.
        shared.set_records(Some(&RunRecords::default()))?;
        return Ok(Remaining::Pending);
    }
    shared.set_records(None)?;
    Ok(Remaining::Nothing)
}

/// The runs whose runner has not ended, but for one.
fn not_ended<S: Shared>(shared: &S, except: Option<&ProcessId>) -> Result<RunRecords, S::Error> {
    let records = shared.records()?.unwrap_or_default();
    Ok(records.not_ended(|run| match Some(&run.runner) == except {
        true => Liveness::Ended,
        false => shared.liveness(run),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGINAL: u8 = 60;
    const TUNED: u8 = 100;
    const NAMESPACES: [&str; 2] = ["net:[1]", "net:[2]"];

    /// A host with one value, its journal and the records. Each change of them can be the one before which
    /// the process is killed.
    #[derive(Debug, Default)]
    struct Fake {
        value: u8,
        is_pending: bool,
        /// The value of each network namespace, and whether the journal has its original.
        local: [u8; 2],
        is_local_pending: [bool; 2],
        /// The namespace of this process.
        here: usize,
        records: Option<RunRecords>,
        alive: Vec<i32>,
        /// Those that are not seen from here.
        unseen: Vec<i32>,
        /// How many more changes this process makes before it is killed.
        budget: Option<u32>,
        fails: bool,
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Failed {
        Killed,
        Refused,
    }

    impl Fake {
        fn change(&mut self) -> Result<(), Failed> {
            match &mut self.budget {
                Some(0) => Err(Failed::Killed),
                Some(budget) => {
                    *budget -= 1;
                    Ok(())
                }
                None => Ok(()),
            }
        }

        /// As the engine: the intent is journalled before the value changes.
        fn apply(&mut self) -> Result<(), Failed> {
            if self.value == TUNED && self.local[self.here] == TUNED {
                return Ok(());
            }
            let was_pending = (self.is_pending, self.is_local_pending[self.here]);
            self.change()?;
            self.is_pending = true;
            self.is_local_pending[self.here] = true;
            self.change()?;
            if self.fails {
                (self.is_pending, self.is_local_pending[self.here]) = was_pending;
                return Err(Failed::Refused);
            }
            self.value = TUNED;
            self.local[self.here] = TUNED;
            Ok(())
        }
    }

    impl Shared for Fake {
        type Error = Failed;
        fn records(&self) -> Result<Option<RunRecords>, Failed> {
            Ok(self.records.clone())
        }
        fn set_records(&mut self, records: Option<&RunRecords>) -> Result<(), Failed> {
            self.change()?;
            self.records = records.cloned();
            Ok(())
        }
        fn liveness(&self, run: &RunRecord) -> Liveness {
            if self.unseen.contains(&run.runner.pid) {
                Liveness::Unknown
            } else if self.alive.contains(&run.runner.pid) {
                Liveness::Alive
            } else {
                Liveness::Ended
            }
        }
        fn has_pending(&self) -> Result<bool, Failed> {
            Ok(self.is_pending || self.is_local_pending.contains(&true))
        }
        fn network_namespace(&self) -> Result<Option<String>, Failed> {
            Ok(Some(NAMESPACES[self.here].to_owned()))
        }
        fn revert_network_namespace(&mut self) -> Result<(), Failed> {
            self.change()?;
            self.local[self.here] = ORIGINAL;
            self.change()?;
            self.is_local_pending[self.here] = false;
            Ok(())
        }
        fn revert(&mut self) -> Result<bool, Failed> {
            self.revert_network_namespace()?;
            self.change()?;
            self.value = ORIGINAL;
            self.change()?;
            self.is_pending = false;
            Ok(!self.has_pending()?)
        }
    }

    fn run(pid: i32, namespace: usize) -> RunRecord {
        RunRecord {
            runner: ProcessId {
                pid,
                start_ticks: 1,
                boot: String::new(),
            },
            watchdog: None,
            command_pid: 0,
            command: String::new(),
            user: None,
            network_namespace: Some(NAMESPACES[namespace].to_owned()),
            pid_namespace: None,
            power_profile: None,
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Act {
        /// A run begins in a namespace, and is killed before the change of this number, if any.
        Begin {
            namespace: usize,
            killed_at: Option<u32>,
            fails: bool,
        },
        /// A run ends by itself, or is killed meanwhile.
        End {
            which: usize,
            killed_at: Option<u32>,
        },
        /// A run is killed while its command runs.
        Kill { which: usize },
        /// A watchdog or a later command looks after what was killed; it can be killed too.
        LookAfter {
            namespace: usize,
            killed_at: Option<u32>,
        },
    }

    fn act() -> impl Strategy<Value = Act> {
        let killed = || proptest::option::weighted(0.4, 0..9_u32);
        let namespace = || 0..NAMESPACES.len();
        prop_oneof![
            3 => (namespace(), killed(), proptest::bool::weighted(0.2)).prop_map(
                |(namespace, killed_at, fails)| Act::Begin { namespace, killed_at, fails }
            ),
            3 => (any::<usize>(), killed()).prop_map(|(which, killed_at)| Act::End { which, killed_at }),
            1 => any::<usize>().prop_map(|which| Act::Kill { which }),
            2 => (namespace(), killed())
                .prop_map(|(namespace, killed_at)| Act::LookAfter { namespace, killed_at }),
        ]
    }

    proptest! {
        /// While a run lasts, the host and its namespace are tuned. After all have ended, however they
        /// did, one look in each namespace is enough for everything to be as it was.
        #[test]
        fn tuned_as_long_as_any_run_lasts(
            acts in proptest::collection::vec(act(), 0..30),
            last in 0..NAMESPACES.len(),
        ) {
            let mut fake = Fake { value: ORIGINAL, local: [ORIGINAL; 2], ..Fake::default() };
            let mut runs: Vec<(i32, usize)> = Vec::new();
            let mut next = 1;
            for act in acts {
                match act {
                    Act::Begin { namespace, killed_at, fails } => {
                        let pid = next;
                        next += 1;
                        fake.alive.push(pid);
                        runs.push((pid, namespace));
                        fake.budget = killed_at;
                        fake.fails = fails;
                        fake.here = namespace;
                        if enter(&mut fake, &run(pid, namespace), Fake::apply).is_err() {
                            fake.alive.retain(|&alive| alive != pid);
                        }
                        fake.fails = false;
                    }
                    Act::End { which, killed_at } if !fake.alive.is_empty() => {
                        let pid = fake.alive[which % fake.alive.len()];
                        let (_, namespace) = runs[(pid - 1) as usize];
                        fake.budget = killed_at;
                        fake.here = namespace;
                        let _ = leave(&mut fake, Some(&run(pid, namespace).runner));
                        fake.alive.retain(|&alive| alive != pid);
                    }
                    Act::Kill { which } if !fake.alive.is_empty() => {
                        let pid = fake.alive[which % fake.alive.len()];
                        fake.alive.retain(|&alive| alive != pid);
                    }
                    Act::LookAfter { namespace, killed_at } => {
                        fake.budget = killed_at;
                        fake.here = namespace;
                        let _ = leave(&mut fake, None);
                    }
                    Act::End { .. } | Act::Kill { .. } => {}
                }
                fake.budget = None;
                let alive = || runs.iter().filter(|(pid, _)| fake.alive.contains(pid));
                prop_assert!(alive().next().is_none() || fake.value == TUNED, "{fake:?} after {act:?}");
                let records = fake.records.clone().unwrap_or_default();
                for (pid, namespace) in alive() {
                    prop_assert_eq!(fake.local[*namespace], TUNED, "{:?} after {:?}", fake, act);
                    prop_assert!(records.0.iter().any(|run| run.runner.pid == *pid), "{fake:?}");
                }
            }
            fake.alive.clear();
            fake.here = last;
            prop_assert!(leave(&mut fake, None).is_ok());
            prop_assert_eq!((fake.value, fake.local[last]), (ORIGINAL, ORIGINAL));
            fake.here = 1 - last;
            prop_assert_eq!(leave(&mut fake, None), Ok(Remaining::Nothing));
            prop_assert_eq!((fake.value, fake.local, fake.is_pending), (ORIGINAL, [ORIGINAL; 2], false));
            prop_assert_eq!(fake.records, None);
        }

        /// The last run of a namespace reverts what belongs to it, although others still run elsewhere.
        #[test]
        fn the_last_run_of_a_namespace_reverts_it(first in 0..NAMESPACES.len()) {
            let mut fake = Fake { value: ORIGINAL, local: [ORIGINAL; 2], alive: vec![1, 2], ..Fake::default() };
            for (pid, namespace) in [(1, 0), (2, 1)] {
                fake.here = namespace;
                enter(&mut fake, &run(pid, namespace), Fake::apply).unwrap();
            }
            fake.here = first;
            let pid = [1, 2][first];
            prop_assert_eq!(leave(&mut fake, Some(&run(pid, first).runner)), Ok(Remaining::Held(1)));
            prop_assert_eq!((fake.value, fake.local[first], fake.local[1 - first]), (TUNED, ORIGINAL, TUNED));
        }
    }

    /// It may live: only a process that sees it decides.
    #[test]
    fn a_run_that_is_not_seen_from_here_holds_the_tuning() {
        let mut fake = Fake {
            value: ORIGINAL,
            local: [ORIGINAL; 2],
            alive: vec![1, 2],
            ..Fake::default()
        };
        enter(&mut fake, &run(1, 0), Fake::apply).unwrap();
        fake.unseen = vec![1];
        assert_eq!(leave(&mut fake, None), Ok(Remaining::Held(1)));
        enter(&mut fake, &run(2, 0), Fake::apply).unwrap();
        assert_eq!(
            leave(&mut fake, Some(&run(2, 0).runner)),
            Ok(Remaining::Held(1))
        );
        assert_eq!((fake.value, fake.local[0]), (TUNED, TUNED));
        assert_eq!(fake.records, Some(RunRecords(vec![run(1, 0)])));
        // Seen again, it has ended.
        (fake.unseen, fake.alive) = (Vec::new(), Vec::new());
        assert_eq!(leave(&mut fake, None), Ok(Remaining::Nothing));
        assert_eq!((fake.value, fake.local[0]), (ORIGINAL, ORIGINAL));
    }

    #[test]
    fn a_revert_that_leaves_something_is_tried_again() {
        struct Theirs(Fake);
        impl Shared for Theirs {
            type Error = Failed;
            fn records(&self) -> Result<Option<RunRecords>, Failed> {
                self.0.records()
            }
            fn set_records(&mut self, records: Option<&RunRecords>) -> Result<(), Failed> {
                self.0.set_records(records)
            }
            fn liveness(&self, run: &RunRecord) -> Liveness {
                self.0.liveness(run)
            }
            fn has_pending(&self) -> Result<bool, Failed> {
                self.0.has_pending()
            }
            fn network_namespace(&self) -> Result<Option<String>, Failed> {
                self.0.network_namespace()
            }
            fn revert_network_namespace(&mut self) -> Result<(), Failed> {
                self.0.revert_network_namespace()
            }
            fn revert(&mut self) -> Result<bool, Failed> {
                Ok(false)
            }
        }
        let mut fake = Theirs(Fake {
            value: TUNED,
            is_pending: true,
            ..Fake::default()
        });
        assert_eq!(leave(&mut fake, None), Ok(Remaining::Pending));
        // The records say so even without a run.
        assert_eq!(fake.0.records, Some(RunRecords::default()));
    }
}
