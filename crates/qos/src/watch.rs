//! Keeps a hot-plugged device shaped, also where other programs manage it.
//!
//! [`Watch`] decides, without a clock or a socket. [`Watcher`] listens, checks, applies and reports
//! what happened.

mod decision;
mod default_route;
mod standing;

use std::fmt;

use hosttune_core::{
    AnyKnob, Applied, Error, HostError, Knob, PendingRevert, Plan, Planner, Session, Stop, Tuning,
};

pub use decision::{Action, Event, RetryPolicy, Standing, Watch, Yielded};

use crate::link_identity::number_in;
use crate::netlink::{KernelMonitor, Monitor, Netlink, Notice, Subject, WaitOutcome};
use crate::redirect::Redirect;
use crate::root_qdisc::RootQdisc;
use crate::route::default_device;
use crate::shaper::Shaper;

/// What happened to a watched device.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchEvent {
    /// The device was shaped, because it is new or because something of ours had been removed.
    Applied(Applied),
    /// The device was checked because something changed, and everything is as wanted.
    AsWanted,
    /// There is no such device. It is shaped as soon as it appears.
    NoDevice,
    /// The device is left as it is. It is shaped again when it is replaced by a new one, or by an
    /// explicit apply if nothing else has been set in the meantime.
    Yielded(Yielded),
    /// The default route now uses another device, whose name this is. The watched device stays as
    /// it is, and is no longer watched.
    Moved(String),
    /// The device could not be checked or shaped. The attempt is repeated.
    Failed(Error),
}

impl WatchEvent {
    /// A stable name for programs, which no release changes: `applied`, `as-wanted`, `no-device`,
    /// `left`, `moved` or `failed`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::AsWanted => "as-wanted",
            Self::NoDevice => "no-device",
            Self::Yielded(_) => "left",
            Self::Moved(_) => "moved",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for WatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied(applied) => match applied.changed.len() {
                1 => f.write_str("applied: 1 change"),
                changed => write!(f, "applied: {changed} changes"),
            },
            Self::AsWanted => f.write_str("as wanted"),
            Self::NoDevice => f.write_str("there is no such device"),
            Self::Yielded(because) => write!(f, "left as it is: {because}"),
            Self::Moved(device) => write!(
                f,
                "the default route now uses {device}, which is watched instead; this device stays as it is until revert"
            ),
            Self::Failed(error) => {
                write!(f, "failed: {error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}

impl Shaper {
    /// Shapes the device whenever it exists and is not shaped, until `stop` is requested. This is
    /// [`watcher`](Self::watcher) with the kernel's notifications in the calling thread's network
    /// namespace.
    ///
    /// ```no_run
    /// use hosttune_core::{Session, Stop};
    /// use hosttune_qos::{Cake, Netlink, Rate, Shaper};
    ///
    /// let shaper = Shaper::new("eth0").egress(&Cake::default().bandwidth(Rate::mbit(38)));
    /// let mut session = Session::live("router")?
    ///     .with(hosttune_qos::knobs)
    ///     .with_backend(Netlink::open()?);
    /// let stop = Stop::new()?;
    /// shaper.watch(&mut session, &stop, |event| eprintln!("{event}"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Watcher::run`].
    pub fn watch(
        &self,
        session: &mut Session,
        stop: &Stop,
        say: impl FnMut(WatchEvent),
    ) -> Result<(), Error> {
        let mut monitor = KernelMonitor::open()?;
        self.watcher().run(session, &mut monitor, stop, say)
    }

    /// A watcher of the device, whose options can be set before it runs.
    pub fn watcher(&self) -> Watcher<'_> {
        Watcher {
            shaper: self,
            retry_policy: RetryPolicy::default(),
            part: None,
            follows_route: false,
        }
    }
}

/// Keeps a hot-plugged device shaped.
///
/// The device is checked when something about it or its IFB has changed, once the changes have
/// settled. A check that finds everything as wanted writes nothing, neither to the kernel nor to
/// the journal. The device is shaped when it is a new one, or when something of ours has been
/// removed and nothing was set in its place. What another process has set in the meantime is left
/// alone, and so is a device whose shaping another process keeps removing.
#[derive(Debug, Clone)]
pub struct Watcher<'a> {
    shaper: &'a Shaper,
    retry_policy: RetryPolicy,
    part: Option<String>,
    follows_route: bool,
}

impl Watcher<'_> {
    /// Sets other delays and limits than the default ones.
    #[must_use]
    pub fn retry_policy(mut self, retry_policy: RetryPolicy) -> Self {
        self.retry_policy = retry_policy;
        self
    }

