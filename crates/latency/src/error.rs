//! Errors of a measurement.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::phase::Phase;

/// Why a responder cannot listen.
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
            io::ErrorKind::AddrInUse => {
                Some("use another port, or stop the program that listens on this one")
            }
            io::ErrorKind::AddrNotAvailable => {
                Some("use an address of this host, or 0.0.0.0 or [::] for all of them")
            }
            io::ErrorKind::PermissionDenied => Some("use a port above 1023"),
            io::ErrorKind::InvalidInput => {
                Some("write it like 0.0.0.0:8080, [::]:8080 or name:8080")
            }
            _ => None,
        }
    }
}

/// Why a path could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The server's name cannot be resolved.
    #[error("cannot resolve {server}")]
    Resolve {
        /// The name as it was given.
        server: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// No connection can be established.
    #[error("cannot connect to {address}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// The kernel's error.
        source: io::Error,
    },
    /// The server accepts connections but does not answer.
    #[error("{address} accepts the connection but does not answer")]
    NoAnswer {
        /// Address of the server.
        address: SocketAddr,
        /// How the connection ended.
        source: io::Error,
    },
    /// The server is another program.
    #[error("{address} answers, but is not a responder")]
    NotAResponder {
        /// Address of the server.
        address: SocketAddr,
    },
    /// The responder uses another version of the protocol.
    #[error(
        "the responder at {address} uses protocol version {theirs}, and this program uses version {ours}"
    )]
    OtherVersion {
        /// Address of the responder.
        address: SocketAddr,
        /// Version of the responder.
        theirs: u8,
        /// Version of this program.
        ours: u8,
    },
    /// The responder has reached its limit of connections.
    #[error("the responder at {address} has reached its limit of connections")]
    Busy {
        /// Address of the responder.
        address: SocketAddr,
    },
    /// The measurement may take longer than the responder allows.
    #[error(
        "the measurement takes up to {} s, but the responder allows only {} s",
        .needed.as_secs(),
        .allowed.as_secs()
    )]
    TooLong {
        /// Longest duration of the measurement.
        needed: Duration,
        /// Longest duration of a session.
        allowed: Duration,
    },
    /// TCP gets through, but no probe is answered.
    #[error("{address} is reachable over TCP, but answers no UDP probe")]
    NoEcho {
        /// Address of the responder.
        address: SocketAddr,
    },
    /// A connection of the session ended during the run.
    #[error("lost the connection to the responder in phase {phase}")]
    Gone {
        /// The phase that was being measured.
        phase: Phase,
        /// How the connection ended.
        source: io::Error,
    },
    /// This host cannot provide what is needed.
    #[error("cannot {what}")]
    Local {
        /// The operation that failed.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The caller ended the run.
    #[error("interrupted")]
    Interrupted,
}

impl MeasureError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Resolve { .. } => "check the name; the format is HOST:PORT".to_owned(),
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "nothing listens there: start a responder with measure --respond ADDRESS:PORT"
                    .to_owned()
            }
            Self::Connect { .. } => "check the address, and that no firewall blocks TCP".to_owned(),
            Self::NoAnswer { .. } | Self::NotAResponder { .. } => {
                "check that this is the port of a responder (measure --respond ADDRESS:PORT)"
                    .to_owned()
            }
            Self::OtherVersion { .. } => "run the same release on both ends".to_owned(),
            Self::Busy { .. } => "try again when other measurements have finished".to_owned(),
            Self::TooLong { .. } => "use fewer seconds per phase (--seconds)".to_owned(),
            Self::NoEcho { address } => format!(
                "check that no firewall blocks UDP to port {}, or the answers",
                address.port()
            ),
            Self::Gone { .. } => {
                "check that the responder still runs and that the link is up".to_owned()
            }
            Self::Local { .. } | Self::Interrupted => return None,
        })
    }
}
