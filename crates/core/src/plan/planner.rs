//! Where a tuning declares its requests and sees the host as the earlier steps will leave it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::declared::{Declared, Role};
use super::view::{Journalled, Outcome, PlannedView};
use super::{Before, DeviceLink, OwnedChange, Plan, Requirement, Step, When, Why};
use super::{arrange, findings};
use crate::any_knob::{AnyKnob, Key};
use crate::error::Error;
use crate::host::{Host, HostError, ReadGuard};
use crate::knob::Knob;
use crate::registry::Registry;
use crate::report::Report;
use crate::selection::Selection;
use crate::tuning::Tuning;
use crate::unsupported::Unsupported;

/// A request that this kernel refused earlier in this boot, from the journal.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) key: Key,
    pub(crate) to: Value,
    pub(crate) unsupported: Unsupported,
}

/// The parts and knobs that a tuning declares.
#[derive(Debug)]
pub(crate) struct Scope {
    /// The names of its parts, without those within another part.
    parts: Vec<String>,
    knobs: HashSet<Key>,
}

impl Scope {
    /// Whether a journalled step belongs to the tuning: it was for one of its parts, whatever was
    /// declared there then, or changed a knob that the tuning declares.
    pub(crate) fn has(&self, step: &Step) -> bool {
        let part = step.part.split('/').next().unwrap_or_default();
        self.parts.iter().any(|name| name == part) || self.knobs.contains(&step.knob.key())
    }
}

