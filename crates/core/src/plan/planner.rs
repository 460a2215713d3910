//! Where a tuning says what it wants, and sees the host as the earlier steps will leave it.

use std::collections::HashMap;

use serde_json::Value;

use super::declared::{Declared, Role};
use super::sight::{Journalled, Outcome, Sight};
use super::{Before, Plan, Requirement, When, Why};
use super::{arrange, findings};
use crate::error::{Error, HostError};
use crate::host::{Host, Looking};
use crate::knob::{AnyKnob, Key, Knob, Lack, Registry};
use crate::report::Report;
use crate::selection::Selection;
use crate::tuning::Tuning;

/// A wish that this very kernel refused earlier in this boot, as the journal remembers it.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) key: Key,
    pub(crate) to: Value,
    pub(crate) lack: Lack,
}

/// Collects wishes and shows the host as it will be.
#[derive(Debug)]
pub struct Planner<'a> {
    sight: Sight<'a>,
    _looking: Looking<'a>,
    /// What the earlier steps leave, where that differs from what the host shows.
    ahead: HashMap<Key, Before>,
    only: &'a Selection,
    strict: bool,
    part: Vec<String>,
    /// The names of all parts so far, each once.
    parts: Vec<String>,
    declared: Vec<Declared>,
    notes: Vec<String>,
    /// A wish cannot fail where it is declared; what made the plan impossible waits here.
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
            sight: Sight::new(host, registry, refusals, journalled),
            _looking: host.begin_look(),
            ahead: HashMap::new(),
            only,
            strict,
            part: Vec::new(),
            parts: Vec::new(),
            declared: Vec::new(),
            notes: Vec::new(),
            failure: None,
        }
    }

    /// The host, for facts beside the knobs.
    pub fn host(&self) -> &'a Host {
        self.sight.host
    }

    /// Whether what is declared here counts: not in a part that `--only` leaves out.
    ///
    /// For a tuning that has to look at much before it can say what it wants.
    pub fn is_selected(&self) -> bool {
        self.only.admits(&self.part)
    }

    /// What a knob will show when the steps declared so far are done.
    ///
    /// # Errors
    /// [`Error::Unsettled`] after a step that resets it, and whatever the host answers.
    pub fn now<K: Knob>(&mut self, knob: &K) -> Result<K::State, Error> {
        let kind = self.sight.registry.kind_of::<K>()?;
        let knob = AnyKnob::of(knob);
        let state = match self.sight.current(&self.ahead, &kind, &knob)? {
            Before::Known(state) => state,
            Before::Unsettled => return Err(Error::Unsettled { knob: knob.text }),
        };
        serde_json::from_value(state)
            .map_err(|error| HostError::malformed(knob.text, error.to_string()).into())
    }

    /// Why wanting this would be refused, if it would be: it does not apply on this host, or this
    /// kernel refused it earlier in this boot.
    ///
    /// For a tuning that leaves out all of itself where a part of it is refused.
    ///
    /// # Errors
    /// What the host answers where it would not say.
    pub fn lacks<K: Knob>(&mut self, knob: &K, to: &K::State) -> Result<Option<Lack>, Error> {
        let kind = self.sight.registry.kind_of::<K>()?;
        let knob = AnyKnob::of(knob);
        let to = serde_json::to_value(to)
            .map_err(|error| HostError::malformed(knob.text.clone(), error.to_string()))?;
        let wish = Declared::new(String::new(), knob, kind, to, String::new(), Role::End);
        let outcome = wish
            .target
            .map(|target| self.sight.evaluate(&self.ahead, &target, false));
        match outcome {
            Some(Outcome::Lacking(_, lack)) => Ok(Some(lack)),
            Some(Outcome::Unreadable(error)) => Err(error.into()),
            _ => Ok(None),
        }
    }

    /// Wants a knob to be so: an end, which verify checks.
    pub fn want<K: Knob>(&mut self, knob: &K, to: &K::State) -> Wish<'_, 'a> {
        self.declare(knob, to, Role::End)
    }

    /// Turns a knob on the way to an end; verify is silent about it.
    pub fn pass<K: Knob>(&mut self, knob: &K, to: &K::State) -> Wish<'_, 'a> {
        self.declare(knob, to, Role::Means)
    }

    /// Expects a knob to be so after `when`: it can be read and not turned now.
    pub fn expect<K: Knob>(&mut self, knob: &K, to: &K::State, when: When) -> Wish<'_, 'a> {
        self.declare(knob, to, Role::Expected(when))
    }

    /// Reports something that was not even tried.
    pub fn skip(&mut self, what: &str, lack: Lack) -> Wish<'_, 'a> {
        if !self.is_selected() {
            return self.nothing();
        }
        let part = self.part.join("/");
        self.push(Declared::skipped(part, what.to_owned(), lack))
    }

    /// A part of the tuning under its own name, which plans, conflicts and `--only` use.
    pub fn part(&mut self, name: &str, tuning: &(impl Tuning + ?Sized)) {
        if !self.parts.iter().any(|known| known == name) {
            self.parts.push(name.to_owned());
        }
        self.part.push(name.to_owned());
        if let Err(error) = tuning.declare(self) {
            self.failure.get_or_insert(error);
        }
        self.part.pop();
    }

    /// Something a person should know beside the plan.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.is_selected() && !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    fn declare<K: Knob>(&mut self, knob: &K, to: &K::State, role: Role) -> Wish<'_, 'a> {
        if !self.is_selected() {
            return self.nothing();
        }
        let kind = match self.sight.registry.kind_of::<K>() {
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
        // Before the modifiers are known: a deferred wish takes this back.
        self.sight.advance(&mut self.ahead, &mut declared);
        self.push(declared)
    }

    fn push(&mut self, mut declared: Declared) -> Wish<'_, 'a> {
        if self.strict {
            declared.requirement = Requirement::Required;
        }
        self.declared.push(declared);
        let index = Some(self.declared.len() - 1);
        Wish {
            planner: self,
            index,
        }
    }

    fn nothing(&mut self) -> Wish<'_, 'a> {
        Wish {
            planner: self,
            index: None,
        }
    }

    pub(crate) fn into_parts(self) -> Result<Vec<String>, Error> {
        self.failure.map_or(Ok(self.parts), Err)
    }

    pub(crate) fn into_plan(mut self, owner: &str) -> Result<Plan, Error> {
        self.check()?;
        self.ahead = HashMap::new();
        let arranged = arrange::arrange(&mut self.sight, self.declared)?;
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
        let items = findings::report(&mut self.sight, self.declared);
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

/// One wish, to be told why and how much it is wanted.
#[derive(Debug)]
pub struct Wish<'p, 'a> {
    planner: &'p mut Planner<'a>,
    index: Option<usize>,
}

impl Wish<'_, '_> {
    fn change(self, change: impl FnOnce(&mut Declared)) -> Self {
        if let Some(index) = self.index {
            change(&mut self.planner.declared[index]);
        }
        self
    }

    /// Why: shown in the plan, by verify and in the journal.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "a wish is declared already; `why` is often the last word"
    )]
    pub fn why(self, why: impl Into<Why>) -> Self {
        self.change(|declared| declared.why = why.into())
    }

    /// Where it does not apply, the plan is an error.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "a wish is declared already"
    )]
    pub fn required(self) -> Self {
        self.change(|declared| declared.requirement = Requirement::Required)
    }

    /// Where it does not apply, that is never an error, under strict neither.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "a wish is declared already"
    )]
    pub fn optional(self) -> Self {
        self.change(|declared| declared.requirement = Requirement::Optional)
    }

    /// It is not turned now; until it shows, verify says pending.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "a wish is declared already"
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

    /// Something else beats it although it is set; verify says by what.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "a wish is declared already"
    )]
    pub fn overridden_by(self, what: Option<String>) -> Self {
        self.change(|declared| declared.overridden = what)
    }
}
