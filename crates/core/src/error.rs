//! What can go wrong, and what to do about it.
//!
//! [`HostError`] is what one operation on the host answers: which operation, on
//! what, with which errno. [`Error`] is what a verb answers. Display says what
//! happened here and never repeats its source; print the chain to see the errno.
//! The way out, where there is one, is a separate [`hint`](Error::hint).

use std::fmt;

use rustix::io::Errno;

use crate::journal::JournalError;
use crate::knob::Lack;
use crate::report::Finding;
use crate::session::{Left, Reverted};

/// What was being done to the host when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Reading a value or a file.
    Read,
    /// Listing a directory.
    List,
    /// Writing a value to a file that exists.
    Write,
    /// Creating or atomically replacing a file, or creating a directory.
    Create,
    /// Removing a file or an empty directory.
    Remove,
    /// Talking to a wire: netlink, a daemon's socket, a driver's library.
    Wire,
    /// Loading a part of the kernel.
    Load,
    /// Unloading a part of the kernel.
    Unload,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Write => "write",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Wire => "use",
            Self::Load => "load",
            Self::Unload => "unload",
        })
    }
}

/// The meaning of a failed operation, for a program to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostErrorKind {
    /// There is no such thing (ENOENT on a path).
    Missing,
    /// This process may not (EACCES, EPERM).
    Denied,
    /// The file system is mounted read-only (EROFS).
    ReadOnly,
    /// The kernel does not take this value (EINVAL, ERANGE). A part of it may have landed.
    Refused,
    /// It is in use (EBUSY).
    Busy,
    /// It was there and has gone (ENODEV, ENXIO).
    Gone,
    /// The path leads out of the root, through a symlink or `..`.
    OutsideRoot,
    /// What was read does not have the form that was expected.
    Malformed,
    /// This host lacks something that the value needs; nothing is broken.
    NotApplicable(Lack),
    /// Anything else; the errno says more.
    Other,
}

/// One operation on the host that failed.
///
/// Behind a pointer: it is the error of every read, and most reads succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError(Box<Body>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Body {
    operation: Operation,
    subject: String,
    kind: HostErrorKind,
    errno: Option<Errno>,
    wanted: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
}

impl HostError {
    /// An operation that failed without an errno.
    pub fn new(operation: Operation, subject: impl Into<String>, kind: HostErrorKind) -> Self {
        Self(Box::new(Body {
            operation,
            subject: subject.into(),
            kind,
            errno: None,
            wanted: None,
            detail: None,
            hint: None,
        }))
    }

    /// An operation that the kernel answered with `errno` (a positive number as in `errno(3)`).
    pub fn from_errno(operation: Operation, subject: impl Into<String>, errno: i32) -> Self {
        Self::from_raw(operation, subject, Errno::from_raw_os_error(errno))
    }

    pub(crate) fn from_raw(operation: Operation, subject: impl Into<String>, errno: Errno) -> Self {
        let kind = match errno {
            Errno::NOENT => HostErrorKind::Missing,
            Errno::ACCESS | Errno::PERM => HostErrorKind::Denied,
            Errno::ROFS => HostErrorKind::ReadOnly,
            Errno::INVAL | Errno::RANGE => HostErrorKind::Refused,
            Errno::BUSY => HostErrorKind::Busy,
            Errno::NODEV | Errno::NXIO => HostErrorKind::Gone,
            Errno::XDEV | Errno::LOOP => HostErrorKind::OutsideRoot,
            _ => HostErrorKind::Other,
        };
        let mut error = Self::new(operation, subject, kind);
        error.0.errno = Some(errno);
        error.0.hint = hint(errno, &error.0.subject);
        error
    }

    /// The value does not apply on this host, found out while doing it.
    pub fn not_applicable(operation: Operation, subject: impl Into<String>, lack: Lack) -> Self {
        Self::new(operation, subject, HostErrorKind::NotApplicable(lack))
    }

    /// What was seen does not have the form expected; `detail` says which.
    pub fn malformed(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut error = Self::new(Operation::Read, subject, HostErrorKind::Malformed);
        error.0.detail = Some(detail.into());
        error
    }

