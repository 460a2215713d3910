//! Ctrl-C, where something is to be ended in order.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// As long as this is held, the signals that ask a program to end are noted and end nothing. For
/// the thread that holds it and for those it starts; the program has no others.
#[derive(Debug)]
pub(super) struct Interruption {
    signals: SigSet,
    before: SigSet,
    noted: SignalFd,
}

impl Interruption {
    /// Notes them from here on.
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

    /// Whether one has come.
    pub(super) fn has_come(&self) -> bool {
        matches!(self.noted.read_signal(), Ok(Some(_)))
    }

    /// What becomes readable when one comes, for whoever waits for other things as well.
    pub(super) fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.noted.as_fd().try_clone_to_owned()
    }

    /// Waits until one comes.
    pub(super) fn wait(&self) {
        // It fails only for a set with no signal in it.
        let _ = self.signals.wait();
    }
}

impl Drop for Interruption {
    fn drop(&mut self) {
        // One that was seen and not taken would end the program once it is let through.
        while self.has_come() {}
        let _ = self.before.thread_set_mask();
    }
}