/// Collects requests and shows the host as it will be after them.
#[derive(Debug)]
pub struct Planner<'a> {
    view: PlannedView<'a>,
    _read_guard: ReadGuard<'a>,
    /// The states that the earlier steps leave, where they differ from what the host shows.
    ahead: HashMap<Key, Before>,
    only: &'a Selection,
    strict: bool,
    part: Vec<String>,
    /// The names of all parts so far, each once.
    parts: Vec<String>,
    /// The names of those that are not within another part.
    outermost: Vec<String>,
    declared: Vec<Declared>,
    /// The knobs that the tuning may have changed earlier.
    changed_elsewhere: Vec<Key>,
    notes: Vec<String>,
    /// Declaring a request cannot return an error; an error that makes the plan impossible is kept
    /// here.
    failure: Option<Error>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        host: &'a Host,
        registry: &'a Registry,
        refusals: &'a [Refusal],
        journalled: &'a Journalled,
        only: &'a Selection,
        strict: bool,
    ) -> Self {
        Self {
            view: PlannedView::new(host, registry, refusals, journalled),
            _read_guard: host.begin_read(),
            ahead: HashMap::new(),
            only,
            strict,
            part: Vec::new(),
            parts: Vec::new(),
            outermost: Vec::new(),
            declared: Vec::new(),
            changed_elsewhere: Vec::new(),
            notes: Vec::new(),
            failure: None,
        }
    }

    /// The host, for facts other than knobs.
    pub fn host(&self) -> &'a Host {
        self.view.host
    }

    /// The changes that are in effect according to the journals of all owners that can be read,
    /// oldest first: for a tuning that would take away what other settings are made on.
    pub fn changes_in_effect(&self) -> &'a [OwnedChange] {
        &self.view.journalled.changes
    }

    /// The knobs that have been requested so far and that the host has or will have as requested,
    /// each once: the settings of this tuning on something that a later request takes away.
    pub fn requested(&self) -> Vec<AnyKnob> {
        let mut found: Vec<AnyKnob> = Vec::new();
        for request in &self.declared {
            if let (Some(target), Some(Outcome::AsWanted(_) | Outcome::Step { .. })) =
                (&request.target, &request.outcome)
                && !found.contains(&target.knob)
            {
                found.push(target.knob.clone());
            }
        }
        found
    }

    /// Whether requests declared here are selected, that is, not in a part excluded by `--only`.
    ///
    /// For a tuning that has to read a lot before it can declare anything.
    pub fn is_selected(&self) -> bool {
        self.only.admits(&self.part)
    }

    /// The state of a knob after the steps declared so far.
    ///
    /// # Errors
    /// [`Error::DependsOnEarlierStep`] after a step that resets the knob, and any error from the host.
    pub fn now<K: Knob>(&mut self, knob: &K) -> Result<K::State, Error> {
        let kind = self.view.registry.kind_of::<K>()?;
        let knob = AnyKnob::of(knob);
        let state = match self.view.current(&self.ahead, kind, &knob)? {
            Before::Known(state) => state,
            Before::DependsOnEarlierStep => {
                return Err(Error::DependsOnEarlierStep { knob: knob.text });
            }
        };
        serde_json::from_value(state)
            .map_err(|error| HostError::malformed(knob.text, error.to_string()).into())
    }

    /// Why this request would be refused, if it would be: it is unsupported on this host, or this
    /// kernel refused it earlier in this boot.
    ///
    /// For a tuning that skips all of its requests if one of them is refused.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn unsupported<K: Knob>(
        &mut self,
        knob: &K,
        to: &K::State,
    ) -> Result<Option<Unsupported>, Error> {
        let kind = self.view.registry.kind_of::<K>()?;
        let knob = AnyKnob::of(knob);
        let to = serde_json::to_value(to)
            .map_err(|error| HostError::malformed(knob.text.clone(), error.to_string()))?;
        let request = Declared::new(String::new(), knob, kind, to, String::new(), Role::End);
        let outcome = request
            .target
            .map(|target| self.view.evaluate(&self.ahead, &target, false));
        match outcome {
            Some(Outcome::Unsupported(_, unsupported)) => Ok(Some(unsupported)),
            Some(Outcome::Unreadable(error)) => Err(error.into()),
            _ => Ok(None),
        }
    }

    /// Requests a state of a knob, which verify checks.
    pub fn want<K: Knob>(&mut self, knob: &K, to: &K::State) -> Request<'_, 'a> {
        self.declare(knob, to, Role::End)
    }

    /// Sets a knob as an intermediate step; verify does not check it.
    pub fn intermediate<K: Knob>(&mut self, knob: &K, to: &K::State) -> Request<'_, 'a> {
        self.declare(knob, to, Role::Means)
    }

    /// Expects a state of a knob after `when`; the knob can be read but not set now.
    pub fn expect<K: Knob>(&mut self, knob: &K, to: &K::State, when: When) -> Request<'_, 'a> {
        self.declare(knob, to, Role::Expected(when))
    }

    /// Reports something that was not attempted.
    pub fn skip(&mut self, what: &str, unsupported: Unsupported) -> Request<'_, 'a> {
        if !self.is_selected() {
            return self.nothing();
        }
        let part = self.part.join("/");
        self.push(Declared::skipped(part, what.to_owned(), unsupported))
    }

    /// Names a knob that this tuning changes on other occasions and may not be able to request now, because its
    /// device is gone, or the program that it is for was removed. A revert of the tuning reverts this knob as well;
    /// plan, apply and verify are not affected.
    pub fn may_change(&mut self, knob: &impl Knob) {
        if self.is_selected() {
            self.changed_elsewhere.push(AnyKnob::of(knob).key());
        }
    }

    /// Declares a named part of the tuning; plans, conflicts and `--only` use the name.
    pub fn part(&mut self, name: &str, tuning: &(impl Tuning + ?Sized)) {
        if !self.parts.iter().any(|known| known == name) {
            self.parts.push(name.to_owned());
        }
        if self.part.is_empty() {
            self.outermost.push(name.to_owned());
        }
        self.part.push(name.to_owned());
        if let Err(error) = tuning.declare(self) {
            self.failure.get_or_insert(error);
        }
        self.part.pop();
    }

    /// Adds a note for people to the plan.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.is_selected() && !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    fn declare<K: Knob>(&mut self, knob: &K, to: &K::State, role: Role) -> Request<'_, 'a> {
        if !self.is_selected() {
            return self.nothing();
        }
        let kind = match self.view.registry.kind_of::<K>() {
            Ok(kind) => kind,
            Err(error) => {
                self.failure.get_or_insert(error);
                return self.nothing();
            }
        };
        let to_text = knob.show(to);
        let any = AnyKnob::of(knob);
        let to = match serde_json::to_value(to) {
            Ok(to) => to,
            Err(error) => {
                let error = HostError::malformed(any.text, error.to_string());
                self.failure.get_or_insert(error.into());
                return self.nothing();
            }
        };
        let mut declared = Declared::new(self.part.join("/"), any, kind, to, to_text, role);
        // The modifiers are not known yet: a deferred request takes this back.
        self.view.advance(&mut self.ahead, &mut declared);
        self.push(declared)
    }

    fn push(&mut self, mut declared: Declared) -> Request<'_, 'a> {
        if self.strict {
            declared.requirement = Requirement::Required;
        }
        self.declared.push(declared);
        let index = Some(self.declared.len() - 1);
        Request {
            planner: self,
            index,
        }
    }

    fn nothing(&mut self) -> Request<'_, 'a> {
        Request {
            planner: self,
            index: None,
        }
    }

    pub(crate) fn into_parts(self) -> Result<Vec<String>, Error> {
        self.failure.map_or(Ok(self.parts), Err)
    }

    /// What was declared, for reverting it.
    pub(crate) fn into_scope(self) -> Result<Scope, Error> {
        let knobs = self.declared.into_iter();
        let knobs = knobs
            .filter_map(|declared| Some(declared.target?.key))
            .chain(self.changed_elsewhere);
        let scope = Scope {
            parts: self.outermost,
            knobs: knobs.collect(),
        };
        self.failure.map_or(Ok(scope), Err)
    }

    pub(crate) fn into_plan(mut self, owner: &str) -> Result<Plan, Error> {
        self.check()?;
        self.ahead = HashMap::new();
        let arranged = arrange::arrange(&mut self.view, self.declared)?;
        Ok(Plan {
            owner: owner.to_owned(),
            steps: arranged.steps,
            findings: arranged.findings,
            notes: self.notes,
            holds: arranged.holds,
            provisional: None,
        })
    }

    pub(crate) fn into_report(mut self, owner: &str) -> Result<Report, Error> {
        self.check()?;
        let items = findings::report(&mut self.view, self.declared);
        Ok(Report {
            owner: owner.to_owned(),
            items,
            notes: self.notes,
        })
    }

    fn check(&mut self) -> Result<(), Error> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => arrange::conflict(&self.declared).map_or(Ok(()), Err),
        }
    }
}

