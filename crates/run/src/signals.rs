//! Signals that are read instead of delivered, while a command runs.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

/// The signals that a runner passes on or acts on. All others act on it as usual.
pub const HELD: [Signal; 12] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGCHLD,
];

/// The lowest `si_code` of the kernel's own signals (`SI_KERNEL`, `sigaction(2)`). Those of `kill(2)`,
/// `sigqueue(3)` and `tgkill(2)` are 0 or negative, and those with more detail (`CLD_EXITED`) are positive.
const FROM_KERNEL: i32 = 1;

/// A signal that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedSignal {
    /// Its number.
    pub number: i32,
    /// Whether a process sent it.
    pub from_process: bool,
}

/// Makes this process learn how its children end, even if its caller started it with SIGCHLD ignored. The
/// kernel then reaps children itself, and their status is lost. What is started later has the default.
///
/// # Errors
/// If the handler cannot be installed.
pub fn expect_children() -> std::io::Result<()> {
    let unused = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGCHLD, unused).map(|_| ())
}

/// While this exists, the signals of [`HELD`] are blocked in this thread and can be read. A process must
/// have one thread when it is made, because the kernel gives a signal to any thread that does not block it.
#[derive(Debug)]
pub struct HeldSignals {
    before: SigSet,
    read: SignalFd,
}

impl HeldSignals {
    /// Blocks them.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn hold() -> std::io::Result<Self> {
        let set = SigSet::from_iter(HELD);
        let read = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let before = SigSet::thread_get_mask()?;
        set.thread_block()?;
        Ok(Self { before, read })
    }

    /// The next signal that has arrived, if any.
    ///
    /// # Errors
    /// If the descriptor cannot be read.
    pub fn read(&self) -> std::io::Result<Option<ReceivedSignal>> {
        let received = self.read.read_signal()?;
        Ok(received.map(|signal| ReceivedSignal {
            number: i32::try_from(signal.ssi_signo).unwrap_or(0),
            from_process: signal.ssi_code < FROM_KERNEL,
        }))
    }

    /// Sleeps until a signal arrives, or until the other descriptor can be read or has ended. Whether the other
    /// one was it.
    ///
    /// # Errors
    /// If the kernel refuses to wait.
    pub fn wait(&self, other: Option<BorrowedFd<'_>>) -> std::io::Result<bool> {
        let mut ready = vec![PollFd::from_borrowed_fd(self.read.as_fd(), PollFlags::IN)];
        ready.extend(other.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
        match poll(&mut ready, None) {
            Ok(_) => Ok(ready
                .get(1)
                .is_some_and(|other| !other.revents().is_empty())),
            // A handler has run: the caller looks again.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Stops this process as the signal would have, and returns when it continues. A process group that no
    /// shell looks after is not stopped by the terminal's signals, and this one is not either.
    pub fn stop_self(&self, signal: i32) {
        let Ok(signal) = Signal::try_from(signal) else {
            return;
        };
        let mut only = SigSet::empty();
        only.add(signal);
        if only.thread_unblock().is_ok() {
            let _ = raise(signal);
            let _ = only.thread_block();
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}
