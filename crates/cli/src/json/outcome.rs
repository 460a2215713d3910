//! Changes made and pending reverts: the documents of `apply`, `revert` and `status`.

use hosttune_boot::boot_once::Trial;
use hosttune_core::{Applied, Error, NotReverted, PendingRevert, Reverted, Status, Undone};
use hosttune_run::RunRecord;
use hosttune_run::priority::ProcessorShare;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::run_shared::Runs;
use super::error::ErrorView;
use super::plan::{NotApplicable, StepView, not_applicable, notes};

/// The outcome of an apply or a revert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Applied,
    Reverted,
    NothingToDo,
    NotReverted,
    Declined,
    RolledBack,
    RollbackIncomplete,
    Unrecorded,
    Refused,
}

/// `apply.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct ApplyDocument<'a> {
    outcome: Outcome,
    changed: Vec<StepView<'a>>,
    not_reverted: Vec<NotRevertedView<'a>>,
    not_applicable: Vec<NotApplicable<'a>>,
    notes: Vec<String>,
    recovered: Option<PutBack<'a>>,
    error: Option<ErrorView>,
}

/// `revert.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct RevertDocument<'a> {
    outcome: Outcome,
    #[serde(flatten)]
    put_back: PutBack<'a>,
    remaining: Vec<&'a str>,
    notes: &'a [String],
    error: Option<ErrorView>,
}

#[derive(Debug, Default, Serialize)]
struct PutBack<'a> {
    changed: Vec<UndoneView<'a>>,
    already: Vec<UndoneView<'a>>,
    not_reverted: Vec<NotRevertedView<'a>>,
    by_reboot: usize,
}

#[derive(Debug, Serialize)]
struct UndoneView<'a> {
    knob: &'a str,
    part: &'a str,
    from: &'a str,
    to: &'a str,
    held_by: Option<&'a str>,
    replaced: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct NotRevertedView<'a> {
    knob: &'a str,
    part: &'a str,
    ours: &'a str,
    original: &'a str,
    seen: &'a str,
    because: String,
}

fn left(left: &[NotReverted]) -> Vec<NotRevertedView<'_>> {
    left.iter()
        .map(|left| NotRevertedView {
            knob: &left.knob.text,
            part: &left.part,
            ours: &left.ours,
            original: &left.original,
            seen: &left.seen,
            because: left.reason.to_string(),
        })
        .collect()
}

impl<'a> PutBack<'a> {
    fn of(reverted: &'a Reverted) -> Self {
        let undone = |already: bool| {
            let fits = move |undone: &&Undone| undone.already == already;
            reverted
                .undone
                .iter()
                .filter(fits)
                .map(|undone| UndoneView {
                    knob: &undone.knob.text,
                    part: &undone.part,
                    from: &undone.ours,
                    to: &undone.original,
                    held_by: undone.held_by.as_deref(),
                    replaced: undone.replaced.as_deref(),
                })
                .collect()
        };
        Self {
            changed: undone(false),
            already: undone(true),
            not_reverted: left(&reverted.not_reverted),
            by_reboot: reverted.by_reboot,
        }
    }
}

/// The document of a completed apply.
pub(crate) fn applied(applied: &Applied) -> ApplyDocument<'_> {
    let recovered_all = applied.recovered.as_ref().is_none_or(Reverted::is_complete);
    ApplyDocument {
        outcome: if !recovered_all {
            Outcome::RollbackIncomplete
        } else if applied.declined {
            Outcome::Declined
        } else if applied.changed.is_empty() {
            Outcome::NothingToDo
        } else {
            Outcome::Applied
        },
        changed: applied.changed.iter().map(StepView::of).collect(),
        not_reverted: applied
            .recovered
            .as_ref()
            .map_or_else(Vec::new, |recovered| left(&recovered.not_reverted)),
        not_applicable: not_applicable(&applied.findings),
        notes: notes(&applied.notes, &applied.findings),
        recovered: applied.recovered.as_ref().map(PutBack::of),
        error: None,
    }
}

/// The document of an apply that failed.
pub(crate) fn apply_failed(failure: &Failure) -> ApplyDocument<'_> {
    let error = match failure {
        Failure::Engine(error) => Some(&**error),
        _ => None,
    };
    let (outcome, remains) = match error {
        Some(Error::RolledBack { .. } | Error::Interrupted { .. }) => {
            (Outcome::RolledBack, Vec::new())
        }
        Some(Error::Unrecorded { reverted, .. }) if reverted.is_complete() => {
            (Outcome::Unrecorded, left(&reverted.not_reverted))
        }
        Some(Error::Unrecorded { reverted, .. }) => {
            (Outcome::RollbackIncomplete, left(&reverted.not_reverted))
        }
        Some(Error::RollbackIncomplete { left: remains, .. }) => {
            (Outcome::RollbackIncomplete, left(remains))
        }
        _ => (Outcome::Refused, Vec::new()),
    };
    ApplyDocument {
        outcome,
        changed: Vec::new(),
        not_reverted: remains,
        not_applicable: match error {
            Some(Error::NotApplicable(findings)) => not_applicable(findings),
            _ => Vec::new(),
        },
        notes: Vec::new(),
        recovered: match error {
            Some(Error::Unrecorded {
                cause: None,
                reverted,
            }) => Some(PutBack::of(reverted)),
            _ => None,
        },
        error: Some(ErrorView::of(failure)),
    }
}

