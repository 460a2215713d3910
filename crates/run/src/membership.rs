//! Several runs share one tuning: the first applies it, and the last one to end reverts it.
//!
//! The functions here are called under the lock of the records. Whoever ends a run, or finds that one was
//! killed, calls [`leave`]: the runner itself, its watchdog, or any later command that changes the host.

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

    /// Whether a process runs.
    fn is_alive(&self, process: &ProcessId) -> bool;

    /// Whether the journal of the runs has anything to revert or to finish.
    ///
    /// # Errors
    /// If the journal cannot be read.
    fn has_pending(&self) -> Result<bool, Self::Error>;

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
    let mut runs = alive(shared, None)?;
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
/// The records are removed after the revert, so that a revert that is killed is found.
///
/// # Errors
/// Of the records or the revert; the next call tries again.
pub fn leave<S: Shared>(shared: &mut S, runner: Option<&ProcessId>) -> Result<Remaining, S::Error> {
    let others = alive(shared, runner)?;
    if !others.0.is_empty() {
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

/// The runs whose runner is alive, but for one.
fn alive<S: Shared>(shared: &S, except: Option<&ProcessId>) -> Result<RunRecords, S::Error> {
    let records = shared.records()?.unwrap_or_default();
    Ok(records.alive(|runner| Some(runner) != except && shared.is_alive(runner)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGINAL: u8 = 60;
    const TUNED: u8 = 100;

    /// A host with one value, its journal and the records. Each change of them can be the one before which
    /// the process is killed.
    #[derive(Debug, Default)]
    struct Fake {
        value: u8,
        is_pending: bool,
        records: Option<RunRecords>,
        alive: Vec<i32>,
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
            if self.value == TUNED {
                return Ok(());
            }
            self.change()?;
            self.is_pending = true;
            self.change()?;
            if self.fails {
                self.is_pending = false;
                return Err(Failed::Refused);
            }
            self.value = TUNED;
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
        fn is_alive(&self, process: &ProcessId) -> bool {
            self.alive.contains(&process.pid)
        }
        fn has_pending(&self) -> Result<bool, Failed> {
            Ok(self.is_pending)
        }
        fn revert(&mut self) -> Result<bool, Failed> {
            self.change()?;
            self.value = ORIGINAL;
            self.change()?;
            self.is_pending = false;
            Ok(true)
        }
    }

    fn run(pid: i32) -> RunRecord {
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
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Act {
        /// A run begins, and is killed before the change of this number, if any.
        Begin { killed_at: Option<u32>, fails: bool },
        /// A run ends by itself, or is killed meanwhile.
        End {
            which: usize,
            killed_at: Option<u32>,
        },
        /// A run is killed while its command runs.
        Kill { which: usize },
        /// A watchdog or a later command looks after what was killed; it can be killed too.
        LookAfter { killed_at: Option<u32> },
    }

    fn act() -> impl Strategy<Value = Act> {
        let killed = || proptest::option::weighted(0.4, 0..7_u32);
        prop_oneof![
            3 => (killed(), proptest::bool::weighted(0.2))
                .prop_map(|(killed_at, fails)| Act::Begin { killed_at, fails }),
            3 => (any::<usize>(), killed()).prop_map(|(which, killed_at)| Act::End { which, killed_at }),
            1 => any::<usize>().prop_map(|which| Act::Kill { which }),
            2 => killed().prop_map(|killed_at| Act::LookAfter { killed_at }),
        ]
    }

    proptest! {
        /// While a run lasts the host is tuned, and after all have ended, however they did, one look is
        /// enough for everything to be as it was.
        #[test]
        fn tuned_as_long_as_any_run_lasts(acts in proptest::collection::vec(act(), 0..30)) {
            let mut fake = Fake { value: ORIGINAL, ..Fake::default() };
            let mut next = 1;
            for act in acts {
                match act {
                    Act::Begin { killed_at, fails } => {
                        let pid = next;
                        next += 1;
                        fake.alive.push(pid);
                        fake.budget = killed_at;
                        fake.fails = fails;
                        if enter(&mut fake, &run(pid), Fake::apply).is_err() {
                            fake.alive.retain(|&alive| alive != pid);
                        }
                        fake.fails = false;
                    }
                    Act::End { which, killed_at } if !fake.alive.is_empty() => {
                        let pid = fake.alive[which % fake.alive.len()];
                        fake.budget = killed_at;
                        let _ = leave(&mut fake, Some(&run(pid).runner));
                        fake.alive.retain(|&alive| alive != pid);
                    }
                    Act::Kill { which } if !fake.alive.is_empty() => {
                        let pid = fake.alive[which % fake.alive.len()];
                        fake.alive.retain(|&alive| alive != pid);
                    }
                    Act::LookAfter { killed_at } => {
                        fake.budget = killed_at;
                        let _ = leave(&mut fake, None);
                    }
                    Act::End { .. } | Act::Kill { .. } => {}
                }
                fake.budget = None;
                prop_assert!(fake.alive.is_empty() || fake.value == TUNED, "{fake:?} after {act:?}");
                let records = fake.records.clone().unwrap_or_default();
                for alive in &fake.alive {
                    prop_assert!(records.0.iter().any(|run| run.runner.pid == *alive), "{fake:?}");
                }
            }
            fake.alive.clear();
            prop_assert_eq!(leave(&mut fake, None), Ok(Remaining::Nothing));
            prop_assert_eq!((fake.value, fake.is_pending, fake.records), (ORIGINAL, false, None));
        }
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
            fn is_alive(&self, process: &ProcessId) -> bool {
                self.0.is_alive(process)
            }
            fn has_pending(&self) -> Result<bool, Failed> {
                self.0.has_pending()
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
