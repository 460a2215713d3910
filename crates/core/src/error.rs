//! Failed plans, applies, verifies and reverts, and what to do about them.
//!
//! `Display` describes only its own level and never repeats its source; print the chain to see the
//! errno. The remedy, where one is known, is separate: see [`hint`](Error::hint). A failed operation
//! on the host is a [`HostError`].

use std::fmt;

use crate::host::HostError;
use crate::journal::JournalError;
use crate::report::Finding;
use crate::session::{NotReverted, Reverted};

/// Why a step did not reach its planned state.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StepFailure {
    /// The host rejected the change.
    #[error("the change was refused")]
    Refused(#[source] HostError),
    /// The write succeeded, but the host shows something else.
    #[error("the write was accepted, but the host shows {seen}")]
    NotTaken {
        /// What was read back.
        seen: String,
    },
    /// A value that is needed before the change could not be read.
    #[error("the current value could not be read")]
    Unreadable(#[source] HostError),
    /// The journal could not be written, so the change was not made.
    #[error("the journal could not be written")]
    Journal(#[source] JournalError),
    /// The apply was interrupted before this step.
    #[error("the apply was interrupted before this step")]
    Interrupted,
}

/// The step that failed, and how it failed.
#[derive(Debug, Clone)]
pub struct Cause {
    /// The knob, as printed.
    pub knob: String,
    /// The part of the tuning that requested it.
    pub part: String,
    /// The requested state, as printed.
    pub wanted: String,
    /// What happened instead.
    pub failure: StepFailure,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} could not be set to {}", self.knob, self.wanted)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.failure)
    }
}

/// A step of a stored plan whose starting state is no longer what the host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleStep {
    /// The knob, as printed.
    pub knob: String,
    /// The state that the plan starts from.
    pub planned: String,
    /// What the host shows.
    pub seen: String,
}

/// Why a plan, apply, verify or revert failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tuning asked the planner for something that the host could not provide.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Two parts request different values for one knob. Nothing was changed.
    #[error(
        "conflicting values for {knob}: {first_part} sets {first}, {second_part} sets {second}"
    )]
    Conflict {
        /// The knob, as printed.
        knob: String,
        /// The part that declared it first.
        first_part: String,
        /// The value that the first part requests.
        first: String,
        /// The part that declared it second.
        second_part: String,
        /// The value that the second part requests.
        second: String,
    },
    /// A tuning asked for the state of a knob that an earlier step of the same plan resets as a
    /// side effect.
    #[error(
        "the value of {knob} cannot be determined before apply: an earlier step of this plan resets it"
    )]
    DependsOnEarlierStep {
        /// The knob, as printed.
        knob: String,
    },
    /// The session does not have this knob type registered.
    #[error("the knob type '{name}' is not registered with this session")]
    Unregistered {
        /// [`Knob::NAME`](crate::Knob::NAME) of the type.
        name: String,
    },
    /// Required settings (under strict, any settings) are unsupported here. Nothing was changed.
    #[error("{}: {}", count_unsupported(texts(.0).len()), join(texts(.0).into_iter()))]
    NotApplicable(Vec<Finding>),
    /// The host has changed since the plan was made. Nothing was changed.
    #[error("the plan is stale: {}", stale(.0))]
    Stale(Vec<StaleStep>),
    /// A step failed; all earlier steps were undone and verified.
    #[error("nothing was changed: a step failed and all earlier steps were undone")]
    RolledBack {
        /// The step that failed.
        #[source]
        cause: Box<Cause>,
    },
    /// A step failed and not all earlier steps could be undone.
    #[error("a step failed and {} could not be undone: {}", plural(.left.len(), "step"), left_list(.left))]
    RollbackIncomplete {
        /// The step that failed.
        #[source]
        cause: Box<Cause>,
        /// The steps that were not undone. They stay in the journal, and `revert` tries again.
        left: Vec<NotReverted>,
    },
    /// The apply was interrupted; all earlier steps were undone and verified.
    #[error("interrupted before {before}: {}", interrupted(*.undone))]
    Interrupted {
        /// The knob of the first step that was not started, as printed.
        before: String,
        /// How many steps were undone.
        undone: usize,
    },
    /// The changes were undone or reverted, but the journal could not be cleared.
    #[error("{}", unrecorded(.cause.as_deref(), .reverted))]
    Unrecorded {
        /// The step that failed; `None` if an earlier, interrupted run was recovered and nothing
        /// else was started.
        cause: Option<Box<Cause>>,
        /// What was reverted, and why the journal does not record it.
        reverted: Box<Reverted>,
    },
    /// Another process is changing this host.
    #[error("another process is changing this host: {holder}")]
    Locked {
        /// The holder of the lock, as it describes itself.
        holder: String,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The name cannot be used as an owner.
    #[error(
        "invalid owner '{0}': use 1 to 64 characters of a-z, 0-9, '-', '_' and '.', starting with a letter or digit"
    )]
    Owner(String),
    /// The tuning rejected its own input.
    #[error("{message}")]
    Tuning {
        /// What is wrong, with the name of the object.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl Error {
    /// An error in the input of a tuning: what is wrong, and what to do about it.
    pub fn tuning(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Tuning {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Host(error) => error.hint().map(str::to_owned),
            Self::Conflict { .. } => Some("remove one of the two settings".into()),
            Self::DependsOnEarlierStep { .. } => {
                Some("read it before the step that resets it, or set it explicitly".into())
            }
            Self::Unregistered { .. } => {
                Some("register its crate's `knobs` function with Session::with(...)".into())
            }
            Self::NotApplicable(findings) => all_hints(findings),
            Self::Stale(_) => Some("plan again".into()),
            Self::RolledBack { cause } => cause.hint(),
            Self::RollbackIncomplete { .. } => Some(
                "run `status` to see what is left, resolve what blocks it, then run `revert`"
                    .into(),
            ),
            Self::Unrecorded { reverted, .. } => {
                let unrecorded = reverted.unrecorded.as_ref();
                unrecorded.and_then(|unrecorded| unrecorded.hint.clone())
            }
            Self::Interrupted { .. } => Some("apply again".into()),
            Self::Locked { .. } => Some("wait for it to finish, then try again".into()),
            Self::Journal(error) => error.hint(),
            Self::Owner(_) => None,
            Self::Tuning { hint, .. } => hint.clone(),
        }
    }
}

