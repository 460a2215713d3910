//! The helper's loop: it accepts connections, reads one request from each, and starts the host program that holds
//! the lease.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::admission::{CONNECTIONS, LEASES, REQUEST_SECONDS};
use crate::installed::{Installed, NotExecuted};
use crate::peer::Peer;
use crate::protocol::{Answer, LONGEST, RefusalCode, Request, RequestError};

/// How long nothing is accepted after the kernel has refused to accept, for example without free memory.
const PAUSE: Duration = Duration::from_millis(200);

/// The helper: one thread that sleeps until a client, or the end of a process, wakes it.
///
/// It holds no lease. A lease is the connection, which the host program has: it goes on if the helper ends.
#[derive(Debug)]
pub struct Server<W> {
    listener: UnixListener,
    installed: Installed,
    arguments: Vec<OsString>,
    log: W,
    waiting: Vec<Waiting>,
    started: Vec<Started>,
    accepts_again: Option<Instant>,
}

/// A connection whose request has not arrived as a whole.
#[derive(Debug)]
struct Waiting {
    stream: UnixStream,
    uid: u32,
    received: Vec<u8>,
    until: Instant,
}

/// A host program that was started.
#[derive(Debug)]
struct Started {
    child: Child,
    ended: OwnedFd,
    host: String,
    /// Whose lease it holds; `None` if it reverts what a killed one has left.
    lease_of: Option<u32>,
    /// Whether it only answers what would be.
    explains: bool,
}

/// What became of a connection.
enum Progress {
    More,
    Request(Vec<u8>),
    Over,
    TooLong,
}

