//! The other end of a measurement: echoes probes, sends and receives data.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::ResponderError;
use super::message::{self, Kind, LENGTH, Malformed, Message, Refusal};
use super::session::{Session, token};

/// Timeout of a call on a socket, after which it is checked whether to end.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// Time limit for the first message of a new connection.
const HELLO: Duration = Duration::from_secs(5);

/// Number of attempts to get the same port for TCP and UDP, if any port will do.
const TRIES: usize = 16;

/// Limits of a responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest duration of a session.
    pub session: Duration,
    /// Number of TCP connections that one address may have.
    pub connections_per_client: usize,
    /// Number of TCP connections that all addresses may have together.
    pub connections: usize,
}

impl Default for Limits {
    /// Ten minutes, 40 connections per client, and 120 in all.
    fn default() -> Self {
        Self {
            session: Duration::from_secs(600),
            connections_per_client: 40,
            connections: 120,
        }
    }
}

/// Answers measuring clients until it is dropped.
///
/// TCP and UDP use the same port number. A responder cannot be used to attack a third party: data
/// is sent only over a TCP connection that its receiver has opened, and only probes are echoed, one
/// to one and with the same length, to the address that holds the session whose token they carry. A
/// session ends with its first connection, and after [`Limits::session`].
///
/// On a host with several addresses, bind one of them: otherwise the answer to a probe leaves with
/// the source address that the route selects.
#[derive(Debug)]
pub struct Responder {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// A duplicate of the listening socket. It is a stream because only streams can be shut down,
    /// and a shutdown ends a call that waits for a connection.
    listening: TcpStream,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    is_over: AtomicBool,
    begun: Instant,
    sessions: Mutex<HashMap<u64, Arc<Session>>>,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Responder {
    /// Listens on the first of these addresses that is available. Port 0 selects any free port.
    ///
    /// # Errors
    /// If no address is available for both TCP and UDP.
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self, ResponderError> {
        Self::bind_within(address, Limits::default())
    }

    /// Listens with other limits than the default ones.
    ///
    /// # Errors
    /// If no address is available for both TCP and UDP.
    pub fn bind_within(
        address: impl ToSocketAddrs,
        limits: Limits,
    ) -> Result<Self, ResponderError> {
        let failed = |what| move |source| ResponderError { what, source };
        let addresses: Vec<SocketAddr> = address
            .to_socket_addrs()
            .map_err(failed("resolve the address to listen on"))?
            .collect();
        let (listener, probes) = sockets(&addresses).map_err(failed("listen"))?;
        let address = listener.local_addr().map_err(failed("listen"))?;
        let listening = OwnedFd::from(listener.try_clone().map_err(failed("listen"))?);
        probes
            .set_read_timeout(Some(LOOK))
            .map_err(failed("listen"))?;
        let shared = Arc::new(Shared {
            limits,
            is_over: AtomicBool::new(false),
            begun: Instant::now(),
            sessions: Mutex::default(),
            clients: Mutex::default(),
        });
        // Created before the threads, so that dropping it ends those that have started if a later
        // one cannot start.
        let mut responder = Self {
            shared: Arc::clone(&shared),
            address,
            listening: TcpStream::from(listening),
            threads: Vec::new(),
        };
        let of_threads = Arc::clone(&shared);
        responder.threads.push(
            thread::Builder::new()
                .name("responder-tcp".to_owned())
                .spawn(move || of_threads.accept(&listener))
                .map_err(failed("start a thread"))?,
        );
        responder.threads.push(
            thread::Builder::new()
                .name("responder-udp".to_owned())
                .spawn(move || shared.echo(&probes))
                .map_err(failed("start a thread"))?,
        );
        Ok(responder)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all sessions, connections and threads.
    pub fn shutdown(self) {}
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // `accept` has no timeout; on Linux a shutdown wakes it.
        let _ = self.listening.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// TCP and UDP sockets with the same port number.
fn sockets(addresses: &[SocketAddr]) -> io::Result<(TcpListener, UdpSocket)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let listener = TcpListener::bind(addresses)?;
        let address = listener.local_addr()?;
        let any = addresses.iter().all(|address| address.port() == 0);
        match UdpSocket::bind(address) {
            Ok(probes) => return Ok((listener, probes)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && any && tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn accept(&self, listener: &TcpListener) {
        // The end of the scope waits for all connections.
        thread::scope(|scope| {
            while !self.is_over() {
                let Ok((stream, client)) = listener.accept() else {
                    // For example, no file descriptor is left for the connection.
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                let client = client.ip();
                if !self.let_in(client) {
                    refuse(&stream);
                    continue;
                }
                let serve = move || {
                    // Errors of one client's connection do not concern the responder.
                    let _ = self.serve(&stream, client);
                    drop(stream);
                    self.let_out(client);
                };
                if thread::Builder::new().spawn_scoped(scope, serve).is_err() {
                    self.let_out(client);
                }
            }
        });
    }

    fn let_in(&self, client: IpAddr) -> bool {
        let mut clients = lock(&self.clients);
        let all: usize = clients.values().sum();
        let one = clients.get(&client).copied().unwrap_or(0);
        if all >= self.limits.connections || one >= self.limits.connections_per_client {
            return false;
        }
        clients.insert(client, one + 1);
        true
    }

    fn let_out(&self, client: IpAddr) {
        let mut clients = lock(&self.clients);
        match clients.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(clients.remove(&client)),
        }
    }

    fn serve(&self, stream: &TcpStream, client: IpAddr) -> io::Result<()> {
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(LOOK))?;
        stream.set_nodelay(true)?;
        let hello = message::receive(stream, Some(Instant::now() + HELLO), || self.is_over())?;
        let hello = match Message::from_bytes(&hello) {
            Ok(hello) => hello,
            Err(Malformed::Version(_)) => return send(stream, Message::refused(Refusal::Version)),
            Err(Malformed::Foreign) => return Ok(()),
        };
        match hello.kind {
            Kind::Begin => self.control(stream, client),
            Kind::Download | Kind::Upload => {
                let Some(session) = self.session(hello.numbers[0], client) else {
                    return send(stream, Message::refused(Refusal::NoSession));
                };
                if hello.kind == Kind::Download {
                    send(stream, Message::new(Kind::Ready, [0; 3]))?;
                    session.source(stream, || self.is_over())
                } else {
                    // The additional byte is never read by the client. A socket that is closed with
                    // unread data resets the connection (RFC 2525, 2.17) and discards what it still
                    // had to send, which would otherwise go on loading the path after the phase.
                    let mut bytes = Message::new(Kind::Ready, [0; 3]).to_bytes().to_vec();
                    bytes.push(0);
                    let mut to = stream;
                    to.write_all(&bytes)?;
                    session.sink(stream, || self.is_over())
                }
            }
            _ => Ok(()),
        }
    }

    /// The session with this token, if it belongs to this client.
    fn session(&self, token: u64, client: IpAddr) -> Option<Arc<Session>> {
        let session = lock(&self.sessions).get(&token).cloned()?;
        (session.client == client && !session.is_over()).then_some(session)
    }

    fn control(&self, stream: &TcpStream, client: IpAddr) -> io::Result<()> {
        let token = token();
        let session = Arc::new(Session::new(client, self.limits.session));
        lock(&self.sessions).insert(token, Arc::clone(&session));
        let ended = self.answer(stream, token, &session);
        session.end();
        lock(&self.sessions).remove(&token);
        ended
    }

    fn answer(&self, stream: &TcpStream, token: u64, session: &Session) -> io::Result<()> {
        let limit = u64::try_from(self.limits.session.as_millis()).unwrap_or(u64::MAX);
        send(stream, Message::new(Kind::Begun, [token, limit, 0]))?;
        loop {
            let asked = message::receive(stream, None, || self.is_over() || session.is_over())?;
            match Message::from_bytes(&asked) {
                Ok(Message {
                    kind: Kind::Report,
                    numbers: [of, number, _],
                }) if of == token => {
                    let received = session.received();
                    let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    send(
                        stream,
                        Message::new(Kind::Reported, [number, received, now]),
                    )?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn echo(&self, probes: &UdpSocket) {
        // Longer than a message, because an oversized datagram would be truncated to the length of
        // one.
        let mut bytes = [0; LENGTH + 1];
        while !self.is_over() {
            let Ok((length, client)) = probes.recv_from(&mut bytes) else {
                continue;
            };
            let Ok(Message {
                kind: Kind::Probe,
                numbers,
            }) = Message::from_bytes(&bytes[..length])
            else {
                continue;
            };
            if self.session(numbers[0], client.ip()).is_some() {
                let _ = probes.send_to(&Message::new(Kind::Echo, numbers).to_bytes(), client);
            }
        }
    }
}

/// Refuses a connection above the limit. The client's message is read first: if the socket were
/// closed with unread data, the connection would be reset and the answer lost.
fn refuse(stream: &TcpStream) {
    let short = Duration::from_millis(50);
    if stream.set_read_timeout(Some(short)).is_ok() {
        let _ = message::receive(stream, Some(Instant::now() + short), || false);
        let _ = send(stream, Message::refused(Refusal::Busy));
    }
}

fn send(mut stream: &TcpStream, message: Message) -> io::Result<()> {
    stream.write_all(&message.to_bytes())
}

/// A poisoned lock is ignored: a panic leaves nothing half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
