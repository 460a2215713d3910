//! Why nothing could be measured.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::phase::Phase;

/// Why a responder does not listen.
#[derive(Debug, thiserror::Error)]
#[error("the responder cannot {what}")]
pub struct ResponderError {
    pub(super) what: &'static str,
    pub(super) source: io::Error,
}

impl ResponderError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => Some("take another port, or end what listens on this one"),
            io::ErrorKind::AddrNotAvailable => {
                Some("take an address of this host, or 0.0.0.0 or [::] for all of them")
            }
            io::ErrorKind::PermissionDenied => Some("take a port above 1023"),
            io::ErrorKind::InvalidInput => {
                Some("write it like 0.0.0.0:8080, [::]:8080 or name:8080")
            }
            _ => None,
        }
    }
}

/// Why a path could not be measured at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The server's name leads to no address.
    #[error("{server} leads to no address")]
    Resolve {
        /// As it was given.
        server: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// No connection.
    #[error("there is no connection to {address}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// Somebody listens there and does not answer.
    #[error("{address} takes the connection and does not answer it")]
    NoAnswer {
        /// Where.
        address: SocketAddr,
        /// How it ended.
        source: io::Error,
    },
    /// Somebody else listens there.
    #[error("{address} answers, but is no responder")]
    NotAResponder {
        /// Where.
        address: SocketAddr,
    },
    /// The responder speaks another version.
    #[error("the responder at {address} speaks version {theirs}, and this program version {ours}")]
    OtherVersion {
        /// Where.
        address: SocketAddr,
        /// Its version.
        theirs: u8,
        /// Ours.
        ours: u8,
    },
    /// The responder has as many connections as it takes.
    #[error("the responder at {address} has as many connections as it takes")]
    Busy {
        /// Where.
        address: SocketAddr,
    },
    /// It would take longer than the responder allows.
    #[error(
        "measuring takes up to {} s, and the responder allows {} s",
        .needed.as_secs(),
        .allowed.as_secs()
    )]
    TooLong {
        /// How long it may take.
        needed: Duration,
        /// How long a session may last.
        allowed: Duration,
    },
    /// TCP gets through and not one probe is answered.
    #[error("{address} is reached by TCP, but not one UDP probe is answered")]
    NoEcho {
        /// Where.
        address: SocketAddr,
    },
    /// A connection of the session ended in mid-run.
    #[error("the responder is gone, in the phase {phase}")]
    Gone {
        /// What was being measured.
        phase: Phase,
        /// How it ended.
        source: io::Error,
    },
    /// This host does not give what is needed.
    #[error("cannot {what}")]
    Local {
        /// What was to be done.
        what: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// The caller wanted no more.
    #[error("interrupted")]
    Interrupted,
}

impl MeasureError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Resolve { .. } => "write it like HOST:PORT; is the name right?".to_owned(),
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "nobody listens there: start a responder, with measure --respond ADDRESS:PORT"
                    .to_owned()
            }
            Self::Connect { .. } => {
                "is the address right, and does a firewall let TCP through?".to_owned()
            }
            Self::NoAnswer { .. } | Self::NotAResponder { .. } => {
                "is this the port of a responder (measure --respond ADDRESS:PORT)?".to_owned()
            }
            Self::OtherVersion { .. } => "run the same release on both ends".to_owned(),
            Self::Busy { .. } => "wait until others have measured".to_owned(),
            Self::TooLong { .. } => "take fewer seconds for a phase".to_owned(),
            Self::NoEcho { address } => format!(
                "does a firewall let UDP through to port {}, and the answers back?",
                address.port()
            ),
            Self::Gone { .. } => "does it still run, and is the link still up?".to_owned(),
            Self::Local { .. } | Self::Interrupted => return None,
        })
    }
}
