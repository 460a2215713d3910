//! The host as planning sees it, and the outcome of a request on it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::declared::{Declared, Role, Target};
use super::planner::Refusal;
use super::{Before, SavedState};
use super::{DeviceLink, OwnedChange};
use crate::any_knob::{AnyKnob, Key};
use crate::error::Error;
use crate::host::{Host, HostError, HostErrorKind};
use crate::knob_kind::KnobKind;
use crate::registry::Registry;
use crate::unsupported::{Unsupported, UnsupportedKind};

/// The outcome of one request.
#[derive(Clone)]
pub(super) enum Outcome {
    AsWanted(Value),
    Step {
        from: Before,
        /// What the knob shows now, if `from` is not known because an earlier step makes it possible.
        planned_from: Option<Value>,
        /// The state that the knob shows, if it differs from the one to revert to.
        damaged: Option<Value>,
        side_effects: Vec<SavedState>,
    },
    Unsupported(Option<Value>, Unsupported),
    Unreadable(HostError),
}

/// Facts about knobs from the journals, which planning cannot see on the host.
#[derive(Debug, Default)]
pub(crate) struct Journalled {
    /// The knobs that another owner changed last.
    pub(crate) of_others: HashSet<Key>,
    /// The state that the last step of any owner left its knob in.
    pub(crate) last: HashMap<Key, Value>,
    /// Roundings by the kernel that are not covered by a rule of the knob: pairs of the requested
    /// state and the state it showed.
    pub(crate) rounded: HashMap<Key, Vec<(Value, Value)>>,
    /// What is in effect, in the order in which it was changed.
    pub(crate) changes: Vec<OwnedChange>,
}

/// The host as planning sees it. Each knob is read once.
pub(crate) struct PlannedView<'a> {
    pub(crate) host: &'a Host,
    pub(crate) registry: &'a Registry,
    refusals: &'a [Refusal],
    pub(super) journalled: &'a Journalled,
    seen: HashMap<Key, Value>,
}

impl std::fmt::Debug for PlannedView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sight")
            .field("read", &self.seen.len())
            .finish_non_exhaustive()
    }
}

impl<'a> PlannedView<'a> {
    pub(crate) fn new(
        host: &'a Host,
        registry: &'a Registry,
        refusals: &'a [Refusal],
        journalled: &'a Journalled,
    ) -> Self {
        Self {
            host,
            registry,
            refusals,
            journalled,
            seen: HashMap::new(),
        }
    }

    /// The network namespace that a step belongs to, if its knob or a side effect is one per
    /// namespace.
    pub(super) fn network_namespace(
        &self,
        target: &Target,
        side_effects: &[SavedState],
    ) -> Result<Option<String>, HostError> {
        let is_of_it = target.kind.is_of_network_namespace(&target.knob)
            || side_effects.iter().any(|saved| {
                let kind = self.registry.find(&saved.knob.kind);
                kind.is_ok_and(|kind| kind.is_of_network_namespace(&saved.knob))
            });
        if is_of_it {
            self.host.network_namespace()
        } else {
            Ok(None)
        }
    }

