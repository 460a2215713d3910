//! The broker's side.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lane::Lane;
use super::protocol::{self, BORROW, END, ERR, FAILED, GIVE_BACK, HOLD, LENT, LIMIT, OUT, SHELL};
use super::{Place, protocol::WELCOME};
use crate::{Kernel, Machine, Stream};

/// How long the broker waits for a new client after the last one disconnected: between two test programs of
/// one `cargo test` no client is connected for a moment.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Broker {
    lanes: [Lane; Kernel::ALL.len()],
    clients: Mutex<usize>,
    changed: Condvar,
}

/// Runs the broker of this build directory until its last client has disconnected. Returns at once if one is
/// already running.
///
/// # Errors
///
/// Fails if its directory beside the programs cannot be written.
pub fn serve() -> io::Result<()> {
    let place = Place::open()?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(place.lock())?;
    // Held until this process exits. A second broker would start and lend other machines.
    if lock.try_lock().is_err() {
        return Ok(());
    }
    // May have been left behind by a broker that was killed; the holder of the lock is the only broker.
    let _ = std::fs::remove_file(place.socket());
    let listener = UnixListener::bind(place.socket())?;
    let broker = Arc::new(Broker {
        lanes: Kernel::ALL.map(Lane::new),
        clients: Mutex::new(0),
        changed: Condvar::new(),
    });
    let accepting = Arc::clone(&broker);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let broker = Arc::clone(&accepting);
            broker.count(|clients| *clients += 1);
            std::thread::spawn(move || {
                let _ = broker.serve_client(&client);
                broker.count(|clients| *clients -= 1);
            });
        }
    });
    broker.wait_for_the_last_client();
    // Before the lock is released: a client that connects at this moment sees the connection closed without a
    // welcome, and tries again.
    let _ = std::fs::remove_file(place.socket());
    for lane in &broker.lanes {
        lane.give_back(None);
    }
    Ok(())
}

impl Broker {
    fn count(&self, change: impl FnOnce(&mut usize)) {
        change(&mut self.clients.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn wait_for_the_last_client(&self) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waited = self
                .changed
                .wait_timeout_while(clients, LINGER, |clients| *clients == 0);
            let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
            clients = guard;
            if result.timed_out() && *clients == 0 {
                return;
            }
            while *clients > 0 {
                clients = self
                    .changed
                    .wait(clients)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lane(&self, kernel: &str) -> io::Result<&Lane> {
        let kernel: Kernel = kernel
            .parse()
            .map_err(|why: String| io::Error::new(io::ErrorKind::InvalidData, why))?;
        Ok(&self.lanes[kernel as usize])
    }

    fn serve_client(self: &Arc<Self>, client: &UnixStream) -> io::Result<()> {
        let mut to = client;
        let mut from = BufReader::new(client);
        protocol::write(&mut to, WELCOME, b"")?;
        let Some(request) = protocol::read(&mut from)? else {
            return Ok(());
        };
        let text = request.text();
        match request.word.as_str() {
            HOLD => {
                for kernel in text.split_whitespace() {
                    self.lane(kernel)?;
                    let (broker, kernel) = (Arc::clone(self), kernel.to_owned());
                    std::thread::spawn(move || {
                        let Ok(lane) = broker.lane(&kernel) else {
                            return;
                        };
                        // If it cannot be started, the first test that borrows it reports why.
                        if let Ok(machine) = lane.borrow() {
                            lane.give_back(Some(machine));
                        }
                    });
                }
                // Until the client closes the connection.
                while protocol::read(&mut from)?.is_some() {}
                Ok(())
            }
            BORROW => {
                let lane = self.lane(&text)?;
                let machine = match lane.borrow() {
                    Ok(machine) => machine,
                    Err(error) => {
                        return protocol::write(&mut to, FAILED, error.to_string().as_bytes());
                    }
                };
                let machine = lend(machine, client, from);
                lane.give_back(machine);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Runs the client's commands in the machine. Returns the machine if the client gave it back.
fn lend(
    mut machine: Machine,
    client: &UnixStream,
    mut from: BufReader<&UnixStream>,
) -> Option<Machine> {
    let mut to = client;
    protocol::write(&mut to, LENT, machine.release().as_bytes()).ok()?;
    // The connection is read while a command runs, so that the command is interrupted as soon as its client
    // disconnects or is killed.
    let interrupt = machine.interrupter();
    std::thread::scope(|scope| {
        let (sender, frames) = std::sync::mpsc::channel();
        scope.spawn(move || {
            while let Ok(Some(frame)) = protocol::read(&mut from) {
                let is_last = frame.word == GIVE_BACK;
                if sender.send(frame).is_err() || is_last {
                    return;
                }
            }
            interrupt.interrupt();
        });
        let mut limit = Duration::from_secs(300);
        let mut given_back = None;
        for frame in frames {
            match frame.word.as_str() {
                LIMIT => limit = Duration::from_secs(frame.text().parse().unwrap_or(300)),
                SHELL => {
                    let mut is_heard = true;
                    let output = machine.shell(&frame.text(), limit, &mut |stream, bytes| {
                        let word = match stream {
                            Stream::Out => OUT,
                            Stream::Err => ERR,
                        };
                        is_heard &= protocol::write(&mut to, word, bytes).is_ok();
                    });
                    let answered = match output {
                        Ok(output) => {
                            protocol::write(&mut to, END, output.code.to_string().as_bytes())
                        }
                        Err(error) => {
                            let _ = protocol::write(&mut to, FAILED, error.to_string().as_bytes());
                            break;
                        }
                    };
                    if !is_heard || answered.is_err() {
                        break;
                    }
                }
                GIVE_BACK => {
                    given_back = Some(());
                    break;
                }
                _ => break,
            }
        }
        // Makes the reading thread return.
        let _ = client.shutdown(std::net::Shutdown::Both);
        given_back.map(|()| machine)
    })
}
