//! Findings about requests that are not steps: as requested, rounded, unsupported, pending.

use serde_json::Value;

use super::When;
use super::declared::{Declared, Role, Target};
use super::owned::OwnedChange;
use super::view::{Outcome, PlannedView};
use crate::host::{HostError, HostErrorKind};
use crate::knob::Lifetime;
use crate::report::{Finding, State};

/// The result of planning a request.
pub(super) fn found(
    view: &mut PlannedView<'_>,
    request: &Declared,
    outcome: Option<Outcome>,
) -> Finding {
    match outcome {
        Some(Outcome::AsWanted(seen)) => {
            let state = as_wanted(request, &seen);
            request.finding(Some(&seen), state)
        }
        Some(Outcome::Unsupported(seen, unsupported)) => {
            request.finding(seen.as_ref(), State::NotApplicable { unsupported })
        }
        Some(Outcome::Unreadable(error)) => request.finding(None, unverifiable(&error)),
        // A step is not a finding. The rest is expected or skipped and is checked as in a report.
        Some(Outcome::Step { .. }) | None => seen_now(view, request),
    }
}

/// Checks all requests, except intermediate steps, against what the host shows now.
pub(crate) fn report(view: &mut PlannedView<'_>, declared: Vec<Declared>) -> Vec<Finding> {
    declared
        .into_iter()
        .filter(|request| !matches!(request.role, Role::Means))
        .map(|request| seen_now(view, &request))
        .collect()
}

fn seen_now(view: &mut PlannedView<'_>, request: &Declared) -> Finding {
    let target = match (&request.role, &request.target) {
        (Role::Skipped(unsupported), _) => {
            return request.finding(
                None,
                State::NotApplicable {
                    unsupported: unsupported.clone(),
                },
            );
        }
        (_, Some(target)) => target,
        (_, None) => return request.finding(None, State::Drifted),
    };
    let seen = match view.read(target.kind, &target.knob, &target.key) {
        Ok(seen) => seen,
        Err(error) => {
            let state = match error.kind() {
                HostErrorKind::NotApplicable(unsupported) => State::NotApplicable {
                    unsupported: unsupported.clone(),
                },
                _ => unverifiable(&error),
            };
            return request.finding(None, state);
        }
    };
    let state = if view.is_as_wanted(target, &seen) {
        as_wanted(request, &seen)
    } else if let Role::Expected(until) = request.role {
        if until == When::Reboot && is_rebooted(view, request) {
            State::Overridden {
                by: "what was booted: the system has been restarted since the change".to_owned(),
            }
        } else {
            State::Pending { until }
        }
    } else {
        match view.unsupported(target, Some(&seen)) {
            // Another request makes it supported again: an apply sets both.
            Some(Outcome::Unsupported(..))
                if matches!(request.outcome, Some(Outcome::Step { .. })) =>
            {
                State::Drifted
            }
            Some(Outcome::Unsupported(_, unsupported)) => State::NotApplicable { unsupported },
            Some(Outcome::Unreadable(error)) => unverifiable(&error),
            _ => State::Drifted,
        }
    };
    request.finding(Some(&seen), state)
}

/// Whether the system was restarted after all changes that this part has made on disk. What they
/// were made for should be in effect then.
fn is_rebooted(view: &PlannedView<'_>, request: &Declared) -> bool {
    let made = |change: &&OwnedChange| {
        change.is_own && change.lifetime == Lifetime::Disk && change.part == request.part
    };
    let mut made = view.journalled.changes.iter().filter(made).peekable();
    made.peek().is_some() && made.all(|change| !change.is_of_this_boot)
}

fn as_wanted(request: &Declared, seen: &Value) -> State {
    match (&request.overridden, &request.target) {
        (Some(by), _) => State::Overridden { by: by.clone() },
        (None, Some(target)) if differs(target, seen) => State::Rounded,
        _ => State::Matches,
    }
}

/// A value that people cannot tell from the requested one is not reported as rounded. A state may
/// contain more than is printed, such as options that were left to the kernel. What is generated is not
/// rounded either: it contains what is requested or does not.
fn differs(target: &Target, seen: &Value) -> bool {
    !target.kind.is_generated()
        && target.to != *seen
        && target.kind.show(&target.knob, seen) != target.to_text
}

fn unverifiable(error: &HostError) -> State {
    let mut why = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        why = format!("{why}: {source}");
    }
    State::Unverifiable { why }
}
