//! Decides when to check, when to apply again, and when to leave a device alone, without a clock or
//! a socket.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Delays and limits of a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How long nothing must have changed before the device is checked: a link that comes up
    /// changes a dozen times.
    pub settle: Duration,
    /// Longest delay of a check while changes go on.
    pub at_most: Duration,
    /// Delay of the next check after a failure.
    pub retry: Duration,
    /// How often one link is shaped again within [`within`](Self::within) at most, failures
    /// included.
    pub times: usize,
    /// The period that [`times`](Self::times) applies to.
    pub within: Duration,
}

impl Default for RetryPolicy {
    /// A check after 300 ms, at most 3 s; 2 s after a failure; 5 attempts in 10 minutes.
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(300),
            at_most: Duration::from_secs(3),
            retry: Duration::from_secs(2),
            times: 5,
            within: Duration::from_secs(600),
        }
    }
}

/// State of a device, from one check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// There is no such device.
    NoDevice,
    /// Everything is as wanted.
    AsWanted,
    /// Something of ours is missing, and nothing was set in its place.
    Unsupported,
    /// Another process has set something in place of ours; the text says what.
    Theirs(String),
    /// As [`Unsupported`](Self::Unsupported), but the journal has no pending revert any more: the shaping
    /// was reverted.
    Reverted,
    /// The device cannot be shaped at present; the text says why.
    NotApplicable(String),
}

/// Why a device is not shaped again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Yielded {
    /// Another process has set something in place of ours; the text says what.
    Theirs(String),
    /// The shaping has been reverted in the meantime.
    Reverted,
    /// The device was shaped again `times` times within `within`, and another process keeps
    /// removing it.
    TakenAway {
        /// Number of attempts.
        times: usize,
        /// Period of the attempts.
        within: Duration,
    },
    /// The device was tried `times` times within `within`, and the last attempt failed.
    Failing {
        /// Number of attempts.
        times: usize,
        /// Period of the attempts.
        within: Duration,
    },
    /// The device cannot be shaped at present; the text says why. It is shaped as soon as that
    /// changes.
    NotApplicable(String),
}

impl fmt::Display for Yielded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::as_secs;
        match self {
            Self::Theirs(what) => write!(f, "another process has set {what} since"),
            Self::Reverted => f.write_str("it has been reverted since"),
            Self::TakenAway { times, within } => write!(
                f,
                "another process keeps removing it, {times} times within {} s",
                seconds(within)
            ),
            Self::Failing { times, within } => {
                write!(
                    f,
                    "it was tried {times} times within {} s, and the last attempt failed",
                    seconds(within)
                )
            }
            Self::NotApplicable(why) => f.write_str(why),
        }
    }
}

/// An event that the decision depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something about the device or its IFB changed, or notifications were lost.
    Changed,
    /// Nothing happened until the deadline.
    Nothing,
    /// The device was checked: its interface index and its state.
    Looked(Option<u32>, Standing),
    /// The device was shaped.
    Applied,
    /// The device could not be shaped or checked.
    Failed,
    /// No attempt was made: another process holds the lock, or the state is no longer the one that
    /// was checked.
    Postponed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Wait for the next event, at most until this time.
    Wait(Option<Duration>),
    /// Check the device.
    ReadEpoch,
    /// Apply.
    Apply,
    /// Leave the device alone and report why. Each reason is reported once.
    StandBack(Yielded),
}

/// Decides what to do about a hot-plugged device that other programs manage too.
///
/// Its events say that something changed and what a check saw, never what changed. A lost event
/// therefore leads to the same decision as soon as the device is checked.
#[derive(Debug, Clone)]
pub struct Watch {
    retry_policy: RetryPolicy,
    /// Interface index of the link that was seen last.
    link: Option<u32>,
    /// Whether our shaping has been in effect on that very link. If it has, anything set there
    /// since is a deliberate change by another process.
    has_stood: bool,
    /// Times of the attempts on that link.
    tries: VecDeque<Duration>,
    failed: bool,
    stood_back: Option<Yielded>,
    /// Time of the first unchecked change, and the time until which nothing more may change.
    changed: Option<(Duration, Duration)>,
}

