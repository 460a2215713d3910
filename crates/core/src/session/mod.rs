//! Host, owner, kinds of knob and journal together: what the four verbs run in.
//!
//! The order is always the same: lock, put right what an earlier run left open,
//! plan, write the intent down, turn, read back. Planning and verifying take
//! `&Session`, no lock and no rights.

mod journal;
mod outcome;
mod position;
mod turning;
mod undoing;

use serde_json::Value;

use crate::error::{Error, HostErrorKind, StaleStep};
use crate::host::{Host, LinuxHost};
use crate::journal::{DirectoryStore, Entry, Knobs, Log, Purpose, Store};
use crate::knob::Registry;
use crate::plan::{Before, Journalled, Plan, Planner, Refusal, Step};
use crate::report::{Finding, Report, State};
use crate::selection::Selection;
use crate::stop::Stop;

use journal::cut_note;
pub use outcome::{Applied, Owed, Reverted, Status, Unrecorded};
pub use undoing::{Left, LeftBecause, Undone};

/// What the verbs run in.
#[derive(Debug)]
pub struct Session {
    host: Host,
    owner: String,
    program: String,
    boot: String,
    registry: Registry,
    store: Box<dyn Store>,
    only: Selection,
    strict: bool,
    force: bool,
    stop: Option<Stop>,
}

impl Session {
    /// The running system, with journals in `/run/hosttune` and `/var/lib/hosttune`, or, for a
    /// user who is not root, in `$XDG_RUNTIME_DIR/hosttune` and `$XDG_STATE_HOME/hosttune`.
    ///
    /// # Errors
    /// An owner that cannot name a journal, no `/proc`, and whatever opening `/` answers.
    pub fn live(owner: &str) -> Result<Self, Error> {
        let host = LinuxHost::live()?;
        // Without it nobody can tell one boot from another, and nothing of the kernel can be set.
        host.need_proc()?;
        let store = if rustix::process::geteuid().is_root() {
            DirectoryStore::system(&host)?
        } else {
            let (boot, disk) = user_directories();
            DirectoryStore::new(&host, boot, disk)?
        };
        Self::over(host, owner, store)
    }

    /// The tree beneath `root`, with journals in that tree.
    ///
    /// # Errors
    /// As [`live`](Self::live), and where `root` is no directory.
    pub fn at(root: impl AsRef<std::path::Path>, owner: &str) -> Result<Self, Error> {
        let host = LinuxHost::at(root)?;
        let store = DirectoryStore::system(&host)?;
        Self::over(host, owner, store)
    }

    fn over(host: LinuxHost, owner: &str, store: DirectoryStore) -> Result<Self, Error> {
        let host = Host::new(host);
        let boot = host.boot_id()?;
        Self::new(host, owner, store, &boot)
    }

