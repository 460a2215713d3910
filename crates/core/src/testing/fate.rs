//! What becomes of a process in a random sequence.

use super::crash_point::{CrashPoint, Failure, Moment};

/// What becomes of a process. Random sequences over running kernels draw one for each of their processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing happens to it.
    Lives,
    /// It crashes at this change or journal write, from 0.
    Dies(u64, Moment),
    /// The kernel refuses this change, or reports it as failed although it is made.
    Fails(u64, Moment),
    /// A read or write of the journal, or a change, fails, once or from then on.
    CallFails(Failure),
    /// It is asked to stop, as by a signal, while it makes this change, from 0. It stops when the step is done.
    Stops(u64),
}

impl Fate {
    /// Number of [kinds](Self::of_kind).
    pub const KINDS: usize = 20 * Failure::KINDS;

    /// Returns one of the kinds, for proptest strategies: of twenty, twelve live and four die. `call` is the
    /// number of the call at which something happens, from 0 up to the calls of a whole process; of the writes,
    /// which are fewer, it is an earlier one.
    pub fn of_kind(call: u64, kind: usize) -> Self {
        let moments = [Moment::Before, Moment::Within, Moment::After];
        let moment = moments[kind % moments.len()];
        match kind / Failure::KINDS % 20 {
            0..12 => Self::Lives,
            12..16 => Self::Dies(call * 3 / 5, moment),
            16..18 => Self::Fails(call / 5, moment),
            18 => Self::CallFails(Failure::of_kind(call, kind)),
            _ => Self::Stops(call / 5),
        }
    }

    /// The crash point of a process with this fate.
    pub fn crash_point(self) -> CrashPoint {
        match self {
            Self::Lives => CrashPoint::lives(),
            Self::Dies(write, moment) => CrashPoint::dies_at(write, moment),
            Self::Fails(change, moment) => CrashPoint::fails_at(change, moment),
            Self::CallFails(failure) => CrashPoint::call_fails(failure),
            Self::Stops(change) => CrashPoint::stops_at(change),
        }
    }

    /// Whether nothing happens to it.
    pub fn lives(self) -> bool {
        self == Self::Lives
    }
}
