//! State of a device, derived from the plan for it.

use hosttune_core::{Before, Error, Finding, Knob, PendingRevert, Plan, State, Step};

use super::decision::Standing;
use crate::root_qdisc::{RootQdisc, RootState};

/// Derives the state from a plan, or from the error that there is instead. `pending` is what the
/// journal has. `None` if the error says nothing about the device.
pub(super) fn standing(
    link: Option<u32>,
    plan: &Result<Plan, Error>,
    pending: &[PendingRevert],
) -> Option<Standing> {
    let not_applicable = |findings: &[Finding]| {
        let unsupported = findings.iter().find_map(|finding| match &finding.state {
            State::NotApplicable { unsupported } => Some(unsupported.why.clone()),
            _ => None,
        });
        unsupported.map(Standing::NotApplicable)
    };
    match plan {
        _ if link.is_none() => Some(Standing::NoDevice),
        Ok(plan) => Some(
            not_applicable(&plan.findings)
                .or_else(|| theirs(plan, pending).map(Standing::Theirs))
                .or_else(|| not_in_effect(plan).map(Standing::NotApplicable))
                .unwrap_or(if plan.is_empty() {
                    Standing::AsWanted
                } else {
                    Standing::Unsupported
                }),
        ),
        Err(Error::NotApplicable(findings)) => not_applicable(findings),
        Err(_) => None,
    }
}

/// Why everything is as wanted and still not in effect, if that is the case.
fn not_in_effect(plan: &Plan) -> Option<String> {
    if !plan.is_empty() {
        return None;
    }
    plan.findings
        .iter()
        .find_map(|finding| match &finding.state {
            State::Overridden { by } => Some(format!("it is not in effect because of {by}")),
            _ => None,
        })
}

/// Describes what another process has set and a step of the plan would replace.
///
/// This can only be a root: an IFB, a hook or a filter of another program is never replaced, but
/// makes the plan fail.
pub(super) fn theirs(plan: &Plan, pending: &[PendingRevert]) -> Option<String> {
    let mut steps = plan.steps.iter();
    steps.find_map(|step| {
        is_theirs(step, pending).then(|| format!("{}: {}", step.knob, step.from_text))
    })
}

fn is_theirs(step: &Step, pending: &[PendingRevert]) -> bool {
    if step.knob.kind != RootQdisc::NAME {
        return false;
    }
    let Before::Known(from) = &step.from else {
        return false;
    };
    // A state that cannot be parsed was certainly not set by us.
    let explicit = !matches!(
        serde_json::from_value(from.clone()),
        Ok(RootState::NoDevice | RootState::Default { .. })
    );
    // An earlier version of this shaper has set it, and the journal still lists it as ours.
    let ours = pending
        .iter()
        .rfind(|pending| pending.knob == step.knob && pending.network_namespace.is_none())
        .is_some_and(|pending| pending.is_ours);
    explicit && !ours
}
