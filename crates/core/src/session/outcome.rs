//! The results of apply, revert and status.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::any_knob::AnyKnob;
use crate::host::{HostError, HostErrorKind};
use crate::journal::JournalError;
use crate::plan::{Requirement, Step};
use crate::report::{Finding, State};

/// The result of an apply.
///
/// An apply that fails is an error, and nothing is changed then. One that succeeds can still have
/// requests that are not in effect: [`is_complete`](Self::is_complete) tells, and its `Display` names
/// them.
#[must_use = "some requests may not be in effect: check is_complete(), or print it"]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Applied {
    /// The changes made and verified, in order.
    pub changed: Vec<Step>,
    /// The requests that needed no step: as requested already, unsupported, pending, or refused by
    /// the kernel without anything being broken.
    pub findings: Vec<Finding>,
    /// Notes for people.
    pub notes: Vec<String>,
    /// The recovery of an interrupted run, which happens first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Reverted>,
    /// The review declined the plan; nothing was changed.
    #[serde(default)]
    pub declined: bool,
}

impl Applied {
    /// The outcome of a caller that was declined before it called the engine.
    pub fn declined() -> Self {
        Self {
            declined: true,
            ..Self::default()
        }
    }

    /// Whether all requests are in effect: none is unsupported here, refused by the kernel, waiting
    /// for a reboot or a reload, overridden or unreadable. Optional requests do not count.
    pub fn is_complete(&self) -> bool {
        !self.declined && self.not_in_effect().next().is_none()
    }

    /// The requests that are not in effect, without optional ones.
    fn not_in_effect(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| {
            finding.requirement != Requirement::Optional
                && !matches!(finding.state, State::Matches | State::Rounded)
        })
    }
}

/// A line with the number of changes, and one for each request that is not in effect.
impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.declined, self.changed.len()) {
            (true, _) => f.write_str("declined, nothing changed")?,
            (false, 0) => f.write_str("nothing to change")?,
            (false, 1) => f.write_str("1 change")?,
            (false, changes) => write!(f, "{changes} changes")?,
        }
        self.not_in_effect()
            .try_for_each(|finding| write!(f, "\nnot in effect: {finding}"))
    }
}

/// A step that was undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Undone {
    /// The part that requested it.
    pub part: String,
    /// The knob.
    pub knob: AnyKnob,
    /// The value that we had set, as printed.
    pub ours: String,
    /// The original value, which it has again, as printed.
    pub original: String,
    /// Whether nothing was written: it had its original value already, the device is gone, or
    /// another owner wants the current value.
    pub already: bool,
    /// The owner that wants the current value and will revert to the original instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// The value of another process that a forced revert replaced, as printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
}

/// Why a step was not undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NotRevertedReason {
    /// Another process, which is no owner, has changed it since.
    Theirs,
    /// A later step of the same knob, or of a knob that resets it, could not be undone.
    Waits,
    /// Undoing it would destroy the value of another knob that could not be reverted; holds which.
    WaitsFor(String),
    /// It is in use and not taken away from its users; holds who uses it or how.
    InUse(String),
    /// The change was refused; holds why.
    Refused(String),
    /// The write was accepted and the host shows something else.
    NotTaken,
    /// It could not be read; holds why.
    Unreadable(String),
    /// It shows what this owner wanted, and the journal has lost its end: whether this owner set it, and what
    /// was there before, is unknown.
    OriginalUnknown,
    /// Its value is kept but hidden for now, and no other process has set it; holds why.
    Hidden(String),
    /// It was undone, but a knob that it resets was not; holds which.
    SideEffect(String),
    /// The revert was interrupted before this step.
    Interrupted,
    /// A change of it hangs in the kernel, or its hardware does not answer; holds what was seen.
    /// The next revert tries again.
    Stuck(String),
    /// It was set in another network namespace, which this process is not in; holds which, and how
    /// it is entered.
    AnotherNetworkNamespace(String),
}

impl NotRevertedReason {
    pub(super) fn unreadable(error: &HostError) -> Self {
        match error.kind() {
            HostErrorKind::Stuck => Self::stuck(error),
            _ => Self::Unreadable(with_source(error)),
        }
    }

    pub(super) fn stuck(error: &HostError) -> Self {
        let hint = error.hint().map(|hint| format!("; {hint}"));
        Self::Stuck(with_source(error) + &hint.unwrap_or_default())
    }

    pub(super) fn journal(error: &JournalError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl fmt::Display for NotRevertedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Theirs => f.write_str("another process has set it since"),
            Self::Waits => f.write_str("it depends on a later step that could not be reverted"),
            Self::WaitsFor(knob) => write!(
                f,
                "it waits for {knob}, which could not be reverted and would be destroyed"
            ),
            Self::InUse(why) => write!(f, "it is in use: {why}"),
            Self::Refused(why) => write!(f, "the change was refused: {why}"),
            Self::NotTaken => f.write_str("the write was accepted, but the host does not show it"),
            Self::Unreadable(why) => write!(f, "it could not be read: {why}"),
            Self::OriginalUnknown => f.write_str(
                "the journal has lost its end, and with it the original value: set it by hand",
            ),
            Self::Hidden(why) => write!(f, "it cannot be reverted now: {why}"),
            Self::SideEffect(why) => write!(f, "its side effects could not be reverted: {why}"),
            Self::Interrupted => f.write_str("the revert was interrupted before this step"),
            Self::Stuck(why) => write!(f, "it is stuck: {why}"),
            Self::AnotherNetworkNamespace(which) => f.write_str(which),
        }
    }
}

