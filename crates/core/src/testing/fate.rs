//! When a process dies, or one of its changes fails: counted in writes.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

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

/// A call of a process, to its host or to its journals, that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which one, from 0: reads, listings and writes counted together.
    pub call: u64,
    /// Where in it, if it is a write. A read that fails reads nothing.
    pub moment: Moment,
    /// What the kernel answers.
    pub errno: i32,
    /// Whether all calls after it fail as well, as those to a disk that has gone.
    pub lasts: bool,
}

impl Failure {
    /// How many [kinds](Self::of_kind) there are.
    pub const KINDS: usize = 18;

    /// One of every combination of moment, answer and whether it lasts: for whoever draws failures.
    ///
    /// The answers are those of a file system whose device fails or is full, and of a kernel that has no
    /// memory.
    pub fn of_kind(call: u64, kind: usize) -> Self {
        let moments = [Moment::Before, Moment::Within, Moment::After];
        let answers = [Errno::IO, Errno::NOSPC, Errno::NOMEM];
        Self {
            call,
            moment: moments[kind % 3],
            errno: answers[kind / 3 % 3].raw_os_error(),
            lasts: kind % Self::KINDS >= 9,
        }
    }

    fn is_of(self, call: u64) -> bool {
        call == self.call || self.lasts && call > self.call
    }
}

/// Why a write is not made, or reported as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The process has died, and is told so by an error.
    Died,
    /// The kernel answers this.
    Answered(i32),
}

#[derive(Debug, Default)]
struct State {
    /// Writes seen so far, of the host and of the journal.
    writes: u64,
    /// Changes of the host among them.
    changes: u64,
    dies: Option<(u64, Moment)>,
    fails: Option<(u64, Moment)>,
    /// Calls seen so far, reads too.
    calls: u64,
    call_fails: Option<Failure>,
    failing: Option<(Moment, Why)>,
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

    /// A process one of whose calls fails, or all of them from one on.
    pub fn call_fails(failure: Failure) -> Self {
        let fate = Self::default();
        fate.with(|state| state.call_fails = Some(failure));
        fate
    }

    /// How many calls were made or tried.
    pub fn calls(&self) -> u64 {
        self.with(|state| state.calls)
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

    /// Something is read.
    ///
    /// For the double of anything that a host reads from: what it answers where it is to fail is the errno.
    ///
    /// # Errors
    /// The errno with which it fails.
    pub fn reads(&self) -> Result<(), i32> {
        self.with(|state| match state.next_call() {
            Some(failure) => Err(failure.errno),
            None => Ok(()),
        })
    }

    /// A write begins: where and how it is to be cut short, or why it is not made.
    pub(super) fn begin(&self) -> Result<Option<(Moment, Why)>, Why> {
        self.with(|state| {
            if state.dead {
                return Err(Why::Died);
            }
            let here = state.dies.filter(|(write, _)| *write == state.writes);
            state.writes += 1;
            let failure = state.next_call();
            if let Some((_, moment)) = here {
                state.dead = true;
                state.failing = Some((moment, Why::Died));
            } else if let Some(failure) = failure {
                state.failing = Some((failure.moment, Why::Answered(failure.errno)));
            }
            match state.failing {
                Some((Moment::Before, why)) => {
                    state.failing = None;
                    Err(why)
                }
                other => Ok(other),
            }
        })
    }

    /// The write that was [begun](Self::begin) ends: why it failed.
    pub(super) fn end(&self) -> Option<Why> {
        let failing = self.with(|state| state.failing.take());
        failing.map(|(_, why)| why)
    }

    /// Whether the change being made right now is refused inside, and the process lives on.
    pub(super) fn is_refused(&self) -> bool {
        self.with(|state| matches!(state.failing, Some((Moment::Within, Why::Answered(_)))))
    }

    /// Whether the change being made right now is cut short inside.
    pub(super) fn is_cut_short(&self) -> bool {
        self.with(|state| matches!(state.failing, Some((Moment::Within, _))))
    }
}

impl State {
    /// Counts a call; how it fails, if it does.
    fn next_call(&mut self) -> Option<Failure> {
        let call = self.calls;
        self.calls += 1;
        self.call_fails.filter(|failure| failure.is_of(call))
    }
}

fn refused(why: Why) -> HostError {
    match why {
        Why::Died => died(),
        Why::Answered(errno) => HostError::from_errno(Operation::Write, "the change", errno),
    }
}

fn died() -> HostError {
    HostError::new(Operation::Write, "anything", HostErrorKind::Other).detail("the process died")
}

impl Gate for Fate {
    fn before(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        self.begin().map_err(refused)?;
        self.with(|state| {
            let here = state.fails.filter(|(change, _)| *change == state.changes);
            state.changes += 1;
            let answer = Why::Answered(Errno::IO.raw_os_error());
            match here {
                Some((_, Moment::Before)) => Err(refused(answer)),
                Some((_, moment)) => {
                    state.failing = Some((moment, answer));
                    Ok(())
                }
                None => Ok(()),
            }
        })
    }

    fn after(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        self.end().map_or(Ok(()), |why| Err(refused(why)))
    }
}
