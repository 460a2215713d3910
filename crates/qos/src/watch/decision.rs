//! When to look, when to apply again, and when to leave it: pure, without a clock or a socket.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// How fast somebody who watches does things, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// So long must nothing have changed before it is looked at: a link that comes up changes a
    /// dozen times.
    pub settle: Duration,
    /// It is looked at after so long even where it goes on changing.
    pub at_most: Duration,
    /// So long after what failed it is looked at again.
    pub retry: Duration,
    /// So often at most is one link shaped again within [`within`](Self::within), what failed
    /// included.
    pub times: usize,
    /// The time that [`times`](Self::times) is about.
    pub within: Duration,
}

impl Default for Pace {
    /// After 300 ms, at most 3 s; 2 s after what failed; 5 times in 10 minutes.
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

/// How a device stands, from one look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// There is no such device.
    NoDevice,
    /// Everything is as wanted.
    AsWanted,
    /// Something of ours is not there, and in its place is nothing that anybody has set.
    Lacking,
    /// Somebody else has set something in place of ours: what, in words.
    Theirs(String),
    /// As [`Lacking`](Self::Lacking), and the journal owes nothing any more: somebody has reverted.
    Reverted,
    /// It cannot be shaped as things are: why.
    NotApplicable(String),
}

/// Why a device is not shaped again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoodBack {
    /// Somebody else has set something in place of ours since: what, in words.
    Theirs(String),
    /// Somebody has reverted it since.
    Reverted,
    /// It was shaped again so many times within so long, and somebody keeps taking it away.
    TakenAway {
        /// How many times.
        times: usize,
        /// Within how long.
        within: Duration,
    },
    /// It was tried so many times within so long, and failed at last.
    Failing {
        /// How many times.
        times: usize,
        /// Within how long.
        within: Duration,
    },
    /// It cannot be shaped as things are: why. It is shaped as soon as that is mended.
    NotApplicable(String),
}

impl fmt::Display for StoodBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::as_secs;
        match self {
            Self::Theirs(what) => write!(f, "somebody else has set {what} since"),
            Self::Reverted => f.write_str("somebody has reverted it since"),
            Self::TakenAway { times, within } => write!(
                f,
                "somebody keeps taking it away, {times} times within {} s",
                seconds(within)
            ),
            Self::Failing { times, within } => {
                write!(
                    f,
                    "it was tried {times} times within {} s, and failed at last",
                    seconds(within)
                )
            }
            Self::NotApplicable(why) => f.write_str(why),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something about the device or its IFB changed, or nobody knows what did.
    Changed,
    /// Nothing happened until the time came.
    Nothing,
    /// It was looked at: the number of the link, and how it stands.
    Looked(Option<u32>, Standing),
    /// It was applied.
    Applied,
    /// It could not be applied or looked at.
    Failed,
    /// It was not tried: another process is at work, or it is no longer what was looked at.
    Postponed,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Wait for what happens next, until then at most.
    Wait(Option<Duration>),
    /// Look at it.
    Look,
    /// Apply.
    Apply,
    /// Leave it, and say why. It is said once.
    StandBack(StoodBack),
}

/// What to do about a device that comes and goes, and that others manage too.
///
/// Its events are that something changed and what was seen when it was looked at, never what
/// changed: whoever loses one and looks decides the same.
#[derive(Debug, Clone)]
pub struct Watch {
    pace: Pace,
    /// The number of the link that was seen last.
    link: Option<u32>,
    /// Whether ours has stood on that very link: what stands there since is somebody's answer.
    has_stood: bool,
    /// When that link was applied to.
    tries: VecDeque<Duration>,
    failed: bool,
    stood_back: Option<StoodBack>,
    /// When something changed first, and until when nothing more must.
    changed: Option<(Duration, Duration)>,
}

impl Watch {
    /// Looks at once. `applied_to` is the number of the link that an apply before this one left
    /// things on, as the journal says.
    pub fn new(pace: Pace, applied_to: Option<u32>) -> Self {
        Self {
            pace,
            link: applied_to,
            has_stood: applied_to.is_some(),
            tries: VecDeque::new(),
            failed: false,
            stood_back: None,
            changed: Some((Duration::ZERO, Duration::ZERO)),
        }
    }

    /// Why the device is not shaped again, where it is not.
    pub fn stood_back(&self) -> Option<&StoodBack> {
        self.stood_back.as_ref()
    }

    /// Whether ours has stood on the link that was seen last.
    pub fn has_stood(&self) -> bool {
        self.has_stood
    }

    /// Takes in what happened; what to do about it.
    pub fn on(&mut self, event: Event, now: Duration) -> Action {
        match event {
            Event::Changed => self.look_after(self.pace.settle, now),
            Event::Failed => {
                self.failed = true;
                self.look_after(self.pace.retry, now);
            }
            Event::Postponed => self.look_after(self.pace.retry, now),
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
        let due = quiet.min(first + self.pace.at_most);
        if now < due {
            return Action::Wait(Some(due));
        }
        self.changed = None;
        Action::Look
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
                // What comes back with the same number was in another namespace meanwhile, and
                // has lost everything there; how often it was applied to is remembered.
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
            Standing::NotApplicable(why) => self.stand_back(StoodBack::NotApplicable(why), now),
            Standing::Theirs(what) if self.has_stood => {
                self.stand_back(StoodBack::Theirs(what), now)
            }
            Standing::Reverted if self.has_stood => self.stand_back(StoodBack::Reverted, now),
            Standing::Lacking | Standing::Theirs(_) | Standing::Reverted => self.apply(now),
        }
    }

    fn apply(&mut self, now: Duration) -> Action {
        match &self.stood_back {
            Some(StoodBack::NotApplicable(_)) => self.stood_back = None,
            Some(_) => return self.wait(now),
            None => {}
        }
        let Pace { times, within, .. } = self.pace;
        while self.tries.front().is_some_and(|at| *at + within <= now) {
            self.tries.pop_front();
        }
        if self.tries.len() < times {
            self.tries.push_back(now);
            return Action::Apply;
        }
        self.stand_back(
            if self.failed {
                StoodBack::Failing { times, within }
            } else {
                StoodBack::TakenAway { times, within }
            },
            now,
        )
    }

    /// A reason that lasts is not replaced by one after it: the person knows already.
    fn stand_back(&mut self, because: StoodBack, now: Duration) -> Action {
        let known = match &self.stood_back {
            None => false,
            Some(StoodBack::NotApplicable(_)) => self.stood_back.as_ref() == Some(&because),
            Some(_) => true,
        };
        if known {
            return self.wait(now);
        }
        self.stood_back = Some(because.clone());
        Action::StandBack(because)
    }
}
