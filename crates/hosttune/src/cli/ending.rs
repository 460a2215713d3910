//! The signals that ask a program to end, while it changes the host.
//!
//! A handler and not a blocked signal: modprobe, which may be started meanwhile, would inherit the
//! mask and could not be ended any more; handlers end with the `exec`.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hosttune_core::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::exit::Exit;

/// As long as this is held, the signals that ask a program to end stop the work at the end of a
/// step; while nothing is at work they end the program as ever.
#[derive(Debug)]
pub(super) struct Ending {
    stop: Stop,
    at_work: Arc<AtomicBool>,
    handle: Handle,
}

/// What is said, in the words of one command.
struct Words {
    program: &'static str,
    verb: &'static str,
    status: String,
    revert: String,
}

impl Ending {
    /// Takes the signals from here on, but those that are ignored: a program under `nohup` goes on
    /// when its terminal hangs up.
    pub(super) fn taken(
        verb: &'static str,
        program: &'static str,
        status: String,
        revert: String,
    ) -> io::Result<Self> {
        let ignored = ignored();
        let asking = [SIGINT, SIGTERM, SIGHUP];
        let signals = Signals::new(
            asking
                .into_iter()
                .filter(|signal| ignored & (1 << (signal - 1)) == 0),
        )?;
        let ending = Self {
            stop: Stop::new()?,
            at_work: Arc::default(),
            handle: signals.handle(),
        };
        let (stop, at_work) = (ending.stop.clone(), Arc::clone(&ending.at_work));
        let words = Words {
            program,
            verb,
            status,
            revert,
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || heed(signals, &stop, &at_work, &words))?;
        Ok(ending)
    }

    /// What is asked when one comes.
    pub(super) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Does what a signal is to stop at the end of a step.
    pub(super) fn at_work<T>(&self, work: impl FnOnce() -> T) -> T {
        self.at_work.store(true, Ordering::SeqCst);
        let done = work();
        self.at_work.store(false, Ordering::SeqCst);
        done
    }

    /// Waits, in the midst of work, for what takes as long as somebody likes: a signal ends the
    /// program then, as nothing has been changed yet.
    pub(super) fn at_rest<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.at_work.store(false, Ordering::SeqCst);
        let done = wait();
        self.at_work.store(true, Ordering::SeqCst);
        done
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// Waits for signals, and does what they ask.
fn heed(mut signals: Signals, stop: &Stop, at_work: &AtomicBool, words: &Words) {
    for signal in signals.forever() {
        if !at_work.load(Ordering::SeqCst) {
            // It does not return for these signals, unless the process cannot be ended by them.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        } else if stop.is_asked() {
            say(&words.second());
            signal_hook::low_level::exit(Exit::Incomplete.code().into());
        } else {
            stop.ask();
            say(&words.first());
        }
    }
}

impl Words {
    fn first(&self) -> String {
        let then = match self.verb {
            "revert" => "what it has not come to stays as it is",
            _ => "then what it did is taken back",
        };
        format!(
            "{}: interrupted: the {} stops at the end of this step, {then}; once more ends it at once\n",
            self.program, self.verb
        )
    }

    fn second(&self) -> String {
        format!(
            "{}: ended at once, in the middle of the {}: what is changed and not put back is in the journal\n  try: {}, which lists it, and {}, which puts it back\n",
            self.program, self.verb, self.status, self.revert
        )
    }
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
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
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
            let words = Words {
                program: "gaming",
                verb,
                status: "gaming status".to_owned(),
                revert: "gaming revert".to_owned(),
            };
            for part in ["gaming: ", verb, then, "once more"] {
                assert!(words.first().contains(part), "{part}: {}", words.first());
            }
            for part in [
                "gaming: ",
                verb,
                "journal",
                "gaming status",
                "gaming revert",
            ] {
                assert!(words.second().contains(part), "{part}: {}", words.second());
            }
        }
    }

    /// No signal is raised here: the tests beside this one would get it too. What they do is tried on
    /// the program.
    #[test]
    fn work_begins_and_ends_and_rest_is_within_it() {
        let none = String::new;
        let ending = Ending::taken("apply", "x", none(), none()).unwrap();
        let at_work = || ending.at_work.load(Ordering::SeqCst);
        assert!(!at_work());
        ending.at_work(|| {
            assert!(at_work());
            ending.at_rest(|| assert!(!at_work()));
            assert!(at_work());
        });
        assert!(!at_work());
    }
}
