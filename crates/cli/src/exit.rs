//! The exit codes, which are a stable interface, and their mapping from errors.

use std::process::ExitCode;

use hosttune_core::{Error, Reverted};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success, or everything is as wanted.
    Done = 0,
    /// `verify`, `apply` or `plan --exit-code` found a setting that is not as wanted or could not be
    /// read, `revert` kept a value that another process has set since or could not generate the boot
    /// menu, or `measure` found a path that is not gradable.
    Drift = 1,
    /// The command line is wrong or names something unknown.
    Usage = 2,
    /// Refused or rolled back: nothing was changed.
    Refused = 3,
    /// Some settings have neither the wanted nor the original value; they stay in the journal.
    Incomplete = 4,
    /// Everything was reverted, but the journal could not be cleared.
    Unrecorded = 5,
    /// The command of `run` was not started, for a reason of this program; as `env(1)` and `timeout(1)` end.
    NotStarted = 125,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit code of a failed verb.
    pub(super) fn of_error(error: &Error) -> Self {
        match error {
            Error::RollbackIncomplete { .. } => Self::Incomplete,
            Error::Unrecorded { reverted, .. } if !reverted.is_complete() => Self::Incomplete,
            Error::Unrecorded { .. } => Self::Unrecorded,
            _ => Self::Refused,
        }
    }

    /// The same, and a drift where it was success.
    pub(super) fn or_drift(self) -> Self {
        match self {
            Self::Done => Self::Drift,
            other => other,
        }
    }

    /// The exit code of a revert or a recovery.
    pub(super) fn of_reverted(reverted: &Reverted) -> Self {
        if !reverted.is_complete() {
            Self::Incomplete
        } else if reverted.unrecorded.is_some() {
            Self::Unrecorded
        } else if reverted.not_reverted.is_empty() {
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