/// A declared request, for adding the reason and the requirement.
#[derive(Debug)]
pub struct Request<'p, 'a> {
    planner: &'p mut Planner<'a>,
    index: Option<usize>,
}

impl Request<'_, '_> {
    fn change(self, change: impl FnOnce(&mut Declared)) -> Self {
        if let Some(index) = self.index {
            change(&mut self.planner.declared[index]);
        }
        self
    }

    /// Adds the reason, which is shown in the plan, by verify and in the journal.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "the request is declared already; `why` is often the last call"
    )]
    pub fn why(self, why: impl Into<Why>) -> Self {
        self.change(|declared| declared.why = why.into())
    }

    /// Makes the plan fail if the request is unsupported.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "the request is declared already"
    )]
    pub fn required(self) -> Self {
        self.requirement(Requirement::Required)
    }

    /// Keeps the plan from failing if the request is unsupported, even under strict.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "the request is declared already"
    )]
    pub fn optional(self) -> Self {
        self.requirement(Requirement::Optional)
    }

    /// Sets how the request is treated if it is unsupported. [`Requirement::Plain`] leaves that to the
    /// session, which may be strict, and to what was set before.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "the request is declared already"
    )]
    pub fn requirement(self, requirement: Requirement) -> Self {
        self.change(|declared| {
            if requirement != Requirement::Plain {
                declared.requirement = requirement;
            }
        })
    }

    /// Defers the change: it is not made now, and verify reports it as pending until the host shows
    /// it.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "the request is declared already"
    )]
    pub fn deferred(self, when: When) -> Self {
        if let Some(index) = self.index {
            let declared = &mut self.planner.declared[index];
            declared.role = Role::Expected(when);
            for (key, before) in declared.ahead_before.drain(..).rev() {
                match before {
                    Some(before) => self.planner.ahead.insert(key, before),
                    None => self.planner.ahead.remove(&key),
                };
            }
        }
        self
    }

    /// Names knobs on devices that the step takes away, in the order in which they are set. Their
    /// states are saved before the step and restored after it is undone, once each device is back
    /// under its name; the changes of this owner that are in effect on them then count for the
    /// device as it came back.
    ///
    /// A device that does not come back under its name within half a minute is named in a note.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "the request is declared already"
    )]
    pub fn takes_away(self, knobs: impl IntoIterator<Item = (AnyKnob, DeviceLink)>) -> Self {
        let Some(index) = self.index else {
            return self;
        };
        for (knob, device) in knobs {
            let Planner { view, ahead, .. } = &mut *self.planner;
            match view.taken_away(ahead, knob, device) {
                Ok(saved) => self.planner.declared[index].taken_away.extend(saved),
                Err(error) => {
                    self.planner.failure.get_or_insert(error);
                }
            }
        }
        self
    }

    /// Names what overrides the setting although it is set; verify reports that.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "the request is declared already"
    )]
    pub fn overridden_by(self, what: Option<String>) -> Self {
        self.change(|declared| declared.overridden = what)
    }
}
