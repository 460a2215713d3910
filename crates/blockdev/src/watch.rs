//! Tuning hot-plugged disks, without overriding other programs that manage them.
//!
//! [`Hotplug`] decides which disk to read and when; [`DiskWatcher`] receives events, plans, applies
//! and reports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use hosttune_core::{Applied, Error, Plan, Planner, Session, State, Stop, Tuning};

use crate::disk::{self, Disk, Facts};
use crate::name::DiskName;
use crate::rules::Rules;
use crate::uevent::{Due, Hotplug, RetryPolicy, UeventMonitor, WaitOutcome};

/// What happened to a watched disk.
#[derive(Debug)]
#[non_exhaustive]
pub enum DiskEvent {
    /// The disk is new and was tuned.
    Applied(Applied),
    /// The disk is new, a rule matches it, and everything is as wanted.
    AsWanted,
    /// The disk was tuned before, and another process has changed a setting since. It is left as it
    /// is until it is plugged in again.
    Left {
        /// The settings that were changed.
        knobs: Vec<String>,
    },
    /// The disk is new and does not support what the rule requests.
    NotApplicable {
        /// What is unsupported.
        unsupported: Vec<String>,
    },
    /// The disk could not be read or tuned. It is tried again at its next event.
    Failed(Error),
}

impl DiskEvent {
    /// A word for programs, stable across releases: `applied`, `as-wanted`, `left`,
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
            Self::Applied(applied) => match applied.changed.len() {
                1 => f.write_str("applied: 1 change"),
                changed => write!(f, "applied: {changed} changes"),
            },
            Self::AsWanted => f.write_str("as wanted"),
            Self::Left { knobs } => write!(
                f,
                "left as it is: another process has set {} since",
                knobs.join(", ")
            ),
            Self::NotApplicable { unsupported } => {
                write!(f, "left as it is: {}", unsupported.join("; "))
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

/// Retry interval while another process holds the journal.
const AGAIN: Duration = Duration::from_secs(1);

impl Rules {
    /// Creates a watcher that applies these rules to hot-plugged disks.
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
            retry_policy: RetryPolicy::default(),
            part: None,
        }
    }
}

/// Applies rules to hot-plugged disks.
///
/// A disk is tuned once, when it is first seen. A disk with another identity is a new one, even
/// under the same name. An event about a known disk is no reason to set anything: udev sends
/// `change` whenever a process closes a disk that it had opened for writing, and setting again
/// would undo what an administrator has set by hand. Paths of multipath NVMe have no events; they
/// are tuned together with their namespace.
#[derive(Debug, Clone)]
pub struct DiskWatcher<'a> {
    rules: &'a Rules,
    retry_policy: RetryPolicy,
    part: Option<String>,
}

/// The result of handling one disk.
enum Looked {
    /// Nothing is left to do until the next event.
    Done,
    /// Another process holds the journal.
    Later,
}

/// Disks that have been handled, by name, with their identity if they have one.
type Known = BTreeMap<DiskName, Option<String>>;

impl DiskWatcher<'_> {
    /// Replaces the default timing.
    #[must_use]
    pub fn retry_policy(mut self, retry_policy: RetryPolicy) -> Self {
        self.retry_policy = retry_policy;
        self
    }

    /// Declares the rules as the named part of a larger tuning, with names joined by `/`, so that
    /// the journal attributes hot-plugged disks to the same part as the others.
    #[must_use]
    pub fn part(mut self, name: impl Into<String>) -> Self {
        self.part = Some(name.into());
        self
    }

    /// Watches until a stop is requested. What it has applied stays.
    ///
    /// Disks that are already present are handled first. `say` is called with each disk, or with
    /// `None` for a report about all disks.
    ///
    /// # Errors
    /// If the monitor fails. All other errors are reported through `say`.
    pub fn run(
        &self,
        session: &mut Session,
        monitor: &mut impl UeventMonitor,
        stop: &Stop,
        mut say: impl FnMut(Option<&DiskName>, DiskEvent),
    ) -> Result<(), Error> {
        let mut hotplug = Hotplug::new(self.retry_policy);
        let mut known = Known::new();
        let mut waiting = self.everything(session, &known, &mut say);
        let mut again = monitor.now();
        loop {
            if stop.is_requested() {
                return Ok(());
            }
            let now = monitor.now();
            if !waiting.is_empty() && again <= now {
                waiting.retain(|disk| {
                    let looked = self.look(session, disk, &mut known, &mut say);
                    !stop.is_requested() && matches!(looked, Looked::Later)
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
                        WaitOutcome::Events(events) => {
                            let now = monitor.now();
                            events.iter().for_each(|event| hotplug.on(event, now));
                        }
                        WaitOutcome::Lost => hotplug.lost(monitor.now()),
                        WaitOutcome::Nothing => {}
                        WaitOutcome::Stopped => return Ok(()),
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

    /// The disks that are present and not known yet.
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
            // The disk was unplugged in the meantime, so nothing has failed.
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

    /// Tunes a new disk. Returns `None` for a disk that no rule matches.
    fn tune(&self, session: &mut Session, rules: &Rules) -> Result<Option<DiskEvent>, Error> {
        let plan = session.plan(|at| self.declare(at, rules))?;
        if plan.is_empty() {
            let unsupported = plan.findings.iter().filter(|finding| {
                matches!(
                    finding.state,
                    State::NotApplicable { .. } | State::Unverifiable { .. }
                )
            });
            let unsupported: Vec<String> = unsupported.map(ToString::to_string).collect();
            return Ok(match plan.findings.as_slice() {
                [] => None,
                _ if unsupported.is_empty() => Some(DiskEvent::AsWanted),
                _ => Some(DiskEvent::NotApplicable { unsupported }),
            });
        }
        let theirs = set_since(session, &plan)?;
        if !theirs.is_empty() {
            return Ok(Some(DiskEvent::Left { knobs: theirs }));
        }
        // This plans again under the lock. By then the name may belong to another disk, which has
        // an event of its own.
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

/// The settings of a plan that another process has changed after we set them: the journal has a
/// pending revert for the same knob of the same disk.
fn set_since(session: &Session, plan: &Plan) -> Result<Vec<String>, Error> {
    let pending = session.status()?.pending;
    let theirs = plan.steps.iter().filter(|step| {
        pending
            .iter()
            .any(|pending| pending.knob == step.knob && pending.identity == step.identity)
    });
    Ok(theirs.map(|step| step.knob.to_string()).collect())
}
