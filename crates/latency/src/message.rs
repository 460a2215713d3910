//! The protocol between responder and client: messages of one format, over TCP and UDP.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0..4 | `HTLL` |
//! | 4 | version of the protocol, 1 |
//! | 5 | kind of the message |
//! | 6..8 | zero |
//! | 8..32 | three 64-bit numbers, big-endian |
//!
//! The first five bytes and the length are the same in every version, so that two ends of different
//! versions recognise each other.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Instant;

/// Length of a message.
pub(super) const LENGTH: usize = 32;

/// Version of the protocol.
pub(super) const VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"HTLL";

/// Kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Opens a session, which lasts as long as the connection stays open.
    Begin = 1,
    /// The session's token, and its longest duration in milliseconds.
    Begun = 2,
    /// Asks for a connection that carries data to the client; has the token.
    Download = 3,
    /// Asks for a connection that carries data to the responder; has the token.
    Upload = 4,
    /// Grants the connection.
    Ready = 5,
    /// Asks how much has arrived; has the token, and a number that identifies the answer.
    Report = 6,
    /// The number of the request; the bytes of all uploads so far; the time of the count, in
    /// nanoseconds of the responder's clock.
    Reported = 7,
    /// A probe; has the token and the probe's number.
    Probe = 8,
    /// The answer to a probe, with the same numbers.
    Echo = 9,
    /// A refusal; has the reason as a [`Refusal`].
    Refused = 10,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Begin,
        Self::Begun,
        Self::Download,
        Self::Upload,
        Self::Ready,
        Self::Report,
        Self::Reported,
        Self::Probe,
        Self::Echo,
        Self::Refused,
    ];
}

/// Why a responder refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has reached its limit of connections.
    Busy = 1,
    /// There is no such session, or it has ended.
    NoSession = 2,
    /// It uses another version of the protocol.
    Version = 3,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) numbers: [u64; 3],
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// They belong to another protocol.
    Foreign,
    /// They belong to another version of this protocol.
    Version(u8),
}

impl Message {
    pub(super) fn new(kind: Kind, numbers: [u64; 3]) -> Self {
        Self { kind, numbers }
    }

    pub(super) fn refused(why: Refusal) -> Self {
        Self::new(Kind::Refused, [why as u64, 0, 0])
    }

    pub(super) fn to_bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        for (number, place) in self.numbers.iter().zip(bytes[8..].chunks_exact_mut(8)) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let Ok(bytes) = <&[u8; LENGTH]>::try_from(bytes) else {
            return Err(Malformed::Foreign);
        };
        if bytes[..4] != MAGIC {
            return Err(Malformed::Foreign);
        }
        if bytes[4] != VERSION {
            return Err(Malformed::Version(bytes[4]));
        }
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| *kind as u8 == bytes[5])
            .filter(|_| bytes[6..8] == [0, 0])
            .ok_or(Malformed::Foreign)?;
        let mut numbers = [0; 3];
        for (number, place) in numbers.iter_mut().zip(bytes[8..].chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(place);
            *number = u64::from_be_bytes(eight);
        }
        Ok(Self { kind, numbers })
    }
}

/// Whether a call on a socket with a timeout only timed out or was interrupted, and should be
/// repeated.
pub(super) fn is_to_be_repeated(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Reads one message from a stream whose reads have a timeout, until `deadline` or until `is_over`.
///
/// # Errors
/// `TimedOut` at the deadline or when it is over, `UnexpectedEof` where the stream ends early.
pub(super) fn receive(
    mut stream: &TcpStream,
    deadline: Option<Instant>,
    is_over: impl Fn() -> bool,
) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let mut have = 0;
    while have < LENGTH {
        if is_over() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match stream.read(&mut bytes[have..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => have += length,
            Err(error) if is_to_be_repeated(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn what_is_sent_never_changes_within_a_version() {
        let message = Message::new(Kind::Probe, [0x0102_0304_0506_0708, 7, 0]);
        #[rustfmt::skip]
        assert_eq!(message.to_bytes(), [
            b'H', b'T', b'L', b'L', 1, 8, 0, 0,
            1, 2, 3, 4, 5, 6, 7, 8,
            0, 0, 0, 0, 0, 0, 0, 7,
            0, 0, 0, 0, 0, 0, 0, 0,
        ]);
    }

    #[test]
    fn another_version_is_told_from_another_protocol() {
        let mut bytes = Message::new(Kind::Begin, [0; 3]).to_bytes();
        bytes[4] = 9;
        bytes[5] = 200;
        assert_eq!(Message::from_bytes(&bytes), Err(Malformed::Version(9)));
        bytes[0] = b'G';
        assert_eq!(Message::from_bytes(&bytes), Err(Malformed::Foreign));
    }

    proptest! {
        #[test]
        fn a_message_is_read_back(kind in 0..Kind::ALL.len(), numbers: [u64; 3]) {
            let message = Message::new(Kind::ALL[kind], numbers);
            prop_assert_eq!(Message::from_bytes(&message.to_bytes()), Ok(message));
        }

        #[test]
        fn any_bytes_are_refused_or_are_the_message_they_say(mut bytes in vec(any::<u8>(), 0..70), ours: bool) {
            if ours && bytes.len() >= 8 {
                bytes[..5].copy_from_slice(b"HTLL\x01");
            }
            if let Ok(message) = Message::from_bytes(&bytes) {
                prop_assert_eq!(&message.to_bytes()[..], &bytes[..]);
            }
        }
    }
}
