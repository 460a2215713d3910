//! What the verbs answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Left, LeftBecause, Undone};
use crate::journal::JournalError;
use crate::knob::AnyKnob;
use crate::plan::Step;
use crate::report::Finding;

/// What an apply did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// What was turned, in order, and read back.
    pub turned: Vec<Step>,
    /// The wishes that are no step: as wanted already, not applicable, pending, and what the
    /// kernel refused without anything being broken.
    pub findings: Vec<Finding>,
    /// What a person should know beside it.
    pub notes: Vec<String>,
    /// What an earlier run had left open and was put right first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Reverted>,
    /// The review said no; nothing was turned.
    #[serde(default)]
    pub declined: bool,
}

/// What a revert or a recovery did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reverted {
    /// What was put back, in the order done.
    pub undone: Vec<Undone>,
    /// What was not, and why; it stays in the journal.
    pub left: Vec<Left>,
    /// How many turns a reboot had taken back already.
    pub by_reboot: usize,
    /// What a person should know beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why the journal does not say so: what was put back is put back, and still in it. The next
    /// run finds it right already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<Unrecorded>,
}

/// Why the journal could not be cleared of what was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrecorded {
    /// What failed, with what the kernel answered.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Unrecorded {
    pub(crate) fn of(error: &JournalError) -> Self {
        let why = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self {
            why,
            hint: error.hint(),
        }
    }
}

impl Reverted {
    /// Whether nothing is left that could not be put back. What somebody else has set since
    /// does not count, nor what somebody uses or what is hidden for now, nor what waits for it: leaving that is what was
    /// promised.
    pub fn is_complete(&self) -> bool {
        self.left.iter().all(|left| {
            matches!(
                left.because,
                LeftBecause::Theirs
                    | LeftBecause::InUse(_)
                    | LeftBecause::Hidden(_)
                    | LeftBecause::Waits
            )
        })
    }

    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn record(&mut self, recorded: Result<(), JournalError>) {
        if let Err(error) = recorded {
            self.unrecorded.get_or_insert(Unrecorded::of(&error));
        }
    }

    pub(super) fn join(&mut self, later: Self) {
        self.undone.extend(later.undone);
        // What was left first and tried again is as the later says.
        self.left = later.left;
        self.by_reboot = self.by_reboot.max(later.by_reboot);
        self.unrecorded = self.unrecorded.take().or(later.unrecorded);
        for note in later.notes {
            self.note(note);
        }
    }
}

/// One turn that is owed a way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Owed {
    /// The part it was for.
    pub part: String,
    /// The knob.
    pub knob: AnyKnob,
    /// What we set, as printed.
    pub ours: String,
    /// What it was, as printed.
    pub original: String,
    /// What the host shows, as printed.
    pub seen: String,
    /// Whether the host still shows what we set.
    pub is_ours: bool,
    /// Why it shows no value that anybody could have set: it has gone, or cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// What told the thing from another of its name when it was turned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// What the journal says, and how the host stands to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What would be put back, oldest first.
    pub owed: Vec<Owed>,
    /// What an earlier run left open, and what the next one does about it.
    pub open: Option<String>,
    /// What the kernel refused in this boot.
    pub refused: Vec<String>,
    /// How many turns a reboot has taken back.
    pub by_reboot: usize,
}

impl fmt::Display for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.knob, self.original, self.ours)?;
        if !self.is_ours {
            write!(f, ", is {} now", self.seen)?;
        }
        Ok(())
    }
}
