//! Notifications of the simulated kernel, at times that a test chooses.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use hosttune_core::{HostError, Stop};

use super::Kernel;
use crate::netlink::{Monitor, WaitOutcome};

type Doing = Box<dyn FnMut(&Kernel)>;

/// Reports every change in a simulated kernel, while scripted steps act on it.
///
/// Time passes only while something waits. When no step is left and the wait has no deadline, the
/// monitor reports a stop.
pub struct Script {
    kernel: Kernel,
    now: Duration,
    heard: usize,
    room: usize,
    steps: VecDeque<(Duration, Doing)>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("now", &self.now)
            .field("steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}

impl Script {
    /// A monitor of this kernel, from now on.
    pub fn of(kernel: &Kernel) -> Self {
        Self {
            heard: kernel.state().told.len(),
            kernel: kernel.clone(),
            now: Duration::ZERO,
            room: usize::MAX,
            steps: VecDeque::new(),
        }
    }

    /// Limits the number of pending notifications. If there are more, all of them are lost.
    #[must_use]
    pub fn room(mut self, room: usize) -> Self {
        self.room = room;
        self
    }

    /// Adds a step at a given time, after all earlier steps. A time before that of the last step
    /// counts as that time.
    #[must_use]
    pub fn at(mut self, time: Duration, doing: impl FnMut(&Kernel) + 'static) -> Self {
        let last = self.steps.back().map_or(Duration::ZERO, |(last, _)| *last);
        self.steps.push_back((time.max(last), Box::new(doing)));
        self
    }
}

impl Monitor for Script {
    fn now(&self) -> Duration {
        self.now
    }

    fn wait(&mut self, stop: &Stop, until: Option<Duration>) -> Result<WaitOutcome, HostError> {
        loop {
            if stop.is_requested() {
                return Ok(WaitOutcome::Stopped);
            }
            let told = self.kernel.state().told[self.heard..].to_vec();
            self.heard += told.len();
            if told.len() > self.room {
                return Ok(WaitOutcome::Lost);
            }
            if !told.is_empty() {
                return Ok(WaitOutcome::Notices(told));
            }
            let next = self.steps.front().map(|(at, _)| *at);
            match (next, until) {
                (Some(at), until) if until.is_none_or(|until| at <= until) => {
                    self.now = self.now.max(at);
                    if let Some((_, mut doing)) = self.steps.pop_front() {
                        doing(&self.kernel);
                    }
                }
                (_, Some(until)) => {
                    self.now = self.now.max(until);
                    return Ok(WaitOutcome::Nothing);
                }
                (_, None) => return Ok(WaitOutcome::Stopped),
            }
        }
    }
}