impl<W: Write> Server<W> {
    /// A helper on a listening socket for installed host programs. `arguments` are given to each of them before
    /// its command, and `log` gets one line for each event that an administrator looks for.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub fn new(
        listener: UnixListener,
        installed: Installed,
        arguments: Vec<OsString>,
        log: W,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            installed,
            arguments,
            log,
            waiting: Vec::new(),
            started: Vec::new(),
            accepts_again: None,
        })
    }

    /// Has every installed host revert what killed runs have left, then serves until an error.
    ///
    /// # Errors
    /// If the kernel refuses to wait.
    pub fn run(&mut self) -> io::Result<()> {
        self.recover_all();
        loop {
            self.wait()?;
        }
    }

    /// Starts the recovery of each host. It is not waited for: a lease of the same host reverts first what is left,
    /// too, under the same lock.
    fn recover_all(&mut self) {
        match self.installed.names() {
            Ok(names) => names.iter().for_each(|name| self.recover(name)),
            Err(error) => self.say(&error.to_string()),
        }
    }

    fn recover(&mut self, host: &str) {
        if let Err(error) = self.start(host, "run-recover", None) {
            self.say(&format!("{host}: {error}"));
        }
    }

    /// Sleeps until something happens, and acts on it.
    fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.accepts_again = self.accepts_again.filter(|again| *again > now);
        let accepts = self.accepts_again.is_none();
        let mut fds = Vec::with_capacity(1 + self.waiting.len() + self.started.len());
        // A closed set of events means that only errors wake it.
        let listens = if accepts {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        fds.push(PollFd::new(&self.listener, listens));
        fds.extend(
            self.waiting
                .iter()
                .map(|waiting| PollFd::new(&waiting.stream, PollFlags::IN)),
        );
        fds.extend(
            self.started
                .iter()
                .map(|started| PollFd::new(&started.ended, PollFlags::IN)),
        );
        // Without a connection that has to send its request, there is no timer.
        let deadlines = self.waiting.iter().map(|waiting| waiting.until);
        let next = deadlines.chain(self.accepts_again).min();
        let limit = next.map(|next| {
            let rest = next.saturating_duration_since(now) + Duration::from_millis(1);
            Timespec {
                tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: rest.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let (of_listener, rest) = ready.split_at(1);
        let (of_waiting, of_started) = rest.split_at(self.waiting.len());
        // Ended ones first, so that they no longer count.
        let of_started = of_started.to_vec();
        let of_waiting = of_waiting.to_vec();
        self.reap(&of_started);
        self.serve(&of_waiting);
        if of_listener[0] && accepts {
            self.accept();
        }
        Ok(())
    }

    /// Looks after processes that have ended.
    fn reap(&mut self, ended: &[bool]) {
        let mut ended = ended.iter();
        let (mut over, mut on) = (Vec::new(), Vec::new());
        for started in self.started.drain(..) {
            match ended.next() {
                Some(true) => over.push(started),
                _ => on.push(started),
            }
        }
        self.started = on;
        for mut started in over {
            let status = started.child.wait();
            let Started { host, lease_of, .. } = started;
            let Some(uid) = lease_of.filter(|_| !started.explains) else {
                continue;
            };
            match status {
                Ok(status) if status.code().is_some() => {
                    self.say(&format!("{host}: a lease of user {uid} has ended"));
                }
                // A signal: its watchdog reverts, unless that was killed too.
                other => {
                    let how = match other {
                        Ok(status) => status.to_string(),
                        Err(error) => error.to_string(),
                    };
                    self.say(&format!("{host}: a lease of user {uid} was killed: {how}"));
                    self.recover(&host);
                }
            }
        }
    }

    /// Reads from connections, and starts what is asked for.
    fn serve(&mut self, ready: &[bool]) {
        let now = Instant::now();
        let mut ready = ready.iter();
        let mut more = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let is_ready = ready.next().copied().unwrap_or(false);
            let progress = if is_ready {
                waiting.read()
            } else {
                Progress::More
            };
            match progress {
                Progress::More if now < waiting.until => more.push(waiting),
                Progress::More => waiting.refuse(
                    RefusalCode::Request,
                    &format!("no request has arrived in {REQUEST_SECONDS} s"),
                    None,
                ),
                Progress::Over => {}
                Progress::TooLong => {
                    let why = RequestError::TooLong.to_string();
                    waiting.refuse(RefusalCode::Request, &why, None);
                }
                Progress::Request(line) => self.lend(waiting, &line),
            }
        }
        self.waiting.append(&mut more);
    }

    /// Starts the host program that a request names, with the connection.
    fn lend(&mut self, waiting: Waiting, line: &[u8]) {
        let request = match Request::parse(line) {
            Ok(request) => request,
            Err(error) => {
                waiting.refuse(RefusalCode::Request, &error.to_string(), None);
                return;
            }
        };
        let (uid, host) = (waiting.uid, request.host.clone());
        let leases = self.started.iter().filter_map(|started| started.lease_of);
        if let Err(full) = LEASES.admit(uid, leases) {
            let why = format!("too many commands run tuned: {full}");
            waiting.refuse(RefusalCode::Busy, &why, None);
            return;
        }
        // The descriptor is duplicated, so that a refusal can still be sent.
        let connection = match waiting.stream.try_clone() {
            Ok(connection) => connection,
            Err(error) => {
                waiting.refuse(RefusalCode::Failed, &error.to_string(), None);
                return;
            }
        };
        match self.start(&host, "run-hold", Some((uid, connection, &request))) {
            Ok(()) if request.explain => {}
            Ok(()) => self.say(&format!("{host}: a lease for user {uid} begins")),
            Err(error) => {
                self.say(&format!("{host}, for user {uid}: {error}"));
                let path = self.installed.directory().join(&host);
                let (code, hint) = match &error {
                    NotStarted::Host(NotExecuted::Missing { .. }) => (
                        RefusalCode::UnknownHost,
                        format!(
                            "root installs it: install -D -o root -g root -m 0755 $(command -v {host}) {}",
                            path.display()
                        ),
                    ),
                    NotStarted::Host(NotExecuted::Untrusted {
                        path: untrusted, ..
                    }) => (
                        RefusalCode::UntrustedHost,
                        // Others may have changed what is there, so it is not to be trusted by a chmod.
                        format!(
                            "root finds out who could write {}, and installs it again: install -D -o root -g root -m 0755 $(command -v {host}) {}",
                            untrusted.display(),
                            path.display()
                        ),
                    ),
                    _ => (
                        RefusalCode::Failed,
                        "see the helper's log: journalctl -u hosttuned".to_owned(),
                    ),
                };
                waiting.refuse(code, &error.to_string(), Some(hint));
            }
        }
    }

    /// Starts a host program.
    fn start(
        &mut self,
        host: &str,
        command: &str,
        lease: Option<(u32, UnixStream, &Request)>,
    ) -> Result<(), NotStarted> {
        let opened = self.installed.open(host)?;
        let mut arguments = self.arguments.clone();
        arguments.push(command.into());
        let mut process = opened.command(&arguments);
        let (mut lease_of, mut explains) = (None, false);
        let mut line = None;
        if let Some((uid, connection, request)) = lease {
            (lease_of, explains) = (Some(uid), request.explain);
            // Encoded again: what reaches the program is what was understood here.
            line = Some(request.format());
            process
                .stdin(Stdio::piped())
                .stdout(OwnedFd::from(connection));
        }
        let mut child = process.spawn().map_err(NotStarted::Process)?;
        // The command holds the connection as well.
        drop(process);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let ended = pid
            .ok_or_else(|| io::Error::other("the new process has no number"))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(NotStarted::Process(error));
            }
        };
        if let (Some(line), Some(mut stdin)) = (line, child.stdin.take()) {
            // A pipe holds it. If the program has died, its end is seen.
            let _ = stdin.write_all(&line);
        }
        self.started.push(Started {
            child,
            ended,
            host: host.to_owned(),
            lease_of,
            explains,
        });
        Ok(())
    }

    /// Accepts one connection.
    fn accept(&mut self) {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted
                ) =>
            {
                return;
            }
            Err(error) => {
                self.say(&format!("cannot accept a connection: {error}"));
                self.accepts_again = Some(Instant::now() + PAUSE);
                return;
            }
        };
        let peer = stream
            .set_nonblocking(true)
            .and_then(|()| Peer::of(&stream));
        let peer = match peer {
            Ok(peer) => peer,
            Err(error) => {
                self.say(&format!("cannot tell who has connected: {error}"));
                return;
            }
        };
        let waiting = Waiting {
            stream,
            uid: peer.uid,
            received: Vec::new(),
            until: Instant::now() + Duration::from_secs(REQUEST_SECONDS),
        };
        let others = self.waiting.iter().map(|waiting| waiting.uid);
        match CONNECTIONS.admit(peer.uid, others) {
            Ok(()) => self.waiting.push(waiting),
            Err(full) => {
                let why = format!("too many connections without a request: {full}");
                waiting.refuse(RefusalCode::Busy, &why, None);
            }
        }
    }

    fn say(&mut self, text: &str) {
        // Nothing that a client has sent is in it but a host's name, whose characters were checked.
        let _ = writeln!(self.log, "hosttuned: {text}");
        let _ = self.log.flush();
    }
}

/// Why a host program was not started.
#[derive(Debug, thiserror::Error)]
enum NotStarted {
    #[error(transparent)]
    Host(#[from] NotExecuted),
    #[error("it cannot be executed: {0}")]
    Process(io::Error),
}

impl Waiting {
    /// Reads what has arrived. Descriptors that a client passes along are not taken: the kernel closes those that
    /// arrive with data that is read without a place for them.
    fn read(&mut self) -> Progress {
        let mut bytes = [0; LONGEST];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Progress::Over,
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::More,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Progress::Over,
            }
            match self.received.iter().position(|&byte| byte == b'\n') {
                Some(end) if end + 1 == self.received.len() => {
                    return Progress::Request(std::mem::take(&mut self.received));
                }
                // More after the line is not a part of the protocol.
                Some(_) => return Progress::TooLong,
                None if self.received.len() >= LONGEST => return Progress::TooLong,
                None => {}
            }
        }
    }

    /// Says why, if the client reads it, and closes the connection.
    fn refuse(mut self, code: RefusalCode, why: &str, hint: Option<String>) {
        let _ = self
            .stream
            .write_all(&Answer::refused(code, why, hint).format());
    }
}
