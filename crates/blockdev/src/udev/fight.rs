//! What all rules come to, and where that is not what is wanted.

use std::fmt;

use super::evaluation::{Action, Certainty, Evaluator, Setter};
use super::{Device, RuleFiles};

/// What the rules leave an attribute of a disk at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// None sets it.
    Untouched,
    /// The last of them that applies sets it so.
    Set(Setter),
    /// One of these does, or none; in the order in which they write. The first may be one that
    /// applies for certain.
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

    /// The rules that it may come from.
    pub fn setters(&self) -> &[Setter] {
        match self {
            Self::Untouched => &[],
            Self::Set(setter) => std::slice::from_ref(setter),
            Self::Perhaps(setters) => setters,
        }
    }
}

/// Rules that would set an attribute to something else than what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fight {
    /// The attribute, relative to the disk's directory.
    pub attribute: String,
    /// What is wanted of it.
    pub wanted: String,
    /// On which events they do.
    pub actions: Vec<Action>,
    /// What they leave it at.
    pub outcome: Outcome,
}

impl Fight {
    /// Whether it is certain that they do.
    pub fn is_certain(&self) -> bool {
        matches!(self.outcome, Outcome::Set(_))
    }
}

impl fmt::Display for Fight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<&str> = self.actions.iter().map(|action| action.name()).collect();
        let Self {
            attribute, wanted, ..
        } = self;
        write!(
            f,
            "{attribute} is wanted {wanted}, and on {} udev has: ",
            actions.join(" and ")
        )?;
        let setters = self.outcome.setters().iter().map(ToString::to_string);
        f.write_str(&setters.collect::<Vec<_>>().join(", then "))
    }
}

impl Evaluator {
    /// What the rules leave an attribute at, relative to the disk's directory (`queue/scheduler`).
    pub fn outcome(&self, device: &Device<'_>, action: Action, attribute: &str) -> Outcome {
        let mut setters = self.setters(device, action);
        setters.extend(self.setters_by_partitions(device, action));
        setters.retain(|setter| setter.attribute == attribute);
        Outcome::of(setters)
    }

    /// Where the rules would set something else than these attributes and values.
    ///
    /// `counts_as` says of an attribute whether what a rule writes is as good as what is wanted: an
    /// alias, or what the kernel rounds to the same.
    pub fn fights(
        &self,
        device: &Device<'_>,
        wanted: &[(&str, &str)],
        counts_as: impl Fn(&str, &str, &str) -> bool,
    ) -> Vec<Fight> {
        let mut fights: Vec<Fight> = Vec::new();
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
                        value.trim() == wanted || counts_as(attribute, value, wanted)
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
                    None => fights.push(Fight {
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