    /// Replaces the meaning, where the knob knows better than the errno.
    #[must_use]
    pub fn with_kind(mut self, kind: HostErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Adds the value that was being written.
    #[must_use]
    pub fn wanted(mut self, value: impl Into<String>) -> Self {
        self.0.wanted = Some(value.into());
        self
    }

    /// Adds what is known beyond the errno.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// What it means.
    pub fn kind(&self) -> &HostErrorKind {
        &self.0.kind
    }

    /// What was being done.
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// The path or address it was done to.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Whether something was listed, or gone through, that is there and is no directory.
    pub fn is_not_a_directory(&self) -> bool {
        self.0.errno == Some(Errno::NOTDIR)
    }

    /// The errno, where the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno.map(Errno::raw_os_error)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match (&self.0.hint, &self.0.kind) {
            (Some(hint), _) => Some(hint),
            (None, HostErrorKind::NotApplicable(lack)) => lack.hint.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.0.operation, self.0.subject)?;
        if let Some(wanted) = &self.0.wanted {
            write!(f, " (wanted {wanted})")?;
        }
        if let HostErrorKind::NotApplicable(lack) = &self.0.kind {
            write!(f, ": {}", lack.why)?;
        }
        if let Some(detail) = &self.0.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for HostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.errno.as_ref().map(|errno| errno as _)
    }
}

/// Why a step did not get to the state it was planned to.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StepFailure {
    /// The host refused the turn.
    #[error("it was refused")]
    Refused(#[source] HostError),
    /// The write succeeded and the host shows something else.
    #[error("the write was accepted, but the host shows {seen}")]
    NotTaken {
        /// What was read back.
        seen: String,
    },
    /// What has to be known before the turn could not be read.
    #[error("it could not be read")]
    Unreadable(#[source] HostError),
    /// The journal could not be written, so the turn was not made.
    #[error("the journal could not be written")]
    Journal(#[source] JournalError),
    /// The apply was interrupted before it came to this step.
    #[error("the apply was interrupted before it")]
    Interrupted,
}

/// The step that failed, and how.
#[derive(Debug, Clone)]
pub struct Cause {
    /// The knob, as printed.
    pub knob: String,
    /// The part of the tuning that wanted it.
    pub part: String,
    /// What it was to become, as printed.
    pub wanted: String,
    /// What happened instead.
    pub failure: StepFailure,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} could not be turned to {}", self.knob, self.wanted)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.failure)
    }
}

/// One step of a stored plan that no longer starts from what the host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleStep {
    /// The knob, as printed.
    pub knob: String,
    /// What the plan starts from.
    pub planned: String,
    /// What the host shows.
    pub seen: String,
}

