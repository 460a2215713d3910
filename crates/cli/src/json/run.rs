//! What a run would do: the document of `run --explain`.

use hosttune_core::Plan;
use serde::Serialize;

use super::super::run_explained::ExplainedCommand;
use super::plan::{PlanDocument, planned};

/// `run.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct RunDocument<'a> {
    command: &'a ExplainedCommand,
    plan: PlanDocument<'a>,
}

/// The document of an explained run.
pub(crate) fn run_explained<'a>(command: &'a ExplainedCommand, plan: &'a Plan) -> RunDocument<'a> {
    RunDocument {
        command,
        plan: planned(plan),
    }
}