    /// A session over any host and store; `boot` tells one boot from another.
    ///
    /// # Errors
    /// An owner that cannot name a journal.
    pub fn new(
        host: Host,
        owner: &str,
        store: impl Store + 'static,
        boot: &str,
    ) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let named = (1..=64).contains(&owner.len())
            && owner.bytes().next().is_some_and(plain)
            && owner
                .bytes()
                .all(|byte| plain(byte) || b"-_.".contains(&byte));
        if !named {
            return Err(Error::Owner(owner.to_owned()));
        }
        let mut registry = Registry::default();
        crate::file::knobs(&mut registry);
        Ok(Self {
            host,
            owner: owner.to_owned(),
            program: format!("{owner} (hosttune-core {})", env!("CARGO_PKG_VERSION")),
            boot: boot.to_owned(),
            registry,
            store: Box::new(store),
            only: Selection::all(),
            strict: false,
            force: false,
            stop: None,
        })
    }

    /// Makes a crate's kinds of knob known: `.with(sysctl::knobs)`.
    #[must_use]
    pub fn with(mut self, knobs: impl FnOnce(&mut Registry)) -> Self {
        knobs(&mut self.registry);
        self
    }

    /// Plugs a transport into the session's host.
    #[must_use]
    pub fn plug<W: Send + 'static>(mut self, wire: W) -> Self {
        self.host = self.host.plug(wire);
        self
    }

    /// Whether a plain wish that does not apply is an error.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Whether a revert also takes what somebody else has set since.
    #[must_use]
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Which parts are meant, by plan, apply, verify and revert.
    #[must_use]
    pub fn only(mut self, only: Selection) -> Self {
        self.only = only;
        self
    }

    /// Lets an apply and a revert be interrupted at the end of a step: an apply takes back what it
    /// did, a revert leaves what it has not come to.
    #[must_use]
    pub fn stopped_by(mut self, stop: Stop) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Names the program in journals, for whoever finds one it cannot read: `gaming 0.1.0`.
    #[must_use]
    pub fn program(mut self, program: impl Into<String>) -> Self {
        self.program = program.into();
        self
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whose journal.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Plans what `declare` wants, reading only.
    ///
    /// # Errors
    /// As [`Tuning::plan`](crate::Tuning::plan).
    pub fn plan(
        &self,
        declare: impl FnOnce(&mut Planner<'_>) -> Result<(), Error>,
    ) -> Result<Plan, Error> {
        let _look = self.host.begin_look();
        let (log, unread) = self.peek()?;
        let mut plan = self.plan_with(&log, declare)?;
        plan.provisional = self.provisional(&log)?;
        plan.notes.extend(unread.or_else(|| cut_note(&log)));
        plan.notes.extend(log.notes);
        Ok(plan)
    }

    /// The names of the parts that `declare` has, the outer one before those that it holds: what
    /// [`only`](Self::only) takes.
    ///
    /// # Errors
    /// Where the tuning itself is wrong.
    pub fn parts(
        &self,
        declare: impl FnOnce(&mut Planner<'_>) -> Result<(), Error>,
    ) -> Result<Vec<String>, Error> {
        let (nothing, journalled) = (Selection::nothing(), Journalled::default());
        let mut planner = Planner::new(
            &self.host,
            &self.registry,
            &[],
            &journalled,
            &nothing,
            false,
        );
        declare(&mut planner)?;
        planner.into_parts()
    }

    /// Reads how what `declare` wants stands.
    ///
    /// # Errors
    /// As [`Tuning::verify`](crate::Tuning::verify).
    pub fn verify(
        &self,
        declare: impl FnOnce(&mut Planner<'_>) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        let _look = self.host.begin_look();
        let (log, unread) = self.peek()?;
        let (refusals, journalled) = (refusals(&log), log.journalled());
        let mut planner = self.planner(&refusals, &journalled);
        declare(&mut planner)?;
        let mut report = planner.into_report(&self.owner)?;
        report.notes.extend(self.provisional(&log)?);
        report.notes.extend(unread.or_else(|| cut_note(&log)));
        Ok(report)
    }

    /// Plans under the lock, shows the plan to `review`, and turns it unless that says no.
    ///
    /// # Errors
    /// As [`Tuning::apply`](crate::Tuning::apply).
    pub fn apply_reviewed(
        &mut self,
        declare: impl FnOnce(&mut Planner<'_>) -> Result<(), Error>,
        review: impl FnOnce(&Plan) -> bool,
    ) -> Result<Applied, Error> {
        self.locked(|session| {
            let mut log = session.load_settled()?;
            let recovered = session.recovered(&mut log)?;
            let mut plan = session.plan_with(&log, declare)?;
            plan.notes.append(&mut log.notes);
            let reviewed = review(&plan);
            let applied = if reviewed {
                session.turn_all(&mut log, plan)?
            } else {
                Applied {
                    findings: plan.findings,
                    notes: plan.notes,
                    declined: true,
                    ..Applied::default()
                }
            };
            Ok(Applied {
                recovered,
                ..applied
            })
        })
    }

    /// Turns a stored plan, if the host is still what it starts from.
    ///
    /// # Errors
    /// [`Error::Stale`] where the host moved, and as [`Tuning::apply`](crate::Tuning::apply).
    pub fn apply(&mut self, plan: &Plan) -> Result<Applied, Error> {
        if plan.owner != self.owner {
            return Err(Error::tuning(
                format!(
                    "the plan is {}'s, the session is {}'s",
                    plan.owner, self.owner
                ),
                "apply it in a session of its owner, or plan anew",
            ));
        }
        self.locked(|session| {
            let mut log = session.load_settled()?;
            let recovered = session.recovered(&mut log)?;
            session.refuse_stale(plan)?;
            let mut plan = plan.clone();
            // The plan may say some of it already.
            log.notes.retain(|note| !plan.notes.contains(note));
            plan.notes.append(&mut log.notes);
            let applied = session.turn_all(&mut log, plan)?;
            Ok(Applied {
                recovered,
                ..applied
            })
        })
    }

    /// Puts back everything this owner turned, or of the selected parts only.
    ///
    /// # Errors
    /// As [`Tuning::revert`](crate::Tuning::revert).
    pub fn revert(&mut self) -> Result<Reverted, Error> {
        self.locked(|session| {
            let mut log = session.load_settled()?;
            let mut reverted = session.finish_open(&mut log)?.unwrap_or_default();
            {
                let (registry, host) = (&session.registry, &session.host);
                let (counts_as, shows) = (&registry.counts_as(), &registry.shows(host));
                log.shorten(&mut *session.store, Knobs { counts_as, shows });
            }
            let ids: Vec<u64> = log
                .entries
                .values()
                .rev()
                .filter(|entry| session.only.admits_part(&entry.step.part))
                .map(|entry| entry.id)
                .collect();
            let force = session.force;
            if !ids.is_empty() {
                match log.undo(&mut *session.store, Purpose::Revert, ids.clone(), force) {
                    Ok(()) => {
                        let stop = session.stop.clone();
                        reverted.join(session.undo(&mut log, &ids, force, stop.as_ref()));
                        reverted.record(log.end(&mut *session.store));
                    }
                    Err(error) if reverted.undone.is_empty() && reverted.left.is_empty() => {
                        return Err(error.into());
                    }
                    // What an earlier run left open was put right, and that has to be told.
                    Err(error) => {
                        reverted.left = session.all_left(&log, &ids, &error);
                        reverted.record(Err(error));
                    }
                }
            }
            if session.only.is_all() {
                // What the kernel refused was remembered for the sake of what is reverted now.
                log.refused.clear();
            }
            if reverted.unrecorded.is_none() {
                reverted.record(log.clear_if_empty(&mut *session.store));
            }
            reverted.by_reboot = log.dropped;
            reverted.notes.extend(log.notes);
            Ok(reverted)
        })
    }

    /// Puts right what an earlier run left open: an interrupted apply is rolled back, an
    /// interrupted revert finished. Nothing where nothing is open.
    ///
    /// # Errors
    /// Where the journal cannot be used or another process is at work.
    pub fn recover(&mut self) -> Result<Reverted, Error> {
        self.locked(|session| {
            let mut log = session.load_settled()?;
            let mut recovered = session.finish_open(&mut log)?.unwrap_or_default();
            if recovered.unrecorded.is_none() {
                recovered.record(log.clear_if_empty(&mut *session.store));
            }
            recovered.notes.extend(log.notes);
            Ok(Reverted {
                by_reboot: log.dropped,
                ..recovered
            })
        })
    }

    /// What the journal says, and how the host stands to it. Reads only.
    ///
    /// # Errors
    /// Where the journal cannot be used.
    pub fn status(&self) -> Result<Status, Error> {
        let _look = self.host.begin_look();
        let mut log = self.load()?;
        self.follow_renamed(&mut log);
        let owed = log
            .entries
            .values()
            .map(|entry| self.owed(&log, entry))
            .collect::<Result<_, _>>()?;
        Ok(Status {
            owed,
            open: self.provisional(&log)?,
            refused: log
                .refused
                .iter()
                .map(|refused| format!("{}: {}", refused.step.knob, refused.lack))
                .collect(),
            by_reboot: log.dropped,
        })
    }

    fn owed(&self, log: &Log, entry: &Entry) -> Result<Owed, Error> {
        let step = &entry.step;
        let kind = self.registry.find(&step.knob.kind)?;
        let seen = kind.read(&step.knob, &self.host);
        // What it goes back to once every owner has reverted: beneath what is held for another
        // owner's step, his original is the first.
        let first = log.first_start(&step.knob).filter(|_| entry.is_hold());
        let from = first.unwrap_or(&step.from);
        // A later step of an owner's is no stranger's.
        let is_ours = |seen: &Value| {
            let mut since = log.since(entry);
            since.any(|later| {
                later.left() == seen || kind.counts_as(&step.knob, seen, &later.step.to)
            })
        };
        Ok(Owed {
            part: step.part.clone(),
            knob: step.knob.clone(),
            identity: step.identity.clone(),
            ours: step.to_text.clone(),
            original: match from {
                Before::Known(state) => kind.show(&step.knob, state),
                Before::Unsettled => step.from_text.clone(),
            },
            is_ours: seen.as_ref().is_ok_and(is_ours),
            absent: match &seen {
                Err(error) if *error.kind() == HostErrorKind::Gone => {
                    Some("it is not there any more".to_owned())
                }
                Err(error) => Some(format!("it cannot be read: {error}")),
                Ok(_) if self.is_replaced(step) => Some("another one has its name now".to_owned()),
                Ok(seen) if kind.gone(&step.knob, seen) => {
                    Some("it is not there any more".to_owned())
                }
                Ok(seen) => kind.hidden(&step.knob, seen),
            },
            seen: seen.map_or_else(
                |error| error.to_string(),
                |seen| kind.show(&step.knob, &seen),
            ),
        })
    }

    fn planner<'a>(&'a self, refusals: &'a [Refusal], journalled: &'a Journalled) -> Planner<'a> {
        Planner::new(
            &self.host,
            &self.registry,
            refusals,
            journalled,
            &self.only,
            self.strict,
        )
    }

    fn plan_with(
        &self,
        log: &Log,
        declare: impl FnOnce(&mut Planner<'_>) -> Result<(), Error>,
    ) -> Result<Plan, Error> {
        let (refusals, journalled) = (refusals(log), log.journalled());
        let mut planner = self.planner(&refusals, &journalled);
        declare(&mut planner)?;
        planner.into_plan(&self.owner)
    }

    fn refuse_stale(&self, plan: &Plan) -> Result<(), Error> {
        let mut stale = Vec::new();
        let mut moved = std::collections::HashSet::new();
        for step in &plan.steps {
            let disturbed = step.disturbs.iter().map(|kept| (&kept.knob, &kept.state));
            for (knob, planned) in std::iter::once((&step.knob, &step.from)).chain(disturbed) {
                // A knob's later steps start from what its earlier ones leave.
                if !moved.insert(knob.key()) {
                    continue;
                }
                let kind = self.registry.find(&knob.kind)?;
                // What cannot be renamed is what has its name; some identities hold within a boot only.
                if *knob == step.knob
                    && kind.can_be_renamed
                    && let Some(planned) = &step.identity
                    && let Some(now) = kind.identity(knob, &self.host)?
                    && !(kind.is_same_thing)(&now, planned)
                {
                    stale.push(StaleStep {
                        knob: knob.text.clone(),
                        planned: planned.clone(),
                        seen: now,
                    });
                    continue;
                }
                let Before::Known(planned) = planned else {
                    continue;
                };
                let seen = kind.read(knob, &self.host)?;
                let original = kind.original(knob, &seen);
                if original.is_some_and(|original| original != *planned) {
                    stale.push(StaleStep {
                        knob: knob.text.clone(),
                        planned: kind.show(knob, planned),
                        seen: kind.show(knob, &seen),
                    });
                }
            }
        }
        if stale.is_empty() {
            Ok(())
        } else {
            Err(Error::Stale(stale))
        }
    }
}

fn refusals(log: &Log) -> Vec<Refusal> {
    log.refused
        .iter()
        .map(|refused| Refusal {
            key: refused.step.knob.key(),
            to: refused.step.to.clone(),
            lack: refused.lack.clone(),
        })
        .collect()
}

impl Finding {
    /// A step that turned out not to apply when it was tried.
    fn refused(step: &Step, lack: crate::knob::Lack) -> Self {
        Self {
            part: step.part.clone(),
            knob: Some(step.knob.clone()),
            name: step.knob.text.clone(),
            wanted: Some(step.to.clone()),
            wanted_text: step.to_text.clone(),
            seen: step.from.known().cloned(),
            seen_text: step.from_text.clone(),
            state: State::NotApplicable { lack },
            why: step.why.clone(),
            requirement: step.requirement,
        }
    }
}

/// Where a user's own session keeps its journals, after the XDG base directory specification.
fn user_directories() -> (String, String) {
    let set = |name| {
        std::env::var(name)
            .ok()
            .filter(|path| path.starts_with('/'))
    };
    let uid = rustix::process::geteuid().as_raw();
    let home = set("HOME").unwrap_or_else(|| "/nonexistent".to_owned());
    let boot = set("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{uid}"));
    let disk = set("XDG_STATE_HOME").unwrap_or_else(|| format!("{home}/.local/state"));
    (format!("{boot}/hosttune"), format!("{disk}/hosttune"))
}

/// The value a knob shows, for the walk back.
pub(crate) type Seen = Result<Value, crate::error::HostError>;