/// What a verb answers when it did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tuning asked the planner for something the host would not show.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Two parts want different things of one knob. Nothing was changed.
    #[error("{knob} is wanted twice: {first_part} wants {first}, {second_part} wants {second}")]
    Conflict {
        /// The knob, as printed.
        knob: String,
        /// The part that declared it first.
        first_part: String,
        /// What the first part wants.
        first: String,
        /// The part that declared it second.
        second_part: String,
        /// What the second part wants.
        second: String,
    },
    /// A tuning asked for the state of a knob that an earlier step of the same plan resets.
    #[error("{knob} is not known here: an earlier step of this plan resets it")]
    Unsettled {
        /// The knob, as printed.
        knob: String,
    },
    /// A knob's type was not registered with the session.
    #[error("the knob type '{name}' is not registered with this session")]
    Unregistered {
        /// [`Knob::NAME`](crate::Knob::NAME) of the type.
        name: String,
    },
    /// What is required (or anything, under strict) does not apply here. Nothing was changed.
    #[error("{} of the wishes cannot be had on this host: {}", .0.len(), list(.0))]
    NotApplicable(Vec<Finding>),
    /// The host moved since the plan was made. Nothing was changed.
    #[error("the plan is stale: {}", stale(.0))]
    Stale(Vec<StaleStep>),
    /// A step failed; everything done before it was undone and read back.
    #[error("nothing was changed: a step failed and all that was done was undone")]
    RolledBack {
        /// The step that failed.
        #[source]
        cause: Box<Cause>,
    },
    /// A step failed and not everything could be undone.
    #[error("a step failed and {} could not be undone: {}", plural(.left.len(), "step"), left_list(.left))]
    RollbackIncomplete {
        /// The step that failed.
        #[source]
        cause: Box<Cause>,
        /// What is not as it was; it stays in the journal, and `revert` tries again.
        left: Vec<Left>,
    },
    /// The apply was interrupted: everything done before was undone and read back.
    #[error("interrupted before {before}: {}", interrupted(*.undone))]
    Interrupted {
        /// The knob that it had not come to, as printed.
        before: String,
        /// How many steps were undone.
        undone: usize,
    },
    /// What was done was undone, or put back, and the journal could not be cleared of it.
    #[error("{}", unrecorded(.cause.as_deref(), .reverted))]
    Unrecorded {
        /// The step that failed; `None` where what an earlier run left open was put right, and
        /// nothing else was begun.
        cause: Option<Box<Cause>>,
        /// What was put back, and why the journal does not say so.
        reverted: Box<Reverted>,
    },
    /// Another process is at work on this host.
    #[error("another process is changing this host: {holder}")]
    Locked {
        /// Who holds the lock, as it said itself.
        holder: String,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An owner's name that cannot name a journal.
    #[error(
        "'{0}' cannot be an owner: 1 to 64 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit"
    )]
    Owner(String),
    /// Anything a tuning itself found wrong with what it was given.
    #[error("{message}")]
    Tuning {
        /// What is wrong, naming the thing.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl Error {
    /// Something wrong with what a tuning was given: what it is, and the way out.
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
            Self::Conflict { .. } => Some("take one of the two wishes out".into()),
            Self::Unsettled { .. } => {
                Some("ask before the step that resets it, or want it outright".into())
            }
            Self::Unregistered { .. } => {
                Some("add its crate's `knobs` function: Session::with(...)".into())
            }
            Self::NotApplicable(findings) => findings.iter().find_map(Finding::hint),
            Self::Stale(_) => Some("plan again".into()),
            Self::RolledBack { cause } => cause.hint(),
            Self::RollbackIncomplete { .. } => {
                Some("look at what is left with `status`, mend what keeps it, then `revert`".into())
            }
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

/// What to do about an answer of the kernel on a path: by its reason, and not by who asked.
pub(crate) fn hint(errno: Errno, path: &str) -> Option<String> {
    Some(match errno {
        Errno::ACCESS | Errno::PERM if rustix::process::geteuid().is_root() => {
            "permission denied even as root: the file may be immutable (lsattr), or a security module or the namespace forbids it".to_owned()
        }
        Errno::ACCESS | Errno::PERM => "run it as root".to_owned(),
        Errno::ROFS => format!(
            "the file system of {path} is mounted read-only: mount it writable (findmnt --target {path} shows it), or run this where it is, not in an unprivileged container"
        ),
        Errno::XDEV | Errno::LOOP => "a symlink leads out of the root: remove it".to_owned(),
        Errno::NOSPC | Errno::DQUOT => {
            "free some space on that file system and try again".to_owned()
        }
        _ => return None,
    })
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
        1 => "the one step that was done was undone".to_owned(),
        undone => format!("all {undone} steps that were done were undone"),
    }
}

fn unrecorded(cause: Option<&Cause>, reverted: &Reverted) -> String {
    let done = match cause {
        Some(cause) => {
            let why = cause.failure.to_string();
            format!("{cause}, because {why}; everything done before was undone")
        }
        None => format!(
            "an interrupted run was put right ({} put back)",
            reverted.undone.len()
        ),
    };
    let why = reverted.unrecorded.as_ref();
    let why = why.map_or_else(String::new, |unrecorded| format!(": {}", unrecorded.why));
    format!("{done}, but the journal could not be cleared{why}")
}

fn list(findings: &[Finding]) -> String {
    join(findings.iter().map(ToString::to_string))
}

fn stale(steps: &[StaleStep]) -> String {
    join(steps.iter().map(|step| {
        format!(
            "{} was planned from {} and is {} now",
            step.knob, step.planned, step.seen
        )
    }))
}

fn left_list(left: &[Left]) -> String {
    join(left.iter().map(ToString::to_string))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}
