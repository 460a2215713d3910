//! Findings about requests that are not steps: as requested, rounded, unsupported, pending.

use serde_json::Value;

use super::declared::{Declared, Role, Target};
use super::sight::{Outcome, Sight};
use crate::error::{HostError, HostErrorKind};
use crate::report::{Finding, State};

/// The result of planning a request.
pub(super) fn found(sight: &mut Sight<'_>, wish: &Declared, outcome: Option<Outcome>) -> Finding {
    match outcome {
        Some(Outcome::AsWanted(seen)) => {
            let state = as_wanted(wish, &seen);
            wish.finding(Some(&seen), state)
        }
        Some(Outcome::Lacking(seen, lack)) => {
            wish.finding(seen.as_ref(), State::NotApplicable { lack })
        }
        Some(Outcome::Unreadable(error)) => wish.finding(None, unverifiable(&error)),
        // A step is not a finding. The rest is expected or skipped and is checked as in a report.
        Some(Outcome::Step { .. }) | None => seen_now(sight, wish),
    }
}

/// Checks all requests, except intermediate steps, against what the host shows now.
pub(crate) fn report(sight: &mut Sight<'_>, declared: Vec<Declared>) -> Vec<Finding> {
    declared
        .into_iter()
        .filter(|wish| !matches!(wish.role, Role::Means))
        .map(|wish| seen_now(sight, &wish))
        .collect()
}

fn seen_now(sight: &mut Sight<'_>, wish: &Declared) -> Finding {
    let target = match (&wish.role, &wish.target) {
        (Role::Skipped(lack), _) => {
            return wish.finding(None, State::NotApplicable { lack: lack.clone() });
        }
        (_, Some(target)) => target,
        (_, None) => return wish.finding(None, State::Drifted),
    };
    let seen = match sight.read(&target.kind, &target.knob, &target.key) {
        Ok(seen) => seen,
        Err(error) => {
            let state = match error.kind() {
                HostErrorKind::NotApplicable(lack) => State::NotApplicable { lack: lack.clone() },
                _ => unverifiable(&error),
            };
            return wish.finding(None, state);
        }
    };
    let state = if sight.is_as_wanted(target, &seen) {
        as_wanted(wish, &seen)
    } else if let Role::Expected(until) = wish.role {
        State::Pending { until }
    } else {
        match sight.lacking(target, Some(&seen)) {
            Some(Outcome::Lacking(_, lack)) => State::NotApplicable { lack },
            Some(Outcome::Unreadable(error)) => unverifiable(&error),
            _ => State::Drifted,
        }
    };
    wish.finding(Some(&seen), state)
}

fn as_wanted(wish: &Declared, seen: &Value) -> State {
    match (&wish.overridden, &wish.target) {
        (Some(by), _) => State::Overridden { by: by.clone() },
        (None, Some(target)) if differs(target, seen) => State::Rounded,
        _ => State::Matches,
    }
}

/// A value that people cannot tell from the requested one is not reported as rounded. A state may
/// contain more than is printed, such as options that were left to the kernel.
fn differs(target: &Target, seen: &Value) -> bool {
    target.to != *seen && target.kind.show(&target.knob, seen) != target.to_text
}

fn unverifiable(error: &HostError) -> State {
    let mut why = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        why = format!("{why}: {source}");
    }
    State::Unverifiable { why }
}