    /// What the host shows now.
    pub(super) fn read(
        &mut self,
        kind: &dyn KnobKind,
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

    /// The state of the knob after the steps so far.
    pub(crate) fn current(
        &mut self,
        ahead: &HashMap<Key, Before>,
        kind: &dyn KnobKind,
        knob: &AnyKnob,
    ) -> Result<Before, HostError> {
        let key = knob.key();
        match ahead.get(&key) {
            Some(before) => Ok(before.clone()),
            None => Ok(Before::Known(self.read(kind, knob, &key)?)),
        }
    }

    /// Decides the outcome of a request at the point of declaration, and updates the states ahead
    /// accordingly.
    pub(crate) fn advance(&mut self, ahead: &mut HashMap<Key, Before>, declared: &mut Declared) {
        let (Some(target), Role::End | Role::Means) = (&declared.target, &declared.role) else {
            return;
        };
        let outcome = self.evaluate(ahead, target, false);
        if let Outcome::Step { side_effects, .. } = &outcome {
            let before = &mut declared.ahead_before;
            let mut set = |key: Key, value| {
                before.push((key.clone(), ahead.insert(key, value)));
            };
            set(target.key.clone(), Before::Known(target.to.clone()));
            for kept in side_effects {
                set(kept.knob.key(), Before::DependsOnEarlierStep);
            }
        }
        declared.outcome = Some(outcome);
    }

    /// Whether `seen` is what the knob shows after the request.
    pub(super) fn is_as_wanted(&self, target: &Target, seen: &Value) -> bool {
        let rules = self.journalled.rounded.get(&target.key);
        target.kind.satisfies(&target.knob, seen, &target.to)
            || rules.is_some_and(|rules| {
                rules
                    .iter()
                    .any(|(to, shown)| *to == target.to && shown == seen)
            })
    }

    pub(super) fn evaluate(
        &mut self,
        ahead: &HashMap<Key, Before>,
        target: &Target,
        cured: bool,
    ) -> Outcome {
        let Target { knob, kind, .. } = target;
        let mut planned_from = None;
        // The step that resets it restores it too: without the state in between, nothing is lost.
        let is_reset = ahead.get(&target.key) == Some(&Before::DependsOnEarlierStep);
        let mut current = match self.current(ahead, *kind, knob) {
            now if cured => {
                planned_from = now.ok().and_then(|now| planned(target, now.known()?));
                Before::DependsOnEarlierStep
            }
            Ok(current) => current,
            Err(error) => return unreadable(error),
        };
        if let Before::Known(seen) = &current
            && self.is_as_wanted(target, seen)
        {
            return Outcome::AsWanted(seen.clone());
        }
        if !cured && let Some(outcome) = self.unsupported(target, current.known()) {
            if !self.is_cured_ahead(ahead, &outcome) {
                return outcome;
            }
            planned_from = current.known().and_then(|now| planned(target, now));
            current = Before::DependsOnEarlierStep;
        }
        let mut damaged = None;
        if let Before::Known(seen) = &current
            && !ahead.contains_key(&target.key)
        {
            // Another process has damaged the value that we set. It is set again, and reverted as
            // if it had stayed.
            let last = || self.journalled.last.get(&target.key).cloned();
            let Some(original) = kind.original(knob, seen).or_else(last) else {
                let why = format!(
                    "it is {}, a state that no revert could restore",
                    kind.show(knob, seen)
                );
                return Outcome::Unsupported(
                    Some(seen.clone()),
                    Unsupported::new(UnsupportedKind::OneWay, why),
                );
            };
            if original != *seen {
                damaged = Some(seen.clone());
                current = Before::Known(original);
            }
        }
        match self.affected(ahead, target) {
            Ok(side_effects) => Outcome::Step {
                from: current,
                planned_from: planned_from.or_else(|| is_reset.then(|| target.to.clone())),
                damaged,
                side_effects,
            },
            Err(error) => unreadable(error),
        }
    }

    pub(super) fn unsupported(&self, target: &Target, seen: Option<&Value>) -> Option<Outcome> {
        let Target {
            knob,
            kind,
            key,
            to,
            ..
        } = target;
        match kind.unsupported(knob, self.host, to) {
            Ok(Some(unsupported)) => Some(Outcome::Unsupported(seen.cloned(), unsupported)),
            Err(error) => Some(unreadable(error)),
            Ok(None) => self
                .refusals
                .iter()
                .find(|refusal| refusal.key == *key && refusal.to == *to)
                .map(|refusal| Outcome::Unsupported(seen.cloned(), refusal.unsupported.clone())),
        }
    }

    /// Whether an earlier step of the plan makes it supported. A later step is found once all
    /// requests are known, because that requires a search through all of them for each.
    fn is_cured_ahead(&self, ahead: &HashMap<Key, Before>, outcome: &Outcome) -> bool {
        let Outcome::Unsupported(_, unsupported) = outcome else {
            return false;
        };
        let Some((cure, state)) = &unsupported.cure else {
            return false;
        };
        matches!(
            (ahead.get(&cure.key()), self.registry.find(&cure.kind)),
            (Some(Before::Known(provided)), Ok(kind)) if kind.satisfies(cure, provided, state)
        )
    }

    /// The state of a knob that a step takes away with its device, to be restored with it. `None` if
    /// the knob has none.
    pub(super) fn taken_away(
        &mut self,
        ahead: &HashMap<Key, Before>,
        knob: AnyKnob,
        device: DeviceLink,
    ) -> Result<Option<SavedState>, Error> {
        let kind = self.registry.find(&knob.kind)?;
        let state = match self.current(ahead, kind, &knob) {
            Ok(Before::Known(seen)) if kind.is_gone(&knob, &seen) => return Ok(None),
            Ok(Before::Known(seen)) => Before::Known(kind.original(&knob, &seen).unwrap_or(seen)),
            Ok(state @ Before::DependsOnEarlierStep) => state,
            Err(error) if error.kind().is_absence() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(SavedState {
            knob,
            state,
            device: Some(device),
        }))
    }

    fn affected(
        &mut self,
        ahead: &HashMap<Key, Before>,
        target: &Target,
    ) -> Result<Vec<SavedState>, HostError> {
        let mut side_effects = Vec::new();
        for knob in target
            .kind
            .side_effects(&target.knob, self.host, &target.to)?
        {
            let kind = self.registry.find(&knob.kind).map_err(|error| {
                HostError::malformed(target.knob.text.clone(), error.to_string())
            })?;
            let state = match self.current(ahead, kind, &knob)? {
                Before::Known(seen) => Before::Known(kind.original(&knob, &seen).unwrap_or(seen)),
                state @ Before::DependsOnEarlierStep => state,
            };
            side_effects.push(SavedState {
                knob,
                state,
                device: None,
            });
        }
        Ok(side_effects)
    }
}

/// What a revert can set again if the state before a step is lost, which is not known when it is planned.
fn planned(target: &Target, now: &Value) -> Option<Value> {
    let Target { knob, kind, to, .. } = target;
    if kind.is_gone(knob, now) {
        return None;
    }
    let original = kind.original(knob, now)?;
    if kind.satisfies(knob, &original, to) {
        // With or without the step, nothing is lost.
        return Some(to.clone());
    }
    Some(original)
}

fn unreadable(error: HostError) -> Outcome {
    match error.kind() {
        HostErrorKind::NotApplicable(unsupported) => {
            Outcome::Unsupported(None, unsupported.clone())
        }
        _ => Outcome::Unreadable(error),
    }
}
