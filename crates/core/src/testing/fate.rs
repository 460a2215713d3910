//! When a process dies, or one of its changes fails: counted in writes.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{HostError, HostErrorKind, Operation};
use crate::host::{Change, Gate};

/// Where in a write something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it: nothing of it lands.
    Before,
    /// In it: a file's replacement or a journal's line is half there.
    Within,
    /// After it: it has landed and nobody was told.
    After,
}

#[derive(Debug, Default)]
struct State {
    /// Writes seen so far, of the host and of the journal.
    writes: u64,
    /// Changes of the host among them.
    changes: u64,
    dies: Option<(u64, Moment)>,
    fails: Option<(u64, Moment)>,
    failing: Option<Moment>,
    dead: bool,
}

/// When a process dies or one of its changes fails. Clones share it: the host's gate and the
/// journal's store of one process have one fate.
#[derive(Debug, Clone, Default)]
pub struct Fate(Arc<Mutex<State>>);

impl Fate {
    /// A process that lives and whose writes succeed.
    pub fn lives() -> Self {
        Self::default()
    }

    /// A process that dies at the `write`-th write (from 0) of host or journal.
    ///
    /// A dead process changes nothing any more. It is told so by errors, since a test cannot
    /// take the rest of its code away; whatever it does with them has no effect.
    pub fn dies_at(write: u64, moment: Moment) -> Self {
        let fate = Self::default();
        fate.with(|state| state.dies = Some((write, moment)));
        fate
    }

    /// A process whose `change`-th change of the host (from 0) fails once, before or after it
    /// landed. Its journal is well.
    pub fn fails_at(change: u64, moment: Moment) -> Self {
        let fate = Self::default();
        fate.with(|state| state.fails = Some((change, moment)));
        fate
    }

    /// How many writes were made or tried.
    pub fn writes(&self) -> u64 {
        self.with(|state| state.writes)
    }

    /// How many changes of the host were made or tried.
    pub fn changes(&self) -> u64 {
        self.with(|state| state.changes)
    }

    /// Whether the process has died.
    pub fn is_dead(&self) -> bool {
        self.with(|state| state.dead)
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A write begins: what becomes of it, or `Err` where it is not made.
    pub(super) fn begin(&self) -> Result<Option<Moment>, ()> {
        self.with(|state| {
            if state.dead {
                return Err(());
            }
            let here = state.dies.filter(|(write, _)| *write == state.writes);
            state.writes += 1;
            match here {
                Some((_, Moment::Before)) => {
                    state.dead = true;
                    Err(())
                }
                Some((_, moment)) => {
                    state.dead = true;
                    state.failing = Some(moment);
                    Ok(Some(moment))
                }
                None => Ok(None),
            }
        })
    }

    /// Whether the change being made right now is cut short inside.
    pub(super) fn is_cut_short(&self) -> bool {
        self.with(|state| state.failing == Some(Moment::Within))
    }
}

fn died() -> HostError {
    HostError::new(Operation::Write, "anything", HostErrorKind::Other).detail("the process died")
}

impl Gate for Fate {
    fn before(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        self.begin().map_err(|()| died())?;
        self.with(|state| {
            let here = state.fails.filter(|(change, _)| *change == state.changes);
            state.changes += 1;
            match here {
                Some((_, Moment::Before)) => Err(HostError::from_errno(
                    Operation::Write,
                    "the change",
                    5, // EIO
                )),
                Some((_, moment)) => {
                    state.failing = Some(moment);
                    Ok(())
                }
                None => Ok(()),
            }
        })
    }

    fn after(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        self.with(|state| match state.failing.take() {
            Some(_) if state.dead => Err(died()),
            Some(_) => Err(HostError::from_errno(Operation::Write, "the change", 5)),
            None => Ok(()),
        })
    }
}
