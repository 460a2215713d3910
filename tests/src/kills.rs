//! A program killed at its first stop, at its second, and so on.

use std::collections::BTreeSet;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::inside::write_line;
use crate::share::{is_every_call, is_one_in};
use crate::traced::{Stop, Traced};

/// At which stops a program is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Before and after each system call: every moment that anything outside can tell apart.
    EveryStop,
    /// Before the first system call that can change something outside of the process, and after each.
    ///
    /// Before the next such call everything outside is as it was after the one before, as nothing was
    /// changed in between. The exception is what a child of the program has changed meanwhile, and
    /// there the program is killed before the call too. So this finds what
    /// [`EveryStop`](Self::EveryStop) finds in a fraction of the time, as far as it is known which
    /// calls those are; in between the program runs at full speed. It is for where each stop costs
    /// much, as on an emulated processor.
    ///
    /// Children are not killed: they come to their end before anything is looked at.
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
    /// Each kernel of the check run takes one in so many moments, see [`is_one_in`]: 2 where together they take
    /// all of them.
    pub parts: u64,
}

impl Kills<'_> {
    /// Starts the program over and over and kills it at its first stop, its second, and so on
    /// until it comes to its end; the number of times it was killed.
    ///
    /// Inside of the test machine the kernels divide the system calls among themselves, see
    /// [`is_one_in`]. How many moments there are on this kernel, all of them, is printed in a line
    /// `kill points: PROGRAM ARGUMENTS: NUMBER`.
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
    pub fn each(mut self, before: impl FnMut(), after: impl FnMut(&str)) -> usize {
        if is_every_call() {
            self.at = At::EveryStop;
        }
        // The program and who traces it take turns, and never run at the same time: on one processor
        // the turn is handed over without waking another one, which costs most where both are emulated.
        let _one = OneProcessor::take();
        self.one_after_the_other(before, after)
    }

    #[track_caller]
    fn one_after_the_other(self, mut before: impl FnMut(), mut after: impl FnMut(&str)) -> usize {
        before();
        let whole = self.whole_run();
        after(&format!("{self} not killed"));
        let name = Path::new(self.program).file_name().unwrap_or_default();
        write_line(&format!(
            "kill points: {} {}: {}",
            name.display(),
            self.arguments.join(" "),
            whole.moments(self.at)
        ));

        let mut kills = 0;
        // Before a call and after it are two stops: not the one here and the other there.
        for call in (0..).filter(|call| is_one_in(self.parts, *call as u64)) {
            for side in [Side::Before, Side::After] {
                if !whole.is_a_moment(self.at, call, side) {
                    continue;
                }
                before();
                let mut traced = self.start();
                let mut stop = traced.step_past(call);
                while side == Side::After && stop == Stop::Enters {
                    stop = traced.step();
                }
                if let Stop::Ended(code) = stop {
                    assert_eq!(code, 0, "{self}");
                    let at = call * 2 + usize::from(side == Side::After);
                    // A run that found half of its work done by another process already is shorter
                    // by far, and says nothing about what comes later.
                    assert!(
                        at + self.at.give() >= whole.stops,
                        "{self} made {} stops first and now not even {at}: does something \
                         else change here what it changes? What sets sysctls can take turns with \
                         these tests by holding flock(2) on /proc/sys",
                        whole.stops
                    );
                    after(&format!("{self} not killed"));
                    return kills;
                }
                let number = traced.call();
                traced.kill();
                after(&format!(
                    "{self} killed {side} call {call}, system call number {number}"
                ));
                kills += 1;
            }
        }
        kills
    }

    /// Lets it come to its end, stop by stop.
    #[track_caller]
    fn whole_run(self) -> WholeRun {
        let mut traced = self.start();
        let mut whole = WholeRun::default();
        let end = loop {
            match traced.step() {
                Stop::Ended(code) => break code,
                Stop::Enters => {
                    if traced.has_child_changed_something() {
                        whole.after_a_child.insert(whole.calls);
                    }
                    whole.calls += 1;
                }
                Stop::Leaves => {}
            }
            whole.stops += 1;
        };
        assert_eq!(end, 0, "{self}");
        assert!(
            whole.stops > self.believable,
            "{self}: traced only {} stops",
            whole.stops
        );
        whole
    }

    #[track_caller]
    fn start(self) -> Traced {
        let started = match self.at {
            At::EveryStop => Traced::start(self.program, self.arguments),
            At::EveryWrite => Traced::start_at_changes(self.program, self.arguments),
        };
        started.unwrap_or_else(|reason| panic!("{self}: {reason}"))
    }
}

/// What a run that came to its end made.
#[derive(Debug, Default)]
struct WholeRun {
    stops: usize,
    /// Of the calls that it stops at.
    calls: usize,
    /// Which of them came after a child had changed something.
    after_a_child: BTreeSet<usize>,
}

impl WholeRun {
    /// Whether everything outside may look otherwise there than at the stop before.
    fn is_a_moment(&self, at: At, call: usize, side: Side) -> bool {
        match (at, side) {
            (At::EveryStop, _) | (At::EveryWrite, Side::After) => true,
            (At::EveryWrite, Side::Before) => call == 0 || self.after_a_child.contains(&call),
        }
    }

    /// How many such moments there are.
    fn moments(&self, at: At) -> usize {
        match at {
            At::EveryStop => self.stops,
            At::EveryWrite => {
                let before = |call: &usize| self.is_a_moment(at, *call, Side::Before);
                self.calls + (0..self.calls).filter(before).count()
            }
        }
    }
}

/// Of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

impl std::fmt::Display for Side {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
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