impl Cause {
    fn hint(&self) -> Option<String> {
        match &self.failure {
            StepFailure::Refused(error) | StepFailure::Unreadable(error) => {
                error.hint().map(str::to_owned)
            }
            StepFailure::Journal(error) => error.hint(),
            StepFailure::NotTaken { .. } | StepFailure::Interrupted => None,
        }
    }
}

pub(crate) fn plural(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("one {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

fn interrupted(undone: usize) -> String {
    match undone {
        0 => "nothing was changed".to_owned(),
        1 => "the one completed step was undone".to_owned(),
        undone => format!("all {undone} completed steps were undone"),
    }
}

fn unrecorded(cause: Option<&Cause>, reverted: &Reverted) -> String {
    let done = match cause {
        Some(cause) => {
            let why = cause.failure.to_string();
            format!("{cause}: {why}; all earlier steps were undone")
        }
        None => format!(
            "an interrupted run was recovered ({} reverted)",
            reverted.undone.len()
        ),
    };
    let why = reverted.unrecorded.as_ref();
    let why = why.map_or_else(String::new, |unrecorded| format!(": {}", unrecorded.why));
    format!("{done}, but the journal could not be cleared{why}")
}

/// The hints of all findings, each once: with only the first of them followed, the others still refuse.
fn all_hints(findings: &[Finding]) -> Option<String> {
    let mut hints: Vec<String> = Vec::new();
    for hint in findings.iter().filter_map(Finding::hint) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    (!hints.is_empty()).then(|| join(hints.into_iter()))
}

fn count_unsupported(count: usize) -> String {
    if count == 1 {
        "1 requested setting is not supported here".to_owned()
    } else {
        format!("{count} requested settings are not supported here")
    }
}

/// The texts of findings, each once: two settings may need the same that is missing.
fn texts(findings: &[Finding]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for text in findings.iter().map(ToString::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

fn stale(steps: &[StaleStep]) -> String {
    join(steps.iter().map(|step| {
        format!(
            "{} was {} when the plan was made and is {} now",
            step.knob, step.planned, step.seen
        )
    }))
}

fn left_list(left: &[NotReverted]) -> String {
    join(left.iter().map(ToString::to_string))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}
