//! Netlink errors, with the kernel's own message.

use std::fmt;
use std::io;

use hosttune_core::{HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind};

use super::Acknowledgement;
use super::numbers::*;
use super::request::{Request, kind_of};

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetlinkError(Box<Body>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Body {
    doing: String,
    device: String,
    kind: Option<String>,
    errno: Option<i32>,
    text: Option<String>,
    attribute: Option<String>,
}

impl NetlinkError {
    /// The error that the kernel answered.
    pub fn refused(request: &Request, answer: &Acknowledgement) -> Self {
        let named = answer.offset.and_then(|at| request.attribute_at(at));
        let missing = answer
            .missing
            .map(|number| format!("attribute {number} is missing"));
        Self(Box::new(Body {
            errno: Some(answer.errno),
            text: answer.text.clone(),
            attribute: named.or(missing),
            ..Self::about(request)
        }))
    }

    /// The request could not be sent, or the answer could not be received.
    pub(super) fn not_reached(request: &Request, error: &io::Error) -> Self {
        Self(Box::new(Body {
            errno: error.raw_os_error(),
            ..Self::about(request)
        }))
    }

    /// The answer is malformed.
    pub fn malformed(request: &Request, what: &str) -> Self {
        Self(Box::new(Body {
            text: Some(what.to_owned()),
            ..Self::about(request)
        }))
    }

    fn about(request: &Request) -> Body {
        Body {
            doing: request.doing.clone(),
            device: request.device.clone(),
            kind: kind_of(request),
            errno: None,
            text: None,
            attribute: None,
        }
    }

    /// The positive error number. `None` if the answer was malformed.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The kind of the qdisc, filter or link in the request.
    pub fn kind(&self) -> Option<&str> {
        self.0.kind.as_deref()
    }

    /// The device in the request. Empty if the request is about all of them.
    pub fn device(&self) -> &str {
        &self.0.device
    }

    /// What the request was for.
    pub fn doing(&self) -> &str {
        &self.0.doing
    }

    /// The kernel's message, if there was one.
    pub fn text(&self) -> Option<&str> {
        self.0.text.as_deref()
    }

    /// The name of the attribute that the kernel points at.
    pub fn attribute(&self) -> Option<&str> {
        self.0.attribute.as_deref()
    }

    /// Whether the kernel has no such qdisc, classifier, action or link type.
    pub fn is_unknown_kind(&self) -> bool {
        self.unsupported().is_some()
    }

    /// The missing module, and what it would provide.
    fn unsupported(&self) -> Option<Unsupported> {
        let kind = self.0.kind.as_deref().unwrap_or_default();
        let (what, module) = match (self.errno()?, self.text()?) {
            (ENOENT, "Specified qdisc kind is unknown") if kind == "cake_mq" => (
                // It was added to the module of CAKE itself.
                "the qdisc cake_mq, which was added in Linux 7.0".to_owned(),
                "sch_cake".to_owned(),
            ),
            (ENOENT, "Specified qdisc kind is unknown") => {
                (format!("the qdisc {kind}"), format!("sch_{kind}"))
            }
            (ENOENT, "TC classifier not found") => {
                (format!("the classifier {kind}"), format!("cls_{kind}"))
            }
            (ENOENT, "Failed to load TC action module") => {
                ("the action mirred".to_owned(), "act_mirred".to_owned())
            }
            (EOPNOTSUPP, "Unknown device type") => {
                (format!("links of type {kind}"), kind.to_owned())
            }
            _ => return None,
        };
        Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!("this kernel does not have {what}"),
            )
            .hint(format!(
                "load the module {module}, or install a kernel that has it"
            ))
            .module(module),
        )
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.0.doing)?;
        if !self.0.device.is_empty() {
            write!(f, " on {}", self.0.device)?;
        }
        if let Some(text) = &self.0.text {
            write!(f, ": {text}")?;
        }
        if let Some(attribute) = &self.0.attribute {
            write!(f, " (about {attribute})")?;
        }
        Ok(())
    }
}

impl std::error::Error for NetlinkError {}

impl From<NetlinkError> for HostError {
    fn from(error: NetlinkError) -> Self {
        let subject = match error.device() {
            "" => "netlink".to_owned(),
            device => format!("netlink for {device}"),
        };
        let mut host = match error.errno() {
            Some(errno) => Self::from_errno(Operation::Backend, subject, errno),
            None => Self::new(Operation::Backend, subject, HostErrorKind::Malformed),
        };
        if let Some(unsupported) = error.unsupported() {
            host = host.with_kind(HostErrorKind::NotApplicable(unsupported));
        }
        let hint = match error.errno() {
            Some(EEXIST) => Some("another process has created something there: check it first"),
            Some(ENOBUFS | ENOMEM) => Some("the kernel is short of memory: try again later"),
            Some(EPERM) => Some(
                "this needs CAP_NET_ADMIN in the network namespace of the device: run it as root there",
            ),
            Some(EINVAL | ERANGE | EOPNOTSUPP) if error.kind().is_some() => Some(
                "check its options: this kernel or this device does not support them for this kind",
            ),
            Some(ENODEV) => Some("the device does not exist: check its name with ip link"),
            _ => None,
        };
        if let Some(hint) = hint {
            host = host.with_hint(hint);
        }
        let mut detail = format!("failed to {}", error.doing());
        if let Some(text) = error.text() {
            detail.push_str(&format!(": {text}"));
        }
        if let Some(attribute) = error.attribute() {
            detail.push_str(&format!(" (about {attribute})"));
        }
        host.detail(detail)
    }
}
