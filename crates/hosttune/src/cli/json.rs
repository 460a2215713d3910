//! Every answer as a program reads it: the documents that `docs/schemas` describes.
//!
//! These are types of their own, and not the engine's, so that the engine can change and the
//! documents stay. A field is never left out: what is not known is `null`.

use hosttune_core::{
    Applied, Error, Finding, Left, Lifetime, Owed, Plan, Report, Reverted, State, Status, Step,
    Undone, Why,
};
use hosttune_sysctl::{Place, Setting, Standing};
use serde::Serialize;

use super::explain::{Explanation, Known, Wish};
use super::failure::Failure;
use super::who_sets::WhoSets;

/// One document on one line, for a command that prints more than one.
pub(super) fn line(document: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(document)? + "\n")
}

/// `plan.schema.json`.
#[derive(Debug, Serialize)]
pub(super) struct PlanDocument<'a> {
    steps: Vec<StepView<'a>>,
    not_applicable: Vec<NotApplicable<'a>>,
    as_wanted: Vec<&'a str>,
    notes: Vec<String>,
    provisional: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct StepView<'a> {
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
struct WhyView<'a> {
    why: &'a str,
    looks_wrong: Option<&'a str>,
    source: Option<&'a str>,
    risk: Option<&'a str>,
}

impl<'a> WhyView<'a> {
    fn of(why: &'a Why) -> Self {
        Self {
            why: &why.text,
            looks_wrong: why.looks_wrong.as_deref(),
            source: why.source.as_deref(),
            risk: why.risk.as_deref(),
        }
    }
}

impl<'a> StepView<'a> {
    fn of(step: &'a Step) -> Self {
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
struct NotApplicable<'a> {
    knob: &'a str,
    part: &'a str,
    wanted: Option<&'a str>,
    why: &'a str,
    hint: Option<&'a str>,
    module: Option<&'a str>,
}

fn not_applicable(findings: &[Finding]) -> Vec<NotApplicable<'_>> {
    findings
        .iter()
        .filter_map(|finding| match &finding.state {
            State::NotApplicable { lack } => Some(NotApplicable {
                knob: &finding.name,
                part: &finding.part,
                wanted: wanted(finding),
                why: &lack.why,
                hint: lack.hint.as_deref(),
                module: lack.module.as_deref(),
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

/// What a person should know: the notes, and every finding that is not simply as wanted.
fn notes(notes: &[String], findings: &[Finding]) -> Vec<String> {
    let found = findings
        .iter()
        .filter(|finding| finding.state != State::Matches)
        .map(ToString::to_string);
    notes.iter().cloned().chain(found).collect()
}

/// The document of a plan.
pub(super) fn planned(plan: &Plan) -> PlanDocument<'_> {
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
pub(super) struct VerifyDocument<'a> {
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

/// What there is to say of a state beyond its name.
fn detail(state: &State) -> Option<String> {
    match state {
        State::NotApplicable { lack } => Some(lack.why.clone()),
        State::Pending { until } => Some(until.to_string()),
        State::Overridden { by } => Some(by.clone()),
        State::Unverifiable { why } => Some(why.clone()),
        _ => None,
    }
}

/// The document of a report.
pub(super) fn verified(report: &Report) -> VerifyDocument<'_> {
    VerifyDocument {
        items: report
            .items
            .iter()
            .map(|item| ItemView {
                knob: &item.name,
                part: &item.part,
                wanted: wanted(item),
                seen: seen(item),
                state: item.state.name(),
                why: WhyView::of(&item.why),
                detail: detail(&item.state),
                hint: item.hint(),
            })
            .collect(),
        notes: &report.notes,
    }
}

/// How an apply or a revert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Applied,
    Reverted,
    NothingToDo,
    Left,
    Declined,
    RolledBack,
    RollbackIncomplete,
    Refused,
}

/// `apply.schema.json`.
#[derive(Debug, Serialize)]
pub(super) struct ApplyDocument<'a> {
    outcome: Outcome,
    turned: Vec<StepView<'a>>,
    left: Vec<LeftView<'a>>,
    not_applicable: Vec<NotApplicable<'a>>,
    notes: Vec<String>,
    recovered: Option<PutBack<'a>>,
    error: Option<ErrorView>,
}

/// `revert.schema.json`.
#[derive(Debug, Serialize)]
pub(super) struct RevertDocument<'a> {
    outcome: Outcome,
    #[serde(flatten)]
    put_back: PutBack<'a>,
    notes: &'a [String],
    error: Option<ErrorView>,
}

#[derive(Debug, Default, Serialize)]
struct PutBack<'a> {
    turned: Vec<UndoneView<'a>>,
    already: Vec<UndoneView<'a>>,
    left: Vec<LeftView<'a>>,
    by_reboot: usize,
}

#[derive(Debug, Serialize)]
struct UndoneView<'a> {
    knob: &'a str,
    part: &'a str,
    from: &'a str,
    to: &'a str,
}

