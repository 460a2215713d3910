//! A process that outlives a killed runner and reverts at once.
//!
//! It is a process of the same program, so that it has the engine and needs nothing of the host to start when
//! memory is short. It has a session of its own, leaves the caller's control group where that is possible,
//! holds a pidfd of the runner, and sleeps.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open, setsid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::cgroup::{self, Place};
use crate::process::ProcessId;
use crate::starter::this_program;

/// How long a watchdog may take to start, in seconds. It takes a few milliseconds; on a machine that is
/// busy enough to need longer, a command that waits is better than one that cannot be reverted.
const START: i64 = 10;

/// What the runner tells its watchdog at the end.
const DISMISSED: u8 = b'd';

/// A watchdog, in its runner.
#[derive(Debug)]
pub struct Watchdog {
    child: Child,
    ready: OwnedFd,
}

impl Watchdog {
    /// Starts one: `arguments` make this program call [`watch`] for the process that starts it. The working
    /// directory is kept, because a root directory may be given relative to it.
    ///
    /// # Errors
    /// If no process or pipe can be made.
    pub fn spawn(program: &OsStr, arguments: &[OsString]) -> io::Result<Self> {
        let (ready, tell) = io::pipe()?;
        let child = this_program(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(tell)
            .spawn()?;
        Ok(Self {
            child,
            ready: ready.into(),
        })
    }

    /// Waits until it watches; returns it and where it is.
    ///
    /// # Errors
    /// If it died or did not start in time.
    pub fn ready(&mut self, boot: &str) -> io::Result<(ProcessId, Place)> {
        let mut text = Vec::new();
        let limit = Timespec {
            tv_sec: START,
            tv_nsec: 0,
        };
        loop {
            let mut one = [PollFd::new(&self.ready, PollFlags::IN)];
            match poll(&mut one, Some(&limit)) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
                Ok(0) => return Err(io::Error::other("it did not start in time")),
                Ok(_) => {}
            }
            let mut bytes = [0; 512];
            match rustix::io::read(&self.ready, &mut bytes)? {
                0 => return Err(io::Error::other("it died while it started")),
                count => text.extend_from_slice(&bytes[..count]),
            }
            if text.ends_with(b"\n") {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text);
        let place = match text.trim_end() {
            "" => Place::Root,
            why => Place::Callers(why.to_owned()),
        };
        let pid = i32::try_from(self.child.id()).unwrap_or(0);
        let process = ProcessId::of(pid, boot);
        Ok((
            process.ok_or_else(|| io::Error::other("it died while it started"))?,
            place,
        ))
    }

    /// Whether it has died; it is reaped then.
    pub fn has_died(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// A descriptor that can be read once it has ended.
    ///
    /// # Errors
    /// If it has ended and was reaped, or no descriptor is left.
    pub fn ended(&self) -> io::Result<OwnedFd> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the watchdog has no number"))?;
        Ok(pidfd_open(pid, PidfdFlags::empty())?)
    }

    /// Ends it without a revert.
    pub fn dismiss(mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(&[DISMISSED]);
        }
        let _ = self.child.wait();
    }
}

/// How a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// The runner has reverted, or has nothing to revert.
    Dismissed,
    /// The runner ended without a word.
    RunnerEnded,
}

/// Watches the process that started this one until it ends; in the process that [`Watchdog::spawn`] has
/// started. With `is_live` it leaves the caller's control group.
///
/// # Errors
/// If the runner cannot be watched.
pub fn watch(runner: i32, is_live: bool) -> io::Result<Watched> {
    // A stopped scope and a shutdown send SIGTERM to all, and the runner then ends by itself. Handlers and
    // not ignored signals: modprobe would inherit those.
    let unused = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&unused))?;
    }
    // It fails only for the leader of a group, which a process that was just started is not.
    let _ = setsid();
    let place = if is_live {
        cgroup::spare_from_oom();
        cgroup::leave_callers()
    } else {
        Place::Callers("it watches a run on a tree".to_owned())
    };
    let gone = || Ok(Watched::RunnerEnded);
    let Some(pid) = Some(runner).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
        return gone();
    };
    let ended = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(ended) => ended,
        Err(rustix::io::Errno::SRCH) => return gone(),
        Err(errno) => return Err(errno.into()),
    };
    // The descriptor is that of the runner if the runner is still the parent.
    if getppid() != Some(pid) {
        return gone();
    }
    let told = match place {
        Place::Root => String::new(),
        Place::Callers(why) => why.replace('\n', " "),
    };
    let mut stdout = io::stdout();
    stdout.write_all(format!("{told}\n").as_bytes())?;
    stdout.flush()?;
    await_end(&ended)
}

/// Sleeps until the runner says that it has reverted, or ends.
fn await_end(ended: &OwnedFd) -> io::Result<Watched> {
    let mut stdin = io::stdin();
    let mut is_open = true;
    loop {
        let mut ready = vec![PollFd::new(ended, PollFlags::IN)];
        if is_open {
            ready.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        let has_ended = !ready[0].revents().is_empty();
        let has_said = ready.get(1).is_some_and(|said| !said.revents().is_empty());
        drop(ready);
        // What it said before it ended counts.
        if has_said {
            let mut byte = [0];
            match stdin.read(&mut byte) {
                Ok(1) if byte[0] == DISMISSED => return Ok(Watched::Dismissed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                _ => is_open = false,
            }
        }
        if has_ended {
            return Ok(Watched::RunnerEnded);
        }
    }
}
