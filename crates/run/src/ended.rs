//! How a command ended.

use signal_hook::low_level::emulate_default_handler;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status, 0 to 255.
    Exited(u8),
    /// This signal ended it.
    Killed(i32),
}

impl Ended {
    /// The command was not found: the status of shells and of `env(1)`.
    pub const NOT_FOUND: Self = Self::Exited(127);
    /// The command was found and cannot be executed: the status of shells and of `env(1)`.
    pub const NOT_EXECUTABLE: Self = Self::Exited(126);
    /// The command was not started, for a reason of ours: the status of `env(1)` and `timeout(1)`.
    pub const NOT_STARTED: Self = Self::Exited(125);

    /// The status that a shell shows for it: 128 and the number of the signal.
    pub fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        }
    }

    /// Ends this process as the command ended.
    ///
    /// It dies of the same signal, because a shell that runs a script ends the script only if it sees the
    /// signal. It leaves no core dump: the command has left one if it was to.
    pub fn end_process(self) -> ! {
        if let Self::Killed(signal) = self {
            let none = rustix::process::Rlimit {
                current: Some(0),
                maximum: Some(0),
            };
            let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
            // The limit is not for a dump that goes to a program such as systemd-coredump (`core(5)`), which would
            // name this process as the one that crashed.
            let _ = rustix::process::set_dumpable_behavior(
                rustix::process::DumpableBehavior::NotDumpable,
            );
            // It returns for a signal that it does not know or that is ignored by default.
            let _ = emulate_default_handler(signal);
        }
        std::process::exit(self.status().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_shown_as_shells_show_it() {
        assert_eq!(Ended::Killed(15).status(), 143);
        assert_eq!(Ended::Killed(9).status(), 137);
        // The highest real-time signal.
        assert_eq!(Ended::Killed(64).status(), 192);
        assert_eq!(Ended::Exited(7).status(), 7);
    }
}