    /// Applies the shaper as the named part of a larger tuning, with names joined by `/`, so that
    /// the journal has the same part for it as for the rest.
    #[must_use]
    pub fn part(mut self, name: impl Into<String>) -> Self {
        self.part = Some(name.into());
        self
    }

    /// For a device that was chosen by the default route: [`run`](Self::run) also ends when that
    /// route moves to another device. The monitor must report [routes](KernelMonitor::with_routes).
    #[must_use]
    pub fn follows_route(mut self) -> Self {
        self.follows_route = true;
        self
    }

    /// Watches until `stop` is requested. What it has applied stays.
    ///
    /// Unfinished runs are recovered first, as before every apply.
    ///
    /// # Errors
    /// If changes cannot be monitored. Any other failure is reported through `say` and retried.
    pub fn run(
        &self,
        session: &mut Session,
        monitor: &mut impl Monitor,
        stop: &Stop,
        mut say: impl FnMut(WatchEvent),
    ) -> Result<(), Error> {
        let applied_to = self.applied_to(session);
        let mut watch = Watch::new(self.retry_policy, applied_to);
        let mut known = Known {
            journaled: applied_to.is_some(),
            ..Known::default()
        };
        let mut event = Event::Nothing;
        loop {
            // Also between two notifications of the kernel: a stop does not wait for a check.
            if stop.is_requested() {
                return Ok(());
            }
            event = match watch.on(event, monitor.now()) {
                Action::Wait(until) => match monitor.wait(stop, until)? {
                    WaitOutcome::Stopped => return Ok(()),
                    WaitOutcome::Nothing => Event::Nothing,
                    WaitOutcome::Lost => Event::Changed,
                    WaitOutcome::Notices(all) => {
                        if all.iter().any(|notice| self.is_about_us(&known, notice)) {
                            Event::Changed
                        } else {
                            Event::Nothing
                        }
                    }
                },
                // Only once the changes have settled: IPv4 does not report the routes that vanish
                // with a link that goes down, and the link is reported before they have vanished.
                Action::ReadEpoch if self.has_moved(session, &mut say) => return Ok(()),
                Action::ReadEpoch => self.look(session, &mut known, &mut say),
                Action::Apply => {
                    let event = self.apply(session, &watch, &mut say);
                    known.journaled |= event == Event::Applied;
                    event
                }
                Action::StandBack(because) => {
                    say(WatchEvent::Yielded(because));
                    Event::Nothing
                }
            };
        }
    }

    /// Whether the default route now uses another device. It has not moved while there is none, or
    /// while it cannot be read.
    fn has_moved(&self, session: &Session, say: &mut impl FnMut(WatchEvent)) -> bool {
        if !self.follows_route {
            return false;
        }
        let now = default_device(session.host()).ok().flatten();
        let moved = now.filter(|now| *now != self.shaper.device);
        let has_moved = moved.is_some();
        if let Some(device) = moved {
            say(WatchEvent::Moved(device));
        }
        has_moved
    }

    /// Whether a notification is about the device or its IFB, by name or by number, or about a
    /// route by which another device could be chosen. A renamed link is reported under its new
    /// name.
    fn is_about_us(&self, known: &Known, notice: &Notice) -> bool {
        let name = notice.name.as_deref();
        (self.follows_route && notice.subject == Subject::Route)
            || [known.device, known.ifb].contains(&Some(notice.index))
            || name == Some(&self.shaper.device)
            || self
                .shaper
                .possible_ifbs()
                .any(|ifb| name == Some(ifb.as_str()))
    }

