//! A request that the kernel refused, in its own words.

use std::fmt;
use std::io;

use hosttune_core::{HostError, HostErrorKind, Lack, LackKind, Operation};

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
    /// What the kernel answered.
    pub fn refused(request: &Request, answer: &Acknowledgement) -> Self {
        let named = answer.offset.and_then(|at| request.attribute_at(at));
        let missing = answer
            .missing
            .map(|number| format!("attribute {number}, which is missing"));
        Self(Box::new(Body {
            errno: Some(answer.errno),
            text: answer.text.clone(),
            attribute: named.or(missing),
            ..Self::about(request)
        }))
    }

    /// The request could not be sent, or the answer not be received.
    pub(super) fn not_reached(request: &Request, error: &io::Error) -> Self {
        Self(Box::new(Body {
            errno: error.raw_os_error(),
            ..Self::about(request)
        }))
    }

    /// The answer does not have the form that it should have.
    pub(super) fn malformed(request: &Request, what: &str) -> Self {
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

    /// The error number, positive; `None` where the answer was no answer.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The kind of queueing discipline, filter or link that it was about.
    pub fn kind(&self) -> Option<&str> {
        self.0.kind.as_deref()
    }

    /// The device that the request was about; empty where about all.
    pub fn device(&self) -> &str {
        &self.0.device
    }

    /// What was being done.
    pub fn doing(&self) -> &str {
        &self.0.doing
    }

    /// The kernel's words, where it had any.
    pub fn text(&self) -> Option<&str> {
        self.0.text.as_deref()
    }

    /// The attribute that the kernel points at, by its name.
    pub fn attribute(&self) -> Option<&str> {
        self.0.attribute.as_deref()
    }

    /// Whether this very kernel has no such queueing discipline, classifier, action or link.
    pub fn is_unknown_kind(&self) -> bool {
        self.lacks().is_some()
    }

    /// The module that is not there, and what it would bring.
    fn lacks(&self) -> Option<Lack> {
        let kind = self.0.kind.as_deref().unwrap_or_default();
        let (what, module) = match (self.errno()?, self.text()?) {
            (ENOENT, "Specified qdisc kind is unknown") if kind == "cake_mq" => (
                // It came into the module of CAKE itself.
                "the queueing discipline cake_mq, which came with Linux 7.0".to_owned(),
                "sch_cake".to_owned(),
            ),
            (ENOENT, "Specified qdisc kind is unknown") => (
                format!("the queueing discipline {kind}"),
                format!("sch_{kind}"),
            ),
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
            Lack::new(
                LackKind::ValueUnavailable,
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
            Some(errno) => Self::from_errno(Operation::Wire, subject, errno),
            None => Self::new(Operation::Wire, subject, HostErrorKind::Malformed),
        };
        if let Some(lack) = error.lacks() {
            host = host.with_kind(HostErrorKind::NotApplicable(lack));
        }
        let hint = match error.errno() {
            Some(EEXIST) => Some("somebody else has put something there: look at it first"),
            Some(ENOBUFS | ENOMEM) => Some("the kernel is short of memory: try again"),
            Some(EPERM) => Some(
                "this needs CAP_NET_ADMIN in the network namespace of the device: run it as root there",
            ),
            Some(EINVAL | ERANGE | EOPNOTSUPP) if error.kind().is_some() => Some(
                "check its options: they do not suit this kind on this kernel, or on this device",
            ),
            Some(ENODEV) => Some("the device is not there: check its name with ip link"),
            _ => None,
        };
        if let Some(hint) = hint {
            host = host.with_hint(hint);
        }
        let mut detail = format!("to {}", error.doing());
        if let Some(text) = error.text() {
            detail.push_str(&format!(": {text}"));
        }
        if let Some(attribute) = error.attribute() {
            detail.push_str(&format!(" (about {attribute})"));
        }
        host.detail(detail)
    }
}
