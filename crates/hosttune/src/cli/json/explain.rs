//! The document of `explain`: everything known about one knob.

use hosttune_core::Lifetime;
use serde::Serialize;

use super::super::explain::{Explanation, Known, Wish};
use super::outcome::{OwedView, owed};
use super::plan::{WhyView, detail, state};

/// `explain.schema.json`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ExplainDocument<'a> {
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
            state: wish.state.as_ref().map(state),
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
pub(in crate::cli) fn explained(explanation: &Explanation) -> ExplainDocument<'_> {
    ExplainDocument {
        knob: &explanation.knob,
        wishes: explanation.wishes.iter().map(WishView::of).collect(),
        owed: owed(&explanation.owed),
        journal_unread: explanation.journal_unread.as_deref(),
        catalogue: explanation.catalogue.as_ref().map(KnownView::of),
    }
}
