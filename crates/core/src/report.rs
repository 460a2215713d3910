//! The same wishes, read: what verify answers.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::knob::{AnyKnob, Lack};
use crate::plan::{Requirement, When, Why};

/// How one wish stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
#[non_exhaustive]
pub enum State {
    /// The host shows what is wanted.
    Matches,
    /// The host shows something else.
    Drifted,
    /// The host shows what the kernel makes of what is wanted.
    Rounded,
    /// It does not apply on this host.
    NotApplicable {
        /// What is lacking.
        lack: Lack,
    },
    /// It takes effect later.
    Pending {
        /// After what.
        until: When,
    },
    /// It is set, and something else beats it.
    Overridden {
        /// What beats it, with its place.
        by: String,
    },
    /// Nobody can tell.
    Unverifiable {
        /// Why not.
        why: String,
    },
}

impl State {
    /// Whether verify fails for it.
    pub fn is_drift(&self) -> bool {
        matches!(self, Self::Drifted | Self::Overridden { .. })
    }

    /// The state's stable name, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Matches => "matches",
            Self::Drifted => "drifted",
            Self::Rounded => "rounded",
            Self::NotApplicable { .. } => "not-applicable",
            Self::Pending { .. } => "pending",
            Self::Overridden { .. } => "overridden",
            Self::Unverifiable { .. } => "unverifiable",
        }
    }
}

/// One wish and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The part of the tuning that wants it, names joined by `/`.
    pub part: String,
    /// The knob as data; `None` for what a tuning skipped by name.
    pub knob: Option<AnyKnob>,
    /// The knob as a person reads it.
    pub name: String,
    /// What is wanted; `None` where a tuning skipped it before it came to that.
    pub wanted: Option<Value>,
    /// What is wanted, as a person reads it.
    pub wanted_text: String,
    /// What the host shows; `None` where it could not be read.
    pub seen: Option<Value>,
    /// What the host shows, as a person reads it.
    pub seen_text: String,
    /// How it stands.
    pub state: State,
    /// Why it is wanted.
    pub why: Why,
    /// What becomes of it where it does not apply.
    pub requirement: Requirement,
}

impl Finding {
    /// Whether verify fails for it.
    pub fn is_failure(&self) -> bool {
        match self.state {
            State::NotApplicable { .. } => self.requirement == Requirement::Required,
            State::Unverifiable { .. } => true,
            _ => self.state.is_drift(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &self.state {
            State::NotApplicable { lack } => lack.hint.clone(),
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match &self.state {
            State::Matches => write!(f, " is {}", self.seen_text),
            State::Drifted => write!(f, " is {}, wanted {}", self.seen_text, self.wanted_text),
            State::Rounded => write!(
                f,
                " is {}, which is what the kernel makes of {}",
                self.seen_text, self.wanted_text
            ),
            State::NotApplicable { lack } => write!(f, ": {lack}"),
            State::Pending { until } => write!(
                f,
                " is {} and becomes {} after the next {until}",
                self.seen_text, self.wanted_text
            ),
            State::Overridden { by } => write!(f, " is beaten by {by}"),
            State::Unverifiable { why } => write!(f, " cannot be verified: {why}"),
        }
    }
}

/// What verify answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whose wishes.
    pub owner: String,
    /// Every wish, in the order declared; means are left out.
    pub items: Vec<Finding>,
    /// What a person should know beside it.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether everything that applies is as wanted: nothing has drifted, nothing that is required
    /// is missing here, and nothing is unknown because it could not be read.
    pub fn is_as_wanted(&self) -> bool {
        !self.items.iter().any(Finding::is_failure)
    }
}