    fn look(
        &self,
        session: &Session,
        known: &mut Known,
        say: &mut impl FnMut(WatchEvent),
    ) -> Event {
        let was = *known;
        if let Err(error) = known.look(session, self.shaper) {
            return failed(error.into(), say);
        }
        let plan = session.plan(|at| self.declare(at));
        let pending = match &plan {
            // The journal is read only if there is something to do.
            Ok(plan) if !plan.is_empty() => match session.status() {
                Ok(status) => status.pending,
                Err(error) => return failed(error, say),
            },
            _ => Vec::new(),
        };
        let Some(standing) = standing::standing(known.device, &plan, &pending) else {
            return match plan {
                Err(error) => failed(error, say),
                Ok(_) => Event::Failed,
            };
        };
        let standing = match standing {
            Standing::Unsupported if known.journaled && self.last_pending(&pending).is_none() => {
                Standing::Reverted
            }
            other => other,
        };
        match standing {
            Standing::AsWanted => say(WatchEvent::AsWanted),
            // Reported each time the device disappears, and once if it never existed.
            Standing::NoDevice if was.device.is_some() || !was.looked => {
                say(WatchEvent::NoDevice);
            }
            _ => {}
        }
        Event::Looked(known.device, standing)
    }

    fn apply(
        &self,
        session: &mut Session,
        watch: &Watch,
        say: &mut impl FnMut(WatchEvent),
    ) -> Event {
        let pending = match session.status() {
            Ok(status) => status.pending,
            Err(error) => return failed(error, say),
        };
        // The review runs under the lock, so that a root that another process has set since the
        // check is not replaced.
        let review = |plan: &Plan| !watch.has_stood() || standing::theirs(plan, &pending).is_none();
        match session.apply_reviewed(|at| self.declare(at), review) {
            Ok(applied) if applied.declined => Event::Postponed,
            Ok(applied) => {
                say(WatchEvent::Applied(applied));
                Event::Applied
            }
            Err(Error::Locked { .. }) => Event::Postponed,
            Err(error) => failed(error, say),
        }
    }

    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        match &self.part {
            Some(part) => {
                at.part(part, self.shaper);
                Ok(())
            }
            None => self.shaper.declare(at),
        }
    }

    /// The interface index that an apply before this watch was for, according to the journal.
    ///
    /// A journal that cannot be read gives `None`; the first check reports the reason.
    fn applied_to(&self, session: &Session) -> Option<u32> {
        let pending = session.status().ok()?.pending;
        number_in(self.last_pending(&pending)?.identity.as_deref()?)
    }

    /// The last change of the device itself that is still to be reverted: of its root, or of its
    /// redirect to any IFB.
    fn last_pending<'o>(&self, pending: &'o [PendingRevert]) -> Option<&'o PendingRevert> {
        let device = &self.shaper.device;
        let root = AnyKnob::of(&RootQdisc::new(device));
        let is_redirect = |knob: &AnyKnob| {
            knob.kind == Redirect::NAME
                && serde_json::from_value::<Redirect>(knob.id.clone())
                    .is_ok_and(|redirect| redirect.device() == device)
        };
        pending
            .iter()
            .filter(|pending| pending.network_namespace.is_none())
            .rfind(|pending| pending.knob == root || is_redirect(&pending.knob))
    }
}

fn failed(error: Error, say: &mut impl FnMut(WatchEvent)) -> Event {
    say(WatchEvent::Failed(error));
    Event::Failed
}

/// What is known from the last check: the links that notifications are compared with.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    looked: bool,
    /// Whether the journal had a pending revert for this device. If it no longer has one, the
    /// shaping was reverted.
    journaled: bool,
    device: Option<u32>,
    ifb: Option<u32>,
}

impl Known {
    fn look(&mut self, session: &Session, shaper: &Shaper) -> Result<(), HostError> {
        let backend = session.host().backend::<Netlink>()?;
        let number = |name: &str| -> Result<Option<u32>, HostError> {
            Ok(backend.link(name)?.map(|link| link.index))
        };
        self.device = number(&shaper.device)?;
        self.ifb = number(&shaper.with_ifb_chosen(session.host())?.ifb)?;
        self.looked = true;
        Ok(())
    }
}
