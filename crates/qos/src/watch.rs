//! Shaping that stays while the device comes and goes, beside others that manage it too.
//!
//! [`Watch`] decides, without a clock or a socket; [`Watcher`] listens, looks, applies and says
//! what happened.

mod decision;
mod default_route;
mod standing;

use std::fmt;

use hosttune_core::{
    AnyKnob, Applied, Error, HostError, Knob, Owed, Plan, Planner, Session, Stop, Tuning,
};

pub use decision::{Action, Event, Pace, Standing, StoodBack, Watch};

use crate::link_identity::number_in;
use crate::netlink::{KernelMonitor, Monitor, Netlink, Notice, Noticed, Subject};
use crate::redirect::Redirect;
use crate::root_qdisc::RootQdisc;
use crate::route::default_device;
use crate::shaper::Shaper;

/// What happened to a device that is watched.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchEvent {
    /// It was shaped: it is new, or something of ours was not there any more.
    Applied(Applied),
    /// It was looked at because something changed, and everything is as wanted.
    AsWanted,
    /// There is no such device; it is shaped as soon as there is one.
    NoDevice,
    /// It is left as it is. It is shaped again when the device is a new one, and where nobody else
    /// has set anything when somebody applies.
    StoodBack(StoodBack),
    /// The default route leads out of another device by now, whose name this is. This one stays as
    /// it is, and is watched no more.
    Moved(String),
    /// It could not be looked at or shaped, and is tried again.
    Failed(Error),
}

impl WatchEvent {
    /// A word for programs, which no release changes: `applied`, `as-wanted`, `no-device`, `left`,
    /// `moved` or `failed`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::AsWanted => "as-wanted",
            Self::NoDevice => "no-device",
            Self::StoodBack(_) => "left",
            Self::Moved(_) => "moved",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for WatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied(applied) => match applied.turned.len() {
                1 => f.write_str("applied: 1 change"),
                turned => write!(f, "applied: {turned} changes"),
            },
            Self::AsWanted => f.write_str("as wanted"),
            Self::NoDevice => f.write_str("there is no such device"),
            Self::StoodBack(because) => write!(f, "left as it is: {because}"),
            Self::Moved(device) => write!(
                f,
                "the default route leads out of {device} now, which is watched instead; this device stays as it is until revert"
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
    /// Shapes the device whenever it is there and is not shaped, until somebody asks to stop:
    /// [`watcher`](Self::watcher) with what the kernel tells in the calling thread's network
    /// namespace.
    ///
    /// ```no_run
    /// use hosttune_core::{Session, Stop};
    /// use hosttune_qos::{Cake, Netlink, Rate, Shaper};
    ///
    /// let shaper = Shaper::new("eth0").egress(&Cake::default().bandwidth(Rate::mbit(38)));
    /// let mut session = Session::live("router")?
    ///     .with(hosttune_qos::knobs)
    ///     .plug(Netlink::open()?);
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

    /// Watches the device, in ways that can be said first.
    pub fn watcher(&self) -> Watcher<'_> {
        Watcher {
            shaper: self,
            pace: Pace::default(),
            part: None,
            follows_route: false,
        }
    }
}

/// Keeps a device shaped that comes and goes.
///
/// It is looked at when something about it or its IFB changed, once that has settled. A look that
/// finds everything as wanted writes nothing, neither to the kernel nor to the journal. It is
/// shaped when it is a new one, or when something of ours is gone and nobody has set anything in
/// its place. What somebody else has set since is left, and so is a device that somebody keeps
/// taking it away from.
#[derive(Debug, Clone)]
pub struct Watcher<'a> {
    shaper: &'a Shaper,
    pace: Pace,
    part: Option<String>,
    follows_route: bool,
}