impl Watch {
    /// A watch whose first action is a check. `applied_to` is the interface index of the link that
    /// an earlier apply was for, according to the journal.
    pub fn new(retry_policy: RetryPolicy, applied_to: Option<u32>) -> Self {
        Self {
            retry_policy,
            link: applied_to,
            has_stood: applied_to.is_some(),
            tries: VecDeque::new(),
            failed: false,
            stood_back: None,
            changed: Some((Duration::ZERO, Duration::ZERO)),
        }
    }

    /// Why the device is not shaped again, if it is left alone.
    pub fn stood_back(&self) -> Option<&Yielded> {
        self.stood_back.as_ref()
    }

    /// Whether our shaping has been in effect on the link that was seen last.
    pub fn has_stood(&self) -> bool {
        self.has_stood
    }

    /// Handles an event and returns what to do next.
    pub fn on(&mut self, event: Event, now: Duration) -> Action {
        match event {
            Event::Changed => self.look_after(self.retry_policy.settle, now),
            Event::Failed => {
                self.failed = true;
                self.look_after(self.retry_policy.retry, now);
            }
            Event::Postponed => self.look_after(self.retry_policy.retry, now),
            Event::Applied => {
                self.has_stood = true;
                self.failed = false;
            }
            Event::Nothing => {}
            Event::Looked(link, standing) => return self.looked(link, standing, now),
        }
        self.wait(now)
    }

    fn look_after(&mut self, time: Duration, now: Duration) {
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed = Some((first, now + time));
    }

    fn wait(&mut self, now: Duration) -> Action {
        let Some((first, quiet)) = self.changed else {
            return Action::Wait(None);
        };
        let due = quiet.min(first + self.retry_policy.at_most);
        if now < due {
            return Action::Wait(Some(due));
        }
        self.changed = None;
        Action::ReadEpoch
    }

    fn looked(&mut self, link: Option<u32>, standing: Standing, now: Duration) -> Action {
        if link.is_some() && link != self.link {
            self.link = link;
            self.has_stood = false;
            self.failed = false;
            self.tries.clear();
            self.stood_back = None;
        }
        match standing {
            Standing::NoDevice => {
                // A link that comes back with the same index was in another namespace in the
                // meantime and has lost everything there. The attempts on it are still counted.
                self.has_stood = false;
                self.stood_back = None;
                self.wait(now)
            }
            Standing::AsWanted => {
                self.has_stood = true;
                self.failed = false;
                self.stood_back = None;
                self.wait(now)
            }
            Standing::NotApplicable(why) => self.stand_back(Yielded::NotApplicable(why), now),
            Standing::Theirs(what) if self.has_stood => self.stand_back(Yielded::Theirs(what), now),
            Standing::Reverted if self.has_stood => self.stand_back(Yielded::Reverted, now),
            Standing::Unsupported | Standing::Theirs(_) | Standing::Reverted => self.apply(now),
        }
    }

    fn apply(&mut self, now: Duration) -> Action {
        match &self.stood_back {
            Some(Yielded::NotApplicable(_)) => self.stood_back = None,
            Some(_) => return self.wait(now),
            None => {}
        }
        let RetryPolicy { times, within, .. } = self.retry_policy;
        while self.tries.front().is_some_and(|at| *at + within <= now) {
            self.tries.pop_front();
        }
        if self.tries.len() < times {
            self.tries.push_back(now);
            return Action::Apply;
        }
        self.stand_back(
            if self.failed {
                Yielded::Failing { times, within }
            } else {
                Yielded::TakenAway { times, within }
            },
            now,
        )
    }

    /// A lasting reason is not replaced by a later one: it has been reported already.
    fn stand_back(&mut self, because: Yielded, now: Duration) -> Action {
        let known = match &self.stood_back {
            None => false,
            Some(Yielded::NotApplicable(_)) => self.stood_back.as_ref() == Some(&because),
            Some(_) => true,
        };
        if known {
            return self.wait(now);
        }
        self.stood_back = Some(because.clone());
        Action::StandBack(because)
    }
}
