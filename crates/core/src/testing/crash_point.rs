//! When a process crashes, or when one of its changes fails. Both are counted in writes.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use crate::host::{Change, Gate, HostError, HostErrorKind, Operation};
use crate::stop::Stop;

/// The point of a write at which it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it: nothing is written.
    Before,
    /// During it: a file's replacement or a journal record is written by half.
    Within,
    /// After it: it is written, but the caller is not told.
    After,
}

/// A call that fails, made by a process to its host or to its journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Number of the call, from 0. Reads, listings and writes are counted together.
    pub call: u64,
    /// The point of the call if it is a write. A read that fails returns nothing.
    pub moment: Moment,
    /// The errno that the kernel answers with.
    pub errno: i32,
    /// Whether all later calls fail as well, as on a disk that has been removed.
    pub lasts: bool,
}

impl Failure {
    /// Number of [kinds](Self::of_kind).
    pub const KINDS: usize = 18;

    /// Returns one of the combinations of moment, errno and duration, for proptest strategies.
    ///
    /// The errnos are those of a file system whose device fails (`EIO`) or is full (`ENOSPC`), and of a
    /// kernel that is out of memory (`ENOMEM`).
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

/// Why a write is not made, or is reported as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The process has crashed, which its own code sees as an error.
    Died,
    /// The kernel answers with this errno.
    Answered(i32),
}

#[derive(Debug, Default)]
struct State {
    /// Writes so far, to the host and to the journal.
    writes: u64,
    /// The writes among them that change the host.
    changes: u64,
    dies: Option<(u64, Moment)>,
    fails: Option<(u64, Moment)>,
    /// Calls so far, including reads.
    calls: u64,
    call_fails: Option<Failure>,
    stops: Option<(u64, Stop)>,
    failing: Option<(Moment, Why)>,
    dead: bool,
}

/// When a process crashes, or when one of its changes fails.
///
/// Clones share it: the host's gate and the journal's store of one process have one fate.
#[derive(Debug, Clone, Default)]
pub struct CrashPoint(Arc<Mutex<State>>);

impl CrashPoint {
    /// A process that never crashes and whose writes succeed.
    pub fn lives() -> Self {
        Self::default()
    }

    /// A process that crashes at its `write`-th write (from 0) to the host or the journal.
    ///
    /// A crashed process changes nothing from then on. Its calls return errors because a test cannot stop
    /// its remaining code; whatever that code does has no effect.
    pub fn dies_at(write: u64, moment: Moment) -> Self {
        let crash_point = Self::default();
        crash_point.with(|state| state.dies = Some((write, moment)));
        crash_point
    }

    /// A process whose `change`-th change of the host (from 0) fails once, before or after it took effect.
    /// Its journal works.
    pub fn fails_at(change: u64, moment: Moment) -> Self {
        let crash_point = Self::default();
        crash_point.with(|state| state.fails = Some((change, moment)));
        crash_point
    }

    /// A process for which one call fails, or all calls from that one on.
    pub fn call_fails(failure: Failure) -> Self {
        let crash_point = Self::default();
        crash_point.with(|state| state.call_fails = Some(failure));
        crash_point
    }

    /// A process that is asked to stop while it makes its `change`-th change of the host (from 0), as by a
    /// signal. Its session has to be [stopped by](crate::Session::stopped_by) what [`stop`](Self::stop) returns.
    pub fn stops_at(change: u64) -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        let crash_point = Self::default();
        let stop = Stop::flagged(&NEVER, || {});
        crash_point.with(|state| state.stops = Some((change, stop)));
        crash_point
    }

    /// What the process is asked to stop by, if it [is](Self::stops_at).
    pub fn stop(&self) -> Option<Stop> {
        self.with(|state| state.stops.as_ref().map(|(_, stop)| stop.clone()))
    }

    /// Number of calls made or attempted.
    pub fn calls(&self) -> u64 {
        self.with(|state| state.calls)
    }

    /// Number of writes made or attempted.
    pub fn writes(&self) -> u64 {
        self.with(|state| state.writes)
    }

    /// Number of changes of the host made or attempted.
    pub fn changes(&self) -> u64 {
        self.with(|state| state.changes)
    }

    /// Whether the process has crashed.
    pub fn is_dead(&self) -> bool {
        self.with(|state| state.dead)
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a read, which may fail.
    ///
    /// A fake of any data source of a host calls this and answers with the returned errno.
    ///
    /// # Errors
    /// Returns the errno if this read fails.
    pub fn reads(&self) -> Result<(), i32> {
        self.with(|state| match state.next_call() {
            Some(failure) => Err(failure.errno),
            None => Ok(()),
        })
    }

    /// Begins a write: returns where and how it is to be cut short, or an error if it is not made.
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

    /// Ends the write that was [begun](Self::begin), and returns why it failed.
    pub(super) fn end(&self) -> Option<Why> {
        let failing = self.with(|state| state.failing.take());
        failing.map(|(_, why)| why)
    }

    /// Whether the current change fails halfway in a process that survives.
    pub(super) fn is_refused(&self) -> bool {
        self.with(|state| matches!(state.failing, Some((Moment::Within, Why::Answered(_)))))
    }

    /// Whether the current change is cut short halfway.
    pub(super) fn is_cut_short(&self) -> bool {
        self.with(|state| matches!(state.failing, Some((Moment::Within, _))))
    }
}

impl State {
    /// Counts a call and returns its failure, if it fails.
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

impl Gate for CrashPoint {
    fn before(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        self.begin().map_err(refused)?;
        self.with(|state| {
            let here = state.fails.filter(|(change, _)| *change == state.changes);
            if let Some((_, stop)) = state.stops.as_ref().filter(|(at, _)| *at == state.changes) {
                stop.request();
            }
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
