//! A session combines host, owner, knob types and journal; plan, apply, verify and revert run in
//! it.
//!
//! The order is always the same: lock, recover an interrupted run, plan, write the intent to the
//! journal, make the changes, read back. Plan and verify take `&Session` and need neither the lock
//! nor privileges.

mod applied_prefix;
mod journal;
mod network_namespace;
mod outcome;
mod revert;
mod status;
mod steps;
mod undo;

use serde_json::Value;

use crate::error::{Error, StaleStep};
use crate::host::{Host, LinuxHost};
use crate::journal::{DirectoryStore, Log, Store};
use crate::plan::{Before, Journalled, Plan, Planner, Refusal, Step};
use crate::registry::Registry;
use crate::report::{Finding, Report, State};
use crate::selection::Selection;
use crate::stop::Stop;

use journal::cut_note;
pub use outcome::{
    Applied, NotReverted, NotRevertedReason, PendingRevert, Reverted, Status, Undone, Unrecorded,
};

/// Host, owner, knob types and journal, with the options for plan, apply, verify and revert.
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
    /// A session on the running system. The journals are in `/run/hosttune` and
    /// `/var/lib/hosttune`, or, unless the user is root, in `$XDG_RUNTIME_DIR/hosttune` and
    /// `$XDG_STATE_HOME/hosttune`.
    ///
    /// # Errors
    /// If the owner cannot name a journal, `/proc` is not mounted, or `/` cannot be opened.
    pub fn live(owner: &str) -> Result<Self, Error> {
        let host = LinuxHost::live()?;
        // Without `/proc` the boot ID is unknown, and no kernel setting can be changed.
        host.need_proc()?;
        let store = DirectoryStore::of_user(&host)?;
        Self::over(host, owner, store)
    }

    /// A session on the tree below `root`, with the journals in that tree.
    ///
    /// # Errors
    /// As [`live`](Self::live), and if `root` is not a directory.
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

    /// A session with any host and store; `boot` identifies the boot.
    ///
    /// # Errors
    /// If the owner cannot name a journal.
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

    /// Registers a crate's knob types: `.with(sysctl::knobs)`.
    #[must_use]
    pub fn with(mut self, knobs: impl FnOnce(&mut Registry)) -> Self {
        knobs(&mut self.registry);
        self
    }

    /// Adds a backend to the session's host.
    #[must_use]
    pub fn with_backend<W: Send + 'static>(mut self, backend: W) -> Self {
        self.host = self.host.with_backend(backend);
        self
    }

    /// Whether an unsupported setting is an error even if it is not required.
    pub fn strict(&mut self, strict: bool) -> &mut Self {
        self.strict = strict;
        self
    }

    /// Whether a revert also reverts values that others have changed since.
    pub fn force(&mut self, force: bool) -> &mut Self {
        self.force = force;
        self
    }

    /// Selects the parts that plan, apply, verify and revert work on.
    pub fn only(&mut self, only: Selection) -> &mut Self {
        self.only = only;
        self
    }

    /// Makes apply and revert stop after the current step once `stop` is requested: an apply undoes
    /// its completed steps, a revert leaves the remaining ones unreverted.
    pub fn stopped_by(&mut self, stop: Stop) -> &mut Self {
        self.stop = Some(stop);
        self
    }

    /// Sets the program name in journals, shown to those who find a journal that they cannot read:
    /// `gaming 0.1.0`.
    #[must_use]
    pub fn program(mut self, program: impl Into<String>) -> Self {
        self.program = program.into();
        self
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The owner of the journal.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Plans the requests that `declare` makes. Only reads.
    ///
    /// # Errors
    /// As [`Tuning::plan`](crate::Tuning::plan).
    pub fn plan(
        &self,
        declare: impl FnOnce(&mut Planner<'_>) -> Result<(), Error>,
    ) -> Result<Plan, Error> {
        let _look = self.host.begin_read();
        let (log, unread) = self.peek()?;
        let mut plan = self.plan_with(&log, declare)?;
        plan.provisional = self.provisional(&log)?;
        plan.notes.extend(unread.or_else(|| cut_note(&log)));
        plan.notes.extend(log.notes);
        Ok(plan)
    }

    /// The names of the parts in `declare`, each before the parts within it, as
    /// [`only`](Self::only) takes them.
    ///
    /// # Errors
    /// If the tuning itself is invalid.
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

    /// Checks the requests that `declare` makes. Only reads.
    ///
    /// # Errors
    /// As [`Tuning::verify`](crate::Tuning::verify).
    pub fn verify(
        &self,
        declare: impl FnOnce(&mut Planner<'_>) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        let _look = self.host.begin_read();
        let (log, unread) = self.peek()?;
        let (refusals, journalled) = (refusals(&log), log.journalled());
        let mut planner = self.planner(&refusals, &journalled);
        declare(&mut planner)?;
        let mut report = planner.into_report(&self.owner)?;
        report.notes.extend(self.provisional(&log)?);
        report.notes.extend(unread.or_else(|| cut_note(&log)));
        Ok(report)
    }

    /// Plans under the lock, passes the plan to `review`, and applies it if that returns true.
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
                session.apply_steps(&mut log, plan)?
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

    /// Applies a stored plan, if the host still shows the state that the plan starts from.
    ///
    /// # Errors
    /// [`Error::Stale`] if it does not, and as [`Tuning::apply`](crate::Tuning::apply).
    pub fn apply(&mut self, plan: &Plan) -> Result<Applied, Error> {
        if plan.owner != self.owner {
            return Err(Error::tuning(
                format!(
                    "the plan belongs to owner {}, the session to owner {}",
                    plan.owner, self.owner
                ),
                "apply it in a session with the same owner, or make a new plan",
            ));
        }
        self.locked(|session| {
            let mut log = session.load_settled()?;
            let recovered = session.recovered(&mut log)?;
            session.refuse_stale(plan)?;
            let mut plan = plan.clone();
            // The plan may contain some of these notes already.
            log.notes.retain(|note| !plan.notes.contains(note));
            plan.notes.append(&mut log.notes);
            let applied = session.apply_steps(&mut log, plan)?;
            Ok(Applied {
                recovered,
                ..applied
            })
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
        self.host.knows_network_namespace(log.network_namespace());
        declare(&mut planner)?;
        planner.into_plan(&self.owner)
    }

    fn refuse_stale(&self, plan: &Plan) -> Result<(), Error> {
        let mut stale = Vec::new();
        let mut moved = std::collections::HashSet::new();
        let here = self.host.network_namespace()?;
        for step in &plan.steps {
            if let (Some(planned), Some(here)) = (&step.network_namespace, &here)
                && planned != here
            {
                stale.push(StaleStep {
                    knob: step.knob.text.clone(),
                    planned: planned.clone(),
                    seen: here.clone(),
                });
                continue;
            }
            let affected = step
                .side_effects
                .iter()
                .map(|kept| (&kept.knob, &kept.state));
            for (knob, planned) in std::iter::once((&step.knob, &step.from)).chain(affected) {
                // Later steps of a knob start from the result of its earlier ones.
                if !moved.insert(knob.key()) {
                    continue;
                }
                let kind = self.registry.find(&knob.kind)?;
                // A knob that cannot be renamed is identified by its name; some identities hold
                // only within one boot.
                if *knob == step.knob
                    && kind.can_be_renamed()
                    && let Some(planned) = &step.identity
                    && let Some(now) = kind.identity(knob, &self.host)?
                    && !kind.is_same_thing(&now, planned)
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
    let refused = log.refused.iter();
    refused
        .filter(|refused| log.is_here(&refused.step))
        .map(|refused| Refusal {
            key: refused.step.knob.key(),
            to: refused.step.to.clone(),
            unsupported: refused.unsupported.clone(),
        })
        .collect()
}

impl Finding {
    /// A step that turned out to be unsupported when it was tried.
    fn refused(step: &Step, unsupported: crate::unsupported::Unsupported) -> Self {
        Self {
            part: step.part.clone(),
            knob: Some(step.knob.clone()),
            name: step.knob.text.clone(),
            wanted: Some(step.to.clone()),
            wanted_text: step.to_text.clone(),
            seen: step.from.known().cloned(),
            seen_text: step.from_text.clone(),
            state: State::NotApplicable { unsupported },
            why: step.why.clone(),
            requirement: step.requirement,
        }
    }
}

/// The state that a knob shows, or why it could not be read; for undo.
pub(crate) type Seen = Result<Value, crate::host::HostError>;
