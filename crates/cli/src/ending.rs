//! Termination signals while the host is being changed.
//!
//! Signal handlers set a flag, which is checked between steps. Two alternatives were rejected. Blocked
//! signals would be inherited by modprobe, which may be started meanwhile and could then not be
//! terminated; handlers are reset by `exec`. A thread that waits for signals could report one during a
//! long step, but costs every start some thirty system calls, a tenth of a whole apply.

use std::io::{self, Read, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use hosttune_core::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::Exit;

/// True while no work is in progress: a signal then ends the program as usual.
static AT_REST: AtomicBool = AtomicBool::new(true);
/// Set by the first signal that arrives during work.
static ASKED: AtomicBool = AtomicBool::new(false);

/// While this exists, termination signals stop the work at the end of a step. While no work is in
/// progress they end the program as usual.
#[derive(Debug)]
pub(super) struct Ending {
    stop: Stop,
    at_rest: &'static AtomicBool,
}

impl Ending {
    /// Installs the handlers, except for signals that are ignored: a program under `nohup` continues
    /// when its terminal hangs up. `revert` is the command line that reverts the changes remaining after
    /// a second signal.
    pub(super) fn taken(
        verb: &'static str,
        program: &'static str,
        revert: String,
    ) -> io::Result<Self> {
        // Signal handlers belong to the process, so they are installed once for all commands.
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

    /// The stop flag that a signal sets.
    pub(super) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Runs work that a signal stops at the end of a step.
    pub(super) fn at_work<T>(&self, work: impl FnOnce() -> T) -> T {
        self.at_rest.store(false, Ordering::SeqCst);
        let done = work();
        self.at_rest.store(true, Ordering::SeqCst);
        done
    }

    /// Runs a wait of unknown length, such as a prompt, in the middle of work. A signal then ends the
    /// program, since nothing has been changed yet.
    pub(super) fn at_rest<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.at_rest.store(true, Ordering::SeqCst);
        let done = wait();
        self.at_rest.store(false, Ordering::SeqCst);
        done
    }
}

/// Installs the handlers: a signal ends the program at rest, sets the flag during work, and ends the
/// program at once if the flag is already set. The actions of a signal run in the order in which they
/// are registered here.
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
        "revert" => "the revert stops here and the remaining settings stay as they are",
        _ => "the apply is rolled back now",
    };
    format!(
        "{program}: interrupted: {then}; a second signal ends the program at once. The journal holds all \
         unreverted changes; revert them with: {revert}\n"
    )
}

/// Writes to standard error. A failure is ignored: it could not be reported anywhere.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The signals that were ignored when this process was started; signal 1 is the lowest bit.
#[expect(
    clippy::disallowed_methods,
    reason = "it describes this process, not the host, so --root does not apply"
)]
fn ignored() -> u64 {
    let mut status = String::with_capacity(4096);
    // The limit saves a call for the length of the file, which the kernel reports as 0.
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
        for (verb, then) in [("apply", "rolled back"), ("revert", "stay as they are")] {
            let said = words("gaming", verb, "gaming --root /x revert");
            for part in [
                "gaming: interrupted",
                verb,
                then,
                "second signal",
                "journal",
                "gaming --root /x revert",
            ] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }

    /// No signal is raised here, because it would also reach the tests that run in parallel. The effect
    /// of signals is tested on the program.
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
