//! The host as planning sees it, and what becomes of a wish on it.

use std::collections::HashMap;

use serde_json::Value;

use super::declared::{Declared, Role, Target};
use super::planner::Refusal;
use super::{Before, Kept};
use crate::error::{HostError, HostErrorKind};
use crate::host::Host;
use crate::knob::{AnyKnob, Key, KnobKind, Lack, Registry};

/// What becomes of one wish.
#[derive(Clone)]
pub(super) enum Outcome {
    AsWanted(Value),
    Step { from: Before, disturbs: Vec<Kept> },
    Lacking(Option<Value>, Lack),
    Unreadable(HostError),
}

/// The host as planning sees it: each knob is read once.
pub(crate) struct Sight<'a> {
    pub(crate) host: &'a Host,
    pub(crate) registry: &'a Registry,
    refusals: &'a [Refusal],
    seen: HashMap<Key, Value>,
}

impl std::fmt::Debug for Sight<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sight")
            .field("read", &self.seen.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Sight<'a> {
    pub(crate) fn new(host: &'a Host, registry: &'a Registry, refusals: &'a [Refusal]) -> Self {
        Self {
            host,
            registry,
            refusals,
            seen: HashMap::new(),
        }
    }

    /// What the host shows now.
    pub(super) fn read(
        &mut self,
        kind: &KnobKind,
        knob: &AnyKnob,
        key: &Key,
    ) -> Result<Value, HostError> {
        if let Some(seen) = self.seen.get(key) {
            return Ok(seen.clone());
        }
        let seen = kind.read(knob, self.host)?;
        self.seen.insert(key.clone(), seen.clone());
        Ok(seen)
    }

    /// What the knob will show after the steps so far.
    pub(crate) fn current(
        &mut self,
        ahead: &HashMap<Key, Before>,
        kind: &KnobKind,
        knob: &AnyKnob,
    ) -> Result<Before, HostError> {
        let key = knob.key();
        match ahead.get(&key) {
            Some(before) => Ok(before.clone()),
            None => Ok(Before::Known(self.read(kind, knob, &key)?)),
        }
    }

    /// Decides what becomes of a wish where it is declared, and lets it take effect on what
    /// lies ahead.
    pub(crate) fn advance(&mut self, ahead: &mut HashMap<Key, Before>, declared: &mut Declared) {
        let (Some(target), Role::End | Role::Means) = (&declared.target, &declared.role) else {
            return;
        };
        let outcome = self.evaluate(ahead, target, false);
        if let Outcome::Step { disturbs, .. } = &outcome {
            let before = &mut declared.ahead_before;
            let mut set = |key: Key, value| {
                before.push((key.clone(), ahead.insert(key, value)));
            };
            set(target.key.clone(), Before::Known(target.to.clone()));
            for kept in disturbs {
                set(kept.knob.key(), Before::Unsettled);
            }
        }
        declared.outcome = Some(outcome);
    }

    pub(super) fn evaluate(
        &mut self,
        ahead: &HashMap<Key, Before>,
        target: &Target,
        cured: bool,
    ) -> Outcome {
        let Target { knob, kind, to, .. } = target;
        let mut current = match self.current(ahead, kind, knob) {
            _ if cured => Before::Unsettled,
            Ok(current) => current,
            Err(error) => return unreadable(error),
        };
        if let Before::Known(seen) = &current
            && kind.counts_as(knob, seen, to)
        {
            return Outcome::AsWanted(seen.clone());
        }
        if !cured && let Some(outcome) = self.lacking(target, current.known()) {
            if !self.is_cured_ahead(ahead, &outcome) {
                return outcome;
            }
            current = Before::Unsettled;
        }
        match self.disturbed(ahead, target) {
            Ok(disturbs) => Outcome::Step {
                from: current,
                disturbs,
            },
            Err(error) => unreadable(error),
        }
    }

    pub(super) fn lacking(&self, target: &Target, seen: Option<&Value>) -> Option<Outcome> {
        let Target {
            knob,
            kind,
            key,
            to,
            ..
        } = target;
        match kind.lacks(knob, self.host, to) {
            Ok(Some(lack)) => Some(Outcome::Lacking(seen.cloned(), lack)),
            Err(error) => Some(unreadable(error)),
            Ok(None) => self
                .refusals
                .iter()
                .find(|refusal| refusal.key == *key && refusal.to == *to)
                .map(|refusal| Outcome::Lacking(seen.cloned(), refusal.lack.clone())),
        }
    }

    /// Whether an earlier step of the plan provides what is lacking. One that comes later is found
    /// when the whole is known; that takes a look at all wishes, for each.
    fn is_cured_ahead(&self, ahead: &HashMap<Key, Before>, outcome: &Outcome) -> bool {
        let Outcome::Lacking(_, lack) = outcome else {
            return false;
        };
        let Some((cure, state)) = &lack.cure else {
            return false;
        };
        matches!(
            (ahead.get(&cure.key()), self.registry.find(&cure.kind)),
            (Some(Before::Known(provided)), Ok(kind)) if kind.counts_as(cure, provided, state)
        )
    }

    fn disturbed(
        &mut self,
        ahead: &HashMap<Key, Before>,
        target: &Target,
    ) -> Result<Vec<Kept>, HostError> {
        let mut disturbs = Vec::new();
        for knob in target.kind.disturbs(&target.knob, self.host, &target.to)? {
            let kind = self.registry.find(&knob.kind).map_err(|error| {
                HostError::malformed(target.knob.text.clone(), error.to_string())
            })?;
            let state = self.current(ahead, &kind, &knob)?;
            disturbs.push(Kept { knob, state });
        }
        Ok(disturbs)
    }
}

fn unreadable(error: HostError) -> Outcome {
    match error.kind() {
        HostErrorKind::NotApplicable(lack) => Outcome::Lacking(None, lack.clone()),
        _ => Outcome::Unreadable(error),
    }
}
