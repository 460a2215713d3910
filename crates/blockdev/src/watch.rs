//! Disks that are tuned as they come, beside others that manage them too.
//!
//! [`Hotplug`] decides which disk to look at; [`DiskWatcher`] listens, looks, applies and says what
//! happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use hosttune_core::{Applied, Error, Plan, Planner, Session, State, Stop, Tuning};

use crate::disk::{self, Disk, Facts};
use crate::name::DiskName;
use crate::rules::Rules;
use crate::uevent::{Due, Heard, Hotplug, Pace, UeventMonitor};

/// What happened to a disk that is watched.
#[derive(Debug)]
#[non_exhaustive]
pub enum DiskEvent {
    /// It is new, and was tuned.
    Applied(Applied),
    /// It is new, a rule is about it, and everything is as wanted.
    AsWanted,
    /// It was tuned before and shows something else now: somebody has set that since. It is left
    /// so until it comes anew.
    Left {
        /// What they have set.
        knobs: Vec<String>,
    },
    /// It is new, and has not what the rule wants.
    NotApplicable {
        /// What it lacks.
        lacking: Vec<String>,
    },
    /// It could not be looked at or tuned. It is looked at again when it is told of again.
    Failed(Error),
}

impl DiskEvent {
    /// A word for programs, which no release changes: `applied`, `as-wanted`, `left`,
    /// `not-applicable` or `failed`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::AsWanted => "as-wanted",
            Self::Left { .. } => "left",
            Self::NotApplicable { .. } => "not-applicable",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for DiskEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied(applied) => match applied.turned.len() {
                1 => f.write_str("applied: 1 change"),
                turned => write!(f, "applied: {turned} changes"),
            },
            Self::AsWanted => f.write_str("as wanted"),
            Self::Left { knobs } => write!(
                f,
                "left as it is: somebody else has set {} since",
                knobs.join(", ")
            ),
            Self::NotApplicable { lacking } => {
                write!(f, "left as it is: {}", lacking.join("; "))
            }
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

/// While somebody else holds the journal, it is tried again so often.
const AGAIN: Duration = Duration::from_secs(1);

impl Rules {
    /// Tunes disks as they come, by these rules, until somebody asks to stop.
    ///
    /// ```no_run
    /// use hosttune_blockdev::uevent::{Sender, Uevents};
    /// use hosttune_blockdev::{Rule, Rules, SchedulerName, Transport};
    /// use hosttune_core::{Session, Stop};
    ///
    /// let usb = Rule::new("usb").transport(Transport::Usb).scheduler(SchedulerName::mq_deadline());
    /// let rules = Rules::new([usb]);
    /// let mut session = Session::live("storage")?.with(hosttune_blockdev::knobs);
    /// let mut uevents = Uevents::open(Sender::of(session.host())?)?;
    /// let stop = Stop::new()?;
    /// rules.watcher().run(&mut session, &mut uevents, &stop, |disk, event| {
    ///     println!("{}: {event}", disk.map_or("all disks", |disk| disk.as_str()));
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watcher(&self) -> DiskWatcher<'_> {
        DiskWatcher {
            rules: self,
            pace: Pace::default(),
            part: None,
        }
    }
}

/// Tunes disks as they come.
///
/// A disk is tuned once, when it is first seen: another one of its name, known by its identity, is a
/// new one. That something was told of a disk that is known already is no reason to set anything,
/// since udev says `change` whenever somebody who wrote to a disk closes it, and what an
/// administrator has set by hand would be gone with it. Paths of multipath NVMe are never told of;
/// they are looked at with the namespace that they lead to.
#[derive(Debug, Clone)]
pub struct DiskWatcher<'a> {
    rules: &'a Rules,
    pace: Pace,
    part: Option<String>,
}

/// What a look came to.
enum Looked {
    /// Nothing is left to do until it is told of again.
    Done,
    /// Somebody else is at work.
    Later,
}

/// Who is known, by name: what told the disk from others, where anything did.
type Known = BTreeMap<DiskName, Option<String>>;

