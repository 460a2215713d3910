//! Termination signals for commands that must shut down in order.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// While this exists, termination signals are recorded instead of ending the program. This applies to
/// the thread that holds it and to the threads it starts; the program has no others.
#[derive(Debug)]
pub(super) struct Interruption {
    signals: SigSet,
    before: SigSet,
    noted: SignalFd,
}

impl Interruption {
    /// Starts recording termination signals.
    pub(super) fn noted() -> std::io::Result<Self> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        let before = SigSet::thread_get_mask()?;
        let noted = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        signals.thread_block()?;
        Ok(Self {
            signals,
            before,
            noted,
        })
    }

    /// Whether a signal has arrived.
    pub(super) fn has_come(&self) -> bool {
        matches!(self.noted.read_signal(), Ok(Some(_)))
    }

    /// A descriptor that becomes readable when a signal arrives, for use with `poll`.
    pub(super) fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.noted.as_fd().try_clone_to_owned()
    }

    /// Waits until a signal arrives.
    pub(super) fn wait(&self) {
        // This fails only for an empty set.
        let _ = self.signals.wait();
    }
}

impl Drop for Interruption {
    fn drop(&mut self) {
        // A signal that is still pending would end the program once it is unblocked.
        while self.has_come() {}
        let _ = self.before.thread_set_mask();
    }
}
