//! The error document, which every failing command prints.

use serde::Serialize;

use super::super::failure::Failure;

/// `error.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorDocument {
    error: ErrorView,
}

#[derive(Debug, Serialize)]
pub(super) struct ErrorView {
    message: String,
    chain: Vec<String>,
    hint: Option<String>,
    exit_code: u8,
}

impl ErrorView {
    pub(super) fn of(failure: &Failure) -> Self {
        Self {
            message: failure.to_string(),
            chain: failure.chain(),
            hint: failure.hint(),
            exit_code: failure.exit().code(),
        }
    }
}

/// The document of a failure that has no other document.
pub(crate) fn failed(failure: &Failure) -> ErrorDocument {
    ErrorDocument {
        error: ErrorView::of(failure),
    }
}