#[derive(Debug, Serialize)]
struct LeftView<'a> {
    knob: &'a str,
    part: &'a str,
    ours: &'a str,
    original: &'a str,
    seen: &'a str,
    because: String,
}

fn left(left: &[Left]) -> Vec<LeftView<'_>> {
    left.iter()
        .map(|left| LeftView {
            knob: &left.knob.text,
            part: &left.part,
            ours: &left.ours,
            original: &left.original,
            seen: &left.seen,
            because: left.because.to_string(),
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
                })
                .collect()
        };
        Self {
            turned: undone(false),
            already: undone(true),
            left: left(&reverted.left),
            by_reboot: reverted.by_reboot,
        }
    }
}

/// The document of an apply that came to its end.
pub(super) fn applied(applied: &Applied) -> ApplyDocument<'_> {
    let recovered_all = applied.recovered.as_ref().is_none_or(Reverted::is_complete);
    ApplyDocument {
        outcome: if !recovered_all {
            Outcome::RollbackIncomplete
        } else if applied.declined {
            Outcome::Declined
        } else if applied.turned.is_empty() {
            Outcome::NothingToDo
        } else {
            Outcome::Applied
        },
        turned: applied.turned.iter().map(StepView::of).collect(),
        left: applied
            .recovered
            .as_ref()
            .map_or_else(Vec::new, |recovered| left(&recovered.left)),
        not_applicable: not_applicable(&applied.findings),
        notes: notes(&applied.notes, &applied.findings),
        recovered: applied.recovered.as_ref().map(PutBack::of),
        error: None,
    }
}

/// The document of an apply that failed.
pub(super) fn apply_failed(failure: &Failure) -> ApplyDocument<'_> {
    let error = match failure {
        Failure::Engine(error) => Some(&**error),
        _ => None,
    };
    let (outcome, remains) = match error {
        Some(Error::RolledBack { .. }) => (Outcome::RolledBack, Vec::new()),
        Some(Error::RollbackIncomplete { left: remains, .. }) => {
            (Outcome::RollbackIncomplete, left(remains))
        }
        _ => (Outcome::Refused, Vec::new()),
    };
    ApplyDocument {
        outcome,
        turned: Vec::new(),
        left: remains,
        not_applicable: match error {
            Some(Error::NotApplicable(findings)) => not_applicable(findings),
            _ => Vec::new(),
        },
        notes: Vec::new(),
        recovered: None,
        error: Some(ErrorView::of(failure)),
    }
}

/// The document of a revert that came to its end.
pub(super) fn reverted<'a>(reverted: &'a Reverted, notes: &'a [String]) -> RevertDocument<'a> {
    RevertDocument {
        outcome: if !reverted.is_complete() {
            Outcome::RollbackIncomplete
        } else if !reverted.left.is_empty() {
            Outcome::Left
        } else if reverted.undone.is_empty() && reverted.by_reboot == 0 {
            Outcome::NothingToDo
        } else {
            Outcome::Reverted
        },
        put_back: PutBack::of(reverted),
        notes,
        error: None,
    }
}

/// The document of a revert that somebody said no to.
pub(super) fn revert_declined() -> RevertDocument<'static> {
    RevertDocument {
        outcome: Outcome::Declined,
        put_back: PutBack::default(),
        notes: &[],
        error: None,
    }
}

/// The document of a revert that failed.
pub(super) fn revert_failed(failure: &Failure) -> RevertDocument<'static> {
    RevertDocument {
        outcome: Outcome::Refused,
        put_back: PutBack::default(),
        notes: &[],
        error: Some(ErrorView::of(failure)),
    }
}

/// `status.schema.json`.
#[derive(Debug, Serialize)]
pub(super) struct StatusDocument<'a> {
    owed: Vec<OwedView<'a>>,
    open: Option<&'a str>,
    refused: &'a [String],
    by_reboot: usize,
    notes: &'a [String],
}

#[derive(Debug, Serialize)]
struct OwedView<'a> {
    knob: &'a str,
    part: &'a str,
    ours: &'a str,
    original: &'a str,
    seen: &'a str,
    is_ours: bool,
}

fn owed(owed: &[Owed]) -> Vec<OwedView<'_>> {
    owed.iter()
        .map(|owed| OwedView {
            knob: &owed.knob.text,
            part: &owed.part,
            ours: &owed.ours,
            original: &owed.original,
            seen: &owed.seen,
            is_ours: owed.is_ours,
        })
        .collect()
}

/// The document of a status.
pub(super) fn standing<'a>(status: &'a Status, notes: &'a [String]) -> StatusDocument<'a> {
    StatusDocument {
        owed: owed(&status.owed),
        open: status.open.as_deref(),
        refused: &status.refused,
        by_reboot: status.by_reboot,
        notes,
    }
}

/// `explain.schema.json`.
#[derive(Debug, Serialize)]
pub(super) struct ExplainDocument<'a> {
    knob: &'a str,
    wishes: Vec<WishView<'a>>,
    owed: Vec<OwedView<'a>>,
    journal_unread: Option<&'a str>,
    catalogue: Option<KnownView<'a>>,
}

