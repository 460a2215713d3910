//! The exit codes: an interface, and the one place that says which error has which.

use std::process::ExitCode;

use hosttune_core::{Error, Reverted};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or as wanted.
    Done = 0,
    /// Something is not as wanted or could not be read: found by `verify`, `apply` or
    /// `plan --exit-code`; or left by `revert` because somebody else has set it since; or a path that
    /// `measure` has no grade for.
    Drift = 1,
    /// The command line is wrong, or names something unknown.
    Usage = 2,
    /// Refused or rolled back: nothing was changed.
    Refused = 3,
    /// Something is neither as wanted nor as it was; it stays in the journal.
    Incomplete = 4,
    /// Everything was put back, and the journal could not be cleared of it.
    Unrecorded = 5,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// How a verb that failed ends.
    pub(super) fn of_error(error: &Error) -> Self {
        match error {
            Error::RollbackIncomplete { .. } => Self::Incomplete,
            Error::Unrecorded { reverted, .. } if !reverted.is_complete() => Self::Incomplete,
            Error::Unrecorded { .. } => Self::Unrecorded,
            _ => Self::Refused,
        }
    }

    /// How a revert or a recovery ends.
    pub(super) fn of_reverted(reverted: &Reverted) -> Self {
        if !reverted.is_complete() {
            Self::Incomplete
        } else if reverted.unrecorded.is_some() {
            Self::Unrecorded
        } else if reverted.left.is_empty() {
            Self::Done
        } else {
            Self::Drift
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
