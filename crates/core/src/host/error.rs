//! Failed operations on the host: which operation, on what path or address, with which errno.
//!
//! The meaning for programs is [`HostErrorKind`]; the remedy, where one is known, is
//! [`HostError::hint`].

use std::fmt;

use rustix::io::Errno;

use crate::unsupported::Unsupported;

/// The operation that failed.
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
    /// Talking to a backend: netlink, a daemon's socket, a driver's library.
    Backend,
    /// Loading a kernel module.
    Load,
    /// Unloading a kernel module.
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
            Self::Backend => "use",
            Self::Load => "load",
            Self::Unload => "unload",
        })
    }
}

/// The meaning of a failed operation, for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostErrorKind {
    /// There is no such path (ENOENT).
    Missing,
    /// Permission denied (EACCES, EPERM).
    Denied,
    /// The file system is mounted read-only (EROFS).
    ReadOnly,
    /// The kernel rejected the value (EINVAL, ERANGE). A part of it may have been applied.
    Refused,
    /// The object is in use (EBUSY).
    Busy,
    /// The device was there and is gone (ENODEV, ENXIO).
    Gone,
    /// The device does not come back from a change: a write hangs in the kernel, or the hardware
    /// does not answer any more.
    Stuck,
    /// The path leads outside the root through a symlink or `..`.
    OutsideRoot,
    /// The content does not have the expected form.
    Malformed,
    /// The value is unsupported on this host; nothing is broken.
    NotApplicable(Unsupported),
    /// Anything else; see the errno.
    Other,
}

impl HostErrorKind {
    /// Whether the error says that the object does not exist. Any other failed read leaves its state
    /// unknown.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Missing | Self::Gone | Self::NotApplicable(_))
    }
}

/// A failed operation on the host.
///
/// Boxed, because every read returns this error type and most reads succeed.
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
    /// A failed operation without an errno.
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

    /// An operation that failed with `errno` (a positive number as in `errno(3)`).
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

    /// The value is unsupported on this host, which was found out only while setting it.
    pub fn not_applicable(
        operation: Operation,
        subject: impl Into<String>,
        unsupported: Unsupported,
    ) -> Self {
        Self::new(
            operation,
            subject,
            HostErrorKind::NotApplicable(unsupported),
        )
    }

    /// The content does not have the expected form; `detail` says what is wrong.
    pub fn malformed(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut error = Self::new(Operation::Read, subject, HostErrorKind::Malformed);
        error.0.detail = Some(detail.into());
        error
    }

    /// Replaces the kind, where the knob knows better than the errno.
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

    /// Adds a detail beyond the errno.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds a remedy.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The meaning of the failure.
    pub fn kind(&self) -> &HostErrorKind {
        &self.0.kind
    }

    /// The operation that failed.
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// The path or address that it failed on.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Whether a path that was listed or traversed exists and is not a directory (ENOTDIR).
    pub fn is_not_a_directory(&self) -> bool {
        self.0.errno == Some(Errno::NOTDIR)
    }

    /// Whether a directory was not removed because it is not empty (ENOTEMPTY).
    pub(crate) fn is_not_empty(&self) -> bool {
        self.0.errno == Some(Errno::NOTEMPTY)
    }

    /// The errno, if the kernel returned one.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno.map(Errno::raw_os_error)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match (&self.0.hint, &self.0.kind) {
            (Some(hint), _) => Some(hint),
            (None, HostErrorKind::NotApplicable(unsupported)) => unsupported.hint.as_deref(),
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
        if let HostErrorKind::NotApplicable(unsupported) = &self.0.kind {
            write!(f, ": {}", unsupported.why)?;
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

/// A remedy for an errno on a path. It depends on the reason and not on the caller.
pub(crate) fn hint(errno: Errno, path: &str) -> Option<String> {
    Some(match errno {
        Errno::ACCESS | Errno::PERM if rustix::process::geteuid().is_root() => {
            "permission denied even as root: the file may be immutable (lsattr), or a security module or the namespace forbids it".to_owned()
        }
        Errno::ACCESS | Errno::PERM => "run it as root".to_owned(),
        Errno::ROFS => format!(
            "the file system of {path} is mounted read-only: remount it read-write (findmnt --target {path} shows it), or run this outside the unprivileged container"
        ),
        Errno::XDEV => "a symlink leads out of the root: remove it".to_owned(),
        Errno::LOOP => "symlinks lead in a circle, or one is where none may be: remove it".to_owned(),
        Errno::NOSPC | Errno::DQUOT => {
            "free some space on that file system and try again".to_owned()
        }
        _ => return None,
    })
}