/// The document of a completed revert.
pub(crate) fn reverted<'a>(
    reverted: &'a Reverted,
    notes: &'a [String],
    failure: Option<&Failure>,
) -> RevertDocument<'a> {
    let is_left = matches!(failure, Some(Failure::LeftByRuns(_)));
    RevertDocument {
        outcome: if is_left || !reverted.is_complete() {
            Outcome::RollbackIncomplete
        } else if reverted.unrecorded.is_some() {
            Outcome::Unrecorded
        } else if !reverted.not_reverted.is_empty() {
            Outcome::NotReverted
        } else if reverted.undone.is_empty() && reverted.by_reboot == 0 {
            Outcome::NothingToDo
        } else {
            Outcome::Reverted
        },
        put_back: PutBack::of(reverted),
        remaining: reverted
            .remaining
            .iter()
            .map(|knob| knob.text.as_str())
            .collect(),
        notes,
        error: failure.map(ErrorView::of),
    }
}

/// The document of a revert that was declined at the prompt.
pub(crate) fn revert_declined() -> RevertDocument<'static> {
    RevertDocument {
        outcome: Outcome::Declined,
        put_back: PutBack::default(),
        remaining: Vec::new(),
        notes: &[],
        error: None,
    }
}

/// The document of a revert that failed.
pub(crate) fn revert_failed(failure: &Failure) -> RevertDocument<'static> {
    RevertDocument {
        outcome: Outcome::Refused,
        put_back: PutBack::default(),
        remaining: Vec::new(),
        notes: &[],
        error: Some(ErrorView::of(failure)),
    }
}

/// `status.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusDocument<'a> {
    pending: Vec<PendingView<'a>>,
    open: Option<&'a str>,
    refused: &'a [String],
    by_reboot: usize,
    notes: &'a [String],
    runs: Vec<RunView<'a>>,
    run_pending: Vec<PendingView<'a>>,
    trial: Option<TrialView<'a>>,
}

/// A trial of kernel parameters.
#[derive(Debug, Serialize)]
struct TrialView<'a> {
    id: &'a str,
    parameters: &'a str,
    state: &'static str,
    is_chosen: bool,
    crashes: &'a [String],
}

/// A command that runs tuned.
#[derive(Debug, Serialize)]
struct RunView<'a> {
    command: &'a str,
    pid: i32,
    runner: i32,
    watchdog: Option<i32>,
    pid_namespace: Option<&'a str>,
    is_known_to_run: bool,
    user: Option<u32>,
    nice: Option<i32>,
    nice_counts: Option<String>,
    weight: Option<u16>,
    power_profile: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct PendingView<'a> {
    knob: &'a str,
    part: &'a str,
    ours: &'a str,
    original: &'a str,
    seen: &'a str,
    is_ours: bool,
    replaced: Option<&'a str>,
}

pub(super) fn pending(pending: &[PendingRevert]) -> Vec<PendingView<'_>> {
    pending
        .iter()
        .map(|pending| PendingView {
            knob: &pending.knob.text,
            part: &pending.part,
            ours: &pending.ours,
            original: &pending.original,
            seen: &pending.seen,
            is_ours: pending.is_ours,
            replaced: pending.replaced.as_deref(),
        })
        .collect()
}

/// The document of a status.
pub(crate) fn standing<'a>(
    status: &'a Status,
    notes: &'a [String],
    runs: &'a Runs,
    trial: Option<&'a Trial>,
) -> StatusDocument<'a> {
    let view = |(run, share): (&'a RunRecord, Option<&ProcessorShare>)| RunView {
        command: &run.command,
        pid: run.command_pid,
        runner: run.runner.pid,
        watchdog: run.watchdog.as_ref().map(|watchdog| watchdog.pid),
        pid_namespace: run.pid_namespace.as_deref(),
        is_known_to_run: !runs.unknown.0.contains(run),
        user: run.user,
        nice: share.map(|share| share.nice),
        nice_counts: share.map(|share| share.scope.to_string()),
        weight: share.and_then(|share| share.weight),
        power_profile: run.power_profile.as_deref(),
    };
    StatusDocument {
        pending: pending(&status.pending),
        open: status.open.as_deref(),
        refused: &status.refused,
        by_reboot: status.by_reboot,
        notes,
        runs: runs.each().map(view).collect(),
        run_pending: pending(&runs.status.pending),
        trial: trial.map(|trial| TrialView {
            id: &trial.id,
            parameters: &trial.parameters,
            state: trial.state.as_str(),
            is_chosen: trial.is_chosen,
            crashes: &trial.crashes,
        }),
    }
}
