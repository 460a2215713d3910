//! Wanted and current values: the documents of `plan` and `verify`.

use hosttune_core::{Finding, Lifetime, Plan, Report, State, Step, Why};
use serde::Serialize;

/// `plan.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct PlanDocument<'a> {
    steps: Vec<StepView<'a>>,
    not_applicable: Vec<NotApplicable<'a>>,
    as_wanted: Vec<&'a str>,
    notes: Vec<String>,
    provisional: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct StepView<'a> {
    knob: &'a str,
    part: &'a str,
    from: Option<&'a str>,
    to: &'a str,
    #[serde(flatten)]
    why: WhyView<'a>,
    lifetime: Lifetime,
    means: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct WhyView<'a> {
    why: &'a str,
    looks_wrong: Option<&'a str>,
    source: Option<&'a str>,
    risk: Option<&'a str>,
}

impl<'a> WhyView<'a> {
    pub(super) fn of(why: &'a Why) -> Self {
        Self {
            why: &why.text,
            looks_wrong: why.looks_wrong.as_deref(),
            source: why.source.as_deref(),
            risk: why.risk.as_deref(),
        }
    }
}

impl<'a> StepView<'a> {
    pub(super) fn of(step: &'a Step) -> Self {
        Self {
            knob: &step.knob.text,
            part: &step.part,
            from: step.from.known().map(|_| step.from_text.as_str()),
            to: &step.to_text,
            why: WhyView::of(&step.why),
            lifetime: step.lifetime,
            means: step.means,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct NotApplicable<'a> {
    knob: &'a str,
    part: &'a str,
    wanted: Option<&'a str>,
    why: &'a str,
    hint: Option<&'a str>,
    module: Option<&'a str>,
}

pub(super) fn not_applicable(findings: &[Finding]) -> Vec<NotApplicable<'_>> {
    findings
        .iter()
        .filter_map(|finding| match &finding.state {
            State::NotApplicable { unsupported } => Some(NotApplicable {
                knob: &finding.name,
                part: &finding.part,
                wanted: wanted(finding),
                why: &unsupported.why,
                hint: unsupported.hint.as_deref(),
                module: unsupported.module.as_deref(),
            }),
            _ => None,
        })
        .collect()
}

fn wanted(finding: &Finding) -> Option<&str> {
    finding
        .wanted
        .as_ref()
        .map(|_| finding.wanted_text.as_str())
}

fn seen(finding: &Finding) -> Option<&str> {
    finding.seen.as_ref().map(|_| finding.seen_text.as_str())
}

/// The notes, and every finding that is not simply as wanted, in words.
pub(super) fn notes(notes: &[String], findings: &[Finding]) -> Vec<String> {
    let found = findings
        .iter()
        .filter(|finding| finding.state != State::Matches)
        .map(ToString::to_string);
    notes.iter().cloned().chain(found).collect()
}

/// The document of a plan.
pub(crate) fn planned(plan: &Plan) -> PlanDocument<'_> {
    PlanDocument {
        steps: plan.steps.iter().map(StepView::of).collect(),
        not_applicable: not_applicable(&plan.findings),
        as_wanted: plan
            .findings
            .iter()
            .filter(|finding| matches!(finding.state, State::Matches | State::Rounded))
            .map(|finding| finding.name.as_str())
            .collect(),
        notes: notes(&plan.notes, &plan.findings),
        provisional: plan.provisional.as_deref(),
    }
}

/// `verify.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyDocument<'a> {
    items: Vec<ItemView<'a>>,
    notes: &'a [String],
}

#[derive(Debug, Serialize)]
struct ItemView<'a> {
    knob: &'a str,
    part: &'a str,
    wanted: Option<&'a str>,
    seen: Option<&'a str>,
    state: &'static str,
    #[serde(flatten)]
    why: WhyView<'a>,
    detail: Option<String>,
    hint: Option<String>,
}

/// A state in one word; an unreadable value is `unknown` in every document.
pub(super) fn state(state: &State) -> &'static str {
    match state {
        State::Unverifiable { .. } => "unknown",
        other => other.name(),
    }
}

/// The detail of a state beyond its name.
pub(super) fn detail(state: &State) -> Option<String> {
    match state {
        State::NotApplicable { unsupported } => Some(unsupported.why.clone()),
        State::Pending { until } => Some(until.to_string()),
        State::Overridden { by } => Some(by.clone()),
        State::Unverifiable { why } => Some(why.clone()),
        _ => None,
    }
}

/// The document of a report.
pub(crate) fn verified(report: &Report) -> VerifyDocument<'_> {
    VerifyDocument {
        items: report
            .items
            .iter()
            .map(|item| ItemView {
                knob: &item.name,
                part: &item.part,
                wanted: wanted(item),
                seen: seen(item),
                state: state(&item.state),
                why: WhyView::of(&item.why),
                detail: detail(&item.state),
                hint: item.hint(),
            })
            .collect(),
        notes: &report.notes,
    }
}
