//! The document of `explain`: everything known about one knob.

use hosttune_core::Lifetime;
use serde::Serialize;

use super::super::explain::{Explanation, Known, Request};
use super::outcome::{PendingView, pending};
use super::plan::{WhyView, detail, state};

/// `explain.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct ExplainDocument<'a> {
    knob: &'a str,
    requests: Vec<RequestView<'a>>,
    pending: Vec<PendingView<'a>>,
    journal_unread: Option<&'a str>,
    catalogue: Option<KnownView<'a>>,
}

#[derive(Debug, Serialize)]
struct RequestView<'a> {
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

impl<'a> RequestView<'a> {
    fn of(request: &'a Request) -> Self {
        Self {
            part: &request.part,
            wanted: request.wanted.as_deref(),
            seen: request.seen.as_deref(),
            state: request.state.as_ref().map(state),
            why: WhyView::of(&request.why),
            detail: request.state.as_ref().and_then(detail),
            hint: request.hint.as_deref(),
            lifetime: request.lifetime,
            requirement: request.requirement,
            means: request.means,
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
pub(crate) fn explained(explanation: &Explanation) -> ExplainDocument<'_> {
    ExplainDocument {
        knob: &explanation.knob,
        requests: explanation.requests.iter().map(RequestView::of).collect(),
        pending: pending(&explanation.pending),
        journal_unread: explanation.journal_unread.as_deref(),
        catalogue: explanation.catalogue.as_ref().map(KnownView::of),
    }
}