#[derive(Debug, Serialize)]
struct WishView<'a> {
    part: &'a str,
    wanted: Option<&'a str>,
    seen: Option<&'a str>,
    state: Option<&'static str>,
    #[serde(flatten)]
    why: WhyView<'a>,
    detail: Option<String>,
    hint: Option<&'a str>,
    lifetime: Option<Lifetime>,
    requirement: hosttune_core::Requirement,
    means: bool,
}

#[derive(Debug, Serialize)]
struct KnownView<'a> {
    meaning: &'a str,
    takes: &'a str,
    scope: &'a str,
    adjusts: Option<&'a str>,
    security: Option<&'a str>,
    caution: Option<&'a str>,
    documentation: Option<&'a str>,
}

impl<'a> WishView<'a> {
    fn of(wish: &'a Wish) -> Self {
        Self {
            part: &wish.part,
            wanted: wish.wanted.as_deref(),
            seen: wish.seen.as_deref(),
            state: wish.state.as_ref().map(State::name),
            why: WhyView::of(&wish.why),
            detail: wish.state.as_ref().and_then(detail),
            hint: wish.hint.as_deref(),
            lifetime: wish.lifetime,
            requirement: wish.requirement,
            means: wish.means,
        }
    }
}

impl<'a> KnownView<'a> {
    fn of(known: &'a Known) -> Self {
        Self {
            meaning: &known.meaning,
            takes: &known.takes,
            scope: &known.scope,
            adjusts: known.adjusts.as_deref(),
            security: known.security.as_deref(),
            caution: known.caution.as_deref(),
            documentation: known.documentation.as_deref(),
        }
    }
}

/// The document of an explanation.
pub(super) fn explained(explanation: &Explanation) -> ExplainDocument<'_> {
    ExplainDocument {
        knob: &explanation.knob,
        wishes: explanation.wishes.iter().map(WishView::of).collect(),
        owed: owed(&explanation.owed),
        journal_unread: explanation.journal_unread.as_deref(),
        catalogue: explanation.catalogue.as_ref().map(KnownView::of),
    }
}

/// `who-sets.schema.json`.
#[derive(Debug, Serialize)]
pub(super) struct WhoSetsDocument<'a> {
    key: &'a str,
    seen: Option<&'a str>,
    winner: Option<PlaceView<'a>>,
    procps_winner: Option<PlaceView<'a>>,
    settings: Vec<SettingView<'a>>,
}

#[derive(Debug, Serialize)]
struct PlaceView<'a> {
    file: &'a str,
    line: Option<usize>,
}

#[derive(Debug, Serialize)]
struct SettingView<'a> {
    file: &'a str,
    line: usize,
    pattern: String,
    value: Option<&'a str>,
    ignore_failure: bool,
    standing: &'static str,
    by: Option<PlaceView<'a>>,
}

impl<'a> PlaceView<'a> {
    fn of(place: &'a Place) -> Self {
        Self {
            file: &place.file,
            line: Some(place.line),
        }
    }
}

impl<'a> SettingView<'a> {
    fn of(setting: &'a Setting) -> Self {
        let (standing, by) = match &setting.standing {
            Standing::Wins => ("wins", None),
            Standing::Overridden { by } => ("overridden", Some(PlaceView::of(by))),
            Standing::BeatenByName { by } => ("beaten-by-name", Some(PlaceView::of(by))),
            Standing::Excluded { by } => ("excluded", Some(PlaceView::of(by))),
            Standing::Excludes => ("excludes", None),
            Standing::Masked { by } => (
                "masked",
                Some(PlaceView {
                    file: by,
                    line: None,
                }),
            ),
            _ => ("other", None),
        };
        Self {
            file: &setting.place.file,
            line: setting.place.line,
            pattern: setting.pattern.to_string(),
            value: setting.value.as_deref(),
            ignore_failure: setting.ignore_failure,
            standing,
            by,
        }
    }
}

/// The document of who sets a key.
pub(super) fn who_sets(answer: &WhoSets) -> WhoSetsDocument<'_> {
    WhoSetsDocument {
        key: &answer.key,
        seen: answer.seen.as_deref(),
        winner: answer.winner().map(PlaceView::of),
        procps_winner: answer.procps_winner.as_ref().map(PlaceView::of),
        settings: answer.settings.iter().map(SettingView::of).collect(),
    }
}

/// `error.schema.json`.
#[derive(Debug, Serialize)]
pub(super) struct ErrorDocument {
    error: ErrorView,
}

#[derive(Debug, Serialize)]
struct ErrorView {
    message: String,
    chain: Vec<String>,
    hint: Option<String>,
    exit_code: u8,
}

impl ErrorView {
    fn of(failure: &Failure) -> Self {
        Self {
            message: failure.to_string(),
            chain: failure.chain(),
            hint: failure.hint(),
            exit_code: failure.exit().code(),
        }
    }
}

/// The document of a failure that has no document of its own.
pub(super) fn failed(failure: &Failure) -> ErrorDocument {
    ErrorDocument {
        error: ErrorView::of(failure),
    }
}
