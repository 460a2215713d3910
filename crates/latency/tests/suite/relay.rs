//! A path in this process that treats traffic like a link with a queue, without help from the
//! kernel.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(20);

/// More bytes than this within [`RECENT`] count as load.
const LOAD: u64 = 20_000;
const RECENT: Duration = Duration::from_millis(100);

/// Properties of the path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// Rate in each direction, in bits per second.
    pub(crate) rate: u64,
    /// Delay of a probe under load.
    pub(crate) queue: Duration,
    /// How long the queue remains after the load.
    pub(crate) lingers: Duration,
    /// Percentage of probes that are lost without load.
    pub(crate) lost_idle: u64,
    /// Percentage of probes that are lost under load.
    pub(crate) lost_loaded: u64,
}

impl Path {
    /// A path with this rate and no delay.
    pub(crate) fn of(rate: u64) -> Self {
        Self {
            rate,
            queue: Duration::ZERO,
            lingers: Duration::ZERO,
            lost_idle: 0,
            lost_loaded: 0,
        }
    }
}

/// The path to a responder, for one client.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

struct State {
    path: Path,
    is_over: AtomicBool,
    bytes: AtomicU64,
    loaded_until: Mutex<Option<Instant>>,
}

impl Relay {
    pub(crate) fn to(responder: SocketAddr, path: Path) -> Self {
        let (listener, probes) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(probes) = UdpSocket::bind(listener.local_addr().unwrap()) {
                break (listener, probes);
            }
        };
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            path,
            is_over: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            loaded_until: Mutex::new(None),
        });
        let of = || Arc::clone(&state);
        let (tcp, udp, watch) = (of(), of(), of());
        let threads = vec![
            thread::spawn(move || tcp.connections(&listener, responder)),
            thread::spawn(move || udp.probes(&probes, responder)),
            thread::spawn(move || watch.watch()),
        ];
        Self {
            address,
            state,
            threads,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Notes whether there is a load.
    fn watch(&self) {
        let mut before = 0;
        while !self.is_over() {
            thread::sleep(RECENT);
            let now = self.bytes.load(Ordering::Relaxed);
            if now - before > LOAD {
                let until = Instant::now() + RECENT * 2 + self.path.lingers;
                *self.loaded_until.lock().unwrap() = Some(until);
            }
            before = now;
        }
    }

    fn is_loaded(&self) -> bool {
        let until = *self.loaded_until.lock().unwrap();
        until.is_some_and(|until| Instant::now() < until)
    }

    fn connections(&self, listener: &TcpListener, responder: SocketAddr) {
        // When each direction is free again, shared by all connections.
        let ways = [Mutex::new(Instant::now()), Mutex::new(Instant::now())];
        thread::scope(|scope| {
            for client in listener.incoming().map(Result::unwrap) {
                if self.is_over() {
                    return;
                }
                let server = TcpStream::connect(responder).unwrap();
                for stream in [&client, &server] {
                    stream.set_read_timeout(Some(LOOK)).unwrap();
                    stream.set_nodelay(true).unwrap();
                }
                let [up, down] = &ways;
                let (back, forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                scope.spawn(move || self.carry(client, &forth, up));
                scope.spawn(move || self.carry(server, &back, down));
            }
        });
    }

    /// Carries data at the rate of the path, and ends both directions when one ends.
    fn carry(&self, mut from: TcpStream, mut to: &TcpStream, way: &Mutex<Instant>) {
        let mut block = [0; 4096];
        while !self.is_over() {
            let length = match from.read(&mut block) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => break,
            };
            let takes = Duration::from_nanos(length as u64 * 8_000_000_000 / self.path.rate);
            let free = {
                let mut free = way.lock().unwrap();
                *free = (*free).max(Instant::now()) + takes;
                *free
            };
            thread::sleep(free.saturating_duration_since(Instant::now()));
            self.bytes.fetch_add(length as u64, Ordering::Relaxed);
            if to.write_all(&block[..length]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(std::net::Shutdown::Both);
        let _ = to.shutdown(std::net::Shutdown::Both);
    }

    fn probes(&self, probes: &UdpSocket, responder: SocketAddr) {
        let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
        upstream.connect(responder).unwrap();
        for socket in [probes, &upstream] {
            socket.set_nonblocking(true).unwrap();
        }
        let mut client = None;
        let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let mut number = 0_u64;
        let mut bytes = [0; 2048];
        while !self.is_over() {
            thread::sleep(Duration::from_micros(200));
            while let Ok((length, from)) = probes.recv_from(&mut bytes) {
                client = Some(from);
                // Losses are spread evenly, and are the same in every run.
                number = (number + 37) % 100;
                let loaded = self.is_loaded();
                let path = self.path;
                let lost = if loaded {
                    path.lost_loaded
                } else {
                    path.lost_idle
                };
                if number >= lost {
                    let wait = if loaded { path.queue } else { Duration::ZERO };
                    queue.push_back((Instant::now() + wait, bytes[..length].to_vec()));
                }
            }
            while queue.front().is_some_and(|(due, _)| *due <= Instant::now())
                && let Some((_, probe)) = queue.pop_front()
            {
                let _ = upstream.send(&probe);
            }
            while let Ok(length) = upstream.recv(&mut bytes) {
                if let Some(client) = client {
                    let _ = probes.send_to(&bytes[..length], client);
                }
            }
        }
    }
}
