//! The result of verify: the same requests, checked.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::any_knob::AnyKnob;
use crate::plan::{Requirement, When, Why};
use crate::unsupported::Unsupported;

/// The state of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
#[non_exhaustive]
pub enum State {
    /// The host shows the requested state.
    Matches,
    /// The host shows something else.
    Drifted,
    /// The host shows the requested state as rounded by the kernel.
    Rounded,
    /// It is unsupported on this host.
    NotApplicable {
        /// Why it is unsupported.
        unsupported: Unsupported,
    },
    /// It takes effect later.
    Pending {
        /// The event after which it does.
        until: When,
    },
    /// It is set, but something else overrides it.
    Overridden {
        /// What overrides it, and where.
        by: String,
    },
    /// It cannot be determined.
    Unverifiable {
        /// Why not.
        why: String,
    },
}

impl State {
    /// Whether verify fails because of it.
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

/// A request and its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The part of the tuning that requests it, names joined by `/`.
    pub part: String,
    /// The knob as data; `None` for something that a tuning skipped by name.
    pub knob: Option<AnyKnob>,
    /// The knob, for people.
    pub name: String,
    /// The requested state; `None` if a tuning skipped it before it had determined one.
    pub wanted: Option<Value>,
    /// The requested state, for people.
    pub wanted_text: String,
    /// What the host shows; `None` if it could not be read.
    pub seen: Option<Value>,
    /// What the host shows, for people.
    pub seen_text: String,
    /// The state of the request.
    pub state: State,
    /// Why it is requested.
    pub why: Why,
    /// How it is treated if it is unsupported.
    pub requirement: Requirement,
}

impl Finding {
    /// Whether verify fails because of it.
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
            State::NotApplicable { unsupported } => unsupported.hint.clone(),
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
                " is {}, rounded by the kernel from {}",
                self.seen_text, self.wanted_text
            ),
            State::NotApplicable { unsupported } => write!(f, ": {unsupported}"),
            State::Pending { until } => write!(
                f,
                " is {} and becomes {} after the next {until}",
                self.seen_text, self.wanted_text
            ),
            State::Overridden { by } => write!(f, " is overridden by {by}"),
            State::Unverifiable { why } => write!(f, " cannot be verified: {why}"),
        }
    }
}

/// The result of verify.
#[must_use = "it tells whether the host is as requested: check is_as_wanted(), or print it"]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The owner of the requests.
    pub owner: String,
    /// All requests in the order of their declaration, except intermediate steps.
    pub items: Vec<Finding>,
    /// Notes for people.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether everything that applies is as requested: nothing has drifted, no required setting is
    /// unsupported here, and nothing is unknown because it could not be read.
    pub fn is_as_wanted(&self) -> bool {
        !self.items.iter().any(Finding::is_failure)
    }
}

/// A line for each request that verify fails because of, or one that says that there is none.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut failures = self.items.iter().filter(|item| item.is_failure());
        match failures.next() {
            None => f.write_str("as wanted"),
            Some(first) => {
                write!(f, "{first}")?;
                failures.try_for_each(|failure| write!(f, "\n{failure}"))
            }
        }
    }
}
