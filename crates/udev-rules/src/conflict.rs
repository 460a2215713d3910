//! The combined result of all rules, and conflicts with requested values.

use std::fmt;

use super::evaluation::{Action, Certainty, Evaluator, Setter};
use super::{Device, RuleFiles};

/// What the rules set an attribute of a disk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// No rule sets it.
    Untouched,
    /// This is the last rule that applies and sets it.
    Set(Setter),
    /// One of these rules sets it, or none; in the order in which they write. The first one may be
    /// certain.
    Perhaps(Vec<Setter>),
}

impl Outcome {
    fn of(setters: Vec<Setter>) -> Self {
        let is_certain =
            |setter: &Setter| setter.certainty == Certainty::Certain && setter.value.is_some();
        let last = setters.iter().rposition(is_certain).unwrap_or(0);
        let mut left: Vec<Setter> = setters.into_iter().skip(last).collect();
        match left.as_slice() {
            [] => Self::Untouched,
            [only] if is_certain(only) => Self::Set(left.remove(0)),
            _ => Self::Perhaps(left),
        }
    }

    /// The rules that the result may come from.
    pub fn setters(&self) -> &[Setter] {
        match self {
            Self::Untouched => &[],
            Self::Set(setter) => std::slice::from_ref(setter),
            Self::Perhaps(setters) => setters,
        }
    }
}

/// Rules that set an attribute to something other than the requested value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The attribute, relative to the disk's directory.
    pub attribute: String,
    /// The requested value.
    pub wanted: String,
    /// The events on which the rules do this.
    pub actions: Vec<Action>,
    /// What the rules set it to.
    pub outcome: Outcome,
}

impl Conflict {
    /// Whether the conflict is certain.
    pub fn is_certain(&self) -> bool {
        matches!(self.outcome, Outcome::Set(_))
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<&str> = self.actions.iter().map(|action| action.name()).collect();
        let Self {
            attribute, wanted, ..
        } = self;
        write!(
            f,
            "{attribute} is requested as {wanted}, but on {} udev sets: ",
            actions.join(" and ")
        )?;
        let setters = self.outcome.setters().iter().map(ToString::to_string);
        f.write_str(&setters.collect::<Vec<_>>().join(", then "))
    }
}

impl Evaluator {
    /// What the rules set an attribute to, relative to the disk's directory (`queue/scheduler`).
    pub fn outcome(&self, device: &Device<'_>, action: Action, attribute: &str) -> Outcome {
        let mut setters = self.setters(device, action);
        setters.extend(self.setters_by_partitions(device, action));
        setters.retain(|setter| setter.attribute == attribute);
        Outcome::of(setters)
    }

    /// Finds the rules that would set these attributes to something other than these values.
    ///
    /// `satisfies` tells whether the value that a rule writes satisfies the requested one: an
    /// alias, or a value that the kernel rounds to the same.
    pub fn fights(
        &self,
        device: &Device<'_>,
        wanted: &[(&str, &str)],
        satisfies: impl Fn(&str, &str, &str) -> bool,
    ) -> Vec<Conflict> {
        let mut fights: Vec<Conflict> = Vec::new();
        for action in [Action::Add, Action::Change] {
            let mut setters = self.setters(device, action);
            setters.extend(self.setters_by_partitions(device, action));
            for &(attribute, wanted) in wanted {
                let about = setters
                    .iter()
                    .filter(|setter| setter.attribute == attribute);
                let outcome = Outcome::of(about.cloned().collect());
                let agrees = |setter: &Setter| {
                    let value = setter.value.as_deref();
                    value.is_some_and(|value| {
                        value.trim() == wanted || satisfies(attribute, value, wanted)
                    })
                };
                if outcome.setters().iter().all(agrees) {
                    continue;
                }
                let same = fights
                    .iter_mut()
                    .find(|fight| fight.attribute == attribute && fight.outcome == outcome);
                match same {
                    Some(fight) => fight.actions.push(action),
                    None => fights.push(Conflict {
                        attribute: attribute.to_owned(),
                        wanted: wanted.to_owned(),
                        actions: vec![action],
                        outcome,
                    }),
                }
            }
        }
        fights
    }
}

impl RuleFiles {
    /// [`Evaluator::outcome`] for one disk.
    pub fn outcome(&self, device: &Device<'_>, action: Action, attribute: &str) -> Outcome {
        Evaluator::new(self).outcome(device, action, attribute)
    }
}