/// A step that was not undone. It stays in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NotReverted {
    /// The part that requested it.
    pub part: String,
    /// The knob.
    pub knob: AnyKnob,
    /// The value that we had set, as printed.
    pub ours: String,
    /// The original value, as printed.
    pub original: String,
    /// The value that the host shows, as printed.
    pub seen: String,
    /// Why it was not undone.
    pub reason: NotRevertedReason,
}

impl fmt::Display for NotReverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (set to {}, original {}, now {}): {}",
            self.knob,
            self.ours,
            self.original,
            self.now(),
            self.reason
        )
    }
}

impl NotReverted {
    /// What the host shows, for people: of a file only the size is printed, which may be that of
    /// ours although another process has changed it.
    #[must_use]
    pub fn now(&self) -> &str {
        if self.reason == NotRevertedReason::Theirs && self.seen == self.ours {
            "other content"
        } else {
            &self.seen
        }
    }
}

/// The result of a revert or a recovery.
#[must_use = "some changes may not be reverted: check is_complete(), or print it"]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reverted {
    /// The steps that were undone, in the order in which they were.
    pub undone: Vec<Undone>,
    /// The steps that were not undone, and why. They stay in the journal.
    pub not_reverted: Vec<NotReverted>,
    /// The knobs that this owner has changed besides and that were not selected. Their changes stay in
    /// effect and in the journal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<AnyKnob>,
    /// How many changes a reboot had undone already.
    pub by_reboot: usize,
    /// Notes for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why the journal could not be updated. The steps in `undone` were undone but are still in the
    /// journal; the next run finds them undone already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<Unrecorded>,
}

/// Why the undone steps could not be removed from the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrecorded {
    /// What failed, with the kernel's error.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Unrecorded {
    pub(crate) fn of(error: &JournalError) -> Self {
        Self {
            why: with_source(error),
            hint: error.hint(),
        }
    }
}

impl Reverted {
    /// Whether everything was reverted that should be. Steps do not count here that are left on
    /// purpose: those whose value another process has changed since, that are in use, whose value
    /// is hidden for now, that belong to another network namespace, or that wait for such a step.
    pub fn is_complete(&self) -> bool {
        self.not_reverted.iter().all(|left| {
            matches!(
                left.reason,
                NotRevertedReason::Theirs
                    | NotRevertedReason::InUse(_)
                    | NotRevertedReason::Hidden(_)
                    | NotRevertedReason::AnotherNetworkNamespace(_)
                    | NotRevertedReason::Waits
                    | NotRevertedReason::WaitsFor(_)
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
        // Steps that were left at first were tried again, so the later result applies.
        self.not_reverted = later.not_reverted;
        self.by_reboot = self.by_reboot.max(later.by_reboot);
        self.unrecorded = self.unrecorded.take().or(later.unrecorded);
        for note in later.notes {
            self.note(note);
        }
    }
}

/// A line with the number of reverted changes, and one for each that was not reverted.
impl fmt::Display for Reverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.undone.len() {
            0 => f.write_str("nothing reverted")?,
            1 => f.write_str("1 change reverted")?,
            changes => write!(f, "{changes} changes reverted")?,
        }
        for left in &self.not_reverted {
            write!(f, "\nnot reverted: {left}")?;
        }
        if let Some(unrecorded) = &self.unrecorded {
            write!(f, "\nthe journal was not updated: {}", unrecorded.why)?;
        }
        Ok(())
    }
}

/// A change that is not reverted yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingRevert {
    /// The part that requested it.
    pub part: String,
    /// The knob.
    pub knob: AnyKnob,
    /// The value that we set, as printed.
    pub ours: String,
    /// The original value, as printed.
    pub original: String,
    /// The value that the host shows, as printed.
    pub seen: String,
    /// Whether the host still shows the value that we set.
    pub is_ours: bool,
    /// The value of another process that the next apply of this owner replaced. A revert goes back
    /// to that value and leaves it, unless it is forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// Why the host shows no value that anyone could have set: the device is gone or cannot be
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// The identity of the device behind the knob's name at the time of the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The network namespace that it belongs to, if this process is in another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<String>,
}

/// The changes in the journal and what the host shows for them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The changes that a revert would undo, oldest first.
    pub pending: Vec<PendingRevert>,
    /// The interrupted run, and how the next one will recover it.
    pub open: Option<String>,
    /// What the kernel has refused in this boot.
    pub refused: Vec<String>,
    /// How many changes a reboot has undone.
    pub by_reboot: usize,
}

impl fmt::Display for PendingRevert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.knob, self.original, self.ours)?;
        if !self.is_ours {
            write!(f, ", now {}", self.seen)?;
        }
        Ok(())
    }
}

/// An error with its source, where only text can be kept.
pub(super) fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
