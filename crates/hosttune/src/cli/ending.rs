//! The signals that ask a program to end, while it changes the host.
//!
//! Handlers that set a flag. Blocked signals would be inherited by modprobe, which may be started
//! meanwhile and could not be ended any more; handlers end with the `exec`. A thread that waits for
//! signals could speak at once also while a step takes long, and costs each start some thirty system
//! calls, a tenth of a whole apply: so the flag is looked at between the steps, and spoken of then.

use std::io::{self, Read, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use hosttune_core::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::Exit;

/// While nothing is at work a signal ends the program as ever.
static AT_REST: AtomicBool = AtomicBool::new(true);
/// Set by the first signal that comes during work.
static ASKED: AtomicBool = AtomicBool::new(false);

/// As long as this is held, the signals that ask a program to end stop the work at the end of a
/// step; while nothing is at work they end the program as ever.
#[derive(Debug)]
pub(super) struct Ending {
    stop: Stop,
    at_rest: &'static AtomicBool,
}

impl Ending {
    /// Takes the signals from here on, but those that are ignored: a program under `nohup` goes on
    /// when its terminal hangs up. `revert` is what to type for what a second signal leaves.
    pub(super) fn taken(
        verb: &'static str,
        program: &'static str,
        revert: String,
    ) -> io::Result<Self> {
        // Signals are the process's, and so is what takes them; once is enough for all commands.
        static TAKEN: OnceLock<Result<(), Option<i32>>> = OnceLock::new();
        TAKEN
            .get_or_init(|| take().map_err(|error| error.raw_os_error()))
            .map_err(|code| {
                code.map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error)
            })?;
        ASKED.store(false, Ordering::SeqCst);
        let noticed = move || say(&words(program, verb, &revert));
        Ok(Self {
            stop: Stop::flagged(&ASKED, noticed),
            at_rest: &AT_REST,
        })
    }

    /// What is asked when one comes.
    pub(super) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Does what a signal is to stop at the end of a step.
    pub(super) fn at_work<T>(&self, work: impl FnOnce() -> T) -> T {
        self.at_rest.store(false, Ordering::SeqCst);
        let done = work();
        self.at_rest.store(true, Ordering::SeqCst);
        done
    }

    /// Waits, in the midst of work, for what takes as long as somebody likes: a signal ends the
    /// program then, as nothing has been changed yet.
    pub(super) fn at_rest<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.at_rest.store(true, Ordering::SeqCst);
        let done = wait();
        self.at_rest.store(false, Ordering::SeqCst);
        done
    }
}

/// Has the signals end the program at rest, set the flag at work, and end it at once where the flag is
/// set already. A signal's actions are taken in the order in which they are registered here.
fn take() -> io::Result<()> {
    let ignored = ignored();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if ignored & (1 << (signal - 1)) == 0 {
            flag::register_conditional_default(signal, &AT_REST)?;
            flag::register_conditional_shutdown(signal, Exit::Incomplete.code().into(), &ASKED)?;
            flag::register(signal, &ASKED)?;
        }
    }
    Ok(())
}

fn words(program: &str, verb: &str, revert: &str) -> String {
    let then = match verb {
        "revert" => "what the revert has not come to stays as it is",
        _ => "what the apply did is taken back now",
    };
    format!(
        "{program}: interrupted: {then}; once more ends it at once, and what is left to put back is in the journal: {revert}\n"
    )
}

/// Where standard error is gone there is nobody to tell.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The signals that this process was started with ignored, the first in the lowest bit.
#[expect(
    clippy::disallowed_methods,
    reason = "what the kernel says of this process, which is nothing of the host that --root could be about"
)]
fn ignored() -> u64 {
    let mut status = String::with_capacity(4096);
    // With a limit, which spares the question how long the file is: the kernel says 0.
    if let Ok(file) = std::fs::File::open("/proc/self/status") {
        let _ = file.take(1 << 20).read_to_string(&mut status);
    }
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_answered_with_what_becomes_of_the_work() {
        for (verb, then) in [("apply", "taken back"), ("revert", "stays as it is")] {
            let said = words("gaming", verb, "gaming --root /x revert");
            for part in [
                "gaming: interrupted",
                verb,
                then,
                "once more",
                "journal",
                "gaming --root /x revert",
            ] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }

    /// No signal is raised here: the tests beside this one would get it too. What they do is tried on
    /// the program.
    #[test]
    fn work_begins_and_ends_and_rest_is_within_it() {
        static REST: AtomicBool = AtomicBool::new(true);
        static NEVER: AtomicBool = AtomicBool::new(false);
        let ending = Ending {
            stop: Stop::flagged(&NEVER, || {}),
            at_rest: &REST,
        };
        let at_rest = || REST.load(Ordering::SeqCst);
        assert!(at_rest());
        ending.at_work(|| {
            assert!(!at_rest());
            ending.at_rest(|| assert!(at_rest()));
            assert!(!at_rest());
        });
        assert!(at_rest());
    }
}
