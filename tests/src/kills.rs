//! A program killed at its first stop, at its second, and so on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::is_shared_out;
use crate::traced::{Stop, Traced};

/// At which stops a program is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Before and after each system call: every moment that anything outside can tell apart.
    EveryStop,
    /// Before the first system call that can change something outside of the process, and after each.
    ///
    /// What is outside looks the same at all stops between two of these, so this finds what
    /// [`EveryStop`](Self::EveryStop) finds in a fraction of the time, as far as it is known which
    /// calls those are. It is for where each stop costs much, as on an emulated processor.
    EveryWrite,
}

impl At {
    /// By how many stops one run may differ from another one of the same program.
    fn give(self) -> usize {
        match self {
            // Memory is asked for a time more or less.
            Self::EveryStop => 16,
            Self::EveryWrite => 0,
        }
    }
}

/// A program to be killed over and over.
#[derive(Debug, Clone, Copy)]
pub struct Kills<'a> {
    /// Which one.
    pub program: &'a str,
    /// What it is started with.
    pub arguments: &'a [&'a str],
    /// Where it is killed.
    pub at: At,
    /// No more stops than this, and it was not the program that was traced.
    pub believable: usize,
}

impl Kills<'_> {
    /// Starts the program over and over and kills it at its first stop, its second, and so on
    /// until it comes to its end; the number of times it was killed.
    ///
    /// Inside of the test machine the kernels divide the system calls among themselves, see
    /// [`is_shared_out`].
    ///
    /// `before` and `after` are called around each run, the two that come to their end too; `after`
    /// is told which run it was, for its messages.
    ///
    /// # Panics
    ///
    /// Where the program cannot be traced ([`Traced::available`] tells before), fails when nobody
    /// kills it, makes fewer stops than believable, or is at its end long before it was the first
    /// time.
    #[track_caller]
    pub fn each(self, before: impl FnMut(), after: impl FnMut(&str)) -> usize {
        // The program and who traces it take turns, and never run at the same time: on one processor
        // the turn is handed over without waking another one, which costs most where both are emulated.
        let _one = OneProcessor::take();
        self.one_after_the_other(before, after)
    }

    #[track_caller]
    fn one_after_the_other(self, mut before: impl FnMut(), mut after: impl FnMut(&str)) -> usize {
        before();
        let mut traced = self.start();
        let mut stops = 0;
        let end = loop {
            match self.next(&mut traced) {
                Stop::Ended(code) => break code,
                Stop::Enters | Stop::Leaves => stops += 1,
            }
        };
        assert_eq!(end, 0, "{self}");
        assert!(stops > self.believable, "{self}: traced only {stops} stops");
        after(&format!("{self} not killed"));

        let mut kills = 0;
        for at in 0.. {
            // Before a call and after it are two stops: not the one here and the other there.
            if !is_shared_out(at as u64 / 2) {
                continue;
            }
            // Before a call that changes something it looks outside as it did after the one before.
            if self.at == At::EveryWrite && at > 0 && at % 2 == 0 {
                continue;
            }
            before();
            let mut traced = self.start();
            let mut stop = self.next(&mut traced);
            for _ in 0..at {
                if matches!(stop, Stop::Ended(_)) {
                    break;
                }
                stop = self.next(&mut traced);
            }
            let side = match stop {
                Stop::Enters => "before",
                Stop::Leaves => "after",
                Stop::Ended(code) => {
                    assert_eq!(code, 0, "{self}");
                    // A run that found half of its work done by somebody else already is shorter
                    // by far, and says nothing about what comes later.
                    assert!(
                        at + self.at.give() >= stops,
                        "{self} made {stops} stops first and now not even {at}: does something \
                         else change here what it changes? What sets sysctls can take turns with \
                         these tests by holding flock(2) on /proc/sys"
                    );
                    after(&format!("{self} not killed"));
                    break;
                }
            };
            let call = traced.call();
            traced.kill();
            after(&format!(
                "{self} killed at stop {at}, {side} system call {call}"
            ));
            kills += 1;
        }
        kills
    }

    fn start(self) -> Traced {
        Traced::start(self.program, self.arguments)
            .unwrap_or_else(|reason| panic!("{self}: {reason}"))
    }

    /// The next stop of those that count, or the end.
    fn next(self, traced: &mut Traced) -> Stop {
        loop {
            let stop = traced.step();
            if self.at == At::EveryStop
                || matches!(stop, Stop::Ended(_))
                || traced.can_change_something()
            {
                return stop;
            }
        }
    }
}

impl std::fmt::Display for Kills<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {:?}", self.program, self.arguments)
    }
}

/// Keeps this thread, and what it starts, on one processor for as long as it is held.
struct OneProcessor(Option<CpuSet>);

impl OneProcessor {
    /// Nothing is kept where the kernel does not let it: that is only slower.
    fn take() -> Self {
        let this = Pid::from_raw(0);
        let all = sched_getaffinity(this).ok();
        let first = all.and_then(|all| (0..CpuSet::count()).find(|at| all.is_set(*at) == Ok(true)));
        let mut one = CpuSet::new();
        if let Some(first) = first
            && one.set(first).is_ok()
            && sched_setaffinity(this, &one).is_ok()
        {
            return Self(all);
        }
        Self(None)
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        if let Some(all) = &self.0 {
            let _ = sched_setaffinity(Pid::from_raw(0), all);
        }
    }
}
