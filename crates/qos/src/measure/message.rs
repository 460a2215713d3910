//! What responder and client say to each other: messages of one shape, over TCP and UDP.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0..4 | `HTLL` |
//! | 4 | the version of what is said, 1 |
//! | 5 | what it is |
//! | 6..8 | zero |
//! | 8..32 | three numbers of 64 bits, the most significant byte first |
//!
//! The first five bytes and the length stay in every version, so that two of different versions can
//! tell each other.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Instant;

/// How long a message is.
pub(super) const LENGTH: usize = 32;

/// The version of what is said.
pub(super) const VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"HTLL";

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Opens a session. The connection stays open for as long as it lasts.
    Begin = 1,
    /// The session's token, and how long it may last, in milliseconds.
    Begun = 2,
    /// This connection is to carry data to the client; the token.
    Download = 3,
    /// This connection is to carry data to the responder; the token.
    Upload = 4,
    /// So it does.
    Ready = 5,
    /// Asks how much has arrived; the token, and a number to know the answer by.
    Report = 6,
    /// The number; the bytes of all uploads so far; when that was, in nanoseconds of the responder's
    /// clock.
    Reported = 7,
    /// A probe; the token and its number.
    Probe = 8,
    /// The answer: the same.
    Echo = 9,
    /// No; why, as a [`Refusal`].
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

/// Why a responder refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has as many connections as it takes.
    Busy = 1,
    /// There is no such session, or it is over.
    NoSession = 2,
    /// It speaks another version.
    Version = 3,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) numbers: [u64; 3],
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Nothing of ours.
    Foreign,
    /// Of this other version.
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

/// Whether a call on a socket with a time limit only ran into that, or was interrupted.
pub(super) fn is_to_be_repeated(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Reads what one message takes from a stream whose reads have a time limit, until `deadline` or
/// until `is_over` says so.
///
/// # Errors
/// `TimedOut` at the deadline or when it is over, `UnexpectedEof` where the stream ends before.
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
