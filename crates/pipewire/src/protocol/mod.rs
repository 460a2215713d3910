//! A client of PipeWire's native protocol, as far as the settings and the profiler need it.
//!
//! A connection is a stream of messages: a header with the id of an object, an opcode and a size,
//! then a [POD](pod) that contains the arguments. Reading them ([`Event::decode`]) is apart from
//! the socket ([`Connection`]), so that it can be tested with any bytes. What the daemon sends is
//! not trusted: a message is at most 16 MiB, lists in it have a limit, and file descriptors are not
//! received, because no object that is used here needs one.
//!
//! There is no thread and no C library. Every call has a deadline, after which it fails: a daemon
//! that is stopped, or that waits for its session manager, would otherwise block the caller.
//!
//! The opcodes and their arguments are those of protocol version 3, which PipeWire 0.3 and 1.x
//! speak (`src/modules/module-protocol-native/protocol-native.c` there).

mod client;
mod connection;
mod event;
pub mod pod;

pub use client::{Client, Property};
pub use connection::{Connection, Frame};
pub use event::{CoreInfo, Event, Global, NodeInfo, ObjectKind};

use std::io;
use std::time::Duration;

/// Why talking to a daemon failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The socket cannot be used.
    #[error("the socket cannot be used")]
    Io(#[source] io::Error),
    /// The daemon has closed the connection.
    #[error("the daemon has closed the connection")]
    Closed,
    /// The daemon did not answer in time.
    #[error("the daemon did not answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// A message of the daemon is not understood.
    #[error("a message of the daemon (object {object}, opcode {opcode}) is not understood")]
    Malformed {
        /// The id of the object that it is for.
        object: u32,
        /// Its opcode.
        opcode: u8,
        /// What is wrong with it.
        #[source]
        source: pod::PodError,
    },
    /// The daemon sent more than any daemon does.
    #[error("the daemon sent more than {0}")]
    TooMuch(&'static str),
    /// The daemon refused a request.
    #[error("the daemon refused the request: {message}")]
    Refused {
        /// The errno, a positive number.
        errno: i32,
        /// What the daemon says.
        message: String,
    },
}

impl ProtocolError {
    /// Whether the daemon has ended, or the connection with it.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ),
            _ => false,
        }
    }
}