impl DiskWatcher<'_> {
    /// At another pace than the usual one.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// As the part of this name of a greater tuning, names joined by `/`: so that the journal says of
    /// a disk that came what it says of the rest.
    #[must_use]
    pub fn part(mut self, name: impl Into<String>) -> Self {
        self.part = Some(name.into());
        self
    }

    /// Watches until somebody asks to stop. What it has applied stays.
    ///
    /// The disks that are there are looked at first. `say` is told of each disk; without one, of all.
    ///
    /// # Errors
    /// Where nobody can be listened to. Whatever else fails is said.
    pub fn run(
        &self,
        session: &mut Session,
        monitor: &mut impl UeventMonitor,
        stop: &Stop,
        mut say: impl FnMut(Option<&DiskName>, DiskEvent),
    ) -> Result<(), Error> {
        let mut hotplug = Hotplug::new(self.pace);
        let mut known = Known::new();
        let mut waiting = self.everything(session, &known, &mut say);
        let mut again = monitor.now();
        loop {
            if stop.is_asked() {
                return Ok(());
            }
            let now = monitor.now();
            if !waiting.is_empty() && again <= now {
                waiting.retain(|disk| {
                    let looked = self.look(session, disk, &mut known, &mut say);
                    !stop.is_asked() && matches!(looked, Looked::Later)
                });
                again = monitor.now().saturating_add(AGAIN);
                continue;
            }
            match hotplug.due(now) {
                Due::Wait(until) => {
                    let later = (!waiting.is_empty()).then_some(again);
                    let until = match (until, later) {
                        (Some(one), Some(other)) => Some(one.min(other)),
                        (one, other) => one.or(other),
                    };
                    let stops: Vec<_> = stop.descriptors().collect();
                    match monitor.wait(&stops, until)? {
                        Heard::Events(events) => {
                            let now = monitor.now();
                            events.iter().for_each(|event| hotplug.on(event, now));
                        }
                        Heard::Lost => hotplug.lost(monitor.now()),
                        Heard::Nothing => {}
                        Heard::Stopped => return Ok(()),
                    }
                }
                Due::Disks(disks) => {
                    let names = disks.iter().filter_map(|disk| disk.kernel.parse().ok());
                    waiting.extend(names);
                    again = now;
                }
                Due::Everything => {
                    waiting.extend(self.everything(session, &known, &mut say));
                    again = now;
                }
            }
        }
    }

    /// The disks that are there and not known.
    fn everything(
        &self,
        session: &Session,
        known: &Known,
        say: &mut impl FnMut(Option<&DiskName>, DiskEvent),
    ) -> BTreeSet<DiskName> {
        let host = session.host();
        match Disk::survey(host, Facts::default()) {
            Ok(disks) => disks
                .into_iter()
                .map(|disk| disk.name)
                .filter(|name| known.get(name) != Some(&disk::identity(host, name)))
                .collect(),
            Err(error) => {
                say(None, DiskEvent::Failed(error.into()));
                BTreeSet::new()
            }
        }
    }

    fn look(
        &self,
        session: &mut Session,
        name: &DiskName,
        known: &mut Known,
        say: &mut impl FnMut(Option<&DiskName>, DiskEvent),
    ) -> Looked {
        match disk::is_there(session.host(), name) {
            Ok(true) => {}
            Ok(false) => {
                known.remove(name);
                return Looked::Done;
            }
            Err(error) => {
                say(Some(name), DiskEvent::Failed(error.into()));
                return Looked::Done;
            }
        }
        let identity = disk::identity(session.host(), name);
        if known.get(name) == Some(&identity) {
            return Looked::Done;
        }
        let rules = self.rules.clone().only(format!("/dev/{name}"));
        match self.tune(session, &rules) {
            Ok(event) => {
                known.insert(name.clone(), identity);
                if let Some(event) = event {
                    say(Some(name), event);
                }
                Looked::Done
            }
            Err(Error::Locked { .. }) => Looked::Later,
            // It went while it was looked at: nothing has failed.
            Err(_) if matches!(disk::is_there(session.host(), name), Ok(false)) => {
                known.remove(name);
                Looked::Done
            }
            Err(error) => {
                say(Some(name), DiskEvent::Failed(error));
                Looked::Done
            }
        }
    }

    /// Tunes one disk that is new. Nothing is said of a disk that no rule is about.
    fn tune(&self, session: &mut Session, rules: &Rules) -> Result<Option<DiskEvent>, Error> {
        let plan = session.plan(|at| self.declare(at, rules))?;
        if plan.is_empty() {
            let lacking = plan.findings.iter().filter(|finding| {
                matches!(
                    finding.state,
                    State::NotApplicable { .. } | State::Unverifiable { .. }
                )
            });
            let lacking: Vec<String> = lacking.map(ToString::to_string).collect();
            return Ok(match plan.findings.as_slice() {
                [] => None,
                _ if lacking.is_empty() => Some(DiskEvent::AsWanted),
                _ => Some(DiskEvent::NotApplicable { lacking }),
            });
        }
        let theirs = set_since(session, &plan)?;
        if !theirs.is_empty() {
            return Ok(Some(DiskEvent::Left { knobs: theirs }));
        }
        // Planned again under the lock. Another disk may have the name by then: it is one that came,
        // and is told of too.
        let applied = session.apply_reviewed(|at| self.declare(at, rules), |_| true)?;
        Ok(Some(DiskEvent::Applied(applied)))
    }

    fn declare(&self, at: &mut Planner<'_>, rules: &Rules) -> Result<(), Error> {
        match &self.part {
            Some(part) => {
                at.part(part, rules);
                Ok(())
            }
            None => rules.declare(at),
        }
    }
}

/// What of a plan somebody else has set, after we had: the journal owes a way back for the same thing.
fn set_since(session: &Session, plan: &Plan) -> Result<Vec<String>, Error> {
    let owed = session.status()?.owed;
    let theirs = plan.steps.iter().filter(|step| {
        owed.iter()
            .any(|owed| owed.knob == step.knob && owed.identity == step.identity)
    });
    Ok(theirs.map(|step| step.knob.to_string()).collect())
}