impl Watcher<'_> {
    /// At another pace than the usual one.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// As the part of this name of a greater tuning, names joined by `/`: so that the journal says
    /// of what is shaped again what it says of the rest.
    #[must_use]
    pub fn part(mut self, name: impl Into<String>) -> Self {
        self.part = Some(name.into());
        self
    }

    /// For a device that was chosen by the default route: [`run`](Self::run) also ends when that
    /// leads out of another device. The monitor has to tell [of routes](KernelMonitor::with_routes).
    #[must_use]
    pub fn follows_route(mut self) -> Self {
        self.follows_route = true;
        self
    }

    /// Watches until somebody asks to stop. What it has applied stays.
    ///
    /// What an earlier run left open is put right first, as before every apply.
    ///
    /// # Errors
    /// Where changes cannot be listened to. Whatever else fails is said and tried again.
    pub fn run(
        &self,
        session: &mut Session,
        monitor: &mut impl Monitor,
        stop: &Stop,
        mut say: impl FnMut(WatchEvent),
    ) -> Result<(), Error> {
        let applied_to = self.applied_to(session);
        let mut watch = Watch::new(self.pace, applied_to);
        let mut known = Known {
            journaled: applied_to.is_some(),
            ..Known::default()
        };
        let mut event = Event::Nothing;
        loop {
            // Between two changes of the kernel's, too: whoever asks to stop waits for no look.
            if stop.is_asked() {
                return Ok(());
            }
            event = match watch.on(event, monitor.now()) {
                Action::Wait(until) => match monitor.wait(stop, until)? {
                    Noticed::Stopped => return Ok(()),
                    Noticed::Nothing => Event::Nothing,
                    Noticed::Lost => Event::Changed,
                    Noticed::Notices(all) => {
                        if all.iter().any(|notice| self.is_about_us(&known, notice)) {
                            Event::Changed
                        } else {
                            Event::Nothing
                        }
                    }
                },
                // Once it has settled: of routes that go with a link that goes down, IPv4 tells
                // nothing, and of the link it tells before they have gone.
                Action::Look if self.has_moved(session, &mut say) => return Ok(()),
                Action::Look => self.look(session, &mut known, &mut say),
                Action::Apply => {
                    let event = self.apply(session, &watch, &mut say);
                    known.journaled |= event == Event::Applied;
                    event
                }
                Action::StandBack(because) => {
                    say(WatchEvent::StoodBack(because));
                    Event::Nothing
                }
            };
        }
    }

    /// Whether the default route leads out of another device by now. While there is none, and where
    /// nobody can tell, it has not moved.
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

    /// Whether something that was told is about the device or its IFB, by name or by number, or
    /// about a route by which another device could be chosen: a link that gets another name is told
    /// of by the new one.
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
        let owed = match &plan {
            // The journal is asked only where something is to be done.
            Ok(plan) if !plan.is_empty() => match session.status() {
                Ok(status) => status.owed,
                Err(error) => return failed(error, say),
            },
            _ => Vec::new(),
        };
        let Some(standing) = standing::standing(known.device, &plan, &owed) else {
            return match plan {
                Err(error) => failed(error, say),
                Ok(_) => Event::Failed,
            };
        };
        let standing = match standing {
            Standing::Lacking if known.journaled && self.last_owed(&owed).is_none() => {
                Standing::Reverted
            }
            other => other,
        };
        match standing {
            Standing::AsWanted => say(WatchEvent::AsWanted),
            // Once each time that it goes, and once where it never was.
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
        let owed = match session.status() {
            Ok(status) => status.owed,
            Err(error) => return failed(error, say),
        };
        // Under the lock, so that nobody else's root goes who came after the look.
        let review = |plan: &Plan| !watch.has_stood() || standing::theirs(plan, &owed).is_none();
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

    /// The number of the link that an apply before this watch was to, as far as the journal says.
    ///
    /// A journal that cannot be read says nothing, and the first look says why.
    fn applied_to(&self, session: &Session) -> Option<u32> {
        let owed = session.status().ok()?.owed;
        number_in(self.last_owed(&owed)?.identity.as_deref()?)
    }

    /// The last turn of the device itself that is owed a way back: of its root, or of its redirect,
    /// whichever IFB that leads to.
    fn last_owed<'o>(&self, owed: &'o [Owed]) -> Option<&'o Owed> {
        let device = &self.shaper.device;
        let root = AnyKnob::of(&RootQdisc::new(device));
        let is_redirect = |knob: &AnyKnob| {
            knob.kind == Redirect::NAME
                && serde_json::from_value::<Redirect>(knob.id.clone())
                    .is_ok_and(|redirect| redirect.device() == device)
        };
        owed.iter()
            .rfind(|owed| owed.knob == root || is_redirect(&owed.knob))
    }
}

fn failed(error: Error, say: &mut impl FnMut(WatchEvent)) -> Event {
    say(WatchEvent::Failed(error));
    Event::Failed
}

/// What is known from the last look: the links that what is told is compared with.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    looked: bool,
    /// Whether the journal owed something of this device: that it does no more is a revert.
    journaled: bool,
    device: Option<u32>,
    ifb: Option<u32>,
}

impl Known {
    fn look(&mut self, session: &Session, shaper: &Shaper) -> Result<(), HostError> {
        let wire = session.host().wire::<Netlink>()?;
        let number = |name: &str| -> Result<Option<u32>, HostError> {
            Ok(wire.link(name)?.map(|link| link.index))
        };
        self.device = number(&shaper.device)?;
        self.ifb = number(&shaper.with_ifb_chosen(session.host())?.ifb)?;
        self.looked = true;
        Ok(())
    }
}
