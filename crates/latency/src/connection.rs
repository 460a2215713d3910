//! TCP connections to the responder: one for the session, and others for data.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::MeasureError;
use super::message::{self, Kind, Malformed, Message, Refusal, VERSION};
use super::phase::Direction;
use super::responder::LOOK;

/// Time limit for a connection or an answer. It is long enough for a lost packet to be sent again
/// through a queue of one second.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Number of addresses of a name that are tried.
const ADDRESSES: usize = 4;

/// The connection that keeps the session open.
#[derive(Debug)]
pub(super) struct Control {
    stream: TcpStream,
    pub(super) responder: SocketAddr,
    pub(super) token: u64,
    /// Longest duration of the session.
    pub(super) limit: Duration,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    reports: Vec<Report>,
    ended: Option<io::Error>,
}

/// What had arrived at the responder at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// Number of the request that it answers.
    number: u64,
    bytes: u64,
    nanoseconds: u64,
}

impl Report {
    /// The rate at which data arrived between two reports, in bits per second.
    pub(super) fn rate_until(self, later: Self) -> Option<u64> {
        bits_per_second(
            later.bytes.checked_sub(self.bytes)?,
            Duration::from_nanos(later.nanoseconds.checked_sub(self.nanoseconds)?),
        )
    }
}

/// `None` if no time has passed.
pub(super) fn bits_per_second(bytes: u64, duration: Duration) -> Option<u64> {
    let bits_per_billion_seconds = u128::from(bytes) * 8 * 1_000_000_000;
    u64::try_from(bits_per_billion_seconds.checked_div(duration.as_nanos())?).ok()
}

impl Control {
    /// Opens a session with the responder of this name, at the first of its addresses that accepts
    /// a connection.
    pub(super) fn begin(server: &str) -> Result<Self, MeasureError> {
        let unresolved = |source| MeasureError::Resolve {
            server: server.to_owned(),
            source,
        };
        let addresses = server.to_socket_addrs().map_err(unresolved)?;
        let mut failed = unresolved(io::ErrorKind::AddrNotAvailable.into());
        for address in addresses.take(ADDRESSES) {
            match connect(address) {
                Ok(stream) => return Self::over(stream, address),
                Err(source) => failed = MeasureError::Connect { address, source },
            }
        }
        Err(failed)
    }

    fn over(stream: TcpStream, responder: SocketAddr) -> Result<Self, MeasureError> {
        let asked = Message::new(Kind::Begin, [0; 3]);
        match ask(&stream, responder, asked)? {
            Message {
                kind: Kind::Begun,
                numbers: [token, limit, _],
            } => Ok(Self {
                stream,
                responder,
                token,
                limit: Duration::from_millis(limit),
                heard: Mutex::default(),
            }),
            _ => Err(MeasureError::NotAResponder { address: responder }),
        }
    }

    /// Opens a connection for data.
    pub(super) fn flow(&self, direction: Direction) -> Result<TcpStream, MeasureError> {
        let address = self.responder;
        let stream =
            connect(address).map_err(|source| MeasureError::Connect { address, source })?;
        let kind = match direction {
            Direction::Download => Kind::Download,
            Direction::Upload => Kind::Upload,
        };
        match ask(&stream, address, Message::new(kind, [self.token, 0, 0]))?.kind {
            Kind::Ready => Ok(stream),
            _ => Err(MeasureError::NotAResponder { address }),
        }
    }

    /// Requests a report of how much has arrived.
    pub(super) fn request(&self, number: u64) -> io::Result<()> {
        let request = Message::new(Kind::Report, [self.token, number, 0]);
        (&self.stream).write_all(&request.to_bytes())
    }

    /// The answer to a request, once it has arrived.
    pub(super) fn report(&self, number: u64) -> Option<Report> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reports = heard.reports.iter().copied();
        reports.find(|report| report.number == number)
    }

    /// How the session ended, if it has. Returned once.
    pub(super) fn ended(&self) -> Option<io::Error> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.ended.take()
    }

    /// Receives the responder's messages until `is_over`.
    pub(super) fn listen(&self, is_over: impl Fn() -> bool) {
        loop {
            let said = message::receive(&self.stream, None, &is_over);
            if is_over() {
                return;
            }
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            match said.map(|bytes| Message::from_bytes(&bytes)) {
                Ok(Ok(Message {
                    kind: Kind::Reported,
                    numbers: [number, bytes, nanoseconds],
                })) => heard.reports.push(Report {
                    number,
                    bytes,
                    nanoseconds,
                }),
                Ok(_) => {
                    heard.ended = Some(io::ErrorKind::InvalidData.into());
                    return;
                }
                Err(error) => {
                    heard.ended = Some(error);
                    return;
                }
            }
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and receives the answer. A refusal is an error.
fn ask(
    mut stream: &TcpStream,
    address: SocketAddr,
    asked: Message,
) -> Result<Message, MeasureError> {
    let unanswered = |source| MeasureError::NoAnswer { address, source };
    stream.write_all(&asked.to_bytes()).map_err(unanswered)?;
    let bytes =
        message::receive(stream, Some(Instant::now() + ANSWER), || false).map_err(|error| {
            match error.kind() {
                // The answer was something else, and shorter than a message.
                io::ErrorKind::UnexpectedEof => MeasureError::NotAResponder { address },
                _ => unanswered(error),
            }
        })?;
    match Message::from_bytes(&bytes) {
        Ok(Message {
            kind: Kind::Refused,
            numbers: [why, ..],
        }) if why == Refusal::Busy as u64 => Err(MeasureError::Busy { address }),
        Ok(Message {
            kind: Kind::Refused,
            ..
        })
        | Err(Malformed::Foreign) => Err(MeasureError::NotAResponder { address }),
        Err(Malformed::Version(theirs)) => Err(MeasureError::OtherVersion {
            address,
            theirs,
            ours: VERSION,
        }),
        Ok(answer) => Ok(answer),
    }
}

/// Receives data and counts it with `count`, until `is_over`.
pub(super) fn take(
    mut stream: &TcpStream,
    is_over: impl Fn() -> bool,
    count: impl Fn(usize),
) -> io::Result<()> {
    let mut block = vec![0; super::session::BLOCK];
    while !is_over() {
        match stream.read(&mut block) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => count(length),
            Err(error) if message::is_to_be_repeated(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends data until `is_over`. The responder counts what arrives.
pub(super) fn give(mut stream: &TcpStream, is_over: impl Fn() -> bool) -> io::Result<()> {
    let block = super::session::noise();
    while !is_over() {
        match stream.write(&block) {
            Ok(_) => {}
            Err(error) if message::is_to_be_repeated(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
