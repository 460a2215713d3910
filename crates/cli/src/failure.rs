//! Failures of commands, as reported to users and to programs.

use std::error::Error as StdError;

use hosttune_core::{Error, HostError, Unrecorded};
use hosttune_helper::client::Unavailable;
use hosttune_helper::lease::NoLease;
use hosttune_latency::{MeasureError, ResponderError};
use hosttune_run::RunFileError;
use hosttune_sysctl::SourcesError;

use super::exit::Exit;
use super::report_file::ReportFileError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line names something unknown or lacks something.
    #[error("{message}")]
    Usage {
        /// What is wrong, with the offending word.
        message: String,
        /// What to type instead.
        hint: String,
    },
    /// The command needs privileges that this process does not have.
    #[error("{command} needs root")]
    NeedsRoot {
        /// The command.
        command: String,
        /// What to type instead.
        hint: String,
    },
    /// The command is for a user other than root.
    #[error("--user is for the settings of one user, and root is another")]
    NotAsRoot {
        /// What to type instead.
        hint: String,
    },
    /// The engine refused, rolled back, or could not roll back.
    #[error(transparent)]
    Engine(Box<Error>),
    /// A revert succeeded but could not be recorded.
    #[error("the journal could not be cleared: {why}")]
    Unrecorded {
        /// What failed.
        why: String,
        /// What to do about it.
        hint: Option<String>,
        /// How the revert ended.
        exit: Exit,
    },
    /// The files that set sysctls could not be read.
    #[error(transparent)]
    Sources(Box<SourcesError<HostError>>),
    /// A path could not be measured.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// The responder could not be started.
    #[error(transparent)]
    Responder(#[from] ResponderError),
    /// Signals cannot be received: the process has no file descriptor left.
    #[error("cannot wait for termination signals")]
    Signals(#[source] std::io::Error),
    /// The records of the commands that run tuned.
    #[error(transparent)]
    Runs(#[from] RunFileError),
    /// What runs that have ended left could not be reverted.
    #[error("what runs that have ended left could not be reverted")]
    LeftByRuns(#[source] Box<Failure>),
    /// A process could not be started or watched.
    #[error("cannot start or watch a process")]
    Process(#[source] std::io::Error),
    /// The process that reverts when a run is killed could not be started.
    #[error("cannot start the watchdog, without which a run that is killed would not be reverted")]
    Watchdog(#[source] std::io::Error),
    /// No trial of kernel parameters runs that could be kept.
    #[error("{why}")]
    NoTrial {
        /// What became of it.
        why: String,
        /// What to type instead.
        hint: String,
    },
    /// The helper does not tune the host.
    #[error("{why}")]
    Helper {
        /// Why.
        #[source]
        why: Unavailable,
        /// What to type.
        hint: Option<String>,
    },
    /// The command that holds a lease was not started by the helper.
    #[error(transparent)]
    Lease(#[from] NoLease),
    /// Units cannot be removed while systemd starts them at boot.
    #[error("{unit} is enabled")]
    StillEnabled {
        /// The unit.
        unit: String,
        /// The root that was given.
        root: Option<std::path::PathBuf>,
    },
    /// A file that was named for a report cannot be used.
    #[error(transparent)]
    ReportFile(#[from] ReportFileError),
    /// The output could not be serialized as JSON. This is a bug of this program.
    #[error("cannot serialize the output as JSON")]
    Json(#[from] serde_json::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl From<SourcesError<HostError>> for Failure {
    fn from(error: SourcesError<HostError>) -> Self {
        Self::Sources(Box::new(error))
    }
}

/// The most names that are listed where one of them is probably meant.
const SHORT_LIST: usize = 8;

impl Failure {
    /// Whether another run holds the lock.
    pub(super) fn is_locked(&self) -> bool {
        match self {
            Self::Engine(error) => matches!(**error, Error::Locked { .. }),
            Self::Runs(error) => error.is_locked(),
            _ => false,
        }
    }

    /// A mistake in the command line, and what to type instead.
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A revert succeeded but could not be recorded; `again` is the command line that repeats it.
    pub(super) fn unrecorded(unrecorded: &Unrecorded, exit: Exit, again: &str) -> Self {
        let hint = unrecorded.hint.as_ref();
        Self::Unrecorded {
            why: unrecorded.why.clone(),
            hint: Some(match hint {
                Some(hint) => {
                    format!(
                        "{hint}, then run {again} to clear the journal: nothing is left to revert"
                    )
                }
                None => format!("run {again} to clear the journal: nothing is left to revert"),
            }),
            exit,
        }
    }

    /// A name that is not among the known ones.
    pub(super) fn unknown(what: &str, name: &str, known: &[String]) -> Self {
        let nearest = hosttune_sysctl::nearest(name, known.iter().map(String::as_str));
        let message = match nearest {
            Some(nearest) => format!("unknown {what} '{name}'; nearest: {nearest}"),
            None => format!("unknown {what} '{name}'"),
        };
        let hint = match nearest {
            _ if known.is_empty() => format!("this profile has no {what}; omit it"),
            // A long list would hide the name that was probably meant.
            Some(nearest) if known.len() > SHORT_LIST => format!("use {nearest}"),
            _ => format!("one of: {}", known.join(", ")),
        };
        Self::usage(message, hint)
    }

    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Engine(error) => Exit::of_error(error),
            Self::Unrecorded { exit, .. } => *exit,
            Self::LeftByRuns(_) => Exit::Incomplete,
            Self::ReportFile(error) if error.is_usage => Exit::Usage,
            Self::Sources(_)
            | Self::Measure(_)
            | Self::Responder(_)
            | Self::Signals(_)
            | Self::Runs(_)
            | Self::Process(_)
            | Self::Watchdog(_)
            | Self::NoTrial { .. }
            | Self::Helper { .. }
            | Self::Lease(_)
            | Self::StillEnabled { .. }
            | Self::ReportFile(_)
            | Self::NeedsRoot { .. }
            | Self::NotAsRoot { .. }
            | Self::Json(_) => Exit::Refused,
        }
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. }
            | Self::NeedsRoot { hint, .. }
            | Self::NotAsRoot { hint }
            | Self::NoTrial { hint, .. } => Some(hint.clone()),
            Self::Engine(error) => error.hint(),
            Self::Unrecorded { hint, .. } => hint.clone(),
            Self::Sources(error) => match &**error {
                SourcesError::List { source, .. } | SourcesError::Read { source, .. } => {
                    source.hint().map(str::to_owned)
                }
                _ => None,
            },
            Self::Measure(error) => error.hint(),
            Self::Responder(error) => error.hint().map(str::to_owned),
            Self::Runs(error) => error.hint(),
            Self::LeftByRuns(failure) => failure.hint(),
            Self::Helper { hint, .. } => hint.clone(),
            Self::StillEnabled { unit, root } => Some(match root {
                Some(root) => format!("systemctl --root {} disable {unit}", root.display()),
                None => format!("systemctl disable {unit}, which reverts nothing"),
            }),
            Self::Signals(_)
            | Self::Process(_)
            | Self::Watchdog(_)
            | Self::Lease(_)
            | Self::ReportFile(_)
            | Self::Json(_) => None,
        }
    }

    /// The causes, nearest first, without repetitions.
    pub(super) fn chain(&self) -> Vec<String> {
        let mut said = vec![self.to_string()];
        let mut source = self.source();
        while let Some(error) = source {
            let text = error.to_string();
            if said.last() != Some(&text) {
                said.push(text);
            }
            source = error.source();
        }
        said.remove(0);
        said
    }
}
