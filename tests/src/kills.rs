//! Kills a program at its first stop, at its second, and so on.

use std::collections::BTreeSet;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::inside::write_line;
use crate::share::{is_every_call, is_one_in};
use crate::traced::{Stop, Traced};

/// The stops at which a program is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Before and after each system call: every moment that an observer outside can distinguish.
    EveryStop,
    /// Before the first system call that can change something outside of the process, and after each such call.
    ///
    /// Nothing changes between the end of one such call and the beginning of the next, so a kill before the next
    /// call would find the same state. The exception is a change by a child of the program in between: then the
    /// program is killed before the call too. So this finds what [`EveryStop`](Self::EveryStop) finds in a
    /// fraction of the time, provided that the list of such calls is complete; in between the program runs at
    /// full speed. It is for the test machine, where each stop is expensive because the processor is emulated.
    ///
    /// Children are not killed: they run to completion before anything is examined.
    EveryWrite,
}

impl At {
    /// Returns by how many stops two runs of the same program may differ.
    fn give(self) -> usize {
        match self {
            // The number of memory allocations varies.
            Self::EveryStop => 16,
            Self::EveryWrite => 0,
        }
    }
}

/// A program that is killed at many points, once per run.
#[derive(Debug, Clone, Copy)]
pub struct Kills<'a> {
    /// The path or name of the program.
    pub program: &'a str,
    /// Its arguments.
    pub arguments: &'a [&'a str],
    /// The stops at which it is killed.
    pub at: At,
    /// A run with this many stops or fewer is an error: then it was not the program that was traced.
    pub believable: usize,
    /// Each kernel of the check run tries one in this many moments, see [`is_one_in`]: with 2, the kernels together
    /// try all of them.
    pub parts: u64,
}

impl Kills<'_> {
    /// Runs the program repeatedly and kills it at its first stop, its second, and so on, until a run completes.
    /// Returns the number of kills.
    ///
    /// In the test machine the kernels share out the system calls, see [`is_one_in`]. The total number of moments
    /// on this kernel is printed in a line `kill points: PROGRAM ARGUMENTS: NUMBER`.
    ///
    /// `before` and `after` are called around each run, including the first and the last, which complete. `after`
    /// gets a description of the run for its messages.
    ///
    /// # Panics
    ///
    /// Panics if the program cannot be traced (see [`Traced::available`]), fails although it is not killed, makes
    /// no more stops than `believable`, or completes much earlier than in the first run.
    #[track_caller]
    pub fn each(mut self, before: impl FnMut(), after: impl FnMut(&str)) -> usize {
        if is_every_call() {
            self.at = At::EveryStop;
        }
        // The program and its tracer never run at the same time. On one processor the switch between them does
        // not have to wake another processor, which is especially expensive under emulation.
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
        // The stops before and after a call belong to the same kernel's share.
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
                    // A run that is much shorter found half of its work already done by another process, and
                    // tells nothing about the rest.
                    assert!(
                        at + self.at.give() >= whole.stops,
                        "{self} made {} stops in the first run and now at most {at}: is another \
                         process changing the same values? A process that sets sysctls can exclude \
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

    /// Runs the program to completion, stop by stop.
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

/// The stops of a complete run.
#[derive(Debug, Default)]
struct WholeRun {
    stops: usize,
    /// Number of calls at which it stopped.
    calls: usize,
    /// The calls before which a child had changed something.
    after_a_child: BTreeSet<usize>,
}

impl WholeRun {
    /// Whether the state outside may differ there from the state at the previous stop.
    fn is_a_moment(&self, at: At, call: usize, side: Side) -> bool {
        match (at, side) {
            (At::EveryStop, _) | (At::EveryWrite, Side::After) => true,
            (At::EveryWrite, Side::Before) => call == 0 || self.after_a_child.contains(&call),
        }
    }

    /// Returns the number of such moments.
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

/// A side of a system call.
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

/// Pins this thread, and processes that it starts, to one processor until it is dropped.
struct OneProcessor(Option<CpuSet>);

impl OneProcessor {
    /// If the kernel does not allow it, nothing is pinned, which is only slower.
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
