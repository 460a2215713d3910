//! A request as declared by a tuning.

use serde_json::Value;

use super::view::Outcome;
use super::{Before, Requirement, SavedState, When, Why};
use crate::any_knob::{AnyKnob, Key, show_value};
use crate::knob_kind::KnobKind;
use crate::report::{Finding, State};
use crate::unsupported::Unsupported;

/// The role of a request in its tuning.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    End,
    Means,
    Expected(When),
    Skipped(Unsupported),
}

/// The knob of a request, and the requested state.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) knob: AnyKnob,
    pub(crate) kind: &'static dyn KnobKind,
    pub(crate) key: Key,
    pub(crate) to: Value,
    pub(crate) to_text: String,
}

/// A request as declared.
pub(crate) struct Declared {
    pub(crate) part: String,
    pub(crate) name: String,
    pub(crate) target: Option<Target>,
    pub(crate) role: Role,
    pub(crate) why: Why,
    pub(crate) requirement: Requirement,
    pub(crate) overridden: Option<String>,
    /// The knobs on devices that the step takes away, with their states.
    pub(super) taken_away: Vec<SavedState>,
    /// What the planner knew about the knobs that this request changes, before the request.
    pub(crate) ahead_before: Vec<(Key, Option<Before>)>,
    /// Its outcome at the point of declaration.
    pub(super) outcome: Option<Outcome>,
    /// A step of the plan makes it supported.
    pub(super) cured: bool,
}

impl std::fmt::Debug for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Declared")
            .field("part", &self.part)
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Declared {
    pub(crate) fn new(
        part: String,
        knob: AnyKnob,
        kind: &'static dyn KnobKind,
        to: Value,
        to_text: String,
        role: Role,
    ) -> Self {
        Self {
            part,
            name: knob.text.clone(),
            target: Some(Target {
                key: knob.key(),
                knob,
                kind,
                to,
                to_text,
            }),
            role,
            why: Why::default(),
            requirement: Requirement::Plain,
            overridden: None,
            taken_away: Vec::new(),
            ahead_before: Vec::new(),
            outcome: None,
            cured: false,
        }
    }

    pub(crate) fn skipped(part: String, name: String, unsupported: Unsupported) -> Self {
        Self {
            part,
            name,
            target: None,
            role: Role::Skipped(unsupported),
            why: Why::default(),
            requirement: Requirement::Plain,
            overridden: None,
            taken_away: Vec::new(),
            ahead_before: Vec::new(),
            outcome: None,
            cured: false,
        }
    }

    pub(super) fn finding(&self, seen: Option<&Value>, state: State) -> Finding {
        let show = |value: &Value| match &self.target {
            Some(target) => target.kind.show(&target.knob, value),
            None => show_value(value),
        };
        Finding {
            part: self.part.clone(),
            knob: self.target.as_ref().map(|target| target.knob.clone()),
            name: self.name.clone(),
            wanted: self.target.as_ref().map(|target| target.to.clone()),
            wanted_text: self
                .target
                .as_ref()
                .map_or_else(String::new, |target| target.to_text.clone()),
            seen: seen.cloned(),
            seen_text: seen.map_or_else(String::new, show),
            state,
            why: self.why.clone(),
            requirement: self.requirement,
        }
    }
}
